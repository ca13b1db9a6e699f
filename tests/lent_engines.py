"""DuckDB instances that the sessions of one process of tests use again.

Opening an instance takes 14 ms of CPU, and a small test opens several: a fifth of what the engine's tests took. A
session still gets a connection of its own in an empty catalog with the settings it asks for; an instance goes to the
next one only where the last has left nothing behind that cannot be dropped.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import duckdb

from merging.sql import session

#: How a session ends its connection outside of tests.
END = session._end

_LEFT_BEHIND = """
    SELECT 'TABLE', table_name FROM duckdb_tables() WHERE NOT temporary UNION ALL
    SELECT 'VIEW', view_name FROM duckdb_views() WHERE NOT internal AND NOT temporary
"""
#: What the engine sets for a whole instance, but for what staging sets each time.
SET_FOR_ALL = (
    *("allow_community_extensions", "allowed_directories", "allowed_paths", "disabled_optimizers"),
    *("enable_external_access", "errors_as_json", "lock_configuration", "max_temp_directory_size"),
    *("memory_limit", "preserve_insertion_order", "python_enable_replacements", "threads"),
)
_SETTINGS = "SELECT " + ", ".join(f"current_setting('{name}')" for name in SET_FOR_ALL)


@dataclass
class _Instance:
    opened_for: str
    connection: duckdb.DuckDBPyConnection
    settings: list[Any]


@dataclass
class LentEngines:
    """Stands in for ``duckdb`` in ``merging.sql.session``; ``take_back`` for its ``_end``."""

    ConnectionException = duckdb.ConnectionException

    _idle: dict[str, list[_Instance]] = field(default_factory=lambda: defaultdict(list))
    _lent: dict[int, _Instance] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.RLock)

    def connect(self, database: str, config: dict[str, Any]) -> duckdb.DuckDBPyConnection:
        """A connection to an instance with this configuration that nobody else has."""
        spill = config["temp_directory"]
        asked = json.dumps({**config, "temp_directory": ""})
        with self._lock:
            instance = self._idle[asked].pop() if self._idle[asked] else None
        if instance is None:
            opened = duckdb.connect(database, config=config)
            instance = _Instance(asked, opened, opened.execute(_SETTINGS).fetchall())
        else:
            instance.connection.execute(f"SET temp_directory = '{spill}'")
        lent = instance.connection.cursor()
        with self._lock:
            self._lent[id(lent)] = instance
        return lent

    def take_back(self, lent: duckdb.DuckDBPyConnection, spill: str) -> None:
        """End a connection, remove what it spilled, and keep its instance if it is as it was."""
        with self._lock:
            instance = self._lent.pop(id(lent))
        lent.close()
        if _emptied(instance) and not os.path.exists(spill):
            with self._lock:
                self._idle[instance.opened_for].append(instance)
        else:
            instance.connection.close()
            shutil.rmtree(spill, ignore_errors=True)

    def close(self) -> None:
        """End the instances that nobody has."""
        with self._lock:
            idle = [instance for several in self._idle.values() for instance in several]
            self._idle.clear()
        for instance in idle:
            instance.connection.close()


def _emptied(instance: _Instance) -> bool:
    """Whether nothing of the last session is left, once its tables and views are dropped."""
    connection = instance.connection
    try:
        if connection.list_filesystems() or connection.execute(_SETTINGS).fetchall() != instance.settings:
            return False
        for kind, name in connection.execute(_LEFT_BEHIND).fetchall():
            connection.execute(f'DROP {kind} "{name}"')
    except duckdb.Error:  # what ended the session has broken the instance
        return False
    return True
