"""A store that does not answer is a state: the merge waits and is tried again, the dataset says since when."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

import merging
from changerequests.models import ChangeRequest, MergeRun
from changerequests.services import execution, operations, runs
from changerequests.services.execution import ending, running
from changerequests.states import RunPhase, RunStatus, Status
from config.problems import problem_of
from datasets import leases, outages
from datasets.models import DatasetLease, DatasetMeta, StorePlace
from datasets.services import reconcile
from tests.factories import ChangeRequestFactory

pytestmark = pytest.mark.django_db

WHY = "It did not answer in time."


@pytest.fixture
def pending() -> ChangeRequest:
    made: ChangeRequest = ChangeRequestFactory.create()
    return made


@pytest.fixture
def run(pending: ChangeRequest) -> MergeRun:
    return runs.request_merge(change_request_id=pending.pk, actor=pending.author)


def unreachable(pending: ChangeRequest, *, retriable: bool = True) -> merging.TableUnreachable:
    return merging.TableUnreachable(pending.dataset.table_uri, WHY, retriable=retriable)


def down(monkeypatch: pytest.MonkeyPatch, error: merging.TableUnreachable) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(running, "merge", fails)


def work(pending: ChangeRequest) -> MergeRun | None:
    return execution.merge_next(dataset_id=pending.dataset_id, worker="here")


def due(run: MergeRun) -> None:
    MergeRun.objects.filter(pk=run.pk).update(not_before=timezone.now() - timedelta(seconds=1))


def test_a_merge_waits_for_its_store_and_then_merges(
    pending: ChangeRequest, run: MergeRun, client: Client
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        down(patch, unreachable(pending))
        work(pending)
        run.refresh_from_db()
        pending.refresh_from_db()
        assert (run.status, run.phase, run.waits, run.attempts) == (RunStatus.QUEUED, RunPhase.QUEUED, 1, 0)
        assert (run.error_code, run.error_message) == ("table_unreachable", WHY)
        assert run.not_before is not None
        assert pending.status == Status.PENDING
        assert work(pending) is None, "it is not due"
        assert operations.stuck_work() == []
        assert operations.stuck_runs(timezone.now())["not_taken"] == 0
        due(run)
        work(pending)
    run.refresh_from_db()
    assert (run.waits, run.attempts) == (2, 0)
    meta = DatasetMeta.objects.get(dataset=pending.dataset)
    assert meta.unreachable_since is not None
    assert (meta.unreachable_reason, meta.problem) == (WHY, "")

    client.force_login(pending.author)
    dataset = client.get(reverse("dataset", args=[pending.dataset.project.slug, pending.dataset.slug]))
    since = f"The table cannot be reached since {meta.unreachable_since:%Y-%m-%d %H:%M} UTC. {WHY}"
    assert since in dataset.content.decode()
    page = client.get(reverse("merge_run", args=[run.pk]))
    assert f"next try at {run.not_before:%H:%M} UTC, try 3" in page.content.decode()

    due(run)
    work(pending)
    run.refresh_from_db()
    assert (run.status, run.merged_version, run.error_code) == (RunStatus.SUCCEEDED, 1, "")
    meta.refresh_from_db()
    assert (meta.unreachable_since, meta.unreachable_reason) == (None, "")


def test_what_does_not_pass_by_itself_ends_the_run_with_the_reason(
    pending: ChangeRequest, run: MergeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    down(monkeypatch, unreachable(pending, retriable=False))
    work(pending)
    run.refresh_from_db()
    assert (run.status, run.error_code) == (RunStatus.FAILED, "table_unreachable")
    assert WHY in run.error_message


def test_waiting_ends_after_a_while(
    pending: ChangeRequest, run: MergeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    down(monkeypatch, unreachable(pending))
    MergeRun.objects.filter(pk=run.pk).update(waits=ending.MOST_WAITS)
    work(pending)
    run.refresh_from_db()
    pending.refresh_from_db()
    assert (run.status, run.error_code, pending.status) == (
        RunStatus.FAILED,
        "table_unreachable",
        Status.PENDING,
    )
    assert "tried for hours" in run.error_message


def test_a_place_is_asked_by_one_for_all_and_opens_with_an_answer() -> None:
    one, other = "s3://lake/one", "s3://lake/other"
    assert outages.shut_off(one) is None
    outages.note_outage(merging.TableUnreachable(one, WHY, retriable=True))
    off = outages.shut_off(other)
    assert off is not None
    assert off.reason == WHY
    assert outages.shut_off("s3://sea/one") is None
    assert outages.shut_off("/data/table") is None

    StorePlace.objects.update(shut_until=timezone.now() - timedelta(seconds=1))
    assert outages.shut_off(other) is None, "the first asks for all"
    assert outages.shut_off(one) is not None, "the others wait for what it hears"
    for _ in range(3):  # whoever was at work there meanwhile notes the same
        outages.note_outage(merging.TableUnreachable(one, WHY, retriable=True))
    assert StorePlace.objects.get().failures == 2
    outages.note_answer(other)
    assert outages.shut_off(one) is None
    assert not StorePlace.objects.exists()


def test_a_run_of_a_place_that_is_shut_off_waits_without_an_attempt(
    pending: ChangeRequest, run: MergeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = timezone.now() + timedelta(minutes=1)
    monkeypatch.setattr(outages, "shut_off", lambda _: outages.ShutOff(until, WHY))
    assert work(pending) is None
    run.refresh_from_db()
    assert (run.status, run.attempts, run.not_before) == (RunStatus.QUEUED, 0, until)
    assert leases.acquire(pending.dataset_id, "somebody") is not None

    operations.retry(run_id=run.pk, actor=User.objects.create_superuser("root"), reason="It is back.")
    run.refresh_from_db()
    assert run.not_before is None


def test_pauses_grow_and_end() -> None:
    assert [outages.pause_after(number).total_seconds() for number in (1, 2, 3, 100)] == [15, 30, 60, 600]


def test_reconciling_keeps_what_is_known(pending: ChangeRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    before = DatasetMeta.objects.get(dataset=pending.dataset)
    with monkeypatch.context() as patch:

        def fails(*_: Any, **__: Any) -> None:
            raise unreachable(pending)

        patch.setattr(merging, "inspect_table", fails)
        meta = reconcile(dataset_id=pending.dataset_id)
    assert (meta.delta_version, meta.problem) == (before.delta_version, "")
    assert meta.unreachable_since is not None
    assert reconcile(dataset_id=pending.dataset_id).unreachable_since is None


def test_callers_read_which_dataset_since_when_and_when_to_ask_again(pending: ChangeRequest) -> None:
    problem = problem_of(unreachable(pending))
    assert problem is not None
    assert (problem["code"], problem["dataset"]) == ("table_unreachable", str(pending.dataset))
    assert problem["retry_after"] == 30
    assert problem["unreachable_since"]
    assert "retry_after" not in (problem_of(unreachable(pending, retriable=False)) or {})


def test_fo8_a_run_that_is_taken_up_again_and_again_is_cancelled_by_the_next_worker(
    pending: ChangeRequest, run: MergeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its workers die before they look whether somebody cancelled it, and one died while it committed."""
    leases.acquire(pending.dataset_id, "who died")
    now = timezone.now()
    DatasetLease.objects.update(acquired_at=now - timedelta(minutes=2), expires_at=now - timedelta(minutes=1))
    MergeRun.objects.filter(pk=run.pk).update(
        status=RunStatus.RUNNING, phase=RunPhase.COMMITTING, attempts=2, fence=1, heartbeat_at=timezone.now()
    )
    ChangeRequest.objects.filter(pk=pending.pk).update(status=Status.MERGING)
    monkeypatch.setattr(running, "merge", lambda *_, **__: pytest.fail("it is cancelled"))
    operations.cancel(run_id=run.pk, actor=User.objects.create_superuser("root"), reason="It kills workers.")
    work(pending)
    run.refresh_from_db()
    pending.refresh_from_db()
    assert (run.status, pending.status) == (RunStatus.CANCELLED, Status.PENDING)
