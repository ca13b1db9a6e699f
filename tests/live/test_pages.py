"""Places in lists and tables that somebody made up, and versions whose files are gone."""

import base64
import json
import math
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from django.contrib.auth.models import User

from datasets.models import Dataset
from datasets.roles import Role
from datasets.services import reconcile
from tests.factories import DatasetFactory, give_role
from tests.live.server import Connection

FORGED = [
    "x",
    "%00",
    "%F0%9F%98%80",
    "9" * 40,
    base64.b64encode(b"o=" + b"9" * 30).decode(),
    base64.b64encode(b"p=1&o=-1&r=1").decode(),
    base64.b64encode(b"p=\xff").decode(),
    base64.b64encode(b"[" * 10_000).decode(),
    *(
        base64.urlsafe_b64encode(json.dumps(value).encode()).decode()
        for value in (
            None,
            True,
            {},
            [],
            [None],
            ["x"],
            [1, 2, 3],
            ["N1", "N1"],
            [["x"]],
            [{"a": 1}],
            ["NaN"],
            ["\ud800"],
            ["\x00"],
            [10**400],
            {"key": ["N1"]},
        )
    ),
]

ODD = pa.table(
    {
        "tailnum": pa.array(["N1", "N2", "N3", "N4"]),
        "m": pa.array(
            [[("a", math.nan)], [("b", 1.0)], None, [("a", 2.0)]], pa.map_(pa.string(), pa.float64())
        ),
        "l": pa.array([[1.0, math.nan], [], None, [3.0]], pa.list_(pa.float64())),
        "s": pa.array([{"a": math.nan}, {"a": 1.0}, None, {"a": None}], pa.struct([("a", pa.float64())])),
        "f": pa.array([math.nan, 1.0, None, -math.inf]),
        "b": pa.array([b"\x00\xff", b"", None, b"a"], pa.binary()),
    }
)


@pytest.fixture(scope="module")
def odd(owner: User, live_root: Path, settings_root: None) -> Dataset:
    made: Dataset = DatasetFactory.create(data=ODD)
    give_role(owner, made, Role.OWNER)
    return made


@pytest.mark.parametrize(
    "place",
    [
        "/api/v1/projects",
        "/api/v1/datasets",
        "/api/v1/change_requests",
        "/api/v1/runs",
        "/api/v1/change_requests/{cr_id}/events",
        "/api/v1/change_requests/{cr_id}/reviews",
        "/api/v1/change_requests/{cr_id}/comments",
        "/api/v1/change_requests/{cr_id}/revisions",
        "/api/v1/change_requests/{cr_id}/diff",
        "/api/v1/change_requests/{cr_id}/conflicts",
        "/api/v1/datasets/{dataset_id}/rows",
        "/api/v1/datasets/{dataset_id}/suite/versions",
    ],
)
def test_fh5_forged_cursors(client: Connection, known: dict[str, str], place: str) -> None:
    answered = {cursor: client.call("GET", f"{place.format_map(known)}?cursor={cursor}") for cursor in FORGED}
    wrong = {cursor[:60]: got.status for cursor, got in answered.items() if got.status not in (200, 422)}
    assert wrong == {}
    assert answered["x"].status == 422


@pytest.mark.parametrize("column", ODD.schema.names)
@pytest.mark.parametrize("descending", ["true", "false"])
def test_fh5_every_column_can_order_or_says_that_it_cannot(
    client: Connection, odd: Dataset, column: str, descending: str
) -> None:
    place = f"/api/v1/datasets/{odd.pk}/rows?order_by={column}&descending={descending}&limit=1"
    seen, following = [], place
    while following:
        answer = client.call("GET", following)
        assert answer.status == 200, answer.body
        seen += [row["tailnum"] for row in answer.json()["results"]]
        following = (answer.json()["next"] or "").removeprefix(client.address)
    assert sorted(seen) == ["N1", "N2", "N3", "N4"]


def test_fh5_a_version_whose_files_are_gone(client: Connection, odd: Dataset) -> None:
    table = Path(odd.table_uri)
    before = client.call("GET", f"/api/v1/datasets/{odd.pk}/rows?version=0")
    assert before.status == 200
    missing = client.call("GET", f"/api/v1/datasets/{odd.pk}/rows?version=99")
    assert (missing.status, missing.code) == (422, "table_not_found")
    files = list(table.glob("*.parquet"))
    write_deltalake(odd.table_uri, ODD, mode="overwrite")
    reconcile(dataset_id=odd.pk)
    for file in files:
        file.unlink()
    gone = client.call("GET", f"/api/v1/datasets/{odd.pk}/rows?version=0")
    assert (gone.status, gone.code) == (410, "version_gone"), gone.body
