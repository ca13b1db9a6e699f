"""How Spark tells what went wrong, as far as that decides what is done about it."""

from __future__ import annotations

REFUSED = ("UNAUTHENTICATED", "PERMISSION_DENIED")
#: How Spark names what became of a session, and of the work in it, that somebody else ended: which of them comes first
#: is chance.
LOST = (
    "SESSION_NOT_FOUND",
    "SESSION_CHANGED",
    "SESSION_CLOSED",
    "OPERATION_CANCELED",
    "OPERATION_ABANDONED",
    "stopped SparkContext",
)
AWAY = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "ABORTED")


def status(error: BaseException) -> str:
    """The status of gRPC that an error has, or that it came from; empty where there is none."""
    for one in (error, error.__cause__, error.__context__):
        for name in ("getGrpcStatusCode", "code"):
            ask = getattr(one, name, None)
            if callable(ask):
                found = ask()
                return str(getattr(found, "name", found or ""))
    return ""


def is_gone(error: BaseException) -> bool:
    """Whether nobody answers any more, whatever is asked: for this session, or at all."""
    said = str(error)
    return (
        status(error) in (*AWAY, *REFUSED) or "RETRIES_EXCEEDED" in said or any(lost in said for lost in LOST)
    )
