"""One trace from a click to the commit and to whoever is told of it, as an OTLP receiver gets it from processes."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pytest_django import Settings

from changerequests.models import MergeRun
from config.env import BASE_DIR
from datasets.models import Dataset
from datasets.roles import Role
from notifications.channels.reach import Reach
from notifications.services.webhooks import create_webhook
from tests import services
from tests.api.clients import token_of
from tests.conftest import connected_database_url
from tests.factories import ChangeRequestFactory, DatasetFactory, person_with
from tests.live.server import Connection
from tests.patience import until

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Receiver(ThreadingHTTPServer):
    """Takes traces (OTLP over HTTP) and webhooks."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taking)
        self.spans: list[Span] = []
        self.services: set[str] = set()
        self.told: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def named(self, name: str) -> list[Span]:
        """The spans of the trace that are called so."""
        return [span for span in list(self.spans) if span.name == name and span.trace_id.hex() == TRACE]


class Taking(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                facts = {one.key: one.value.string_value for one in resource.resource.attributes}
                self.server.services.add(facts["service.name"])
                for scope in resource.scope_spans:
                    self.server.spans.extend(scope.spans)
        else:
            self.server.told.append(self.headers.get("traceparent", ""))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def own_dataset(delta_data_root: Path) -> Dataset:
    made: Dataset = DatasetFactory.create()
    return made


def attributes(span: Span) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def test_one_trace_from_the_click_to_the_commit(
    live_root: Path, own_dataset: Dataset, receiver: Receiver, tmp_path: Path, settings: Settings
) -> None:
    settings.WEBHOOK_REACH = Reach.read(["127.0.0.0/8"])
    owner = person_with(Role.OWNER, own_dataset)
    change_request = ChangeRequestFactory.create(dataset=own_dataset, csv="tailnum,seats\nN1,150\n")
    create_webhook(actor=owner, place=own_dataset, name="Here", url=f"{receiver.address}/news")
    with services.redis_server() as broker:
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings.dev",
            "DATABASE_URL": connected_database_url(),
            "CELERY_BROKER_URL": broker,
            "DELTA_DATA_ROOT": str(live_root),
            "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.address,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        log = tmp_path / "web.log"
        with (
            services.worker_process(environment, tmp_path / "worker.log"),
            services.web_process(environment, log) as address,
        ):
            answer = Connection(address, token=token_of(owner)).call(
                "POST",
                f"/api/v1/change_requests/{change_request.cr_id}/merge?filter=xylophone",
                b"{}",
                Content_Type="application/json",
                traceparent=f"00-{TRACE}-{CALLER}-01",
            )
            assert answer.status == 422, answer.body  # the parameter is none
            answer = Connection(address, token=token_of(owner)).call(
                "POST",
                f"/api/v1/change_requests/{change_request.cr_id}/merge",
                b"{}",
                Content_Type="application/json",
                traceparent=f"00-{TRACE}-{CALLER}-01",
            )
            assert answer.status == 202, answer.body
            until(lambda: bool(receiver.named("recording") and receiver.told))
            until(lambda: bool(receiver.named("merge run")))

    run = MergeRun.objects.get(change_request=change_request)
    assert run.merged_version == 1
    assert receiver.services == {"headgate"}

    clicks = receiver.named("POST /api/v1/change_requests/<str:cr_id>/merge")
    assert [attributes(span)["http.response.status_code"] for span in clicks] == [422, 202]
    click = clicks[1]
    assert click.parent_span_id.hex() == CALLER
    [task] = receiver.named("changerequests.merge_next")
    [work] = receiver.named("merge run")
    assert (attributes(work)["headgate.number"], attributes(work)["headgate.attempt"]) == (run.pk, 1)
    assert work.parent_span_id == task.span_id
    assert run.traceparent.split("-")[1] == TRACE
    steps = [receiver.named(name) for name in ("checking", "writing", "committing", "recording")]
    assert all(step and step[0].parent_span_id == work.span_id for step in steps)
    asked = [span for span in receiver.named("INSERT") if "merge" in attributes(span)["db.query.text"]]
    assert asked
    assert any(position.split("-")[1:2] == [TRACE] for position in receiver.told)

    kept = json.dumps([attributes(span) for span in receiver.spans])
    assert "xylophone" not in kept
    assert "N1" not in kept
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert any(line.get("trace_id") == TRACE for line in lines)


def test_where_no_traces_are_kept_nothing_is_imported_that_keeps_them() -> None:
    """What others import of OpenTelemetry where it is installed (the client of Redis does) keeps nothing."""
    program = (
        "import sys, django; django.setup(); import config.asgi; "
        "kept = ('opentelemetry.exporter', 'opentelemetry.sdk.trace', 'config.spans'); "
        "print(sorted(name for name in sys.modules if name.startswith(kept)))"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings.test"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"
