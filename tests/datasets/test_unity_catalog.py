"""Tables that Unity Catalog names: found by their names, opened with keys that it gives for a while.

The catalogue here is a server that answers as the documentation says; the store is moto, a server that speaks S3.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

import merging
from audit.models import Event
from datasets import asking, unity_catalog
from datasets.errors import Forbidden, InvalidInput, RegistrationRejected
from datasets.models import Connection, Dataset
from datasets.roles import Role
from datasets.services import connections, look_at_table, register_dataset
from datasets.services.reach import how_opened
from datasets.unity_catalog import CatalogRefuses, UnityCatalog
from merging import TableUnreachable
from tests.api.clients import client_of
from tests.factories import (
    ChangeRequestFactory,
    ProjectFactory,
    approve,
    merge,
    person_with,
    rows_of,
)
from tests.served import served
from tests.stores.far_tables import make_in_folder, put_in_store
from tests.stores.servers import server

CANARY = "dapi0123456789canary"
NAME = "main.sales.customers"
Told = dict[str, Any]


@dataclass
class Catalogue:
    """A catalogue that knows tables by their names, and gives keys to them; and what it was asked."""

    address: str = ""
    tables: dict[str, Told] = field(default_factory=dict)
    keys: Told = field(default_factory=dict)
    lives: float = 3_600
    #: What it answers instead, by the end of the path.
    instead: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)

    def __call__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        path = environ["PATH_INFO"].removeprefix("/api/2.1/unity-catalog/")
        self.asked.append((path, json.loads(body) if body else None))
        status, answer = self._answered(path, environ.get("HTTP_AUTHORIZATION"))
        start_response(
            status, [("Content-Type", "application/json"), ("Location", f"{self.address}/elsewhere")]
        )
        return [answer]

    def _answered(self, path: str, token: str | None) -> tuple[str, bytes]:
        if token != f"Bearer {CANARY}":
            return "401 Unauthorized", b'{"error_code": "UNAUTHENTICATED"}'
        for end, instead in self.instead.items():
            if path.endswith(end):
                return instead
        if path == "temporary-table-credentials":
            ends = int((time.time() + self.lives) * 1000)
            return "200 OK", json.dumps({**self.keys, "expiration_time": ends}).encode()
        table = self.tables.get(path.removeprefix("tables/"))
        missing = ("404 Not Found", b'{"error_code": "TABLE_DOES_NOT_EXIST", "message": "no"}')
        return missing if table is None else ("200 OK", json.dumps(table).encode())

    def knows(self, name: str, location: str, **more: Any) -> None:
        self.tables[name] = {
            "name": name.rpartition(".")[2],
            "table_id": str(uuid.uuid4()),
            "table_type": "EXTERNAL",
            "data_source_format": "DELTA",
            "storage_location": location,
            **more,
        }


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalogue]:
    monkeypatch.setattr(unity_catalog, "_kept", {})
    made = Catalogue()
    with served(made) as made.address:
        yield made


@pytest.fixture
def table(catalogue: Catalogue, tmp_path: Path) -> str:
    """A table in a store that opens with the catalogue's key alone."""
    options = server("s3").options
    folder, _ = make_in_folder(tmp_path, vectors=True, files=2, rows=3)
    address = put_in_store(folder, options)
    catalogue.knows(NAME, f"{address}/")
    catalogue.keys = {
        "aws_temp_credentials": {
            "access_key_id": options["AWS_ACCESS_KEY_ID"],
            "secret_access_key": options["AWS_SECRET_ACCESS_KEY"],
            "session_token": "for a while",
        }
    }
    return address


@pytest.fixture
def lake(catalogue: Catalogue, table: str, operator: User, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """The connection to that store: it has no key of its own."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    return connections.create_connection(
        actor=operator,
        name="lake",
        root="s3://tables",
        options={
            "aws_region": "us-east-1",
            "aws_endpoint_url": server("s3").options["AWS_ENDPOINT_URL"],
            "allow_http": "true",
            "unity_catalog_endpoint": catalogue.address,
        },
        secrets={"spark_connect_token": CANARY},
    )


def registered(actor: User | None, **more: Any) -> Dataset:
    project = more.pop("project", None) or ProjectFactory.create(slug="sales")
    return register_dataset(
        project=project, slug="customers", name="Customers", table_uri=f"uc://{NAME}", primary_keys=["id"],
        actor=actor, **more,
    )  # fmt: skip


def test_a_table_is_registered_and_merged_into_by_its_name(
    lake: Connection, table: str, catalogue: Catalogue, operator: User
) -> None:
    dataset = registered(operator, required_approvals=1)

    assert (dataset.table_uri, dataset.catalog_table, dataset.connection) == (table, NAME, lake)
    before = {row["id"]: row for row in rows_of(dataset)}
    owner, reviewer = person_with(Role.OWNER, dataset), person_with(Role.CONTRIBUTOR, dataset)
    request = ChangeRequestFactory.create(dataset=dataset, author=owner, csv="id,a\n1,-1\n4,-4\n")
    approve(request, reviewer)
    run = merge(request, owner)

    assert run.status == "succeeded", run.error_code
    changed = {1: {"a": -1}, 4: {"a": -4}}
    assert {row["id"]: row for row in rows_of(dataset)} == {
        key: {**row, **changed.get(key, {})} for key, row in before.items()
    }
    number = catalogue.tables[NAME]["table_id"]
    assert {path for path, _ in catalogue.asked} == {f"tables/{NAME}", "temporary-table-credentials"}
    assert all(
        body == {"table_id": number, "operation": "READ_WRITE"}
        for _, body in catalogue.asked
        if body is not None
    )
    told = Event.objects.get(action="dataset.registered").data
    assert (told["catalog_table"], told["table_uri"], told["connection"]) == (NAME, table, "lake")
    everything = repr(Event.objects.values_list("data")) + repr(Dataset.objects.values())
    assert not {CANARY, "for a while"} & set(everything.split("'"))


def test_pages_and_the_interface_take_the_name(
    lake: Connection, table: str, operator: User, client: Client
) -> None:
    client.force_login(operator)
    asked = {"where": f"uc://{NAME}", "key": "id"}
    for page in ("look_at_table", "choose_key"):
        shown = client.get(reverse(page), asked).content.decode()
        assert NAME in shown
        assert "uc%3A//main.sales.customers" in shown or f'value="uc://{NAME}"' in shown
    named = client.get(reverse("name_table"), asked).content.decode()
    assert 'value="customers"' in named
    answer = client.post(
        reverse("name_table"),
        {**asked, "name": "Customers", "slug": "customers", "new_project": "Sales", "required_approvals": 1},
    )
    assert answer.status_code == 302
    dataset = Dataset.objects.get()
    assert (dataset.table_uri, dataset.catalog_table) == (table, NAME)
    schema = client.get(reverse("dataset_schema", args=[dataset.project.slug, dataset.slug])).content.decode()
    assert NAME in schema

    api = client_of(operator)
    found = api.get(f"/api/v1/datasets/{dataset.pk}")
    assert found.json()["catalog_table"] == NAME, found.content
    again = api.post("/api/v1/tables/look", {"table_uri": f"uc://{NAME}"}, format="json")
    assert "This table is a dataset already" in again.content.decode()


def test_a_trial_asks_the_catalogue_too(lake: Connection, catalogue: Catalogue) -> None:
    catalogue.instead["catalogs"] = ("200 OK", b'{"catalogs": []}')
    trial = connections.try_connection(actor=None, name="lake")
    assert [(one.attempt, one.works) for one in trial.steps][:2] == [("name", True), ("list", False)]
    assert trial.is_usable
    catalogue.instead["catalogs"] = ("403 No", b'{"error_code": "PERMISSION_DENIED"}')
    trial = connections.try_connection(actor=None, name="lake")
    assert "tells no names: it answers 403 (PERMISSION_DENIED)." in trial.steps[0].said
    assert not trial.is_usable


def test_keys_are_asked_for_again_when_half_of_their_life_is_over(
    lake: Connection, table: str, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(None)
    now = [time.monotonic()]
    monkeypatch.setattr("datasets.unity_catalog.time.monotonic", lambda: now[0])
    unity_catalog._kept.clear()
    catalogue.asked.clear()
    asked = []
    for seconds in (0, 1_700, 200, 1_700, 200):
        now[0] += seconds
        opened = how_opened(table)
        asked.append(sum(path == "temporary-table-credentials" for path, _ in catalogue.asked))
    assert asked == [1, 1, 2, 2, 3]
    assert opened == {
        "aws_region": "us-east-1",
        "aws_endpoint_url": lake.options["aws_endpoint_url"],
        "allow_http": "true",
        "aws_access_key_id": "key",
        "aws_secret_access_key": "secret",
        "aws_session_token": "for a while",
    }
    connections.change_connection(
        actor=None, name="lake", changes={"secrets": {"spark_connect_token": "other"}}
    )
    with pytest.raises(TableUnreachable, match=r"it answers 401 \(UNAUTHENTICATED\)"):
        how_opened(table)


def test_what_lies_elsewhere_now_is_not_opened(lake: Connection, table: str, catalogue: Catalogue) -> None:
    """Somebody may make another table of that name: nothing is merged into it unseen."""
    dataset = registered(None)
    unity_catalog._kept.clear()
    for place in ("s3://tables/another", "r2://bucket/x"):
        catalogue.knows(NAME, place)
        with pytest.raises(TableUnreachable, match="lies at another place than it did") as failed:
            merging.inspect_table(dataset.table_uri)
        assert not failed.value.retriable
    del catalogue.tables[NAME]
    with pytest.raises(TableUnreachable, match=r"There is no table main\.sales\.customers in"):
        merging.inspect_table(dataset.table_uri)
    connections.change_connection(
        actor=None,
        name="lake",
        changes={
            "options": {k: v for k, v in lake.options.items() if k != "unity_catalog_endpoint"},
            "secrets": {"spark_connect_token": CANARY},
        },
    )
    with pytest.raises(TableUnreachable, match="has no unity_catalog_endpoint any more"):
        merging.inspect_table(dataset.table_uri)


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("uc://main.sales", "Names of a catalogue are written uc://catalog.schema.table."),
        ("uc://main.sales.a/b", "Names of a catalogue are written"),
        ("uc://main.sales.other", "There is no table main.sales.other in localhost:"),
        ("uc://main.sales.view", "main.sales.view is no Delta table with files of its own"),
        (
            "uc://main.sales.away",
            "lies outside of the root of the connection lake.",
        ),
        ("uc://main.sales.odd", "lies outside of the root of the connection lake."),
        ("uc://main.sales.down", "it answers 503 (TEMPORARILY_UNAVAILABLE)"),
        (
            "uc://main.sales.mine",
            "gives no key to write to main.sales.mine: it answers 403 (PERMISSION_DENIED)",
        ),
    ],
)
def test_names_that_lead_nowhere_are_told(
    lake: Connection, catalogue: Catalogue, operator: User, written: str, sentence: str
) -> None:
    catalogue.knows("main.sales.view", "", data_source_format=None, storage_location=None)
    catalogue.knows("main.sales.away", "s3://elsewhere/x")
    catalogue.knows("main.sales.odd", "r2://bucket/x")
    catalogue.instead["down"] = ("503 Down", b'{"error_code": "TEMPORARILY_UNAVAILABLE"}')
    if "mine" in written:
        catalogue.knows("main.sales.mine", "s3://tables/mine")
        catalogue.instead["credentials"] = ("403 No", b'{"error_code": "PERMISSION_DENIED"}')
    with pytest.raises((InvalidInput, RegistrationRejected)) as refused:
        look_at_table(table_uri=written, actor=operator)
    assert sentence in refused.value.message
    assert refused.value.data["errors"]["table_uri"] == [refused.value.message]


def test_a_catalogue_that_is_away_hides_no_other(lake: Connection, table: str, operator: User) -> None:
    connections.create_connection(
        actor=operator,
        name="a-first",
        root="s3://other",
        options={"unity_catalog_endpoint": "http://localhost:9", "allow_http": "true"},
    )
    assert look_at_table(table_uri=f"uc://{NAME}", actor=operator).address == table
    with pytest.raises(InvalidInput, match="localhost:9 cannot be reached"):
        look_at_table(table_uri="uc://main.sales.other", actor=operator)


def test_owners_name_what_connections_let_their_project_use(
    lake: Connection, table: str, operator: User
) -> None:
    """Nobody learns from a catalogue of what their project has no way to."""
    project = ProjectFactory.create(slug="sales")
    owner = person_with(Role.OWNER, project)
    with pytest.raises(InvalidInput, match="No connection that you may use has a catalogue"):
        registered(owner, project=project)
    connections.allow_prefix(actor=operator, name="lake", project="sales", path="gold")
    with pytest.raises(Forbidden, match="where connections let their project"):
        registered(owner, project=project)
    connections.allow_prefix(actor=operator, name="lake", project="sales", path="")
    assert registered(owner, project=project).table_uri == table


@pytest.mark.parametrize(
    ("kind", "keys", "opened"),
    [
        ("azure", {"azure_user_delegation_sas": {"sas_token": "sv=1"}}, {"azure_storage_sas_key": "sv=1"}),
        ("gcs", {"gcp_oauth_token": {"oauth_token": "ya29"}}, {"google_oauth_token": "ya29"}),
        ("local", {}, {}),
        ("azure", {"aws_temp_credentials": {"access_key_id": "a"}}, "azure_user_delegation_sas is missing"),
        ("s3", {"aws_temp_credentials": {"access_key_id": "a"}}, "aws_temp_credentials is missing"),
        ("s3", {"aws_temp_credentials": ["a"]}, "aws_temp_credentials is missing"),
        (
            "s3",
            {
                "aws_temp_credentials": {
                    "access_key_id": "a", "secret_access_key": "b", "session_token": "c", "access_point": "arn:x",
                }
            },
            "access point of S3",
        ),
    ],
)  # fmt: skip
def test_each_store_has_a_key_of_its_kind(
    catalogue: Catalogue, kind: str, keys: Told, opened: Mapping[str, str] | str
) -> None:
    catalogue.keys = keys
    catalogue.knows(NAME, "abfss://c@a.dfs.core.windows.net/t")
    asked = UnityCatalog(catalogue.address, lambda: CANARY)
    table = asked.table(NAME)
    assert table is not None
    if isinstance(opened, str):
        with pytest.raises(CatalogRefuses, match=opened) as refused:
            asked.key_of(table, kind)
        assert not refused.value.retriable
    else:
        assert asked.key_of(table, kind)[0] == opened


@pytest.mark.parametrize(
    ("status", "answer", "sentence", "retriable"),
    [
        ("302 Found", b"", "it answers 302", False),
        ("200 OK", b"<html>", "is no Delta table", False),
        ("200 OK", b"[" * 100_000, "is no Delta table", False),
        ("429 Slowly", b"{}", "it answers 429", True),
        ("200 OK", b"x" * (17 << 20), "cannot be reached", True),
    ],
)
def test_strange_answers_are_told(
    catalogue: Catalogue, status: str, answer: bytes, sentence: str, retriable: bool
) -> None:
    catalogue.instead["customers"] = (status, answer)
    with pytest.raises(CatalogRefuses, match=sentence) as refused:
        UnityCatalog(catalogue.address, lambda: CANARY).table(NAME)
    assert refused.value.retriable is retriable
    assert len(catalogue.asked) == 1, "nobody is followed elsewhere with a token"
    assert CANARY not in str(refused.value)


@pytest.mark.django_db
def test_where_a_cloud_tells_machines_who_they_are_no_token_goes() -> None:
    with pytest.raises(CatalogRefuses, match="tells machines who they are"):
        UnityCatalog("http://169.254.169.254", lambda: CANARY).table(NAME)
    with pytest.raises(InvalidInput, match="unity_catalog_endpoint is where a cloud tells machines"):
        connections.create_connection(
            actor=None, name="x", root="s3://x", options={"unity_catalog_endpoint": "https://169.254.169.254"}
        )


def test_a_catalogue_that_never_ends_its_answer_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "SECONDS", 1.0)

    def dripping(_: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "600")])
        for _second in range(20):
            yield b" "
            time.sleep(0.2)

    with served(dripping) as address:
        began = time.monotonic()
        with pytest.raises(CatalogRefuses, match="cannot be reached"):
            UnityCatalog(address, lambda: CANARY).table(NAME)
        assert time.monotonic() - began < 3
