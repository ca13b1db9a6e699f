"""Connections to the database, as a process that answers many requests at once needs them."""

from typing import Any

from django.conf import settings
from django.db import connections
from django.db.backends.signals import connection_created

#: How long a request waits for a connection that others have, and for one to a database that did not answer when it was
#: asked last.
WAIT_SECONDS, AWAY_SECONDS = 30.0, 0.25
#: How long the pool goes on by itself, less and less often, to ask a database that does not answer. After that each
#: request asks, so that all is well as soon as it answers again.
RECONNECT_SECONDS = 5.0


def share_connections() -> None:
    """Let the threads of this process share a bounded number of connections to PostgreSQL.

    Under ASGI each request has a thread of its own, and Django's persistent connections are one for each thread: 50
    people took 100 of them. Workers keep theirs, for each of their processes has one task at a time.
    """
    database = connections.settings["default"]
    if database["ENGINE"] == "django.db.backends.postgresql":
        bounds = {"min_size": 1, "max_size": settings.DATABASE_CONNECTIONS, "timeout": WAIT_SECONDS}
        away = {"reconnect_timeout": RECONNECT_SECONDS, "reconnect_failed": _hurry}
        database["CONN_MAX_AGE"] = 0
        database["OPTIONS"] = {**database.get("OPTIONS", {}), "pool": {**bounds, **away}}
        connection_created.connect(_wait_again)


def _hurry(pool: Any) -> None:
    """The database does not answer: nobody is to wait for what nobody gives back."""
    if not pool.get_stats()["pool_size"]:
        pool.timeout = AWAY_SECONDS


def _wait_again(connection: Any, **_: object) -> None:
    connection.pool.timeout = WAIT_SECONDS
