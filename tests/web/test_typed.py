"""No word that was typed is lost: sessions that ended, forms that are too old, requests that moved, faults of ours."""

import re
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http.response import HttpResponseBase
from django.test import Client
from pytest_django import Settings

from changerequests.models import ChangeRequest, Comment
from changerequests.services import proposals, reviews
from datasets.models import Dataset
from tests.web.conftest import SignedIn
from web.typed import TYPED_BY, mark_of

PASSWORD = "correct horse battery staple"
WORDS = 'Why 3 < 4 & "so on"?\r\nIn the second line: ünï.'
ENDED = "Your session has ended"


@pytest.fixture
def known(author: User) -> User:
    author.set_password(PASSWORD)
    author.save()
    return author


def place_of(place: str, dataset: Dataset, change_request: ChangeRequest) -> str:
    kind, _, rest = place.partition(" ")
    if kind == "dataset":
        return f"/datasets/{dataset.project.slug}/{dataset.slug}/{rest}"
    return f"/change-requests/{change_request.cr_id}/{rest}"


def form_in(answer: HttpResponseBase, marker: str) -> tuple[str, dict[str, str]]:
    """Where a form of a page goes to, and what it sends as it stands; ``marker`` stands in its tag."""
    page = answer.content.decode()  # type: ignore[attr-defined]
    [form] = [one for one in re.findall(r"<form.*?</form>", page, re.DOTALL) if marker in one.split(">")[0]]
    fields = {}
    for control in re.findall(r"<input[^>]*>", form):
        name, value = (re.search(rf'\s{part}="([^"]*)"', control) for part in ("name", "value"))
        if name and 'type="hidden"' in control:
            fields[name[1]] = value[1] if value else ""
    texts = dict(re.findall(r'<textarea[^>]*?\sname="([^"]+)"[^>]*>\n?(.*?)</textarea>', form, re.DOTALL))
    action = re.search(r'\saction="([^"]*)"', form)
    assert action is not None
    return action[1], {name: unescape(text) for name, text in {**fields, **texts}.items()}


def typed_in(sent: dict[str, str]) -> dict[str, str]:
    """What a form sends but for what every form has."""
    return {name: text for name, text in sent.items() if name not in ("csrfmiddlewaretoken", TYPED_BY)}


FORMS = [
    ("request comments/", {"body": WORDS}, "body"),
    ("request comments/", {"body": WORDS, "parent": "7"}, "body"),
    ("request review/", {"verdict": "request_changes", "body": WORDS, "revision_digest": "d"}, "body"),
    ("request close/", {"reason": WORDS}, "reason"),
    ("request edit/", {"title": "A title", "description": WORDS}, "description"),
    ("request checks/override/", {"reason": WORDS, "suite_number": "1", "revision_digest": "d"}, "reason"),
    ("request merge/", {"message": WORDS, "plan_digest": "d"}, "message"),
    ("request merge/", {"override": "true", "override_reason": WORDS}, "override_reason"),
    ("request merge/when-ready/", {"message": WORDS}, "message"),
    (
        "request conflicts/resolve/",
        {"key": "{}", "cell": "0", "choice-0": "custom", "value-0": WORDS},
        "value-0",
    ),
    ("request look/", {"way": "paste", "pasted": WORDS}, "pasted"),
    ("dataset look/", {"way": "sql", "title": "A title", "description": WORDS, "sql": "SELECT\r\n1"}, "sql"),
    ("dataset expectations/", {"document": WORDS, "note": "why", "edited_number": "0"}, "document"),
    ("dataset settings/", {"name": "planes", "description": WORDS}, "description"),
    ("dataset maintenance/", {"jobs": "checkpoint", "reason": WORDS}, "reason"),
    ("dataset members/", {"kind": "user", "member": "somebody", "role": "viewer"}, "member"),
]


def test_what_was_typed_comes_back_after_signing_in(
    dataset: Dataset, change_request: ChangeRequest, known: User
) -> None:
    for place, typed, text in FORMS:
        client, address = Client(), place_of(place, dataset, change_request)

        ended = client.post(address, {**typed, TYPED_BY: mark_of(known.pk)})

        assert (place, ended.status_code, ENDED in ended.content.decode()) == (place, 401, True)
        sign_in, carried = form_in(ended, "/sign-in/")
        back = client.post(sign_in, {**carried, "username": known.username, "password": PASSWORD})
        assert back.status_code == 200
        action, sent = form_in(back, 'id="typed"')
        assert (action, typed_in(sent)) == (address, typed)
        assert sent[text] == typed[text]


def test_further_attempts_to_sign_in_and_reloads_have_it_too(
    change_request: ChangeRequest, known: User
) -> None:
    client, credentials = Client(), {"username": known.username, "password": PASSWORD}
    typed = {"body": WORDS, TYPED_BY: mark_of(known.pk)}
    ended = client.post(f"/change-requests/{change_request.cr_id}/comments/", typed)
    sign_in, carried = form_in(ended, "/sign-in/")
    wrong = client.post(sign_in, {**carried, **credentials, "password": "wrong"})
    sign_in, carried = form_in(wrong, "/sign-in/")
    for _ in range(2):
        back = client.post(sign_in, {**carried, **credentials})
        assert form_in(back, 'id="typed"')[1]["body"] == WORDS


def test_a_comment_is_sent_after_signing_in_again(change_request: ChangeRequest, known: User) -> None:
    client = Client(enforce_csrf_checks=True)
    page = f"/change-requests/{change_request.cr_id}/"
    client.force_login(known)
    _, fields = form_in(client.get(page), 'id="composer"')
    client.cookies.pop("sessionid")

    sign_in, carried = form_in(client.post(f"{page}comments/", {**fields, "body": WORDS}), "/sign-in/")
    back = client.post(sign_in, {**carried, "username": known.username, "password": PASSWORD})
    action, sent = form_in(back, 'id="typed"')
    assert client.post(action, sent).status_code == 302

    assert [one.body for one in Comment.objects.all()] == [WORDS]


def test_a_file_has_to_be_chosen_again(dataset: Dataset, known: User) -> None:
    client, address = Client(), f"/datasets/{dataset.project.slug}/{dataset.slug}/look/"
    file = SimpleUploadedFile("planes.csv", b"tailnum\nN1\n")
    ended = client.post(
        address, {"way": "upload", "title": "A title", "file": file, TYPED_BY: mark_of(known.pk)}
    )
    sign_in, carried = form_in(ended, "/sign-in/")
    back = client.post(sign_in, {**carried, "username": known.username, "password": PASSWORD})
    assert '<input class="form-control"\n               type="file"' in back.content.decode()
    assert "The file has to be chosen again." in back.content.decode()


def test_where_nothing_was_typed_the_page_of_the_form_is_next(change_request: ChangeRequest) -> None:
    answer = Client().post(f"/change-requests/{change_request.cr_id}/checks/again/")
    assert answer.headers["Location"] == f"/sign-in/?next=/change-requests/{change_request.cr_id}/checks/"


@pytest.mark.parametrize(
    "carried",
    [
        {"typed_action": "https://elsewhere.example/comments/", "typed-body": "x"},
        {"typed_action": "/api/v1/datasets", "typed-body": "x"},
        {"typed_action": "/sign-out/", "typed-body": "x"},
        {"typed_action": "/nowhere/", "typed-body": "x"},
        {"typed_action": "/", "typed-unknown": "x"},
    ],
    ids=lambda one: one["typed_action"],
)
def test_a_sign_in_carries_only_forms_of_our_pages(known: User, carried: dict[str, str]) -> None:
    answer = Client().post("/sign-in/", {**carried, "username": known.username, "password": PASSWORD})
    assert (answer.status_code, answer.headers.get("Location")) == (302, "/")


# --- Two people at one browser --------------------------------------------------------------------------------


def test_who_signs_in_next_never_sees_what_somebody_else_typed(
    change_request: ChangeRequest, known: User, viewer: User
) -> None:
    viewer.set_password(PASSWORD)
    viewer.save()
    page, other = (
        f"/change-requests/{change_request.cr_id}/",
        {"username": viewer.username, "password": PASSWORD},
    )
    for marked in (mark_of(known.pk), mark_of(known.pk).replace(":", ":x"), ""):
        client = Client(enforce_csrf_checks=True)
        client.force_login(known)
        _, fields = form_in(client.get(page), 'id="composer"')
        client.cookies.pop("sessionid")
        ended = client.post(f"{page}comments/", {**fields, "body": WORDS, TYPED_BY: marked})
        sign_in, carried = form_in(ended, "/sign-in/")

        answer = client.post(sign_in, {**carried, **other}, follow=True)

        assert (answer.status_code, answer.request["PATH_INFO"]) == (200, page)
        assert "was opened by another account" in answer.content.decode()
        assert "second line" not in answer.content.decode()
        # In another window, where the form still stands.
        again = client.post(f"{page}comments/", {**fields, "body": WORDS})
        assert (again.status_code, "second line" in again.content.decode()) == (403, False)
        stale = client.post(sign_in, {**carried, **other, "csrfmiddlewaretoken": "x" * 32})
        assert (stale.status_code, "second line" in stale.content.decode()) == (403, False)
    assert not Comment.objects.exists()


def test_two_windows_of_one_person_both_keep_their_words(change_request: ChangeRequest, known: User) -> None:
    client, page = Client(enforce_csrf_checks=True), f"/change-requests/{change_request.cr_id}/"
    client.force_login(known)
    _, fields = form_in(client.get(page), 'id="composer"')
    client.cookies.pop("sessionid")
    credentials = {"username": known.username, "password": PASSWORD}
    windows = [form_in(client.post(f"{page}comments/", {**fields, "body": one}), "/sign-in/") for one in "ab"]

    for (sign_in, carried), body in zip(windows, "ab", strict=True):
        back = client.post(sign_in, {**carried, **credentials})
        action, sent = form_in(back, 'id="typed"')
        assert (action, sent["body"]) == (f"{page}comments/", body)
        assert client.post(action, sent).status_code == 302

    assert sorted(Comment.objects.values_list("body", flat=True)) == ["a", "b"]


def test_words_for_what_is_gone_by_then_are_shown_and_refused_with_them(
    dataset: Dataset, change_request: ChangeRequest, known: User
) -> None:
    address = f"/change-requests/{change_request.cr_id}/comments/"
    client = Client()
    ended = client.post(address, {"body": WORDS, TYPED_BY: mark_of(known.pk)})
    sign_in, carried = form_in(ended, "/sign-in/")
    ChangeRequest.objects.filter(pk=change_request.pk).delete()
    back = client.post(sign_in, {**carried, "username": known.username, "password": PASSWORD})
    action, sent = form_in(back, 'id="typed"')

    gone = client.post(action, sent)

    assert (gone.status_code, form_in(gone, 'id="typed"')[1]["body"]) == (404, WORDS)


# --- Signed in, and refused all the same -----------------------------------------------------------------------


def test_a_form_older_than_the_sign_in_is_sent_again(change_request: ChangeRequest, author: User) -> None:
    client, page = Client(enforce_csrf_checks=True), f"/change-requests/{change_request.cr_id}/"
    client.force_login(author)
    old = {"body": WORDS, "csrfmiddlewaretoken": "x" * 32, TYPED_BY: mark_of(author.pk)}
    refused = client.post(f"{page}comments/", old)
    assert (refused.status_code, Comment.objects.exists()) == (403, False)
    action, sent = form_in(refused, 'id="typed"')
    assert client.post(action, sent).status_code == 302
    assert [one.body for one in Comment.objects.all()] == [WORDS]


def test_a_form_from_elsewhere_is_not_offered(change_request: ChangeRequest, author: User) -> None:
    client = Client(enforce_csrf_checks=True, headers={"Origin": "https://elsewhere.example"})
    client.force_login(author)
    refused = client.post(f"/change-requests/{change_request.cr_id}/comments/", {"body": "Buy here"})
    page = refused.content.decode()
    assert (refused.status_code, "Buy here" in page, 'href="/"' in page) == (403, False, True)


def no_longer_there(_: ChangeRequest) -> None:
    """Nothing moves; what is answered was never there."""


def closed(change_request: ChangeRequest) -> None:
    proposals.close(change_request_id=change_request.pk, actor=change_request.author)


@pytest.mark.parametrize(
    ("who", "moves", "place", "typed", "status"),
    [
        ("viewer", no_longer_there, "comments/", {"body": WORDS}, 403),
        ("author", no_longer_there, "comments/", {"body": WORDS, "parent": "999"}, 404),
        ("owner", closed, "review/", {"verdict": "approve", "body": WORDS}, 409),
        ("owner", closed, "close/", {"reason": WORDS}, 409),
        ("owner", closed, "look/", {"way": "paste", "pasted": WORDS}, 409),
        ("stranger", no_longer_there, "comments/", {"body": WORDS}, 404),
    ],
)
def test_a_refused_form_shows_what_was_typed(
    request: pytest.FixtureRequest,
    signed_in: SignedIn,
    change_request: ChangeRequest,
    who: str,
    moves: Any,
    place: str,
    typed: dict[str, str],
    status: int,
) -> None:
    moves(change_request)
    address = f"/change-requests/{change_request.cr_id}/{place}"
    refused = signed_in(request.getfixturevalue(who)).post(address, typed)
    assert refused.status_code == status
    action, sent = form_in(refused, 'id="typed"')
    assert (action, typed_in(sent)) == (address, typed)


def test_a_fault_of_ours_loses_no_word(
    change_request: ChangeRequest, author: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(reviews, "comment", broken)
    client = Client(raise_request_exception=False)
    client.force_login(author)
    refused = client.post(f"/change-requests/{change_request.cr_id}/comments/", {"body": WORDS})
    assert refused.status_code == 500
    assert form_in(refused, 'id="typed"')[1]["body"] == WORDS


def test_too_large_a_form_says_the_way_out(
    change_request: ChangeRequest, author: User, signed_in: SignedIn, settings: Settings
) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    refused = signed_in(author).post(
        f"/change-requests/{change_request.cr_id}/comments/", {"body": "x" * 1000}
    )
    assert refused.status_code == 413
    assert "Going back in your browser shows the form" in refused.content.decode()


# --- htmx ------------------------------------------------------------------------------------------------------


def test_a_fragment_whose_session_ended_takes_its_page_to_sign_in(change_request: ChangeRequest) -> None:
    page = f"/change-requests/{change_request.cr_id}/"
    headers = {"HX-Request": "true", "HX-Current-URL": f"http://testserver{page}?until=3"}
    answer = Client().get(f"{page}merge-box/", headers=headers)
    assert (answer.status_code, "<html" in answer.content.decode()) == (401, False)
    assert (
        answer.headers["HX-Redirect"]
        == f"/sign-in/?next=%2Fchange-requests%2F{change_request.cr_id}%2F%3Funtil%3D3"
    )
    elsewhere = {**headers, "HX-Current-URL": "https://elsewhere.example/x"}
    answer = Client().get(f"{page}merge-box/", headers=elsewhere)
    assert answer.headers["HX-Redirect"] == "/sign-in/"


def test_a_form_of_htmx_whose_session_ended_sends_itself_as_a_page(change_request: ChangeRequest) -> None:
    address = f"/change-requests/{change_request.cr_id}/merge/"
    answer = Client().post(address, {"message": WORDS}, headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["X-Send-As-Page"]) == (401, "true")
    assert "HX-Redirect" not in answer.headers


def test_a_refused_form_of_htmx_stays_and_a_notice_tells(
    change_request: ChangeRequest, viewer: User, signed_in: SignedIn
) -> None:
    address = f"/change-requests/{change_request.cr_id}/conflicts/resolve/"
    answer = signed_in(viewer).post(address, {"key": "{}"}, headers={"HX-Request": "true"})
    assert answer.status_code in (403, 409, 422)
    if answer.status_code != 422:
        assert (answer.headers["HX-Retarget"], answer.headers["HX-Reswap"]) == ("#toasts", "beforeend")
        assert 'role="alert"' in answer.content.decode()
