"""Who made Current what it is: for the conflicts of a page, the merge or the commit from outside that changed them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import merging
from changerequests import selectors
from changerequests.models import ChangeRequest
from changerequests.services.storage import artefacts_of
from datasets.rows import key_digest

#: So many merges since the base are looked into, newest first: one that is older is said to be unknown.
MOST_MERGES = 200
#: So many versions since the base are read from the log for what others committed.
MOST_VERSIONS = 1_000
#: Operations, as logs name them, that leave every row as it is.
_WITHOUT_ROWS = frozenset(
    {"OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES", "ADD CONSTRAINT", "REORG"}
)


@dataclass(frozen=True)
class CurrentOrigin:
    """What changed a cell or row of the table after the base: a merged request, or a commit of somebody else's.

    ``version`` is None where it was one of several commits from outside, those after ``since`` up to ``until``; ``who``
    and ``how`` are what the log says of a commit.
    """

    version: int | None
    at: datetime | None = None
    change_request: ChangeRequest | None = None
    who: str = ""
    how: str = ""
    since: int = 0
    until: int = 0


def origins_of(
    change_request: ChangeRequest, conflicts: Sequence[merging.Conflict], version: int
) -> dict[tuple[str, str], CurrentOrigin]:
    """By key digest and column (empty for whole rows) where what stands in a version of the table is from.

    Costs the images of those merges since the base that touched the rows, and the log where none of them did it.
    """
    revision = selectors.current_revision(change_request)
    waiting = {(key_digest(one.key), one.column or ""): one for one in conflicts if one.key}
    if revision is None or not waiting:
        return {}
    merged = list(
        ChangeRequest.objects.filter(
            dataset=change_request.dataset_id,
            merged_version__gt=revision.base_version,
            merged_version__lte=version,
        )
        .select_related("author", "merged_by")
        .order_by("-merged_version")[:MOST_MERGES]
    )
    folders = {artefacts_of(one): one for one in merged}
    keys = list({place[0]: one.key for place, one in waiting.items()}.values())
    found: dict[tuple[str, str], CurrentOrigin] = {}
    outside: set[tuple[str, str]] = set()
    for folder, rows in merging.trace_rows(list(folders), keys):
        for row in rows:
            for place in _changed_by(row, waiting):
                # The newest merge that touched it made it, or somebody else changed it after that.
                if _stands(row, waiting.pop(place)):
                    found[place] = _of_merge(folders[folder])
                else:
                    outside.add(place)
    unexplained = outside | waiting.keys()
    if unexplained:
        found |= dict.fromkeys(
            unexplained, _from_outside(change_request, merged, revision.base_version, version)
        )
    return found


def _changed_by(
    row: merging.ChangedRow, waiting: Mapping[tuple[str, str], merging.Conflict]
) -> list[tuple[str, str]]:
    digest = key_digest(row.key)
    return [
        place
        for place in waiting
        if place[0] == digest and (row.operation != "update" or not place[1] or place[1] in row.changed)
    ]


def _stands(row: merging.ChangedRow, conflict: merging.Conflict) -> bool:
    """Whether the table still has what a merge made of the row, or of the cell."""
    if conflict.column is None:
        return merging.same_value(row.after, conflict.current)
    return row.after is not None and merging.same_value(row.after.get(conflict.column), conflict.current)


def _of_merge(merged: ChangeRequest) -> CurrentOrigin:
    who = merged.merged_by or merged.author
    return CurrentOrigin(
        merged.merged_version, merged.merged_at, merged, who.get_full_name() or who.get_username()
    )


def _from_outside(
    change_request: ChangeRequest, merged: Sequence[ChangeRequest], base: int, version: int
) -> CurrentOrigin:
    """The one commit from outside since the base, or that it was one of several."""
    ours = {one.merged_version for one in merged}
    since = merging.history(
        change_request.dataset.table_uri, limit=min(version - base, MOST_VERSIONS), before=version + 1
    )
    foreign = [one for one in since if one.version > base and one.version not in ours and _changes_rows(one)]
    if len(since) == version - base and len(foreign) == 1:
        [one] = foreign
        return CurrentOrigin(
            one.version, one.timestamp, None, one.user, " by ".join(filter(None, (one.operation, one.engine)))
        )
    return CurrentOrigin(None, since=base, until=version)


def _changes_rows(one: merging.TableVersion) -> bool:
    return one.operation not in _WITHOUT_ROWS
