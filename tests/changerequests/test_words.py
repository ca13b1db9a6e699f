"""The words of a request are edited with a history, and empty drafts removed: by services, API and pages."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from audit.selectors import event_count, events_called
from changerequests.errors import Blocked, InvalidTransition, RequestChanged
from changerequests.models import ChangeRequest, Upload
from changerequests.services import proposals, reviews
from changerequests.services.vouched import bent_rows
from changerequests.states import Status
from datasets.errors import Forbidden, InvalidInput
from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import client_of, problem
from tests.factories import ChangeRequestFactory, merge, person_with

pytestmark = pytest.mark.django_db


@pytest.fixture
def draft(dataset: Dataset, author: User) -> ChangeRequest:
    return ChangeRequestFactory.create(
        dataset=dataset, author=author, csv=None, status=Status.DRAFT, title="Seats"
    )


def address(change_request: ChangeRequest) -> str:
    return f"/api/v1/change_requests/{change_request.cr_id}"


def test_words_are_changed_with_their_history_and_vouched_for(draft: ChangeRequest, author: User) -> None:
    proposals.edit(change_request_id=draft.pk, actor=author, title=" Seats of 2024 ", description="Why\x00")
    proposals.edit(change_request_id=draft.pk, actor=author, title="Seats of 2024")  # as it is: no event
    draft.refresh_from_db()
    assert (draft.title, draft.description) == ("Seats of 2024", "Why\u2400")
    told = events_called("change_request.edited").get()
    assert (told.actor, told.data) == (
        "carl",
        {
            "before": {"title": "Seats", "description": ""},
            "after": {"title": "Seats of 2024", "description": "Why\u2400"},
        },
    )
    assert [one for one in bent_rows() if "CR-" in one.place] == []


def test_words_are_those_of_the_author_and_owners_until_the_merge(dataset: Dataset, author: User) -> None:
    other = person_with(Role.CONTRIBUTOR, dataset)
    owner = person_with(Role.OWNER, dataset)
    pending: ChangeRequest = ChangeRequestFactory.create(dataset=dataset, author=author)
    before = event_count(), pending.title
    with pytest.raises(Forbidden):
        proposals.edit(change_request_id=pending.pk, actor=other, title="Mine")
    with pytest.raises(InvalidInput, match="Give the change request a title"):
        proposals.edit(change_request_id=pending.pk, actor=author, title=" ")
    with pytest.raises(RequestChanged):
        proposals.edit(change_request_id=pending.pk, actor=author, title="Late", edited=["other"])
    pending.refresh_from_db()
    assert (event_count(), pending.title) == before
    merge(pending, owner)
    with pytest.raises(InvalidTransition):
        proposals.edit(change_request_id=pending.pk, actor=owner, title="Afterwards")


def test_the_api_edits_what_the_caller_has_seen(draft: ChangeRequest, author: User) -> None:
    client = client_of(author)
    seen = client.get(address(draft))["ETag"]
    answer = client.patch(address(draft), {"title": "Years"}, format="json", headers={"If-Match": seen})
    assert (answer.status_code, answer.json()["title"], answer["ETag"] != seen) == (200, "Years", True)
    late = client.patch(address(draft), {"title": "Late"}, format="json", headers={"If-Match": seen})
    assert problem(late) == (412, "request_changed")
    assert problem(client.patch(address(draft), {"name": "x"}, format="json")) == (422, "invalid")
    assert client.get(address(draft)).json()["title"] == "Years"


def test_other_news_of_a_request_do_not_hinder_an_edit(draft: ChangeRequest, author: User) -> None:
    client = client_of(author)
    seen = client.get(address(draft))["ETag"]
    reviews.comment(change_request_id=draft.pk, actor=author, body="Look.")
    assert client.get(address(draft))["ETag"] != seen
    assert (
        client.patch(
            address(draft), {"title": "Years"}, format="json", headers={"If-Match": seen}
        ).status_code
        == 200
    )


def test_an_empty_draft_is_removed_and_the_trail_says_so(draft: ChangeRequest, author: User) -> None:
    name = draft.cr_id
    assert client_of(author).delete(address(draft)).status_code == 204
    assert problem(client_of(author).get(address(draft))) == (404, "not_found")
    told = events_called("change_request.removed").get()
    assert (told.subject_id, told.actor, told.data) == (name, "carl", {"title": "Seats"})
    assert [one for one in bent_rows() if "request" in one.place] == []


def test_what_has_or_had_content_or_comments_is_not_removed(
    deaf_staging: None, draft: ChangeRequest, author: User, dataset: Dataset
) -> None:
    full: ChangeRequest = ChangeRequestFactory.create(dataset=dataset, author=author, status=Status.DRAFT)
    had: ChangeRequest = ChangeRequestFactory.create(dataset=dataset, author=author, status=Status.DRAFT)
    had.revisions.update(is_current=False)
    for kept in (full, had):
        with pytest.raises(Blocked):
            proposals.remove_draft(change_request_id=kept.pk, actor=author)
    with pytest.raises(Forbidden):
        proposals.remove_draft(change_request_id=draft.pk, actor=person_with(Role.CONTRIBUTOR, dataset))
    reading = Upload.objects.create(dataset=dataset, change_request=draft, uploaded_by=author, size_bytes=1)
    with pytest.raises(Blocked):
        proposals.remove_draft(change_request_id=draft.pk, actor=author)
    Upload.objects.filter(pk=reading.pk).update(status="failed")
    reviews.comment(change_request_id=draft.pk, actor=author, body="Look.")
    with pytest.raises(Blocked):
        proposals.remove_draft(change_request_id=draft.pk, actor=author)
    assert problem(client_of(author).delete(address(draft))) == (409, "blocked")
    assert ChangeRequest.objects.count() == 3


def test_pages_edit_and_remove(draft: ChangeRequest, author: User) -> None:
    browser = Client()
    browser.force_login(author)
    page: Any = browser.get(f"/change-requests/{draft.cr_id}/").content.decode()
    assert "Edit title and description" in page
    assert "Delete the empty draft" in page
    seen = proposals.words_digest(draft)
    where = f"/change-requests/{draft.cr_id}/edit/"
    words = {"title": "Years", "description": "Why", "edited": seen}
    assert browser.post(where, words).status_code == 302
    late = browser.post(where, {**words, "title": "Late"})
    assert (late.status_code, "Somebody else changed" in late.content.decode()) == (412, True)
    draft.refresh_from_db()
    assert (draft.title, draft.description) == ("Years", "Why")
    shown = browser.get(f"/change-requests/{draft.cr_id}/").content.decode()
    assert "changed its title and description" in shown
    assert browser.post(f"/change-requests/{draft.cr_id}/remove/").status_code == 302
    assert not ChangeRequest.objects.exists()
