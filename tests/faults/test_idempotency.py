"""Doing it twice at the same moment is doing it once: clicks, calls, messages, retries. On PostgreSQL."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from celery import current_app
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

import merging
from audit.models import Event
from audit.services import verify
from changerequests.models import ChangeRequest, MergeRun
from changerequests.services import execution, runs
from changerequests.states import RunStatus, Status
from datasets.models import Dataset
from tests import services
from tests.api.clients import token_of
from tests.factories import ChangeRequestFactory, DatasetFactory, rows_of
from tests.faults.checks import commits_of, read_log

Answer = TypeVar("Answer")

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]

AT_ONCE = 6


@pytest.fixture
def dataset() -> Dataset:
    made: Any = DatasetFactory()
    return made


@pytest.fixture
def change_request(dataset: Dataset) -> ChangeRequest:
    made: Any = ChangeRequestFactory(dataset=dataset)
    return made


@pytest.fixture(autouse=True)
def _on_postgresql_with_a_whole_trail() -> Iterator[None]:
    assert connection.vendor == "postgresql"
    yield
    assert [found.reason for found in verify()] == []


def at_once(ask: Callable[[int], Answer], times: int = AT_ONCE) -> list[Answer]:
    """What ``times`` threads answer that begin at the same moment."""
    start = threading.Barrier(times)

    def wait_and_ask(number: int) -> Answer:
        try:
            start.wait(timeout=10)
            return ask(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(times) as threads:
        return list(threads.map(wait_and_ask, range(times)))


def merged_versions(change_request: ChangeRequest) -> list[int]:
    change_request.refresh_from_db()
    return commits_of(read_log(Path(change_request.dataset.table_uri)), change_request)


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param([""] * AT_ONCE, id="no key"),
        pytest.param(["a"] * AT_ONCE, id="the same key"),
        pytest.param([f"key {number}" for number in range(AT_ONCE)], id="different keys"),
    ],
)
def test_clicks_at_the_same_moment_queue_one_run(
    change_request: ChangeRequest, owner: User, keys: list[str]
) -> None:
    asked = at_once(
        lambda number: (
            runs.request_merge(
                change_request_id=change_request.pk, actor=owner, idempotency_key=keys[number]
            ).pk
        )
    )
    run = MergeRun.objects.get()
    assert set(asked) == {run.pk}
    assert run.status == RunStatus.QUEUED
    assert Event.objects.filter(action="merge.requested").count() == 1


def test_calls_at_the_same_moment_answer_the_same_run(change_request: ChangeRequest, owner: User) -> None:
    token = token_of(owner)

    def call(_: int) -> tuple[int, int]:
        answer = Client().post(
            f"/api/v1/change_requests/{change_request.cr_id}/merge",
            {},
            content_type="application/json",
            headers={"Authorization": f"Token {token}", "Idempotency-Key": "once"},
        )
        return answer.status_code, answer.json()["id"]

    answers = set(at_once(call))
    assert answers == {(202, MergeRun.objects.get().pk)}


def test_workers_at_the_same_moment_merge_once(change_request: ChangeRequest, owner: User) -> None:
    dataset = change_request.dataset
    run = runs.request_merge(change_request_id=change_request.pk, actor=owner)
    worked = at_once(lambda number: execution.merge_next(dataset_id=dataset.pk, worker=f"worker {number}"))
    assert [found.pk for found in worked if found is not None] == [run.pk]
    assert merged_versions(change_request) == [1]
    assert change_request.status == Status.MERGED
    assert len(rows_of(dataset)) == 5
    assert Event.objects.filter(action="change_request.merged").count() == 1


def test_a_message_delivered_many_times_to_separate_workers_merges_once(
    process_environment: dict[str, str], change_request: ChangeRequest, owner: User, tmp_path: Path
) -> None:
    run = runs.request_merge(change_request_id=change_request.pk, actor=owner)
    for _ in range(AT_ONCE):
        current_app.send_task("changerequests.merge_next", args=[run.dataset_id], task_id="redelivered")
    with services.worker_process(process_environment, tmp_path / "worker.log", concurrency=2):
        ended = runs.wait_for_run(run.pk, 60)
        assert (ended.status, ended.attempts) == (RunStatus.SUCCEEDED, 1)
    assert merged_versions(change_request) == [1]
    assert Event.objects.filter(action="change_request.merged").count() == 1


def test_asking_again_after_the_merge_answers_the_first_run(
    change_request: ChangeRequest, owner: User
) -> None:
    first = runs.request_merge(change_request_id=change_request.pk, actor=owner, idempotency_key="a")
    execution.merge_next(dataset_id=change_request.dataset_id, worker="worker")
    again = at_once(
        lambda number: (
            runs.request_merge(
                change_request_id=change_request.pk, actor=owner, idempotency_key=f"key {number}"
            ).pk
        )
    )
    assert set(again) == {first.pk}
    assert merged_versions(change_request) == [1]


def test_a_retry_at_the_same_moment_merges_once(
    change_request: ChangeRequest, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed run is asked for again by several people at once."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    failed = runs.request_merge(change_request_id=change_request.pk, actor=owner)
    with monkeypatch.context() as patch:
        patch.setattr("merging.store.stores.LocalStore.sync", full)
        execution.merge_next(dataset_id=change_request.dataset_id, worker="worker")
    failed.refresh_from_db()
    assert (failed.status, failed.error_code) == (RunStatus.FAILED, "storage_full")
    assert merging.inspect_table(change_request.dataset.table_uri).version == 0

    def retry(number: int) -> int:
        run = runs.request_merge(change_request_id=change_request.pk, actor=owner)
        execution.merge_next(dataset_id=change_request.dataset_id, worker=f"worker {number}")
        return run.pk

    assert len(set(at_once(retry))) == 1
    assert merged_versions(change_request) == [1]
