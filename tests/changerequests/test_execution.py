"""Doing merges: what a worker makes of a run, whatever happens on the way."""

import hashlib
import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from deltalake import write_deltalake
from django.contrib.auth.models import User
from django.utils import timezone
from kombu.exceptions import OperationalError

import merging
from audit.selectors import events_of
from audit.services import verify, verify_chains
from changerequests import queue
from changerequests.errors import PlanChanged, RunEnded
from changerequests.facts import facts_of
from changerequests.models import ChangeRequest, MergeRun, PlanCheck, RunPhaseTime
from changerequests.services import execution, plans, reviews, runs
from changerequests.services.execution import audit_files, clearing, recording, running
from changerequests.services.execution.reporting import Reporter
from changerequests.services.plans import checking
from changerequests.states import RunPhase, RunStatus, Status
from datasets import leases, work
from datasets.errors import InvalidInput
from datasets.models import Dataset, DatasetLease
from datasets.roles import Role
from datasets.services import change_settings, table_at
from datasets.work import MOST_ATTEMPTS
from merging.errors import MergeFailed
from tests import kept
from tests.factories import (
    PLANES,
    ChangeRequestFactory,
    DatasetFactory,
    approve,
    drain,
    give_role,
    merge,
    person_with,
    rows_of,
    stage_csv,
)

pytestmark = pytest.mark.django_db


def actions_of(change_request: ChangeRequest) -> list[str]:
    return list(events_of("change_request", change_request.cr_id).values_list("action", flat=True))


def seats(dataset: Dataset) -> dict[str, int]:
    return {row["tailnum"]: row["seats"] for row in rows_of(dataset)}


def queued(change_request: ChangeRequest, actor: User, **options: Any) -> MergeRun:
    return runs.request_merge(change_request_id=change_request.pk, actor=actor, **options)


def let_the_lease_expire(dataset: Dataset) -> None:
    past = timezone.now() - timedelta(seconds=1)
    DatasetLease.objects.filter(dataset=dataset).update(
        acquired_at=past - timedelta(minutes=1), expires_at=past, holder="worker that died"
    )


# --- Success ------------------------------------------------------------------------------------------------


def test_a_merge_is_recorded_everywhere(
    pending: ChangeRequest, owner: User, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    approve(pending, owner)
    with django_capture_on_commit_callbacks(execute=True):
        run = merge(pending, owner, message="as agreed")

    pending.refresh_from_db()
    assert (run.status, run.phase, run.merged_version, run.rows_affected) == ("succeeded", "done", 1, 2)
    assert (pending.status, pending.merged_version, pending.merged_by) == (Status.MERGED, 1, owner)
    assert pending.staging_removed_at is not None
    assert not kept.staging_folder(pending).exists()
    assert pending.merge_record is not None
    assert pending.merge_record["reviews"] == [
        {"reviewer": "olivia", "verdict": "approve", "digest": run.revision_digest}
    ]
    assert actions_of(pending)[-4:] == [
        "merge.requested",
        "merge.started",
        "change_request.merged",
        "staging.removed",
    ]
    phases = dict(RunPhaseTime.objects.filter(run=run).values_list("phase", "seconds"))
    assert set(phases) <= set(RunPhase)
    assert {"checking", "writing", "committing"} <= set(phases)
    assert merging.history(pending.dataset.table_uri, limit=1)[0].cr_id == pending.cr_id
    assert list(verify_chains()) == []


@pytest.mark.django_db(transaction=True)
def test_a_merge_is_over_whatever_fails_in_clearing_up_after_it(
    pending: ChangeRequest, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[int] = []

    def fail(change_request_id: int) -> None:
        raise OSError("the staged files cannot be removed")

    monkeypatch.setattr(clearing, "after_merge", fail)
    monkeypatch.setattr(running, "_note_keys", lambda run: noted.append(run.pk))

    run = merge(pending, owner)

    pending.refresh_from_db()
    assert (run.status, run.attempts, noted) == (RunStatus.SUCCEEDED, 1, [run.pk])
    assert (pending.status, pending.staging_removed_at) == (Status.MERGED, None)
    assert actions_of(pending)[-1] == "change_request.merged"


def test_audit_files_say_what_happened_and_their_hashes_are_in_the_trail(
    pending: ChangeRequest, owner: User
) -> None:
    merge(pending, owner)

    folder = kept.audit_folder(pending)
    recorded = (
        events_of("change_request", pending.cr_id).get(action="change_request.merged").data["audit_files"]
    )
    assert recorded == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file()
    }
    result = json.loads((folder / "merge_result.json").read_text())
    assert {name: result[name] for name in ("cr_id", "requested_by", "merged_version", "commit_id")} == {
        "cr_id": pending.cr_id,
        "requested_by": "olivia",
        "merged_version": 1,
        "commit_id": "v1",
    }
    diff = json.loads((folder / "diff.json").read_text())
    assert (diff["rows_added"], diff["rows_updated"], diff["rows_deleted"], diff["cells"]) == (
        1,
        1,
        0,
        {"year": 1},
    )
    assert parquet.read_table(folder / "diff.parquet").num_rows > 0


def test_staging_is_archived_where_the_dataset_says_so(
    dataset: Dataset,
    pending: ChangeRequest,
    owner: User,
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> None:
    dataset.staging_cleanup = Dataset.StagingCleanup.ARCHIVE
    dataset.save()

    with django_capture_on_commit_callbacks(execute=True):
        merge(pending, owner)

    assert not kept.staging_folder(pending).exists()
    assert list(kept.archive_folder(pending).iterdir()) != []
    assert actions_of(pending)[-1] == "staging.archived"


def test_content_that_is_already_in_the_table_is_merged_as_such(dataset: Dataset, owner: User) -> None:
    first = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,7\n")
    same = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,7\n")
    merge(first, owner)

    run = merge(same, owner)

    assert (run.status, run.rows_affected) == ("succeeded", 0)
    assert run.result is not None
    assert run.result["rows_agreed"] == 1
    assert seats(dataset)["N1"] == 7


# --- Ends without a merge -----------------------------------------------------------------------------------


def test_a_conflict_at_the_merge_leads_back_to_pending_with_the_reason(dataset: Dataset, owner: User) -> None:
    first = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,1\n")
    second = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,2\nN2,2\n")
    third = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN4,4\n")
    for each in (first, second, third):
        queued(each, owner)

    ended = [run.status for run in drain()]

    assert ended == [RunStatus.SUCCEEDED, RunStatus.CONFLICTED, RunStatus.SUCCEEDED]
    second.refresh_from_db()
    run = second.runs.get()
    assert second.status == Status.PENDING
    assert (run.error_code, run.error_data["total"]) == ("merge_conflict", 1)
    (conflict,) = run.error_data["conflicts"]
    assert (
        conflict["key"],
        conflict["column"],
        conflict["base"],
        conflict["current"],
        conflict["proposed"],
    ) == (
        {"tailnum": "N1"},
        "seats",
        149,
        1,
        2,
    )
    assert seats(dataset) == {"N1": 1, "N2": 182, "N3": 55, "N4": 4}
    assert actions_of(second)[-1] == "merge.conflicted"


def test_a_failure_leads_back_to_pending_and_the_table_is_as_it_was(
    dataset: Dataset, pending: ChangeRequest, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left on device /mnt/secret")

    with monkeypatch.context() as patch:
        patch.setattr(merging, "merge", fail)
        run = merge(pending, owner)

    pending.refresh_from_db()
    assert (pending.status, run.status, run.error_code) == (Status.PENDING, RunStatus.FAILED, "merge_failed")
    assert "secret" not in run.error_message
    assert merging.inspect_table(dataset.table_uri).version == 0
    assert actions_of(pending)[-1] == "merge.failed"
    again = merge(pending, owner)
    assert (again.status, again.merged_version) == (RunStatus.SUCCEEDED, 1)


def test_a_check_of_the_result_that_fails_is_invalid(owner: User, dataset: Dataset) -> None:
    constrained = DatasetFactory.create(
        project=dataset.project,
        data=pa.table(
            {"tailnum": ["N1", "N2"], "seats": pa.array([1, 2], pa.int64())},
            schema=pa.schema(
                [pa.field("tailnum", pa.string()), pa.field("seats", pa.int64(), nullable=False)]
            ),
        ),
    )
    assert [column.nullable for column in table_at(dataset=constrained).columns] == [True, False]
    change_request = ChangeRequestFactory.create(dataset=constrained, csv="tailnum,seats\nN1,5\n")
    report = merging.ValidationReport((merging.Check("not_null:seats", False, "seats is NULL in 1 row.", 1),))

    def refuse(*_: object, **__: object) -> None:
        raise merging.ValidationFailed(report)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "merge", refuse)
        run = merge(change_request, person_with(Role.OWNER, constrained))

    assert (run.status, run.error_code) == (RunStatus.INVALID, "validation_failed")
    assert [(check["name"], check["failures"]) for check in run.error_data["checks"]] == [
        ("not_null:seats", 1)
    ]
    change_request.refresh_from_db()
    assert change_request.status == Status.PENDING


# --- Cancelling ---------------------------------------------------------------------------------------------


def at_phase(monkeypatch: pytest.MonkeyPatch, phase: str, act: Callable[[], object]) -> None:
    """Do something when the engine reports a phase, before the run hears of it."""
    report = Reporter.__call__

    def interrupted(self: Any, reported: str, **facts: Any) -> None:
        if reported == phase:
            act()
        report(self, reported, **facts)

    monkeypatch.setattr(Reporter, "__call__", interrupted)


def test_a_queued_run_is_cancelled_at_once(pending: ChangeRequest, owner: User) -> None:
    run = queued(pending, owner)

    runs.cancel_run(run_id=run.pk, actor=pending.author)

    run.refresh_from_db()
    assert (run.status, run.error_code) == (RunStatus.CANCELLED, "cancelled")
    assert drain() == []
    pending.refresh_from_db()
    assert pending.status == Status.PENDING


@pytest.mark.parametrize("phase", ["checking", "writing"])
def test_a_running_merge_stops_before_its_commit(
    dataset: Dataset, pending: ChangeRequest, owner: User, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    run = queued(pending, owner)
    at_phase(monkeypatch, phase, lambda: runs.cancel_run(run_id=run.pk, actor=owner))

    drain()

    run.refresh_from_db()
    pending.refresh_from_db()
    assert (run.status, run.error_message) == (RunStatus.CANCELLED, "Cancelled by olivia.")
    assert pending.status == Status.PENDING
    assert merging.inspect_table(dataset.table_uri).version == 0
    assert actions_of(pending)[-2:] == ["merge.cancel_requested", "merge.cancelled"]
    assert [event.actor for event in events_of("change_request", pending.cr_id)][-2:] == ["olivia", "olivia"]


def test_a_merge_that_fails_is_nobodys_deed(
    pending: ChangeRequest, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise MergeFailed("The files could not be written.")

    monkeypatch.setattr("merging.executing.executor.prepare", fail)
    queued(pending, owner)
    drain()
    event = events_of("change_request", pending.cr_id).get(action="merge.failed")
    assert event.actor == ""


def test_a_run_whose_content_was_replaced_does_not_commit(
    dataset: Dataset, pending: ChangeRequest, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = queued(pending, owner)
    at_phase(
        monkeypatch,
        "committing",
        lambda: pending.revisions.filter(is_current=True).update(digest="other content"),
    )

    drain()

    run.refresh_from_db()
    assert run.status == RunStatus.CANCELLED
    assert "moved after the merge was asked for" in run.error_message
    assert merging.inspect_table(dataset.table_uri).version == 0


# --- Exactly once -------------------------------------------------------------------------------------------


def test_a_worker_that_died_between_commit_and_record_is_recovered(
    dataset: Dataset, pending: ChangeRequest, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = queued(pending, owner)

    def die(*_: object, **__: object) -> None:
        raise SystemExit("killed between the commit and its record")

    with monkeypatch.context() as patch:
        patch.setattr(audit_files, "write_audit_files", die)
        patch.setattr(leases, "release", lambda lease: False)  # a dead worker gives nothing back
        with pytest.raises(SystemExit):
            execution.merge_next(dataset_id=dataset.pk, worker="first")

    pending.refresh_from_db()
    run.refresh_from_db()
    assert merging.inspect_table(dataset.table_uri).version == 1  # the commit stands
    assert (pending.status, run.status) == (Status.MERGING, RunStatus.RUNNING)
    assert execution.merge_next(dataset_id=dataset.pk, worker="second") is None  # the lease is still held
    let_the_lease_expire(dataset)
    assert execution.sweep() == 1

    execution.merge_next(dataset_id=dataset.pk, worker="second")

    pending.refresh_from_db()
    run.refresh_from_db()
    assert (pending.status, pending.merged_version) == (Status.MERGED, 1)
    assert (run.status, run.attempts, run.worker) == (RunStatus.SUCCEEDED, 2, "second")
    assert merging.inspect_table(dataset.table_uri).version == 1  # and was not made twice
    assert len(rows_of(dataset)) == 5
    assert actions_of(pending).count("change_request.merged") == 1
    assert "merge.resumed" in actions_of(pending)
    assert kept.audit_folder(pending).joinpath("diff.parquet").exists()
    assert list(verify_chains()) == []


def test_a_worker_that_died_before_the_commit_is_replaced(
    dataset: Dataset, pending: ChangeRequest, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = queued(pending, owner)

    def die(*_: object, **__: object) -> None:
        raise SystemExit("killed before the commit")

    with monkeypatch.context() as patch:
        patch.setattr(merging, "merge", die)
        patch.setattr(leases, "release", lambda lease: False)
        with pytest.raises(SystemExit):
            execution.merge_next(dataset_id=dataset.pk, worker="first")
    let_the_lease_expire(dataset)

    execution.merge_next(dataset_id=dataset.pk, worker="second")

    run.refresh_from_db()
    assert (run.status, run.attempts, run.merged_version) == (RunStatus.SUCCEEDED, 2, 1)


def test_who_waited_for_a_run_is_told_what_ended_it() -> None:
    ended = MergeRun(status=RunStatus.FAILED, error_code="merge_conflict", error_data={"total": 3})
    ended.error_message = "3 cells were changed on both sides."
    with pytest.raises(RunEnded, match="3 cells were changed") as caught:
        runs.raise_unless_merged(ended)
    assert (caught.value.code, caught.value.data) == ("merge_conflict", {"total": 3})
    for status in (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.SUCCEEDED):
        runs.raise_unless_merged(MergeRun(status=status))


def test_a_run_that_kills_its_worker_is_given_up(
    dataset: Dataset, pending: ChangeRequest, owner: User
) -> None:
    run = queued(pending, owner)
    MergeRun.objects.filter(pk=run.pk).update(attempts=MOST_ATTEMPTS)

    drain()

    run.refresh_from_db()
    pending.refresh_from_db()
    assert (run.status, run.error_code) == (RunStatus.FAILED, "merge_failed")
    assert "Given up" in run.error_message
    assert pending.status == Status.PENDING


def test_a_worker_that_comes_back_from_the_dead_records_nothing(
    dataset: Dataset, pending: ChangeRequest, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = queued(pending, owner)

    def taken_over() -> None:
        DatasetLease.objects.filter(dataset=dataset).update(holder="worker two", fence=99)

    at_phase(monkeypatch, "committing", taken_over)

    drain_once = execution.merge_next(dataset_id=dataset.pk, worker="first")

    run.refresh_from_db()
    assert drain_once is not None
    assert merging.inspect_table(dataset.table_uri).version == 0
    assert run.merged_version is None


def test_two_workers_that_record_one_merge_record_it_once(
    dataset: Dataset, pending: ChangeRequest, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first sleeps after the audit files until its lease has run out, and the second has recorded."""
    run = queued(pending, owner)
    quicker: list[Any] = []

    def overtaken(*arguments: Any) -> Any:
        written = audit_files.write_audit(*arguments)
        if not quicker:
            quicker.append("second")
            let_the_lease_expire(dataset)
            quicker.append(execution.merge_next(dataset_id=dataset.pk, worker="second"))
        return written

    monkeypatch.setattr(recording, "write_audit", overtaken)
    slower = execution.merge_next(dataset_id=dataset.pk, worker="first")

    assert quicker == ["second", run]
    assert slower is not None
    run.refresh_from_db()
    assert (run.status, run.attempts, run.worker, run.merged_version) == (RunStatus.SUCCEEDED, 2, "second", 1)
    assert (slower.worker, slower.finished_at) == ("second", run.finished_at)  # it says what the row says
    assert actions_of(pending).count("change_request.merged") == 1
    assert merging.inspect_table(dataset.table_uri).version == 1
    assert list(verify_chains()) == []


def test_one_hold_records_once(dataset: Dataset, pending: ChangeRequest, owner: User) -> None:
    queued(pending, owner)
    recorded: list[Any] = []
    record_merge = recording.record_merge

    def twice(*arguments: Any) -> None:
        record_merge(*arguments)
        recorded.append((actions_of(pending), RunPhaseTime.objects.count()))
        record_merge(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "record_merge", twice)
        drain()

    assert recorded == [(actions_of(pending), RunPhaseTime.objects.count())]
    assert actions_of(pending)[-1] == "change_request.merged"


def test_an_interrupted_run_is_taken_up_before_those_that_have_waited_longer(
    dataset: Dataset, pending: ChangeRequest, owner: User
) -> None:
    """A merge that was found standing begins out of turn; where its recording is cut short it comes first."""
    waiting = queued(pending, owner)
    interrupted = queued(ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,1\n"), owner)
    lease = leases.acquire(dataset.pk, "recording what stands")
    assert work.claim(interrupted, worker="gone", lease=lease) is not None
    ChangeRequest.objects.filter(pk=interrupted.change_request_id).update(status=Status.MERGING)
    let_the_lease_expire(dataset)

    assert queue.next_run(dataset.pk) == interrupted
    assert [(run.pk, run.attempts) for run in drain()] == [(interrupted.pk, 2), (waiting.pk, 1)]


def test_a_lost_bell_is_rung_again_by_the_sweep(
    dataset: Dataset, pending: ChangeRequest, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued(pending, owner)  # within the test's transaction, so its bell was never heard
    rung: list[int] = []
    monkeypatch.setattr(queue, "ring", rung.append)

    assert execution.sweep() == 1
    assert rung == [dataset.pk]
    drain()
    rung.clear()
    assert execution.sweep() == 0
    assert rung == []


def test_the_sweep_clears_staging_that_was_left(pending: ChangeRequest, owner: User) -> None:
    merge(pending, owner)  # without on-commit hooks: as if the process died right after the record
    assert kept.staging_folder(pending).exists()

    execution.sweep()

    pending.refresh_from_db()
    assert pending.staging_removed_at is not None
    assert not kept.staging_folder(pending).exists()
    assert execution.clear_staged_content(change_request_id=pending.pk) is False


def test_a_broker_that_is_down_loses_no_merge(
    pending: ChangeRequest, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object, **__: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr("audit.bells.current_app.send_task", down)

    queue.ring(pending.dataset_id)
    run = merge(pending, owner)

    assert run.status == RunStatus.SUCCEEDED


def test_a_double_click_is_one_run(pending: ChangeRequest, owner: User) -> None:
    first = queued(pending, owner)
    second = queued(pending, owner)
    drain()
    third = queued(pending, owner)

    assert first.pk == second.pk == third.pk
    assert MergeRun.objects.count() == 1
    assert actions_of(pending).count("merge.requested") == 1


def test_an_idempotency_key_answers_the_same_run_even_after_it_failed(
    pending: ChangeRequest, owner: User
) -> None:
    first = queued(pending, owner, idempotency_key="k")
    runs.cancel_run(run_id=first.pk, actor=owner)

    again = queued(pending, owner, idempotency_key="k")
    other = queued(pending, owner, idempotency_key="l")

    assert (again.pk, again.status) == (first.pk, RunStatus.CANCELLED)
    assert (other.pk == first.pk, other.status) == (False, RunStatus.QUEUED)


def test_merges_of_one_dataset_are_first_in_first_out(dataset: Dataset, owner: User) -> None:
    made = [
        ChangeRequestFactory.create(dataset=dataset, csv=f"tailnum,seats\nN{number},{number}\n")
        for number in (3, 1, 2)
    ]
    for change_request in made:
        queued(change_request, owner)

    ended = drain()

    assert [run.change_request_id for run in ended] == [change_request.pk for change_request in made]
    assert [run.merged_version for run in ended] == [1, 2, 3]


def test_a_busy_dataset_holds_up_no_other(dataset: Dataset, pending: ChangeRequest, owner: User) -> None:
    elsewhere = ChangeRequestFactory.create()
    queued(pending, owner)
    queued(elsewhere, person_with(Role.OWNER, elsewhere.dataset))
    held = leases.acquire(dataset.pk, "maintenance")
    assert held is not None

    assert execution.merge_next(dataset_id=dataset.pk, worker="w") is None
    run = execution.merge_next(dataset_id=elsewhere.dataset_id, worker="w")

    assert run is not None
    assert run.status == RunStatus.SUCCEEDED
    leases.release(held)
    assert [ended.status for ended in drain()] == [RunStatus.SUCCEEDED]


# --- What was reviewed is what is merged --------------------------------------------------------------------


def test_new_content_after_the_plan_is_not_merged(pending: ChangeRequest, owner: User) -> None:
    check = plans.fresh_check(facts_of(pending))
    assert check is not None
    stage_csv(pending, "tailnum,seats\nN1,1\n")

    with pytest.raises(PlanChanged):
        queued(pending, owner, seen=runs.Seen(plan_digest=check.plan_digest))

    assert MergeRun.objects.count() == 0


def test_a_folder_under_the_audit_is_never_replaced(pending: ChangeRequest, owner: User) -> None:
    folder = kept.audit_folder(pending)
    folder.mkdir(parents=True)
    (folder / "diff.json").write_text("something else")

    assert merge(pending, owner).status == RunStatus.SUCCEEDED

    pending.refresh_from_db()
    own = kept.audit_folder(pending)
    assert own.name == f"{pending.cr_id}-{pending.identity[:8]}"
    assert json.loads((own / "diff.json").read_text())["cells"] == {"year": 1}
    assert [path.name for path in folder.iterdir() if path.is_file()] == ["diff.json"]
    assert (folder / "diff.json").read_text() == "something else"
    assert list(verify()) == []


def test_what_people_say_while_it_is_queued_stops_a_merge(
    pending: ChangeRequest, dataset: Dataset, owner: User
) -> None:
    reviewer = person_with(Role.CONTRIBUTOR, dataset, username="rita")
    run = runs.request_merge(change_request_id=pending.pk, actor=owner)
    reviews.review(change_request_id=pending.pk, actor=reviewer, verdict="request_changes", body="Stop.")
    drain()
    run.refresh_from_db()
    pending.refresh_from_db()
    assert (run.status, pending.status) == (RunStatus.CANCELLED, Status.PENDING)
    assert "rita asked for changes." in run.error_message
    assert merging.inspect_table(dataset.table_uri).version == 0


def test_an_approval_that_lapses_while_files_are_written_stops_a_merge(
    pending: ChangeRequest, dataset: Dataset, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_settings(dataset_id=dataset.pk, actor=owner, changes={"required_approvals": 1})
    reviewer = person_with(Role.CONTRIBUTOR, dataset)
    approve(pending, reviewer)

    def leaving(*_: Any) -> None:
        give_role(reviewer, dataset, Role.VIEWER)

    monkeypatch.setattr("merging.executing.executor.write_artefacts", leaving)
    run = merge(pending, owner)
    assert run.status == RunStatus.CANCELLED
    assert "1 more approval" in run.error_message
    assert merging.inspect_table(dataset.table_uri).version == 0


def test_who_may_no_longer_merge_and_approvals_raised_since_stop_a_queued_merge(
    pending: ChangeRequest, dataset: Dataset, owner: User
) -> None:
    run = runs.request_merge(change_request_id=pending.pk, actor=pending.author)
    change_settings(dataset_id=dataset.pk, actor=owner, changes={"required_approvals": 1})
    give_role(pending.author, dataset, None)
    drain()
    run.refresh_from_db()
    assert run.status == RunStatus.CANCELLED
    assert f"{pending.author} may not merge it any more." in run.error_message
    assert "1 more approval" in run.error_message


def test_what_was_overridden_when_the_merge_was_asked_for_stays_so(
    pending: ChangeRequest, dataset: Dataset, owner: User
) -> None:
    change_settings(dataset_id=dataset.pk, actor=owner, changes={"required_approvals": 1})
    assert merge(pending, owner, override_reason="The author is on leave.").status == RunStatus.SUCCEEDED


def test_the_delete_guard_looks_at_what_the_merge_deletes_in_the_end(dataset: Dataset, owner: User) -> None:
    """Each deletes a quarter of the table as it was when it was asked for; the last one more, by then."""
    change_settings(dataset_id=dataset.pk, actor=owner, changes={"delete_limit": "0.4"})
    first, second, third, typed = (
        ChangeRequestFactory.create(dataset=dataset, csv=f"tailnum,_op\nN{number},delete\n")
        for number in (1, 2, 3, 3)
    )
    for change_request in (first, second, third):
        runs.request_merge(change_request_id=change_request.pk, actor=owner)
    runs.request_merge(change_request_id=typed.pk, actor=owner, dataset_name_typed=dataset.name)
    drain()
    stopped = MergeRun.objects.get(change_request=third)
    assert (stopped.status, len(rows_of(dataset))) == (RunStatus.CANCELLED, 1)
    assert "It deletes 1 row, 50.0% of the table" in stopped.error_message
    assert MergeRun.objects.get(change_request=typed).status == RunStatus.SUCCEEDED


def test_whose_approvals_counted_is_what_the_audit_says_whatever_follows(
    pending: ChangeRequest, dataset: Dataset, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    reviewer = person_with(Role.CONTRIBUTOR, dataset, username="rita")
    approve(pending, reviewer)
    inspect = merging.inspect_table

    def leaving(*arguments: Any, **named: Any) -> Any:
        give_role(reviewer, dataset, None)  # between the commit and its record
        return inspect(*arguments, **named)

    runs.request_merge(change_request_id=pending.pk, actor=owner)
    monkeypatch.setattr(recording, "_committed_at", lambda *_: leaving(dataset.table_uri).timestamp)
    drain()
    merged = events_of("change_request", pending.cr_id).get(action="change_request.merged")
    assert merged.data["approved_by"] == ["rita"]
    result = json.loads((kept.audit_folder(pending) / "merge_result.json").read_text())
    assert result["approved_by"] == ["rita"]


def test_a_run_whose_choices_no_longer_fit_the_table_ends(
    pending: ChangeRequest, owner: User, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise InvalidInput("The table has no column seats any more.")

    run = runs.request_merge(change_request_id=pending.pk, actor=owner)
    monkeypatch.setattr(plans, "merge_request_for", gone)
    drain()
    run.refresh_from_db()
    pending.refresh_from_db()
    assert (run.status, run.attempts, pending.status) == (RunStatus.FAILED, 1, Status.PENDING)
    assert run.error_message == "The table has no column seats any more."


def test_a_check_that_ends_after_the_merge_changes_nothing(
    pending: ChangeRequest, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = PlanCheck.objects.get(pk=pending.pk)
    numbers = checking._numbers

    def merged_meanwhile(plan: merging.MergePlan) -> dict[str, Any]:
        monkeypatch.setattr(checking, "_numbers", numbers)
        found = numbers(plan)
        merge(pending, owner)
        return found | {"rows_added": 777}

    monkeypatch.setattr(checking, "_numbers", merged_meanwhile)
    assert plans.check(change_request_id=pending.pk) is None
    pending.refresh_from_db()
    assert pending.status == Status.MERGED
    assert PlanCheck.objects.get(pk=pending.pk).rows_added == before.rows_added


def test_a_check_of_earlier_content_does_not_replace_a_newer_one(
    pending: ChangeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = checking._numbers

    def staged_meanwhile(plan: merging.MergePlan) -> dict[str, Any]:
        monkeypatch.setattr(checking, "_numbers", numbers)
        found = numbers(plan)
        stage_csv(pending, "tailnum,seats\nN1,5\n")
        plans.check(change_request_id=pending.pk)
        return found

    monkeypatch.setattr(checking, "_numbers", staged_meanwhile)
    answered = plans.check(change_request_id=pending.pk)
    standing = facts_of(ChangeRequest.objects.get(pk=pending.pk)).plan_check
    assert standing is not None
    assert answered == standing
    assert standing.rows_updated == 1


def test_a_check_that_finds_the_table_gone_is_told_whatever_version_was_seen_last(
    pending: ChangeRequest, dataset: Dataset
) -> None:
    write_deltalake(
        dataset.table_uri, PLANES.slice(0, 1).set_column(0, "tailnum", pa.array(["N9"])), mode="append"
    )
    seen = plans.check(change_request_id=pending.pk)
    assert seen is not None
    assert (seen.table_version, seen.problem) == (1, "")  # nobody has reconciled: it is known at version 0
    shutil.rmtree(dataset.table_uri)
    gone = plans.check(change_request_id=pending.pk)
    assert gone is not None
    assert "no Delta table" in gone.problem
