"""Asking for a review: people and groups who may give one are found by parts of their names, and ticked."""

import re

import pytest
from django.contrib.auth.models import User

from changerequests.models import ChangeRequest, ReviewRequest
from datasets.models import Dataset
from datasets.roles import Role
from tests.factories import person_with
from tests.web.conftest import SignedIn

pytestmark = pytest.mark.django_db


def offered(page: str) -> list[str]:
    return re.findall(r'name="users"\s+value="([^"]+)"', page)


def test_people_who_may_review_are_found_ticked_and_asked(
    change_request: ChangeRequest,
    dataset: Dataset,
    author: User,
    owner: User,
    viewer: User,
    signed_in: SignedIn,
) -> None:
    person_with(Role.CONTRIBUTOR, dataset, username="cleo", first_name="Cleo", last_name="Ünal")
    place, client = f"/change-requests/{change_request.cr_id}/review/ask/", signed_in(author)
    everybody = offered(client.get(place).content.decode())
    assert {"cleo", owner.username} <= set(everybody)
    assert not {author.username, viewer.username} & set(everybody)

    found = client.post(place, {"action": "look", "q": "Ünal", "users": owner.username}).content.decode()
    assert offered(found) == [owner.username, "cleo"]  # who was ticked stays
    assert found.count("checked") == 1
    part = client.post(
        place, {"action": "look", "q": "cleo"}, headers={"HX-Request": "true"}
    ).content.decode()
    assert (offered(part), "<html" in part) == (["cleo"], False)
    assert not ReviewRequest.objects.exists()

    asked = client.post(place, {"action": "ask", "q": "cleo", "users": ["cleo", owner.username]})
    assert asked.status_code == 302
    assert sorted(one.name for one in ReviewRequest.objects.all()) == sorted(["cleo", owner.username])
    assert "cleo" not in offered(client.get(place).content.decode())
    assert signed_in(viewer).get(place).status_code == 403


def test_nobody_is_asked_whom_one_may_not_know(
    change_request: ChangeRequest, author: User, stranger: User, signed_in: SignedIn
) -> None:
    place = f"/change-requests/{change_request.cr_id}/review/ask/"
    found = signed_in(author).post(
        place, {"action": "look", "q": stranger.username, "users": stranger.username}
    )
    assert offered(found.content.decode()) == []
    refused = signed_in(author).post(place, {"action": "ask", "users": stranger.username})
    assert (refused.status_code, ReviewRequest.objects.exists()) == (422, False)
