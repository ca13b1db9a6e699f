"""A deploy stops workers: a running merge finishes first, or is recovered by another worker. Real processes."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

import merging
from audit.services import verify
from changerequests import queue
from changerequests.models import ChangeRequest, MergeRun, PlanCheck, Revision
from changerequests.services import plans, runs
from changerequests.states import ACTIVE_RUN_STATUSES, RunStatus, Status
from config.env import BASE_DIR
from datasets import work
from datasets.models import Dataset
from demo.processes import ManagedProcess, wait_until, worker_command
from tests.factories import ChangeRequestFactory, rows_of
from tests.faults.orders import HOLD, KILL, ORDERS_VARIABLE, Orders
from tests.patience import until

pytestmark = pytest.mark.services

#: Longer than a lease of the suite: whoever is not alive is replaced within it.
LONGER_THAN_A_LEASE = 2.5
Start = Callable[[str], ManagedProcess]


@pytest.fixture
def orders(tmp_path: Path) -> Orders:
    return Orders(tmp_path / "orders")


@pytest.fixture
def start(process_environment: dict[str, str], orders: Orders, tmp_path: Path) -> Iterator[Start]:
    """Start a worker by name; it sweeps and obeys orders. Whatever is left of it ends with the test."""
    environment = {
        **process_environment,
        "DJANGO_SETTINGS_MODULE": "tests.faults.settings",
        ORDERS_VARIABLE: str(orders.folder),
    }
    with ExitStack() as stack:

        def started(name: str) -> ManagedProcess:
            command = worker_command(concurrency=1, beat=True)
            log = tmp_path / f"{name}.log"
            worker = ManagedProcess(
                name,
                [
                    *("tests.faults.worker" if part == "config" else part for part in command),
                    *("--hostname", f"{name}@shutdown", "--schedule", str(tmp_path / f"{name}-beat")),
                ],
                environment=environment,
                folder=BASE_DIR,
                log=log,
            )
            stack.callback(worker.kill)
            wait_until(worker, lambda: " ready." in log.read_text(errors="replace"), seconds=60)
            return worker

        yield started


@pytest.fixture
def queued(dataset: Dataset, owner: User) -> list[MergeRun]:
    """Two merges that wait, of requests that touch different rows."""
    made: list[Any] = [
        ChangeRequestFactory(dataset=dataset, csv=f"tailnum,seats\n{row},7\nX{row},1\n")
        for row in ("N1", "N2")
    ]
    return [runs.request_merge(change_request_id=request.pk, actor=owner) for request in made]


def held_at(orders: Orders, step: str) -> int:
    """Wait until a worker's child is held at the step; its process id."""
    until(lambda: bool(orders.waiting()), f"a worker at {step}")
    [(reached, pid)] = orders.waiting()
    assert reached == step
    return pid


def require_all_merged_once(dataset: Dataset, queued: list[MergeRun], attempts: list[int]) -> None:
    ended = [runs.wait_for_run(run.pk, 30) for run in queued]
    assert [(run.status, run.error_message) for run in ended] == [(RunStatus.SUCCEEDED, "")] * 2
    assert [run.attempts for run in ended] == attempts
    assert [run.merged_version for run in ended] == [1, 2]
    assert {row["tailnum"]: row["seats"] for row in rows_of(dataset)} == {
        "N1": 7, "N2": 7, "N3": 55, "N4": 377, "XN1": 1, "XN2": 1,
    }  # fmt: skip
    assert [entry.operation for entry in merging.history(dataset.table_uri)][:2] == ["MERGE", "MERGE"]
    assert set(ChangeRequest.objects.values_list("status", flat=True)) == {Status.MERGED}
    assert not MergeRun.objects.filter(status__in=ACTIVE_RUN_STATUSES).exists()
    until(lambda: list(verify()) == [], "the trail is whole")


@pytest.mark.parametrize("step", ["writing", "after-put"])
def test_a_worker_that_is_asked_to_end_finishes_its_merge_first(
    step: str, start: Start, orders: Orders, dataset: Dataset, queued: list[MergeRun]
) -> None:
    orders.give(step, HOLD)
    first = start("first")
    child = held_at(orders, step)
    first.ask_to_stop(signal.SIGTERM)
    second = start("second")
    os.kill(first.pid, signal.SIGTERM)  # asking again changes nothing
    assert (
        first.wait(LONGER_THAN_A_LEASE) is None
    )  # it waits for its merge, and the lease is kept alive meanwhile
    running = MergeRun.objects.get(status=RunStatus.RUNNING)
    assert (running.pk, running.attempts, running.worker) == (queued[0].pk, 1, "first@shutdown")
    orders.resume(step)
    assert first.wait(20) == 0
    assert not Path(f"/proc/{child}").exists()
    require_all_merged_once(dataset, queued, [1, 1])
    assert MergeRun.objects.get(pk=queued[1].pk).worker == "second@shutdown"
    assert second.exit_code is None


def quit_at_once(worker: ManagedProcess) -> None:
    os.kill(worker.pid, signal.SIGQUIT)


def lose_patience(worker: ManagedProcess) -> None:
    """Ask to end, then to quit: what a person does who cannot wait for the merge."""
    os.kill(worker.pid, signal.SIGTERM)
    time.sleep(0.5)
    os.kill(worker.pid, signal.SIGQUIT)


def terminate_the_group(worker: ManagedProcess) -> None:
    """As a service manager does that signals every process of a unit."""
    os.killpg(worker.pid, signal.SIGTERM)


@pytest.mark.parametrize(
    ("stop", "step"),
    [
        (quit_at_once, "artefacts-written"),
        (lose_patience, "after-put"),
        (terminate_the_group, "artefacts-written"),
        (terminate_the_group, "after-put"),
    ],
)
def test_a_merge_that_is_cut_short_is_recovered(
    stop: Callable[[ManagedProcess], None],
    step: str,
    start: Start,
    orders: Orders,
    dataset: Dataset,
    queued: list[MergeRun],
) -> None:
    orders.give(step, HOLD)
    first = start("first")
    child = held_at(orders, step)
    stop(first)
    assert first.wait(20) is not None, first.log_tail()
    until(lambda: not Path(f"/proc/{child}").exists(), "the child is gone")
    assert MergeRun.objects.get(pk=queued[0].pk).status == RunStatus.RUNNING
    start("second")
    require_all_merged_once(dataset, queued, [2, 1])


def test_a_check_that_ends_its_worker_each_time_is_given_up_and_tried_again_where_somebody_asks(
    start: Start, orders: Orders, dataset: Dataset, owner: User
) -> None:
    request: Any = ChangeRequestFactory(dataset=dataset)
    PlanCheck.objects.all().delete()
    deaths = 2
    Revision.objects.update(checks_cut_short=work.MOST_ATTEMPTS - deaths)  # as if it had died of it before
    orders.give("planning", *[KILL] * deaths)
    start("first")

    queue.ask_for_check(
        request.pk
    )  # one message: the broker gives it again to whoever takes it after a death

    until(lambda: PlanCheck.objects.filter(pk=request.pk).exists(), "the check is given up")
    given_up = PlanCheck.objects.get(pk=request.pk)
    assert (given_up.problem_code, given_up.table_version) == ("check_given_up", dataset.meta.delta_version)
    assert "5 attempts were cut short" in given_up.problem
    assert orders.obeyed() == [f"planning={KILL}"] * deaths

    again = plans.check_again(change_request_id=request.pk, actor=owner)
    assert again is not None
    assert "A worker checks it again" in again.problem
    until(lambda: PlanCheck.objects.get(pk=request.pk).problem == "", "a worker checked it")
    assert Revision.objects.get(change_request=request).checks_cut_short == 0
