"""Every (status, action) pair: in the table, by compare-and-set, and through the services."""

from itertools import product
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from audit.selectors import events_of
from changerequests.errors import InvalidTransition
from changerequests.models import ChangeRequest, MergeRun
from changerequests.selectors import current_revision
from changerequests.services import conflicts, proposals, rebasing, reverts, reviews, runs
from changerequests.services.trail import take_transition
from changerequests.states import TRANSITIONS, Action, RunStatus, Status, sources_of, target_of
from datasets.errors import InvalidInput
from datasets.roles import Role
from datasets.rows import ConflictFilter
from tests.factories import ChangeRequestFactory, DatasetFactory, merge, person_with, stage_csv

#: The life cycle once more, written down by hand from the design: what is not here must not exist.
EXPECTED = {
    (Status.DRAFT, Action.EDIT): Status.DRAFT,
    (Status.PENDING, Action.EDIT): Status.PENDING,
    (Status.DRAFT, Action.REMOVE): Status.DRAFT,
    (Status.DRAFT, Action.STAGE): Status.DRAFT,
    (Status.DRAFT, Action.SUBMIT): Status.PENDING,
    (Status.DRAFT, Action.CLOSE): Status.CLOSED,
    (Status.DRAFT, Action.REBASE): Status.DRAFT,
    (Status.PENDING, Action.STAGE): Status.PENDING,
    (Status.PENDING, Action.REBASE): Status.PENDING,
    (Status.PENDING, Action.REVIEW): Status.PENDING,
    (Status.PENDING, Action.SPLIT): Status.PENDING,
    (Status.PENDING, Action.RESOLVE): Status.PENDING,
    (Status.PENDING, Action.RETURN_TO_DRAFT): Status.DRAFT,
    (Status.PENDING, Action.REQUEST_MERGE): Status.PENDING,
    (Status.PENDING, Action.CLAIM): Status.MERGING,
    (Status.PENDING, Action.CLOSE): Status.CLOSED,
    (Status.DRAFT, Action.ADOPT): Status.MERGING,
    (Status.PENDING, Action.ADOPT): Status.MERGING,
    (Status.MERGING, Action.ADOPT): Status.MERGING,
    (Status.CLOSED, Action.ADOPT): Status.MERGING,
    (Status.MERGING, Action.COMPLETE): Status.MERGED,
    (Status.MERGING, Action.STEP_BACK): Status.PENDING,
    (Status.MERGED, Action.REVERT): Status.MERGED,
    (Status.CLOSED, Action.REOPEN): Status.DRAFT,
}
PAIRS = list(product(Status, Action))
PEOPLES_ACTIONS = (
    Action.EDIT,
    Action.STAGE,
    Action.REBASE,
    Action.SUBMIT,
    Action.RETURN_TO_DRAFT,
    Action.REVIEW,
    Action.RESOLVE,
    Action.REQUEST_MERGE,
    Action.CLOSE,
    Action.REOPEN,
    Action.REVERT,
)


@pytest.mark.parametrize(("status", "action"), PAIRS)
def test_the_table_says_what_follows(status: Status, action: Action) -> None:
    assert target_of(status, action) is EXPECTED.get((status, action))
    assert (status in sources_of(action)) == ((status, action) in EXPECTED)


def test_every_row_of_the_table_is_there_once_with_a_sentence() -> None:
    assert len({(row.source, row.action) for row in TRANSITIONS}) == len(TRANSITIONS) == len(EXPECTED)
    assert all(row.sentence.endswith(".") for row in TRANSITIONS)


def test_nothing_leads_away_from_merged() -> None:
    assert {target_of(Status.MERGED, action) for action in Action} == {None, Status.MERGED}
    assert [action for action in Action if target_of(Status.MERGED, action)] == [Action.REVERT]


def in_status(status: Status) -> tuple[ChangeRequest, User]:
    """A request in this status with content, and a person who is its author and owns the dataset."""
    dataset = DatasetFactory.create()
    person = person_with(Role.OWNER, dataset)
    change_request = ChangeRequestFactory.create(dataset=dataset, author=person)
    if status == Status.MERGED:
        merge(change_request, person)
    elif status == Status.MERGING:
        revision = current_revision(change_request)
        assert revision is not None
        MergeRun.objects.create(
            change_request=change_request,
            dataset=dataset,
            revision=revision,
            revision_digest=revision.digest,
            requested_by=person,
            status=RunStatus.RUNNING,
        )
        ChangeRequest.objects.filter(pk=change_request.pk).update(status=Status.MERGING)
    elif status != Status.PENDING:
        ChangeRequest.objects.filter(pk=change_request.pk).update(status=status)
    return ChangeRequest.objects.select_related("dataset__meta").get(pk=change_request.pk), person


def do(action: Action, change_request: ChangeRequest, person: User) -> object:
    """The person's action through its service."""
    target: dict[str, Any] = {"change_request_id": change_request.pk, "actor": person}
    match action:
        case Action.STAGE:
            stage_csv(change_request, "tailnum,seats\nN1,1\n", actor=person)
            return None
        case Action.EDIT:
            return proposals.edit(**target, title="Other words")
        case Action.REBASE:
            return rebasing.rebase(**target)
        case Action.REVERT:
            return reverts.revert_merge(**target)
        case Action.SUBMIT:
            return proposals.submit(**target)
        case Action.RETURN_TO_DRAFT:
            return proposals.return_to_draft(**target)
        case Action.REVIEW:
            return reviews.review(**target, verdict="comment", body="Hm.")
        case Action.RESOLVE:
            return conflicts.resolve_matching(
                **target, wanted=ConflictFilter(column="seats"), choice="current"
            )
        case Action.REQUEST_MERGE:
            return runs.request_merge(**target)
        case Action.CLOSE:
            return proposals.close(**target)
        case Action.REOPEN:
            return proposals.reopen(**target)
    raise AssertionError(action)


@pytest.mark.django_db
@pytest.mark.sample(10)
@pytest.mark.parametrize(("status", "action"), list(product(Status, PEOPLES_ACTIONS)))
def test_services_follow_the_table(status: Status, action: Action) -> None:
    change_request, person = in_status(status)
    events = events_of("change_request", change_request.cr_id).count()
    known_runs = set(change_request.runs.values_list("pk", flat=True))

    if action is Action.REQUEST_MERGE and status in (Status.MERGING, Status.MERGED):
        run = do(action, change_request, person)  # asking again answers the run that there is
        assert isinstance(run, MergeRun)
        assert {run.pk} == known_runs
        expected: Status | None = status
    elif (status, action) not in EXPECTED:
        with pytest.raises(InvalidTransition):
            do(action, change_request, person)
        assert events_of("change_request", change_request.cr_id).count() == events
        assert set(change_request.runs.values_list("pk", flat=True)) == known_runs
        expected = status
    elif action is Action.REBASE:
        do(action, change_request, person)  # the table has not moved: there is nothing to follow
        assert events_of("change_request", change_request.cr_id).count() == events
        expected = status
    elif action is Action.REVERT:
        revert = do(action, change_request, person)
        assert isinstance(revert, ChangeRequest)
        assert (revert.status, revert.reverts) == (Status.DRAFT, change_request)
        expected = status
    elif action is Action.RESOLVE:
        with pytest.raises(InvalidInput, match="No open conflict"):  # allowed here, but there is no conflict
            do(action, change_request, person)
        expected = status
    else:
        do(action, change_request, person)
        assert events_of("change_request", change_request.cr_id).count() == events + 1
        expected = EXPECTED[status, action]

    change_request.refresh_from_db()
    assert change_request.status == expected


@pytest.mark.django_db
@pytest.mark.parametrize(("status", "action"), PAIRS)
def test_a_move_is_taken_once_by_whoever_is_first(status: Status, action: Action) -> None:
    change_request = ChangeRequestFactory.create(csv=None, status=Status.DRAFT)
    fields: dict[str, Any] = {"status": status}
    if status == Status.MERGED:
        fields |= {"merged_version": 1, "merged_at": timezone.now(), "merge_record": {}}
    ChangeRequest.objects.filter(pk=change_request.pk).update(**fields)
    first, second = (ChangeRequest.objects.get(pk=change_request.pk) for _ in range(2))
    frozen: dict[str, Any] = (
        {"merged_version": 1, "merged_at": timezone.now(), "merge_record": {}}
        if action is Action.COMPLETE
        else {}
    )

    if (status, action) not in EXPECTED:
        with pytest.raises(InvalidTransition):
            take_transition(first, action, **frozen)
        assert ChangeRequest.objects.get(pk=change_request.pk).status == status
        return
    target = EXPECTED[status, action]
    take_transition(first, action, **frozen)

    assert ChangeRequest.objects.get(pk=change_request.pk).status == first.status == target
    if target != status:
        with pytest.raises(InvalidTransition, match=r"is not \w+ any more"):
            take_transition(second, action, **frozen)
