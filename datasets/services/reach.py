"""Where tables may lie, and which may name files outside of their folder: those that operators registered so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from django.conf import settings

from datasets.models import Dataset

_operator_registers: ContextVar[bool] = ContextVar("operator_registers", default=False)


@contextmanager
def registering(*, by_operator: bool) -> Iterator[None]:
    """While a table is looked at that is to become a dataset: an operator may take any."""
    before = _operator_registers.set(by_operator)
    try:
        yield
    finally:
        _operator_registers.reset(before)


def why_not(table_uri: str) -> str:
    """Why a table may not be opened where it lies, in a sentence; empty where it may. The engine asks each time.

    Below ``DELTA_DATA_ROOT`` and the places of ``TABLE_PLACES`` they may, and anywhere while that is empty. The folder
    of a dataset is where it was when it was registered: no link, neither it nor any above it.
    """
    address = table_uri.removeprefix("file://")
    if "://" in address:
        allowed = any(_is_below(address, place) for place in settings.TABLE_PLACES)
        return "" if allowed or not settings.TABLE_PLACES else _NOT_IN_PLACES
    written = Path(os.path.abspath(address))
    led_to = written.resolve()
    if led_to != written and Dataset.objects.filter(table_uri=str(written)).exists():
        return (
            "Its folder is reached by a link, which it was not when it was registered; put the table back, or "
            "register it where it is."
        )
    folders: list[str | Path] = [
        settings.DELTA_DATA_ROOT,
        *(one for one in settings.TABLE_PLACES if "://" not in one),
    ]
    inside = any(led_to.is_relative_to(Path(one).resolve()) for one in folders)
    return "" if inside or not settings.TABLE_PLACES else _NOT_IN_PLACES


_NOT_IN_PLACES = (
    "It lies outside of the places that this installation takes tables from (TABLE_PLACES); "
    "an operator can add its place."
)


def _is_below(address: str, place: str) -> bool:
    root = place.rstrip("/")
    return (address == root or address.startswith(f"{root}/")) and ".." not in address.split("/")


def may_leave(table_uri: str) -> bool:
    """Whether the table's log may name files outside of its folder. The engine asks where one does.

    Below ``DELTA_DATA_ROOT``, where owners register tables, a dataset may if an operator said so, and a table that is
    no dataset yet if an operator is registering it. Tables in other places are the operators' own.
    """
    if "://" in table_uri:
        return True
    path = Path(table_uri).resolve()
    if not path.is_relative_to(Path(settings.DELTA_DATA_ROOT).resolve()):
        return True
    allowed = Dataset.objects.filter(table_uri=str(path)).values_list("files_elsewhere", flat=True).first()
    return _operator_registers.get() if allowed is None else allowed
