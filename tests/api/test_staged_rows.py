"""Single staged rows: shown as they can be sent, edited, added and taken out, on the base that they were made on."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from django.contrib.auth.models import User

from changerequests.models import ChangeRequest, Upload
from changerequests.services import plans, rebasing, staged_rows, staging
from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import client_of, problem
from tests.factories import ChangeRequestFactory, DatasetFactory, merge, person_with, stage_csv

pytestmark = pytest.mark.django_db

CSV = "tailnum,seats,_op\nN1,1,upsert\nN2,,delete\nN9,9,insert\n"


@pytest.fixture
def pending(dataset: Dataset, author: User) -> ChangeRequest:
    return ChangeRequestFactory.create(dataset=dataset, author=author, csv=CSV)


def address(change_request: ChangeRequest) -> str:
    return f"/api/v1/change_requests/{change_request.cr_id}/staged_rows"


def rows_of(change_request: ChangeRequest) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        client_of(change_request.author).get(address(change_request)).json()["results"]
    )
    return found


def edit(change_request: ChangeRequest, seen: str = "", **body: Any) -> Any:
    headers = {"If-Match": seen} if seen else {}
    return client_of(change_request.author).patch(
        address(change_request), body, format="json", headers=headers
    )


def test_rows_are_shown_as_they_can_be_sent(pending: ChangeRequest) -> None:
    rows = rows_of(pending)
    assert rows[:2] == [
        {"_op": "update", "tailnum": "N1", "seats": 1},
        {"_op": "delete", "tailnum": "N2"},
    ]
    assert (rows[2]["_op"], rows[2]["tailnum"], rows[2]["seats"]) == ("insert", "N9", 9)
    client = client_of(pending.author)
    first = client.get(f"{address(pending)}?limit=2")
    assert first["ETag"] == f'"{pending.revisions.get().digest}"'
    second = client.get(first.json()["next"]).json()
    assert (second["next"], second["results"]) == (None, rows[2:])
    assert client.get(second["previous"]).json()["results"] == rows[:2]


def test_rows_are_edited_added_and_taken_out(pending: ChangeRequest) -> None:
    answer = edit(
        pending,
        rows=[{"tailnum": "N9", "seats": 10}, {"tailnum": "N3", "seats": 3}, {"tailnum": "N2", "seats": 2}],
        remove=[{"tailnum": "N1"}],
    )
    assert (answer.status_code, answer.json()["number"]) == (201, 2), answer.json()
    found = {row["tailnum"]: (row["_op"], row.get("seats")) for row in rows_of(pending)}
    assert found == {"N2": ("update", 2), "N3": ("update", 3), "N9": ("insert", 10)}
    assert Upload.objects.latest("pk").kind == "rows"


def test_an_edit_of_one_row_hides_no_conflict_of_another(pending: ChangeRequest, dataset: Dataset) -> None:
    """The base stays: what others changed since is not overwritten in silence."""
    base = pending.revisions.get().base_version
    other: ChangeRequest = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,77\n")
    merge(other, person_with(Role.OWNER, dataset))
    answer = edit(pending, rows=[{"tailnum": "N9", "seats": 10}])
    assert (answer.status_code, answer.json()["base_version"]) == (201, base), answer.json()
    pending.refresh_from_db()
    [conflict] = plans.conflicts_page(change_request=pending).conflicts
    assert (conflict.key, conflict.column) == ({"tailnum": "N1"}, "seats")


def test_what_was_seen_is_what_is_edited(pending: ChangeRequest) -> None:
    seen = client_of(pending.author).get(address(pending))["ETag"]
    assert edit(pending, seen, rows=[{"tailnum": "N1", "seats": 2}]).status_code == 201
    late = edit(pending, seen, rows=[{"tailnum": "N1", "seats": 3}])
    assert problem(late) == (412, "request_changed")
    assert pending.revisions.count() == 2


def test_content_that_came_between_stands(deaf_staging: None, pending: ChangeRequest) -> None:
    client = client_of(pending.author)
    answer = client.patch(
        address(pending),
        {"rows": [{"tailnum": "N1", "seats": 2}]},
        format="json",
        headers={"Prefer": "respond-async"},
    )
    assert answer.status_code == 202
    stage_csv(pending, "tailnum,seats\nN1,5\n")
    edited = Upload.objects.get(pk=answer.json()["id"])
    staging.stage_upload(upload_id=edited.pk, worker="worker")
    edited.refresh_from_db()
    assert (edited.state, edited.error_code) == ("cancelled", "upload_replaced")
    assert [row.get("seats") for row in rows_of(pending)] == [5]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "rows"),
    ({"rows": [{"seats": 1}]}, "rows"),
    ({"rows": [{"tailnum": "N1"}, {"tailnum": "N1"}]}, "rows"),
    ({"remove": [{"tailnum": "N7"}]}, "remove"),
    ({"rows": [{"tailnum": "N1"}], "remove": [{"tailnum": "N1"}]}, "remove"),
    ({"row": []}, "row"),
]


@pytest.mark.parametrize(("body", "field"), REFUSED)
def test_edits_that_do_not_fit_change_nothing(
    pending: ChangeRequest, body: dict[str, Any], field: str
) -> None:
    answer = edit(pending, **body)
    assert problem(answer) == (422, "invalid")
    assert [one["field"] for one in answer.json()["errors"]] == [field]
    assert pending.revisions.count() == 1


def test_other_refusals(pending: ChangeRequest, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    assert problem(edit(pending, rows=[{"tailnum": "N1", "seats": "many"}])) == (422, "staging_rejected")
    everything = [{"tailnum": "N1"}, {"tailnum": "N2"}, {"tailnum": "N9"}]
    assert problem(edit(pending, remove=everything)) == (422, "invalid")
    monkeypatch.setattr(staged_rows, "MOST_ROWS", 2)
    assert problem(edit(pending, remove=[{"tailnum": "N1"}])) == (422, "invalid")
    monkeypatch.undo()
    merge(
        ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN3,77\n"),
        person_with(Role.OWNER, dataset),
    )
    rebasing.rebase(change_request_id=pending.pk, actor=pending.author)
    assert problem(edit(pending, remove=[{"tailnum": "N1"}])) == (409, "blocked")
    empty: ChangeRequest = ChangeRequestFactory.create(dataset=dataset, csv=None, status="draft")
    assert problem(client_of(empty.author).get(address(empty))) == (404, "not_found")
    assert pending.revisions.filter(rebased_from=None).count() == 1


def test_values_of_other_rows_stay_exactly_as_they_are() -> None:
    schema = pa.schema(
        [
            ("id", pa.int64()),
            ("price", pa.decimal128(38, 18)),
            ("day", pa.date32()),
            ("at", pa.timestamp("us", "UTC")),
            ("raw", pa.binary()),
            ("ratio", pa.float64()),
            ("a.b/ç", pa.string()),
        ]
    )
    values = {
        "id": [1], "price": [Decimal(1)], "day": [date(2024, 1, 1)], "at": [datetime(2024, 1, 1, tzinfo=UTC)],
        "raw": [b"x"], "ratio": [1.0], "a.b/ç": ["x"],
    }  # fmt: skip
    dataset = DatasetFactory.create(data=pa.table(values, schema), primary_keys=("id",))
    author = person_with(Role.CONTRIBUTOR, dataset)
    made: ChangeRequest = ChangeRequestFactory.create(
        dataset=dataset, author=author, csv=None, status="draft"
    )
    rows = [
        {
            "id": 1, "price": "12345678901234567890.123456789012345678", "day": "0001-01-01",
            "at": "2024-01-01T00:00:00.000001Z", "raw": "0x00ff", "ratio": 0.1, "a.b/ç": "é\n",
        },
        {"id": 2**63 - 1, "price": None, "ratio": 1e300},
        {"id": 3, "a.b/ç": ""},
    ]  # fmt: skip
    client = client_of(author)
    sent = client.post(
        f"/api/v1/datasets/{dataset.pk}/proposals",
        {"change_request": made.cr_id, "rows": rows},
        format="json",
    )
    assert sent.status_code == 201, sent.json()
    before = rows_of(made)
    assert edit(made, rows=[{"id": 3, "a.b/ç": "new"}]).status_code == 201
    after = rows_of(made)
    assert [row for row in after if row["id"] != 3] == [row for row in before if row["id"] != 3]
    assert edit(made, rows=[{"id": 3, "a.b/ç": ""}]).status_code == 201
    assert rows_of(made) == before
