"""Anchors in the keeping of others: told once, again until it is done, and compared with the chains."""

import base64
import hashlib
import html
import json
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

import merging
from audit.services import anchor_chains, record
from audit.syslog import InvalidReceiver, receiver_of
from datasets.anchoring import bent_anchors, places
from datasets.tasks import deliver_anchors
from tests.factories import UserFactory
from tests.merging.stores import s3_server

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def s3() -> Iterator[Mapping[str, str]]:
    with s3_server() as options:
        yield options


def anchored() -> Path:
    with transaction.atomic():
        record(stream="dataset:1", action="comment.added", subject_type="x", subject_id="x")
    made = anchor_chains()
    assert made is not None
    return Path(str(made))


def test_fs10_anchors_are_kept_elsewhere_and_compared(settings: Settings, tmp_path: Path) -> None:
    place = tmp_path / "kept"
    settings.AUDIT_ANCHOR_STORE = str(place)
    first = anchored()
    deliver_anchors.apply(throw=True)
    second = anchored()
    deliver_anchors.apply(throw=True)
    assert [one.read_bytes() for one in sorted(place.iterdir())] == [first.read_bytes(), second.read_bytes()]
    assert list(bent_anchors()) == []
    first.unlink()
    assert [found.reason for found in bent_anchors()] == [
        f"the anchor is kept as {place}/{first.name}, and is missing here"
    ]
    (place / second.name).unlink()
    assert f"the anchor was told to {place}, and is not kept there" in [one.reason for one in bent_anchors()]


def test_fs10_a_place_that_fails_is_told_and_tried_again(settings: Settings, tmp_path: Path) -> None:
    place = tmp_path / "kept"
    place.write_text("in the way")
    settings.AUDIT_ANCHOR_STORE = str(place)
    path = anchored()
    deliver_anchors.apply(throw=True)
    [told] = places()
    assert (told.waiting, told.failing_since is not None) == (1, True)
    with pytest.raises(CommandError):
        call_command("verify_audit", stdout=StringIO(), stderr=StringIO())
    place.unlink()
    deliver_anchors.apply(throw=True)
    [told] = places()
    assert (told.waiting, told.newest, told.failing_since, told.error) == (0, path.name, None, "")
    assert list(bent_anchors()) == []


def test_fs10_anchors_are_kept_in_an_object_store(
    settings: Settings, s3: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that speaks S3, on the loopback address; what it keeps is never replaced."""
    settings.AUDIT_ANCHOR_STORE = f"s3://tables/anchors-{uuid.uuid4().hex}"
    settings.AUDIT_ANCHOR_STORE_OPTIONS = {**s3, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    first = anchored()
    deliver_anchors.apply(throw=True)
    [told] = places()
    assert (told.waiting, told.failing_since is not None) == (1, True)
    settings.AUDIT_ANCHOR_STORE_OPTIONS = s3
    second = anchored()
    deliver_anchors.apply(throw=True)
    [told] = places()
    assert (told.waiting, told.newest, told.failing_since) == (0, second.name, None)
    assert list(bent_anchors()) == []
    changed = first.read_bytes() + b" "
    with pytest.raises(merging.MergeError):
        merging.keep_file(settings.AUDIT_ANCHOR_STORE, first.name, changed, s3)
    first.write_bytes(changed)
    assert any(first.name in found.reason or first.name in found.file for found in bent_anchors())


def test_fs10_what_is_put_into_s3_has_a_checksum() -> None:
    """Buckets that lock what is put ask for one, as a signed header of the request."""
    heard: list[Message] = []

    class Store(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            heard.append(self.headers)
            self.send_response(200)
            self.send_header("ETag", '"1"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *_: object) -> None:
            """Nothing on the terminal."""

    with HTTPServer(("127.0.0.1", 0), Store) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
        options = {"AWS_ENDPOINT_URL": address, "AWS_ALLOW_HTTP": "true", **keys}
        merging.keep_file("s3://locked/anchors", "first.json", b"content", options)
        server.shutdown()

    [put] = heard
    assert base64.b64decode(put["x-amz-checksum-sha256"]) == hashlib.sha256(b"content").digest()
    assert "x-amz-checksum-sha256" in put["Authorization"]
    assert put["If-None-Match"] == "*"


def test_operators_see_places_that_fail(settings: Settings, tmp_path: Path) -> None:
    place = tmp_path / "kept"
    place.write_text("in the way")
    settings.AUDIT_ANCHOR_STORE = str(place)
    anchored()
    deliver_anchors.apply(throw=True)
    client = Client()
    client.force_login(UserFactory.create(is_staff=True, is_superuser=True))
    seen = client.get(reverse("operations_stores")).content.decode()
    [told] = places()
    assert "Anchors of the audit trail" in seen
    assert str(place) in seen
    assert told.failing_since is not None
    assert f'failing since <time datetime="{told.failing_since.isoformat()}"' in seen
    assert html.escape(told.error) in seen


@pytest.mark.parametrize("transport", ["udp", "tcp", "unix"])
def test_fs10_anchors_are_told_to_a_syslog(transport: str, settings: Settings, tmp_path: Path) -> None:
    received: list[bytes] = []
    kind = socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_UNIX if transport == "unix" else socket.AF_INET, kind) as receiver:
        receiver.settimeout(10)
        if transport == "unix":
            receiver.bind(str(tmp_path / "log"))
            settings.AUDIT_ANCHOR_SYSLOG = f"unix://{tmp_path}/log"
        else:
            receiver.bind(("127.0.0.1", 0))
            settings.AUDIT_ANCHOR_SYSLOG = f"{transport}://127.0.0.1:{receiver.getsockname()[1]}"

        def receive() -> None:
            if transport == "tcp":
                with receiver.accept()[0] as sender:
                    received.append(sender.makefile("rb").read())
            else:
                received.append(receiver.recv(65536))

        if transport == "tcp":
            receiver.listen()
        listening = threading.Thread(target=receive)
        listening.start()
        path = anchored()
        deliver_anchors.apply(throw=True)
        listening.join(10)
    [line] = received
    header, _, text = line.decode().partition(" anchor - ")
    framed = header.partition(" ")[2] if transport == "tcp" else header  # its length stands before it
    assert framed.startswith("<109>1 ")
    content = json.loads(text)
    assert content["anchor"] == path.name
    assert content["heads"]["dataset:1"][0] == 1
    log = tmp_path / "told.log"
    log.write_bytes(line + b"\n")
    assert list(bent_anchors(log)) == []
    log.write_text(line.decode().replace('"dataset:1":[1,', '"dataset:1":[9,'))
    assert [found.place for found in bent_anchors(log)] == ["dataset:1 entry 9"]


def test_what_is_no_receiver_is_refused() -> None:
    for address in ("udp://", "http://a", "tcp://host:x", ""):
        with pytest.raises(InvalidReceiver):
            receiver_of(address)
