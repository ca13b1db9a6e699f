"""Callers who wait for their uploads hold up nobody else."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from changerequests.models import ChangeRequest, Preview
from changerequests.services.previews import MOST_UNDER_WAY
from datasets.models import Dataset
from tests.live.server import Answer, Connection, form_with

#: More than a pool of threads would have on a small machine.
WAITING = 20


@pytest.fixture
def asleep(staging_worker: threading.Event) -> Iterator[threading.Event]:
    staging_worker.clear()
    yield staging_worker
    staging_worker.set()


def test_others_are_answered_while_statements_are_tried_and_one_person_tries_few_at_once(
    client: Connection, dataset: Dataset, asleep: threading.Event
) -> None:
    address = f"/api/v1/datasets/{dataset.pk}/queries"
    body = {"sql": "UPDATE dataset SET seats = 1 WHERE tailnum = 'N1'"}

    def wait() -> Answer:
        return client.send("POST", address, body, Prefer="wait=15")

    with ThreadPoolExecutor(MOST_UNDER_WAY) as callers:
        waiting = [callers.submit(wait) for _ in range(MOST_UNDER_WAY)]
        time.sleep(1)
        before = Preview.objects.count()
        refused = wait()
        assert (refused.status, refused.code, refused.headers["retry-after"]) == (429, "throttled", "5")
        assert Preview.objects.count() == before
        assert client.call("GET", "/api/v1/datasets").status == 200
        assert [one.done() for one in waiting] == [False] * MOST_UNDER_WAY
        asleep.set()
        answers = [one.result() for one in waiting]
    assert {answer.status for answer in answers} == {200}, [answer.body for answer in answers]
    assert {answer.json()["found"]["rows_updated"] for answer in answers} == {1}
    assert wait().status == 200


def test_others_are_answered_while_uploads_wait(
    client: Connection, draft: ChangeRequest, asleep: threading.Event
) -> None:
    body, kind = form_with("planes.csv", b"tailnum,seats\nN1,1\n")
    address = f"/api/v1/change_requests/{draft.cr_id}/upload"

    def wait() -> Answer:
        return client.call("POST", address, body, Content_Type=kind, Prefer="wait=15")

    with ThreadPoolExecutor(WAITING) as callers:
        waiting = [callers.submit(wait) for _ in range(WAITING)]
        time.sleep(1)
        for _ in range(3):
            assert client.call("GET", "/api/v1/datasets").status == 200
        assert [one.done() for one in waiting] == [False] * WAITING
        asleep.set()
        answers = [one.result() for one in waiting]
    assert {answer.status for answer in answers} <= {201, 202, 409}
    assert all(
        answer.headers["preference-applied"] == "wait=15" for answer in answers if answer.status != 409
    )
    assert 201 in {answer.status for answer in answers}
