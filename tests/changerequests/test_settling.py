"""A commit whose put is delivered late: nothing of its request may change before the log is settled (FD4)."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

import merging
from audit.selectors import events_of
from changerequests.errors import Blocked, OutcomeUnknown
from changerequests.facts import facts_of
from changerequests.models import ChangeRequest, MergeRun
from changerequests.policies import blockers
from changerequests.services import (
    adopting,
    conflicts,
    maintenance,
    proposals,
    rebasing,
    runs,
    settling,
)
from changerequests.services.execution.reporting import Reporter
from changerequests.services.plans import bare_request_for
from changerequests.states import Action, RunStatus, Status
from datasets import leases
from datasets.models import Dataset
from datasets.rows import ConflictFilter
from merging.errors import MergeFailed
from merging.store.client import ObjectExists
from merging.store.stores import LocalStore
from tests.factories import (
    ChangeRequestFactory,
    DatasetFactory,
    drain,
    merge,
    rows_of,
    stage_csv,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(params=[True, False], ids=["merge-on-read", "copy-on-write"])
def dataset(request: pytest.FixtureRequest) -> Dataset:
    return DatasetFactory.create(table_options={"deletion_vectors": request.param})


@pytest.fixture
def pending(dataset: Dataset) -> ChangeRequest:
    return ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,1\n")


FIRST = {"N1": 1, "N2": 182, "N3": 55, "N4": 377}
SECOND = {"N1": 149, "N2": 2, "N3": 55, "N4": 377}


def seats(dataset: Dataset) -> dict[str, int]:
    return {row["tailnum"]: row["seats"] for row in rows_of(dataset)}


class SlowStore:
    """Keeps puts of commits instead of doing them, answers with a time-out, and delivers them when told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slow = True
        self.dead = False
        self.kept: list[tuple[LocalStore, str, bytes]] = []
        self._put = put_new = LocalStore.put_new

        def put(store: LocalStore, path: str, data: bytes) -> None:
            if self.slow:
                self.kept.append((store, path, data))
                raise TimeoutError("the store gave no answer")
            put_new(store, path, data)

        def unless_dead(real: Callable[..., Any]) -> Callable[..., Any]:
            def asked(*arguments: Any, **named: Any) -> Any:
                if self.dead:
                    raise TimeoutError("the store gave no answer")
                return real(*arguments, **named)

            return asked

        monkeypatch.setattr(LocalStore, "put_new", put)
        reading = ("read", "read_dated", "read_range", "read_tail", "opened")
        for name in ("list", "names", "walk", "mark", *reading):
            monkeypatch.setattr(LocalStore, name, unless_dead(getattr(LocalStore, name)))

    def deliver(self) -> int:
        """Do what was kept; how many of the puts came too late."""
        late = 0
        for store, path, data in self.kept:
            try:
                self._put(store, path, data)
            except ObjectExists:
                late += 1
        return late


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> SlowStore:
    monkeypatch.setattr("merging.executing.executor.MAX_FAILURES", 2)
    monkeypatch.setattr("merging.executing.executor.time.sleep", lambda _: None)
    return SlowStore(monkeypatch)


def give_up(
    store: SlowStore, pending: ChangeRequest, owner: User, monkeypatch: pytest.MonkeyPatch, *, log_dead: bool
) -> MergeRun:
    """A merge whose puts are kept by the store; ``log_dead`` lets the log stay silent when the run ends."""
    settle = settling.settle

    def then_settle(*arguments: Any) -> Any:
        store.slow, store.dead = False, log_dead
        return settle(*arguments)

    run = runs.request_merge(change_request_id=pending.pk, actor=owner)
    with monkeypatch.context() as patch:
        patch.setattr(settling, "settle", then_settle)
        drain()
    run.refresh_from_db()
    pending.refresh_from_db()
    store.slow = store.dead = False
    return run


def settle_by_the_sweep() -> None:
    assert adopting.settle_what_is_open() == 1
    assert adopting.settle_what_is_open() == 0


def test_fd4_what_is_delivered_late_never_lands(
    dataset: Dataset, pending: ChangeRequest, owner: User, store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row itself: the run gives up, the author uploads other content, it is merged, then the put arrives."""
    run = give_up(store, pending, owner, monkeypatch, log_dead=False)
    assert (run.status, run.error_code) == (RunStatus.FAILED, "merge_failed")
    assert (pending.status, pending.unsettled_version, pending.merge_generation) == (Status.PENDING, None, 3)
    stage_csv(pending, "tailnum,seats\nN2,2\n")
    merged = merge(pending, owner)
    assert (merged.status, merged.merged_version) == (RunStatus.SUCCEEDED, 2)
    assert store.deliver() == len(store.kept) == 2
    assert seats(dataset) == SECOND
    assert merging.inspect_table(dataset.table_uri).version == 2


def edit(pending: ChangeRequest, owner: User) -> None:
    stage_csv(pending, "tailnum,seats\nN2,2\n")


def close(pending: ChangeRequest, owner: User) -> object:
    return proposals.close(change_request_id=pending.pk, actor=pending.author)


def reject(pending: ChangeRequest, owner: User) -> object:
    return proposals.close(change_request_id=pending.pk, actor=owner, reason="no")


def to_draft(pending: ChangeRequest, owner: User) -> object:
    return proposals.return_to_draft(change_request_id=pending.pk, actor=pending.author)


def rebase(pending: ChangeRequest, owner: User) -> object:
    return rebasing.rebase(change_request_id=pending.pk, actor=pending.author)


def resolve(pending: ChangeRequest, owner: User) -> object:
    return conflicts.resolve_matching(
        change_request_id=pending.pk,
        actor=pending.author,
        wanted=ConflictFilter(column="seats"),
        choice="current",
    )


@pytest.mark.sample(3)
@pytest.mark.parametrize("change", [edit, close, reject, to_draft, rebase, resolve])
def test_fd4_nothing_changes_while_a_put_may_land(
    dataset: Dataset,
    pending: ChangeRequest,
    owner: User,
    store: SlowStore,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[ChangeRequest, User], object],
) -> None:
    """The log did not answer when the run ended: the request stays as it is until it does."""
    run = give_up(store, pending, owner, monkeypatch, log_dead=True)
    assert (run.status, run.error_code) == (RunStatus.FAILED, "outcome_unknown")
    assert (pending.status, pending.unsettled_version) == (Status.PENDING, 1)
    told = events_of("change_request", pending.cr_id).values_list("action", flat=True)
    assert list(told)[-1] == "merge.unsettled"
    before = list(ChangeRequest.objects.values()), list(pending.revisions.values())
    with pytest.raises(Blocked, match="may have been committed"):
        change(pending, owner)
    assert (list(ChangeRequest.objects.values()), list(pending.revisions.values())) == before
    settle_by_the_sweep()
    pending.refresh_from_db()
    assert (pending.unsettled_version, pending.merge_generation) == (None, 3)
    assert store.deliver() == len(store.kept)
    assert seats(dataset) == {**FIRST, "N1": 149}
    assert [one.code for one in blockers(facts_of(pending, pending.author), Action.CLOSE)] == []
    stage_csv(pending, "tailnum,seats\nN2,2\n")
    assert merge(pending, owner).status == RunStatus.SUCCEEDED
    assert seats(dataset) == SECOND


def test_fd4_what_landed_meanwhile_is_recorded(
    dataset: Dataset, pending: ChangeRequest, owner: User, store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = give_up(store, pending, owner, monkeypatch, log_dead=True)
    needs = maintenance.needs_of(dataset)
    assert needs is not None
    assert run.attempt_id in needs.living_attempts
    assert run.attempt_id not in needs.dead_attempts
    assert store.deliver() == len(store.kept) - 1
    settle_by_the_sweep()
    pending.refresh_from_db()
    assert (pending.status, pending.merged_version, pending.unsettled_version) == (Status.MERGED, 1, None)
    assert [one.status for one in pending.runs.order_by("pk")] == [RunStatus.FAILED, RunStatus.SUCCEEDED]
    assert seats(dataset) == FIRST
    actions = list(events_of("change_request", pending.cr_id).values_list("action", flat=True))
    assert actions[-2:] == ["merge.adopted", "change_request.merged"]


@pytest.mark.parametrize("landed", [True, False])
def test_fd4_a_merge_that_is_asked_for_again_settles_first(
    dataset: Dataset,
    pending: ChangeRequest,
    owner: User,
    store: SlowStore,
    monkeypatch: pytest.MonkeyPatch,
    landed: bool,
) -> None:
    give_up(store, pending, owner, monkeypatch, log_dead=True)
    if landed:
        store.deliver()
    run = merge(pending, owner)
    pending.refresh_from_db()
    assert (run.status, run.merged_version) == (RunStatus.SUCCEEDED, 1 if landed else 2)
    assert (pending.status, pending.unsettled_version) == (Status.MERGED, None)
    store.deliver()
    assert seats(dataset) == FIRST
    assert merging.inspect_table(dataset.table_uri).version == run.merged_version


def test_fd4_a_store_that_stays_silent_blocks_no_queue(
    dataset: Dataset, pending: ChangeRequest, owner: User, store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN4,4\n")
    give_up(store, pending, owner, monkeypatch, log_dead=True)
    store.dead = True
    assert adopting.settle_what_is_open() == 0
    store.dead = False
    run = merge(other, owner)
    assert (run.status, run.merged_version) == (RunStatus.SUCCEEDED, 1)
    assert store.deliver() == len(store.kept)  # its version is taken
    settle_by_the_sweep()
    assert merging.inspect_table(dataset.table_uri).version == 1  # nothing had to be superseded
    assert merge(pending, owner).status == RunStatus.SUCCEEDED
    assert seats(dataset) == {**FIRST, "N4": 4}


def test_fd4_a_cancelled_run_is_settled(
    dataset: Dataset, pending: ChangeRequest, owner: User, store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled between a put without an answer and the next attempt of the same run."""
    run = runs.request_merge(change_request_id=pending.pk, actor=owner)
    report, checks = Reporter.__call__, []

    def cancelled(self: Any, phase: str, **facts: Any) -> None:
        if phase == "checking":
            checks.append(phase)
            if len(checks) == 2:
                store.slow = False
                MergeRun.objects.filter(pk=run.pk).update(cancel_requested_by=owner)
        report(self, phase, **facts)

    monkeypatch.setattr(Reporter, "__call__", cancelled)
    drain()
    run.refresh_from_db()
    pending.refresh_from_db()
    assert (run.status, pending.unsettled_version, pending.merge_generation) == (RunStatus.CANCELLED, None, 3)
    assert store.deliver() == len(store.kept) == 1
    assert seats(dataset) == {**FIRST, "N1": 149}


@pytest.mark.parametrize("status", [Status.DRAFT, Status.CLOSED])
def test_fd4_the_database_refuses_to_let_go(pending: ChangeRequest, status: Status) -> None:
    unsettled = ChangeRequest.objects.filter(pk=pending.pk)
    unsettled.update(unsettled_version=1)
    with pytest.raises(IntegrityError, match="nothing_unsettled_is_edited_or_closed"), transaction.atomic():
        unsettled.update(status=status)


def test_fd4_an_end_without_a_put_writes_nothing(
    dataset: Dataset, pending: ChangeRequest, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise MergeFailed("The files could not be written.")

    monkeypatch.setattr("merging.executing.executor.prepare", fail)
    assert merge(pending, owner).error_code == "merge_failed"
    pending.refresh_from_db()
    assert (pending.merge_generation, pending.unsettled_version) == (1, None)
    assert merging.inspect_table(dataset.table_uri).version == 0


def test_fd4_a_put_that_a_full_store_refused_leaves_nothing_to_settle(
    dataset: Dataset, pending: ChangeRequest, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "put_new", full)
        assert merge(pending, owner).status == RunStatus.FAILED
    pending.refresh_from_db()
    assert (pending.status, pending.merge_generation, pending.unsettled_version) == (Status.PENDING, 1, None)
    assert merging.inspect_table(dataset.table_uri).version == 0
    stage_csv(pending, "tailnum,seats\nN2,2\n")
    assert merge(pending, owner).merged_version == 1


@pytest.mark.parametrize(("asked", "settled"), [(1, True), (2, False)])
def test_fd4_a_marker_of_another_merge_settles_a_put_for_a_version_that_is_there(
    dataset: Dataset,
    pending: ChangeRequest,
    owner: User,
    monkeypatch: pytest.MonkeyPatch,
    asked: int,
    settled: bool,
) -> None:
    merge(ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN4,4\n"), owner)  # version 1
    ChangeRequest.objects.filter(pk=pending.pk).update(unsettled_version=asked)

    def otherwise(*_: Any, **__: Any) -> None:
        raise merging.MergedOtherwise("The marker is another merge's.")

    monkeypatch.setattr(merging, "find_merge", otherwise)
    request = bare_request_for(pending, pending.revisions.get())
    lease = leases.acquire(dataset.pk, "worker")
    assert lease is not None
    if settled:
        assert settling.settle(pending, request, lease) is None
    else:
        with pytest.raises(OutcomeUnknown, match="is not known"):
            settling.settle(pending, request, lease)
