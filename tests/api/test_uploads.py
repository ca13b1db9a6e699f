"""Uploads over the API: answered 201 where they are staged in time, else 202 and followed, cancelled, told."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile

import merging
from changerequests.models import ChangeRequest, Upload
from changerequests.services import staging, uploads
from changerequests.states import UploadStatus
from datasets.models import Dataset
from datasets.roles import Role
from merging.staging import apart
from tests.api.clients import client_of, problem
from tests.factories import ChangeRequestFactory, person_with

pytestmark = pytest.mark.django_db

CSV = b"tailnum,seats\nN1,1\n"
NO_WAIT = "respond-async"


def sent(change_request: ChangeRequest, content: bytes = CSV, *, prefer: str = "", key: str = "") -> Any:
    client = client_of(change_request.author)
    client.raise_request_exception = False
    return client.post(
        f"/api/v1/change_requests/{change_request.cr_id}/upload",
        {"file": SimpleUploadedFile("rows.csv", content)},
        format="multipart",
        headers={name: value for name, value in {"Prefer": prefer, "Idempotency-Key": key}.items() if value},
    )


def staged_by_worker(upload: dict[str, Any]) -> None:
    staging.stage_upload(upload_id=upload["id"], worker="worker")


def test_what_is_staged_in_time_is_answered_201_with_its_address(pending: ChangeRequest) -> None:
    answer = sent(pending)
    assert (answer.status_code, answer.json()["number"]) == (201, 2)
    assert "Preference-Applied" not in answer
    upload = client_of(pending.author).get(answer["Location"]).json()
    assert (upload["state"], upload["revision"], upload["change_request"], upload["problem"]) == (
        "staged", 2, pending.cr_id, None,
    )  # fmt: skip
    assert upload["change_request_url"].endswith(f"/api/v1/change_requests/{pending.cr_id}")
    assert upload["url"] == answer["Location"]


def test_an_upload_whose_process_died_before_its_answer_makes_no_second_revision(
    pending: ChangeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is not remembered; the upload is, by this address alone."""
    with monkeypatch.context() as patch:
        patch.setattr("api.views.uploads._answer", lambda *_: 1 / 0)
        assert sent(pending, key="k").status_code == 500
    answer = sent(pending, key="k")
    assert (answer.status_code, answer.json()["number"]) == (201, 2)
    assert Upload.objects.filter(change_request=pending).count() == 2
    other = ChangeRequestFactory.create(dataset=pending.dataset, author=pending.author)
    assert sent(other, key="k")["Location"] != answer["Location"]


def test_what_takes_longer_is_answered_202_and_followed(deaf_staging: None, pending: ChangeRequest) -> None:
    answer = sent(pending, prefer=NO_WAIT)
    assert (answer.status_code, answer["Preference-Applied"]) == (202, "respond-async")
    body = answer.json()
    assert answer["Location"] == body["url"] == f"http://testserver/api/v1/uploads/{body['id']}"
    received = {name: body[name] for name in ("state", "file_name", "size_bytes", "rows_read", "revision")}
    assert received == {
        "state": "received", "file_name": "rows.csv", "size_bytes": len(CSV), "rows_read": 0, "revision": None,
    }  # fmt: skip
    assert pending.revisions.count() == 1

    staged_by_worker(body)

    followed = client_of(pending.author).get(answer["Location"])
    assert (followed.status_code, followed.json()["state"], followed.json()["revision"]) == (200, "staged", 2)


@pytest.mark.parametrize(
    ("preferred", "applied", "slept"),
    [
        ("", None, 20),
        ("wait=3", "wait=3", 3),
        ("respond-async, wait=1", "wait=1", 1),
        ("RESPOND-ASYNC", "respond-async", 0),
        ("wait=0", "wait=0", 0),
        ("wait=9999", "wait=60", 60),
        ("handling=lenient", None, 20),
        ("respond-asynchronously", None, 20),
    ],
)
def test_the_caller_says_how_long_it_waits(
    deaf_staging: None,
    pending: ChangeRequest,
    monkeypatch: pytest.MonkeyPatch,
    preferred: str,
    applied: str | None,
    slept: int,
) -> None:
    waited: list[float] = []

    def look(upload_id: int, seconds: float) -> Upload:
        waited.append(seconds)
        return Upload.objects.get(pk=upload_id)

    monkeypatch.setattr(uploads, "wait_for_upload", look)
    answer = sent(pending, prefer=preferred)
    assert (answer.status_code, answer.get("Preference-Applied"), waited) == (202, applied, [slept])


def test_a_refusal_that_the_wait_saw_and_one_that_is_looked_up_are_the_same(pending: ChangeRequest) -> None:
    answer = sent(pending, b"tailnum,seats\nN1,many\n")
    assert problem(answer) == (422, "staging_rejected")
    body = answer.json()
    upload = Upload.objects.latest("pk")
    found = client_of(pending.author).get(f"/api/v1/uploads/{upload.pk}").json()
    assert (found["state"], found["revision"]) == ("refused", None)
    assert found["problem"] == {name: body[name] for name in ("code", "message", "errors", "total")}
    assert found["problem"]["errors"][0]["line"] == 2


def test_fs1_a_reader_that_died_is_a_problem_with_a_way_out(
    pending: ChangeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def died(*_: Any, **__: Any) -> None:
        raise merging.ConfinedDied("The process for it crashed (SIGSEGV).", signal_number=11)

    monkeypatch.setattr(apart, "run_confined", died)
    answer = sent(pending)
    assert problem(answer) == (422, "reader_died")
    assert "Nothing was staged" in answer.json()["message"]
    assert pending.revisions.count() == 1


def test_an_upload_is_cancelled(deaf_staging: None, pending: ChangeRequest) -> None:
    address = sent(pending, prefer=NO_WAIT)["Location"]
    client = client_of(pending.author)
    for _ in range(2):
        answer = client.delete(address)
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert answer.json()["problem"]["code"] == "cancelled"
    assert pending.revisions.count() == 1


def test_what_was_staged_is_not_cancelled(pending: ChangeRequest) -> None:
    address = sent(pending)["Location"]
    assert problem(client_of(pending.author).delete(address)) == (409, "invalid_transition")
    assert pending.revisions.count() == 2


def test_others_do_not_see_an_upload(deaf_staging: None, pending: ChangeRequest, dataset: Dataset) -> None:
    address = sent(pending, prefer=NO_WAIT)["Location"]

    def answers(user: User) -> list[int]:
        client = client_of(user)
        return [client.get(address).status_code, client.delete(address).status_code]

    assert answers(person_with(None, dataset)) == [404, 404]
    assert answers(person_with(Role.VIEWER, dataset)) == [404, 404]
    assert answers(person_with(Role.CONTRIBUTOR, dataset)) == [404, 404]
    assert Upload.objects.latest("pk").status == UploadStatus.QUEUED
    assert answers(person_with(Role.OWNER, dataset)) == [200, 200]
    assert client_of(pending.author).get("/api/v1/uploads/999999").status_code == 404
