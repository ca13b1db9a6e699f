"""A secret that is given to a connection comes out of no door: each is driven with a canary, and its output read."""

import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection as database
from django.test import Client
from django.urls import reverse

from audit.export import ExportFilter, export_lines
from datasets.errors import InvalidInput
from datasets.models import Connection, Dataset
from datasets.roles import Role
from datasets.services import connections, create_dataset, look_into, register_dataset, roots
from datasets.services.creation import NewColumn, NewTable
from tests.api.clients import token_of
from tests.factories import DatasetFactory, ProjectFactory, person_with
from tests.merging.stores import s3_server

pytestmark = pytest.mark.django_db

CANARY = "canaryK7MDENG/bPxRfiCY+EXAMPLE"
KEY_ID = "AKIACANARY00000EXAMPLE"
KEYS = {"aws_access_key_id": KEY_ID, "aws_secret_access_key": CANARY}


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[list[str]]:
    """What was said; at the end, with logs, output and everything in the database, it is searched for the canary."""
    caplog.set_level(logging.INFO)
    said: list[str] = []
    yield said
    said += [caplog.text, *capfd.readouterr(), *kept_in_the_database(), *export_lines(ExportFilter())]
    for text in said:
        assert "canaryK7MDENG" not in text
        assert KEY_ID not in text


def kept_in_the_database() -> Iterator[str]:
    with database.cursor() as cursor:
        for table in database.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {database.ops.quote_name(table)}")
            yield repr(cursor.fetchall())


def test_a_table_on_s3_through_every_door(operator: User, heard: list[str]) -> None:
    project = ProjectFactory.create(slug="fleet")
    owner = person_with(Role.OWNER, project)
    with s3_server() as store:
        options = {
            "aws_region": "us-east-1",
            "aws_endpoint_url": store["AWS_ENDPOINT_URL"],
            "allow_http": "true",
        }
        api = Api(operator, heard)
        made = {"name": "lake", "root": "S3A://Tables//lake/", "options": options, "secrets": KEYS}
        assert api.call("post", "connections", made) == 201
        assert api.call("get", "connections") == api.call("get", "connections/lake") == 200
        assert api.call("post", "connections/lake/try") == 200
        assert api.last["is_usable"], api.last
        assert api.last["steps"][0]["said"] == "List what is there: works."
        assert api.call("post", "connections/lake/prefixes", {"project": "fleet", "path": "gold"}) == 201
        client = page(operator)
        for address in (
            reverse("operations_connections"),
            reverse("connection", args=["lake"]),
            reverse("admin:datasets_connection_changelist"),
            reverse("admin:datasets_connection_change", args=[Connection.objects.get().pk]),
        ):
            answer = client.get(address)
            assert answer.status_code == 200
            heard.append(answer.content.decode())
        heard.append(client.post(reverse("try_connection", args=["lake"])).content.decode())
        assert "Put a new file: works." in heard[-1]
        table = NewTable([NewColumn("id", "long", False, "")])
        dataset = create_dataset(
            project=project,
            slug="planes",
            name="Planes",
            table=table,
            primary_keys=["id"],
            actor=owner,
            table_uri="s3://tables/lake/gold/planes",
        )
        assert (dataset.connection, dataset.meta.row_count) == (Connection.objects.get(), 0)
        assert {"s3://tables/lake/gold"} < {one.address for one in roots(owner)}
        [found] = look_into(owner, "S3://tables/lake/gold/").places
        assert (found.name, found.kind, found.dataset) == ("planes", "dataset", dataset)
        for outside in ("s3://tables/lake", "s3://tables/lake/gold/planes", "s3://tables/other"):
            with pytest.raises(InvalidInput):
                look_into(owner, outside)
        looker = page(owner)
        heard.append(looker.get(reverse("add_table"), {"inside": "s3://tables/lake/gold"}).content.decode())
        assert "is the dataset Planes" in heard[-1]
        heard.append(looker.get(reverse("dataset", args=["fleet", "planes"])).content.decode())
        assert "cannot be reached" not in heard[-1]
        heard.append(said_by("list"))
        heard.append(said_by("test", "lake"))
        elsewhere = {**options, "aws_endpoint_url": "http://127.0.0.1:1"}
        assert api.call("patch", "connections/lake", {"options": elsewhere}) == 422
        assert api.call("patch", "connections/lake", {"options": elsewhere, "secrets": KEYS}) == 200
        assert api.call("post", "connections/lake/try") == 200
        assert not api.last["is_usable"]
        assert "cannot be connected to" in api.last["steps"][0]["said"]
        heard.append(looker.get(reverse("dataset", args=["fleet", "planes"])).content.decode())
        with pytest.raises(CommandError):
            said_by("test", "lake")


def test_what_is_refused_is_not_repeated(operator: User, heard: list[str]) -> None:
    dataset = DatasetFactory.create(slug="planes")
    api, client = Api(operator, heard), page(operator)
    secret = f"s3://{KEY_ID}:{CANARY}@lake/x"
    signed = f"https://acc.blob.core.windows.net/c/x?sv=1&sig={CANARY}"
    for address in (secret, signed):
        new = {"project": dataset.project.slug, "slug": "x", "name": "x", "primary_keys": ["id"]}
        assert api.call("post", "connections", {"name": "lake", "root": address}) == 422
        assert api.call("post", "tables/look", {"table_uri": address}) == 422
        assert api.call("post", "datasets", {**new, "table_uri": address}) == 422
        looked = client.get(reverse("look_at_table"), {"where": address}, follow=True)
        heard.append(looked.content.decode())
        assert "not taken" in heard[-1]
        form = {"name": "lake", "root": address}
        heard.append(client.post(reverse("operations_connections"), form).content.decode())
        assert "not taken" in heard[-1]
        with pytest.raises(CommandError) as refused:
            call_command("register_dataset", address, "--project", dataset.project.slug, "--key", "id")
        heard.append(str(refused.value))
        with pytest.raises(CommandError) as refused:
            said_by("create", "lake", "--root", address)
        heard.append(str(refused.value))
    for wrong in (
        {"options": {"aws_secret_access_key": CANARY}},
        {"secrets": {"no_such_secret": CANARY}},
        {"options": {"aws_endpoint_url": f"https://user:{CANARY}@store"}},
        {"references": {"aws_secret_access_key": CANARY}},
    ):
        assert api.call("post", "connections", {"name": "lake", "root": "s3://lake", **wrong}) == 422
    connections.create_connection(actor=None, name="lake", root="s3://lake")
    sent = {"name": "no good name", "root": "s3://lake", "secret-aws_secret_access_key": CANARY}
    heard.append(client.post(reverse("connection", args=["lake"]), sent).content.decode())
    assert "Use small letters" in heard[-1]
    signed_out = Client().post(reverse("connection", args=["lake"]), sent, follow=True)
    heard.append(signed_out.content.decode())
    assert not Connection.objects.get().sealed
    assert Dataset.objects.count() == 1


def test_a_key_that_cannot_be_read_is_a_state_with_words(
    operator: User, heard: list[str], settings: Any
) -> None:
    connections.create_connection(actor=None, name="lake", root="s3://lake", secrets=KEYS)
    settings.ENCRYPTION_KEYS, settings.SECRET_KEY = ["a key that is not the one of before"], "another"
    trial = connections.try_connection(actor=operator, name="lake")
    heard += [one.said for one in trial.steps]
    assert "not among ENCRYPTION_KEYS" in heard[0]
    with pytest.raises(Exception, match="not among ENCRYPTION_KEYS"):
        register_dataset(
            project=ProjectFactory.create(), slug="x", name="x", table_uri="s3://lake/x", primary_keys=["id"]
        )


class Api:
    """Calls with a token, whose answers are heard."""

    def __init__(self, user: User, heard: list[str]) -> None:
        self.headers = {"Authorization": f"Token {token_of(user)}"}
        self.client, self.heard = Client(), heard
        self.last: Any = {}

    def call(self, method: str, address: str, body: Any = None) -> int:
        answer = getattr(self.client, method)(
            f"/api/v1/{address}", body, content_type="application/json", headers=self.headers
        )
        self.heard.append(answer.content.decode() + str(answer.headers))
        self.last = answer.json() if answer.content else {}
        return int(answer.status_code)


def page(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def said_by(*arguments: str) -> str:
    out = io.StringIO()
    call_command("connection", *arguments, stdout=out)
    return out.getvalue()
