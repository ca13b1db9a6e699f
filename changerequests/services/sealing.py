"""Introducing a key of the audit trail: what was written before it is sealed under it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q

from audit.selectors import seals_in
from audit.services import INSTALLATION_STREAM, dataset_stream, introduce_key, record, unsealed_entries
from changerequests.models import ChangeRequest, Comment, MergeRun
from changerequests.services.evidence import KEPT, MERGE, OUTCOME, REQUEST, RUN, THREAD, WAIT
from changerequests.services.vouched import ROWS_SEALED
from changerequests.states import ACTIVE_RUN_STATUSES, Status
from datasets.evidence import ACCOUNT, DATASET, SUITE_VERSION, memberships_now, permissions_now, roles_now
from datasets.models import Dataset, SuiteVersion
from datasets.roles import role_names

#: How many rows one entry seals.
ROWS_IN_ENTRY = 500


#: What an entry says once the permissions were sealed that there were before entries told of any.
_PERMISSIONS: Final = "permissions from before"


@dataclass(frozen=True)
class Introduced:
    """What an introduction sealed: whether entries, and how many rows from before entries vouched for any."""

    entries: bool
    rows: int


def introduce_audit_key() -> Introduced:
    """Seal every entry that another key (or none) wrote, and let only the current key write from now on.

    The first time it also lets entries vouch for the rows that there are: as they are found, so verify before. Rows are
    never sealed so a second time, but for permissions, which no entry of earlier releases tells of. Safe to call again.
    """
    with transaction.atomic():
        first = unsealed_entries()
        entries = introduce_key() is not None
        rows = sum(_seal_rows()) if first else 0
        if _PERMISSIONS not in seals_in(INSTALLATION_STREAM):
            rows += _tell(INSTALLATION_STREAM, {_PERMISSIONS: "sealed", **permissions_now()}) - 1
    return Introduced(entries, rows)


def _seal_rows() -> Iterator[int]:
    for dataset in Dataset.objects.order_by("pk"):
        yield _tell(dataset_stream(dataset.pk), dict(_of(dataset)))
    accounts = {
        name: text for user in User.objects.order_by("pk") for name, text in ACCOUNT.seal(user).items()
    }
    yield _tell(INSTALLATION_STREAM, {**accounts, **memberships_now(), **roles_now(role_names())})


def _tell(stream: str, found: dict[str, str]) -> int:
    known = seals_in(stream)
    missing = [(name, text) for name, text in found.items() if name not in known]
    for some in _chunks(missing):
        record(stream=stream, action=ROWS_SEALED, subject_type="audit", subject_id=stream, rows=dict(some))
    return len(missing)


def _chunks(found: list[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    for start in range(0, len(found), ROWS_IN_ENTRY):
        yield found[start : start + ROWS_IN_ENTRY]


def _of(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """What entries would hold of a dataset and of all that belongs to it."""
    yield from DATASET.seal(dataset).items()
    for version in SuiteVersion.objects.filter(dataset=dataset).order_by("pk"):
        yield from SUITE_VERSION.seal(version).items()
    for kind in KEPT:
        path = {REQUEST: Q(dataset=dataset), RUN: Q(dataset=dataset)}.get(
            kind, Q(change_request__dataset=dataset)
        )
        for row in kind.model._default_manager.filter(path).order_by("pk").iterator():
            yield from kind.seal(row).items()
            yield from _sides(row)


def _sides(row: object) -> Iterator[tuple[str, str]]:
    """The other sides of a row, where they hold something by now."""
    if isinstance(row, ChangeRequest) and row.status == Status.MERGED:
        yield from MERGE.seal(row).items()
    if isinstance(row, ChangeRequest) and row.merge_when_ready_by_id is not None:
        yield from WAIT.seal(row).items()
    if isinstance(row, Comment) and row.resolved_at is not None:
        yield from THREAD.seal(row).items()
    if isinstance(row, MergeRun) and row.status not in ACTIVE_RUN_STATUSES:
        yield from OUTCOME.seal(row).items()
