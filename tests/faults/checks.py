"""What must be true after every scenario. Reads the table and its log by other means than the engine."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa

from audit.files import file_sha256
from audit.services import verify
from changerequests.models import ChangeRequest, MergeRun
from changerequests.services.agreement import disagreements
from changerequests.states import RunStatus, Status
from datasets.models import Dataset
from datasets.services import installation_identity, reconcile
from tests import kept
from tests.faults.world import Proposal, Rows, Table

_ENDED_WITHOUT_MERGE = (
    RunStatus.CONFLICTED,
    RunStatus.INVALID,
    RunStatus.FAILED,
    RunStatus.CANCELLED,
)


class Broken(AssertionError):
    """An invariant does not hold."""


def check(condition: object, *facts: object) -> None:
    if not condition:
        raise Broken(" ".join(str(fact) for fact in facts))


def check_table(table: Table, *, all_merged: bool) -> None:
    """Every request is merged once or pending with a reason; database, log, rows and audit agree."""
    uri = Path(table.dataset.table_uri)
    log = read_log(uri)
    check(sorted(log) == list(range(len(log))), "the log has a gap:", sorted(log))
    merged: list[tuple[int, Proposal]] = []
    for proposal in table.proposals:
        change_request = ChangeRequest.objects.get(pk=proposal.change_request.pk)
        versions = commits_of(log, change_request)
        if change_request.status == Status.MERGED:
            check(versions == [change_request.merged_version], change_request.cr_id, "is merged in", versions)
            _check_merged(change_request)
            merged.append((versions[0], proposal))
        else:
            check(
                versions == [],
                change_request.cr_id,
                "is",
                change_request.status,
                "and in the log at",
                versions,
            )
            _check_pending(change_request)
            check(not all_merged, change_request.cr_id, "is not merged:", _reason(change_request))
    _check_rows(table, [proposal for _, proposal in sorted(merged, key=lambda pair: pair[0])])
    _check_meta(table.dataset, log)


def check_trail() -> None:
    """What ``verify_audit`` does."""
    breaks = [f"{found.place}: {found.reason}" for found in verify()]
    breaks += [f"{found.place}: {found.reason}" for found in disagreements()]
    check(breaks == [], breaks)


def read_log(table: Path) -> dict[int, list[dict[str, Any]]]:
    """Every commit's actions by version."""
    return {
        int(path.stem): [json.loads(line) for line in path.read_text().splitlines()]
        for path in (table / "_delta_log").glob("*.json")
        if path.stem.isdigit()
    }


def commits_of(log: dict[int, list[dict[str, Any]]], change_request: ChangeRequest) -> list[int]:
    """Versions whose transaction marker says that they merged the request."""
    application = f"{installation_identity()}/{change_request.identity}"
    return sorted(
        version
        for version, actions in log.items()
        for action in actions
        if action.get("txn", {}).get("appId") == application
        and action["txn"]["version"] == change_request.merge_generation
    )


def _check_merged(change_request: ChangeRequest) -> None:
    name = change_request.cr_id
    succeeded = MergeRun.objects.filter(change_request=change_request, status=RunStatus.SUCCEEDED)
    check(
        [run.merged_version for run in succeeded] == [change_request.merged_version],
        name,
        "has the runs",
        list(succeeded.values()),
    )
    check(
        change_request.merge_record is not None and change_request.merged_at is not None,
        name,
        "has no record",
    )
    folder = kept.audit_folder(change_request)
    recorded = (change_request.merge_record or {})["audit_files"]
    wanted = {"merge_result.json", "diff.json", "validation.json", "diff.parquet", "images.parquet"}
    check(wanted <= set(recorded), name, "lacks audit files:", sorted(recorded))
    found = {file: file_sha256(folder / file) for file in recorded}
    check(found == recorded, name, "has changed audit files")
    deadline = time.monotonic() + 15
    while kept.staging_folder(change_request).exists():
        check(time.monotonic() < deadline, name, "still has its staged content")
        time.sleep(0.05)


def _check_pending(change_request: ChangeRequest) -> None:
    name = change_request.cr_id
    check(change_request.status == Status.PENDING, name, "is", change_request.status)
    run = change_request.runs.order_by("-pk").first()
    check(run is not None, name, "is pending without a run")
    assert run is not None
    check(run.status in _ENDED_WITHOUT_MERGE, name, "is pending and its run", run.status)
    check(run.error_code and run.error_message, name, "is pending without a reason")
    check(run.merged_version is None, name, "is pending and its run has a version")
    check(kept.staging_folder(change_request).exists(), name, "lost its staged content")


def _reason(change_request: ChangeRequest) -> str:
    run = change_request.runs.order_by("-pk").first()
    return f"{run.status}: {run.error_message}" if run else "no run"


def _check_rows(table: Table, merged: list[Proposal]) -> None:
    expected: Rows = {**{key: dict(row) for key, row in table.rows.items()}}
    expected |= {key: dict(row) for key, row in table.foreign_rows.items()}
    for proposal in merged:
        for key, seats in (proposal.updates | proposal.inserts).items():
            expected.setdefault(key, {"maker": None})["seats"] = seats
        for key in proposal.deletes:
            del expected[key]
    found = rows_at(table.dataset)
    check(len(found) == len({key for key, _ in found}), "keys occur twice:", found)
    check(dict(found) == expected, "rows are", dict(found), "and not", expected)


def rows_at(dataset: Dataset, version: int | None = None) -> list[tuple[str, dict[str, Any]]]:
    """Every row, read by delta-rs."""
    query = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(dataset.table_uri, version=version))
    content = pa.table(query.execute("SELECT tailnum, seats, maker FROM t").read_all())
    return [(row.pop("tailnum"), row) for row in content.to_pylist()]


def _check_meta(dataset: Dataset, log: dict[int, list[dict[str, Any]]]) -> None:
    dataset.meta.refresh_from_db()
    meta = dataset.meta
    newest = ChangeRequest.objects.filter(dataset=dataset, merged_version__isnull=False).order_by(
        "-merged_version"
    )
    last = newest.values_list("merged_version", flat=True).first() or 0
    check(meta.delta_version >= last, "dataset_meta is at", meta.delta_version, "before", last)
    rows = len(rows_at(dataset, meta.delta_version))
    check(meta.row_count == rows, "dataset_meta counts", meta.row_count, "rows, there are", rows)
    after = reconcile(dataset_id=dataset.pk)
    check((after.delta_version, after.problem) == (max(log), ""), "reconciled to", after.delta_version)
