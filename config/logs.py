"""Structured logs: one event a line, with request and run ids, never row values or secrets.

Three things bring row values along that nobody meant to log: addresses (keys and filters stand in their queries), the
texts of errors (a value that does not fit is quoted), and what other people's loggers put into their sentences. All
lines, theirs too, go through ``without_values`` before they are written.
"""

import re
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

from datasets.tracing import traceparent

#: Keys that must never reach a log line, whoever binds them.
REDACTED = frozenset(
    {
        "password",
        "token",
        "authorization",
        "secret",
        "storage_options",
        "value",
        "values",
        "rows",
        "key",
        "keys",
        "row_key",
        "filter",
        "filters",
    }
)


def redact(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Replace the values of sensitive keys, so that a careless call cannot leak row content."""
    return {key: "[redacted]" if key in REDACTED else value for key, value in event.items()}


#: The query of an address, in whatever sentence.
_QUERY = re.compile(r"((?:[a-z]+:/)?/[^\s?\"'<>]*)\?[^\s\"'<>]*")
#: Errors of connections and locks: the first line of their texts tells what happened, and no values.
_TEXT_IS_SAFE = (OperationalError, InterfaceError, BrokerError, RedisError, TimeoutError)


def describe(error: BaseException) -> str:
    """An error without what its text may quote: its class, its stable code, what the operating system says."""
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: [Errno {error.errno}] {error.strerror}"
    if isinstance(error, _TEXT_IS_SAFE):
        return f"{name}: {str(error).partition(chr(10))[0]}".removesuffix(": ")
    code = getattr(error, "code", "")
    return f"{name} ({code})" if isinstance(code, str) and code else name


def trace(error: BaseException) -> str:
    """Where it went wrong, cause by cause: the places and lines of code, and each error as ``describe`` has it."""
    parts = []
    for one in _chain(error):
        places = "".join(traceback.format_tb(one.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{places}{describe(one)}")
    return "\n\nwhich came of\n\n".join(parts)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it came of."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        pending.append(one.__cause__ or (None if one.__suppress_context__ else one.__context__))
        if isinstance(one, BaseExceptionGroup):
            pending += one.exceptions


def without_values(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Take out of a line what may hold row values: queries of addresses, and all that errors say."""
    error = _error_of(event.pop("exc_info", None))
    record = event.get("_record")
    if error is not None and record is not None and not event.get("_from_structlog"):
        event["event"] = str(record.msg)  # as its code has it: what is filled in quotes the error
    for name, value in event.items():
        if isinstance(value, BaseException):
            error = error or value
            event[name] = describe(value)
        elif isinstance(value, str):
            event[name] = _QUERY.sub(r"\1", value)
    if error is not None:
        event["exception"] = trace(error)
    return event


def _error_of(exc_info: Any) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return exc_info[1]
    return sys.exc_info()[1] if exc_info else None


def say_trace(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Name the trace, where one is kept, so that lines and spans find each other."""
    position = traceparent()
    if position:
        _, event["trace_id"], event["span_id"], _ = position.split("-")
    return event


SHARED_PROCESSORS: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    say_trace,
    redact,
]


def logging_settings(*, log_format: str, log_level: str) -> dict[str, object]:
    """Django's ``LOGGING`` for JSON lines (``json``) or a readable console (``console``)."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *SHARED_PROCESSORS,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: structlog.typing.Processor
    if log_format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [
                    without_values,
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    renderer,
                ],
                "foreign_pre_chain": SHARED_PROCESSORS,
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["stderr"], "level": log_level},
        "loggers": {
            "django": {
                "handlers": [],
                "level": log_level,
                "propagate": True,
            },  # no mail that quotes a request
            "django.db.backends": {"level": "WARNING"},  # statements come with their values
            "django.server": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
            "uvicorn": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
            "uvicorn.access": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
            "celery.app.trace": {"level": "WARNING"},
            "celery.beat": {"level": "WARNING"},  # else every sweep is a line
            "celery.worker.strategy": {"level": "WARNING"},
            "django_structlog.celery.receivers": {"level": "WARNING"},
        },
    }
