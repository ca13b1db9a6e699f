"""Merge when ready, and queues: positions, order, and many merges that drain without a hand."""

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from audit.selectors import events_of
from changerequests import queue, selectors
from changerequests.blockers import Blocker
from changerequests.errors import Blocked, InvalidTransition
from changerequests.facts import Facts
from changerequests.models import ChangeRequest, MergeRun
from changerequests.policies import merge_gates
from changerequests.services import conflicts, plans, proposals, reviews, runs, waiting
from changerequests.services.locks import lock_change_request
from changerequests.services.rebasing import rebase
from changerequests.states import ACTIVE_RUN_STATUSES, RunStatus, Status
from changerequests.tasks import check, sweep
from datasets.errors import Forbidden
from datasets.models import Dataset
from datasets.roles import Role
from datasets.rows import ConflictFilter
from tests import kept
from tests.factories import (
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

#: How many merges wait in one queue; with 100 the same passes, in minutes.
QUEUED = 30


@pytest.fixture
def dataset() -> Dataset:
    return DatasetFactory(required_approvals=1)


@pytest.fixture
def waits(dataset: Dataset) -> ChangeRequest:
    """A request whose merge waits for an approval."""
    change_request = ChangeRequestFactory(dataset=dataset, csv="tailnum,seats\nN1,150\n")
    return waiting.merge_when_ready(
        change_request_id=change_request.pk, actor=change_request.author, message="at last"
    )


def waits_still(change_request: ChangeRequest) -> bool:
    change_request.refresh_from_db()
    return change_request.merge_when_ready_by is not None


def test_it_waits_for_an_approval_and_merges_by_itself(waits: ChangeRequest, owner: User) -> None:
    assert waits.merge_when_ready_by == waits.author
    sweep.apply()
    assert MergeRun.objects.count() == 0
    approve(waits, owner)
    check.apply(args=(waits.pk,))
    run = MergeRun.objects.get()
    assert (run.requested_by, run.message, run.status) == (waits.author, "at last", RunStatus.QUEUED)
    assert not waits_still(waits)
    drain()
    waits.refresh_from_db()
    assert (waits.status, waits.merged_version) == (Status.MERGED, 1)
    actions = [event.action for event in events_of("change_request", waits.cr_id)]
    assert actions.index("merge.when_ready_asked") < actions.index("merge.requested")


def test_reviews_and_settled_discussions_ring_for_what_waits(
    waits: ChangeRequest, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[int] = []
    monkeypatch.setattr(queue, "ask_for_check", rung.append)
    thread = reviews.comment(change_request_id=waits.pk, actor=owner, body="Is this the right plane?")
    approve(waits, owner)
    assert rung == [waits.pk]
    reviews.settle_thread(comment_id=thread.pk, actor=owner)
    assert rung == [waits.pk] * 2


def test_the_sweep_finds_it_where_the_bell_was_lost(waits: ChangeRequest, owner: User) -> None:
    approve(waits, owner)
    sweep.apply()
    sweep.apply()
    assert MergeRun.objects.count() == 1


def test_what_is_ready_already_is_queued_by_the_next_check(dataset: Dataset, owner: User) -> None:
    change_request = ChangeRequestFactory(dataset=dataset)
    approve(change_request, owner)
    waiting.merge_when_ready(change_request_id=change_request.pk, actor=owner)
    check.apply(args=(change_request.pk,))
    assert MergeRun.objects.get().requested_by == owner


def test_what_somebody_has_to_mend_is_no_wait(dataset: Dataset, owner: User) -> None:
    change_request = ChangeRequestFactory(dataset=dataset)
    reviews.review(
        change_request_id=change_request.pk, actor=owner, verdict="request_changes", body="The year is wrong."
    )
    with pytest.raises(Blocked, match="asked for changes") as raised:
        waiting.merge_when_ready(change_request_id=change_request.pk, actor=owner)
    assert [blocker.code for blocker in raised.value.blockers] == ["changes_requested"]
    assert not waits_still(change_request)


@pytest.mark.parametrize("meanwhile", ["closed", "an objection", "no longer theirs to merge"])
def test_what_happens_before_the_lock_is_judged_under_it(
    dataset: Dataset, owner: User, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    change_request = ChangeRequestFactory(dataset=dataset)
    refused = {"closed": InvalidTransition, "an objection": Blocked}.get(meanwhile, Forbidden)

    def lock_after_it_happened(pk: int) -> ChangeRequest:
        monkeypatch.undo()
        _let_happen(meanwhile, change_request, owner)
        return lock_change_request(pk)

    monkeypatch.setattr(waiting, "lock_change_request", lock_after_it_happened)
    with pytest.raises(refused):
        waiting.merge_when_ready(change_request_id=change_request.pk, actor=change_request.author)
    assert not waits_still(change_request)
    assert (
        not events_of("change_request", change_request.cr_id).filter(action="merge.when_ready_asked").exists()
    )


def _let_happen(what: str, change_request: ChangeRequest, owner: User) -> None:
    if what == "closed":
        proposals.close(change_request_id=change_request.pk, actor=owner, reason="Not wanted.")
    elif what == "an objection":
        reviews.review(
            change_request_id=change_request.pk, actor=owner, verdict="request_changes", body="Wrong year."
        )
    else:
        give_role(change_request.author, change_request.dataset, Role.VIEWER)


@pytest.mark.parametrize(
    ("meanwhile", "waits_on"), [("an objection", True), ("no longer theirs to merge", False)]
)
def test_a_gate_that_closes_between_the_look_and_the_lock_holds_the_merge_back(
    waits: ChangeRequest, owner: User, monkeypatch: pytest.MonkeyPatch, meanwhile: str, waits_on: bool
) -> None:
    approve(waits, owner)

    def look_before_it_happens(facts: Facts) -> list[Blocker]:
        found = merge_gates(facts)
        _let_happen(meanwhile, waits, owner)
        return found

    monkeypatch.setattr(waiting, "merge_gates", look_before_it_happens)
    assert waiting.merge_if_ready(change_request_id=waits.pk) is None
    assert MergeRun.objects.count() == 0
    assert waits_still(waits) is waits_on
    assert waits.status == Status.PENDING


def test_a_conflict_that_comes_up_holds_it_back(waits: ChangeRequest, dataset: Dataset, owner: User) -> None:
    Dataset.objects.filter(pk=dataset.pk).update(required_approvals=0)
    other = ChangeRequestFactory(dataset=dataset, author=owner, csv="tailnum,seats\nN1,151\n")
    merge(other, owner)
    check.apply(args=(waits.pk,))
    sweep.apply()
    assert waits.runs.count() == 0
    assert waits_still(waits)


def test_new_content_takes_the_wish_back_and_a_rebase_does_not(
    waits: ChangeRequest, dataset: Dataset, owner: User
) -> None:
    other = ChangeRequestFactory(dataset=dataset, csv="tailnum,seats\nN2,183\n")
    approve(other, owner)
    merge(other, owner)
    assert rebase(change_request_id=waits.pk, actor=waits.author).base_version == 1
    assert waits_still(waits)
    stage_csv(waits, "tailnum,seats\nN1,152\n")
    assert not waits_still(waits)


def test_going_back_to_draft_and_closing_take_it_back(waits: ChangeRequest) -> None:
    proposals.return_to_draft(change_request_id=waits.pk, actor=waits.author)
    assert not waits_still(waits)
    proposals.submit(change_request_id=waits.pk, actor=waits.author)
    waiting.merge_when_ready(change_request_id=waits.pk, actor=waits.author)
    proposals.close(change_request_id=waits.pk, actor=waits.author)
    assert not waits_still(waits)
    with pytest.raises(InvalidTransition):
        waiting.merge_when_ready(change_request_id=waits.pk, actor=waits.author)


def test_it_is_withdrawn_by_who_may_merge(waits: ChangeRequest, dataset: Dataset, owner: User) -> None:
    with pytest.raises(Forbidden):
        waiting.stop_waiting(change_request_id=waits.pk, actor=person_with(Role.VIEWER, dataset))
    assert waits_still(waits)
    waiting.stop_waiting(change_request_id=waits.pk, actor=owner)
    waiting.stop_waiting(change_request_id=waits.pk, actor=owner)
    assert not waits_still(waits)
    assert events_of("change_request", waits.cr_id).filter(action="merge.when_ready_withdrawn").count() == 1


def test_who_may_no_longer_merge_does_not_merge_later(
    waits: ChangeRequest, dataset: Dataset, owner: User
) -> None:
    give_role(waits.author, dataset, Role.VIEWER)
    approve(waits, owner)
    sweep.apply()
    assert MergeRun.objects.count() == 0
    assert not waits_still(waits)
    dropped = events_of("change_request", waits.cr_id).get(action="merge.when_ready_dropped")
    assert dropped.data["asked_by"] == waits.author.username
    with pytest.raises(Forbidden):
        waiting.merge_when_ready(change_request_id=waits.pk, actor=person_with(Role.VIEWER, dataset))


@pytest.mark.slow
def test_queued_merges_drain_in_order_and_nothing_blocks_the_next(owner: User) -> None:
    dataset = DatasetFactory()
    owner = person_with(Role.OWNER, dataset)
    requests = [
        ChangeRequestFactory(dataset=dataset, author=owner, csv=f"tailnum,seats\nQ{number:03},{number}\n")
        for number in range(QUEUED - 3)
    ]
    # Two that edit one cell, so that the second conflicts, and one whose content is lost.
    for value in (150, 151):
        requests.insert(
            10, ChangeRequestFactory(dataset=dataset, author=owner, csv=f"tailnum,seats\nN1,{value}\n")
        )
    damaged = ChangeRequestFactory(dataset=dataset, author=owner, csv="tailnum,seats\nN2,1\n")
    requests.insert(20, damaged)
    queued = [runs.request_merge(change_request_id=request.pk, actor=owner) for request in requests]
    assert [selectors.queue_position(run) for run in queued] == list(range(QUEUED))
    revision = selectors.current_revision(damaged)
    assert revision is not None
    (kept.content_folder(revision) / "rows.parquet").unlink()
    worked = drain()
    assert [run.pk for run in worked] == [run.pk for run in queued]
    outcomes = {run.pk: run.status for run in worked}
    assert outcomes.pop(queued[11].pk) == RunStatus.CONFLICTED
    assert outcomes.pop(queued[20].pk) == RunStatus.FAILED
    assert set(outcomes.values()) == {RunStatus.SUCCEEDED}
    assert len(rows_of(dataset)) == 4 + QUEUED - 3
    assert not MergeRun.objects.filter(dataset=dataset, status__in=ACTIVE_RUN_STATUSES).exists()


def test_new_content_says_that_it_dropped_the_wish(waits: ChangeRequest) -> None:
    stage_csv(waits, "tailnum,seats\nN1,151\n")
    dropped = events_of("change_request", waits.cr_id).get(action="merge.when_ready_dropped")
    assert dropped.data == {
        "asked_by": waits.author.get_username(),
        "reason": "It was asked for with other content.",
    }


def test_choices_of_others_take_the_wish_back_and_own_ones_do_not(
    waits: ChangeRequest, dataset: Dataset, owner: User
) -> None:
    other = ChangeRequestFactory(dataset=dataset, csv="tailnum,seats\nN1,151\n")
    merge(other, owner, override_reason="Urgent.")
    conflicts.resolve_matching(
        change_request_id=waits.pk,
        actor=waits.author,
        wanted=ConflictFilter(column="seats"),
        choice="proposed",
    )
    assert waits_still(waits)
    (found,) = plans.conflicts_page(change_request=waits).conflicts
    conflicts.resolve(
        change_request_id=waits.pk,
        actor=owner,
        choices=[
            conflicts.Choosing(
                found.key, "seats", "current", found.inputs_digest, seen=plans.seen_choice(found)
            )
        ],
    )
    assert not waits_still(waits)
    dropped = events_of("change_request", waits.cr_id).get(action="merge.when_ready_dropped")
    assert dropped.data["reason"] == f"{owner} chose values that whoever asked for it has not seen."


def test_a_move_of_one_table_queues_what_waits_for_that_table(waits: ChangeRequest, owner: User) -> None:
    elsewhere = ChangeRequestFactory(
        csv="tailnum,seats\nN1,7\n", dataset=DatasetFactory(required_approvals=1)
    )
    waiting.merge_when_ready(change_request_id=elsewhere.pk, actor=elsewhere.author)
    approve(waits, owner)
    approve(elsewhere, person_with(Role.OWNER, elsewhere.dataset))

    assert waiting.merge_what_is_ready(dataset_id=waits.dataset_id) == 1

    assert (waits_still(waits), waits_still(elsewhere)) == (False, True)


def test_the_sweep_costs_the_same_however_many_wait(
    waits: ChangeRequest, dataset: Dataset, owner: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    sweep.apply()  # the first notes that there is one
    with django_assert_num_queries(25):
        sweep.apply()
    more = []
    for place in range(3):
        one = ChangeRequestFactory(dataset=dataset, csv=f"tailnum,seats\nN2,{place}\n")
        waiting.merge_when_ready(change_request_id=one.pk, actor=one.author)
        merge(
            ChangeRequestFactory(csv="tailnum,seats\nN1,7\n"), User.objects.create_superuser(f"root-{place}")
        )
        more.append(one)
    ChangeRequest.objects.filter(status=Status.MERGED).update(staging_removed_at=timezone.now())

    with django_assert_num_queries(25):
        sweep.apply()

    assert all(waits_still(one) for one in (waits, *more))
    approve(more[1], owner)
    assert waiting.merge_what_is_ready() == 1
    assert [waits_still(one) for one in more] == [True, False, True]
