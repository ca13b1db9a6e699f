"""What the database remembers of a table: after every merge, and reconciled when others write."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

import merging
from audit.row_locks import locked
from audit.services import dataset_stream, record
from datasets import outages
from datasets.errors import Forbidden
from datasets.models import Dataset, DatasetMeta
from datasets.operators import is_operator
from datasets.roles import may_contribute


def reconcile(*, dataset_id: int, actor: User | None = None) -> DatasetMeta:
    """Read the table's log and bring ``dataset_meta`` up to it, whoever wrote; an event tells what moved. Back to it,
    where the table was put back from a backup.

    A table that cannot be read, is gone or was replaced keeps its last known facts and gets a ``problem``.
    ``actor`` is None for the system; people need the role of a contributor or operate the installation.
    """
    dataset = Dataset.objects.select_related("project", "meta").get(pk=dataset_id)
    if actor is not None and not (may_contribute(actor, dataset) or is_operator(actor)):
        raise Forbidden("To reconcile a dataset you need the role of a contributor.")
    info, problem = None, ""
    try:
        info = merging.inspect_table(dataset.table_uri)
    except merging.TableUnreachable as error:
        outages.note_outage(error)
        if error.retriable:  # no problem of the table, and no gate falls for it: what is known stays
            return DatasetMeta.objects.get(dataset=dataset)
        problem = error.message
    except merging.MergeError as error:
        problem = error.message
    if info is not None and dataset.meta.unreachable_since is not None:
        outages.note_answer(dataset, of_table_alone=True)
    with transaction.atomic():
        before, after = _remember(dataset, info, problem, known_before=dataset.meta.delta_version)
        if before != after:
            record(
                stream=dataset_stream(dataset.pk),
                action="dataset.reconciled",
                subject_type="dataset",
                subject_id=str(dataset.pk),
                actor=actor.get_username() if actor else "",
                data={"before": before, "after": after},
            )
    return DatasetMeta.objects.get(dataset=dataset)


def reconcile_all() -> int:
    """Bring what is known of every table up to its log; returns how many moved.

    Three statements, and those of ``reconcile`` for each table that somebody else wrote to. Of a store that does not
    answer one table is asked for all, and none where nobody is to ask it now.
    """
    started, failing = timezone.now(), outages.failing_places()
    unmoved: list[int] = []
    moved: list[int] = []
    for dataset in Dataset.objects.select_related("meta").order_by("pk"):
        place = outages.place_of(dataset)
        turn = outages.turn_of_table(dataset) if place in failing else outages.Turn()
        if turn.off is not None:
            continue
        try:
            is_known = _is_as_known(dataset)
        except merging.TableUnreachable as error:
            outages.note_outage(error)
            failing.add(place)
            continue
        if turn.is_probe:
            outages.note_answer(dataset, of_table_alone=True)
        (unmoved if is_known else moved).append(dataset.pk)
    DatasetMeta.objects.filter(pk__in=unmoved, checked_at__lt=started).update(checked_at=timezone.now())
    for dataset_id in moved:
        reconcile(dataset_id=dataset_id)
    return len(moved)


def _is_as_known(dataset: Dataset) -> bool:
    """Whether the table's log says what is remembered. Not where the table cannot be read, as may be known already.

    Raises ``merging.TableUnreachable`` where that may pass by itself.
    """
    try:
        facts = facts_of(merging.inspect_table(dataset.table_uri))
    except merging.MergeError as error:
        if isinstance(error, merging.TableUnreachable) and error.retriable:
            raise
        return False
    if dataset.meta.unreachable_since is not None:
        return False
    return all(getattr(dataset.meta, name) == value for name, value in facts.items() if name != "checked_at")


def remember_table(dataset: Dataset, info: merging.TableInfo) -> None:
    """Store what the log says after a merge. Call it in the transaction that marks the merge."""
    _remember(dataset, info, "")


def _remember(
    dataset: Dataset, info: merging.TableInfo | None, problem: str, *, known_before: int | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """``known_before`` is the version that was known when the log was not read yet, where somebody asked."""
    meta = locked(DatasetMeta.objects.all()).get(dataset=dataset)
    before = _summary(meta)
    told = {} if info is None else outages.REACHABLE
    if info is not None and info.table_id != meta.table_id:
        problem = (
            f"The table at {dataset.table_uri} was dropped and made anew (it was {meta.table_id}, "
            f"it is {info.table_id}). Register the new table as a dataset of its own."
        )
        info = None
    elif info is not None and info.files_elsewhere and not dataset.files_elsewhere:
        problem, info = merging.FilesElsewhere(dataset.table_uri, info.files_elsewhere).message, None
    if info is not None and info.version < meta.delta_version != known_before:
        return before, before  # a slower reader must not take back what a merge has recorded meanwhile
    for name, value in {**told, **(facts_of(info) if info else {})}.items():
        setattr(meta, name, value)
    meta.problem, meta.checked_at = problem, timezone.now()
    meta.save()
    return before, _summary(meta)


def _summary(meta: DatasetMeta) -> dict[str, Any]:
    return {"delta_version": meta.delta_version, "row_count": meta.row_count, "problem": meta.problem}


def facts_of(info: merging.TableInfo) -> dict[str, Any]:
    """The table as its log tells it, as columns of ``DatasetMeta``."""
    return {
        "table_id": info.table_id,
        "delta_version": info.version,
        "row_count": info.row_count,
        "schema_json": json.loads(info.schema_json),
        "partition_columns": list(info.partition_columns),
        "size_bytes": info.size_bytes,
        "file_count": info.file_count,
        "strategy": info.strategy,
        "version_timestamp": info.timestamp,
        "checked_at": timezone.now(),
        "problem": "",
    }
