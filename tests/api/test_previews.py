"""Content looked at over the API before it is proposed, and proposed as it was looked at."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

import merging
from changerequests.models import ChangeRequest, Preview, Upload
from changerequests.services import previews, staging, uploads
from changerequests.services.proposals import submit
from changerequests.states import UploadKind
from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import client_of
from tests.factories import DatasetFactory, approve, give_role, merge, person_with
from tests.kept import preview_folder, previews_folder, uploads_folder

pytestmark = pytest.mark.django_db

MISSPELT = b"tailnum,saets,note\nN1,150,x\nN9,7,\n"
RENAMED = {"saets": {"action": "rename", "to": "seats"}, "note": {"action": "leave_out"}}


@pytest.fixture
def dataset() -> Dataset:
    return DatasetFactory.create()


@pytest.fixture
def author(dataset: Dataset) -> User:
    return person_with(Role.CONTRIBUTOR, dataset, username="carl")


def posted(person: User, dataset: Dataset, what: str = "previews", **body: Any) -> Any:
    return client_of(person).post(f"/api/v1/datasets/{dataset.pk}/{what}", body, format="json")


def sent(person: User, dataset: Dataset, content: bytes, name: str = "rows.csv", **fields: Any) -> Any:
    file = SimpleUploadedFile(name, content)
    address = f"/api/v1/datasets/{dataset.pk}/previews"
    return client_of(person).post(address, {"file": file, **fields}, format="multipart")


def test_a_file_is_looked_at_decided_about_and_proposed_without_being_sent_again(
    dataset: Dataset, author: User
) -> None:
    answer = sent(author, dataset, MISSPELT)
    assert answer.status_code == 200
    looked = answer.json()
    assert (looked["kind"], looked["file_name"], looked["change_request"]) == ("file", "rows.csv", None)
    assert looked["found"]["unknown_columns"] == [
        {"name": "saets", "suggestion": "seats", "type": "long"},
        {"name": "note", "suggestion": "", "type": "string"},
    ]
    assert client_of(author).get(answer.headers["Location"]).json() == looked
    refused = posted(author, dataset, "proposals", title="Seats", preview=looked["id"])
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "preview")
    assert "saets, note" in refused.json()["message"]
    assert not Upload.objects.exists()

    again = posted(author, dataset, preview=looked["id"], columns=RENAMED).json()
    assert again["found"]["unknown_columns"] == []
    assert (again["found"]["rows_updated"], again["found"]["rows_inserted"]) == (1, 1)
    made = posted(author, dataset, "proposals", title="Seats", preview=again["id"], submit=True)
    assert (made.status_code, made.json()["outcome"]) == (201, "submitted")
    revision = ChangeRequest.objects.get().revisions.get()
    assert (revision.rows_updated, revision.rows_inserted, revision.new_columns) == (1, 1, [])
    assert not list(uploads_folder().glob("*"))
    assert (preview_folder(Preview.objects.get(pk=again["id"])) / "content").read_bytes() == MISSPELT


def test_what_an_empty_cell_means_is_tried(dataset: Dataset, author: User) -> None:
    looked = sent(author, dataset, b"tailnum,seats\nN1,\nN2,7\n").json()
    assert looked["found"]["cells_becoming_null"] == {"seats": 1}
    kept = posted(author, dataset, preview=looked["id"], empty_cells="keep").json()
    assert (kept["found"]["rows_updated"], kept["found"]["cells_becoming_null"]) == (1, {})
    upload = sent_as_upload(author, dataset, b"tailnum,seats\nN1,\nN2,7\n", empty_cells="keep")
    assert upload["cells_updated"] == {"seats": 1}


def sent_as_upload(person: User, dataset: Dataset, content: bytes, **fields: Any) -> Any:
    made = client_of(person).post(
        "/api/v1/change_requests", {"dataset": dataset.pk, "title": "One"}, format="json"
    )
    file = SimpleUploadedFile("rows.csv", content)
    address = f"/api/v1/change_requests/{made.json()['cr_id']}/upload"
    return client_of(person).post(address, {"file": file, **fields}, format="multipart").json()


def test_an_upload_takes_decisions_about_its_columns(dataset: Dataset, author: User) -> None:
    found = sent_as_upload(author, dataset, MISSPELT, columns=json.dumps(RENAMED))
    assert (found["rows_updated"], found["new_columns"]) == (1, [])
    rows = [{"tailnum": "N1", "saets": 3, "note": None}]
    made = posted(author, dataset, "proposals", title="Rows", rows=rows, columns=RENAMED)
    assert made.json()["change_request"]["revision"]["rows_updated"] == 1
    sql = "SELECT tailnum, 1 AS saets, '' AS note FROM dataset WHERE tailnum = 'N1'"
    made = posted(author, dataset, "proposals", title="SQL", sql=sql, columns=RENAMED)
    assert made.json()["change_request"]["revision"]["rows_updated"] == 1


def test_rows_and_statements_are_looked_at(dataset: Dataset, author: User) -> None:
    rows = posted(author, dataset, rows=[{"tailnum": "N1", "seats": 2}, {"tailnum": "N2", "_op": "delete"}])
    assert [row["operation"] for row in rows.json()["found"]["rows"]] == ["update", "delete"]
    sql = posted(author, dataset, sql="SELECT tailnum, 1 AS saets FROM dataset")
    assert [one["name"] for one in sql.json()["found"]["unknown_columns"]] == ["saets"]
    made = posted(author, dataset, "proposals", title="Rows", preview=rows.json()["id"])
    assert made.status_code == 201
    assert Upload.objects.get().kind == "rows"


def test_a_refusal_says_where_and_keeps_what_was_sent(dataset: Dataset, author: User) -> None:
    answer = sent(author, dataset, b"Tailnum,saets,seats\nN1,1,many\n")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "staging_rejected")
    assert [one["name"] for one in problem["unknown_columns"]] == ["Tailnum", "saets"]
    preview = Preview.objects.get()
    again = posted(
        author,
        dataset,
        preview=preview.pk,
        columns={
            "Tailnum": {"action": "rename", "to": "tailnum"},
            "saets": {"action": "rename", "to": "seats"},
            "seats": {"action": "leave_out"},
        },
    )
    assert again.json()["found"]["rows_updated"] == 1


def test_what_ends_its_reader_leaves_nothing_but_the_row_that_says_so(
    dataset: Dataset, author: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: Any, **__: Any) -> Any:
        raise merging.ConfinedOutOfMemory(1)

    monkeypatch.setattr(merging, "stage_apart", dies)
    answer = sent(author, dataset, b"tailnum,seats\nN1,1\n")
    assert (answer.status_code, answer.json()["code"]) == (422, "upload_out_of_memory")
    preview = Preview.objects.get()
    assert (preview.status, preview.error_code) == (Preview.Status.FAILED, "upload_out_of_memory")
    assert not list(previews_folder().glob("*"))
    gone = posted(author, dataset, preview=preview.pk)
    assert gone.status_code == 404
    assert not Upload.objects.exists()


def test_the_table_may_move_between_the_look_and_the_proposal(dataset: Dataset, author: User) -> None:
    looked = posted(
        author, dataset, rows=[{"tailnum": "N1", "seats": 2}, {"tailnum": "N2", "seats": 3}]
    ).json()
    posted(author, dataset, "proposals", title="One", rows=[{"tailnum": "N1", "seats": 2}]).json()
    merged = ChangeRequest.objects.get(title="One")
    submit(change_request_id=merged.pk, actor=author)
    approve(merged, person_with(Role.OWNER, dataset))
    merge(merged, author)
    made = posted(author, dataset, "proposals", title="Both", preview=looked["id"]).json()
    assert made["change_request"]["revision"]["rows_updated"] == 1
    upload = Upload.objects.get(pk=made["upload"]["id"])
    assert "there are 1 row changes now, where you saw 2" in previews.moved_since(upload)


def test_a_look_is_ones_own_and_of_its_dataset(dataset: Dataset, author: User) -> None:
    number = posted(author, dataset, rows=[{"tailnum": "N1", "seats": 2}]).json()["id"]
    owner, viewer = person_with(Role.OWNER, dataset), person_with(Role.VIEWER, dataset)
    other = DatasetFactory.create()
    stranger = person_with(Role.OWNER, other)
    assert [client_of(one).get(f"/api/v1/previews/{number}").status_code for one in (owner, viewer, stranger)] == [
        404, 404, 404,
    ]  # fmt: skip
    assert posted(owner, dataset, "proposals", title="Theirs", preview=number).status_code == 404
    assert posted(viewer, dataset, rows=[{"tailnum": "N1", "seats": 2}]).status_code == 403
    assert posted(stranger, dataset, rows=[{"tailnum": "N1", "seats": 2}]).status_code == 404
    both = person_with(Role.CONTRIBUTOR, other, username="both")
    own = posted(both, other, rows=[{"tailnum": "N1", "seats": 2}]).json()["id"]
    give_role(both, dataset, Role.CONTRIBUTOR)
    wrong = posted(both, dataset, "proposals", title="Elsewhere", preview=own)
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "preview")
    assert posted(both, dataset, preview=own).status_code == 404
    assert not Upload.objects.exists()


def test_new_content_of_a_request_is_looked_at(dataset: Dataset, author: User) -> None:
    made = posted(author, dataset, "proposals", title="One", rows=[{"tailnum": "N1", "seats": 2}]).json()
    cr_id = made["change_request"]["cr_id"]
    looked = sent(author, dataset, b"tailnum,seats\nN2,5\n", change_request=cr_id).json()
    assert looked["change_request"] == cr_id
    answer = posted(author, dataset, "proposals", change_request=cr_id, preview=looked["id"])
    assert answer.status_code == 201
    assert ChangeRequest.objects.get().revisions.count() == 2


def test_it_is_cancelled_and_forgotten(deaf_staging: None, dataset: Dataset, author: User) -> None:
    number = previews.look(
        dataset=dataset,
        actor=author,
        content=uploads.NamedSource(UploadKind.SQL, "SELECT tailnum FROM dataset"),
    ).pk
    waiting = posted(author, dataset, "proposals", title="Soon", preview=number)
    assert waiting.status_code == 422
    previews.cancel_preview(preview_id=number, actor=author)
    assert previews.look_at(preview_id=number, worker="worker") is None
    assert client_of(author).get(f"/api/v1/previews/{number}").json()["problem"]["code"] == "cancelled"
    assert client_of(author).delete(f"/api/v1/previews/{number}").status_code == 204
    assert client_of(author).get(f"/api/v1/previews/{number}").status_code == 404
    assert not list(previews_folder().glob("*"))


def test_files_are_forgotten_after_a_day_and_beyond_a_number(
    dataset: Dataset, author: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previews, "MOST_KEPT", 2)
    for seats in (1, 2, 3):
        sent(author, dataset, b"tailnum,seats\nN1,%d\n" % seats)
    assert Preview.objects.count() == len(list(previews_folder().iterdir())) == 2
    Preview.objects.update(finished_at=timezone.now() - timedelta(hours=25))
    previews.sweep_previews()
    assert not Preview.objects.exists()
    assert not list(previews_folder().iterdir())


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"rows": [{"tailnum": "N1"}], "sql": "SELECT 1"},
        {"rows": [{"tailnum": "N1"}], "empty_cells": "keep"},
        {"preview": 1, "change_request": "CR-1"},
        {"rows": [{"tailnum": "N1"}], "columns": {"x": {"action": "rename"}}},
        {"rows": [{"tailnum": "N1"}], "columns": {"x": {"action": "drop"}}},
        {"rows": [{"tailnum": "N1"}], "columns": {"x": {"action": "leave_out", "to": "y"}}},
    ],
)
def test_a_body_of_another_shape_is_refused(body: dict[str, Any], dataset: Dataset, author: User) -> None:
    assert posted(author, dataset, **body).status_code == 422
    assert not Preview.objects.exists()


def test_a_worker_that_dies_is_replaced(deaf_staging: None, dataset: Dataset, author: User) -> None:
    looked = client_of(author).post(
        f"/api/v1/datasets/{dataset.pk}/previews",
        {"rows": [{"tailnum": "N1", "seats": 2}]},
        format="json",
        HTTP_PREFER="respond-async",
    )
    assert looked.status_code == 202
    assert previews.sweep_previews() == 1
    previews.look_at(preview_id=looked.json()["id"], worker="worker")
    assert client_of(author).get(looked.json()["url"]).json()["found"]["rows_updated"] == 1
    assert staging.sweep_uploads() == 0
