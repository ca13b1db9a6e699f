"""Pending requests whose numbers are of an earlier version of the table: which of them its move concerns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import F, FloatField
from django.db.models.functions import Cast

import merging
from changerequests.facts import Facts, facts_of_many
from changerequests.models import ChangeRequest, PlanCheck
from changerequests.services import plans
from changerequests.services.storage import artefacts_of, content_of
from changerequests.states import Status
from datasets import outages
from datasets.models import Dataset, MaintenanceRun


def check_pending(*, dataset_id: int) -> int:
    """Plan the pending requests of a dataset again whose numbers the moves of its table can have changed; how many.

    Merges of ours change nothing for a request that is for other rows, and maintenance changes no row: its numbers are
    carried forward. After anything else (commits of others, new columns) every request is planned again.
    """
    dataset = Dataset.objects.select_related("meta", "project").get(pk=dataset_id)
    pending = ChangeRequest.objects.filter(
        dataset=dataset, status=Status.PENDING, revisions__is_current=True
    ).select_related("dataset__meta", "dataset__project")
    facts = facts_of_many(pending)
    try:
        with outages.asking(dataset):
            table = merging.inspect_table(dataset.table_uri)
    except merging.TableUnreachable:
        return 0  # whoever asks next looks again, and a merge at any rate
    except merging.MergeError:
        concerned = facts  # each says why
    else:
        replaced = table.table_id != dataset.meta.table_id
        concerned = facts if replaced else _concerned(dataset, facts, table)
    for one in concerned:
        plans.check(change_request_id=one.change_request.pk)
    return len(concerned)


def _concerned(dataset: Dataset, facts: Iterable[Facts], table: merging.TableInfo) -> list[Facts]:
    """Those that have to be planned again; the numbers of the others are of the table's version after this."""
    concerned: list[Facts] = []
    by_version: dict[int, list[Facts]] = {}
    for one in facts:
        check = one.plan_check
        if check is None or check.problem or check.table_version > table.version:
            concerned.append(one)
        elif check.table_version < table.version:
            by_version.setdefault(check.table_version, []).append(one)
    if not by_version:
        return concerned
    moves = _moves(dataset, min(by_version))
    for version, group in by_version.items():
        since = range(version + 1, table.version + 1)
        if any(move not in moves for move in since):
            concerned += group
            continue
        artefacts = [folder for move in since if (folder := moves[move])]
        touched = merging.contents_touched(_contents(group), artefacts)
        concerned += [one for one in group if one.change_request.pk in touched]
        _carry_forward([one for one in group if one.change_request.pk not in touched], version, table)
    return concerned


def _contents(group: Iterable[Facts]) -> dict[int, str]:
    return {one.change_request.pk: content_of(one.revision) for one in group if one.revision is not None}


def _moves(dataset: Dataset, version: int) -> Mapping[int, str]:
    """What is known of the table's versions after this one: the folder with the images of the rows that a merge
    changed, empty for maintenance. Versions that others made, and those with new columns, are not in it.
    """
    merged = ChangeRequest.objects.filter(dataset=dataset, merged_version__gt=version)
    visits = MaintenanceRun.objects.filter(dataset=dataset, version_after__gt=version)
    moves: dict[int, str] = {
        compacted: ""
        for report in visits.values_list("report", flat=True)
        if (compacted := report.get("compaction", {}).get("version")) is not None
    }
    for request in merged:
        record: dict[str, Any] = request.merge_record or {}
        if request.merged_version is not None and not record["result"]["schema_changes"]:
            moves[request.merged_version] = artefacts_of(request)
    return moves


def _carry_forward(untouched: Iterable[Facts], version: int, table: merging.TableInfo) -> None:
    """Let numbers of a version stand for the table as it is now. A check that was made meanwhile stays as it is."""
    revisions = [one.revision.pk for one in untouched if one.revision is not None]
    rows = table.row_count or 0
    PlanCheck.objects.filter(revision__in=revisions, table_version=version).update(
        table_version=table.version,
        row_count_before=rows,
        row_count_after=F("rows_added") - F("rows_deleted") + rows,
        deleted_share=Cast("rows_deleted", FloatField()) / rows if rows else 0.0,
    )
