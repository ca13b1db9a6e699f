"""FS9, FS12: what opens an account, and what ends all of it: passwords, sessions with limits, tokens with scopes."""

from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth import authenticate
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import guard
from accounts.models import BrowserSession, Token
from accounts.scopes import Scope
from accounts.tokens import MOST_TOKENS, make_token
from audit.selectors import events_of
from datasets.errors import InvalidInput
from datasets.operators import make_operator
from tests.api.clients import client_of, problem, token_of
from tests.factories import UserFactory, fresh

pytestmark = pytest.mark.django_db

SET = "a new passphrase 7"


@pytest.fixture
def carl() -> User:
    return UserFactory.create(username="carl", password="headgate-demo")


def browser_of(user: User, password: str | None = None) -> Client:
    """A browser that signed in on the page."""
    client = Client()
    answer = client.post(
        reverse("login"), {"username": user.username, "password": password or "headgate-demo"}
    )
    assert answer.status_code == 302
    return client


def is_in(client: Client) -> bool:
    return client.get(reverse("account")).status_code == 200


def opens(client: APIClient) -> bool:
    return bool(client.get("/api/v1/datasets").status_code == 200)


# --- Passwords ---------------------------------------------------------------------------------------------


def test_fs9_a_new_password_ends_other_sessions_and_all_tokens(carl: User) -> None:
    here, elsewhere, program = browser_of(carl), browser_of(carl), client_of(carl)
    form = {"old_password": "headgate-demo", "new_password1": SET, "new_password2": SET}

    answer = here.post(reverse("change_password"), form, follow=True)

    assert "Your other sessions and all your tokens have ended." in answer.content.decode()
    assert (is_in(here), is_in(elsewhere), opens(program)) == (True, False, False)
    assert Token.objects.count() == 0
    assert BrowserSession.objects.filter(user=carl).count() == 1
    assert authenticate(None, username="carl", password=SET) == carl
    (event,) = events_of("user", "carl").filter(action="account.password_changed")
    assert (event.actor, event.data) == ("carl", {"sessions": 1, "tokens": 1})


def test_a_password_is_not_changed_without_the_old_one_which_is_no_way_to_guess(carl: User) -> None:
    here, program = browser_of(carl), client_of(carl)
    form = {"old_password": "x", "new_password1": SET, "new_password2": SET}

    answers = [here.post(reverse("change_password"), form).status_code for _ in range(guard.PAIR_LIMIT)]

    assert answers == [422] * 7 + [429]
    assert opens(program)
    assert authenticate(None, username="carl", password="headgate-demo") == carl


def test_a_password_that_is_too_easy_changes_nothing(carl: User) -> None:
    here = browser_of(carl)
    form = {"old_password": "headgate-demo", "new_password1": "carl", "new_password2": "carl"}
    answer = here.post(reverse("change_password"), form)
    assert answer.status_code == 422
    assert "too short" in answer.content.decode()
    assert authenticate(None, username="carl", password="headgate-demo") == carl


def test_fs9_a_reset_by_an_operator_ends_sessions_and_tokens(carl: User) -> None:
    adam = UserFactory.create(username="adam")
    make_operator(adam)
    operator, browser, program = Client(), browser_of(carl), client_of(carl)
    operator.force_login(fresh(adam))

    operator.post(
        reverse("admin:auth_user_password_change", args=[carl.pk]),
        {"password1": SET, "password2": SET, "usable_password": "true"},
    )

    assert (is_in(browser), opens(program)) == (False, False)
    assert (Token.objects.count(), BrowserSession.objects.filter(user=carl).count()) == (0, 0)
    (event,) = events_of("user", "carl").filter(action="account.password_reset")
    assert (event.actor, event.data) == ("adam", {"sessions": 1, "tokens": 1})


def test_fs9_a_reset_by_command_or_in_the_database_ends_sessions_and_tokens(
    carl: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getpass", lambda prompt="": SET)
    browser, program = browser_of(carl), client_of(carl)
    call_command("changepassword", "carl", stdout=None, stderr=None)
    assert (is_in(browser), opens(program)) == (False, False)

    browser, program = browser_of(carl, SET), client_of(fresh(carl))
    assert (is_in(browser), opens(program)) == (True, True)
    User.objects.filter(pk=carl.pk).update(password=make_password("by hand"))
    assert (is_in(browser), opens(program)) == (False, False)


def test_fs9_whoever_is_deactivated_loses_both_at_once_and_has_none_when_they_return(carl: User) -> None:
    root = UserFactory.create(username="root", is_staff=True, is_superuser=True)
    operator, browser, program = Client(), browser_of(carl), client_of(carl)
    operator.force_login(root)
    page = reverse("admin:auth_user_change", args=[carl.pk])
    fields = {"username": "carl", "email": "", "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}

    assert operator.post(page, fields).status_code == 302
    assert (is_in(browser), opens(program)) == (False, False)
    assert operator.post(page, {**fields, "is_active": "on"}).status_code == 302
    assert (is_in(browser), opens(program)) == (False, False)
    assert (Token.objects.count(), BrowserSession.objects.filter(user=carl).count()) == (0, 0)


def test_fs9_whoever_is_deactivated_by_hand_loses_both_too(carl: User) -> None:
    browser, program = browser_of(carl), client_of(carl)
    User.objects.filter(pk=carl.pk).update(is_active=False)
    assert (is_in(browser), opens(program)) == (False, False)


# --- Sessions ----------------------------------------------------------------------------------------------


def test_fs9_sessions_are_listed_and_ended_everywhere_else(carl: User) -> None:
    here, elsewhere, program = browser_of(carl), Client(), client_of(carl)
    elsewhere.post(
        reverse("login"),
        {"username": "carl", "password": "headgate-demo"},
        HTTP_USER_AGENT="Lynx/2.9",
        REMOTE_ADDR="192.0.2.10",
    )
    others = browser_of(UserFactory.create(username="dora", password="headgate-demo"))
    page = here.get(reverse("account")).content.decode()
    assert "Lynx/2.9" in page
    assert "from 192.0.2.10" in page

    answer = here.post(reverse("sign_out_everywhere"), follow=True)

    assert "1 other session ended." in answer.content.decode()
    assert (is_in(here), is_in(elsewhere), is_in(others), opens(program)) == (True, False, True, True)
    (event,) = events_of("user", "carl").filter(action="account.signed_out_everywhere")
    assert event.data == {"sessions": 1}


def test_fs12_a_session_ends_when_its_person_does_nothing(carl: User) -> None:
    with time_machine.travel(timezone.now(), tick=False) as clock:
        browser = browser_of(carl)
        for _ in range(3):
            clock.shift(timedelta(minutes=59))
            assert is_in(browser)
        clock.shift(timedelta(minutes=61))
        assert not is_in(browser)


def test_fs12_what_a_page_fetches_by_itself_keeps_no_session_alive(carl: User) -> None:
    with time_machine.travel(timezone.now(), tick=False) as clock:
        browser = browser_of(carl)
        for _ in range(3):
            clock.shift(timedelta(minutes=19))
            assert browser.get(reverse("home"), headers={"HX-Request": "true"}).status_code == 200
        clock.shift(timedelta(minutes=4))
        assert browser.get(reverse("home"), headers={"HX-Request": "true"}).status_code == 401


def test_fs12_a_session_ends_after_a_while_whatever_its_person_does(carl: User) -> None:
    with time_machine.travel(timezone.now(), tick=False) as clock:
        browser = browser_of(carl)
        for _ in range(23):
            clock.shift(timedelta(minutes=30))
            assert is_in(browser)
        clock.shift(timedelta(minutes=31))
        assert not is_in(browser)


def test_fs12_answers_are_not_stored(carl: User) -> None:
    browser, program = browser_of(carl), client_of(carl)
    answers = [
        browser.get(reverse("home")),
        browser.get("/nothing/"),
        Client().get(reverse("login")),
        program.get("/api/v1/datasets"),
        program.get("/api/v1/change_requests/CR-1"),
        Client().get("/api/v1/datasets"),
    ]
    assert {answer.headers["Cache-Control"] for answer in answers} == {"no-store"}


# --- Tokens ------------------------------------------------------------------------------------------------


def test_fs9_a_token_is_made_with_name_scopes_and_expiry_and_shown_once(carl: User) -> None:
    browser = browser_of(carl)
    form = {"name": "nightly load", "scopes": ["read", "propose"], "days": "30"}

    made = browser.post(reverse("make_token"), form).content.decode()

    token = Token.objects.get()
    assert (token.name, token.scopes) == ("nightly load", ["read", "propose"])
    assert token.expiry is not None
    assert timedelta(days=29) < token.expiry - timezone.now() <= timedelta(days=30)
    key = made.partition('id="new-token">')[2].partition("<")[0]
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {key}")
    assert opens(client)
    listed = browser.get(reverse("account")).content.decode()
    assert key not in listed
    assert "nightly load" in listed
    assert "read, propose" in listed
    assert f"last used {timezone.now():%Y-%m-%d}" in listed
    assert key not in str(Token.objects.values())

    browser.post(reverse("revoke_token", args=[token.number]))
    assert not opens(client)
    assert [event.action for event in events_of("token", str(token.number))] == [
        "token.made",
        "token.revoked",
    ]


@pytest.mark.parametrize(
    "form",
    [
        {"name": "x", "scopes": [], "days": "30"},
        {"name": "x", "scopes": ["everything"], "days": "30"},
        {"name": "x", "scopes": ["read"], "days": "0"},
        {"name": "x", "scopes": ["read"], "days": "367"},
        {"name": "", "scopes": ["read"], "days": "30"},
    ],
)
def test_tokens_that_cannot_be_are_not_made(carl: User, form: dict[str, object]) -> None:
    assert browser_of(carl).post(reverse("make_token"), form).status_code == 422
    assert Token.objects.count() == 0


def test_nobody_has_more_tokens_than_one_can_look_through(carl: User) -> None:
    for number in range(MOST_TOKENS):
        make_token(owner=carl, name=str(number))
    with pytest.raises(InvalidInput, match="50 tokens already"):
        make_token(owner=carl)


def test_fs9_a_program_sees_and_revokes_its_persons_tokens_and_no_others(carl: User) -> None:
    dora = UserFactory.create(username="dora")
    token_of(dora)
    key = token_of(carl, Scope.READ)
    program = client_of(carl)

    listed = program.get("/api/v1/auth/tokens").json()
    assert [one["scopes"] for one in listed] == [["read", "propose", "review", "merge", "admin"], ["read"]]
    assert key not in str(listed)
    theirs = Token.objects.get(user=dora).number
    assert problem(program.delete(f"/api/v1/auth/tokens/{theirs}")) == (404, "not_found")
    assert program.delete(f"/api/v1/auth/tokens/{listed[1]['number']}").status_code == 204
    assert Token.objects.filter(user=carl).count() == 1
    assert Token.objects.filter(user=dora).count() == 1
    assert browser_of(carl).post(reverse("revoke_token", args=[theirs])).status_code == 404
    assert Token.objects.filter(user=dora).count() == 1


def test_fs9_a_password_gives_a_token_for_what_is_asked(carl: User) -> None:
    body = {"username": "carl", "password": "headgate-demo", "scopes": ["read"], "name": "look", "days": 2}
    made = APIClient().post("/api/v1/auth/token", body).json()
    assert (made["scopes"], made["name"]) == (["read"], "look")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {made['token']}")
    assert opens(client)
    refused = client.post("/api/v1/change_requests", {"dataset": 1, "title": "x"})
    assert problem(refused) == (403, "scope_missing")
    assert refused.json()["scope"] == "propose"
    assert "lacks the scope propose" in refused.json()["message"]
