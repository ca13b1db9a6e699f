"""Tokens, sessions and what guards them."""

import base64
from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import guard
from accounts.models import Token
from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import client_of, problem
from tests.factories import DatasetFactory, UserFactory, person_with

pytestmark = pytest.mark.django_db

TOKEN = "/api/v1/auth/token"


@pytest.fixture
def carl() -> User:
    return UserFactory.create(username="carl", password="headgate-demo")


def basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def test_a_password_becomes_a_token_that_works_until_it_is_given_back(carl: User) -> None:
    by_body = APIClient().post(TOKEN, {"username": "carl", "password": "headgate-demo"})
    by_basic = APIClient().post(TOKEN, HTTP_AUTHORIZATION=basic("carl", "headgate-demo"))

    assert (by_body.status_code, by_basic.status_code) == (200, 200)
    assert set(by_body.json()) == {"token", "expiry", "number", "name", "scopes", "agent"}
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {by_basic.json()['token']}")
    assert client.get("/api/v1/datasets").status_code == 200
    assert client.post("/api/v1/auth/logout").status_code == 204
    assert problem(client.get("/api/v1/datasets")) == (401, "not_authenticated")
    assert Token.objects.count() == 1
    carl.refresh_from_db()
    assert carl.last_login is not None


def test_tokens_are_stored_hashed_and_expire(carl: User) -> None:
    token = APIClient().post(TOKEN, {"username": "carl", "password": "headgate-demo"}).json()["token"]
    stored = Token.objects.get()
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {token}")

    assert token not in (stored.digest, stored.token_key)
    with time_machine.travel(timezone.now() + timedelta(days=91), tick=False):
        assert problem(client.get("/api/v1/datasets")) == (401, "not_authenticated")


@pytest.mark.parametrize(
    "credentials",
    [
        {"username": "carl", "password": "wrong"},
        {"username": "nobody", "password": "headgate-demo"},
        {"username": "carl"},
        {},
    ],
)
def test_wrong_credentials_get_no_token(carl: User, credentials: dict[str, str]) -> None:
    response = APIClient().post(TOKEN, credentials)

    assert problem(response) == (401, "not_authenticated")
    assert Token.objects.count() == 0


def test_people_who_left_get_no_token(carl: User) -> None:
    token_client = client_of(carl)
    carl.is_active = False
    carl.save()

    response = APIClient().post(TOKEN, {"username": "carl", "password": "headgate-demo"})

    assert problem(response) == (401, "not_authenticated")
    assert problem(token_client.get("/api/v1/datasets")) == (401, "not_authenticated")


def test_basic_credentials_open_nothing_else(carl: User) -> None:
    response = APIClient().get("/api/v1/datasets", HTTP_AUTHORIZATION=basic("carl", "headgate-demo"))

    assert problem(response) == (401, "not_authenticated")


def test_guessing_passwords_is_stopped(carl: User) -> None:
    answers = [
        problem(APIClient().post(TOKEN, {"username": "carl", "password": f"guess-{attempt}"}))
        for attempt in range(guard.PAIR_LIMIT)
    ]

    right = APIClient().post(TOKEN, HTTP_AUTHORIZATION=basic("carl", "headgate-demo"))

    assert answers[:-1] == [(401, "not_authenticated")] * 7
    assert answers[-1] == (429, "throttled")
    assert problem(right) == (429, "throttled")
    assert Token.objects.count() == 0


def test_a_session_needs_the_csrf_token_to_write(db: None) -> None:
    dataset: Dataset = DatasetFactory.create()
    carl = person_with(Role.CONTRIBUTOR, dataset)
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(carl)
    body = {"dataset": dataset.pk, "title": "Fill in years"}

    read = browser.get("/api/v1/datasets")
    without = browser.post("/api/v1/change_requests", body, content_type="application/json")
    browser.cookies["csrftoken"] = "a" * 32
    with_token = browser.post(
        "/api/v1/change_requests", body, content_type="application/json", headers={"X-CSRFToken": "a" * 32}
    )

    assert read.status_code == 200
    assert problem(without) == (403, "forbidden")
    assert "CSRF" in without.json()["message"]
    assert with_token.status_code == 201


@pytest.mark.parametrize("sent", ["\xff\x80", "é", "a\x00b", "a" * 5000, "\x7f"])
def test_what_can_be_no_token_is_refused_as_one_that_is_wrong(sent: str) -> None:
    answer = APIClient().get("/api/v1/datasets", headers={"authorization": f"Token {sent}"})
    assert problem(answer) == (401, "not_authenticated")
