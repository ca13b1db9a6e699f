"""What goes over the wire and what comes back, without sending anything: calls, answers, and when to try again."""

from __future__ import annotations

import hashlib
import json
import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from time import time
from typing import Any
from urllib.parse import quote

from headgate.content.sent import Content
from headgate.errors import ConnectionFailed, HeadgateError, NotHeadgate, error_of

#: Prefix of every address but the contract's.
API = "/api/v1"

Parameter = str | int | bool | None
Parameters = Mapping[str, Parameter | Sequence[str]]


@dataclass(frozen=True)
class Call:
    """One call: everything that is needed to send it, again if need be."""

    method: str
    path: str
    parameters: Parameters = field(default_factory=dict)
    json: Any = None
    content: Content | None = None
    #: Form fields that go along with the content; None sends the content itself as the body.
    form: Mapping[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def query(self) -> list[tuple[str, str]]:
        """The parameters as they stand in an address; those that are None are left out."""
        pairs: list[tuple[str, str]] = []
        for name, value in self.parameters.items():
            if value is None:
                continue
            several = [value] if isinstance(value, (str, int)) else value
            pairs += [(name, _text(one)) for one in several]
        return pairs

    @property
    def is_repeatable(self) -> bool:
        """Whether sending it twice does it once."""
        return self.method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS") or "Idempotency-Key" in self.headers


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def path_to(address: str, *rest: str | int) -> str:
    """The address of something beneath another, segment by segment."""
    return "/".join([address, *(quote(str(one), safe="") for one in rest)])


def dataset_path(dataset: str | int, *rest: str | int) -> str:
    """The address of a dataset, by number or ``project/slug``, or of something beneath it."""
    return path_to(f"{API}/datasets/{quote(str(dataset), safe='/')}", *rest)


def change_request_path(cr_id: str, *rest: str | int) -> str:
    """The address of a change request, or of something beneath it."""
    return path_to(f"{API}/change_requests", cr_id, *rest)


@dataclass(frozen=True)
class Answer:
    """What came back, and was no error."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body read as JSON, None where there is none. Raises ``NotHeadgate``."""
        if not self.body:
            return None
        try:
            return json.loads(self.body)
        except ValueError:
            raise NotHeadgate(f"The answer is no JSON: {self.body[:80]!r}", status=self.status) from None

    @property
    def is_replayed(self) -> bool:
        """Whether it is the answer of an earlier call with the same key."""
        return self.headers.get("idempotent-replayed") == "true"


def problem_in(status: int, headers: Mapping[str, str], body: bytes) -> HeadgateError:
    """The error that an answer stands for: Headgate's own, or what something between said."""
    if headers.get("content-type", "").startswith("application/problem+json"):
        try:
            return error_of(json.loads(body), status)
        except ValueError:
            pass
    if status in GATEWAY_STATUSES:
        return ConnectionFailed(f"Something before the server answered {status}.", status=status)
    return NotHeadgate(f"The answer is {status}, and none of Headgate's: {body[:80]!r}", status=status)


# --- Sending again -----------------------------------------------------------------------------------------

#: What stands before a server says so while it is away.
GATEWAY_STATUSES = (502, 503, 504)


@dataclass(frozen=True)
class Retries:
    """How often and how long a call is sent again: ``attempts`` at most, each pause twice the last up to ``longest``.

    A pause that the server asks for (``Retry-After``) is kept, up to ``longest_asked`` seconds.
    """

    attempts: int = 8
    first: float = 0.25
    longest: float = 15
    longest_asked: float = 120

    def pause(self, attempt: int, error: HeadgateError, headers: Mapping[str, str]) -> float | None:
        """Seconds until the call may be sent again after its ``attempt``-th failure (from 1); None for never."""
        if not error.passes or attempt >= self.attempts:
            return None
        asked = _asked_pause(headers)
        if asked is not None:
            return asked if asked <= self.longest_asked else None
        # Spread over the whole span, so that many clients do not come back at once.
        span: float = min(self.longest, self.first * 2 ** (attempt - 1))
        return span * random.uniform(0.5, 1)  # noqa: S311  (no secret)


def _asked_pause(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after", "")
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except (TypeError, ValueError):
        return None


# --- Doing things once ---------------------------------------------------------------------------------------


def new_key() -> str:
    """A key for a call that is meant once more each time it is made."""
    return str(uuid.uuid4())


def derived_key(*parts: object) -> str:
    """The key that the same call always has: the same parts give the same key."""
    text = json.dumps([str(part) for part in parts])
    return f"headgate-{hashlib.sha256(text.encode()).hexdigest()[:48]}"
