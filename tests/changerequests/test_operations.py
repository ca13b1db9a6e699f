"""Operators: what is stuck and why, and the safe actions, each an audit event."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from audit.selectors import events_of
from changerequests import queue
from changerequests.errors import InvalidTransition
from changerequests.models import ChangeRequest, MergeRun
from changerequests.services import execution, operations, runs
from changerequests.services.execution import claiming
from changerequests.states import RunPhase, RunStatus, Status
from datasets import leases
from datasets.errors import Forbidden, InvalidInput, NotFound
from datasets.models import Dataset, DatasetLease
from datasets.operators import make_operator
from tests.factories import ChangeRequestFactory, UserFactory, drain, merge

pytestmark = pytest.mark.django_db


@pytest.fixture
def adam() -> User:
    operator = UserFactory(username="adam")
    make_operator(operator)
    return User.objects.get(pk=operator.pk)


@pytest.fixture
def run(dataset: Dataset, owner: User) -> MergeRun:
    change_request = ChangeRequestFactory(dataset=dataset)
    return runs.request_merge(change_request_id=change_request.pk, actor=owner)


def claim(run: MergeRun) -> leases.Lease:
    """A worker takes the run and then is no more."""
    claimed = claiming.claim(run.dataset_id, "worker-1")
    assert claimed is not None
    run.refresh_from_db()
    return claimed.table_lease


def stuck() -> list[tuple[str, str]]:
    return [(one.code, one.action) for one in operations.stuck_work()]


def later(seconds: float) -> time_machine.travel:
    return time_machine.travel(timezone.now() + timedelta(seconds=seconds))


def test_work_that_goes_on_is_not_stuck(run: MergeRun, owner: User) -> None:
    assert stuck() == []
    second = ChangeRequestFactory(dataset=run.dataset, author=owner, csv="tailnum,seats\nN1,150\n")
    waiting = runs.request_merge(change_request_id=second.pk, actor=owner)
    claim(run)
    assert operations.queued_and_running() == [(run, 0), (waiting, 1)]
    assert [(lease.holder, lease.alive) for lease in operations.held_leases()] == [("worker worker-1", True)]
    assert stuck() == []


def test_a_run_that_nobody_takes_is_stuck_and_can_be_rung(
    run: MergeRun, adam: User, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    rung: list[int] = []
    monkeypatch.setattr(queue, "ring", rung.append)
    with later(61):
        assert stuck() == [("not_taken", "retry")]
    with django_capture_on_commit_callbacks(execute=True):
        operations.retry(run_id=run.pk, actor=adam, reason="The worker was off.")
    assert rung == [run.dataset_id]
    event = events_of("change_request", run.change_request.cr_id).get(action="operator.retried")
    assert (event.actor, event.data) == ("adam", {"run": run.pk, "reason": "The worker was off."})


def test_a_lost_worker_is_told_and_a_retry_merges_once(run: MergeRun, adam: User) -> None:
    claim(run)
    with later(31):
        assert stuck() == [("worker_lost", "retry")]
        assert "worker-1 gave no sign of life since" in operations.stuck_work()[0].reason
        operations.retry(run_id=run.pk, actor=adam, reason="lost")
        drain()
    run.refresh_from_db()
    assert (run.status, run.merged_version, run.attempts) == (RunStatus.SUCCEEDED, 1, 2)
    ChangeRequest.objects.update(staging_removed_at=timezone.now())
    with pytest.raises(InvalidTransition, match="it is succeeded"):
        operations.retry(run_id=run.pk, actor=adam, reason="again")


def test_a_run_that_kills_its_workers_can_be_cancelled_and_does_not_merge(run: MergeRun, adam: User) -> None:
    for number in range(3):
        with later(31 * number):
            claim(run)
    with later(31 * 3):
        assert stuck() == [("interrupted_often", "cancel")]
        operations.cancel(run_id=run.pk, actor=adam, reason="It runs out of memory.")
        drain()
    run.refresh_from_db()
    run.change_request.refresh_from_db()
    assert (run.status, run.change_request.status) == (RunStatus.CANCELLED, Status.PENDING)
    assert run.error_message == "Cancelled by adam."
    event = events_of("change_request", run.change_request.cr_id).get(action="operator.cancelled")
    assert event.data == {"run": run.pk, "reason": "It runs out of memory."}


def test_a_run_that_takes_long_is_told(run: MergeRun) -> None:
    lease = claim(run)
    with later(31 * 60):
        assert leases.renew(lease)
        assert stuck() == [("takes_long", "cancel")]


def test_a_commit_that_has_begun_is_not_cancelled(run: MergeRun, adam: User) -> None:
    claim(run)
    MergeRun.objects.update(phase=RunPhase.COMMITTING)
    with pytest.raises(InvalidTransition, match="The commit has begun"):
        operations.cancel(run_id=run.pk, actor=adam, reason="too late")
    assert (
        not events_of("change_request", run.change_request.cr_id).filter(action="operator.cancelled").exists()
    )


def test_a_dead_holder_loses_its_lease_and_a_living_one_keeps_it(run: MergeRun, adam: User) -> None:
    held = leases.acquire(run.dataset_id, "maintenance 7")
    assert held is not None
    with pytest.raises(InvalidTransition, match="maintenance 7 holds the lease and is alive"):
        operations.release_lease(dataset_id=run.dataset_id, actor=adam, reason="hangs")
    with later(31):
        assert stuck() == [("lease_expired", "release")]
        operations.release_lease(dataset_id=run.dataset_id, actor=adam, reason="It hangs.")
        assert not leases.renew(held)
        assert stuck() == []
    lease = DatasetLease.objects.get(dataset=run.dataset_id)
    assert (lease.holder, lease.fence) == ("", held.fence + 1)
    event = events_of("dataset", str(run.dataset_id)).get(action="operator.lease_released")
    assert event.data == {"holder": "maintenance 7", "fence": held.fence, "reason": "It hangs."}
    with pytest.raises(NotFound, match="Nobody holds the lease"):
        operations.release_lease(dataset_id=run.dataset_id, actor=adam, reason="again")


def test_staging_that_was_not_cleared_is_told(dataset: Dataset, owner: User, adam: User) -> None:
    change_request = ChangeRequestFactory(dataset=dataset)
    run = merge(change_request, owner)  # in a test's transaction what follows the commit does not run
    with later(601):
        assert stuck() == [("staging_uncleared", "retry")]
    operations.retry(run_id=run.pk, actor=adam, reason="clear it")
    execution.sweep()
    with later(601):
        assert stuck() == []


def test_only_operators_with_a_reason(run: MergeRun, owner: User, adam: User) -> None:
    for act in (operations.retry, operations.cancel):
        with pytest.raises(Forbidden, match="Only operators"):
            act(run_id=run.pk, actor=owner, reason="x")
        with pytest.raises(InvalidInput, match="Give a reason"):
            act(run_id=run.pk, actor=adam, reason=" ")
        with pytest.raises(NotFound):
            act(run_id=10**9, actor=adam, reason="x")
    with pytest.raises(Forbidden):
        operations.release_lease(dataset_id=run.dataset_id, actor=owner, reason="x")
    run.refresh_from_db()
    assert run.status == RunStatus.QUEUED


def test_the_command(run: MergeRun, adam: User, capsys: pytest.CaptureFixture[str]) -> None:
    with later(61):
        call_command("operate", "status")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        f"run {run.pk} {run.change_request.cr_id} on planes (dataset {run.dataset_id}): queued, queued, position 0, "
        f"by {run.requested_by}"
    )
    assert lines[1].startswith(f"STUCK run {run.pk} {run.change_request.cr_id}: No worker has taken it for 6")
    assert lines[1].endswith(f"Safe: operate retry {run.pk}")
    assert lines[2] == "1 active runs, 1 stuck."
    call_command("operate", "retry", str(run.pk), "--as", "adam", "--reason", "off")
    call_command("operate", "cancel", str(run.pk), "--as", "adam", "--reason", "not wanted")
    assert capsys.readouterr().out.splitlines() == ["A worker was rung.", "Cancelled."]
    with pytest.raises(CommandError, match="Nobody holds the lease"):
        call_command("operate", "release", str(run.dataset_id), "--as", "adam", "--reason", "x")
    with pytest.raises(CommandError, match="There is no user eve"):
        call_command("operate", "retry", str(run.pk), "--as", "eve", "--reason", "x")
