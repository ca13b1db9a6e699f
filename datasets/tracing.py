"""Traces, as the application asks for them; what keeps them is put in by ``config.telemetry`` where it is configured.

Without it nothing is kept, nothing is imported and nothing is computed. The position in a trace is a ``traceparent``
(W3C Trace Context): durable work remembers the one under which it was asked for, so that its span hangs below the
click, whichever message rang for it and however often it was taken up.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Literal, Protocol

SpanKind = Literal["server", "consumer"]

#: The longest ``traceparent`` of version 00.
LONGEST_TRACEPARENT = 55


class OpenSpan:
    """Something that takes time and is ended by whoever opened it. This one is kept by nobody."""

    def __enter__(self) -> OpenSpan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(failed=error is not None)

    def answered(self, method: str, route: str, status: int) -> None:
        """What a request was, and what its answer is."""

    def close(self, *, failed: bool = False) -> None:
        """It has ended."""


class Tracing(Protocol):
    """What keeps traces."""

    def open(self, name: str, parent: str, kind: SpanKind) -> OpenSpan:
        """Begin a request or task below the position ``parent``; it is what is done now until it is closed."""

    def flush(self) -> None:
        """Send what was not sent yet."""

    def position(self) -> str:
        """The ``traceparent`` of what is done now; empty outside of any trace."""

    def span(
        self, name: str, *, parent: str, attributes: dict[str, str | int]
    ) -> AbstractContextManager[None]:
        """Something that takes time, below ``parent`` or, where that is empty, below what is done now."""

    def step(self, name: str) -> None:
        """The next step of what is done now begins, and with it the one before ends."""

    def passed(self, name: str, seconds: float, attributes: dict[str, str | int]) -> None:
        """Something took so long and has just ended."""


class _Nothing:
    _span = OpenSpan()

    def open(self, name: str, parent: str, kind: SpanKind) -> OpenSpan:
        return self._span

    def flush(self) -> None:
        return None

    def position(self) -> str:
        return ""

    @contextmanager
    def span(self, name: str, *, parent: str, attributes: dict[str, str | int]) -> Iterator[None]:
        yield

    def step(self, name: str) -> None:
        return None

    def passed(self, name: str, seconds: float, attributes: dict[str, str | int]) -> None:
        return None


class _Kept:
    tracing: Tracing = _Nothing()


def keep_with(tracing: Tracing | None) -> None:
    """Let ``tracing`` keep what is done from now on; None for nobody."""
    _Kept.tracing = tracing or _Nothing()


def traceparent() -> str:
    """The position of what is done now, for rows, messages and requests to others; empty outside of any trace."""
    return _Kept.tracing.position()


def span(name: str, *, parent: str = "", **attributes: str | int) -> AbstractContextManager[None]:
    """Something that takes time: its name, and facts of it that are no values of rows and no names of people."""
    return _Kept.tracing.span(name, parent=parent, attributes=attributes)


def open_span(name: str, parent: str, kind: SpanKind) -> OpenSpan:
    """Begin a request or a task, below the position in a trace that came with it."""
    return _Kept.tracing.open(name, parent, kind)


def flush() -> None:
    """Send what was not sent yet, as a process does that ends at once."""
    _Kept.tracing.flush()


def step(name: str) -> None:
    """Say that the next step of what is done now begins."""
    _Kept.tracing.step(name)


def passed(name: str, seconds: float, **attributes: str | int) -> None:
    """Say that something took so long and has just ended."""
    _Kept.tracing.passed(name, seconds, attributes)
