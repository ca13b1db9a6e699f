"""Proposals in one call: three shapes of body with one meaning, what follows, and what is left of refused ones."""

import gzip
import io
import json
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from openpyxl import Workbook

import merging
from accounts.scopes import Scope
from changerequests.models import ChangeRequest, Upload
from changerequests.services import staging, uploads
from changerequests.services.storage import content_of
from changerequests.states import Status
from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import client_of, problem, token_of
from tests.factories import ChangeRequestFactory, DatasetFactory, person_with
from tests.kept import incoming_folder, names_in, uploads_folder

pytestmark = pytest.mark.django_db

ROWS = {"tailnum": ["N1", "N2"], "seats": [1, 2]}
CSV = b"tailnum,seats\nN1,1\nN2,2\n"


@pytest.fixture
def dataset() -> Dataset:
    return DatasetFactory.create(slug="planes", required_approvals=0, contributors_may_merge=False)


@pytest.fixture
def owner(dataset: Dataset) -> User:
    return person_with(Role.OWNER, dataset, username="olga")


def address(dataset: Dataset, **parameters: str) -> str:
    return f"/api/v1/datasets/{dataset.project.slug}/planes/proposals?{urlencode(parameters)}"


def propose(person: User, dataset: Dataset, headers: dict[str, str] | None = None, **body: Any) -> Any:
    body = {"title": "Seats", "rows": [{"tailnum": "N1", "seats": 1}], **body}
    wanted = {name: value for name, value in body.items() if value is not None}
    return client_of(person).post(address(dataset).rstrip("?"), wanted, format="json", headers=headers or {})


def send(
    person: User, dataset: Dataset, content: bytes, kind: str, encoding: str = "", **parameters: str
) -> Any:
    """Content as the body itself."""
    client: Any = client_of(person)  # its stubs know bodies of text alone
    return client.generic(
        "POST",
        address(dataset, **{"title": "Seats", **parameters}),
        content,
        content_type=kind,
        headers={"Content-Encoding": encoding} if encoding else {},
    )


def nothing_is_left() -> bool:
    """Of requests and of files."""
    return (
        not ChangeRequest.objects.exists() and names_in(uploads_folder()) == names_in(incoming_folder()) == []
    )


# --- Three shapes -----------------------------------------------------------------------------------------------


def parquet() -> bytes:
    written = io.BytesIO()
    pq.write_table(pa.table(ROWS), written)
    return written.getvalue()


def arrow_stream() -> bytes:
    written = io.BytesIO()
    with pa.ipc.new_stream(written, pa.table(ROWS).schema) as writer:
        writer.write_table(pa.table(ROWS))
    return written.getvalue()


def arrow_file() -> bytes:
    written = io.BytesIO()
    with pa.ipc.new_file(written, pa.table(ROWS).schema) as writer:
        writer.write_table(pa.table(ROWS))
    return written.getvalue()


def workbook() -> bytes:
    book, written = Workbook(), io.BytesIO()
    sheet: Any = book.active
    for row in (list(ROWS), *zip(*ROWS.values(), strict=True)):
        sheet.append(list(row))
    book.save(written)
    return written.getvalue()


XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
BODIES = {
    "csv": ("text/csv; charset=utf-8", lambda: CSV),
    "parquet": ("application/vnd.apache.parquet", parquet),
    "arrow stream": ("application/vnd.apache.arrow.stream", arrow_stream),
    "arrow file": ("application/vnd.apache.arrow.file", arrow_file),
    "json lines": (
        "application/x-ndjson",
        lambda: b'{"tailnum": "N1", "seats": 1}\n{"tailnum": "N2", "seats": 2}\n',
    ),
    "xlsx": (XLSX, workbook),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("kind", BODIES)
def test_content_is_the_body_itself_in_every_format_and_packed(
    author: User, dataset: Dataset, kind: str, packed: bool
) -> None:
    media_type, made = BODIES[kind]
    content = gzip.compress(made()) if packed else made()
    answer = send(author, dataset, content, media_type, "gzip" if packed else "", description="Why")
    body = answer.json()
    assert (answer.status_code, body["outcome"]) == (201, "staged"), body
    request, upload = body["change_request"], body["upload"]
    assert answer["Location"].endswith(f"/api/v1/change_requests/{request['cr_id']}")
    assert (request["title"], request["description"], request["status"], request["revision"]["rows"]) == (
        "Seats", "Why", "draft", 2,
    )  # fmt: skip
    assert (upload["kind"], upload["state"], upload["size_bytes"]) == ("file", "staged", len(content))


def test_a_form_and_json_mean_the_same_as_a_body(author: User, dataset: Dataset) -> None:
    in_body = send(author, dataset, CSV, "text/csv", file_name="planes.csv").json()
    in_form = client_of(author).post(
        address(dataset).rstrip("?"),
        {"title": "Seats", "file": SimpleUploadedFile("planes.csv", CSV)},
        format="multipart",
    )
    in_json = propose(author, dataset, rows=[{"tailnum": "N1", "seats": 1}, {"tailnum": "N2", "seats": 2}])
    assert (in_form.status_code, in_json.status_code) == (201, 201)
    found = [in_body, in_form.json(), in_json.json()]
    assert len({one["change_request"]["revision"]["digest"] for one in found}) == 1
    assert [(one["upload"]["kind"], one["upload"]["file_name"]) for one in found] == [
        ("file", "planes.csv"), ("file", "planes.csv"), ("rows", "rows"),
    ]  # fmt: skip


def test_rows_keep_every_digit() -> None:
    schema = pa.schema([("id", pa.int64()), ("price", pa.decimal128(38, 18)), ("note", pa.string())])
    data = pa.table({"id": [1], "price": [Decimal(1)], "note": ["x"]}, schema)
    dataset = DatasetFactory.create(slug="planes", data=data, primary_keys=("id",))
    person = person_with(Role.CONTRIBUTOR, dataset)
    exact = "12345678901234567890.123456789012345678"
    text = '{"title": "Exact", "rows": [{"id": 9223372036854775807, "price": %s}, {"id": 1, "note": "\\u0000é"}]}'
    client: Any = client_of(person)
    answer = client.generic(
        "POST", address(dataset).rstrip("?"), (text % exact).encode(), content_type="application/json"
    )
    assert answer.status_code == 201, answer.content
    location = content_of(ChangeRequest.objects.get().revisions.get())
    rows: Any = merging.open_for_pages(location).page(limit=10).items
    assert rows[1].proposed["price"] == Decimal(exact)
    assert (rows[1].key, rows[0].proposed["note"]) == ({"id": 2**63 - 1}, "\x00é")


def test_octet_streams_say_their_format(author: User, dataset: Dataset) -> None:
    kind = "application/octet-stream"
    assert send(author, dataset, CSV, kind, file_format="csv").status_code == 201
    refused = send(author, dataset, CSV, kind)
    assert problem(refused) == (422, "invalid")
    assert refused.json()["errors"][0]["field"] == "file_format"
    assert problem(send(author, dataset, CSV, "text/csv", file_format="parquet")) == (422, "invalid")


REFUSED: dict[str, tuple[dict[str, Any], int, list[str]]] = {
    "no title": ({"title": None}, 422, ["title"]),
    "nothing proposed": ({"rows": None}, 422, ["rows"]),
    "several sources": ({"sql": "SELECT 1"}, 422, ["rows", "sql"]),
    "an unknown field": ({"merge": True}, 422, ["merge"]),
    "a text for a boolean": ({"submit": "yes"}, 422, ["submit"]),
    "rows that are none": ({"rows": [1]}, 422, ["rows.0"]),
    "a message of no merge": ({"message": "Now"}, 422, ["message"]),
    "a title for another's": ({"change_request": "CR-1"}, 422, ["title"]),
    "a request that is not there": ({"change_request": "CR-99", "title": None}, 404, []),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_and_nothing_is_left(author: User, dataset: Dataset, case: str) -> None:
    body, status, fields = REFUSED[case]
    answer = propose(author, dataset, **body)
    assert answer.status_code == status, answer.json()
    assert [one["field"] for one in answer.json().get("errors", [])] == fields
    assert nothing_is_left()
    assert not Upload.objects.exists()


def test_other_refusals_of_bodies(author: User, dataset: Dataset, settings: Any) -> None:
    assert problem(send(author, dataset, CSV, "text/plain")) == (415, "unsupported_media_type")
    assert problem(send(author, dataset, CSV, "text/csv", "br")) == (415, "unsupported_media_type")
    assert problem(send(author, dataset, b"{}", "application/json", "gzip")) == (
        415,
        "unsupported_media_type",
    )
    assert problem(send(author, dataset, CSV, "text/csv", "gzip")) == (422, "invalid")
    assert problem(send(author, dataset, b"", "text/csv")) == (422, "invalid")
    assert problem(send(author, dataset, b"{}", "application/json")) == (422, "invalid")
    assert problem(send(author, dataset, CSV, "text/csv", titel="x")) == (422, "invalid")
    settings.LONG_LIST_LIMIT_BYTES = 10
    assert problem(propose(author, dataset)) == (413, "too_large")
    assert nothing_is_left()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_gzip_bomb_ends_at_the_limits_of_content(author: User, dataset: Dataset, kind: str) -> None:
    media_type, made = BODIES[kind]
    bomb = gzip.compress(made()) + gzip.compress(b"\0" * (8 << 20), 9) * 40
    answer = send(author, dataset, bomb, media_type, "gzip")
    assert problem(answer) == (422, "staging_rejected")
    if kind == "parquet":
        assert "unpacked_ratio" in answer.json()["errors"][0]["message"]
    assert nothing_is_left()


def test_who_may_not_propose_leaves_nothing(author: User, dataset: Dataset) -> None:
    viewer, stranger = person_with(Role.VIEWER, dataset), person_with(None, dataset)
    assert problem(propose(viewer, dataset)) == (403, "forbidden")
    assert problem(propose(stranger, dataset)) == (404, "not_found")
    other: ChangeRequest = ChangeRequestFactory.create()
    answer = propose(author, dataset, title=None, change_request=other.cr_id)
    assert problem(answer) == (404, "not_found")
    mine: ChangeRequest = ChangeRequestFactory.create(dataset=DatasetFactory.create(), author=author)
    person_with(Role.CONTRIBUTOR, mine.dataset, username="dora")
    assert problem(propose(author, dataset, title=None, change_request=mine.cr_id))[0] == 404
    assert not Upload.objects.filter(dataset=dataset).exists()


# --- What follows, and how long the answer waits ----------------------------------------------------------------


def test_submit_and_merge_when_ready_are_done_with_the_call(owner: User, dataset: Dataset) -> None:
    submitted = propose(owner, dataset, submit=True).json()
    assert (submitted["outcome"], submitted["change_request"]["status"]) == ("submitted", "pending")
    waiting = propose(owner, dataset, merge_when_ready=True, message="Now").json()
    assert waiting["outcome"] == "merge_when_ready"
    found = ChangeRequest.objects.latest("pk")
    assert (found.merge_when_ready_message, found.merge_when_ready_by) in {("Now", owner), ("", None)}
    assert found.status in (Status.PENDING, Status.MERGING, Status.MERGED)


def test_what_may_not_follow_leaves_the_request_and_says_why(author: User, dataset: Dataset) -> None:
    answer = propose(author, dataset, merge_when_ready=True)
    body = answer.json()
    assert (answer.status_code, body["outcome"], body["change_request"]["status"]) == (
        201, "submitted", "pending",
    )  # fmt: skip
    assert body["upload"]["followed_up"]["code"] == "forbidden"


def test_a_token_without_merge_merges_nothing_and_proposes_nothing(owner: User, dataset: Dataset) -> None:
    headers = {"Authorization": f"Token {token_of(owner, Scope.PROPOSE)}"}
    client = client_of(owner)
    client.credentials()
    body = {"title": "Seats", "rows": [{"tailnum": "N1", "seats": 1}]}
    where = address(dataset).rstrip("?")
    refused = client.post(where, {**body, "merge_when_ready": True}, format="json", headers=headers)
    assert problem(refused) == (403, "scope_missing")
    assert nothing_is_left()
    assert client.post(where, {**body, "submit": True}, format="json", headers=headers).status_code == 201


def test_nobody_waits_who_does_not_want_to(deaf_staging: None, author: User, dataset: Dataset) -> None:
    answer = propose(author, dataset, {"Prefer": "respond-async"}, submit=True)
    body = answer.json()
    assert (answer.status_code, body["outcome"], answer["Preference-Applied"]) == (
        202, "reading", "respond-async",
    )  # fmt: skip
    assert answer["Location"] == body["upload"]["url"]
    cr_id = body["change_request"]["cr_id"]
    assert (body["upload"]["change_request"], body["change_request"]["status"]) == (cr_id, "draft")

    staging.stage_upload(upload_id=body["upload"]["id"], worker="worker")

    followed = client_of(author).get(answer["Location"]).json()
    assert followed["followed_up"] == {"outcome": "submitted"}
    assert client_of(author).get(body["upload"]["change_request_url"]).json()["status"] == "pending"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"tailnum": "N1", "seats": "many"}], (422, "staging_rejected")),
        ([{"tailnum": "N1", "seats": 149}], (422, "nothing_to_change")),
    ],
)
def test_what_ends_while_it_is_answered_is_told(
    deaf_staging: None,
    author: User,
    dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    rows: list[Any],
    said: tuple[int, str],
) -> None:
    """The draft that was made for an upload is removed between the look at the upload and the look at the draft."""
    look = uploads.wait_for_upload

    def look_before_it_ends(upload_id: int, seconds: float) -> Upload:
        seen = look(upload_id, seconds)
        staging.stage_upload(upload_id=upload_id, worker="worker")
        return seen

    monkeypatch.setattr(uploads, "wait_for_upload", look_before_it_ends)
    assert problem(propose(author, dataset, {"Prefer": "respond-async"}, rows=rows)) == said
    ignored = propose(author, dataset, {"Prefer": "respond-async"}, rows=rows, on_nothing_to_change="ignore")
    assert ignored.status_code == (200 if said[1] == "nothing_to_change" else 422)


def test_new_content_for_a_request_that_is_there(author: User, dataset: Dataset) -> None:
    made: ChangeRequest = ChangeRequestFactory.create(dataset=dataset, author=author)
    answer = propose(author, dataset, title=None, change_request=made.cr_id)
    assert (answer.status_code, answer.json()["change_request"]["revision"]["number"]) == (201, 2)
    assert ChangeRequest.objects.count() == 1


# --- Refused, and nothing to change -----------------------------------------------------------------------------


def test_refused_content_leaves_no_draft_and_lists_its_problems(author: User, dataset: Dataset) -> None:
    answer = propose(author, dataset, rows=[{"tailnum": "N1", "seats": "many"}, {"tailnum": None}])
    assert problem(answer) == (422, "staging_rejected")
    assert [one["line"] for one in answer.json()["errors"]] == [1, 2]
    assert nothing_is_left()


@pytest.mark.parametrize("rows", [[{"tailnum": "N1", "seats": 149}], []], ids=["equal rows", "no rows"])
def test_nothing_to_change_is_an_error_or_ignored(
    author: User, dataset: Dataset, rows: list[dict[str, Any]]
) -> None:
    assert problem(propose(author, dataset, rows=rows)) == (422, "nothing_to_change")
    answer = propose(author, dataset, rows=rows, on_nothing_to_change="ignore", submit=True)
    assert (answer.status_code, answer.json()["change_request"], answer.json()["outcome"]) == (
        200, None, "nothing_to_change",
    )  # fmt: skip
    assert nothing_is_left()


# --- Sent again -------------------------------------------------------------------------------------------------


def keyed(person: User, dataset: Dataset, content: bytes, key: str) -> Any:
    client: Any = client_of(person)  # its stubs know bodies of text alone
    return client.generic(
        "POST",
        address(dataset, title="Seats"),
        content,
        content_type="text/csv",
        headers={"Idempotency-Key": key},
    )


def test_a_body_that_is_sent_again_is_known_by_its_digest(author: User, dataset: Dataset) -> None:
    first, again = keyed(author, dataset, CSV, "k1"), keyed(author, dataset, CSV, "k1")
    assert (first.status_code, again.status_code, again["Idempotent-Replayed"]) == (201, 201, "true")
    assert json.loads(first.content) == json.loads(again.content)
    assert problem(keyed(author, dataset, CSV + b"N3,3\n", "k1")) == (422, "invalid")
    assert ChangeRequest.objects.count() == 1


def test_a_number_is_another_body_than_the_text_of_its_digits(author: User, dataset: Dataset) -> None:
    client, sent = client_of(author), {"title": "New", "rows": [{"tailnum": "N1", "price": 1.5}]}
    first, other = (
        client.post(address(dataset), body, headers={"Idempotency-Key": "k"})
        for body in (sent, {**sent, "rows": [{"tailnum": "N1", "price": "1.5"}]})
    )
    assert (first.status_code, problem(other)) == (201, (422, "invalid"))


def test_a_call_whose_process_died_before_its_answer_makes_no_second_request(
    author: User, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is not remembered; the upload is."""
    with monkeypatch.context() as patch:
        patch.setattr("api.views.proposing.answer", lambda *_: 1 / 0)
        assert keyed(author, dataset, CSV, "k2").status_code == 500
    answer = keyed(author, dataset, CSV, "k2")
    assert (answer.status_code, answer.json()["outcome"]) == (201, "staged")
    assert ChangeRequest.objects.count() == Upload.objects.count() == 1


def test_a_refused_call_may_be_sent_again_with_its_key(author: User, dataset: Dataset) -> None:
    for _ in range(2):
        assert problem(keyed(author, dataset, b"tailnum,seats\nN1,x\n", "k3")) == (422, "staging_rejected")
    assert Upload.objects.count() == 2
    assert nothing_is_left()
