"""Connections to the database, as a process that answers many requests at once needs them."""

from django.conf import settings
from django.db import connections

#: How long a request waits for a connection.
WAIT_SECONDS = 30


def share_connections() -> None:
    """Let the threads of this process share a bounded number of connections to PostgreSQL.

    Under ASGI each request has a thread of its own, and Django's persistent connections are one for each thread: 50
    people took 100 of them. Workers keep theirs, for each of their processes has one task at a time.
    """
    database = connections.settings["default"]
    if database["ENGINE"] == "django.db.backends.postgresql":
        bounds = {"min_size": 1, "max_size": settings.DATABASE_CONNECTIONS, "timeout": WAIT_SECONDS}
        database["CONN_MAX_AGE"] = 0
        database["OPTIONS"] = {**database.get("OPTIONS", {}), "pool": bounds}
