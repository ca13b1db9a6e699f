"""Logs: one line an event, under the request's id from web to worker, without row values and secrets."""

import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest
import structlog
from django.test import Client

from changerequests.models import MergeRun
from changerequests.services import execution
from changerequests.services.runs import wait_for_run
from config.logs import redact
from datasets.roles import Role
from demo.processes import ManagedProcess
from tests.api.clients import client_of
from tests.factories import ChangeRequestFactory, merge, person_with

SECRET_CELL = 987_654_321


def test_every_answer_names_its_request(db: None, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        first, second = Client().get("/livez"), Client().get("/livez")

    ids = [response.headers["X-Request-ID"] for response in (first, second)]
    assert len(set(ids)) == 2
    logged = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    assert [line["request_id"] for line in logged if line["event"] == "request_finished"] == ids


def test_a_merge_logs_its_run_and_request_and_no_values(db: None, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        change_request = ChangeRequestFactory.create(csv=f"tailnum,seats\nN1,{SECRET_CELL}\n")
        merge(change_request, person_with(Role.OWNER, change_request.dataset))

    lines = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    run = MergeRun.objects.get()
    ours = [line for line in lines if line.get("run_id") == run.pk]
    assert (ours[0]["event"], ours[-1]["event"]) == ("merge_started", "merge_ended")
    assert {line["cr_id"] for line in ours} == {change_request.cr_id}
    assert str(SECRET_CELL) not in caplog.text
    assert str(SECRET_CELL) not in str(lines)


def test_a_failure_is_logged_with_its_trace_under_the_run(
    db: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("merging.merge", fail)
    change_request = ChangeRequestFactory.create()
    with caplog.at_level(logging.INFO):
        merge(change_request, person_with(Role.OWNER, change_request.dataset))

    (line,) = [r.msg for r in caplog.records if isinstance(r.msg, dict) and r.msg["event"] == "merge_failed"]
    assert line["run_id"] == MergeRun.objects.get().pk
    assert "no space left on device" in str(line["exc_info"])


def test_sensitive_keys_never_reach_a_line() -> None:
    event: dict[str, Any] = {"event": "x", "password": "p", "token": "t", "rows": [1], "run_id": 7}

    assert redact(None, "info", event) == {
        "event": "x",
        "password": "[redacted]",
        "token": "[redacted]",
        "rows": "[redacted]",
        "run_id": 7,
    }


def test_signing_in_logs_no_password(db: None, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        Client().post(
            "/api/v1/auth/token",
            {"username": "carl", "password": "hunter2-secret"},
            content_type="application/json",
        )

    assert "hunter2-secret" not in caplog.text


def test_context_does_not_leak_from_one_run_to_the_next(db: None) -> None:
    change_request = ChangeRequestFactory.create()
    merge(change_request, person_with(Role.OWNER, change_request.dataset))
    execution.sweep()

    assert "run_id" not in structlog.contextvars.get_contextvars()


@pytest.mark.services
def test_the_workers_lines_stand_under_the_request_that_asked(
    separate_worker: ManagedProcess, tmp_path: Path
) -> None:
    change_request = ChangeRequestFactory.create(csv=f"tailnum,seats\nN1,{SECRET_CELL}\n")

    response = client_of(change_request.author).post(f"/api/v1/change_requests/{change_request.cr_id}/merge")
    run = wait_for_run(response.json()["id"], 30)

    assert run.status == "succeeded"
    log = tmp_path / "worker.log"
    deadline = time.monotonic() + 20
    while "merge_ended" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.1)  # the row is final before the worker has tidied up and says so
    text = log.read_text()
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    of_run = {line["event"]: line for line in lines if line.get("run_id") == run.pk and "request_id" in line}
    assert {"merge_started", "merge_ended"} <= set(of_run)
    assert {line["request_id"] for line in of_run.values()} == {response.headers["X-Request-ID"]}
    assert of_run["merge_started"]["cr_id"] == change_request.cr_id
    assert str(SECRET_CELL) not in text
