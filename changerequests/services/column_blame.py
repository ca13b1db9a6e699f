"""Blame of a column: which merged requests changed cells of it, how often, whose they were and who approved them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Max, QuerySet

from changerequests.models import MergeRun
from changerequests.states import RunStatus
from datasets.errors import NotFound
from datasets.models import Dataset
from datasets.rows import column_types


@dataclass(frozen=True)
class ColumnChange:
    """What one merged request did to the column: how many cells of rows that were there it changed.

    ``added`` is whether it brought the column into the table.
    """

    cr_id: str
    title: str
    version: int
    merged_at: datetime | None
    author: str
    merged_by: str
    approved_by: tuple[str, ...]
    reverts: str | None
    cells: int
    added: bool


@dataclass(frozen=True)
class ColumnAuthor:
    """Somebody whose requests changed the column: how many of them, and when the last was merged."""

    author: str
    times: int
    version: int
    merged_at: datetime | None


@dataclass(frozen=True)
class ColumnHistory:
    """A page of a column's changes, newest first, and all people whose requests changed it, the last one first.

    ``times`` counts every merged request that changed it. ``before`` is where the next page begins, None at the end.
    """

    column: str
    is_there: bool
    times: int
    people: tuple[ColumnAuthor, ...]
    changes: tuple[ColumnChange, ...]
    before: int | None


def column_history(
    *, dataset: Dataset, column: str, before: int | None = None, limit: int = 30
) -> ColumnHistory:
    """Who changed a column: from what each merge recorded, without a look at the table.

    ``before`` names a version: only merges of earlier ones are listed. What jobs outside of Headgate wrote, and merges
    whose numbers were lost, are not known here. Raises ``NotFound`` for a column that the table does not have and that
    no merge changed.
    """
    found = _merges_that_changed(dataset, column)
    is_there = column in column_types(dataset.meta.schema_json)
    times = found.count()
    if not is_there and not times:
        raise NotFound(f"The table has no column {column}, and no change request changed one of this name.")
    older = found if before is None else found.filter(merged_version__lt=before)
    listed = list(
        older.select_related(
            "change_request__author", "change_request__merged_by", "change_request__reverts"
        ).order_by("-merged_version", "-pk")[: limit + 1]
    )
    return ColumnHistory(
        column=column,
        is_there=is_there,
        times=times,
        people=_people(found),
        changes=_changes(column, listed[:limit]),
        before=listed[limit - 1].merged_version if len(listed) > limit else None,
    )


def _merges_that_changed(dataset: Dataset, column: str) -> QuerySet[MergeRun]:
    merged = MergeRun.objects.filter(dataset=dataset, status=RunStatus.SUCCEEDED)
    if '"' not in column and "\\" not in column:
        return merged.filter(result__cells_updated__has_key=column)
    # No JSON path of SQLite names a key with a quote in it.
    cells = merged.values_list("pk", "result__cells_updated")
    return merged.filter(pk__in=[pk for pk, by_column in cells if column in (by_column or {})])


def _people(found: QuerySet[MergeRun]) -> tuple[ColumnAuthor, ...]:
    counted = (
        found.order_by()
        .values("change_request__author__username")
        .annotate(
            times=Count("pk"), version=Max("merged_version"), merged_at=Max("change_request__merged_at")
        )
        .order_by("-version")
    )
    return tuple(
        ColumnAuthor(
            one["change_request__author__username"], one["times"], one["version"] or 0, one["merged_at"]
        )
        for one in counted
    )


def _changes(column: str, runs: Sequence[MergeRun]) -> tuple[ColumnChange, ...]:
    changes = []
    for run in runs:
        change_request, result = run.change_request, run.result or {}
        changes.append(
            ColumnChange(
                cr_id=change_request.cr_id,
                title=change_request.title,
                version=run.merged_version or 0,
                merged_at=change_request.merged_at,
                author=str(change_request.author),
                merged_by=str(change_request.merged_by or ""),
                approved_by=tuple(run.approved_by),
                reverts=change_request.reverts.cr_id if change_request.reverts else None,
                cells=result["cells_updated"][column],
                added=any(change["column"] == column for change in result.get("schema_changes", ())),
            )
        )
    return tuple(changes)
