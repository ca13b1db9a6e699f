"""Merge when ready, through the API."""

import pytest
from django.contrib.auth.models import User

from audit.selectors import events_of
from changerequests.models import ChangeRequest, MergeRun
from changerequests.services import proposals
from changerequests.tasks import sweep
from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import client_of, problem
from tests.factories import ChangeRequestFactory, DatasetFactory, approve, drain, person_with

pytestmark = pytest.mark.django_db


@pytest.fixture
def dataset() -> Dataset:
    made: Dataset = DatasetFactory.create(required_approvals=1)
    return made


@pytest.fixture
def pending(dataset: Dataset) -> ChangeRequest:
    made: ChangeRequest = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,150\n")
    return made


def place(change_request: ChangeRequest) -> str:
    return f"/api/v1/change_requests/{change_request.cr_id}/merge_when_ready"


def told(change_request: ChangeRequest) -> list[str]:
    found = events_of("change_request", change_request.cr_id).filter(action__startswith="merge.when_ready")
    return [event.action for event in found]


def test_it_is_asked_for_once_and_merges_once_it_may(pending: ChangeRequest, owner: User) -> None:
    client = client_of(pending.author)
    asked = [client.put(place(pending), {"message": "at last"}) for _ in range(2)]
    assert [answer.status_code for answer in asked] == [200, 200]
    wish = asked[0].json()["merge_when_ready"]
    assert (wish["asked_by"], wish["message"]) == (pending.author.get_username(), "at last")
    assert asked[1].json()["merge_when_ready"] == wish
    assert told(pending) == ["merge.when_ready_asked"]
    assert MergeRun.objects.count() == 0

    approve(pending, owner)
    sweep.apply()
    drain()

    merged = client.get(f"/api/v1/change_requests/{pending.cr_id}").json()
    assert (merged["status"], merged["merge_when_ready"]) == ("merged", None)
    assert MergeRun.objects.get().message == "at last"


def test_the_wish_is_taken_back(pending: ChangeRequest, owner: User) -> None:
    client = client_of(pending.author)
    client.put(place(pending), {})
    assert [client.delete(place(pending)).status_code for _ in range(2)] == [204, 204]
    assert told(pending) == ["merge.when_ready_asked", "merge.when_ready_withdrawn"]
    approve(pending, owner)
    sweep.apply()
    assert MergeRun.objects.count() == 0


def test_what_stands_in_the_way_is_said(pending: ChangeRequest, owner: User) -> None:
    proposals.return_to_draft(change_request_id=pending.pk, actor=pending.author)
    answer = client_of(pending.author).put(place(pending), {})
    assert problem(answer) == (409, "invalid_transition")
    viewer = person_with(Role.VIEWER, pending.dataset)
    assert problem(client_of(viewer).put(place(pending), {})) == (403, "forbidden")
    assert problem(client_of(viewer).delete(place(pending))) == (403, "forbidden")
    assert problem(client_of(owner).put(place(pending), {"mesage": "x"})) == (422, "invalid")
    assert told(pending) == []
