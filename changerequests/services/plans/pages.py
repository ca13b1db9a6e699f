"""What reviewers read: pages of changes, groups of equal edits, conflicts with what stands for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import merging
from changerequests import selectors
from changerequests.models import ChangeRequest, ConflictResolution, Revision
from changerequests.services.choices import choice_digest
from changerequests.services.plans.planning import (
    conflicts_of,
    naming_gone_content,
    naming_missing_content,
    plan_of,
)
from changerequests.services.storage import artefacts_of, content_of
from changerequests.states import Status
from datasets.errors import NotFound
from datasets.rows import json_value, keepable, key_digest

PAGE_SIZE = 100
ALL_CHANGES = merging.ChangesFilter()
#: How many conflicts an error answer lists; the count of rows is exact, and all of them are in their pages.
LISTED_CONFLICTS = 100
ALL_CONFLICTS = merging.ConflictFilter()


def changes_page(
    *,
    change_request: ChangeRequest,
    number: int | None = None,
    wanted: merging.ChangesFilter = ALL_CHANGES,
    after: str | None = None,
    limit: int = PAGE_SIZE,
) -> merging.ChangesPage[merging.ChangedRow]:
    """What the request changes (``before`` and ``after`` of each row), in key order: Base against Proposed while it is
    open; what was merged, once it is merged. With ``number`` what that revision changes.

    Raises ``ContentMissing`` where the files that hold it are gone, ``NotFound`` and ``ContentGone`` for a revision
    that is not there, or not kept; the engine's InvalidFilter and InvalidCursor.
    """
    current = selectors.current_revision(change_request)
    revision = current if number is None else revision_called(change_request, number)
    if revision is None:
        return merging.ChangesPage(())
    if revision != current:
        with naming_gone_content(change_request, revision):
            return merging.open_for_pages(content_of(revision)).page(wanted, after=after, limit=limit)
    with naming_missing_content(change_request, revision):
        if change_request.status == Status.MERGED:
            return merging.read_diff(artefacts_of(change_request), wanted, after=after, limit=limit)
        return merging.open_for_pages(content_of(revision)).page(wanted, after=after, limit=limit)


def revision_called(change_request: ChangeRequest, number: int) -> Revision:
    """The revision with this number. Raises ``NotFound``."""
    found = change_request.revisions.select_related("created_by").filter(number=number).first()
    if found is None:
        raise NotFound(f"{change_request.cr_id} has no revision {number}.")
    return found


def staged_row(*, change_request: ChangeRequest, key: Mapping[str, Any]) -> merging.ChangedRow | None:
    """What the content of an open request does to the row of a key, in its columns' types; None where it does nothing,
    where nothing was uploaded yet and where the content is gone.
    """
    revision = selectors.current_revision(change_request)
    if revision is None:
        return None
    try:
        return merging.open_for_pages(content_of(revision)).row(key)
    except merging.StagedCorrupt:
        return None


def usual_ranges(revision: Revision) -> Mapping[str, tuple[Any, Any]]:
    """The least and the greatest value that columns had in the table when the content was staged, where that is known;
    nothing where the content is gone.
    """
    try:
        return merging.open_for_pages(content_of(revision)).ranges
    except merging.StagedCorrupt:
        return {}


def grouped_changes(*, change_request: ChangeRequest, limit: int = 50) -> tuple[merging.ValueGroup, ...]:
    """The most frequent equal edits of an open request, for reviewers of many rows. Raises ``ContentMissing``."""
    revision = selectors.current_revision(change_request)
    if revision is None or change_request.status == Status.MERGED:
        return ()
    with naming_missing_content(change_request, revision):
        return merging.open_for_pages(content_of(revision)).value_groups(limit=limit)


@dataclass(frozen=True)
class ConflictsPage:
    """A page of conflicts in key order with exact counts: of all of them, and of those that a filter lets through.

    ``standing`` are the choices by key digest and column; ``newest`` is the last choice that was made before the page
    was. ``selection`` is what was seen of all that the filter lets through: send that back with a choice for all of it.
    ``selections`` say the same of each column (empty for whole rows). ``offered`` tells for how many of those without a
    choice each choice can be made.
    """

    conflicts: tuple[merging.Conflict, ...]
    next: str | None
    total: int
    unresolved: int
    table_version: int
    standing: Mapping[tuple[str, str], ConflictResolution] = field(default_factory=dict)
    columns: tuple[merging.ConflictColumn, ...] = ()
    matching: int = 0
    offered: Mapping[merging.Choice, int] = field(default_factory=dict)
    selection: str = ""
    selections: Mapping[str, str] = field(default_factory=dict)
    newest: int = 0

    def chosen_for(self, conflict: merging.Conflict) -> ConflictResolution | None:
        """Who chose what stands for a conflict of this page, and when."""
        found = self.standing.get((key_digest(conflict.key), conflict.column or ""))
        return found if conflict.choice is not None else None


def seen_choice(conflict: merging.Conflict) -> str:
    """What stands for the choice that somebody sees for a conflict: send it back with another choice."""
    return choice_digest(conflict.choice, keepable(conflict.value))


def read_selection(seen: str) -> tuple[str, int]:
    """The digest of a selection, and the newest choice that was made before it was shown."""
    digest, _, newest = seen.rpartition("-")
    return digest, int(newest) if newest.isascii() and newest.isdecimal() and len(newest) <= 18 else 0


def conflicts_page(
    *,
    change_request: ChangeRequest,
    wanted: merging.ConflictFilter = ALL_CONFLICTS,
    unresolved_only: bool = False,
    after: str | None = None,
    limit: int = PAGE_SIZE,
    by_column: bool = False,
) -> ConflictsPage:
    """The conflicts of an open request with the table as it is now; none before the first upload. ``by_column`` asks
    for ``selections``.

    Raises the engine's ``InvalidFilter`` and ``InvalidCursor``, also for a page further on where nothing can conflict
    any more, and as ``conflicts_of`` does.
    """
    if not _may_conflict(change_request):
        if after:
            raise merging.InvalidCursor("There are no conflicts any more; start from the first page.")
        return ConflictsPage((), None, 0, 0, change_request.dataset.meta.delta_version)
    newest = selectors.newest_choice(change_request)  # before the choices: what comes after it was not seen
    with conflicts_of(change_request) as found:
        page = found.page(wanted, after=after, limit=limit, unresolved_only=unresolved_only)
        columns = found.columns()
        return ConflictsPage(
            page.items,
            page.next,
            sum(one.total for one in columns),
            sum(one.unresolved for one in columns),
            found.version,
            selectors.choices_for(change_request, {key_digest(one.key) for one in page.items}),
            columns,
            found.count(wanted, unresolved_only=unresolved_only),
            found.offered(wanted),
            f"{found.selection(wanted)}-{newest}",
            _selections(found, newest) if by_column else {},
            newest,
        )


def _selections(found: merging.KeptConflicts, newest: int) -> dict[str, str]:
    names = {one.column for one in found.columns()}
    return {name: f"{found.selection(merging.ConflictFilter(column=name))}-{newest}" for name in names}


def _may_conflict(change_request: ChangeRequest) -> bool:
    is_open = change_request.status in (Status.DRAFT, Status.PENDING)
    return is_open and selectors.current_revision(change_request) is not None


def conflicts_at(*, change_request: ChangeRequest, digests: Collection[str]) -> ConflictsPage:
    """Those of an open request's conflicts that these input digests stand for, as a page of them has them."""
    if not _may_conflict(change_request):
        return ConflictsPage((), None, 0, 0, change_request.dataset.meta.delta_version)
    newest = selectors.newest_choice(change_request)
    with conflicts_of(change_request) as found:
        items = tuple(found.at(digests).values())
        columns = found.columns()
        return ConflictsPage(
            items,
            None,
            sum(one.total for one in columns),
            sum(one.unresolved for one in columns),
            found.version,
            selectors.choices_for(change_request, {key_digest(one.key) for one in items}),
            columns,
            newest=newest,
        )


def conflict_document(conflict: merging.Conflict) -> dict[str, Any]:
    """A conflict in JSON values: what a run keeps of it, and an error answer tells."""
    return {
        "key": json_value(conflict.key),
        "column": conflict.column,
        "kind": conflict.kind,
        **{name: json_value(value) for name, value in vars(conflict.sides).items()},
        "inputs_digest": conflict.inputs_digest,
        "legal_choices": list(conflict.legal_choices),
        "message": conflict.message,
        "choice": conflict.choice,
        "value": json_value(conflict.value),
    }


@dataclass(frozen=True)
class OpenConflicts:
    """The conflicts without a choice: how many rows they are in, and the first of them."""

    rows: int
    listed: tuple[merging.Conflict, ...]


def open_conflicts(change_request: ChangeRequest) -> OpenConflicts:
    """What still needs a choice, with the table as it is now. Raises as ``plan_of`` does."""
    rows, last_key = 0, None
    listed: list[merging.Conflict] = []
    with plan_of(change_request) as plan:
        for conflict in plan.conflicts:  # in key order, so that equal keys stand together
            if conflict.choice is not None:
                continue
            rows += conflict.key != last_key
            last_key = conflict.key
            if len(listed) < LISTED_CONFLICTS:
                listed.append(conflict)
    return OpenConflicts(rows, tuple(listed))
