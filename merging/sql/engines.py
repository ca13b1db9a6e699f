"""DuckDB instances that the sessions of a process use one after the other.

Opening an instance takes 14 ms of CPU, most of what a small merge or a page of rows asks of the engine. A session gets
a connection of its own in an empty catalog with the settings it asks for. Its instance goes to the next one only where
nothing is left behind: no setting differs, no memory and no disk is held, no file system was lent to it, and every
table and view can be dropped. Where the statements of people run the configuration is locked: such an instance ends.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import threading
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import duckdb

#: How many instances of one configuration wait for the next session: each has threads of its own.
IDLE = 2
_BYTES_HELD = 1 << 24
_LEFT_BEHIND = """
    SELECT 'TABLE', table_name FROM duckdb_tables() WHERE NOT temporary UNION ALL
    SELECT 'VIEW', view_name FROM duckdb_views() WHERE NOT internal AND NOT temporary
"""
#: What the engine sets for a whole instance, but for what staging sets each time.
SET_FOR_ALL = (
    *("allow_community_extensions", "allowed_directories", "allowed_paths", "disabled_optimizers"),
    *("disable_parquet_prefetching",),
    *("enable_external_access", "errors_as_json", "lock_configuration", "max_temp_directory_size"),
    *("memory_limit", "preserve_insertion_order", "python_enable_replacements", "threads"),
)
#: What an instance is asked when a session ends, prepared once.
_ASKED = {
    "settings": "SELECT " + ", ".join(f"current_setting('{name}')" for name in SET_FOR_ALL),
    "left_behind": _LEFT_BEHIND,
    "memory": "SELECT sum(memory_usage_bytes) FROM duckdb_memory()",
}


@dataclass(frozen=True)
class Lent:
    """An instance while a session has it: the session's ``connection``, and where it may spill."""

    connection: duckdb.DuckDBPyConnection
    spill: str
    instance: duckdb.DuckDBPyConnection
    settings: list[Any]
    asked: str


@dataclass
class Engines:
    """The instances of this process."""

    _idle: dict[str, list[Lent]] = field(default_factory=lambda: defaultdict(list))
    _lock: Any = field(default_factory=threading.RLock)
    _of_the_parent: list[Lent] = field(default_factory=list)

    def lend(self, spill: str, config: dict[str, Any]) -> Lent:
        """An instance with this configuration that nobody else has, spilling to this folder.

        Raises what DuckDB raises where none can be opened.
        """
        asked = json.dumps(config, sort_keys=True)
        with self._lock:
            known = self._idle[asked].pop() if self._idle[asked] else None
        if known is not None:
            with suppress(duckdb.Error):  # an instance that cannot be used again ends
                known.instance.execute(f"SET temp_directory = '{spill}'")
                return Lent(known.instance.cursor(), spill, known.instance, known.settings, asked)
            known.instance.close()
        instance = duckdb.connect(":memory:", config={**config, "temp_directory": spill})
        try:
            for name, query in _ASKED.items():
                instance.execute(f"PREPARE {name} AS {query}")
            return Lent(instance.cursor(), spill, instance, _told(instance, "settings"), asked)
        except duckdb.Error:
            instance.close()
            raise

    def take_back(self, lent: Lent) -> None:
        """End a session's connection, remove what it spilled, and keep its instance if it is as it was."""
        lent.connection.close()
        spilled = os.path.exists(lent.spill)
        if not spilled and _is_empty(lent):
            with self._lock:
                if len(self._idle[lent.asked]) < IDLE:
                    self._idle[lent.asked].append(lent)
                    return
        lent.instance.close()
        if spilled:
            shutil.rmtree(lent.spill, ignore_errors=True)

    def close(self) -> None:
        """End the instances that nobody has."""
        with self._lock:
            idle = [lent for several in self._idle.values() for lent in several]
            self._idle.clear()
        for lent in idle:
            lent.instance.close()

    def forget(self) -> None:
        """In a process that was forked: what is idle belongs to the parent, whose threads did not come along.

        It is kept, not closed: closing would wait for those threads.
        """
        self._lock = threading.RLock()
        self._of_the_parent += [lent for several in self._idle.values() for lent in several]
        self._idle.clear()


def _is_empty(lent: Lent) -> bool:
    """Whether nothing of the session is left, once its tables and views are dropped."""
    instance = lent.instance
    try:
        if instance.list_filesystems() or _told(instance, "settings") != lent.settings:
            return False
        for kind, name in _told(instance, "left_behind"):
            quoted = name.replace('"', '""')
            instance.execute(f'DROP {kind} "{quoted}"')
        held = _told(instance, "memory")
    except duckdb.Error:  # what ended the session has broken the instance
        return False
    return bool(held[0][0] is not None and held[0][0] < _BYTES_HELD)


def _told(instance: duckdb.DuckDBPyConnection, asked: str) -> list[Any]:
    return instance.execute(f"EXECUTE {asked}").fetchall()


ENGINES = Engines()
atexit.register(ENGINES.close)
os.register_at_fork(after_in_child=ENGINES.forget)
