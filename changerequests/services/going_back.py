"""Going back to a version of a table: the inverse of everything since, as a draft that takes the normal gates."""

from __future__ import annotations

import shutil

from django.contrib.auth.models import User
from django.db import transaction

import merging
from changerequests.errors import NothingToChange
from changerequests.models import ChangeRequest
from changerequests.services import proposals, storage
from datasets.models import Dataset
from datasets.services import naming_gone_versions


def propose_version(
    *, dataset_id: int, actor: User, version: int, title: str = "", description: str = ""
) -> ChangeRequest:
    """Begin a draft that proposes the rows of a version; for whoever may propose changes of the dataset.

    It is made from the two versions as they are. What is changed after that conflicts instead of being lost. Columns
    that came since stay.
    Raises ``Forbidden``, ``NothingToChange`` where the table is so already, and the engine's ``VersionGone``,
    ``TableNotFound`` and ``TableChanged``.
    """
    dataset = Dataset.objects.select_related("meta", "project").get(pk=dataset_id)
    title = proposals.proposable(dataset, actor, title.strip() or f"Go back to version {version:,}")
    folder = storage.workplace(storage.REVERTS)
    try:
        with naming_gone_versions(dataset, version):
            keys = tuple(dataset.primary_keys)
            staged = merging.stage_version(dataset.table_uri, version, keys, str(folder))
        if not staged.rows:
            raise NothingToChange(
                f"There is nothing to go back to: the table is as it was in version {version:,}."
            )
        with transaction.atomic():
            made = proposals.create_change_request(
                dataset=dataset,
                author=actor,
                title=title,
                description=description
                or f"Takes back everything between version {version:,} and {staged.base_version:,}.",
            )
            content = storage.adopt(made, staged)
            proposals.make_current(made, actor, content, facts={"restores_version": version})
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return made
