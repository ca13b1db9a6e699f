"""The machine for durable work: who may claim, who may write, who ends, and what the sweep finds."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db.models import Q
from django.utils import timezone
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

import merging
from datasets import leases, suites, work
from datasets.durable_work import WorkStatus
from datasets.models import Dataset, DatasetLease, DatasetMeta, MaintenanceRun, Project, SuiteProposal
from datasets.work import MOST_ATTEMPTS, Hold
from tests.factories import UserFactory

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def later(seconds: float) -> time_machine.travel:
    return time_machine.travel(timezone.now() + timedelta(seconds=seconds), tick=False)


@pytest.fixture
def dataset() -> Dataset:
    project = Project.objects.create(slug="fleet", name="Fleet")
    dataset = Dataset.objects.create(
        project=project, slug="planes", name="planes", table_uri="/nowhere", primary_keys=["tailnum"]
    )
    DatasetMeta.objects.create(
        dataset=dataset,
        table_id="nowhere",
        delta_version=0,
        schema_json={},
        size_bytes=0,
        file_count=0,
        checked_at=timezone.now(),
    )
    return dataset


@pytest.fixture
def asker() -> User:
    return UserFactory.create()


@pytest.fixture
def proposal(dataset: Dataset, asker: User) -> SuiteProposal:
    """Work that is claimed by itself."""
    return SuiteProposal.objects.create(dataset=dataset, asked_by=asker)


@pytest.fixture
def visit(dataset: Dataset) -> MaintenanceRun:
    """Work that is claimed under the lease of its dataset."""
    return MaintenanceRun.objects.create(dataset=dataset, jobs=["checkpoint"])


def read(row: Any) -> Any:
    """The row as another process reads it."""
    return type(row).objects.get(pk=row.pk)


def claimed(row: Any, worker: str = "first", **options: Any) -> Hold[Any]:
    hold = work.claim(read(row), worker=worker, **options)
    assert hold is not None
    return hold


def written(row: Any) -> tuple[Any, ...]:
    now = read(row)
    return now.status, now.worker, now.attempts, now.fence, now.error_message


def test_a_claim_says_who_when_and_for_the_how_many_th_time(proposal: SuiteProposal) -> None:
    hold = claimed(proposal, "host-1")
    now = read(proposal)
    assert written(proposal) == ("running", "host-1", 1, 1, "")
    assert (hold.fence, len(now.attempt_id), now.is_active) == (1, 32, True)
    assert now.queued_at <= now.started_at == now.heartbeat_at
    assert [getattr(hold.work, name) for name in vars(now) if name != "_state"] == [
        getattr(now, name) for name in vars(now) if name != "_state"
    ]


def test_of_two_claimers_that_read_the_same_row_one_gets_it(proposal: SuiteProposal) -> None:
    first, second = read(proposal), read(proposal)
    assert work.claim(first, worker="first") is not None
    assert work.claim(second, worker="second") is None
    assert written(proposal) == ("running", "first", 1, 1, "")
    assert (second.status, second.worker) == ("queued", "")  # what it read


def test_of_two_that_take_up_the_same_dead_work_one_gets_it(proposal: SuiteProposal) -> None:
    claimed(proposal, "dead")
    with later(leases.LEASE_SECONDS):
        second, third = read(proposal), read(proposal)
        assert work.claim(second, worker="second") is not None
        assert work.claim(third, worker="third") is None
    assert written(proposal) == ("running", "second", 2, 2, "")


def test_nobody_takes_work_from_a_worker_that_lives(proposal: SuiteProposal) -> None:
    hold = claimed(proposal)
    with later(leases.LEASE_SECONDS - 1):
        assert work.claim(read(proposal), worker="second") is None
        assert work.progress(hold)  # a sign of life
    with later(2 * leases.LEASE_SECONDS - 2):
        assert work.claim(read(proposal), worker="second") is None
    with later(2 * leases.LEASE_SECONDS - 1):
        assert work.claim(read(proposal), worker="second") is not None
    now = read(proposal)
    assert now.started_at == hold.work.started_at < now.heartbeat_at


def test_who_read_an_earlier_sign_of_life_takes_nothing_from_a_worker_that_lives(
    proposal: SuiteProposal,
) -> None:
    hold = claimed(proposal)
    earlier = read(proposal)
    with later(leases.LEASE_SECONDS):
        assert work.progress(hold)  # late, and before anybody took it
        assert work.claim(earlier, worker="second") is None
    assert written(proposal) == ("running", "first", 1, 1, "")


def test_a_worker_that_comes_back_from_the_dead_writes_nothing(proposal: SuiteProposal) -> None:
    first = claimed(proposal, "first")
    with later(leases.LEASE_SECONDS):
        second = claimed(proposal, "second")
        assert not work.progress(first, error_message="from the grave")
        assert not work.end(first, WorkStatus.FAILED, error_message="from the grave")
        assert written(proposal) == ("running", "second", 2, 2, "")
        assert (first.work.worker, first.work.fence) == (
            "second",
            2,
        )  # it knows now, and still is not the holder
        assert not work.end(first, WorkStatus.FAILED)
        assert work.end(second, WorkStatus.SUCCEEDED, document="{}")
    assert written(proposal) == ("succeeded", "second", 2, 2, "")


def test_work_that_ended_stays_as_it_ended(proposal: SuiteProposal) -> None:
    hold = claimed(proposal)
    assert work.end(hold, WorkStatus.FAILED, error_message="No room.")
    assert read(proposal).finished_at == hold.work.finished_at is not None
    assert not work.end(hold, WorkStatus.SUCCEEDED)
    assert not work.progress(hold, error_message="")
    assert work.claim(read(proposal), worker="second") is None
    assert written(proposal) == ("failed", "first", 1, 1, "No room.")
    assert not read(proposal).is_active


def test_progress_stops_at_a_condition(proposal: SuiteProposal) -> None:
    hold = claimed(proposal)
    assert not work.progress(hold, Q(document="{}"), error_message="not told")
    assert work.progress(hold, Q(document=""), error_message="told")
    assert read(proposal).error_message == hold.work.error_message == "told"


def test_work_that_kills_its_workers_is_worn_out(proposal: SuiteProposal) -> None:
    moment = timezone.now()
    for attempt in range(1, MOST_ATTEMPTS + 2):
        with time_machine.travel(moment + timedelta(seconds=attempt * leases.LEASE_SECONDS), tick=False):
            hold = claimed(proposal)
            assert hold.work.attempts == attempt
            assert hold.is_worn_out is (attempt > MOST_ATTEMPTS)


# --- Under the lease of a dataset ---------------------------------------------------------------------------


def lease_of(row: MaintenanceRun, holder: str) -> leases.Lease:
    lease = leases.acquire(row.dataset_id, holder, leases.Kind.MAINTENANCE)
    assert lease is not None
    return lease


def lease_row(row: MaintenanceRun) -> Any:
    return DatasetLease.objects.get(dataset=row.dataset_id)


def test_under_a_lease_its_fence_counts(visit: MaintenanceRun) -> None:
    leases.release(lease_of(visit, "before"))
    hold = claimed(visit, lease=lease_of(visit, "first"))
    assert (hold.fence, read(visit).fence, hold.table_lease.fence) == (2, 2, 2)
    leases.release(hold.table_lease)  # it gave up without an end: nobody has to wait for its heartbeat
    again = claimed(visit, "second", lease=lease_of(visit, "second"))
    assert written(visit) == ("running", "second", 2, 3, "")
    assert not work.end(hold, WorkStatus.FAILED)
    assert work.end(again, WorkStatus.SUCCEEDED)
    assert written(visit) == ("succeeded", "second", 2, 3, "")


def test_work_that_has_no_lease_has_no_table(proposal: SuiteProposal) -> None:
    with pytest.raises(TypeError, match=f"proposal {proposal.pk} was not claimed under the lease"):
        _ = claimed(proposal).table_lease


def test_what_was_cut_short_comes_first(dataset: Dataset, asker: User) -> None:
    ended = MaintenanceRun.objects.create(dataset=dataset, jobs=[], status=WorkStatus.SUCCEEDED)
    waiting = MaintenanceRun.objects.create(dataset=dataset, jobs=[])
    elsewhere = Dataset.objects.create(
        project=dataset.project, slug="other", name="other", table_uri="/other", primary_keys=["x"]
    )
    behind = MaintenanceRun.objects.create(dataset=elsewhere, jobs=[])
    everything = MaintenanceRun.objects.exclude(pk=ended.pk)
    assert work.next_in_line(everything) == waiting
    claimed(behind)
    assert work.next_in_line(everything) == behind
    assert work.next_in_line(MaintenanceRun.objects.filter(pk=ended.pk)) is None


# --- Signs of life and the sweep ----------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_signs_of_life_until_the_work_is_lost(
    proposal: SuiteProposal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.005)
    hold = claimed(proposal)
    begun: Any = read(proposal).heartbeat_at
    with work.kept_alive(hold):
        _until(lambda: read(proposal).heartbeat_at > begun)
        SuiteProposal.objects.filter(pk=proposal.pk).update(fence=99, heartbeat_at=begun)
        _until(lambda: not any(one.name == "heartbeat" for one in threading.enumerate()))
    assert read(proposal).heartbeat_at == begun


@pytest.mark.django_db(transaction=True)
def test_under_a_lease_signs_of_life_go_on_after_the_end(
    visit: MaintenanceRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What follows the end, like the checkpoint after a merge, still needs the table."""
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.005)
    hold = claimed(visit, lease=lease_of(visit, "first"))
    with work.kept_alive(hold):
        _until(lambda: read(visit).heartbeat_at > hold.work.heartbeat_at)
        assert work.end(hold, WorkStatus.SUCCEEDED)
        beats: set[Any] = set()

        def beaten() -> int:
            beats.add(lease_row(visit).heartbeat_at)
            return len(beats)

        _until(lambda: beaten() > 3)  # each time its row is found to have ended
        leases.release(hold.table_lease)
        _until(lambda: not any(one.name == "heartbeat" for one in threading.enumerate()))


def _until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("It did not come true.")


@time_machine.travel("2026-03-01 12:00:00+00:00", tick=False)
def test_the_sweep_rings_for_proposals_that_nobody_works_on(
    proposal: SuiteProposal, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[int] = []
    monkeypatch.setattr(suites, "ring_for_proposal", rung.append)
    assert (suites.sweep_proposals(), rung) == (1, [proposal.pk])
    hold = claimed(proposal)
    assert (suites.sweep_proposals(), len(rung)) == (0, 1)
    with later(leases.LEASE_SECONDS - 0.001):
        assert (suites.sweep_proposals(), len(rung)) == (0, 1)
    with later(leases.LEASE_SECONDS):
        assert (suites.sweep_proposals(), rung) == (1, [proposal.pk, proposal.pk])
    work.end(hold, WorkStatus.SUCCEEDED)
    with later(leases.LEASE_SECONDS):
        assert (suites.sweep_proposals(), len(rung)) == (0, 2)


def test_a_proposal_that_kills_its_workers_is_given_up(
    proposal: SuiteProposal, monkeypatch: pytest.MonkeyPatch
) -> None:
    SuiteProposal.objects.filter(pk=proposal.pk).update(attempts=MOST_ATTEMPTS)
    monkeypatch.setattr(merging, "propose_expectations", lambda *_, **__: pytest.fail("tried again"))
    assert suites.make_proposal(proposal_id=proposal.pk, worker="sixth") is not None
    now = read(proposal)
    assert (now.status, now.error_code, now.document) == ("failed", "given_up", "")
    assert now.error_message.startswith("Given up after 5 interrupted attempts.")


def test_two_workers_do_not_profile_one_table_at_once(
    proposal: SuiteProposal, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []

    def profiling(*_: object, **__: object) -> dict[str, object]:
        told.append(suites.make_proposal(proposal_id=proposal.pk, worker="second"))
        return {"name": "planes", "expectations": []}

    monkeypatch.setattr(merging, "propose_expectations", profiling)
    made = suites.make_proposal(proposal_id=proposal.pk, worker="first")
    assert (made, told) == (proposal, [None])
    assert written(proposal) == ("succeeded", "first", 1, 1, "")
    assert read(proposal).content == {"name": "planes", "expectations": []}


def test_leased_work_waits_for_its_dataset(visit: MaintenanceRun) -> None:
    def found() -> list[MaintenanceRun]:
        return list(work.unattended_under_lease(MaintenanceRun.objects.all()))

    assert found() == [visit]
    lease = lease_of(visit, "first")
    assert found() == []
    hold = claimed(visit, lease=lease)
    assert found() == []
    with later(leases.LEASE_SECONDS):
        assert found() == [visit]
    leases.release(lease)
    assert found() == [visit]
    work.end(hold, WorkStatus.SUCCEEDED)
    assert found() == []


# --- Any order ----------------------------------------------------------------------------------------------


class AnyOrder(RuleBasedStateMachine):
    """Workers claim, live, die, come back and end in any order; at most one of them may ever write."""

    dataset: Dataset
    asker: User

    def __init__(self) -> None:
        super().__init__()
        self.clock = time_machine.travel(timezone.now(), tick=False)
        self.traveller = self.clock.start()
        self.row = SuiteProposal.objects.create(
            dataset=self.dataset, asked_by=self.asker, document="written by nobody"
        )
        self.stale = [read(self.row)]
        self.holds: list[Hold[SuiteProposal]] = []
        self.ended_by: int | None = None
        self.last_sign = timezone.now()

    def teardown(self) -> None:
        SuiteProposal.objects.filter(pk=self.row.pk).delete()
        self.clock.stop()

    @property
    def is_dead(self) -> bool:
        return timezone.now() >= self.last_sign + timedelta(seconds=leases.LEASE_SECONDS)

    @rule(seconds=st.sampled_from([1, 10, 29, 30]))
    def time_passes(self, seconds: int) -> None:
        self.traveller.shift(seconds)

    @rule()
    def somebody_looks(self) -> None:
        self.stale.append(read(self.row))

    @rule(which=st.integers(0, 9))
    def somebody_claims_what_it_read(self, which: int) -> None:
        seen = self.stale.pop(which % len(self.stale)) if self.stale else read(self.row)
        as_it_is = (
            seen.fence == len(self.holds)
            and seen.heartbeat_at == read(self.row).heartbeat_at
            and self.ended_by is None
        )
        free = not self.holds or self.is_dead
        hold = work.claim(seen, worker=f"worker {len(self.holds)}")
        assert (hold is not None) is (as_it_is and free)
        if hold is not None:
            self.holds.append(hold)
            self.last_sign = timezone.now()

    @rule(which=st.integers(0, 9))
    def a_worker_tells_progress(self, which: int) -> None:
        if self.holds:
            hold = self.holds[which % len(self.holds)]
            mine = hold is self.holds[-1] and self.ended_by is None
            assert work.progress(hold, document=f"written by {hold.fence}") is mine
            if mine:
                self.last_sign = timezone.now()

    @rule(which=st.integers(0, 9))
    def a_worker_ends_it(self, which: int) -> None:
        if self.holds:
            hold = self.holds[which % len(self.holds)]
            mine = hold is self.holds[-1] and self.ended_by is None
            assert work.end(hold, WorkStatus.SUCCEEDED, document=f"written by {hold.fence}") is mine
            if mine:
                self.ended_by = hold.fence

    @invariant()
    def the_row_is_its_last_holders(self) -> None:
        now = read(self.row)
        assert (now.fence, now.attempts) == (len(self.holds), len(self.holds))
        assert (now.status == "succeeded") is (self.ended_by is not None)
        assert [hold.fence for hold in self.holds] == list(range(1, len(self.holds) + 1))
        waits = self.ended_by is None and (not self.holds or self.is_dead)
        assert work.unattended(SuiteProposal.objects.filter(pk=now.pk)).exists() is waits


def test_in_any_order_one_worker_writes(dataset: Dataset, asker: User) -> None:
    AnyOrder.dataset, AnyOrder.asker = dataset, asker
    quick = settings(max_examples=25, stateful_step_count=12)
    run_state_machine_as_test(AnyOrder, settings=quick)
