"""Reviewing where the data is, without JavaScript: filters, groups, threads under rows, suggestions, leaving out."""

from html import unescape
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.test import Client

from changerequests.models import ChangeRequest, Comment, Review
from changerequests.states import Status
from datasets.models import Dataset
from datasets.roles import Role
from tests.factories import ChangeRequestFactory, person_with, stage_csv
from tests.web.conftest import SignedIn

HTMX = {"HX-Request": "true"}
CSV = "tailnum,seats,year,_op\nN1,150,2004,update\nN2,,2005,update\nN3,,,delete\nN9,7,1999,insert\n"
N1, N3, N5 = (quote(f'{{"tailnum":"{number}"}}') for number in ("N1", "N3", "N5"))


@pytest.fixture
def pending(dataset: Dataset, author: User) -> ChangeRequest:
    made: ChangeRequest = ChangeRequestFactory(
        dataset=dataset, author=author, csv=CSV.replace(",,2005", ",NULL,2005")
    )
    return made


@pytest.fixture
def reviewer(dataset: Dataset) -> User:
    return person_with(Role.CONTRIBUTOR, dataset, username="rita", first_name="Rita", last_name="Rossi")


@pytest.fixture
def rita(signed_in: SignedIn, reviewer: User) -> Client:
    return signed_in(reviewer)


def place(change_request: ChangeRequest, rest: str = "") -> str:
    return f"/change-requests/{change_request.cr_id}/changes/{rest}"


def words(response: Any) -> str:
    return " ".join(unescape(response.content.decode()).split())


def shown(rita: Client, address: str) -> list[str]:
    page = words(rita.get(address))
    return [key for key in ("N1", "N2", "N3", "N9") if f'aria-label="Choose tailnum {key}"' in page]


def test_filters_and_groups_show_their_rows(rita: Client, pending: ChangeRequest) -> None:
    assert shown(rita, place(pending)) == ["N1", "N2", "N3", "N9"]
    assert shown(rita, place(pending, "?kind=update")) == ["N1", "N2"]
    assert shown(rita, place(pending, "?became_null=yes")) == ["N2"]
    assert shown(rita, place(pending, "?column=seats&old=149&new=150")) == ["N1"]
    assert shown(rita, place(pending, "?column=seats&new_is=null&kind=update")) == ["N2"]
    assert shown(rita, place(pending, "?key=n9")) == ["N9"]
    assert shown(rita, place(pending, "?unusual=yes")) == ["N9"]
    page = words(rita.get(place(pending, "?kind=update&column=seats")))
    assert "Rows 1 to 2 of 2 that match, of 4 changed, in key order." in page
    assert "diff?format=csv&operation=update&column=seats" in page
    assert "diff?format=xlsx&operation=update&column=seats" in page

    groups = words(rita.get(place(pending, "?view=groups")))
    assert "0 of 6 groups viewed" in groups
    assert f'href="{place(pending)}?kind=update&column=seats&old=149&new=150"' in groups


def test_bad_filters_keep_the_page(rita: Client, pending: ChangeRequest) -> None:
    bad = rita.get(place(pending, "?column=seats&old=many&kind=nothing&after=damaged"))
    assert bad.status_code == 200
    assert "Column seats: " in words(bad)
    assert 'value="many"' in words(bad)
    cursor = rita.get(place(pending, "?after=damaged"))
    assert "The page cursor is damaged" in words(cursor)
    assert shown(rita, place(pending, "?after=damaged")) == ["N1", "N2", "N3", "N9"]


def test_a_cell_is_talked_about_and_another_value_taken(
    rita: Client, pending: ChangeRequest, signed_in: SignedIn
) -> None:
    opened = words(rita.get(place(pending, f"?kind=update&at={N1}&on=seats")))
    assert 'name="suggestion"' in opened
    assert "seats</strong> of tailnum N1" in opened
    digest = pending.revisions.get().digest

    said = rita.post(
        place(pending, f"say/?kind=update&at={N1}&on=seats"),
        {"body": "Sure?", "suggestion": "155", "revision_digest": digest},
    )
    assert (said.status_code, said.headers["Location"]) == (302, place(pending, "?kind=update"))
    thread = Comment.objects.get()
    assert (thread.row_key, thread.column, thread.suggestion) == ({"tailnum": "N1"}, "seats", {"value": 155})
    rita.post(place(pending, f"say/?at={N1}"), {"body": "The register has it.", "parent": thread.pk})

    author = signed_in(pending.author)
    page = words(author.get(place(pending)))
    assert "Rita Rossi</strong> on" in page
    assert "answered" in page
    assert "The register has it." in page
    assert "Take this value" in page
    taken = author.post(place(pending, f"suggestions/{thread.pk}/take/?kind=update"), follow=True)
    assert "Taken over, in revision 2. It needs a new review." in words(taken)
    assert pending.revisions.count() == 2


def test_what_is_wrong_stands_at_its_field_with_the_words(rita: Client, pending: ChangeRequest) -> None:
    address = place(pending, f"say/?at={N1}&on=seats")
    wrong = rita.post(address, {"body": "Look", "suggestion": "many"})
    part = rita.post(address, {"body": "Look", "suggestion": "many"}, headers=HTMX)
    empty = rita.post(address, {"body": "", "suggestion": ""})
    assert (wrong.status_code, part.status_code, empty.status_code) == (422, 422, 422)
    for answer in (wrong, part):
        assert 'value="many"' in words(answer)
        assert "Look</textarea>" in words(answer)
        assert 'id="talkform_suggestion_error"' in words(answer)
    assert part.content.lstrip().startswith(b"<tr")
    stage_csv(pending, "tailnum,seats\nN1,160\n")
    late = rita.post(address, {"body": "Look", "revision_digest": "of before"})
    assert late.status_code == 409
    assert "Look</textarea>" in words(late)
    assert Comment.objects.count() == 0


def test_a_part_of_the_page_comes_and_goes(rita: Client, pending: ChangeRequest) -> None:
    part = rita.get(place(pending, f"talk/?at={N1}"), headers=HTMX)
    assert part.content.lstrip().startswith(b"<tr")
    page = rita.get(place(pending, f"talk/?at={N1}&on=seats"))
    assert (page.status_code, page.headers["Location"]) == (302, place(pending, f"?at={N1}&on=seats"))
    said = rita.post(place(pending, f"say/?at={N1}"), {"body": "The whole row?"}, headers=HTMX)
    assert "The whole row?" in words(said)
    assert rita.get(place(pending, "talk/?at=N1"), headers=HTMX).status_code == 422
    assert rita.get(place(pending, f"talk/?at={N5}"), headers=HTMX).status_code == 404


def test_groups_are_ticked_off_for_oneself_and_this_content(
    rita: Client, pending: ChangeRequest, signed_in: SignedIn, owner: User
) -> None:
    page = rita.get(place(pending, "?view=groups")).content.decode()
    group = page.split('name="group" value="')[1].split('"')[0]
    digest = pending.revisions.get().digest
    sent = {"group": group, "revision_digest": digest, "viewed": "true"}
    assert rita.post(place(pending, "viewed/"), sent).status_code == 302
    assert "1 of 6 groups viewed" in words(rita.get(place(pending, "?view=groups")))
    assert "1 of 6 groups viewed" in words(rita.post(place(pending, "viewed/"), sent, headers=HTMX))
    assert "0 of 6 groups viewed" in words(signed_in(owner).get(place(pending, "?view=groups")))
    rita.post(place(pending, "viewed/"), {**sent, "viewed": "false"})
    assert "0 of 6 groups viewed" in words(rita.get(place(pending, "?view=groups")))
    rita.post(place(pending, "viewed/"), sent)
    stage_csv(pending, "tailnum,seats\nN1,160\n")
    assert "0 of 1 group viewed" in words(rita.get(place(pending, "?view=groups")))
    assert rita.post(place(pending, "viewed/"), sent).status_code == 409


def test_a_verdict_is_given_from_the_changes(rita: Client, pending: ChangeRequest) -> None:
    page = words(rita.get(place(pending)))
    digest = pending.revisions.get().digest
    assert "Request changes" in page
    assert "Approve" in page
    given = rita.post(
        f"/change-requests/{pending.cr_id}/review/",
        {"verdict": "approve", "revision_digest": digest, "next": place(pending)},
    )
    assert (given.status_code, given.headers["Location"]) == (302, place(pending))
    assert Review.objects.get().verdict == "approve"


def test_a_part_is_left_out_with_a_count_before(rita: Client, pending: ChangeRequest) -> None:
    selection = f"leave-out/?row={N1}&row={N3}"
    page = words(rita.get(place(pending, selection)))
    assert "2 rows go to a new draft of Carl Castillo, 2 stay." in page
    sent = {
        "row": ['{"tailnum":"N1"}', '{"tailnum":"N3"}'],
        "reason": "",
        "revision_digest": pending.revisions.get().digest,
    }
    refused = rita.post(place(pending, "leave-out/"), sent)
    assert refused.status_code == 422
    assert "Say why you leave this out" in words(refused)
    late = rita.post(place(pending, "leave-out/"), {**sent, "reason": "Not these.", "revision_digest": "old"})
    assert (late.status_code, "Not these.</textarea>" in words(late)) == (409, True)
    assert ChangeRequest.objects.count() == 1
    done = rita.post(place(pending, "leave-out/"), {**sent, "reason": "Not these."}, follow=True)
    draft = ChangeRequest.objects.exclude(pk=pending.pk).get()
    assert (draft.status, draft.author) == (Status.DRAFT, pending.author)
    assert f"2 row changes stay in {pending.cr_id}, as revision 2; the rest is in {draft.cr_id}." in words(
        done
    )
    assert shown(rita, place(pending)) == ["N2", "N9"]
    for one in (pending, draft):
        assert "Not these." in words(rita.get(f"/change-requests/{one.cr_id}/"))


def test_columns_part_rows_and_whole_rows_are_said(rita: Client, pending: ChangeRequest) -> None:
    page = words(rita.get(place(pending, "leave-out/?cut=year")))
    assert (
        "2 new or deleted rows stay whole: a row that is added or deleted cannot be parted by column." in page
    )
    nothing = words(rita.get(place(pending, "leave-out/")))
    assert "Choose rows, groups or columns to leave out." in nothing


def test_two_revisions_are_compared(rita: Client, pending: ChangeRequest) -> None:
    alone = words(rita.get(f"/change-requests/{pending.cr_id}/revisions/compare/"))
    assert "There is only one revision" in alone
    stage_csv(pending, "tailnum,seats\nN1,160\n")
    page = words(rita.get(f"/change-requests/{pending.cr_id}/revisions/compare/"))
    assert "<del>" in page
    assert "160" in page
    assert "Rows 1 to 4 of 4" in page
    assert "Compare with revision 1" in words(rita.get(place(pending)))
