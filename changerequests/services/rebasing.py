"""Rebase: what moved under a request since its base images were taken, and one call to refresh them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import transaction

import merging
from changerequests import selectors
from changerequests.errors import PlanChanged
from changerequests.facts import facts_of
from changerequests.models import ChangeRequest, Revision
from changerequests.policies import require
from changerequests.services import plans, proposals, storage
from changerequests.services.locks import lock_change_request
from changerequests.states import OPEN_STATUSES, Action
from datasets import outages
from datasets.errors import NotFound, TableReplaced
from datasets.rows import ChangedRow, same_value


@dataclass(frozen=True)
class Moved:
    """What happened to the rows of a request since its base version.

    ``cells_edited`` counts, of the moved cells, those that the request edits too; ``rows_settled`` rows are in the
    table already. ``rows`` are the first that moved, with the moved columns as ``changed``; ``versions`` the commits
    since the base that the log still knows, newest first.
    """

    base_version: int
    version: int
    rows_moved: int
    rows_settled: int
    conflicts: int
    cells_moved: Mapping[str, int]
    cells_edited: Mapping[str, int]
    columns_gained: tuple[str, ...]
    rows: tuple[merging.ChangedRow, ...]
    versions: tuple[merging.TableVersion, ...]


def is_edited(row: ChangedRow, column: str) -> bool:
    """Whether the request changes the cell of a row that moved, too."""
    if row.proposed is None or row.base is None:
        return True
    return column in row.proposed and not same_value(row.proposed[column], row.base.get(column))


def what_moved(*, change_request: ChangeRequest, rows: int = 100, versions: int = 50) -> Moved:
    """What moved under an open request, with the table as it is now; with its first ``rows`` rows.

    Raises ``NotFound`` before the first upload and for finished requests, ``TableReplaced`` and the engine's errors.
    """
    if change_request.status not in OPEN_STATUSES:
        raise NotFound(f"{change_request.cr_id} is {change_request.status}: nothing moves under it any more.")
    revision = _revision(change_request)
    with outages.asking(change_request.dataset), plans.naming_missing_content(change_request, revision):
        found = merging.changes_under(plans.merge_request_for(change_request, revision), examples=rows)
        history = merging.history(change_request.dataset.table_uri, limit=versions) if versions else ()
    return Moved(
        base_version=found.base_version,
        version=found.version,
        rows_moved=found.rows_moved,
        rows_settled=found.rows_settled,
        conflicts=found.conflicts,
        cells_moved=found.cells_moved,
        cells_edited=found.cells_edited,
        columns_gained=found.columns_gained,
        rows=found.examples,
        versions=tuple(one for one in history if one.version > found.base_version),
    )


def rebase(*, change_request_id: int, actor: User) -> Revision:
    """Refresh the base images of a draft or pending request; the current revision afterwards. For author and owners.

    What the request edits stays proposed, what it does not edit follows the table, what the table has already is left
    out, and rows in conflict keep their base with the choices made for them. Where none of its rows moved, the digest
    and with it every approval stays. Nothing happens where the base is the present version already.
    Raises ``Forbidden``, ``InvalidTransition``, ``Blocked``, ``PlanChanged`` where new content came meanwhile,
    ``TableReplaced`` and the engine's errors.
    """
    change_request = ChangeRequest.objects.select_related("dataset__meta", "dataset__project").get(
        pk=change_request_id
    )
    require(facts_of(change_request, actor), Action.REBASE)
    revision = _revision(change_request)
    folder = storage.workplace(storage.staging_name(change_request))
    with outages.asking(change_request.dataset):
        rebased = merging.rebase(plans.merge_request_for(change_request, revision), str(folder))
    adopted = False
    try:
        if rebased.staged.base_version == revision.base_version and rebased.staged.digest == revision.digest:
            return revision
        with transaction.atomic():
            change_request = lock_change_request(change_request_id)
            facts = facts_of(change_request, actor)
            require(facts, Action.REBASE)
            if facts.revision != revision:
                raise PlanChanged(
                    "New content was uploaded meanwhile. Look at it, then rebase.", moved="revision"
                )
            fresh = proposals.make_current(
                change_request,
                actor,
                storage.adopted_in_place(rebased.staged),
                file_name=revision.file_name,
                rebased_from=revision,
                facts={
                    "previous_digest": revision.digest,
                    "previous_base_version": revision.base_version,
                    "rows_moved": rebased.rows_moved,
                    "rows_settled": rebased.rows_settled,
                    "rows_in_conflict": rebased.rows_kept,
                },
            )
        adopted = True
    finally:
        if not adopted:
            shutil.rmtree(folder, ignore_errors=True)
            storage.discard(storage.left_in(folder))
    return fresh


def _revision(change_request: ChangeRequest) -> Revision:
    revision = selectors.current_revision(change_request)
    if revision is None:
        raise NotFound("No changes were uploaded yet.")
    if revision.table_id != change_request.dataset.meta.table_id:
        raise TableReplaced("The table was dropped and made anew since the changes were staged.")
    return revision
