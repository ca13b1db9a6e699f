"""Which dataset somebody means: its number, or the slugs of its project and itself, written ``project/slug``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.db.models import Q

from datasets.errors import InvalidInput

#: What an address looks like. A project whose slug is all digits does not begin one: ``7/rows`` is about number 7, and
#: its datasets are named by their numbers.
NAME_PATTERN = r"(?![0-9]+/)[a-z0-9][a-z0-9_-]*/[a-z0-9][a-z0-9_-]*"
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_NAME = re.compile(NAME_PATTERN)


@dataclass(frozen=True)
class DatasetName:
    """A dataset by the slug of its project and its own."""

    project: str
    slug: str

    def __str__(self) -> str:
        return f"{self.project}/{self.slug}"


DatasetAddress = int | DatasetName


def dataset_address(written: int | str) -> DatasetAddress:
    """The address that somebody wrote, as a number or in text. Raises ``InvalidInput``."""
    text = str(written)
    if _NUMBER.fullmatch(text):
        return int(text)
    if _NAME.fullmatch(text):
        project, _, slug = text.partition("/")
        return DatasetName(project, slug)
    raise InvalidInput("Name a dataset by its number, or as project/slug, for example sales/customers.")


def at_address(address: DatasetAddress, path: str = "") -> Q:
    """The condition that a dataset has the address; ``path`` leads to it, for example ``dataset__``."""
    if isinstance(address, int):
        return Q(**{f"{path}pk": address})
    return Q(**{f"{path}project__slug": address.project, f"{path}slug": address.slug})
