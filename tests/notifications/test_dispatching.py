"""From events to deliveries and on to receivers: nothing lost, nothing told of what never happened, order kept."""

import threading
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection, transaction
from django.utils import timezone
from kombu.exceptions import OperationalError

from audit import bells, outbox
from audit.models import Event, OutboxEntry
from audit.services import record
from datasets.durable_work import WorkStatus
from notifications.channels import registry
from notifications.channels.protocol import DeliveryFailed, Sent
from notifications.models import Delivery
from notifications.news import News
from notifications.services import delivering, dispatching
from notifications.services.parcels import Parcel

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


class Collector:
    """A channel to tests: notes what it is given, after doing what it is told to do first."""

    def __init__(self) -> None:
        self.took: list[str] = []
        self.before: Callable[[Delivery], None] = lambda _: None

    def send(self, delivery: Delivery) -> Sent:
        self.before(delivery)
        self.took.append(f"{delivery.address} {delivery.payload['said']}")
        return Sent(response={"status": 200})


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Collector:
    collector = Collector()
    monkeypatch.setattr(registry, "CHANNELS", {"test": collector})
    return collector


@pytest.fixture
def routed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let a router of the test's own decide who is told."""

    def use(router: Callable[[News], Iterable[Parcel]]) -> None:
        monkeypatch.setattr(dispatching, "ROUTERS", (router,))

    use(lambda news: [Parcel("test:all", {"said": news.action})])
    return use


@pytest.fixture(autouse=True)
def rung(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    sent: list[tuple[Any, ...]] = []
    monkeypatch.setattr(bells, "ring", lambda *message: sent.append(message))
    return sent


def happened(*actions: str, stream: str = "installation") -> list[Event]:
    with transaction.atomic():
        return [
            record(stream=stream, action=action, subject_type="test", subject_id="1") for action in actions
        ]


def deliver_all() -> None:
    for delivery in Delivery.objects.filter(status=WorkStatus.QUEUED):
        delivering.deliver(delivery_id=delivery.pk, worker="test")


def later(seconds: float) -> time_machine.travel:
    return time_machine.travel(timezone.now() + timedelta(seconds=seconds), tick=False)


def test_an_event_is_put_into_the_outbox_with_it_and_one_bell_rings_for_a_transaction(
    rung: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        happened("one", "two", "three")
    assert OutboxEntry.objects.filter(outbox.waiting()).count() == 3
    assert rung == [("notifications.dispatch",)]


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_transaction_tells_nobody(collector: Collector, routed: Any, rung: list[Any]) -> None:
    def fail() -> None:
        with transaction.atomic():
            happened("never")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert dispatching.dispatch() == 0
    assert (rung, OutboxEntry.objects.count(), Delivery.objects.count()) == ([], 0, 0)
    happened("once")
    assert rung == [("notifications.dispatch",)]
    assert dispatching.dispatch() == 1
    deliver_all()
    assert collector.took == ["all once"]


def test_events_are_dispatched_once_and_in_order(
    collector: Collector, routed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatching, "AT_ONCE", 2)
    happened(*"abcde")
    assert (dispatching.dispatch(), dispatching.dispatch()) == (5, 0)
    assert not OutboxEntry.objects.filter(dispatched_at__isnull=True).exists()
    deliver_all()
    assert collector.took == [f"all {one}" for one in "abcde"]


def test_what_cannot_be_dispatched_keeps_no_other_waiting_and_is_left_to_operators_in_the_end(
    collector: Collector, routed: Callable[..., None]
) -> None:
    def router(news: News) -> list[Parcel]:
        if news.action == "bad":
            raise LookupError("no such thing")
        return [Parcel("test:all", {"said": news.action})]

    routed(router)
    _, bad, _ = happened("before", "bad", "after")
    for _ in range(outbox.MOST_ATTEMPTS + 2):
        dispatching.dispatch()
    deliver_all()
    assert collector.took == ["all before", "all after"]
    entry = OutboxEntry.objects.get(event=bad)
    assert (entry.dispatched_at, entry.attempts) == (None, outbox.MOST_ATTEMPTS)
    assert entry.error == "LookupError: no such thing"
    routed(lambda news: [Parcel("test:all", {"said": news.action})])
    OutboxEntry.objects.filter(event=bad).update(attempts=0)
    assert dispatching.dispatch() == 1


def test_a_receiver_that_refuses_is_tried_later_and_later_and_its_order_is_kept(
    collector: Collector, routed: Any
) -> None:
    def down(_: Delivery) -> None:
        raise DeliveryFailed("Nobody answers.", retry=True, response={"status": 503})

    collector.before = down
    happened("one", "two")
    dispatching.dispatch()
    deliver_all()
    deliver_all()
    first, second = Delivery.objects.order_by("pk")
    assert (first.status, first.attempts, first.error_message) == ("queued", 1, "Nobody answers.")
    assert first.response == {"status": 503}
    assert second.attempts == 0
    assert timedelta(seconds=7) < first.next_attempt_at - timezone.now() < timedelta(seconds=13)
    with later(15):
        deliver_all()
        first.refresh_from_db()
        assert timedelta(seconds=15) < first.next_attempt_at - timezone.now() < timedelta(seconds=25)
        collector.before = lambda _: None
        delivering.deliver(
            delivery_id=second.pk, worker="test"
        )  # its time has not come: nor has the second's
        assert collector.took == []
    with later(60):
        delivering.deliver(delivery_id=second.pk, worker="test")
    assert collector.took == ["all one", "all two"]
    assert [one.status for one in Delivery.objects.all()] == ["succeeded", "succeeded"]


def test_pauses_grow_to_an_hour_and_after_days_it_is_given_up_and_the_rest_goes_on(
    collector: Collector, routed: Any
) -> None:
    def down(delivery: Delivery) -> None:
        if delivery.payload["said"] == "one":
            raise DeliveryFailed("Nobody answers.", retry=True)

    collector.before = down
    happened("one", "two")
    dispatching.dispatch()
    first = Delivery.objects.earliest("pk")
    pauses = []
    with time_machine.travel(timezone.now(), tick=False) as clock:
        while Delivery.objects.get(pk=first.pk).is_active:
            deliver_all()
            first.refresh_from_db()
            pauses.append((first.next_attempt_at - timezone.now()).total_seconds())
            clock.move_to(first.next_attempt_at)
    assert max(pauses) <= 3600 * 1.2
    assert 70 < len(pauses) < 110
    assert (first.status, first.error_code) == ("failed", "given_up")
    assert collector.took == ["all two"]


def test_what_is_refused_for_good_is_not_tried_again(collector: Collector, routed: Any) -> None:
    def refuse(delivery: Delivery) -> None:
        if delivery.payload["said"] == "one":
            raise DeliveryFailed("Gone.", retry=False)

    collector.before = refuse
    happened("one", "two")
    dispatching.dispatch()
    deliver_all()
    assert collector.took == ["all two"]
    first = Delivery.objects.earliest("pk")
    assert (first.status, first.error_code, first.error_message) == ("failed", "refused", "Gone.")


def test_a_fault_of_a_channel_or_a_channel_of_another_release_is_tried_again(
    collector: Collector, routed: Callable[..., None]
) -> None:
    def fail(_: Delivery) -> None:
        raise ZeroDivisionError("by zero")

    collector.before = fail
    routed(lambda news: [Parcel("test:one", {"said": "x"}), Parcel("pigeon:1", {})])
    happened("one")
    dispatching.dispatch()
    deliver_all()
    told = {one.receiver: (one.status, one.error_message) for one in Delivery.objects.all()}
    assert told == {
        "test:one": ("queued", "ZeroDivisionError: by zero"),
        "pigeon:1": ("queued", "There is no channel 'pigeon' in this release."),
    }


def test_a_receiver_that_is_down_keeps_no_other_waiting(
    collector: Collector, routed: Callable[..., None]
) -> None:
    def down(delivery: Delivery) -> None:
        if delivery.address == "down":
            raise DeliveryFailed("Nobody answers.", retry=True)

    collector.before = down
    routed(lambda news: [Parcel(f"test:{name}", {"said": news.action}) for name in ("down", "up")])
    happened("one", "two")
    dispatching.dispatch()
    deliver_all()
    assert collector.took == ["up one", "up two"]


def test_a_delivery_whose_worker_died_is_found_by_the_sweep_and_sent_again_after_its_pause(
    collector: Collector, routed: Any, rung: list[Any]
) -> None:
    def die(_: Delivery) -> None:
        raise SystemExit  # as a killed process: nothing after it runs

    collector.before = die
    happened("one", "two")
    dispatching.dispatch()
    with pytest.raises(SystemExit):
        deliver_all()
    first = Delivery.objects.earliest("pk")
    assert (first.status, first.attempts) == ("running", 1)
    collector.before = lambda _: None
    rung.clear()
    delivering.sweep()
    deliver_all()
    assert (rung, collector.took) == ([], []), "its worker may be alive"
    with later(60):
        delivering.sweep()
        assert rung == [("notifications.deliver", first.pk)]
        delivering.deliver(delivery_id=first.pk, worker="another")
    assert collector.took == ["all one", "all two"]


def test_a_worker_that_comes_back_from_the_dead_writes_nothing(collector: Collector, routed: Any) -> None:
    def taken_over(delivery: Delivery) -> None:
        Delivery.objects.filter(pk=delivery.pk).update(fence=delivery.fence + 1, worker="another")
        raise DeliveryFailed("Late.", retry=False)

    collector.before = taken_over
    happened("one")
    dispatching.dispatch()
    deliver_all()
    now = Delivery.objects.get()
    assert (now.status, now.worker, now.error_message) == ("running", "another", "")


def test_a_task_lets_others_have_the_worker_after_some(
    collector: Collector, routed: Any, rung: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "AT_ONCE", 2)
    happened(*"abc")
    dispatching.dispatch()
    first = Delivery.objects.earliest("pk")
    rung.clear()
    delivering.deliver(delivery_id=first.pk, worker="test")
    assert collector.took == ["all a", "all b"]
    assert rung == [("notifications.deliver", first.pk)]


def test_a_broker_that_is_down_costs_no_event(
    collector: Collector,
    routed: Any,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(registry, "CHANNELS", {"test": collector})

    def down(*_: Any, **__: Any) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr("audit.bells.current_app.send_task", down)
    with django_capture_on_commit_callbacks(execute=True):
        happened("one")
    assert OutboxEntry.objects.filter(outbox.waiting()).count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_dispatchers_at_once_dispatch_each_event_once_and_in_order(
    collector: Collector, routed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatching, "AT_ONCE", 5)
    both = threading.Barrier(2)
    counts: list[int] = []

    def run() -> None:
        both.wait(timeout=10)
        counts.append(dispatching.dispatch())
        connection.close()

    for stream in ("dataset:1", "dataset:2"):
        happened(*(f"{stream} {number:02d}" for number in range(20)), stream=stream)
    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    said = [one.payload["said"] for one in Delivery.objects.order_by("pk")]
    assert sum(counts) == 40
    assert len(said) == len(set(said)) == 40
    for stream in ("dataset:1", "dataset:2"):
        assert [one for one in said if one.startswith(stream)] == [f"{stream} {n:02d}" for n in range(20)]


@pytest.mark.django_db(transaction=True)
def test_a_second_dispatcher_waits_for_nobody_and_what_it_left_is_dispatched_by_the_first(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    left: list[int] = []

    def second() -> None:
        with transaction.atomic():
            record(stream="installation", action="two", subject_type="test", subject_id="2")
        left.append(dispatching.dispatch())
        connection.close()

    def router(news: News) -> Iterable[Parcel]:
        told.append(news.action)
        # SQLite lets one write at a time: there the second cannot even record beside the first.
        if news.action == "one" and connection.vendor == "postgresql":
            beside = threading.Thread(target=second)
            beside.start()
            beside.join(timeout=20)
            assert not beside.is_alive()
        return [Parcel("test:all", {"said": news.action})]

    monkeypatch.setattr(dispatching, "ROUTERS", (router,))
    happened("one")
    count = dispatching.dispatch()
    if connection.vendor == "postgresql":
        assert (left, count, told) == ([0], 2, ["one", "two"])
    else:
        assert (count, told) == (1, ["one"])
