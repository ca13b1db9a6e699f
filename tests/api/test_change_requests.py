"""Proposing, looking, reviewing and discussing through the API."""

import gzip
import hashlib
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from pytest_django import DjangoAssertNumQueries, Settings
from rest_framework.test import APIClient

from changerequests.models import ChangeRequest, MergeRun, Review, Revision
from changerequests.services import reviews
from changerequests.states import Status
from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import client_of, problem
from tests.factories import (
    ChangeRequestFactory,
    approve,
    expect_of,
    expectation,
    merge,
    person_with,
    stage_csv,
)
from tests.kept import staging_folder

pytestmark = pytest.mark.django_db

CSV = b"tailnum,year,manufacturer,seats\nN3,2002,EMBRAER,55\nN5,2013,AIRBUS,200\n"


@pytest.fixture
def pending(dataset: Dataset) -> ChangeRequest:
    return ChangeRequestFactory.create(dataset=dataset, title="Fill in years")


def url(change_request: ChangeRequest, rest: str = "") -> str:
    return f"/api/v1/change_requests/{change_request.cr_id}{rest}"


def file_of(content: bytes, name: str = "changes.csv") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


# --- From nothing to pending -------------------------------------------------------------------------------


def test_a_contributor_creates_uploads_and_submits(dataset: Dataset) -> None:
    carl = person_with(Role.CONTRIBUTOR, dataset, username="carl")
    client = client_of(carl)

    created = client.post("/api/v1/change_requests", {"dataset": dataset.pk, "title": "Fill in years"})
    assert created.status_code == 201
    cr_id = created.json()["cr_id"]
    assert created.json()["status"] == "draft"
    assert [b["code"] for b in created.json()["blockers"]["submit"]] == ["nothing_staged"]

    uploaded = client.post(
        f"/api/v1/change_requests/{cr_id}/upload", {"file": file_of(CSV)}, format="multipart"
    )
    assert uploaded.status_code == 201
    revision = uploaded.json()
    assert {name: revision[name] for name in revision if name not in ("digest", "created_at")} == {
        "number": 1,
        "base_version": 0,
        "rows": 2,
        "rows_inserted": 1,
        "rows_updated": 1,
        "rows_deleted": 0,
        "noop_rows": 0,
        "columns": ["year", "manufacturer", "seats"],
        "cells_updated": {"year": 1},
        "new_columns": [],
        "warnings": [],
        "file_name": "changes.csv",
        "created_by": "carl",
    }

    submitted = client.post(f"/api/v1/change_requests/{cr_id}/submit")
    assert (submitted.status_code, submitted.json()["status"]) == (200, "pending")

    events = client.get(f"/api/v1/change_requests/{cr_id}/events").json()["results"]
    assert [(event["action"], event["actor"]) for event in events] == [
        ("change_request.created", "carl"),
        ("revision.staged", "carl"),
        ("change_request.submitted", "carl"),
    ]
    assert [event["previous_hash"] for event in events[1:]] == [event["hash"] for event in events[:-1]]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"title": "No dataset"}, "dataset"),
        ({"dataset": 1}, "title"),
        ({"dataset": 1, "title": "x" * 201}, "title"),
        ({"dataset": 1, "title": "Typo", "descripton": "…"}, "descripton"),
    ],
)
def test_what_does_not_fit_is_named_by_member(dataset: Dataset, body: dict[str, Any], field: str) -> None:
    response = client_of(person_with(Role.CONTRIBUTOR, dataset)).post("/api/v1/change_requests", body)

    assert problem(response) == (422, "invalid")
    assert field in [error["field"] for error in response.json()["errors"]]
    assert ChangeRequest.objects.count() == 0


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"tailnum,seats\n", "There is nothing to change: the upload names columns and has no rows."),
        (
            b"tailnum,seats\nN1,149\n",
            "There is nothing to change: the row that was read equals the table at version 0.",
        ),
        (
            b"tailnum,seats\nN1,149\nN1,149\nN2,182\n",
            "There is nothing to change: all 3 rows that were read equal the table at version 0.",
        ),
    ],
)
def test_fd20_a_first_content_that_changes_nothing_is_refused(
    dataset: Dataset, content: bytes, sentence: str
) -> None:
    client = client_of(person_with(Role.CONTRIBUTOR, dataset))
    cr_id = client.post("/api/v1/change_requests", {"dataset": dataset.pk, "title": "Nightly"}).json()[
        "cr_id"
    ]
    response = client.post(
        f"/api/v1/change_requests/{cr_id}/upload", {"file": file_of(content)}, format="multipart"
    )
    assert problem(response) == (422, "nothing_to_change")
    assert response.json()["message"] == sentence
    assert Revision.objects.count() == 0
    assert not any(staging_folder(ChangeRequest.objects.get()).glob("*"))


def test_fd20_a_later_content_may_change_nothing_and_says_so(pending: ChangeRequest) -> None:
    response = client_of(pending.author).post(
        url(pending, "/upload"), {"file": file_of(b"tailnum,seats\n")}, format="multipart"
    )
    assert response.status_code == 201
    assert response.json()["rows"] == 0
    assert response.json()["warnings"] == [
        "There is nothing to change: the upload names columns and has no rows."
    ]


def test_fd13_fd14_new_columns_and_warnings_stand_on_the_revision(pending: ChangeRequest) -> None:
    client = client_of(pending.author)
    content = b"tailnum,note,price\nN1,7,1.10\nN1,7,1.10\n"
    types = {"column_types": '{"price": "decimal(10,2)"}'}
    response = client.post(url(pending, "/upload"), {"file": file_of(content), **types}, format="multipart")
    assert response.status_code == 201, response.json()
    told = {
        "new_columns": [{"name": "note", "type": "long"}, {"name": "price", "type": "decimal(10,2)"}],
        "warnings": ["1 row repeats another one exactly and is counted once."],
    }
    assert {name: response.json()[name] for name in told} == told
    listed = client.get(url(pending, "/revisions")).json()["results"][-1]
    assert {name: listed[name] for name in told} == told

    for wrong in ("[]", "{", '{"price": 5}'):
        refused = client.post(
            url(pending, "/upload"), {"file": file_of(content), "column_types": wrong}, format="multipart"
        )
        assert problem(refused) == (422, "invalid")
    refused = client.post(
        url(pending, "/upload"),
        {"file": file_of(content), "column_types": '{"price": "money"}'},
        format="multipart",
    )
    assert problem(refused) == (422, "staging_rejected")


def test_a_refused_file_lists_every_problem_by_line_and_column(pending: ChangeRequest) -> None:
    content = b"tailnum,seats\nN1,many\n,5\nN2,7\nN2,8\n"

    response = client_of(pending.author).post(
        url(pending, "/upload"), {"file": file_of(content)}, format="multipart"
    )

    assert problem(response) == (422, "staging_rejected")
    body = response.json()
    assert [(error["line"], error["column"], error["code"], error["value"]) for error in body["errors"]] == [
        (2, "seats", "not_number", "many"),
        (3, "tailnum", "null_key", None),
        (4, "tailnum", "duplicate_key", None),
    ]
    assert body["errors"][2]["message"].startswith("lines 4 and 5 give different rows for the key")
    assert body["total"] == 3
    assert Revision.objects.filter(change_request=pending).count() == 1


def test_an_unknown_column_is_refused_where_the_request_adds_none(dataset: Dataset) -> None:
    change_request = ChangeRequestFactory.create(
        dataset=dataset, csv=None, merge_schema=False, status=Status.DRAFT
    )

    response = client_of(change_request.author).post(
        url(change_request, "/upload"), {"file": file_of(b"tailnum,color\nN1,red\n")}, format="multipart"
    )

    assert problem(response) == (422, "staging_rejected")
    assert [error["column"] for error in response.json()["errors"]] == ["color"]


def test_a_file_that_is_too_large_is_refused(pending: ChangeRequest, settings: Settings) -> None:
    settings.UPLOAD_LIMIT_BYTES = 10

    response = client_of(pending.author).post(
        url(pending, "/upload"), {"file": file_of(CSV)}, format="multipart"
    )

    assert problem(response) == (422, "invalid")
    assert [error["field"] for error in response.json()["errors"]] == ["file"]


def test_fs3_a_compressed_csv_is_taken(dataset: Dataset) -> None:
    client = client_of(person_with(Role.CONTRIBUTOR, dataset, username="carl"))
    cr_id = client.post("/api/v1/change_requests", {"dataset": dataset.pk, "title": "Packed"}).json()["cr_id"]
    packed = SimpleUploadedFile("changes.csv.gz", gzip.compress(CSV))
    answer = client.post(f"/api/v1/change_requests/{cr_id}/upload", {"file": packed}, format="multipart")
    assert (answer.status_code, answer.json()["rows"]) == (201, 2)
    cut = SimpleUploadedFile("changes.csv.gz", gzip.compress(CSV)[:-3])
    answer = client.post(f"/api/v1/change_requests/{cr_id}/upload", {"file": cut}, format="multipart")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "unreadable")


def test_fd15_a_refused_file_is_called_as_it_was_uploaded(dataset: Dataset) -> None:
    client = client_of(person_with(Role.CONTRIBUTOR, dataset, username="carl"))
    cr_id = client.post("/api/v1/change_requests", {"dataset": dataset.pk, "title": "Odd"}).json()["cr_id"]
    file = SimpleUploadedFile("planes.exe", CSV)
    answer = client.post(f"/api/v1/change_requests/{cr_id}/upload", {"file": file}, format="multipart")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["message"] == (
        "the ending of planes.exe names no format; it is text, such as CSV. Known endings are .arrow, .csv, "
        ".feather, .ipc, .json, .jsonl, .ndjson, .parquet, .pq, .tsv, .txt, .xlsm, .xlsx."
    )


def test_json_is_no_upload(pending: ChangeRequest) -> None:
    response = client_of(pending.author).post(url(pending, "/upload"), {"file": "rows"}, format="json")

    assert problem(response) == (415, "unsupported_media_type")


def test_forms_are_no_json(dataset: Dataset) -> None:
    response = client_of(person_with(Role.CONTRIBUTOR, dataset)).post(
        "/api/v1/change_requests", {"dataset": dataset.pk, "title": "A form"}, format="multipart"
    )

    assert problem(response) == (415, "unsupported_media_type")
    assert ChangeRequest.objects.count() == 0


def test_the_null_token_and_the_format_are_passed_on(dataset: Dataset) -> None:
    draft = ChangeRequestFactory.create(dataset=dataset, csv=None, status=Status.DRAFT)

    response = client_of(draft.author).post(
        url(draft, "/upload"),
        {
            "file": file_of(b"tailnum,seats\nN1,nil\n", "changes.txt"),
            "null_token": "nil",
            "file_format": "csv",
        },
        format="multipart",
    )

    assert response.status_code == 201, response.content
    diff = client_of(draft.author).get(url(draft, "/diff")).json()
    assert diff["results"] == [
        {
            "key": {"tailnum": "N1"},
            "operation": "update",
            "cells": [{"column": "seats", "base": 149, "proposed": None}],
            "filled": [],
        }
    ]


# --- Lists --------------------------------------------------------------------------------------------------


def test_the_list_shows_what_a_row_needs(pending: ChangeRequest) -> None:
    client = client_of(pending.author)

    (row,) = client.get("/api/v1/change_requests").json()["results"]

    assert row["cr_id"] == pending.cr_id
    assert row["dataset"] == {
        "id": pending.dataset_id,
        "project": pending.dataset.project.slug,
        "slug": pending.dataset.slug,
        "name": pending.dataset.name,
    }
    assert (row["status"], row["author"], row["open_threads"], row["active_run"]) == (
        "pending",
        pending.author.username,
        0,
        None,
    )
    assert (row["revision"]["rows_inserted"], row["revision"]["rows_updated"]) == (1, 1)
    assert (row["plan"]["table_version"], row["plan"]["conflicts"]) == (0, 0)


def test_the_list_filters(dataset: Dataset, pending: ChangeRequest) -> None:
    owner = person_with(Role.OWNER, dataset)
    merged = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,1\n", title="Seats")
    merge(merged, owner)
    own = ChangeRequestFactory.create(dataset=dataset, author=owner, csv="tailnum,seats\nN2,1\n")
    draft = ChangeRequestFactory.create(dataset=dataset, status=Status.DRAFT, author=pending.author)
    elsewhere = ChangeRequestFactory.create(dataset__project=dataset.project, author=pending.author)
    approve(pending, owner)
    client = client_of(owner)

    def found(query: str) -> list[str]:
        response = client.get(f"/api/v1/change_requests?{query}")
        assert response.status_code == 200, response.content
        return [row["cr_id"] for row in response.json()["results"]]

    assert found("") == [draft.cr_id, own.cr_id, merged.cr_id, pending.cr_id]
    assert found("status=merged") == [merged.cr_id]
    assert found("status=merged&status=draft") == [draft.cr_id, merged.cr_id]
    assert found("mine=true") == [own.cr_id]
    assert found(f"author={pending.author.username}") == [draft.cr_id, pending.cr_id]
    assert found("search=seat") == [merged.cr_id]
    assert found(f"dataset={elsewhere.dataset_id}") == []
    assert found(f"project={dataset.project.slug}") == found("")
    assert found("needs_review=true") == []
    stage_csv(pending, "tailnum,seats\nN4,1\n")
    assert found("needs_review=true") == [pending.cr_id]
    assert problem(client.get("/api/v1/change_requests?status=ready")) == (422, "invalid")


def test_the_list_is_paged_by_cursor(dataset: Dataset) -> None:
    author = person_with(Role.CONTRIBUTOR, dataset)
    made = [
        ChangeRequestFactory.create(dataset=dataset, author=author, csv=None, status=Status.DRAFT).cr_id
        for _ in range(5)
    ]
    client = client_of(author)
    seen: list[list[str]] = []
    address = "/api/v1/change_requests?limit=2"
    while address:
        page = client.get(address).json()
        seen.append([row["cr_id"] for row in page["results"]])
        address = page["next"]

    assert seen == [made[:2:-1], made[2:0:-1], made[:1]]


def test_lists_cost_the_same_whatever_their_length(
    dataset: Dataset, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    author = person_with(Role.CONTRIBUTOR, dataset)
    for _ in range(2):
        ChangeRequestFactory.create(dataset=dataset, author=author)
    client = client_of(author)
    client.get("/api/v1/change_requests")  # the content types of roles are looked up once in a process
    with django_assert_num_queries(11):
        assert len(client.get("/api/v1/change_requests").json()["results"]) == 2
    for _ in range(3):
        approve(ChangeRequestFactory.create(dataset=dataset, author=author), person_with(Role.OWNER, dataset))
    with django_assert_num_queries(11):
        assert len(client.get("/api/v1/change_requests").json()["results"]) == 5


# --- One request --------------------------------------------------------------------------------------------


def test_the_detail_costs_the_same_whatever_was_said(
    dataset: Dataset, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    pending = ChangeRequestFactory.create(dataset=dataset)
    owner = person_with(Role.OWNER, dataset)
    client = client_of(owner)
    # Two for the token, the request, the role, who was asked, and three for what gates look at.
    with django_assert_num_queries(8):
        assert client.get(url(pending)).json()["approvals"] == 0
    for reviewer in [owner, *(person_with(Role.CONTRIBUTOR, dataset) for _ in range(2))]:
        approve(pending, reviewer)
        reviews.comment(change_request_id=pending.pk, actor=reviewer, body="Sure?")
    with django_assert_num_queries(8):
        found = client.get(url(pending)).json()
    assert (found["approvals"], found["open_threads"]) == (3, 3)
    expect_of(dataset, expectation("column_values_to_not_be_null", column="tailnum"))
    with django_assert_num_queries(9):  # and one for what the expectations say
        assert client.get(url(pending)).json()["blockers"]["request_merge"] == []


def test_the_detail_tells_the_blockers_of_each_action(dataset: Dataset) -> None:
    dataset.required_approvals = 1
    dataset.save()
    pending = ChangeRequestFactory.create(dataset=dataset)

    detail = client_of(pending.author).get(url(pending)).json()

    codes = {action: [b["code"] for b in found] for action, found in detail["blockers"].items()}
    assert codes == {
        "stage": [],
        "rebase": [],
        "submit": ["invalid_transition"],
        "return_to_draft": [],
        "review": [],
        "split": [],
        "resolve": [],
        "request_merge": ["approvals_missing"],
        "close": [],
        "reopen": ["invalid_transition"],
        "revert": ["invalid_transition", "forbidden"],
        "edit": [],
        "remove": ["invalid_transition", "has_content"],
    }
    assert detail["approvals"] == 0


def test_the_diff_is_paged_filtered_and_grouped(dataset: Dataset) -> None:
    change_request = ChangeRequestFactory.create(
        dataset=dataset, csv="_op,tailnum,seats\nupdate,N1,9\nupdate,N2,9\ndelete,N3,\ninsert,N9,9\n"
    )
    client = client_of(change_request.author)

    first = client.get(url(change_request, "/diff?limit=2")).json()
    second = client.get(first["next"]).json()
    deletes = client.get(url(change_request, "/diff?operation=delete")).json()
    groups = client.get(url(change_request, "/diff/groups")).json()

    assert [row["key"]["tailnum"] for row in first["results"] + second["results"]] == ["N1", "N2", "N3", "N9"]
    assert second["next"] is None
    assert first["results"][0] == {
        "key": {"tailnum": "N1"},
        "operation": "update",
        "cells": [{"column": "seats", "base": 149, "proposed": 9}],
        "filled": [],
    }
    assert deletes["results"] == [
        {
            "key": {"tailnum": "N3"},
            "operation": "delete",
            "cells": [
                {"column": "year", "base": None, "proposed": None},
                {"column": "manufacturer", "base": "EMBRAER", "proposed": None},
                {"column": "seats", "base": 55, "proposed": None},
            ],
            "filled": [],
        }
    ]
    assert {(group["column"], group["old"], group["new"], group["rows"]) for group in groups} == {
        ("seats", 149, 9, 1),
        ("seats", 182, 9, 1),
    }
    assert problem(client.get(url(change_request, "/diff?limit=0"))) == (422, "invalid")
    assert problem(client.get(url(change_request, "/diff?cursor=nonsense"))) == (422, "invalid_cursor")


def test_the_diff_of_a_merged_request_is_what_was_merged(pending: ChangeRequest) -> None:
    before = client_of(pending.author).get(url(pending, "/diff")).json()
    merge(pending, person_with(Role.OWNER, pending.dataset))

    after = client_of(pending.author).get(url(pending, "/diff")).json()

    assert after == before


def test_the_plan_is_made_on_the_table_as_it_is(pending: ChangeRequest) -> None:
    other = ChangeRequestFactory.create(dataset=pending.dataset, csv="tailnum,seats\nN1,1\nN3,7\n")
    merge(other, person_with(Role.OWNER, pending.dataset))

    plan = client_of(pending.author).get(url(pending, "/plan")).json()

    assert [{**read, "seconds": 0} for read in plan.pop("reads")] == [
        {"engine": "duckdb", "files": 1, "bytes": 630, "rows": 1, "seconds": 0}
    ]
    assert {name: plan[name] for name in plan if "digest" not in name and name != "checked_at"} == {
        "revision": 1,
        "table_version": 1,
        "strategy": "merge-on-read",
        "rows_added": 1,
        "rows_updated": 1,
        "rows_deleted": 0,
        "rows_agreed": 0,
        "cells_updated": {"year": 1},
        "schema_changes": [],
        "conflicts": 0,
        "unresolved": 0,
        "row_count_before": 4,
        "row_count_after": 5,
        "deleted_share": 0.0,
        "problem_code": "",
        "problem": "",
    }


def test_a_result_tells_what_wrote_its_files(pending: ChangeRequest) -> None:
    merge(pending, person_with(Role.OWNER, pending.dataset))

    run = client_of(pending.author).get(f"/api/v1/runs/{MergeRun.objects.get().pk}").json()

    [written] = run["result"]["writes"]
    assert (written["engine"], written["work"], written["files"], written["rows"]) == (
        "duckdb",
        "write",
        1,
        2,
    )
    assert written["bytes"] > 0


def test_there_is_no_plan_of_nothing(dataset: Dataset) -> None:
    draft = ChangeRequestFactory.create(dataset=dataset, csv=None, status=Status.DRAFT)

    assert problem(client_of(draft.author).get(url(draft, "/plan"))) == (404, "not_found")


# --- Reviews, comments, threads -----------------------------------------------------------------------------


def test_reviews_are_bound_to_what_was_read(pending: ChangeRequest) -> None:
    owner = person_with(Role.OWNER, pending.dataset, username="olivia")
    client = client_of(owner)
    digest = client.get(url(pending)).json()["revision"]["digest"]

    stale = client.post(url(pending, "/reviews"), {"verdict": "approve", "revision_digest": "old"})
    given = client.post(url(pending, "/reviews"), {"verdict": "approve", "revision_digest": digest})
    own = client_of(pending.author).post(url(pending, "/reviews"), {"verdict": "approve"})
    unexplained = client.post(url(pending, "/reviews"), {"verdict": "request_changes"})

    assert problem(stale) == (409, "plan_changed")
    assert (given.status_code, given.json()["reviewer"], given.json()["revision"]) == (201, "olivia", 1)
    assert problem(own) == (403, "forbidden")
    assert problem(unexplained) == (422, "invalid")
    assert Review.objects.count() == 1
    listed = client.get(url(pending, "/reviews")).json()["results"]
    assert [review["verdict"] for review in listed] == ["approve"]
    assert client.get(url(pending)).json()["approvals"] == 1


def test_threads_are_answered_and_settled(pending: ChangeRequest) -> None:
    owner = client_of(person_with(Role.OWNER, pending.dataset))
    author = client_of(pending.author)

    first = owner.post(
        url(pending, "/comments"), {"body": "Why?", "row_key": {"tailnum": "N3"}, "column": "year"}
    ).json()
    answer = author.post(url(pending, "/comments"), {"body": "Registry.", "thread": first["id"]}).json()
    settled = owner.post(url(pending, f"/threads/{first['id']}"), {"resolved": True})
    missing = owner.post(url(pending, "/threads/999"), {"resolved": True})

    assert (first["row_key"], first["column"], first["thread"]) == ({"tailnum": "N3"}, "year", None)
    assert answer["thread"] == first["id"]
    assert settled.json()["resolved_at"] is not None
    assert problem(missing) == (404, "not_found")
    assert author.get(url(pending)).json()["open_threads"] == 0
    assert [c["body"] for c in author.get(url(pending, "/comments")).json()["results"]] == [
        "Why?",
        "Registry.",
    ]


def test_a_thread_of_another_request_is_not_found(pending: ChangeRequest) -> None:
    hidden = ChangeRequestFactory.create()
    comment = client_of(hidden.author).post(url(hidden, "/comments"), {"body": "Secret"}).json()

    response = client_of(pending.author).post(url(pending, f"/threads/{comment['id']}"), {"resolved": True})

    assert problem(response) == (404, "not_found")


# --- Close, reopen, back to draft ---------------------------------------------------------------------------


def test_closing_reopening_and_taking_back(pending: ChangeRequest) -> None:
    author = client_of(pending.author)
    owner = client_of(person_with(Role.OWNER, pending.dataset))

    assert author.post(url(pending, "/return_to_draft")).json()["status"] == "draft"
    assert author.post(url(pending, "/submit")).json()["status"] == "pending"
    assert problem(owner.post(url(pending, "/close"))) == (422, "invalid")
    closed = owner.post(url(pending, "/close"), {"reason": "Duplicate of CR-1"})
    assert (closed.json()["status"], closed.json()["close_reason"]) == ("closed", "Duplicate of CR-1")
    assert problem(owner.post(url(pending, "/submit"))) == (409, "invalid_transition")
    assert author.post(url(pending, "/reopen")).json()["status"] == "draft"


def test_what_moved_under_an_open_request(pending: ChangeRequest) -> None:
    owner, reader = person_with(Role.OWNER, pending.dataset), client_of(pending.author)
    still = {
        "base_version": 0,
        "version": 0,
        "rows_moved": 0,
        "rows_settled": 0,
        "conflicts": 0,
        "cells_moved": {},
        "cells_edited": {},
        "columns_gained": [],
        "rows": [],
    }
    assert reader.get(url(pending, "/moved")).json() == still

    other = ChangeRequestFactory.create(dataset=pending.dataset, csv="tailnum,seats\nN3,1\n")
    merge(other, owner)

    cell = {"column": "seats", "base": 55, "current": 1, "edited": False, "proposed": None}
    moved = {**still, "version": 1, "rows_moved": 1, "cells_moved": {"seats": 1}}
    row = {"key": {"tailnum": "N3"}, "operation": "update", "cells": [cell]}
    assert reader.get(url(pending, "/moved")).json() == {**moved, "rows": [row]}
    assert reader.get(url(pending, "/moved?limit=0")).json() == moved
    assert problem(reader.get(url(pending, "/moved?limit=-1"))) == (422, "invalid")
    assert problem(reader.get(url(other, "/moved"))) == (404, "not_found")  # merged: nothing moves under it
    draft = ChangeRequestFactory.create(dataset=pending.dataset, csv=None, status=Status.DRAFT)
    assert problem(client_of(draft.author).get(url(draft, "/moved"))) == (404, "not_found")


def test_rebasing_and_reverting(pending: ChangeRequest) -> None:
    owner = person_with(Role.OWNER, pending.dataset)
    other = ChangeRequestFactory.create(dataset=pending.dataset, csv="tailnum,seats\nN1,1\n")
    merge(other, owner)

    rebased = client_of(pending.author).post(url(pending, "/rebase"))
    reverted = client_of(owner).post(url(other, "/revert"))

    assert (rebased.status_code, rebased.json()["base_version"], rebased.json()["rows"]) == (200, 1, 2)
    assert (reverted.status_code, reverted.json()["status"]) == (201, "draft")
    diff = client_of(owner).get(f"/api/v1/change_requests/{reverted.json()['cr_id']}/diff").json()["results"]
    assert diff == [
        {
            "key": {"tailnum": "N1"},
            "operation": "update",
            "cells": [{"column": "seats", "base": 1, "proposed": 149}],
            "filled": [],
        }
    ]
    assert problem(client_of(pending.author).post(url(other, "/revert"))) == (403, "forbidden")


# --- Who may ------------------------------------------------------------------------------------------------

READS = (
    "",
    "/diff",
    "/diff/groups",
    "/plan",
    "/conflicts",
    "/events",
    "/reviews",
    "/comments",
    "/revisions",
    "/moved",
    "/audit",
)
WRITES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/submit", {}),
    ("/return_to_draft", {}),
    ("/close", {"reason": "no"}),
    ("/reopen", {}),
    ("/rebase", {}),
    ("/revert", {}),
    ("/reviews", {"verdict": "approve"}),
    ("/comments", {"body": "hm"}),
    ("/merge", {}),
    ("/conflicts", {"resolutions": [{"key": {}, "choice": "current", "inputs_digest": "x"}]}),
    ("/conflicts/bulk", {"column": "year", "choice": "current"}),
)


def test_strangers_find_nothing(pending: ChangeRequest) -> None:
    stranger = client_of(person_with(None, pending.dataset))

    assert stranger.get("/api/v1/change_requests").json()["results"] == []
    for rest in READS:
        assert problem(stranger.get(url(pending, rest))) == (404, "not_found"), rest
    for rest, body in WRITES:
        assert problem(stranger.post(url(pending, rest), body)) == (404, "not_found"), rest
    upload = stranger.post(url(pending, "/upload"), {"file": file_of(CSV)}, format="multipart")
    assert problem(upload) == (404, "not_found")


def test_viewers_read_and_change_nothing(pending: ChangeRequest) -> None:
    viewer = client_of(person_with(Role.VIEWER, pending.dataset))

    for rest in READS:
        assert viewer.get(url(pending, rest)).status_code == 200, rest
    for rest, body in WRITES:
        assert problem(viewer.post(url(pending, rest), body)) == (403, "forbidden"), rest
    upload = viewer.post(url(pending, "/upload"), {"file": file_of(CSV)}, format="multipart")
    assert problem(upload) == (403, "forbidden")
    create = viewer.post("/api/v1/change_requests", {"dataset": pending.dataset_id, "title": "x"})
    assert problem(create) == (403, "forbidden")
    pending.refresh_from_db()
    assert (pending.status, pending.revisions.count(), pending.comments.count()) == (Status.PENDING, 1, 0)


def test_without_signing_in_everything_is_401(pending: ChangeRequest) -> None:
    for rest in READS:
        assert problem(APIClient().get(url(pending, rest))) == (401, "not_authenticated"), rest


# --- Audit files --------------------------------------------------------------------------------------------


def test_audit_files_are_listed_with_hashes_and_given_byte_for_byte(
    pending: ChangeRequest, delta_data_root: Path
) -> None:
    client = client_of(pending.author)
    assert client.get(url(pending, "/audit")).json() == []
    merge(pending, person_with(Role.OWNER, pending.dataset))

    files = client.get(url(pending, "/audit")).json()

    assert {"merge_result.json", "diff.json", "diff.parquet", "validation.json"} <= {f["name"] for f in files}
    for listed in files:
        content = b"".join(client.get(listed["url"]))
        assert hashlib.sha256(content).hexdigest() == listed["sha256"]
    (delta_data_root / "audit" / "change_requests" / pending.cr_id / "stray.txt").write_text("x")
    for name in ("stray.txt", "..", "%2e%2e%2fsecret"):
        assert problem(client.get(url(pending, f"/audit/{name}")))[0] == 404
