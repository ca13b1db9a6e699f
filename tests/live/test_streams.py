"""Server-sent events from the live server: what happens is told at once, and only to whoever may hear it."""

import contextlib
import http.client
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.db import connection
from rest_framework.test import APIClient

from accounts.models import Token
from accounts.sessions import SessionStore
from audit.models import Event
from changerequests.models import ChangeRequest
from changerequests.services.reviews import comment
from config.env import BASE_DIR
from datasets.models import Dataset
from datasets.roles import Role, set_role
from demo.processes import ManagedProcess, wait_until, web_command
from notifications.models import Notification
from notifications.selectors import unread_of
from notifications.services import dispatching
from notifications.services.preferences import subscribe
from notifications.streams import hub
from tests import services
from tests.api.clients import token_of
from tests.conftest import connected_database_url
from tests.factories import ChangeRequestFactory, person_with
from tests.live.server import Connection, open_files


@dataclass
class Stream:
    """A stream that is open: its events come as they are asked for."""

    answer: http.client.HTTPResponse
    comments: list[str] = field(default_factory=list)

    def next(self) -> dict[str, str]:
        """The next event by its fields; empty where the stream has ended."""
        found: dict[str, str] = {}
        while line := self.answer.readline().decode():
            name, _, value = line.rstrip("\n").partition(": ")
            if not name and value:
                self.comments.append(value)
            elif line != "\n":
                found[name] = value
            elif "data" in found:
                return found
            else:
                found = {}
        return {}

    def said(self) -> Any:
        """The data of the next event."""
        return json.loads(self.next()["data"])


@contextlib.contextmanager
def listening(address: str, path: str, **headers: str) -> Iterator[Stream]:
    place = urlsplit(address)
    opened = http.client.HTTPConnection(str(place.hostname), place.port, timeout=20)
    opened.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = opened.getresponse()
    try:
        assert answer.status == 200, answer.read()
        yield Stream(answer)
    finally:
        answer.close()
        opened.close()


def by(person: User) -> Mapping[str, str]:
    return {"Authorization": f"Token {token_of(person)}"}


@pytest.fixture
def path(draft: ChangeRequest) -> str:
    return f"/api/v1/change_requests/{draft.cr_id}/stream"


def said(draft: ChangeRequest, owner: User, *bodies: str) -> None:
    for body in bodies:
        comment(change_request_id=draft.pk, actor=owner, body=body)


def test_what_happens_is_told_at_once_and_what_was_missed_first(
    server: str, dataset: Dataset, draft: ChangeRequest, owner: User, path: str
) -> None:
    other: ChangeRequest = ChangeRequestFactory.create(
        dataset=dataset, author=owner, csv=None, status="draft"
    )
    with listening(server, path, **by(owner)) as stream:
        assert stream.answer.headers["Content-Type"] == "text/event-stream"
        assert stream.answer.headers["Cache-Control"] == "no-store"
        assert stream.answer.headers["X-Accel-Buffering"] == "no"
        assert stream.answer.headers["X-Request-ID"]
        said(other, owner, "Of another request")
        said(draft, owner, "One")
        started = time.monotonic()
        first = stream.next()
        assert time.monotonic() - started < 5
    assert first["event"] == "change_request"
    told = json.loads(first["data"])
    assert (told["change_request"], told["action"], told["actor"]) == (
        draft.cr_id,
        "comment.added",
        "live-owner",
    )
    assert first["id"].startswith(f"{told['sequence']}-")
    said(draft, owner, "Two", "Three")
    with listening(server, path, **by(owner), Last_Event_ID=first["id"]) as stream:
        assert [stream.said()["sequence"] - told["sequence"] for _ in range(2)] == [1, 2]
    for after in (first["id"], told["sequence"]):
        with listening(server, f"{path}?after={after}", **by(owner)) as stream:
            assert stream.said()["sequence"] == told["sequence"] + 1


def test_what_comes_into_an_inbox_is_told_to_its_person_alone(
    server: str, dataset: Dataset, draft: ChangeRequest, owner: User
) -> None:
    writer, gone = person_with(Role.CONTRIBUTOR, dataset), person_with(Role.VIEWER, dataset)
    for person in (owner, gone):
        subscribe(person=person, to=draft, level="watch")
    dispatching.dispatch()
    path = "/api/v1/stream"
    with listening(server, path, **by(owner)) as mine, listening(server, path, **by(gone)) as other:
        said(draft, writer, "One")
        dispatching.dispatch()
        first = mine.next()
        assert first["event"] == "notification"
        told = json.loads(first["data"])
        news = Notification.objects.get(pk=told["id"])
        assert (news.person, told["unread"]) == (owner, unread_of(owner).count())
        assert first["id"].startswith(f"{news.pk}-")
        assert (told["action"], told["change_request"]) == ("comment.added", draft.cr_id)
        of_list = Connection(server, token=token_of(owner)).call("GET", "/api/v1/notifications").json()
        moving = {"unread": 0, "occurred_at": ""}  # streams tell times to the millisecond
        assert {**told, **moving} == {**of_list["results"][0], **moving}
        assert Notification.objects.get(pk=other.said()["id"]).person == gone
        set_role(member=gone, target=dataset, role=None, actor=owner)
        said(draft, writer, "Two")
        dispatching.dispatch()
        assert mine.said()["unread"] == told["unread"] + 1
        untold = iter(Event.objects.exclude(pk=news.event_id).values_list("pk", flat=True)[:3])
        late = {"person": gone, "kind": news.kind, "reason": news.reason, "headline": "Late"}
        Notification.objects.create(event_id=next(untold), dataset=dataset, **late)
        Notification.objects.create(event_id=next(untold), **late)
        assert other.said()["dataset"] is None, "what they may not see any more is not told"
        Token.objects.filter(user=gone).delete()
        Notification.objects.create(event_id=next(untold), **late)
        assert other.next()["event"] == "end"
    with listening(server, path, **by(owner), Last_Event_ID=first["id"]) as stream:
        assert stream.said()["unread"] == told["unread"] + 1


def test_a_number_that_is_none_is_refused_and_head_opens_nothing(server: str, owner: User, path: str) -> None:
    client = Connection(server, token=token_of(owner))
    assert client.call("GET", path, Last_Event_ID="x").errors.keys() == {"Last-Event-ID"}
    assert client.call("GET", f"{path}?after=-1").errors.keys() == {"after"}
    assert client.call("GET", f"{path}?since=1").errors.keys() == {"since"}
    assert client.call("GET", path, Accept="text/csv").code == "not_acceptable"
    for _ in range(hub.MOST_OF_ONE + 1):
        assert client.call("HEAD", path).status == 200


def test_under_wsgi_the_answer_says_so(draft: ChangeRequest, owner: User, path: str) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=by(owner)["Authorization"])
    answer = client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (501, "streams_unavailable")


def test_a_member_who_is_removed_hears_nothing_more(
    server: str, dataset: Dataset, draft: ChangeRequest, owner: User, path: str
) -> None:
    viewer = person_with(Role.VIEWER, dataset)
    with listening(server, path, **by(viewer)) as stream:
        said(draft, owner, "One")
        assert stream.said()["action"] == "comment.added"
        set_role(member=viewer, target=dataset, role=None, actor=owner)
        said(draft, owner, "Two")
        last = stream.next()
        assert (last["event"], json.loads(last["data"])) == ("end", {"reason": "not_allowed"})
        assert stream.next() == {}
    assert Connection(server, token=token_of(viewer)).call("GET", path).status == 404


def test_a_token_that_is_revoked_hears_nothing_more(
    server: str, dataset: Dataset, draft: ChangeRequest, owner: User, path: str
) -> None:
    viewer = person_with(Role.VIEWER, dataset)
    with listening(server, path, **by(viewer)) as stream:
        Token.objects.filter(user=viewer).delete()
        said(draft, owner, "One")
        assert stream.next()["event"] == "end"


def test_a_session_that_ends_hears_nothing_more_and_is_not_kept_alive(
    server: str, dataset: Dataset, draft: ChangeRequest, owner: User, path: str
) -> None:
    viewer = person_with(Role.VIEWER, dataset)
    session = SessionStore()
    session[SESSION_KEY] = str(viewer.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = viewer.get_session_auth_hash()
    session.save()
    session["_seen"] -= 120
    session.save()
    headers = {"Cookie": f"sessionid={session.session_key}", "Accept": "text/event-stream"}
    with listening(server, path, **headers) as stream:
        said(draft, owner, "One")
        assert stream.said()["action"] == "comment.added"
        assert SessionStore(session.session_key)["_seen"] == session["_seen"]
        session.delete()
        said(draft, owner, "Two")
        assert stream.next()["event"] == "end"


def test_a_person_has_a_bounded_number_of_streams_and_closed_ones_do_not_count(
    server: str, dataset: Dataset, draft: ChangeRequest, path: str
) -> None:
    viewer = person_with(Role.VIEWER, dataset)
    client, headers = Connection(server, token=token_of(viewer)), by(viewer)
    with contextlib.ExitStack() as opened:
        for _ in range(hub.MOST_OF_ONE):
            opened.enter_context(listening(server, path, **headers))
        refused = client.call("GET", path)
        assert (refused.status, refused.code, refused.headers["retry-after"]) == (429, "throttled", "30")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            with listening(server, path, **headers):
                break
        except AssertionError:
            time.sleep(0.1)
    else:
        raise AssertionError("the places of closed streams were not given back")


def test_streams_cost_neither_threads_nor_open_files_of_the_database(
    dataset: Dataset, draft: ChangeRequest, owner: User, path: str, live_root: Path, tmp_path: Path
) -> None:
    """Forty listeners, and then the server is told to stop: each hears so, and it ends at once."""
    port = services.free_port()
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings.dev",
        "DATABASE_URL": connected_database_url(),
        "CELERY_BROKER_URL": "memory://",
        "DELTA_DATA_ROOT": str(live_root),
    }
    log = tmp_path / "web.log"
    web = ManagedProcess("web", web_command(port=port), environment=environment, folder=BASE_DIR, log=log)
    database = str(connection.settings_dict["NAME"])
    try:
        wait_until(web, lambda: services.answers_livez(port), seconds=60)
        with contextlib.ExitStack() as opened:
            people = [person_with(Role.VIEWER, dataset) for _ in range(4)]
            streams = [
                opened.enter_context(listening(f"http://127.0.0.1:{port}", path, **by(person)))
                for person in people
                for _ in range(hub.MOST_OF_ONE)
            ]
            said(draft, owner, "One")
            assert {stream.said()["action"] for stream in streams} == {"comment.added"}
            process = Path(f"/proc/{web.pid}")
            assert len(list((process / "task").iterdir())) < len(streams)
            assert len([name for name in open_files(process) if name.startswith(database)]) <= 6
            started = time.monotonic()
            web.ask_to_stop()
            ends = [stream.next() for stream in streams]
            assert {end["event"] for end in ends} == {"end"}
            assert {json.loads(end["data"])["reason"] for end in ends} == {"stopping"}
            assert web.wait(5) is not None
            assert time.monotonic() - started < 4
    finally:
        web.stop(seconds=10)
