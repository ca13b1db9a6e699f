"""What a load balancer and an operator ask."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import DjangoAssertNumQueries, Settings

from changerequests.models import ChangeRequest, MergeRun
from changerequests.services import runs
from changerequests.states import RunStatus
from datasets.roles import Role
from tests.factories import ChangeRequestFactory, approve, merge, person_with
from tests.services import using_broker

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _storage_is_there(delta_data_root: Path) -> None:
    delta_data_root.mkdir(parents=True, exist_ok=True)


def figures(client: Client) -> dict[str, float]:
    """Every sample of /metrics; labels stand behind the name."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return {
        sample.name + "".join(f" {value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }


def test_alive_asks_nothing_of_the_database(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        answer = client.get("/livez")
    assert (answer.status_code, answer.content) == (200, b"ok\n")
    assert "no-store" in answer["Cache-Control"]


def test_ready_names_every_part(client: Client) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "ready": True,
        "database": "ok",
        "broker": "ok",
        "storage": "ok",
        "queue": "ok",
    }


def test_a_storage_that_is_gone_is_named(client: Client, settings: Settings, tmp_path: Path) -> None:
    settings.DELTA_DATA_ROOT = tmp_path / "not mounted"
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["storage"] == "unavailable: FileNotFoundError"
    assert answer.json()["database"] == "ok"


def test_a_broker_that_is_down_is_named(client: Client) -> None:
    with using_broker("redis://127.0.0.1:1/0"):  # nobody listens there
        answer = client.get("/readyz")
    assert answer.status_code == 503
    assert re.fullmatch(r"unavailable: \w+", answer.json()["broker"])


def test_a_queue_without_a_worker_is_named(client: Client) -> None:
    run = queued_run()
    assert client.get("/readyz").status_code == 200
    MergeRun.objects.filter(pk=run.pk).update(queued_at=timezone.now() - timedelta(seconds=301))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert re.match(r"the oldest queued run has waited 30\d s", answer.json()["queue"])


def test_metrics_count_merges_rows_bytes_phases_and_the_queue(client: Client) -> None:
    request = ready_request()
    run = merge(request, person_with(Role.OWNER, request.dataset))
    assert run.status == RunStatus.SUCCEEDED
    waiting = queued_run()
    MergeRun.objects.filter(pk=waiting.pk).update(queued_at=timezone.now() - timedelta(seconds=60))

    found = figures(client)

    assert found["headgate_merge_runs_total succeeded"] == 1
    assert found["headgate_merge_runs_total failed"] == 0
    assert found["headgate_merged_rows_total"] == run.rows_affected == 2
    assert found["headgate_written_bytes_total"] == run.bytes_written > 0
    assert found["headgate_merge_phase_seconds_count writing"] == 1
    assert found["headgate_merge_phase_seconds_bucket +Inf writing"] == 1
    assert found["headgate_queued_runs"] == 1
    assert 60 <= found["headgate_queue_age_seconds"] < 90


def ready_request() -> ChangeRequest:
    request = ChangeRequestFactory(status="pending")
    approve(request, person_with(Role.OWNER, request.dataset))
    return request


def queued_run() -> MergeRun:
    request = ready_request()
    return runs.request_merge(change_request_id=request.pk, actor=person_with(Role.OWNER, request.dataset))
