"""Lists of requests: in order, and at the same cost however many there are."""

import pytest
from django.contrib.auth.models import User
from django.db import connection
from pytest_django import DjangoAssertNumQueries

from changerequests import selectors
from changerequests.facts import facts_listed, facts_of
from changerequests.models import ChangeRequest, Comment
from changerequests.services import reviews
from changerequests.states import Status
from datasets.models import Dataset
from datasets.roles import Role
from tests.factories import ChangeRequestFactory, DatasetFactory, approve, fresh, person_with

pytestmark = pytest.mark.django_db


def test_facts_of_a_list_are_those_of_each_request(
    dataset: Dataset, owner: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    made = [ChangeRequestFactory.create(dataset=dataset) for _ in range(3)]
    made.append(ChangeRequestFactory.create(dataset=DatasetFactory.create(), csv=None, status=Status.DRAFT))
    approve(made[1], owner)
    reviews.comment(change_request_id=made[2].pk, actor=owner, body="Sure?")
    asked = [made[2].pk, made[0].pk, made[3].pk, made[1].pk]

    for pks in (asked[:1], asked):
        with django_assert_num_queries(7):
            listed = facts_listed(pks, owner)
        assert [facts.change_request.pk for facts in listed] == pks
        one_by_one = [facts_of(ChangeRequest.objects.get(pk=pk), owner) for pk in pks]
        assert listed == one_by_one
    assert [facts.role for facts in listed] == [Role.OWNER, Role.OWNER, None, Role.OWNER]
    assert [len(facts.approvals) for facts in listed] == [0, 0, 0, 1]
    assert [facts.open_threads for facts in listed] == [1, 0, 0, 0]
    assert [facts.revision is None for facts in listed] == [False, False, True, False]


def test_open_threads_are_found_by_their_index(dataset: Dataset) -> None:
    still_open = Comment.objects.filter(
        change_request__in=[1, 2], parent__isnull=True, resolved_at__isnull=True
    )
    assert connection.vendor != "sqlite" or "open_threads" in still_open.order_by().explain()


def test_what_awaits_review_is_pending_of_others_and_not_judged(dataset: Dataset, owner: User) -> None:
    theirs, judged, draft = (
        ChangeRequestFactory.create(dataset=dataset, status=status)
        for status in (Status.PENDING, Status.PENDING, Status.DRAFT)
    )
    ChangeRequestFactory.create(dataset=dataset, author=owner)
    approve(judged, owner)
    reviews.review(change_request_id=theirs.pk, actor=owner, verdict="comment", body="I look at it tomorrow.")
    viewer = person_with(Role.VIEWER, dataset)

    assert list(selectors.change_requests_awaiting_review(fresh(owner))) == [theirs]
    assert draft in selectors.visible_change_requests(viewer)
    assert list(selectors.change_requests_awaiting_review(viewer)) == []
