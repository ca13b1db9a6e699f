"""The pages of expectations, as each role sees them."""

import json
import re
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth.models import User
from django.test import Client

from changerequests.models import ChangeRequest, ExpectationOverride, MergeRun
from changerequests.services import plans
from changerequests.states import RunStatus
from datasets import suites
from datasets.models import Dataset, SuiteProposal
from datasets.roles import Role
from tests.factories import ChangeRequestFactory, expect_of, expectation, merge, person_with
from tests.web.conftest import SignedIn

pytestmark = pytest.mark.django_db

SEATS = expectation("column_values_to_be_between", column="seats", min_value=10, max_value=400)
FAIRLY_SMALL = expectation("column_values_to_be_between", "warning", column="seats", max_value=300)
UNIQUE_SEATS = expectation("column_values_to_be_unique", column="seats")


@pytest.fixture
def address(dataset: Dataset) -> str:
    return f"/datasets/{dataset.project.slug}/planes/expectations/"


def text_of(response: Any) -> str:
    """What the page says, without its markup."""
    content = re.sub(r"<(script|style|svg)\b.*?</\1>", " ", response.content.decode(), flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", content).replace("&#x27;", "'").split())


def document(*expected: dict[str, Any]) -> str:
    return json.dumps({"name": "planes", "expectations": list(expected)})


def test_an_owner_saves_expectations_and_reads_them_in_words(
    dataset: Dataset, owner: User, signed_in: SignedIn, address: str
) -> None:
    client = signed_in(owner)
    assert "Nothing is expected of the data." in text_of(client.get(address))

    answer = client.post(
        address,
        {"document": document(SEATS, FAIRLY_SMALL), "edited_number": 0, "note": "Seats", "action": "save"},
        follow=True,
    )

    said = text_of(answer)
    assert "Version 1 holds now: 2 expectations. Open requests are checked by it." in said
    assert "1 Each seats is between 10 and 400. expect_column_values_to_be_between" in said
    assert "2 Each seats is at most 300. warning" in said
    assert "holds, saved by Olivia Okafor just now" in said
    dataset.refresh_from_db()
    version = suites.active_suite(dataset)
    assert version is not None
    assert (version.number, version.note) == (1, "Seats")
    same = client.post(
        address, {"document": version.document, "edited_number": 1, "action": "save"}, follow=True
    )
    assert "Nothing changed: these are the expectations that hold already." in text_of(same)


def test_problems_stand_at_their_place_and_what_was_written_stays(
    dataset: Dataset, owner: User, signed_in: SignedIn, address: str
) -> None:
    wrong = document(SEATS, expectation("column_values_to_not_be_null", column="wings"), {"type": "hope"})
    answer = signed_in(owner).post(address, {"document": wrong, "edited_number": 0, "action": "save"})
    said = text_of(answer)
    assert answer.status_code == 422
    assert "Not saved. 2 problems must be mended first; each is named at its place." in said
    assert "expectations[1].kwargs.column" in said
    assert "There is no supported expectation hope." in said
    assert answer.context["form"]["document"].value() == wrong
    assert not dataset.suite_versions.exists()

    broken = signed_in(owner).post(address, {"document": "{", "edited_number": 0, "action": "save"})
    assert (broken.status_code, "This is no JSON" in text_of(broken)) == (422, True)


def test_a_suite_is_read_without_saving(
    dataset: Dataset, owner: User, signed_in: SignedIn, address: str
) -> None:
    answer = signed_in(owner).post(
        address, {"document": document(SEATS), "edited_number": 0, "action": "read"}
    )
    assert "It can be used as it is. Nothing was saved yet." in text_of(answer)
    assert "Each seats is between 10 and 400." in text_of(answer)
    assert not dataset.suite_versions.exists()


def test_two_owners_at_once_are_told(
    dataset: Dataset, owner: User, signed_in: SignedIn, address: str
) -> None:
    expect_of(dataset, SEATS)
    answer = signed_in(owner).post(
        address, {"document": document(UNIQUE_SEATS), "edited_number": 0, "action": "save"}
    )
    assert answer.status_code == 412
    assert "Not saved. The expectations are at version 1" in text_of(answer)
    assert "What you wrote stands below." in text_of(answer)
    assert answer.context["form"]["document"].value() == document(UNIQUE_SEATS)
    dataset.refresh_from_db()
    assert dataset.suite_number == 1


@pytest.mark.parametrize("role", [Role.CONTRIBUTOR, Role.VIEWER])
def test_others_read_and_may_not_write(
    dataset: Dataset, signed_in: SignedIn, address: str, role: Role
) -> None:
    expect_of(dataset, SEATS)
    client = signed_in(person_with(role, dataset))
    shown = client.get(address)
    said = text_of(shown)
    assert "Each seats is between 10 and 400." in said
    assert "Only owners change expectations." in said
    assert b"<textarea" not in shown.content
    assert client.get(f"{address}history/").status_code == 200
    assert client.get(f"{address}versions/1/").status_code == 200
    save = client.post(address, {"document": document(), "edited_number": 1, "action": "save"})
    assert save.status_code == 403
    assert client.post(f"{address}propose/").status_code == 403
    assert client.post(f"{address}versions/1/restore/", {"edited_number": 1}).status_code == 403
    dataset.refresh_from_db()
    assert dataset.suite_number == 1


def test_strangers_see_nothing(dataset: Dataset, stranger: User, signed_in: SignedIn, address: str) -> None:
    expect_of(dataset, SEATS)
    client = signed_in(stranger)
    for path in ("", "history/", "versions/1/", "proposals/1/"):
        assert client.get(f"{address}{path}").status_code == 404
    assert Client().get(address).status_code == 302


def test_versions_are_compared_and_restored(
    dataset: Dataset, owner: User, signed_in: SignedIn, address: str
) -> None:
    expect_of(dataset, SEATS)
    expect_of(dataset, SEATS, FAIRLY_SMALL)
    expect_of(dataset, UNIQUE_SEATS)
    client = signed_in(owner)

    history = text_of(client.get(f"{address}history/"))
    assert history.index("Version 3") < history.index("Version 2") < history.index("Version 1")
    assert "holds now 1 expectation" in history
    compared = client.get(f"{address}versions/2/")
    assert "Compared with version 1" in text_of(compared)
    assert {line.kind for line in compared.context["lines"]} == {"same", "added"}
    assert "Compared with version 3" in text_of(client.get(f"{address}versions/2/?against=3"))
    assert "The first version in JSON" in text_of(client.get(f"{address}versions/1/"))
    assert client.get(f"{address}versions/9/").status_code == 404

    answer = client.post(f"{address}versions/2/restore/", {"edited_number": 3}, follow=True)
    assert "Version 4 holds now; it repeats version 2." in text_of(answer)
    assert "repeats version 2" in text_of(client.get(f"{address}history/"))
    stale = client.post(f"{address}versions/1/restore/", {"edited_number": 3}, follow=True)
    assert "Version 1 was not restored. The expectations are at version 4" in text_of(stale)
    dataset.refresh_from_db()
    assert dataset.suite_number == 4


def test_a_proposal_is_waited_for_and_opens_in_the_form(
    dataset: Dataset, owner: User, signed_in: SignedIn, address: str
) -> None:
    client = signed_in(owner)
    asked = client.post(f"{address}propose/")
    proposal = SuiteProposal.objects.get()
    assert asked.headers["Location"] == f"{address}proposals/{proposal.pk}/"
    waiting = client.get(asked.headers["Location"])
    assert "A worker reads the table" in text_of(waiting)
    assert b'http-equiv="refresh"' in waiting.content
    assert b"every 1s" in client.get(asked.headers["Location"], headers={"HX-Request": "true"}).content

    suites.make_proposal(proposal_id=proposal.pk, worker="test")

    there = client.get(asked.headers["Location"], headers={"HX-Request": "true"})
    assert there.headers["HX-Redirect"] == f"{address}?proposal={proposal.pk}"
    shown = client.get(asked.headers["Location"], follow=True)
    said = text_of(shown)
    assert "A proposal, not saved yet." in said
    assert "tailnum" in said
    assert json.loads(shown.context["form"]["document"].value())["expectations"]
    assert not dataset.suite_versions.exists()


def test_a_proposal_that_failed_says_why(
    dataset: Dataset, owner: User, signed_in: SignedIn, address: str
) -> None:
    client = signed_in(owner)
    client.post(f"{address}propose/")
    proposal = SuiteProposal.objects.get()
    with patch.object(suites.merging, "propose_expectations", side_effect=RuntimeError):
        suites.make_proposal(proposal_id=proposal.pk, worker="test")
    said = text_of(client.get(f"{address}proposals/{proposal.pk}/"))
    assert "No suite could be proposed Profiling the table failed unexpectedly." in said
    assert "Ask again" in said


# --- Of a change request ------------------------------------------------------------------------------------


@pytest.fixture
def failing(dataset: Dataset, author: User) -> ChangeRequest:
    expect_of(dataset, SEATS, FAIRLY_SMALL, UNIQUE_SEATS)
    rows = "".join(f"X{n:02},999\n" for n in range(60))
    return ChangeRequestFactory.create(dataset=dataset, author=author, csv=f"tailnum,seats\nN1,998\n{rows}")


def test_the_checks_tell_what_is_broken_and_which_rows(
    failing: ChangeRequest, author: User, signed_in: SignedIn
) -> None:
    client = signed_in(author)
    page = f"/change-requests/{failing.cr_id}/checks/"
    said = text_of(client.get(page))
    assert "Judged on the changed rows: 1 broken, 1 warning and 1 left to the merge." in said
    assert (
        "Failed 61 rows do not satisfy: Each seats is between 10 and 400. 61 of 61 changed rows fail." in said
    )
    assert "Warning 61 rows do not satisfy: Each seats is at most 300." in said
    assert "10 of 61 failing rows. See the others" in said
    assert "149 998 N1 this change" in said
    assert "Override" not in said

    rows = text_of(client.get(f"{page}expectations/0/"))
    assert "61 failing rows." in rows
    assert "Next page" in rows
    assert "X59" in text_of(client.get(f"{page}expectations/0/?start=50"))
    assert client.get(f"{page}expectations/7/").status_code == 404


def test_the_merge_dialog_says_it_and_an_owner_may_answer_for_it(
    failing: ChangeRequest, owner: User, author: User, signed_in: SignedIn
) -> None:
    page = f"/change-requests/{failing.cr_id}/merge/"
    for user, may_override in ((owner, True), (author, False)):
        said = text_of(signed_in(user).get(page))
        assert (
            "3 expectations (version 1), judged on the changed rows: 1 broken, 0 passed, 1 warning and 1 left to "
            "the merge. The merge judges all of them on the whole result before it writes." in said
        )
        assert "Fix An expectation would be broken. 61 rows do not satisfy" in said
        assert ("You answer for 1 broken expectation then" in said) is may_override
    refused = signed_in(author).post(page, {"override": "true", "override_reason": "I want it."})
    assert refused.status_code == 403
    plain = signed_in(owner).post(page, {})
    assert plain.status_code == 422
    assert "Nothing was merged. An expectation would be broken." in text_of(plain)
    moved = signed_in(owner).post(
        page, {"suite_number": 9, "override": "true", "override_reason": "As agreed."}
    )
    assert moved.status_code == 409
    assert "The expectations of planes were edited since you looked" in text_of(moved)
    assert not MergeRun.objects.exists()

    signed_in(owner).post(page, {"suite_number": 1, "override": "true", "override_reason": "As agreed."})
    run = MergeRun.objects.get()
    assert [one["code"] for one in run.overridden_blockers] == ["expectations_failed"]
    assert ExpectationOverride.objects.get().reason == "As agreed."


def test_an_owner_answers_on_the_checks_page(
    failing: ChangeRequest, owner: User, author: User, signed_in: SignedIn
) -> None:
    client, checks = signed_in(owner), f"/change-requests/{failing.cr_id}/checks/"
    override = f"{checks}override/"
    form = client.get(checks).context["answer_form"]
    seen = {name: form.initial[name] for name in ("suite_number", "revision_digest")}

    assert "Override 1 broken expectation…" in text_of(client.get(checks))
    assert signed_in(author).post(override, {**seen, "reason": "Mine."}).status_code == 403
    without = client.post(override, {**seen, "reason": " "}, follow=True)
    assert "Give a reason: it is shown in the timeline" in text_of(without)
    stale = client.post(override, {**seen, "suite_number": 4, "reason": "So."}, follow=True)
    assert "were edited since you looked" in text_of(stale)
    assert not ExpectationOverride.objects.exists()

    answered = text_of(client.post(override, {**seen, "reason": "The stretched version."}, follow=True))
    assert (
        "You answer for 1 broken expectation. A later edit of the content or the expectations voids it."
        in (answered)
    )
    assert "Olivia Okafor answers for 1 broken expectation ( just now ): The stretched version." in answered
    assert "Overridden 61 rows do not satisfy" in answered
    conversation = text_of(client.get(f"/change-requests/{failing.cr_id}/"))
    assert "answered for 1 broken expectation of version 1: 61 rows do not satisfy" in conversation
    assert "Olivia Okafor answers for 1 broken expectation." in conversation


def test_what_the_merge_found_is_shown_with_its_rows(
    dataset: Dataset, owner: User, author: User, signed_in: SignedIn
) -> None:
    expect_of(dataset, UNIQUE_SEATS)
    change_request = ChangeRequestFactory.create(
        dataset=dataset, author=author, csv="tailnum,seats\nN1,182\n"
    )
    run = merge(change_request, owner)
    assert run.status == RunStatus.INVALID
    plans.check(change_request_id=change_request.pk)
    client = signed_in(author)

    panel = text_of(client.get(f"/merge-runs/{run.pk}/"))
    assert "was not merged" in panel
    assert "The checks name the rows: correct them and upload them again." in panel
    said = text_of(client.get(f"/change-requests/{change_request.cr_id}/checks/"))
    assert "Judged on the whole result: 1 broken." in said
    assert "149 182 N1 this change 182 N2 this change" in said


def test_a_merged_request_keeps_what_was_judged(
    dataset: Dataset, owner: User, author: User, signed_in: SignedIn
) -> None:
    expect_of(dataset, SEATS, FAIRLY_SMALL)
    change_request = ChangeRequestFactory.create(
        dataset=dataset, author=author, csv="tailnum,seats\nN1,350\n"
    )
    merge(change_request, owner)
    expect_of(dataset, UNIQUE_SEATS)
    said = text_of(signed_in(author).get(f"/change-requests/{change_request.cr_id}/checks/"))
    assert "Judged on the whole result: 1 warning and 1 passed. By version 1 of the expectations" in said
    assert "1 expectation passed" in said


def test_pages_cost_the_same_whatever_is_expected(
    failing: ChangeRequest,
    author: User,
    signed_in: SignedIn,
    django_assert_num_queries: Callable[..., Any],
) -> None:
    client = signed_in(author)
    client.get("/")
    with django_assert_num_queries(13):
        client.get(f"/change-requests/{failing.cr_id}/checks/")
    with django_assert_num_queries(15):
        client.get(f"/change-requests/{failing.cr_id}/")
