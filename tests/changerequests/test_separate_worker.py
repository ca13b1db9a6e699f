"""The whole path on real services: PostgreSQL, Redis and a worker in a process of its own."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from django.contrib.auth.models import User
from django.db import connection

import merging
from audit.files import file_sha256
from audit.services import verify_chains
from changerequests.models import MergeRun
from changerequests.services import proposals, reviews, runs, staging
from changerequests.states import RunStatus, Status
from datasets.models import Dataset
from datasets.roles import Role, set_role
from datasets.services import create_project, register_dataset
from demo.processes import ManagedProcess
from tests import services
from tests.factories import expect_of, expectation
from tests.kept import audit_folder, staging_folder
from tests.patience import until

pytestmark = pytest.mark.services


@pytest.fixture
def dataset(transactional_db: None, tmp_path: Path) -> Dataset:
    table = str(tmp_path / "planes")
    merging.create_table(
        table,
        pa.table(
            {
                "tailnum": ["N1", "N2", "N3"],
                "seats": pa.array([55, None, 149], pa.int64()),
                "engine": ["Turbo-fan", "Turbo-fan", None],
            }
        ),
    )
    project = create_project(slug="flights", name="Flights")
    return register_dataset(
        project=project, slug="planes", name="planes", table_uri=table, primary_keys=["tailnum"]
    )


@pytest.fixture
def author(dataset: Dataset) -> User:
    return member(dataset, "carl", Role.CONTRIBUTOR)


@pytest.fixture
def owner(dataset: Dataset) -> User:
    return member(dataset, "olivia", Role.OWNER)


def member(dataset: Dataset, name: str, role: Role) -> User:
    user = User.objects.create_user(name)
    set_role(member=user, target=dataset, role=role, actor=None)
    return user


def approved_request(dataset: Dataset, author: User, owner: User, tmp_path: Path, csv: str) -> int:
    path = tmp_path / "changes.csv"
    path.write_text(csv)
    change_request = proposals.create_change_request(dataset=dataset, author=author, title="Fill in seats")
    staging.stage_at_once(
        change_request_id=change_request.pk, actor=author, path=path, file_name="changes.csv"
    )
    proposals.submit(change_request_id=change_request.pk, actor=author)
    reviews.review(change_request_id=change_request.pk, actor=owner, verdict="approve")
    return change_request.pk


def ended(run: MergeRun) -> MergeRun:
    return runs.wait_for_run(run.pk, 30)


def rows(dataset: Dataset) -> dict[str, tuple[int | None, str | None]]:
    page = merging.preview(dataset.table_uri, primary_keys=("tailnum",), limit=100)
    return {row["tailnum"]: (row["seats"], row["engine"]) for row in page.rows}


def test_it_runs_on_postgresql(transactional_db: None) -> None:
    assert connection.vendor == "postgresql"


def test_a_separate_worker_merges_and_the_audit_stands(
    separate_worker: ManagedProcess, dataset: Dataset, author: User, owner: User, tmp_path: Path
) -> None:
    pk = approved_request(dataset, author, owner, tmp_path, "tailnum,seats\nN2,100\nN4,10\n")
    run = ended(runs.request_merge(change_request_id=pk, actor=author))
    assert (run.status, run.error_message) == (RunStatus.SUCCEEDED, "")
    change_request = run.change_request
    assert (change_request.status, change_request.merged_version) == (Status.MERGED, 1)
    assert rows(dataset) == {
        "N1": (55, "Turbo-fan"),
        "N2": (100, "Turbo-fan"),
        "N3": (149, None),
        "N4": (10, None),
    }
    dataset.meta.refresh_from_db()
    assert (dataset.meta.delta_version, dataset.meta.row_count) == (1, 4)
    folder = audit_folder(change_request)
    assert change_request.merge_record is not None
    written = change_request.merge_record["audit_files"]
    assert {"merge_result.json", "diff.json", "diff.parquet", "validation.json"} <= set(written)
    assert {name: file_sha256(folder / name) for name in written} == written
    assert json.loads((folder / "diff.json").read_text())["cells"] == {"seats": 1}
    assert list(verify_chains()) == []
    until(lambda: not staging_folder(change_request).exists())


def test_a_queue_drains_in_order_and_a_conflict_steps_aside(
    process_environment: dict[str, str], dataset: Dataset, author: User, owner: User, tmp_path: Path
) -> None:
    requests = [
        approved_request(dataset, author, owner, tmp_path, f"tailnum,seats\n{row}\n")
        for row in ("N1,60", "N1,61", "N2,62")
    ]
    queued = [runs.request_merge(change_request_id=pk, actor=owner) for pk in requests]
    # Only now does a worker start: the second request was free of conflicts when its merge was asked for.
    with services.worker_process(process_environment, tmp_path / "worker.log"):
        first, conflicting, last = [ended(run) for run in queued]
    assert [run.status for run in (first, conflicting, last)] == [
        RunStatus.SUCCEEDED,
        RunStatus.CONFLICTED,
        RunStatus.SUCCEEDED,
    ]
    assert conflicting.change_request.status == Status.PENDING
    assert conflicting.error_code == "merge_conflict"
    assert conflicting.error_data["conflicts"][0]["column"] == "seats"
    assert [first.merged_version, last.merged_version] == [1, 2]
    assert rows(dataset)["N1"][0] == 60


def test_write_skew_is_blocked_in_the_worker(
    process_environment: dict[str, str], dataset: Dataset, author: User, owner: User, tmp_path: Path
) -> None:
    turbo_fans = {
        "type": "comparison",
        "column": {"name": "engine"},
        "operator": "==",
        "parameter": "Turbo-fan",
    }
    expect_of(
        dataset,
        expectation("column_values_to_be_between", column="seats", max_value=200, row_condition=turbo_fans),
        expectation("column_values_to_be_dateutil_parseable", "warning", column="tailnum"),
    )
    requests = [
        approved_request(dataset, author, owner, tmp_path, csv)
        for csv in ("tailnum,engine\nN3,Turbo-fan\n", "tailnum,seats\nN3,300\n")
    ]
    queued = [runs.request_merge(change_request_id=pk, actor=owner) for pk in requests]
    staged = [path for path in staging_folder(queued[1].change_request).rglob("*") if path.is_file()]
    before = {path: file_sha256(path) for path in staged}
    with services.worker_process(process_environment, tmp_path / "worker.log"):
        merged, broken = [ended(run) for run in queued]

    assert (merged.status, merged.merged_version) == (RunStatus.SUCCEEDED, 1)
    assert (broken.status, broken.error_code) == (RunStatus.INVALID, "validation_failed")
    assert broken.change_request.status == Status.PENDING
    assert {path: file_sha256(path) for path in staged} == before
    assert merging.inspect_table(dataset.table_uri).version == 1
    assert rows(dataset)["N3"] == (149, "Turbo-fan")
    skewed, parsed = broken.expectation_check.report["results"]
    assert skewed["failing_rows"] == [
        {
            "key": {"tailnum": "N3"},
            "values": {"seats": 300, "engine": "Turbo-fan"},
            "before": {"seats": 149, "engine": "Turbo-fan"},
            "new": True,
        }
    ]
    # The other was left to the worker, which has asked Great Expectations itself.
    assert (parsed["checked_by"], parsed["state"], parsed["error"]) == (
        "great_expectations",
        "pre_existing",
        None,
    )


def test_the_workers_log_names_request_and_run(
    separate_worker: ManagedProcess, dataset: Dataset, author: User, owner: User, tmp_path: Path
) -> None:
    pk = approved_request(dataset, author, owner, tmp_path, "tailnum,seats\nN2,424242\n")
    run = ended(runs.request_merge(change_request_id=pk, actor=author))
    log = tmp_path / "worker.log"

    def lines() -> list[dict[str, object]]:
        return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]

    until(lambda: any(line["event"] == "merge_ended" for line in lines()))
    of_run = [line for line in lines() if line.get("run_id") == run.pk]
    assert {"merge_started", "merge_ended"} <= {line["event"] for line in of_run}
    assert {line["cr_id"] for line in of_run} == {f"CR-{pk}"}
    assert "424242" not in log.read_text()
