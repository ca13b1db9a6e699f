"""What of a request's changes somebody has looked at: groups of rows, ticked off one by one, for one content."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Final

from django.contrib.auth.models import User
from django.db.models import QuerySet

import merging
from changerequests import selectors
from changerequests.models import ChangeRequest, Revision, ViewedGroup
from changerequests.services import plans
from changerequests.services.seen import require_revision
from datasets.errors import NotFound
from datasets.rows import json_value

#: Equal edits that have a group of their own; the other edits of a column share one.
MOST_EDITS: Final = 50


@dataclass(frozen=True)
class ChangeGroup:
    """Changed rows that are looked at together: equal edits of a column, its other edits, new rows, or deleted ones.

    ``wanted`` is the filter that shows them (of a column's other edits: all of its edits). ``name`` is the same
    wherever the group is the same.
    """

    name: str
    kind: str
    rows: int
    wanted: merging.ChangesFilter
    column: str = ""
    edit: merging.ValueGroup | None = None
    viewed: bool = False


@dataclass(frozen=True)
class ChangeGroups:
    """All groups of a content; every changed cell is in one."""

    revision: Revision
    groups: tuple[ChangeGroup, ...]

    @property
    def viewed(self) -> int:
        """How many of them the person has ticked off."""
        return sum(group.viewed for group in self.groups)


def change_groups(*, change_request: ChangeRequest, person: User) -> ChangeGroups:
    """The groups of the content that stands, with what the person has viewed of them.

    Raises ``NotFound`` before the first upload, ``ContentMissing``.
    """
    revision = selectors.current_revision(change_request)
    if revision is None:
        raise NotFound(f"Nothing was uploaded to {change_request.cr_id} yet.")
    edits = plans.grouped_changes(change_request=change_request, limit=MOST_EDITS + 1)
    if len(edits) > MOST_EDITS:  # of many, an edit of one row alone is no group
        edits = tuple(edit for edit in edits[:MOST_EDITS] if edit.rows > 1)
    seen = set(_marks(change_request, person, revision).values_list("group", flat=True))
    found = [*_edits(edits), *_other_edits(revision, edits), *_whole_rows(revision)]
    return ChangeGroups(revision, tuple(_marked(group, viewed=group.name in seen) for group in found))


def mark_viewed(
    *, change_request: ChangeRequest, person: User, group: str, viewed: bool = True, revision_digest: str = ""
) -> None:
    """Tick a group off for oneself, or take that back. For everybody who may see the request.

    Raises ``NotFound`` where the content has no such group, ``PlanChanged`` where it is another than was looked at.
    """
    known = change_groups(change_request=change_request, person=person)
    require_revision(known.revision, revision_digest, looked="opened the page", then="tick it off")
    if all(one.name != group for one in known.groups):
        raise NotFound("The content has no such group.")
    if viewed:
        ViewedGroup.objects.get_or_create(
            change_request=change_request,
            person=person,
            revision_digest=known.revision.digest,
            group=group,
        )
    else:
        _marks(change_request, person, known.revision).filter(group=group).delete()


def _marks(change_request: ChangeRequest, person: User, revision: Revision) -> QuerySet[ViewedGroup]:
    return ViewedGroup.objects.filter(
        change_request=change_request, person=person, revision_digest=revision.digest
    )


def _marked(group: ChangeGroup, *, viewed: bool) -> ChangeGroup:
    return ChangeGroup(group.name, group.kind, group.rows, group.wanted, group.column, group.edit, viewed)


def _edits(edits: tuple[merging.ValueGroup, ...]) -> list[ChangeGroup]:
    return [
        ChangeGroup(
            _name("edit", edit.column, json_value(edit.old), json_value(edit.new)),
            "edit",
            edit.rows,
            merging.ChangesFilter(
                operation="update", column=edit.column, old=_text(edit.old), new=_text(edit.new)
            ),
            edit.column,
            edit,
        )
        for edit in edits
    ]


def _other_edits(revision: Revision, edits: tuple[merging.ValueGroup, ...]) -> list[ChangeGroup]:
    grouped: dict[str, int] = {}
    for edit in edits:
        grouped[edit.column] = grouped.get(edit.column, 0) + edit.rows
    rest = {name: number - grouped.get(name, 0) for name, number in sorted(revision.cells_updated.items())}
    return [
        ChangeGroup(
            _name("column", column),
            "column",
            number,
            merging.ChangesFilter(operation="update", column=column),
            column,
        )
        for column, number in rest.items()
        if number > 0
    ]


def _whole_rows(revision: Revision) -> list[ChangeGroup]:
    found = []
    if revision.rows_inserted:
        wanted = merging.ChangesFilter(operation="insert")
        found.append(ChangeGroup("insert", "insert", revision.rows_inserted, wanted))
    if revision.rows_deleted:
        wanted = merging.ChangesFilter(operation="delete")
        found.append(ChangeGroup("delete", "delete", revision.rows_deleted, wanted))
    return found


def _text(value: object) -> merging.CellText:
    return merging.CellText(None if value is None else merging.text_form(value))


def _name(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
