"""Keys are changed as docs/operations.md says ("Changing secrets", "The key of the trail"), under processes at work."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlencode

import pytest
import requests
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

import merging
from audit.models import Event
from config.env import BASE_DIR
from datasets.models import Dataset
from datasets.roles import Role
from datasets.services import connections
from datasets.services.creation import NewTable, create_dataset
from notifications.channels.signing import signature
from tests import services
from tests.api.clients import token_of
from tests.factories import ProjectFactory, person_with, rows_of
from tests.live.server import Connection
from tests.merging.stores import s3_server
from tests.notifications.receivers import Received, Receiver, receiver
from tests.patience import until

pytestmark = pytest.mark.services

OLD = {
    "SECRET_KEY": "the secret key of before that is long enough for production to take",
    "ENCRYPTION_KEYS": "the encryption key of before of 32 characters",
    "AUDIT_KEYS": f"before:{'0b' * 32}",
}
NEW = {
    "SECRET_KEY": "the secret key from now on that is long enough for production to take",
    "ENCRYPTION_KEYS": "the encryption key from now on of 32 characters",
    "AUDIT_KEYS": f"now:{'9a' * 32}",
}
BOTH = {
    "SECRET_KEY": NEW["SECRET_KEY"],
    "SECRET_KEY_FALLBACKS": OLD["SECRET_KEY"],
    "ENCRYPTION_KEYS": f"{NEW['ENCRYPTION_KEYS']},{OLD['ENCRYPTION_KEYS']}",
    "AUDIT_KEYS": f"{NEW['AUDIT_KEYS']},{OLD['AUDIT_KEYS']}",
}
#: The old key of the trail stays, to verify what it wrote.
AFTER = {**NEW, "AUDIT_KEYS": BOTH["AUDIT_KEYS"]}


class Installation:
    """Processes on one database, store and broker, with the keys of the moment."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self.environment = environment
        self.folder = folder

    def with_keys(self, keys: Mapping[str, str]) -> dict[str, str]:
        return {**self.environment, **keys, "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8"}

    @contextlib.contextmanager
    def worker(self, keys: Mapping[str, str]) -> Iterator[None]:
        with services.worker_process(self.with_keys(keys), self.folder / f"{uuid.uuid4().hex}.log"):
            yield

    @contextlib.contextmanager
    def web(self, keys: Mapping[str, str]) -> Iterator[str]:
        with services.web_process(self.with_keys(keys), self.folder / f"{uuid.uuid4().hex}.log") as address:
            yield address

    def manage(self, keys: Mapping[str, str], *command: str) -> str:
        """What a command says that ends well."""
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=BASE_DIR, env=self.with_keys(keys), check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def dataset(transactional_db: None, settings: Settings) -> Iterator[Dataset]:
    """A table in a store whose key is sealed with the keys of before."""
    settings.SECRET_KEY = OLD["SECRET_KEY"]
    settings.ENCRYPTION_KEYS = [OLD["ENCRYPTION_KEYS"]]
    settings.AUDIT_KEYS = [tuple(OLD["AUDIT_KEYS"].split(":"))]
    with s3_server() as options:
        root = f"s3://tables/keys-{uuid.uuid4().hex}"
        connections.create_connection(
            actor=None, name="lake", root=root,
            options={
                "aws_endpoint_url": options["AWS_ENDPOINT_URL"], "aws_region": "us-east-1", "allow_http": "true",
            },
            secrets={"aws_access_key_id": "key", "aws_secret_access_key": "secret"},
        )  # fmt: skip
        yield create_dataset(
            project=ProjectFactory.create(), slug="planes", name="planes", table_uri=f"{root}/planes",
            table=NewTable([merging.Column("tailnum", "string"), merging.Column("seats", "long")]),
            primary_keys=["tailnum"], actor=User.objects.create_superuser("root"), required_approvals=0,
        )  # fmt: skip


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def is_signed(received: Received, secret: str) -> bool:
    """Whether a delivery is signed with the secret that was told when its webhook was made."""
    timestamp = int(received.headers["headgate-timestamp"])
    stated = received.headers["headgate-signature"]
    return stated == signature([secret], timestamp=timestamp, body=received.body)


def session_of(user: User) -> requests.Session:
    """A browser in which somebody is signed in."""
    client, made = Client(), requests.Session()
    client.force_login(user)
    made.cookies.set("sessionid", client.cookies["sessionid"].value, domain="127.0.0.1", path="/")
    return made


def is_in(browser: requests.Session, address: str) -> bool:
    return browser.get(f"{address}/account/", allow_redirects=False, timeout=30).status_code == 200


def test_every_key_is_changed_while_requests_are_merged(
    dataset: Dataset,
    hook: Receiver,
    process_environment: dict[str, str],
    settings: Settings,
    tmp_path: Path,
) -> None:
    here = Installation(process_environment, tmp_path)
    owner = person_with(Role.OWNER, dataset)
    token, place = token_of(owner), f"/api/v1/datasets/{dataset.pk}"
    browser, idle = session_of(owner), session_of(owner)
    merged: list[str] = []

    def merge(address: str) -> None:
        """Propose a row and merge it; its news reach the webhook, signed."""
        client = Connection(address, token=token, seconds=90)
        number = len(merged) + 1
        query = urlencode({"title": f"Row {number}", "submit": "true"})
        content = f"tailnum,seats\nN{number},{number}\n".encode()
        proposed = client.call(
            "POST", f"{place}/proposals?{query}", content, Content_Type="text/csv", Prefer="wait=60"
        )
        assert proposed.status == 201, proposed.body
        cr_id = proposed.json()["change_request"]["cr_id"]
        done = client.send("POST", f"/api/v1/change_requests/{cr_id}/merge", {}, Prefer="wait=60")
        assert (done.status, done.json().get("status")) == (200, "succeeded"), done.body
        merged.append(cr_id)
        told = until(lambda: [one for one in hook.received if cr_id.encode() in one.body])
        assert all(is_signed(one, secret) for one in told)

    with here.worker(OLD):
        with here.web(OLD) as address:
            asked = {
                "name": "Pipeline",
                "url": hook.url,
                "format": "json",
                "actions": ["change_request.merged"],
            }
            made = Connection(address, token=token).send("POST", f"{place}/webhooks", asked)
            assert made.status == 201, made.body
            secret = made.json()["secret"]
            merge(address)
            assert is_in(browser, address)
        with here.web(BOTH) as address:  # the workers are restarted after it
            merge(address)
            assert is_in(browser, address)
    with here.worker(BOTH), here.web(BOTH) as address:
        merge(address)
        assert "sealed under it" in here.manage(BOTH, "introduce_audit_key")
        assert "1 webhooks and 1 connections" in here.manage(BOTH, "encrypt_secrets_anew")
        merge(address)
        assert is_in(browser, address)
        here.manage(BOTH, "verify_audit")
    with here.worker(AFTER), here.web(AFTER) as address:
        merge(address)
        assert is_in(browser, address), "it was signed anew when it was used"
        assert not is_in(idle, address), "the key of before is gone, and with it what it signed"
        here.manage(AFTER, "verify_audit")

    settings.ENCRYPTION_KEYS = [NEW["ENCRYPTION_KEYS"]]
    assert [row["seats"] for row in rows_of(dataset)] == [1, 2, 3, 4, 5]
    writers = (
        Event.objects.filter(action="change_request.merged").order_by("pk").values_list("key_id", flat=True)
    )
    assert list(writers) == ["before", "before", "now", "now", "now"]
