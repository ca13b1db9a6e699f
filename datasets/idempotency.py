"""Calls that are sent again: with the same key they are performed once, and the first answer is given again.

For whoever does not know whether a call arrived (a timeout, a lost connection) and asks again. What a call does and its
answer are committed together, so that a process that dies leaves either both or nothing; meanwhile the row is locked,
and whoever comes with the same key is told to wait. The exception are calls that wait for another process: those are
claimed for a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import OperationalError, transaction
from django.utils import timezone

from audit.row_locks import locked
from datasets.errors import InFlight, InvalidInput
from datasets.models import RememberedAnswer

#: Characters of an idempotency key.
LONGEST_KEY = 200
#: How long an answer is given again.
KEPT = timedelta(hours=24)
#: How long a call that waits for another process is taken to be under way.
CLAIMED = timedelta(seconds=120)
#: Rows that each call removes at most of those that are kept no longer.
_REMOVED_AT_ONCE = 100
_LOCK_NOT_AVAILABLE = "55P03"


@dataclass(frozen=True)
class KeyedCall:
    """A call with a key: whose, to what (method and address), and the digest of what was sent with it."""

    user: User
    operation: str
    key: str
    fingerprint: str


@dataclass(frozen=True)
class Answer:
    """What was answered; ``is_first`` tells whether the call was performed now."""

    status: int
    headers: dict[str, str]
    body: str
    is_first: bool = True


def answer_once(call: KeyedCall, perform: Callable[[], Answer], *, waits: bool = False) -> Answer:
    """Perform the call, or give its first answer again.

    ``waits``: performing waits for another process, so it runs outside a transaction. Raises ``InvalidInput`` where the
    key was sent with something else, ``InFlight`` where the first call has not ended yet, and what ``perform`` raises:
    then nothing is remembered, and the key may be sent again.
    """
    _require_fitting(call.key)
    _forget_old()
    RememberedAnswer.objects.bulk_create(
        [
            RememberedAnswer(
                user=call.user, operation=call.operation, key=call.key, fingerprint=call.fingerprint
            )
        ],
        ignore_conflicts=True,
    )
    try:
        return _waiting(call, perform) if waits else _performed(call, perform)
    except (InFlight, _OtherBody):
        raise
    except BaseException:
        _rows(call).filter(status__isnull=True).delete()
        raise


class _OtherBody(InvalidInput):
    """The key stands for a call with another body; that one stays remembered."""


def _performed(call: KeyedCall, perform: Callable[[], Answer]) -> Answer:
    with transaction.atomic():
        row = _locked(call)
        return _remembered(row) or _remember(row, perform())


def _waiting(call: KeyedCall, perform: Callable[[], Answer]) -> Answer:
    with transaction.atomic():
        row = _locked(call)
        if (known := _remembered(row)) is not None:
            return known
        if row.claimed_until is not None and row.claimed_until > timezone.now():
            raise _in_flight()
        row.claimed_until = timezone.now() + CLAIMED
        row.save(update_fields=["claimed_until"])
    return _remember(row, perform())


def _locked(call: KeyedCall) -> RememberedAnswer:
    try:
        row = locked(_rows(call), nowait=True).first()
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", "") != _LOCK_NOT_AVAILABLE:
            raise
        raise _in_flight() from error
    if row is None:  # the first call just failed, and took its row away
        raise _in_flight()
    if row.fingerprint != call.fingerprint:
        sentence = "The key was sent before with another body. Send a new key for another call."
        raise _OtherBody(sentence, errors={"Idempotency-Key": [sentence]})
    return row


def _remembered(row: RememberedAnswer) -> Answer | None:
    if row.status is None:
        return None
    return Answer(row.status, row.headers, row.body, is_first=False)


def _remember(row: RememberedAnswer, answer: Answer) -> Answer:
    row.status, row.headers, row.body = answer.status, answer.headers, answer.body
    row.save(update_fields=["status", "headers", "body"])
    return answer


def _rows(call: KeyedCall) -> Any:
    return RememberedAnswer.objects.filter(user=call.user, operation=call.operation, key=call.key)


def _in_flight() -> InFlight:
    return InFlight("The first call with this key has not ended yet. Ask again in a moment.")


def _require_fitting(key: str) -> None:
    if len(key) > LONGEST_KEY:
        sentence = f"The key has {len(key)} characters; {LONGEST_KEY} are possible."
        raise InvalidInput(sentence, errors={"Idempotency-Key": [sentence]})


def _forget_old() -> None:
    old = RememberedAnswer.objects.filter(created_at__lt=timezone.now() - KEPT)
    RememberedAnswer.objects.filter(pk__in=[*old.values_list("pk", flat=True)[:_REMOVED_AT_ONCE]]).delete()
