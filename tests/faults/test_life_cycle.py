"""Random walks through the life cycle against a model: no reachable state breaks an invariant.

Everything goes through the services, on one real table for each walk. The model knows of each request which cell it
proposes and what was said about it; from that it says which actions are possible and what the table must hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from audit.models import Event
from audit.services import verify_chains
from changerequests.errors import Blocked, InvalidTransition
from changerequests.models import ChangeRequest, MergeRun
from changerequests.services import conflicts, execution, proposals, reviews, runs
from changerequests.states import ACTIVE_RUN_STATUSES, RunStatus, Status
from datasets.models import Dataset
from datasets.roles import Role
from datasets.rows import ConflictFilter
from tests import options
from tests.factories import ChangeRequestFactory, DatasetFactory, person_with, stage_csv
from tests.faults.checks import commits_of, read_log

KEYS = ("a", "b", "c")
#: Where a run takes all, and where it takes a sample.
WALKS = 8 if options.SAMPLE_SEED is None else 4
STEPS = 25

keys = st.sampled_from(KEYS)
which = st.integers(0, 3)


@dataclass(eq=False)
class Known:
    """What the model knows of one request."""

    pk: int
    key: str
    base: int
    proposed: int
    status: str = Status.DRAFT
    run: int | None = None
    approved: bool = False
    refused: bool = False
    judged: tuple[str, int, int, int] | None = None  # the key and the three values that a choice was made for
    choice: str = ""


class LifeCycle(RuleBasedStateMachine):
    """The life cycle of a few requests that propose one cell each."""

    def __init__(self) -> None:
        super().__init__()
        data = pa.table({"id": list(KEYS), "value": pa.array([1, 2, 3], pa.int64())})
        made: Any = DatasetFactory(
            primary_keys=("id",),
            data=data,
            table_options={"deletion_vectors": False},  # delta-rs is the foreign writer here
            required_approvals=1,
        )
        self.dataset: Dataset = made
        self.owner = person_with(Role.OWNER, self.dataset)
        self.author = person_with(Role.CONTRIBUTOR, self.dataset)
        self.cells = dict(zip(KEYS, (1, 2, 3), strict=True))
        self.requests: list[Known] = []
        self.queue: list[Known] = []
        self.last_value = 1000

    # --- what people do -------------------------------------------------------------------------------

    @initialize(wanted=st.lists(keys, min_size=2, max_size=3), queued=st.integers(0, 3))
    def begin_with_approved_requests(self, wanted: list[str], queued: int) -> None:
        """So that a short walk gets as far as merges and conflicts."""
        for number, key in enumerate(wanted):
            self.create(key, submitted=True)
            self.review(number, approving=True)
            if number < queued:
                self.request_merge(number)

    @precondition(lambda self: len(self.requests) < 4)
    @rule(key=keys, submitted=st.booleans())
    def create(self, key: str, submitted: bool) -> None:
        value = self.fresh_value()
        made: Any = ChangeRequestFactory(
            dataset=self.dataset,
            author=self.author,
            csv=f"id,value\n{key},{value}\n",
            status=Status.PENDING if submitted else Status.DRAFT,
        )
        known = Known(made.pk, key, self.cells[key], value)
        known.status = Status.PENDING if submitted else Status.DRAFT
        self.requests.append(known)

    @precondition(lambda self: self.requests)
    @rule(number=which, key=keys)
    def stage(self, number: int, key: str) -> None:
        known, value = self.pick(number), self.fresh_value()
        possible = known.status in (Status.DRAFT, Status.PENDING) and known.run is None
        if self.attempt(possible, lambda: stage_csv(self.row(known), f"id,value\n{key},{value}\n")):
            known.key, known.base, known.proposed = key, self.cells[key], value
            known.approved = False

    @precondition(lambda self: self.requests)
    @rule(number=which)
    def submit(self, number: int) -> None:
        known = self.pick(number)
        possible = known.status == Status.DRAFT
        if self.attempt(possible, lambda: proposals.submit(change_request_id=known.pk, actor=self.author)):
            known.status = Status.PENDING

    @precondition(lambda self: self.requests)
    @rule(number=which)
    def return_to_draft(self, number: int) -> None:
        known = self.pick(number)
        possible = known.status == Status.PENDING and known.run is None
        if self.attempt(
            possible, lambda: proposals.return_to_draft(change_request_id=known.pk, actor=self.author)
        ):
            known.status = Status.DRAFT

    @precondition(lambda self: self.requests)
    @rule(number=which, approving=st.sampled_from([True, True, True, False]))
    def review(self, number: int, approving: bool) -> None:
        known = self.pick(number)
        verdict, body = ("approve", "") if approving else ("request_changes", "Not yet.")
        if self.attempt(
            known.status == Status.PENDING,
            lambda: reviews.review(change_request_id=known.pk, actor=self.owner, verdict=verdict, body=body),
        ):
            known.approved, known.refused = approving, not approving

    @precondition(lambda self: any(self.in_conflict(known) for known in self.requests))
    @rule(choice=st.sampled_from(["current", "proposed"]), number=which)
    def resolve(self, choice: str, number: int) -> None:
        conflicting = [known for known in self.requests if self.in_conflict(known)]
        known = conflicting[number % len(conflicting)]
        possible = known.status == Status.PENDING and known.run is None
        if self.attempt(
            possible,
            lambda: conflicts.resolve_matching(
                change_request_id=known.pk,
                actor=self.author,
                wanted=ConflictFilter(column="value"),
                choice=choice,
            ),
        ):
            known.judged, known.choice, known.approved = self.values(known), choice, False

    @precondition(lambda self: self.requests)
    @rule(number=which)
    def request_merge(self, number: int) -> None:
        known = self.pick(number)
        again = known.run is not None or known.status == Status.MERGED
        possible = again or (
            known.status == Status.PENDING
            and known.approved
            and not known.refused
            and not self.in_conflict(known)
        )
        run = self.attempt(possible, lambda: runs.request_merge(change_request_id=known.pk, actor=self.owner))
        if run is None:
            return
        if known.status == Status.MERGED:
            assert run.status == RunStatus.SUCCEEDED
        elif again:
            assert run.pk == known.run
        else:
            known.run = run.pk
            self.queue.append(known)

    @precondition(lambda self: self.queue)
    @rule(number=which)
    def cancel(self, number: int) -> None:
        known = self.queue.pop(number % len(self.queue))
        assert known.run is not None
        assert runs.cancel_run(run_id=known.run, actor=self.owner).status == RunStatus.CANCELLED
        known.run = None

    @precondition(lambda self: self.requests)
    @rule(number=which, rejecting=st.booleans())
    def close(self, number: int, rejecting: bool) -> None:
        known = self.pick(number)
        actor, reason = (self.owner, "No.") if rejecting else (self.author, "")
        possible = known.status in (Status.DRAFT, Status.PENDING) and known.run is None
        if self.attempt(
            possible, lambda: proposals.close(change_request_id=known.pk, actor=actor, reason=reason)
        ):
            known.status = Status.CLOSED

    @precondition(lambda self: self.requests)
    @rule(number=which)
    def reopen(self, number: int) -> None:
        known = self.pick(number)
        if self.attempt(
            known.status == Status.CLOSED,
            lambda: proposals.reopen(change_request_id=known.pk, actor=self.author),
        ):
            known.status = Status.DRAFT

    # --- what the system and others do ----------------------------------------------------------------

    @rule()
    def work(self) -> None:
        run = execution.merge_next(dataset_id=self.dataset.pk, worker="walker")
        if not self.queue:
            assert run is None
            return
        known = self.queue.pop(0)
        assert run is not None
        assert run.pk == known.run
        known.run = None
        if known.refused or not known.approved:  # since it was asked for
            assert run.status == RunStatus.CANCELLED
            assert "asked for changes" in run.error_message
            return
        if self.in_conflict(known):
            assert (run.status, run.error_code) == (RunStatus.CONFLICTED, "merge_conflict")
            known.status = Status.PENDING
            return
        assert (run.status, run.error_message) == (RunStatus.SUCCEEDED, "")
        known.status = Status.MERGED
        if known.judged != self.values(known) or known.choice == "proposed":
            self.cells[known.key] = known.proposed

    @rule(key=keys)
    def write_as_a_foreigner(self, key: str) -> None:
        value = self.fresh_value()
        deltalake.DeltaTable(self.dataset.table_uri).update(
            updates={"value": str(value)}, predicate=f"id = '{key}'"
        )
        self.cells[key] = value

    # --- what must always be true ---------------------------------------------------------------------

    @invariant()
    def requests_are_where_the_model_says(self) -> None:
        stored = dict(ChangeRequest.objects.filter(dataset=self.dataset).values_list("pk", "status"))
        assert stored == {known.pk: known.status for known in self.requests}

    @invariant()
    def the_queue_is_the_models(self) -> None:
        active = MergeRun.objects.filter(dataset=self.dataset, status__in=ACTIVE_RUN_STATUSES)
        assert list(active.order_by("pk").values_list("pk", flat=True)) == [known.run for known in self.queue]

    @invariant()
    def merged_is_merged_once_and_nothing_else_is(self) -> None:
        log = read_log(Path(self.dataset.table_uri))
        for request in ChangeRequest.objects.filter(dataset=self.dataset):
            versions = [request.merged_version] if request.status == Status.MERGED else []
            assert commits_of(log, request) == versions
            assert [run.merged_version for run in request.runs.filter(status=RunStatus.SUCCEEDED)] == versions

    @invariant()
    def the_table_is_the_models(self) -> None:
        query = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(self.dataset.table_uri))
        rows = pa.table(query.execute("SELECT id, value FROM t").read_all()).to_pylist()
        assert sorted((row["id"], row["value"]) for row in rows) == sorted(self.cells.items())

    def teardown(self) -> None:
        assert [found.reason for found in verify_chains()] == []
        merged = [known for known in self.requests if known.status == Status.MERGED]
        names = [f"CR-{known.pk}" for known in merged]
        told = Event.objects.filter(action="change_request.merged", subject_id__in=names)
        assert told.count() == len(merged)

    # --- helpers --------------------------------------------------------------------------------------

    def pick(self, number: int) -> Known:
        return self.requests[number % len(self.requests)]

    def row(self, known: Known) -> ChangeRequest:
        return ChangeRequest.objects.select_related("author", "dataset").get(pk=known.pk)

    def fresh_value(self) -> int:
        """No value occurs twice, so nothing becomes equal by accident."""
        self.last_value += 1
        return self.last_value

    def values(self, known: Known) -> tuple[str, int, int, int]:
        return known.key, known.base, self.cells[known.key], known.proposed

    def in_conflict(self, known: Known) -> bool:
        moved = self.cells[known.key] != known.base
        return moved and known.status != Status.MERGED and known.judged != self.values(known)

    def attempt(self, possible: bool, act: Callable[[], Any]) -> Any:
        """Do it; where the model says that it is impossible it must be refused. Something true where it was done."""
        if possible:
            return act() or True
        with pytest.raises((InvalidTransition, Blocked)):
            act()
        return None


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_no_walk_through_the_life_cycle_breaks_an_invariant() -> None:
    run_state_machine_as_test(
        LifeCycle,
        settings=settings(
            max_examples=WALKS,
            stateful_step_count=STEPS,
            print_blob=True,
        ),
    )
