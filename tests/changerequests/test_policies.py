"""Each blocker: when it stands, what it says, and when it goes."""

from decimal import Decimal

import pytest
from django.contrib.auth.models import User

from changerequests.errors import Blocked, InvalidTransition
from changerequests.facts import facts_of
from changerequests.models import ChangeRequest, PlanCheck
from changerequests.policies import blockers, may, merge_gates, require
from changerequests.selectors import (
    visible_change_request,
    visible_change_requests,
)
from changerequests.services import conflicts, plans, reviews, runs
from changerequests.states import Action, Status
from datasets.errors import Forbidden
from datasets.models import Dataset
from datasets.roles import Role
from datasets.rows import ConflictFilter
from tests.factories import (
    ChangeRequestFactory,
    DatasetFactory,
    GroupFactory,
    UserFactory,
    approve,
    fresh,
    give_role,
    merge,
    person_with,
    stage_csv,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def dataset() -> Dataset:
    return DatasetFactory.create(name="Planes")


def gates(change_request: ChangeRequest, **options: str) -> dict[str, tuple[str, bool]]:
    """The gates that stand now: code -> (fix or wait, overridable)."""
    fresh = ChangeRequest.objects.select_related("dataset__meta", "dataset__project").get(
        pk=change_request.pk
    )
    return {gate.code: (gate.kind, gate.overridable) for gate in merge_gates(facts_of(fresh), **options)}


def test_nothing_stands_in_the_way_of_a_checked_request_without_rules(dataset: Dataset) -> None:
    assert gates(ChangeRequestFactory.create(dataset=dataset)) == {}


def test_nothing_staged(dataset: Dataset) -> None:
    assert gates(ChangeRequestFactory.create(dataset=dataset, csv=None, status=Status.DRAFT)) == {
        "nothing_staged": ("fix", False)
    }


def test_rows_that_equal_the_table_are_nothing(dataset: Dataset) -> None:
    same = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,150\n", status=Status.DRAFT)
    stage_csv(same, "tailnum,seats\nN1,149\n")
    same = ChangeRequest.objects.select_related("dataset__project", "dataset__meta").get(pk=same.pk)

    assert gates(same)["nothing_staged"] == ("fix", False)


def test_not_checked(dataset: Dataset) -> None:
    change_request = ChangeRequestFactory.create(dataset=dataset)
    PlanCheck.objects.all().delete()

    assert gates(change_request) == {"not_checked": ("wait", False)}


def test_a_check_of_other_content_does_not_count(dataset: Dataset) -> None:
    change_request = ChangeRequestFactory.create(dataset=dataset)
    stage_csv(change_request, "tailnum,seats\nN1,1\n")

    assert gates(change_request) == {"not_checked": ("wait", False)}
    plans.check(change_request_id=change_request.pk)
    assert gates(change_request) == {}


def test_approvals_of_others_count_and_ones_own_does_not(dataset: Dataset, owner: User) -> None:
    dataset.required_approvals = 2
    dataset.save()
    change_request = ChangeRequestFactory.create(dataset=dataset)
    second = person_with(Role.CONTRIBUTOR, dataset)

    approve(change_request, owner)
    assert gates(change_request) == {"approvals_missing": ("wait", True)}
    with pytest.raises(Forbidden):
        approve(change_request, change_request.author)
    approve(change_request, owner)  # twice is once
    assert gates(change_request) == {"approvals_missing": ("wait", True)}
    approve(change_request, second)
    assert gates(change_request) == {}


def test_approvals_are_bound_to_the_content(dataset: Dataset, owner: User) -> None:
    dataset.required_approvals = 1
    dataset.save()
    change_request = ChangeRequestFactory.create(dataset=dataset)
    approve(change_request, owner)

    stage_csv(change_request, "tailnum,seats\nN1,1\n")
    plans.check(change_request_id=change_request.pk)

    assert gates(change_request) == {"approvals_missing": ("wait", True)}


def test_the_last_editor_does_not_approve(dataset: Dataset, owner: User) -> None:
    change_request = ChangeRequestFactory.create(dataset=dataset)
    stage_csv(change_request, "tailnum,seats\nN1,1\n", actor=owner)

    with pytest.raises(Forbidden):
        approve(change_request, owner)
    assert facts_of(change_request).approvals == ()


def test_approvals_are_bound_to_the_choices(dataset: Dataset, owner: User) -> None:
    dataset.required_approvals = 1
    dataset.save()
    reviewer = person_with(Role.CONTRIBUTOR, dataset)
    change_request = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,1\n")
    faster = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,10\n")
    approve(faster, owner)
    merge(faster, owner)
    approve(change_request, reviewer)
    plans.check(change_request_id=change_request.pk)
    assert gates(change_request) == {"conflicts_unresolved": ("fix", True)}

    conflicts.resolve_matching(
        change_request_id=change_request.pk,
        actor=change_request.author,
        wanted=ConflictFilter(column="seats"),
        choice="proposed",
    )
    plans.check(change_request_id=change_request.pk)

    assert gates(change_request) == {"approvals_missing": ("wait", True)}
    approve(change_request, reviewer)
    assert gates(change_request) == {}


def test_asking_for_changes_stands_until_the_same_person_approves(dataset: Dataset, owner: User) -> None:
    change_request = ChangeRequestFactory.create(dataset=dataset)
    reviews.review(
        change_request_id=change_request.pk, actor=owner, verdict="request_changes", body="N5 is wrong"
    )
    assert gates(change_request) == {"changes_requested": ("fix", True)}
    reviews.review(change_request_id=change_request.pk, actor=owner, verdict="comment", body="Still is")
    assert gates(change_request) == {"changes_requested": ("fix", True)}

    approve(change_request, owner)

    assert gates(change_request) == {}


def test_open_threads_count_where_the_dataset_asks(dataset: Dataset, owner: User) -> None:
    change_request = ChangeRequestFactory.create(dataset=dataset)
    thread = reviews.comment(change_request_id=change_request.pk, actor=owner, body="Sure?")
    assert gates(change_request) == {}
    dataset.threads_must_be_resolved = True
    dataset.save()
    assert gates(change_request) == {"threads_open": ("fix", True)}

    reviews.settle_thread(comment_id=thread.pk, actor=change_request.author)

    assert gates(change_request) == {}


def test_deletes_above_the_limit_need_the_name_typed(dataset: Dataset) -> None:
    dataset.delete_limit = Decimal("0.25")
    dataset.save()
    quarter = ChangeRequestFactory.create(dataset=dataset, csv="_op,tailnum\ndelete,N1\n")
    half = ChangeRequestFactory.create(dataset=dataset, csv="_op,tailnum\ndelete,N1\ndelete,N2\n")

    assert gates(quarter) == {}
    assert gates(half) == {"delete_guard": ("fix", True)}
    assert gates(half, dataset_name_typed="planes") == {"delete_guard": ("fix", True)}
    assert gates(half, dataset_name_typed="Planes") == {}


def test_a_table_with_a_problem_takes_no_merges(dataset: Dataset) -> None:
    change_request = ChangeRequestFactory.create(dataset=dataset)
    dataset.meta.problem = "The table is gone."
    dataset.meta.save()

    assert gates(change_request) == {"table_not_writable": ("fix", False)}


def test_an_active_run_stands_in_the_way_of_changes(dataset: Dataset) -> None:
    change_request = ChangeRequestFactory.create(dataset=dataset)
    author = change_request.author
    runs.request_merge(change_request_id=change_request.pk, actor=author)
    change_request = visible_change_request(author, change_request.cr_id)

    for action in (Action.STAGE, Action.RETURN_TO_DRAFT, Action.CLOSE, Action.RESOLVE, Action.REQUEST_MERGE):
        assert [blocker.code for blocker in blockers(facts_of(change_request, author), action)] == [
            "run_active"
        ], action


def test_what_can_be_mended_comes_first(dataset: Dataset) -> None:
    dataset.required_approvals = 1
    dataset.save()
    change_request = ChangeRequestFactory.create(dataset=dataset)
    PlanCheck.objects.all().delete()
    change_request = visible_change_request(change_request.author, change_request.cr_id)

    found = blockers(facts_of(change_request, change_request.author), Action.REQUEST_MERGE)

    assert [(blocker.code, blocker.kind) for blocker in found] == [
        ("approvals_missing", "wait"),
        ("not_checked", "wait"),
    ]


def test_require_raises_who_before_state_before_gates(dataset: Dataset) -> None:
    dataset.required_approvals = 1
    dataset.save()
    change_request = ChangeRequestFactory.create(dataset=dataset)
    viewer = person_with(Role.VIEWER, dataset)
    change_request = visible_change_request(viewer, change_request.cr_id)

    with pytest.raises(Forbidden):
        require(facts_of(change_request, viewer), Action.REQUEST_MERGE)
    with pytest.raises(Blocked) as blocked:
        require(facts_of(change_request, change_request.author), Action.REQUEST_MERGE)
    assert [blocker.code for blocker in blocked.value.blockers] == ["approvals_missing"]
    overridden = require(
        facts_of(change_request, change_request.author),
        Action.REQUEST_MERGE,
        overriding={"approvals_missing"},
    )
    assert [blocker.code for blocker in overridden] == ["approvals_missing"]
    change_request.status = Status.CLOSED
    with pytest.raises(InvalidTransition):
        require(facts_of(change_request, change_request.author), Action.REQUEST_MERGE)


@pytest.mark.parametrize(
    ("role", "is_author", "allowed"),
    [
        (None, False, set()),
        (Role.VIEWER, False, set()),
        (Role.VIEWER, True, set()),
        (Role.CONTRIBUTOR, False, {Action.REVIEW, Action.SPLIT, Action.REQUEST_MERGE}),
        (Role.CONTRIBUTOR, True, set(Action) - {Action.REVERT}),
        (Role.OWNER, False, set(Action) - {Action.RETURN_TO_DRAFT}),
        (Role.OWNER, True, set(Action)),
    ],
)
def test_who_may_do_what(dataset: Dataset, role: Role | None, is_author: bool, allowed: set[Action]) -> None:

    change_request = ChangeRequestFactory.create(dataset=dataset, csv=None, status=Status.DRAFT)
    person = change_request.author if is_author else person_with(None, dataset)
    give_role(person, dataset, role)
    person = fresh(person)

    people = set(Action) - {Action.CLAIM, Action.COMPLETE, Action.STEP_BACK}
    found = {action for action in people if may(facts_of(change_request, person), action)}

    assert found == allowed & people


def test_verdicts_of_people_who_may_not_review_any_more_neither_count_nor_block(
    dataset: Dataset, owner: User
) -> None:
    approver, objector = person_with(Role.CONTRIBUTOR, dataset), person_with(Role.CONTRIBUTOR, dataset)
    group = GroupFactory.create()
    give_role(group, dataset.project, Role.CONTRIBUTOR)
    approver.groups.add(group)
    change_request = ChangeRequestFactory.create(dataset=dataset)
    Dataset.objects.update(required_approvals=1)
    approve(change_request, approver)
    reviews.review(change_request_id=change_request.pk, actor=objector, verdict="request_changes", body="No.")
    assert set(gates(change_request)) == {"changes_requested"}
    give_role(objector, dataset, Role.VIEWER)
    give_role(approver, dataset, None)  # the group's role on the project is left
    assert gates(change_request) == {}
    listed = visible_change_requests(owner).get()
    assert [review.reviewer for review in facts_of(listed).approvals] == [approver]
    User.objects.filter(pk=approver.pk).update(is_active=False)
    assert set(gates(change_request)) == {"approvals_missing"}
    User.objects.filter(pk=approver.pk).update(is_active=True)
    approver.groups.clear()
    assert set(gates(change_request)) == {"approvals_missing"}


def test_whoever_asks_and_reviewed_is_known_as_they_are_now(dataset: Dataset) -> None:
    reviewer = person_with(Role.OWNER, dataset)
    change_request = ChangeRequestFactory.create(dataset=dataset)
    approve(change_request, reviewer)
    loaded_before = fresh(reviewer)
    assert [review.reviewer for review in facts_of(change_request, loaded_before).approvals] == [reviewer]
    User.objects.filter(pk=reviewer.pk).update(is_active=False)
    facts = facts_of(change_request, loaded_before)
    assert (facts.approvals, facts.role) == ((), None)


def test_a_superuser_reviews(dataset: Dataset) -> None:
    chief = UserFactory.create(is_superuser=True)
    change_request = ChangeRequestFactory.create(dataset=dataset)
    Dataset.objects.update(required_approvals=1)
    approve(change_request, chief)
    assert gates(change_request) == {}
