"""Calls with a key are performed once: when they are sent again, at the same moment, and after a failure."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.utils import timezone

from datasets import idempotency
from datasets.errors import InFlight, InvalidInput
from datasets.idempotency import Answer, KeyedCall, answer_once
from datasets.models import RememberedAnswer
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def user() -> User:
    return UserFactory.create()


def call_of(user: User, **other: str) -> KeyedCall:
    return KeyedCall(user, **{"operation": "POST /things", "key": "k", "fingerprint": "f", **other})


def making(name: str = "made") -> Answer:
    Group.objects.create(name=f"{name}-{Group.objects.count()}")
    return Answer(201, {"Location": "/things/1"}, '{"id": 1}')


@pytest.mark.parametrize("waits", [False, True])
def test_fh7_the_first_answer_again(user: User, waits: bool) -> None:
    first, again = (answer_once(call_of(user), making, waits=waits) for _ in range(2))
    assert (first.is_first, again.is_first) == (True, False)
    assert (again.status, again.headers, again.body) == (201, {"Location": "/things/1"}, '{"id": 1}')
    assert Group.objects.count() == 1
    answer_once(call_of(user, operation="POST /others"), making)
    answer_once(call_of(UserFactory.create()), making)
    assert Group.objects.count() == 3


@pytest.mark.parametrize("waits", [False, True])
def test_fh7_another_body_is_refused_and_the_answer_kept(user: User, waits: bool) -> None:
    answer_once(call_of(user), making)
    with pytest.raises(InvalidInput, match="another body"):
        answer_once(call_of(user, fingerprint="g"), making, waits=waits)
    assert not answer_once(call_of(user), making, waits=waits).is_first
    assert Group.objects.count() == 1


def test_fh7_what_failed_left_nothing_and_may_be_sent_again(user: User) -> None:
    def failing() -> Answer:
        making()
        raise ValueError("of ours")

    with pytest.raises(ValueError, match="of ours"):
        answer_once(call_of(user), failing)
    assert (Group.objects.count(), RememberedAnswer.objects.count()) == (0, 0)
    assert answer_once(call_of(user, fingerprint="g"), making).is_first


def test_fh7_an_answer_is_kept_for_a_day(user: User) -> None:
    answer_once(call_of(user), making)
    RememberedAnswer.objects.update(created_at=timezone.now() - timedelta(hours=23, minutes=59))
    assert not answer_once(call_of(user), making).is_first
    RememberedAnswer.objects.update(created_at=timezone.now() - timedelta(hours=24, minutes=1))
    assert answer_once(call_of(user), making).is_first
    assert RememberedAnswer.objects.count() == 1


def test_fh7_one_that_waits_is_claimed_for_a_time(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def waiting() -> Answer:
        with pytest.raises(InFlight):
            answer_once(call_of(user), making, waits=True)
        return making()

    assert answer_once(call_of(user), waiting, waits=True).is_first
    RememberedAnswer.objects.update(status=None)  # as if its process had died before it answered
    with pytest.raises(InFlight):
        answer_once(call_of(user), making, waits=True)
    RememberedAnswer.objects.update(claimed_until=timezone.now())
    assert answer_once(call_of(user), making, waits=True).is_first


def test_fh7_at_the_same_moment_it_is_performed_once(user: User) -> None:
    together = threading.Barrier(8, timeout=20)

    def ask(_: int) -> str:
        try:
            together.wait()
            answer = answer_once(call_of(user), making)
            return "first" if answer.is_first else "again"
        except InFlight:
            return "in flight"
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(ask, range(8)))
    assert told.count("first") == 1
    assert set(told) <= {"first", "again", "in flight"}
    assert Group.objects.count() == 1
    assert not answer_once(call_of(user), making).is_first


def test_fh7_while_it_is_performed_nobody_else_performs_it(user: User) -> None:
    """PostgreSQL tells the second call to come again; SQLite has one writer, so the second waits for the first."""
    began, may_end = threading.Event(), threading.Event()

    def slow() -> Answer:
        began.set()
        may_end.wait(20)
        return making()

    def ask(perform: Callable[[], Answer]) -> Answer:
        try:
            return answer_once(call_of(user), perform)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, slow)
        began.wait(20)
        second = pool.submit(ask, making)
        if connection.vendor == "postgresql":
            assert isinstance(second.exception(20), InFlight)
        may_end.set()
        assert first.result().is_first
        assert connection.vendor == "postgresql" or not second.result().is_first
    assert Group.objects.count() == 1


def test_fh7_a_key_has_a_length(user: User) -> None:
    with pytest.raises(InvalidInput, match="201 characters"):
        answer_once(call_of(user, key="k" * (idempotency.LONGEST_KEY + 1)), making)
    assert RememberedAnswer.objects.count() == 0
