import sqlite3
from typing import Any

from django.apps import AppConfig
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created


class ChangeRequestsConfig(AppConfig):
    name = "changerequests"
    verbose_name = "Change requests"

    def ready(self) -> None:
        connection_created.connect(_ask_for_the_limit)


def _ask_for_the_limit(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Let SQLite take as many values in a statement as it can; Django counts on the 999 of versions before 3.32."""
    if connection.vendor == "sqlite":
        most = connection.connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
        connection.features.max_query_params = most
