"""What processes count outlives them, and who lives is known."""

import json
import os
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from changerequests import tasks
from config.watching import UNKNOWN
from datasets import counting, processes
from datasets.counting import HTTP_REQUESTS, HTTP_SECONDS, tally
from datasets.models import Measurement, ServerProcess

pytestmark = pytest.mark.django_db

Kind = ServerProcess.Kind
PAGE = ("GET", "/projects", "200")


@pytest.fixture(autouse=True)
def _counting_from_nothing() -> None:
    tally.begin_anew()


def counted(name: str = "headgate_http_requests_total", **labels: str) -> float:
    """The value of a sample of ``/metrics``; the look itself is counted after it."""
    for family in text_string_to_metric_families(Client().get("/metrics").content.decode()):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    return 0


def pages() -> float:
    return counted(method="GET", route="/projects", status="200")


def row(reporter: processes.ProcessReporter) -> ServerProcess:
    return ServerProcess.objects.get(name=reporter.name)


def long_ago(reporter: processes.ProcessReporter) -> None:
    ServerProcess.objects.filter(name=reporter.name).update(seen_at=timezone.now() - timedelta(hours=2))


def test_a_process_says_what_it_is_and_what_it_counted() -> None:
    reporter = processes.ProcessReporter(Kind.WORKER, ["staging", "merging"])
    HTTP_REQUESTS.add(*PAGE)
    HTTP_SECONDS.observe("GET", "/projects", seconds=0.3)
    reporter.report()
    HTTP_REQUESTS.add(*PAGE, amount=2)
    reporter.report()

    found = row(reporter)
    assert (found.kind, found.queues) == (Kind.WORKER, ["merging", "staging"])
    assert found.counts["headgate_http_requests"] == {json.dumps(PAGE): 3}
    assert found.free_bytes["temporary"] > 0
    assert pages() == 3
    assert counted("headgate_http_request_seconds_bucket", le="0.25", route="/projects") == 0
    assert counted("headgate_http_request_seconds_bucket", le="0.5", route="/projects") == 1
    assert counted("headgate_http_request_seconds_sum", route="/projects") == 0.3
    assert counted("headgate_processes", kind="worker") == 1
    assert counted("headgate_workers", queue="merging") == 1
    assert counted("headgate_workers", queue="maintenance") == 0


def test_fo6_counts_of_many_processes_are_one_and_outlive_them() -> None:
    first = processes.ProcessReporter(Kind.WEB)
    HTTP_REQUESTS.add(*PAGE, amount=5)
    HTTP_SECONDS.observe("GET", "/projects", seconds=0.01)
    first.report()
    tally.begin_anew()  # as another process counts
    second = processes.ProcessReporter(Kind.WEB)
    HTTP_REQUESTS.add(*PAGE, amount=2)
    HTTP_SECONDS.observe("GET", "/projects", seconds=0.02)
    second.report()
    assert (pages(), counted("headgate_processes", kind="web")) == (7, 2)

    long_ago(first)
    assert (pages(), counted("headgate_processes", kind="web")) == (7, 1)
    assert processes.add_up_ended() == 1
    assert processes.add_up_ended() == 0

    assert not ServerProcess.objects.filter(name=first.name).exists()
    assert (pages(), counted("headgate_processes", kind="web")) == (7, 1)
    assert counted("headgate_http_request_seconds_count", route="/projects") == 2


def test_a_process_that_comes_back_after_it_was_added_up_is_not_counted_twice() -> None:
    """A machine that slept for hours."""
    reporter = processes.ProcessReporter(Kind.WEB)
    HTTP_REQUESTS.add(*PAGE, amount=5)
    HTTP_SECONDS.observe("GET", "/projects", seconds=0.01)
    reporter.report()
    long_ago(reporter)
    processes.add_up_ended()
    HTTP_REQUESTS.add(*PAGE)
    reporter.report()
    assert pages() == 6
    HTTP_REQUESTS.add(*PAGE)
    reporter.report()
    assert pages() == 7
    assert counted("headgate_http_request_seconds_count", route="/projects") == 1


def test_threads_count_together() -> None:
    def count() -> None:
        for _ in range(1000):
            HTTP_REQUESTS.add(*PAGE)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.taken() == {"headgate_http_requests": {json.dumps(PAGE): 4000}}


def test_requests_are_counted_by_their_routes() -> None:
    client = Client()
    client.get("/sign-in/")
    client.get("/no/such/page")
    client.generic("BREW", "/livez")
    reported = tally.taken()["headgate_http_requests"]
    assert {tuple(json.loads(labels)): number for labels, number in reported.items()} == {
        ("GET", "/sign-in/", "200"): 1,
        ("GET", UNKNOWN, "404"): 1,
        ("OTHER", "/livez", "405"): 1,
    }


def test_the_sweep_is_a_sign_of_life_of_schedule_broker_and_worker() -> None:
    assert counted("headgate_swept_age_seconds") == -1
    tasks.sweep()
    assert 0 <= counted("headgate_swept_age_seconds") < 60
    Measurement.objects.update(value=timezone.now().timestamp() - 120)
    assert 120 <= counted("headgate_swept_age_seconds") < 180


def test_what_is_kept_is_measured(delta_data_root: Any) -> None:
    (delta_data_root / "_staging" / "uploads").mkdir(parents=True)
    (delta_data_root / "_staging" / "uploads" / "one").write_bytes(b"12345")
    tasks.measure()
    assert counted("headgate_kept_bytes", what="staging") == 5
    assert counted("headgate_kept_bytes", what="archive") == 0


def test_a_thread_reports_until_the_process_ends(settings: Settings) -> None:
    """What is counted right before the end is told, too."""

    class Stop(threading.Event):
        looks = 0

        def wait(self, timeout: float | None = None) -> bool:
            self.looks += 1
            HTTP_REQUESTS.add(*PAGE)
            return self.looks == 3

    reporter = processes.ProcessReporter(Kind.WEB)
    reporter.close_connection = lambda: None  # type: ignore[method-assign]
    reporter.report_on(Stop())
    assert row(reporter).counts["headgate_http_requests"] == {json.dumps(PAGE): 3}


def test_no_process_is_forked_while_the_reporter_holds_a_connection(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child of a worker took its parent's locks on SQLite's file for its own, and lost what it wrote."""
    settings.PROCESS_REPORT_SECONDS = 0.01
    reporting, forked, done, stop = (threading.Event() for _ in range(4))

    def report(_: processes.ProcessReporter) -> None:
        reporting.set()
        assert done.wait(10)

    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        forked.set()
        os.waitpid(pid, 0)

    monkeypatch.setattr(processes.ProcessReporter, "report", report)
    reporter = threading.Thread(target=processes.ProcessReporter(Kind.WORKER).report_on, args=(stop,))
    reporter.start()
    assert reporting.wait(10)
    forking = threading.Thread(target=fork)
    forking.start()
    assert not forked.wait(0.5)
    stop.set()
    done.set()
    assert forked.wait(10)
    for thread in (reporter, forking):
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_a_fork_that_waited_in_vain_leaves_the_reporter_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each gives back what it holds itself: else nothing was reported any more."""
    monkeypatch.setattr(processes, "LONGEST_REPORT_SECONDS", 0.01)
    running = processes._RunningReporter()
    running.wait_until_between()

    def fork_in_vain() -> None:
        running.wait_until_between()
        running.go_on()

    in_vain = threading.Thread(target=fork_in_vain)
    in_vain.start()
    in_vain.join(timeout=10)
    running.go_on()
    found: list[bool] = []
    reporter = threading.Thread(target=lambda: found.append(running.reporting.acquire(timeout=5)))
    reporter.start()
    reporter.join(timeout=10)
    assert found == [True]


def test_sums_and_differences_of_counts() -> None:
    one = {"a": {"x": 1}, "t": {"x": {"seconds": 1.0, "runs": [1, 0]}}}
    more = {"a": {"x": 2, "y": 5}, "t": {"x": {"seconds": 2.0, "runs": [0, 3]}}}
    total = counting.together(one, more)
    assert total == {"a": {"x": 3, "y": 5}, "t": {"x": {"seconds": 3.0, "runs": [1, 3]}}}
    assert one["a"] == {"x": 1}
    assert counting.together(total, more, sign=-1)["a"] == {"x": 1, "y": 0}
