"""What a load balancer and an operator ask."""

from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.apps import apps
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.db import OperationalError, connection, transaction
from django.test import Client
from django.utils import timezone
from kombu import Connection
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.addresses import TrustedProxies
from changerequests.models import MergeFigures, MergeRun
from changerequests.services import runs
from changerequests.services.figures import count_ended_run
from datasets.roles import Role
from datasets.services.differences import note_difference
from tests.factories import ChangeRequestFactory, DatasetFactory, drain, merge, person_with

pytestmark = pytest.mark.django_db

WELL = {"ready": True, "database": "ok", "broker": "ok", "storage": "ok", "mail": "off"}


def ready() -> tuple[int, dict[str, Any]]:
    response = Client().get("/readyz")
    return response.status_code, response.json()


def test_the_process_is_alive_without_asking_anybody(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    with django_assert_num_queries(0):
        response = Client().get("/livez")

    assert (response.status_code, response.content) == (200, b"ok\n")
    assert "no-store" in response.headers["Cache-Control"]
    assert Client().post("/livez").status_code == 405


def test_everything_is_well_and_the_storage_root_is_made(delta_data_root: Path) -> None:
    assert not delta_data_root.exists()

    assert ready() == (200, WELL)

    assert delta_data_root.is_dir()
    assert list(delta_data_root.iterdir()) == []


def test_that_mail_is_off_is_said_and_is_no_fault(settings: Settings) -> None:
    said = [message for message in run_checks(include_deployment_checks=True) if "Mail is off" in message.msg]
    assert [one.is_serious() for one in said] == [False]
    settings.SENDS_MAIL = True
    assert ready() == (200, {**WELL, "mail": "ok"})
    checked = run_checks(include_deployment_checks=True)
    assert not [message for message in checked if "Mail is off" in message.msg]


def test_a_database_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def down() -> None:
        raise OperationalError("password=secret host=10.0.0.1")

    with monkeypatch.context() as patch:
        patch.setattr(connection, "cursor", down)
        status, report = ready()

    assert status == 503
    assert report["ready"] is False
    assert report["database"] == "unavailable: OperationalError"
    assert (report["broker"], report["storage"]) == ("ok", "ok")
    assert "secret" not in str(report)


def test_a_broker_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object, **__: object) -> None:
        raise ConnectionRefusedError("redis://:secret@broker")

    monkeypatch.setattr(current_app, "connection_for_write", down)

    assert ready() == (503, {**WELL, "ready": False, "broker": "unavailable: ConnectionRefusedError"})


def test_a_broker_that_nobody_answers_for() -> None:
    unreachable = Connection("redis://127.0.0.1:1/0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(current_app, "connection_for_write", lambda: unreachable)
        status, report = ready()

    assert status == 503
    assert report["broker"].startswith("unavailable: ")


def test_a_storage_root_that_cannot_be(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "file").write_text("no folder")
    settings.DELTA_DATA_ROOT = tmp_path / "file" / "delta"

    assert ready() == (503, {**WELL, "ready": False, "storage": "unavailable: TableUnreachable"})


def test_fo7_a_queue_that_nobody_works_on_is_told_by_figures_and_keeps_this_process_ready() -> None:
    change_request = ChangeRequestFactory.create()
    run = runs.request_merge(change_request_id=change_request.pk, actor=change_request.author)
    MergeRun.objects.filter(pk=run.pk).update(queued_at=timezone.now() - timedelta(seconds=301))

    assert ready() == (200, WELL)
    found = samples()
    assert found["headgate_queue_age_seconds", ()] >= 301
    assert found["headgate_stuck_runs", (("reason", "not_taken"),)] == 1

    drain()
    assert samples()["headgate_stuck_runs", (("reason", "not_taken"),)] == 0


def test_strangers_learn_whether_it_is_ready_and_nothing_else(settings: Settings) -> None:
    stranger = Client(REMOTE_ADDR="203.0.113.9")
    assert stranger.get("/readyz").json() == {"ready": True}
    settings.DELTA_DATA_ROOT = Path("/dev/null/delta")
    response = stranger.get("/readyz")
    assert (response.status_code, response.json()) == (503, {"ready": False})


@pytest.mark.parametrize(
    ("caller", "headers", "proxies", "status"),
    [
        ("127.0.0.1", {}, [], 200),
        ("::1", {}, [], 200),
        ("10.1.2.3", {}, [], 401),
        ("127.0.0.1", {"X-Forwarded-For": "203.0.113.9"}, [], 401),  # a proxy here that nobody said to trust
        ("127.0.0.1", {"Forwarded": "for=203.0.113.9"}, [], 401),
        ("127.0.0.1", {"X-Forwarded-For": "203.0.113.9"}, ["127.0.0.1"], 401),
        ("10.0.0.2", {"X-Forwarded-For": "127.0.0.1"}, [], 401),
        ("10.0.0.2", {"X-Forwarded-For": "127.0.0.1, 203.0.113.9"}, ["10.0.0.0/8"], 401),
        ("", {}, [], 401),  # a socket: a proxy, for all that is known
        ("203.0.113.9", {"Authorization": "Bearer " + "m" * 40}, [], 200),
        ("203.0.113.9", {"Authorization": "Bearer " + "m" * 39}, [], 401),
        ("203.0.113.9", {"Authorization": "Basic " + "m" * 40}, [], 401),
        ("203.0.113.9", {"Authorization": "Bearer é"}, [], 401),
    ],
)
def test_fo6_figures_are_for_who_is_near_or_has_the_token(
    caller: str, headers: dict[str, str], proxies: list[str], status: int, settings: Settings
) -> None:
    settings.METRICS_TOKEN = "m" * 40
    settings.TRUSTED_PROXIES = TrustedProxies.read(proxies)
    response = Client(REMOTE_ADDR=caller).get("/metrics", headers=headers)
    assert response.status_code == status
    assert (b"headgate_" in response.content) == (status == 200)


def test_a_server_that_believed_a_header_is_not_near(settings: Settings) -> None:
    """Uvicorn's default takes the address from the header itself, and says port 0."""
    believed = Client(REMOTE_ADDR="127.0.0.1", REMOTE_PORT="0")
    response = believed.get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"})
    assert response.status_code == 403
    assert "WWW-Authenticate" not in response


def test_without_a_token_an_empty_one_opens_nothing() -> None:
    response = Client(REMOTE_ADDR="203.0.113.9").get("/metrics", headers={"Authorization": "Bearer "})
    assert response.status_code == 403


# --- Metrics ------------------------------------------------------------------------------------------------


#: Statements of a look at all figures: one for each thing that is counted, however many of it there are.
FIGURES = 17


def samples() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    response = Client().get("/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.content.decode())
        for sample in family.samples
    }


def test_an_empty_installation_has_figures_too() -> None:
    found = samples()

    for outcome in ("succeeded", "conflicted", "invalid", "failed", "cancelled"):
        assert found["headgate_merge_runs_total", (("outcome", outcome),)] == 0
    assert found["headgate_merged_rows_total", ()] == 0
    assert found["headgate_queued_runs", ()] == 0
    assert found["headgate_queue_age_seconds", ()] == 0
    assert found["headgate_differing_datasets", ()] == 0


def test_datasets_whose_commit_differs_are_told() -> None:
    with transaction.atomic():
        note_difference(DatasetFactory.create(), "Version 2 has 4 rows where 3 were expected.")
    DatasetFactory.create()
    assert samples()["headgate_differing_datasets", ()] == 1


def test_merges_are_counted_by_outcome_with_rows_bytes_and_seconds() -> None:
    dataset = DatasetFactory.create()
    owner = person_with(Role.OWNER, dataset)
    first = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,1\nN9,9\n")
    late = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,2\n")
    cancelled = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN2,2\n")
    waiting = ChangeRequestFactory.create()
    for change_request in (first, late):
        runs.request_merge(change_request_id=change_request.pk, actor=owner)
    drain()
    run = runs.request_merge(change_request_id=cancelled.pk, actor=owner)
    runs.cancel_run(run_id=run.pk, actor=owner)
    queued = runs.request_merge(change_request_id=waiting.pk, actor=waiting.author)
    MergeRun.objects.filter(pk=queued.pk).update(queued_at=timezone.now() - timedelta(seconds=60))

    found = samples()

    assert {
        outcome: found["headgate_merge_runs_total", (("outcome", outcome),)]
        for outcome in ("succeeded", "conflicted", "invalid", "failed", "cancelled")
    } == {"succeeded": 1, "conflicted": 1, "invalid": 0, "failed": 0, "cancelled": 1}
    assert found["headgate_merged_rows_total", ()] == 2
    assert (
        found["headgate_written_bytes_total", ()]
        == MergeRun.objects.get(status="succeeded").bytes_written
        > 0
    )
    assert found["headgate_queued_runs", ()] == 1
    assert 60 <= found["headgate_queue_age_seconds", ()] < 120
    for phase in ("checking", "writing", "committing"):
        labels = (("phase", phase),)
        assert found["headgate_merge_phase_seconds_count", labels] == 1
        assert found["headgate_merge_phase_seconds_sum", labels] > 0
        assert found["headgate_merge_phase_seconds_bucket", (("le", "+Inf"), ("phase", phase))] == 1


def test_figures_cost_the_same_however_much_was_merged(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    with django_assert_num_queries(FIGURES):
        samples()
    change_request = ChangeRequestFactory.create()
    merge(change_request, person_with(Role.OWNER, change_request.dataset))
    with django_assert_num_queries(FIGURES):
        samples()


def test_totals_of_several_datasets_are_told_together_and_never_fall() -> None:
    for _ in range(2):
        change_request = ChangeRequestFactory.create()
        merge(change_request, person_with(Role.OWNER, change_request.dataset))
    before = samples()
    assert before["headgate_merge_runs_total", (("outcome", "succeeded"),)] == 2
    assert before["headgate_merged_rows_total", ()] == 4

    MergeRun.objects.all().delete()  # as retention does with some

    after = samples()
    assert {name: after[name] for name in before if name[0].startswith("headgate_merge")} == {
        name: value for name, value in before.items() if name[0].startswith("headgate_merge")
    }


def test_a_phase_is_counted_by_its_seconds() -> None:
    dataset = DatasetFactory.create()
    run = MergeRun(dataset=dataset, status="succeeded", rows_affected=3, bytes_written=7)
    with transaction.atomic():
        count_ended_run(run, {"writing": 0.01})
        count_ended_run(run, {"writing": 0.011})
        count_ended_run(run, {"writing": 301.0})
    found = samples()
    counted = {
        edge: found["headgate_merge_phase_seconds_bucket", (("le", edge), ("phase", "writing"))]
        for edge in ("0.01", "0.025", "300.0", "+Inf")
    }
    assert counted == {"0.01": 1, "0.025": 2, "300.0": 2, "+Inf": 3}
    assert found["headgate_merge_phase_seconds_sum", (("phase", "writing"),)] == pytest.approx(301.021)
    assert found["headgate_merged_rows_total", ()] == 9
    assert found["headgate_written_bytes_total", ()] == 21


def test_an_upgrade_counts_the_runs_that_are_there() -> None:
    dataset = DatasetFactory.create()
    owner = person_with(Role.OWNER, dataset)
    for csv in ("tailnum,seats\nN1,1\n", "tailnum,seats\nN1,2\n"):
        change_request = ChangeRequestFactory.create(dataset=dataset, csv=csv)
        runs.request_merge(change_request_id=change_request.pk, actor=owner)
    drain()
    cancelled = ChangeRequestFactory.create(dataset=dataset)
    run = runs.request_merge(change_request_id=cancelled.pk, actor=owner)
    runs.cancel_run(run_id=run.pk, actor=owner)
    merge(ChangeRequestFactory.create(), User.objects.create_superuser("root"))
    waiting = ChangeRequestFactory.create(dataset=dataset)
    runs.request_merge(change_request_id=waiting.pk, actor=owner)
    before = MergeFigures.objects.order_by("pk").values()
    kept = list(before)
    MergeFigures.objects.all().delete()

    migration = import_module("changerequests.migrations.0012_running_totals")
    migration.count_what_has_ended(apps, None)

    assert list(before.all()) == kept
    assert [one["outcomes"] for one in kept] == [
        {"succeeded": 1, "conflicted": 1, "cancelled": 1},
        {"succeeded": 1},
    ]
