"""Looking after tables: what is due and asked for, under the lease, beside merges, with what requests need kept."""

import json
import os
import shutil
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

import merging
from audit import bells, outbox
from audit.selectors import events_in
from audit.services import dataset_stream, verify_chains
from changerequests.models import MergeRun
from changerequests.services import (
    blame,
    execution,
    maintenance,
    plans,
    proposals,
    rebasing,
    retention,
    reverts,
    runs,
)
from changerequests.services.execution import claiming
from changerequests.states import RunStatus
from datasets import leases
from datasets.errors import DatasetBusy, Forbidden, InvalidInput, MaintenanceStopped
from datasets.models import Dataset, DatasetLease, DatasetMeta, MaintenanceRun
from datasets.operators import make_operator
from datasets.roles import Role
from datasets.work import MOST_ATTEMPTS
from merging.delta import commit
from merging.delta.writing import no_step
from tests.factories import (
    PLANES,
    ChangeRequestFactory,
    DatasetFactory,
    UserFactory,
    drain,
    merge,
    person_with,
    rows_of,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def rung(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Messages that would have gone to workers; every event rings for those who are told of it, which is not noted."""
    sent: list[Any] = []

    def ring(task: str, *arguments: int) -> None:
        if task != outbox.DISPATCH:
            sent.append((task, *arguments))

    monkeypatch.setattr(bells, "ring", ring)
    return sent


def append(dataset: Dataset, *tailnums: str) -> None:
    for tailnum in tailnums:
        row = {"tailnum": [tailnum], "year": [2000], "manufacturer": ["X"], "seats": [1]}
        schema = pa.schema(
            [
                ("tailnum", pa.string()),
                ("year", pa.int64()),
                ("manufacturer", pa.string()),
                ("seats", pa.int64()),
            ]
        )
        deltalake.write_deltalake(dataset.table_uri, pa.table(row, schema=schema), mode="append")


def work(dataset: Dataset) -> MaintenanceRun | None:
    return maintenance.maintain(dataset_id=dataset.pk, worker="w")


def ask(dataset: Dataset, actor: User, *jobs: str) -> MaintenanceRun:
    return maintenance.request_maintenance(dataset_id=dataset.pk, actor=actor, jobs=list(jobs), reason="slow")


def later(*, days: int) -> time_machine.travel:
    return time_machine.travel(timezone.now() + timedelta(days=days))


def age(dataset: Dataset) -> None:
    """Every data file of the table is a year old."""
    for path in Path(dataset.table_uri).rglob("*"):
        if path.is_file() and "_delta_log" not in path.parts:
            os.utime(path, (1_600_000_000, 1_600_000_000))


def data_files(dataset: Dataset) -> set[str]:
    return {
        path.name for path in Path(dataset.table_uri).rglob("*.parquet") if "_delta_log" not in path.parts
    }


def actions(dataset: Dataset) -> list[str]:
    return [
        event.action
        for event in events_in(dataset_stream(dataset.pk))
        if event.action.startswith("maintenance")
    ]


def test_an_owner_has_a_table_compacted(dataset: Dataset, owner: User, rung: list[Any]) -> None:
    merge(ChangeRequestFactory(dataset=dataset), owner)
    pending = ChangeRequestFactory(dataset=dataset, csv="tailnum,seats\nN1,150\n")
    before = rows_of(dataset)
    rung.clear()
    run = ask(dataset, owner, "compaction")
    assert rung == [("changerequests.maintain", dataset.pk)]
    assert (run.status, run.jobs, run.reason) == ("queued", ["compaction"], "slow")
    rung.clear()
    done = work(dataset)
    assert done is not None
    assert (done.pk, done.status, done.error_message) == (run.pk, "succeeded", "")
    assert (done.version_before, done.version_after, done.row_count) == (1, 2, 5)
    report = done.report["compaction"]
    assert (report["files_removed"], report["files_added"], report["vectors_folded"]) == (2, 1, 1)
    assert rows_of(dataset) == before
    assert DatasetMeta.objects.get(dataset=dataset).delta_version == 2
    assert rung == [("changerequests.check_pending", dataset.pk)]
    assert actions(dataset) == ["maintenance.requested", "maintenance.succeeded"]
    [entry] = merging.history(dataset.table_uri, limit=1)
    assert (entry.operation, entry.user) == ("OPTIMIZE", owner.get_username())
    assert DatasetLease.objects.get(dataset=dataset).holder == ""
    assert list(verify_chains()) == []
    assert merge(pending, owner).status == RunStatus.SUCCEEDED


def test_only_owners_and_operators_ask_and_once_at_a_time(dataset: Dataset, owner: User) -> None:
    contributor = person_with(Role.CONTRIBUTOR, dataset)
    with pytest.raises(Forbidden):
        ask(dataset, contributor, "compaction")
    for jobs in ([], ["everything"]):
        with pytest.raises(InvalidInput):
            ask(dataset, owner, *jobs)
    assert MaintenanceRun.objects.count() == 0
    operator = UserFactory()
    make_operator(operator)
    ask(dataset, User.objects.get(pk=operator.pk), "vacuum", "checkpoint")
    assert MaintenanceRun.objects.get().jobs == ["checkpoint", "vacuum"]
    with pytest.raises(DatasetBusy):
        ask(dataset, owner, "compaction")
    assert actions(dataset) == ["maintenance.requested"]


def test_settings_make_jobs_due_and_off_means_off(dataset: Dataset) -> None:
    append(dataset, *(f"M{number}" for number in range(21)))
    Dataset.objects.update(write_checkpoints=False)
    first = work(dataset)
    assert first is not None
    assert (first.jobs, first.report["orphans"]["files"]) == (["orphans"], 0)
    assert actions(dataset) == []  # nothing was found and nobody had asked
    assert work(dataset) is None
    Dataset.objects.update(write_checkpoints=True, compact_files=True, remove_old_files=True)
    second = work(dataset)
    assert second is not None
    assert second.jobs == ["checkpoint", "compaction", "vacuum"]
    assert (second.report["checkpoint"], second.report["compaction"]["version"]) == ({"version": 21}, 22)
    assert second.report["vacuum"]["files"] == 0  # all of it is younger than a week
    assert (Path(dataset.table_uri) / "_delta_log" / f"{21:020d}.checkpoint.parquet").exists()
    assert work(dataset) is None
    assert len(rows_of(dataset)) == 25


def test_visits_that_kill_their_workers_are_begun_five_times_then_only_by_request(
    dataset: Dataset, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Died

    def run_out() -> None:
        DatasetLease.objects.update(acquired_at="2026-01-01T00:00Z", expires_at="2026-01-01T00:01Z")

    with monkeypatch.context() as patch:
        patch.setattr(leases, "release", lambda _: False)  # the dead give nothing back
        patch.setattr("datasets.maintenance._execute", die)
        for _ in range(MOST_ATTEMPTS):
            with pytest.raises(Died):
                work(dataset)
            run_out()
            assert work(dataset) is None
            run_out()
    told = [run.error_message for run in MaintenanceRun.objects.order_by("pk")]
    assert len(told) == MOST_ATTEMPTS
    assert ["is done again" in one for one in told] == [True] * (MOST_ATTEMPTS - 1) + [False]
    assert "cut short 5 times in a row, so none is begun by itself any more: ask for one here" in told[-1]
    assert work(dataset) is None
    assert MaintenanceRun.objects.count() == MOST_ATTEMPTS
    asked = ask(dataset, owner, "checkpoint")
    assert work(dataset) == asked
    due = work(dataset)
    assert due is not None
    assert (due.requested_by, due.status) == (None, "succeeded")


def test_a_merge_writes_a_checkpoint_when_one_is_due(dataset: Dataset, owner: User) -> None:
    append(dataset, *(f"M{number}" for number in range(8)))
    merge(ChangeRequestFactory(dataset=dataset, csv="tailnum,seats\nN1,150\n"), owner)
    log = Path(dataset.table_uri) / "_delta_log"
    assert not (log / "_last_checkpoint").exists()
    merge(ChangeRequestFactory(dataset=dataset, csv="tailnum,seats\nN1,151\n"), owner)
    assert [path.name for path in log.glob("*.checkpoint.parquet")] == [f"{10:020d}.checkpoint.parquet"]


def test_a_checkpoint_that_cannot_be_written_harms_no_merge(
    dataset: Dataset, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(deltalake.DeltaTable, "create_checkpoint", full)
    append(dataset, *(f"M{number}" for number in range(9)))
    run = merge(ChangeRequestFactory(dataset=dataset, csv="tailnum,seats\nN1,150\n"), owner)
    assert (run.status, run.merged_version) == (RunStatus.SUCCEEDED, 10)


def test_maintenance_waits_for_a_merge_and_a_merge_for_it(
    dataset: Dataset, owner: User, rung: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    merge(ChangeRequestFactory(dataset=dataset), owner)
    change_request = ChangeRequestFactory(dataset=dataset, csv="tailnum,seats\nN1,150\n")
    queued = runs.request_merge(change_request_id=change_request.pk, actor=owner)
    asked = ask(dataset, owner, "compaction")
    held = leases.acquire(dataset.pk, "worker 1")
    assert held is not None
    assert work(dataset) is None
    asked.refresh_from_db()
    assert asked.status == "queued"
    assert maintenance.sweep() == 0
    leases.release(held)
    assert maintenance.sweep() == 1

    seen: list[Any] = []
    real = merging.compact

    def compacting(*arguments: Any, **named: Any) -> Any:
        seen.append(DatasetLease.objects.get(dataset=dataset).kind)
        seen.append(execution.merge_next(dataset_id=dataset.pk, worker="other"))
        return real(*arguments, **named)

    monkeypatch.setattr(merging, "compact", compacting)
    rung.clear()
    done = work(dataset)
    assert done is not None
    assert (done.status, seen) == ("succeeded", ["maintenance", None])
    assert ("changerequests.merge_next", dataset.pk) in rung
    assert [run.pk for run in drain()] == [queued.pk]
    queued.refresh_from_db()
    assert queued.status == RunStatus.SUCCEEDED


def test_a_merge_that_was_cut_short_is_recovered_first(dataset: Dataset, owner: User) -> None:
    change_request = ChangeRequestFactory(dataset=dataset)
    runs.request_merge(change_request_id=change_request.pk, actor=owner)
    claimed = claiming.claim(dataset.pk, "gone")
    assert claimed is not None
    leases.release(claimed.table_lease)
    ask(dataset, owner, "vacuum", "compaction")
    assert work(dataset) is None
    assert MaintenanceRun.objects.get().status == "queued"
    drain()
    assert (done := work(dataset)) is not None
    assert done.status == "succeeded"


def test_vacuum_keeps_what_open_requests_reverts_and_blame_need(dataset: Dataset, owner: User) -> None:
    waiting = ChangeRequestFactory(dataset=dataset, csv="tailnum,seats\nN2,1\n")
    merged = []
    for number in (150, 151, 152):
        merged.append(ChangeRequestFactory(dataset=dataset, csv=f"tailnum,seats\nN1,{number}\nM{number},1\n"))
        merge(merged[-1], owner)
    ask(dataset, owner, "compaction")
    work(dataset)
    assert len(data_files(dataset)) == 5
    dataset.keep_files_days, dataset.delete_limit = 1, 1
    dataset.save()
    assert maintenance.survey(dataset).unneeded.paths == ()  # all were in the table within the day
    with later(days=2):
        found = maintenance.survey(dataset)
        assert (
            len(found.unneeded.paths) == 6
        )  # three files, three vectors; not the file of the open request's base
        ask(dataset, owner, "vacuum")
        done = work(dataset)
    assert done is not None
    assert (done.report["vacuum"]["files"], done.report["vacuum"]["bytes"]) == (6, found.unneeded.size_bytes)
    assert set(done.report["vacuum"]["removed"]) == set(found.unneeded.paths)
    assert len(rows_of(dataset)) == 7
    assert [row["seats"] for row in rows_of(dataset, version=0)] == [149, 182, 55, 377]
    assert rebasing.what_moved(change_request=waiting).rows_moved == 0
    revert = reverts.revert_merge(change_request_id=merged[-1].pk, actor=owner)
    told = blame.row_history(dataset=dataset, key={"tailnum": "N1"})
    assert [change.cr_id for change in told.changes] == [change_request.cr_id for change_request in merged]
    proposals.submit(change_request_id=revert.pk, actor=owner)
    plans.check(change_request_id=revert.pk)
    assert merge(revert, owner).status == RunStatus.SUCCEEDED
    assert merge(waiting, owner).status == RunStatus.SUCCEEDED


def test_what_a_dead_merge_left_is_collected_and_nothing_else(dataset: Dataset, owner: User) -> None:
    change_request = ChangeRequestFactory(dataset=dataset)
    run = merge(change_request, owner)
    dead, foreign = uuid.uuid4().hex, uuid.uuid4().hex
    MergeRun.objects.create(
        change_request=change_request,
        dataset=dataset,
        revision=run.revision,
        revision_digest=run.revision_digest,
        status=RunStatus.FAILED,
        requested_by=owner,
        attempt_id=dead,
    )
    names = {attempt: f"part-{attempt}-{uuid.uuid4()}.parquet" for attempt in (dead, foreign)}
    before = data_files(dataset)
    for name in names.values():
        (Path(dataset.table_uri) / name).write_bytes(b"1234")
    assert maintenance.survey(dataset).orphaned.paths == ()  # written within the grace
    with later(days=3):
        assert (done := work(dataset)) is not None
    assert done.report["orphans"] == {"files": 1, "bytes": 4, "removed": [names[dead]]}
    assert data_files(dataset) == before | {names[foreign]}
    assert actions(dataset) == ["maintenance.succeeded"]


def test_a_worker_that_died_is_told_and_its_files_wait_until_it_cannot_commit(
    dataset: Dataset, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first visit sleeps just before its put, its lease runs out, another visit comes, the first wakes up."""
    merge(ChangeRequestFactory(dataset=dataset), owner)
    before = rows_of(dataset)
    asleep: list[tuple[Any, Any]] = []

    class Died(BaseException):
        pass

    def sleep_before_the_put(*arguments: Any, **named: Any) -> Any:
        asleep.append((arguments, named))
        raise Died

    run = ask(dataset, owner, "compaction")
    with monkeypatch.context() as patch:
        patch.setattr("merging.delta.maintenance.compacting.commit", sleep_before_the_put)
        patch.setattr("merging.delta.maintenance.compacting.discard", lambda _: False)
        patch.setattr(leases, "release", lambda _: False)  # the dead give nothing back
        with pytest.raises(Died):
            work(dataset)
    DatasetLease.objects.update(acquired_at="2026-01-01T00:00Z", expires_at="2026-01-01T00:01Z")
    assert work(dataset) is None
    run.refresh_from_db()
    assert (run.status, run.error_code) == ("failed", "interrupted")
    assert actions(dataset) == ["maintenance.requested", "maintenance.failed"]

    age(dataset)
    written = [name for name in data_files(dataset) if run.attempt_id in name]
    assert len(written) == 1
    ask(dataset, owner, "orphans", "vacuum")
    assert (second := work(dataset)) is not None
    assert (second.report["orphans"]["files"], second.report["vacuum"]["files"]) == (0, 0)
    [(arguments, named)] = asleep
    with pytest.raises(MaintenanceStopped):  # before its put it asks for its lease
        commit(*arguments, **named)
    commit(*arguments, **{**named, "step": no_step})  # past that word: it still finds its files
    assert rows_of(dataset) == before

    third = ask(dataset, owner, "orphans")
    with later(days=3):
        assert (done := work(dataset)) is not None
    assert (done.pk, done.report["orphans"]["files"]) == (third.pk, 0)  # they are in the table now
    assert rows_of(dataset) == before


def test_a_visit_stops_where_its_lease_was_taken(
    dataset: Dataset, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge(ChangeRequestFactory(dataset=dataset), owner)
    run = ask(dataset, owner, "compaction", "vacuum")
    real = merging.compact

    def overtaken(*arguments: Any, **named: Any) -> Any:
        DatasetLease.objects.update(holder="somebody", fence=99)
        return real(*arguments, **named)

    monkeypatch.setattr(merging, "compact", overtaken)
    before = data_files(dataset)
    work(dataset)
    run.refresh_from_db()
    assert (run.status, run.error_code, run.report) == ("failed", "maintenance_stopped", {})
    assert (merging.inspect_table(dataset.table_uri).version, data_files(dataset)) == (1, before)
    assert DatasetLease.objects.get(dataset=dataset).holder == "somebody"


def test_a_table_that_cannot_be_compacted_says_why(dataset: Dataset, owner: User) -> None:
    append(dataset, "M1")
    log = Path(dataset.table_uri) / "_delta_log"
    metadata = next(
        action["metaData"]
        for line in (log / f"{0:020d}.json").read_text().splitlines()
        if "metaData" in (action := json.loads(line))
    )
    metadata["configuration"]["delta.constraints.some"] = "tailnum RLIKE 'N.*'"
    (log / f"{2:020d}.json").write_text(json.dumps({"metaData": metadata}) + "\n")
    ask(dataset, owner, "compaction")
    assert (done := work(dataset)) is not None
    assert (done.status, done.error_code) == ("failed", "unsupported_table")
    assert "RLIKE" in done.error_message


def test_a_table_that_was_made_anew_is_left_alone(dataset: Dataset, owner: User) -> None:
    shutil.rmtree(dataset.table_uri)
    merging.create_table(dataset.table_uri, PLANES)
    ask(dataset, owner, "vacuum")
    assert (done := work(dataset)) is not None
    assert (done.status, done.error_code) == ("failed", "maintenance_stopped")


def test_every_dataset_is_rung_for_and_old_visits_are_forgotten(
    dataset: Dataset, owner: User, rung: list[Any]
) -> None:
    other = DatasetFactory()
    assert maintenance.maintain_all() == 2
    assert rung == [("changerequests.maintain", dataset.pk), ("changerequests.maintain", other.pk)]
    ask(dataset, owner, "checkpoint")
    work(dataset)
    with later(days=200):
        report = retention.apply_retention(actor=None)
    assert report.counts == {"maintenance": 1}
    assert MaintenanceRun.objects.count() == 0


def test_operators_survey_and_ask_by_command(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    append(dataset, "M1")
    operator = UserFactory(username="adam")
    make_operator(operator)
    call_command("operate", "survey", str(dataset.pk))
    assert capsys.readouterr().out.splitlines() == [
        "version 1: 2 files, 2 small, 0 deletion vectors hiding 0 rows",
        "vacuum would remove 0 files, 0 bytes",
        "orphans would remove 0 files, 0 bytes",
        "due by the settings: orphans",
    ]
    asked = ("operate", "maintain", str(dataset.pk), "compaction", "--as", "adam", "--reason", "slow")
    call_command(*asked)
    assert "waits for a worker." in capsys.readouterr().out
    with pytest.raises(CommandError, match="is being looked after already"):
        call_command(*asked)
    with pytest.raises(CommandError, match="There is no dataset 0"):
        call_command("operate", "survey", "0")
    assert (done := work(dataset)) is not None
    assert done.report["compaction"]["files_removed"] == 2
