"""What a form refuses stands at its field, which has the focus; no word is lost, and every page leads on."""

from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from changerequests.models import ChangeRequest, Comment, ReviewRequest
from datasets.models import Dataset
from tests.web.conftest import SignedIn

pytestmark = pytest.mark.django_db
WORDS = "Why 3 < 4, ünï"


class Controls(HTMLParser):
    """The controls of a page that are wrong, the one that has the focus, and the texts that it holds."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.focused: list[str] = []
        self.texts: dict[str, str] = {}
        self._area = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        name = given.get("name", given.get("role", tag))
        if given.get("aria-invalid") == "true":
            self.wrong.append(name)
        if "autofocus" in given:
            self.focused.append(name)
        if tag == "input" and given.get("value"):
            self.texts[name] = given["value"]
        self._area = name if tag == "textarea" else ""

    def handle_data(self, data: str) -> None:
        if self._area and data.strip():
            self.texts[self._area] = data.strip()

    def handle_endtag(self, tag: str) -> None:
        self._area = ""


@pytest.fixture
def places(dataset: Dataset, change_request: ChangeRequest) -> dict[str, str]:
    return {
        "request": f"/change-requests/{change_request.cr_id}/",
        "dataset": f"/datasets/{dataset.project.slug}/{dataset.slug}/",
        "account": "/account/",
    }


#: Form, what is sent, the field that is wrong, and what else was typed.
REFUSED: list[tuple[str, str, dict[str, Any], str, dict[str, str]]] = [
    ("request", "edit/", {"title": "", "description": WORDS}, "title", {"description": WORDS}),
    ("request", "edit/", {"title": "x" * 201, "description": WORDS}, "title", {"description": WORDS}),
    ("request", "comments/", {"body": ""}, "body", {}),
    ("request", "review/", {"verdict": "request_changes", "body": "", "revision_digest": ""}, "body", {}),
    ("request", "review/ask/", {"action": "ask", "users": "nobody, vera", "q": "ol"}, "q", {"q": "ol"}),
    ("request", "review/ask/", {"action": "ask", "groups": "None of these"}, "q", {}),
    ("request", "review/ask/", {"action": "ask", "q": "nobody"}, "q", {"q": "nobody"}),
    ("request", "merge/", {"override": "true", "override_reason": "", "message": WORDS}, "override_reason", {}),
    ("request", "look/", {"way": "paste", "pasted": ""}, "pasted", {}),
    ("request", "look/", {"way": "sql", "sql": ""}, "sql", {}),
    ("request", "changes/leave-out/", {"row": '{"tailnum": "N3"}', "reason": ""}, "reason", {}),
    ("account", "tokens/", {"name": WORDS, "scopes": "read", "days": "0"}, "days", {"name": WORDS}),
    ("dataset", "webhooks/", {"name": WORDS, "url": "nowhere", "format": "json"}, "url", {"name": WORDS}),
    (
        "dataset", "edit/replace/", {"columns": "seats", "find": "1", "replace": "", "with_null": "on"}, "replace",
        {"find": "1"},
    ),
]  # fmt: skip


def test_what_is_refused_stands_at_its_field_which_has_the_focus(
    places: dict[str, str], owner: User, signed_in: SignedIn
) -> None:
    Dataset.objects.update(required_approvals=1)  # a gate that does not hold
    client, wrong = signed_in(owner), []
    for place, rest, sent, field, kept in REFUSED:
        answer = client.post(places[place] + rest, {"action": "look", **sent})
        found = Controls(answer.content.decode())
        told = (
            answer.status_code,
            found.wrong,
            found.focused,
            {name: found.texts.get(name) for name in kept},
        )
        if told != (422, [field], [field], kept):
            wrong.append((rest, sent, told))
    assert wrong == []
    assert not Comment.objects.exists()
    assert not ReviewRequest.objects.exists()


def test_every_refused_address_has_a_heading_in_words_and_a_way_on(
    places: dict[str, str], viewer: User, signed_in: SignedIn
) -> None:
    client = signed_in(viewer)
    answers = [
        client.get("/nowhere/"),
        client.get(f"{places['dataset']}versions/99/"),
        client.get(f"{places['dataset']}edit/"),
        client.post(f"{places['request']}close/", {"reason": WORDS}),
        client.post(f"{places['request']}comments/7/settle/", {"resolved": "a\x00b"}),
    ]
    for answer in answers:
        page = answer.content.decode()
        heading = page.partition("<h1>")[2].partition("</h1>")[0]
        assert (answer.status_code >= 400, str(answer.status_code) in heading) == (True, False)
        assert len(heading.split()) > 2, heading
        assert 'href="/"' in page
    assert [f'href="{places["dataset"]}"' in answer.content.decode() for answer in answers[1:3]] == [
        True,
        True,
    ]


def test_filters_that_do_not_fit_keep_the_page(
    dataset: Dataset, viewer: User, signed_in: SignedIn, owner: User
) -> None:
    rows = reverse("dataset", args=[dataset.project.slug, dataset.slug])
    for client, page in ((signed_in(viewer), rows), (signed_in(owner), f"{rows}edit/")):
        answer = client.get(page, {"column": "seats", "value": "many"})
        found = Controls(answer.content.decode())
        assert (answer.status_code, found.wrong, found.focused) == (200, ["value"], ["value"])
        assert found.texts["value"] == "many"
        assert "All rows are shown." in answer.content.decode()
        assert "N3" in answer.content.decode()
        again = client.get(page, {"after": "no-cursor"})
        assert (again.status_code, "this is the first one" in again.content.decode()) == (200, True)
    compared = signed_in(viewer).get(f"{rows}compare/", {"from": "0", "to": "0", "after": "no-cursor"})
    assert compared.status_code == 200


def test_an_answer_of_the_sign_in_has_one_focus(client: Client) -> None:
    found = Controls(client.post("/sign-in/", {"username": "", "password": "x"}).content.decode())
    assert (found.wrong, found.focused) == (["username"], ["username"])
    found = Controls(client.post("/sign-in/", {"username": "x", "password": ""}).content.decode())
    assert (found.wrong, found.focused) == (["password"], ["password"])
