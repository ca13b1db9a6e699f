"""Which tables may name files outside of their folder: those that operators registered so."""

from __future__ import annotations

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
