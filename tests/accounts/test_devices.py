"""Programs without a password: let in from a browser, once, by the person who started them; agents are marked."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import access, devices
from accounts.models import DeviceSignIn, Token
from accounts.scopes import Scope
from audit.selectors import events_of
from datasets.roles import Role
from tests.api.clients import problem
from tests.factories import DatasetFactory, UserFactory, give_role

pytestmark = pytest.mark.django_db

ASK, TAKE = "/api/v1/auth/device", "/api/v1/auth/device/token"


@pytest.fixture
def carl() -> User:
    return UserFactory.create(username="carl")


def begun(**wanted: Any) -> dict[str, Any]:
    answer = APIClient().post(ASK, wanted)
    assert answer.status_code == 200
    return dict(answer.json())


def take(told: dict[str, Any]) -> Any:
    return APIClient().post(TAKE, {"device_code": told["device_code"]})


def browser_of(person: User) -> Client:
    client = Client()
    client.force_login(person)
    return client


def decide(person: User, code: str, decision: str = "let in") -> Any:
    return browser_of(person).post(reverse("decide_device"), {"code": code, "decision": decision})


def test_a_program_waits_is_let_in_and_takes_its_token_once(carl: User) -> None:
    told = begun(name="headgate", scopes=["read", "propose"], days=7)
    waiting = take(told)
    assert (waiting.status_code, waiting.headers["Retry-After"]) == (202, str(told["interval"]))
    page = browser_of(carl).get(told["verification_uri_complete"])
    assert told["user_code"] in page.content.decode()
    assert not Token.objects.exists()

    assert decide(carl, told["user_code"].lower().replace("-", " ")).status_code == 302
    taken = take(told)
    assert taken.status_code == 200
    program = APIClient()
    program.credentials(HTTP_AUTHORIZATION=f"Token {taken.json()['token']}")
    own = program.get("/api/v1/auth/own_token").json()
    assert (own["username"], own["name"], own["scopes"]) == ("carl", "headgate", ["read", "propose"])
    assert problem(take(told)) == (410, "sign_in_expired")
    assert Token.objects.count() == 1
    assert told["device_code"] not in str(DeviceSignIn.objects.values_list())


def test_who_is_not_let_in_gets_nothing(carl: User) -> None:
    told = begun()
    decide(carl, told["user_code"], "deny")
    assert problem(take(told)) == (403, "sign_in_denied")
    assert problem(take(told)) == (410, "sign_in_expired")
    assert not Token.objects.exists()


def test_a_decision_is_made_once(carl: User) -> None:
    told = begun()
    decide(carl, told["user_code"], "deny")
    again = decide(UserFactory.create(), told["user_code"])
    assert again.status_code == 422
    assert "No program waits" in again.content.decode()
    assert problem(take(told)) == (403, "sign_in_denied")


def test_it_ends_after_ten_minutes(carl: User) -> None:
    told = begun()
    with time_machine.travel(timezone.now() + timedelta(minutes=11)):
        assert decide(carl, told["user_code"]).status_code == 422
        assert problem(take(told)) == (410, "sign_in_expired")
        begun()
    assert DeviceSignIn.objects.count() == 1  # the one before was forgotten


def test_somebody_who_was_deactivated_meanwhile_lets_nobody_in(carl: User) -> None:
    told = begun()
    decide(carl, told["user_code"])
    User.objects.filter(pk=carl.pk).update(is_active=False)
    assert problem(take(told)) == (403, "sign_in_denied")
    assert not Token.objects.exists()


@pytest.mark.parametrize("ends", ["password", "everywhere"])
def test_whoever_ends_the_access_of_an_account_ends_what_was_let_in_and_not_taken_yet(
    carl: User, ends: str
) -> None:
    """A stolen session must not leave a token behind that holds under the new password."""
    told = begun()
    decide(carl, told["user_code"])
    carl.refresh_from_db()
    if ends == "password":
        access.change_password(user=carl, password="another passphrase 7", session_key=None)
    else:
        access.sign_out_everywhere(user=carl, session_key=None)
    assert problem(take(told)) == (410, "sign_in_expired")
    assert not Token.objects.exists()


def test_one_network_cannot_fill_the_table() -> None:
    for number in range(devices.WAITING_LIMIT):
        asked = APIClient(REMOTE_ADDR=f"2001:db8::{number:x}").post(ASK, {})
        assert asked.status_code == 200
    refused = APIClient(REMOTE_ADDR="2001:db8::ffff:1").post(ASK, {})
    assert problem(refused) == (429, "throttled")
    assert APIClient(REMOTE_ADDR="2001:db8:1::1").post(ASK, {}).status_code == 200


def test_one_address_cannot_fill_the_table() -> None:
    for _ in range(devices.WAITING_LIMIT):
        begun()
    refused = APIClient().post(ASK, {})
    assert problem(refused) == (429, "throttled")
    assert int(refused.headers["Retry-After"]) > 0
    assert DeviceSignIn.objects.count() == devices.WAITING_LIMIT


@pytest.mark.parametrize("wanted", [{"scopes": ["everything"]}, {"scopes": []}, {"days": 0}, {"x": 1}])
def test_what_no_token_can_be_is_refused_at_once(wanted: dict[str, Any]) -> None:
    assert problem(APIClient().post(ASK, wanted, format="json")) == (422, "invalid")
    assert not DeviceSignIn.objects.exists()


def test_what_an_agent_does_is_marked_as_its_doing(carl: User) -> None:
    dataset = DatasetFactory.create()
    give_role(carl, dataset, Role.CONTRIBUTOR)
    told = begun(agent="Claude", scopes=[Scope.READ, Scope.PROPOSE])
    assert "Claude" in browser_of(carl).get(told["verification_uri_complete"]).content.decode()
    decide(carl, told["user_code"])
    program = APIClient()
    program.credentials(HTTP_AUTHORIZATION=f"Token {take(told).json()['token']}")
    cr_id = program.post("/api/v1/change_requests", {"dataset": dataset.pk, "title": "By it"}).json()["cr_id"]

    assert events_of("change_request", cr_id).get().data["agent"] == "Claude"
    assert (
        program.get(f"/api/v1/change_requests/{cr_id}/events").json()["results"][0]["data"]["agent"]
        == "Claude"
    )
    page = browser_of(carl).get(reverse("change_request", args=[cr_id])).content.decode()
    assert "(by the agent Claude)" in page

    people = APIClient()
    people.force_authenticate(carl)
    own = people.post("/api/v1/change_requests", {"dataset": dataset.pk, "title": "By carl"}).json()["cr_id"]
    assert "agent" not in events_of("change_request", own).get().data
