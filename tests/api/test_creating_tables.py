"""``POST /datasets`` with a schema: a table that was not there, its first rows, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from django.contrib.auth.models import User

from audit.selectors import events_of
from datasets.models import Dataset, Project
from datasets.operators import make_operator
from datasets.roles import Role
from tests.api.clients import client_of, problem
from tests.factories import (
    ChangeRequestFactory,
    DatasetFactory,
    ProjectFactory,
    UserFactory,
    fresh,
    merge,
    person_with,
    rows_of,
)

pytestmark = pytest.mark.django_db
COLUMNS: list[dict[str, Any]] = [
    {"name": "id", "type": "long"},
    {"name": "region", "type": "string", "nullable": False},
    {"name": "price", "type": "decimal(10,2)"},
    {"name": "größe", "type": "double"},
    {"name": "sold", "type": "date"},
    {"name": "seen", "type": "timestamp"},
    {"name": "raw", "type": "binary"},
]


@pytest.fixture
def project() -> Project:
    made: Project = ProjectFactory.create(slug="sales", name="Sales")
    return made


@pytest.fixture
def owner(project: Project) -> User:
    return person_with(Role.OWNER, project)


def body(**changes: Any) -> dict[str, Any]:
    wanted = {
        "project": "sales",
        "slug": "orders",
        "name": "Orders",
        "primary_keys": ["id"],
        "schema": {"columns": COLUMNS, "partition_by": ["region"]},
    }
    return {**wanted, **changes}


def test_a_table_is_made_and_takes_its_first_rows(owner: User, delta_data_root: Path) -> None:
    client = client_of(owner)

    made = client.post("/api/v1/datasets", body(required_approvals=0))

    assert made.status_code == 201, made.content
    assert client.get(made.headers["Location"]).json() == made.json()
    place = delta_data_root / "tables" / "sales" / "orders"
    assert made.json()["table_uri"] == str(place)
    assert (made.json()["meta"]["row_count"], made.json()["meta"]["partition_columns"]) == (0, ["region"])
    fields = {
        one["name"]: (one["type"], one["nullable"]) for one in made.json()["meta"]["schema_json"]["fields"]
    }
    assert fields["id"] == ("long", False)
    assert fields["region"] == ("string", False)
    assert fields["größe"] == ("double", True)
    assert [one["type"] for one in made.json()["meta"]["schema_json"]["fields"]] == [
        c["type"] for c in COLUMNS
    ]
    dataset = Dataset.objects.get(slug="orders")
    [event] = events_of("dataset", str(dataset.pk))
    assert (event.action, event.data["table_created"], event.data["delta_version"]) == (
        "dataset.registered",
        True,
        0,
    )

    first = ChangeRequestFactory.create(
        dataset=dataset, author=owner, csv="id,region,price\n1,north,1.50\n2,south,2.00\n"
    )
    merge(first, owner)
    assert [(row["id"], row["region"], str(row["price"])) for row in rows_of(dataset)] == [
        (1, "north", "1.50"),
        (2, "south", "2.00"),
    ]
    others = DeltaTable(str(place)).metadata()
    assert (others.name, others.partition_columns) == ("Orders", ["region"])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"schema": {"columns": []}}, "schema.columns"),
        ({"schema": {"columns": [{"name": "id", "type": "text"}]}}, "schema.columns[0].type"),
        ({"schema": {"columns": [{"name": "id", "type": "decimal(39,2)"}]}}, "schema.columns[0].type"),
        ({"schema": {"columns": [*COLUMNS, {"name": "ID", "type": "long"}]}}, "schema.columns[7].name"),
        ({"schema": {"columns": [*COLUMNS, {"name": "id", "type": "long"}]}}, "schema.columns[7].name"),
        # Python has one object for all equal texts of one letter, and may have for others.
        ({"schema": {"columns": [*COLUMNS, *[{"name": "x", "type": "long"}] * 2]}}, "schema.columns[8].name"),
        ({"schema": {"columns": [*COLUMNS, {"name": "a b", "type": "long"}]}}, "schema.columns[7].name"),
        (
            {"schema": {"columns": [*COLUMNS, {"name": "_change_type", "type": "long"}]}},
            "schema.columns[7].name",
        ),
        ({"schema": {"columns": COLUMNS, "partition_by": ["nothing"]}}, "schema.partition_by[0]"),
        ({"schema": {"columns": COLUMNS, "partition_by": ["raw"]}}, "schema.partition_by[0]"),
        ({"schema": {"columns": COLUMNS[:1], "partition_by": ["id"]}}, "schema.partition_by"),
        ({"schema": {"columns": COLUMNS, "partitions": []}}, "schema.partitions"),
        ({"primary_keys": ["größe"]}, "primary_keys"),
        ({"primary_keys": ["nothing"]}, "primary_keys"),
        ({"primary_keys": ["id", "id"]}, "primary_keys"),
        ({"slug": "Orders!"}, "slug"),
    ],
)
def test_what_is_not_possible_is_named_by_its_place(
    owner: User, delta_data_root: Path, changes: dict[str, Any], field: str
) -> None:
    answer = client_of(owner).post("/api/v1/datasets", body(**changes))
    assert problem(answer) == (422, "invalid")
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert not (delta_data_root / "tables" / "sales").exists()
    assert Dataset.objects.count() == 0


def test_neither_table_nor_schema(owner: User) -> None:
    wanted = body()
    del wanted["schema"]
    answer = client_of(owner).post("/api/v1/datasets", wanted)
    assert [error["field"] for error in answer.json()["errors"]] == ["table_uri"]


def test_where_something_is_nothing_is_made(owner: User, project: Project, delta_data_root: Path) -> None:
    there: Dataset = DatasetFactory.create(project=project)
    client, before = client_of(owner), sorted(Path(delta_data_root).rglob("*"))
    for address in (there.table_uri, f"{there.table_uri}/inside", str(Path(there.table_uri).parent)):
        answer = client.post("/api/v1/datasets", body(table_uri=address))
        assert problem(answer) == (422, "invalid"), address
    assert sorted(Path(delta_data_root).rglob("*")) == before
    assert Dataset.objects.count() == 1


def test_owners_make_tables_below_the_data_folder_and_operators_anywhere(
    owner: User, delta_data_root: Path, tmp_path: Path
) -> None:
    elsewhere = str(tmp_path / "elsewhere")
    for address in (elsewhere, str(delta_data_root / "audit" / "x"), str(delta_data_root)):
        refused = client_of(owner).post("/api/v1/datasets", body(table_uri=address))
        assert problem(refused) == (403, "forbidden")
    assert not Path(elsewhere).exists()
    operator = UserFactory.create()
    make_operator(operator)
    made = client_of(fresh(operator)).post("/api/v1/datasets", body(table_uri=elsewhere))
    assert (made.status_code, made.json()["role"]) == (201, "none")
    assert made.json()["table_uri"] == elsewhere


def test_the_same_call_again_makes_one(owner: User) -> None:
    client = client_of(owner)
    first, again = (
        client.post("/api/v1/datasets", body(), headers={"idempotency-key": "orders-1"}) for _ in range(2)
    )
    assert (first.status_code, again.json()) == (201, first.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    other = client.post("/api/v1/datasets", body())
    assert problem(other) == (422, "invalid")
    assert Dataset.objects.count() == 1
