"""What the server needs is away or full: people and programs are told that, and lose nothing that they typed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.models import User
from django.db import DatabaseError, OperationalError, connection
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from changerequests.models import ChangeRequest, Comment
from config.bodies import BoundedBodies
from config.handling import HandlerInOneThread
from tests.factories import ChangeRequestFactory

COOKIE = "sessionid"
GONE = OperationalError("connection refused")
FULL = OperationalError("database or disk is full")
AWAY, NO_ROOM = "The database does not answer", "There is no room left"


@contextmanager
def failing(error: Exception) -> Iterator[None]:
    """Every statement fails meanwhile, as it does where the database is away."""

    def fail(*_: Any) -> NoReturn:
        raise error

    with connection.execute_wrapper(fail):
        yield


@pytest.fixture
def change_request(dataset: Any, owner: User) -> ChangeRequest:
    return ChangeRequestFactory.create(dataset=dataset, author=owner)


@pytest.fixture
def signed_in(owner: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(owner)
    return client


@pytest.mark.parametrize(("error", "status", "said"), [(GONE, 503, AWAY), (FULL, 507, NO_ROOM)])
@pytest.mark.parametrize("name", ["home", "datasets", "account", "login"])
def test_a_page_says_what_is_away(
    signed_in: Client, name: str, error: DatabaseError, status: int, said: str
) -> None:
    key = signed_in.cookies[COOKIE].value
    with failing(error):
        answer = signed_in.get(reverse(name))
    assert answer.status_code == status
    assert said in answer.content.decode()
    assert signed_in.cookies[COOKIE].value == key, "nobody is signed out by it"
    assert signed_in.get(reverse(name)).status_code in (200, 302)


def test_what_was_typed_is_in_the_answer_and_can_be_sent_again(
    signed_in: Client, change_request: ChangeRequest
) -> None:
    place = reverse("comment", args=[change_request.cr_id])
    with failing(GONE):
        answer = signed_in.post(place, {"body": "Why is this so?"})
    assert answer.status_code == 503
    assert "Why is this so?" in answer.content.decode()
    assert f'action="{place}"' in answer.content.decode()
    assert not Comment.objects.exists()


def test_a_part_of_a_page_says_so_in_a_notice(signed_in: Client, change_request: ChangeRequest) -> None:
    with failing(GONE):
        answer = signed_in.post(
            reverse("comment", args=[change_request.cr_id]), {"body": "Why?"}, HTTP_HX_REQUEST="true"
        )
    assert (answer.status_code, answer.headers["HX-Retarget"]) == (503, "#toasts")
    assert AWAY in answer.content.decode()


def test_the_api_says_so_to_sessions_as_to_tokens(signed_in: Client) -> None:
    with failing(GONE):
        answer = signed_in.get("/api/v1/datasets")
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")
    assert answer.json()["code"] == "unavailable"


@pytest.mark.parametrize(
    ("path", "kind"), [("/api/v1/auth/token", "application/problem+json"), ("/sign-in/", "text/html")]
)
def test_a_body_that_finds_no_room_is_told_so(
    path: str, kind: str, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """``/dev/full`` is Linux' own full disk, in the place of the one that Django reads bodies to."""
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Path("/dev/full").open("w+b", buffering=0))  # noqa: SIM115
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 4
    host = (b"host", settings.ALLOWED_HOSTS[0].encode())
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [host, (b"content-length", b"5"), (b"content-type", b"application/json")],
    }

    async def answer() -> tuple[Any, Any]:
        server = ApplicationCommunicator(BoundedBodies(HandlerInOneThread()), scope)
        await server.send_input({"type": "http.request", "body": b"12345"})
        told = await server.receive_output(10), await server.receive_output(10)
        await server.wait()
        return told

    begun, body = async_to_sync(answer)()
    assert begun["status"] == 507
    assert dict(begun["headers"])[b"Content-Type"].decode().startswith(kind)
    assert NO_ROOM in body["body"].decode()
