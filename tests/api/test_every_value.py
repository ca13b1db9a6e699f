"""What the API gives out is what it takes: keys, choices, filters, histories and comments, whatever the type."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
import pytest
from django.test import Client
from rest_framework.test import APIClient

import merging
from changerequests.models import ChangeRequest, ConflictResolution
from changerequests.services import proposals, staging
from datasets.models import Dataset
from datasets.roles import Role
from merging.sql.values import arrow_values, json_form, text_form
from tests.api.clients import client_of, problem
from tests.factories import ChangeRequestFactory, DatasetFactory, merge, person_with
from tests.merging.border_values import BORDERS, NAMES

pytestmark = pytest.mark.django_db

SCHEMA = pa.schema([("k", pa.string()), ("d", pa.date32()), *((name, BORDERS[name].type) for name in NAMES)])
KEY = {"k": "a\x00b", "d": merging.FarDate(3663442)}


def row_at(number: int) -> dict[str, Any]:
    return {**KEY, **{name: BORDERS[name].values[number % len(BORDERS[name].values)] for name in NAMES}}


@pytest.fixture
def dataset() -> Dataset:
    data = pa.Table.from_arrays([arrow_values([row_at(0)[f.name]], f.type) for f in SCHEMA], schema=SCHEMA)
    made: Dataset = DatasetFactory.create(data=data, primary_keys=("k", "d"))
    return made


def proposed(dataset: Dataset, row: dict[str, Any]) -> ChangeRequest:
    """A pending request with one row that came as JSON lines."""
    made = ChangeRequestFactory.create(dataset=dataset, csv=None, status="draft")
    path = Path(dataset.table_uri).parent / f"{made.cr_id}.jsonl"
    path.write_text(json.dumps(json_form(row), allow_nan=False) + "\n")
    staging.stage_at_once(change_request_id=made.pk, actor=made.author, path=path)
    proposals.submit(change_request_id=made.pk, actor=made.author)
    made.refresh_from_db()
    return made


def address(dataset: Dataset, rest: str = "", **query: str) -> str:
    return f"/api/v1/datasets/{dataset.pk}{rest}?{urlencode(query)}"


def rows_in(client: APIClient, dataset: Dataset, **query: str) -> list[dict[str, Any]]:
    answer = client.get(address(dataset, "/rows", **query))
    assert answer.status_code == 200, answer.content
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def test_fd12_fd15_fd16_choices_histories_and_pages_of_every_type(dataset: Dataset, client: Client) -> None:
    ours = proposed(dataset, row_at(1))
    merge(proposed(dataset, {**KEY, **dict.fromkeys(NAMES)}), person_with(Role.OWNER, dataset))
    api = client_of(ours.author)
    conflicts = api.get(f"/api/v1/change_requests/{ours.cr_id}/conflicts").json()["results"]
    assert {one["column"] for one in conflicts} == {n for n in NAMES if len(BORDERS[n].values) > 1}
    assert {json.dumps(one["key"]) for one in conflicts} == {json.dumps(json_form(KEY))}

    wanted = json_form(row_at(2))
    answer = api.post(
        f"/api/v1/change_requests/{ours.cr_id}/conflicts",
        {
            "resolutions": [
                {name: one[name] for name in ("key", "column", "inputs_digest")}
                | {"choice": "custom", "value": wanted[one["column"]]}
                for one in conflicts
            ]
        },
        format="json",
    )
    assert (answer.status_code, answer.json()) == (200, {"unresolved": 0})
    chosen = api.get(f"/api/v1/change_requests/{ours.cr_id}/conflicts").json()["results"]
    assert {one["column"]: one["value"] for one in chosen} == {
        one["column"]: wanted[one["column"]] for one in conflicts
    }

    client.force_login(ours.author)
    assert client.get(f"/change-requests/{ours.cr_id}/conflicts/").status_code == 200
    merge(ours, person_with(Role.OWNER, dataset))
    decided = {one["column"] for one in conflicts}
    expected = json_form(KEY) | {name: wanted[name] if name in decided else None for name in NAMES}
    assert rows_in(api, dataset) == [expected]
    assert rows_in(api, dataset, filter=f"k:=:{KEY['k']}") == [expected]
    assert rows_in(api, dataset, filter=f"d:=:{text_form(KEY['d'])}") == [expected]

    history = api.get(address(dataset, "/rows/history", key=json.dumps(json_form(KEY))))
    assert (history.status_code, history.json()["current"]) == (200, expected)
    assert [one["operation"] for one in history.json()["changes"]] == ["update", "update"]
    diff = api.get(f"/api/v1/change_requests/{ours.cr_id}/diff").json()["results"]
    assert {cell["column"]: cell["proposed"] for cell in diff[0]["cells"]} == {
        name: wanted[name] for name in decided
    }
    for page in ("", f"?column=d&value={text_form(KEY['d'])}", "?sort=-timestamp"):
        assert client.get(f"/datasets/{dataset.project.slug}/{dataset.slug}/{page}").status_code == 200
    written = api.post(
        f"/api/v1/change_requests/{ours.cr_id}/comments",
        {"body": "Why?", "row_key": json_form(KEY), "column": "d"},
        format="json",
    )
    assert (written.status_code, written.json()["row_key"]) == (201, json_form(KEY))


@pytest.fixture
def conflicting() -> ChangeRequest:
    """The same two columns of two rows in conflict."""
    schema = pa.schema(
        [("id", pa.int64()), ("n", pa.int64()), ("d", pa.decimal128(38, 12)), ("x", pa.float64())]
    )
    data = pa.table({"id": [1, 2], "n": [0, 0], "d": [0, 0], "x": [0.0, 0.0]}).cast(schema)
    made: Dataset = DatasetFactory.create(data=data, primary_keys=("id",))
    ours: ChangeRequest = ChangeRequestFactory.create(dataset=made, csv="id,n,d,x\n1,1,1,1\n2,1,1,1\n")
    faster = ChangeRequestFactory.create(dataset=made, csv="id,n,d,x\n1,2,2,2\n2,2,2,2\n")
    merge(faster, person_with(Role.OWNER, made))
    return ours


def listed(change_request: ChangeRequest) -> dict[tuple[int, str], dict[str, Any]]:
    found = client_of(change_request.author).get(f"/api/v1/change_requests/{change_request.cr_id}/conflicts")
    return {(one["key"]["id"], one["column"]): one for one in found.json()["results"]}


def choose(change_request: ChangeRequest, raw: str) -> Any:
    return client_of(change_request.author).post(
        f"/api/v1/change_requests/{change_request.cr_id}/conflicts", raw, content_type="application/json"
    )


@pytest.mark.sample(3)
@pytest.mark.sample(5)
@pytest.mark.parametrize(
    ("column", "number", "kept"),
    [
        ("n", "9007199254740993.0", 9007199254740993),
        ("n", "9223372036854775807", 9223372036854775807),
        ("n", "1e3", 1000),
        ("d", "1234567890.123456789012", "1234567890.123456789012"),
        ("d", '"1E-12"', "0.000000000001"),
        ("d", "99999999999999999999999999.999999999999", "99999999999999999999999999.999999999999"),
        ("x", "1e23", 1e23),
        ("x", "5e-324", 5e-324),
        ("x", '"NaN"', "NaN"),
    ],
)
def test_fd16_numbers_in_choices_are_exact(
    conflicting: ChangeRequest, column: str, number: str, kept: Any
) -> None:
    digest = listed(conflicting)[1, column]["inputs_digest"]
    answer = choose(
        conflicting,
        f'{{"resolutions": [{{"key": {{"id": 1}}, "column": "{column}", "choice": "custom", '
        f'"value": {number}, "inputs_digest": "{digest}"}}]}}',
    )
    assert answer.status_code == 200, answer.content
    assert listed(conflicting)[1, column]["value"] == kept


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("column", "number"),
    [
        ("n", "9223372036854775808"),
        ("n", "0.5"),
        ("n", "1e400"),
        ("d", "0.1234567890123"),
        ("d", '"1.5E-12"'),
        ("x", "1e400"),
        ("x", "9007199254740993"),
        ("x", '"\\ud800"'),
    ],
)
def test_fd16_what_does_not_fit_is_refused(conflicting: ChangeRequest, column: str, number: str) -> None:
    digest = listed(conflicting)[1, column]["inputs_digest"]
    answer = choose(
        conflicting,
        f'{{"resolutions": [{{"key": {{"id": 1}}, "column": "{column}", "choice": "custom", '
        f'"value": {number}, "inputs_digest": "{digest}"}}]}}',
    )
    assert problem(answer) == (422, "invalid")
    assert ConflictResolution.objects.count() == 0


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "mixed",
    [
        {"key": {"id": 2}},
        {"key": {"id": "2"}},
        {"key": {}},
        {"key": {"id": None}},
        {"key": {"id": 1, "n": 0}},
        {"key": {"other": 1}},
    ],
)
def test_fd17_key_and_digest_belong_together(conflicting: ChangeRequest, mixed: dict[str, Any]) -> None:
    one = listed(conflicting)[1, "n"]
    given = {name: one[name] for name in ("key", "column", "inputs_digest")} | {"choice": "proposed"} | mixed
    answer = choose(conflicting, json.dumps({"resolutions": [given]}))
    assert problem(answer) == (422, "invalid")
    assert ConflictResolution.objects.count() == 0


def test_fd17_column_and_digest_belong_together(conflicting: ChangeRequest) -> None:
    one = listed(conflicting)[1, "n"]
    given = {"key": one["key"], "column": "d", "inputs_digest": one["inputs_digest"], "choice": "proposed"}
    assert problem(choose(conflicting, json.dumps({"resolutions": [given]}))) == (409, "plan_changed")
    assert ConflictResolution.objects.count() == 0


def test_fd17_a_choice_without_a_key_is_told_what_moved(conflicting: ChangeRequest) -> None:
    """Conflicts of the schema have no row."""
    given = {"key": {}, "column": "n", "inputs_digest": "0" * 64, "choice": "current"}
    answer = choose(conflicting, json.dumps({"resolutions": [given]}))
    assert problem(answer) == (409, "plan_changed")
    assert answer.json()["message"] == (
        "The values of n moved since you looked at them. Look again, then choose."
    )


@pytest.mark.parametrize(
    "place",
    [
        {"row_key": {"id": "one"}},
        {"row_key": {"n": 1}},
        {"row_key": {"id": 1, "n": 1}},
        {"row_key": {"id": 1}, "column": "none"},
    ],
)
def test_fd17_comments_stand_on_cells_that_there_are(
    conflicting: ChangeRequest, place: dict[str, Any]
) -> None:
    answer = client_of(conflicting.author).post(
        f"/api/v1/change_requests/{conflicting.cr_id}/comments", {"body": "Why?"} | place, format="json"
    )
    assert problem(answer) == (422, "invalid")
    assert conflicting.comments.count() == 0
