"""Dumps of the database by its own tools: ``pg_dump`` and ``pg_restore``, or SQLite's online backup."""

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection, transaction
from django.db.backends.postgresql.client import DatabaseClient

from changerequests.services.backups.errors import BackupRefused

#: The dump's name in the folder of a backup, by the database that it is of.
FILES = {"postgresql": "database.pgdump", "sqlite": "database.sqlite3"}


@contextmanager
def dumped(folder: Path) -> Iterator[Path]:
    """Dump the database; what is read within sees it exactly as the dump does.

    Raises ``BackupRefused`` where its tool is missing or fails.
    """
    path = folder / FILES[connection.vendor]
    if connection.vendor == "sqlite":
        with transaction.atomic():  # an immediate one: nobody writes until it ends
            _copy_sqlite(Path(str(connection.settings_dict["NAME"])), path)
            yield path
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT pg_export_snapshot()")
        [snapshot] = cursor.fetchone()
        _run("pg_dump", "--format=custom", f"--snapshot={snapshot}", "--no-owner", "--file", str(path))
        yield path


def load(path: Path) -> None:
    """Put a dump into the database, which must be empty. Raises ``BackupRefused`` as ``dumped`` does."""
    if not is_empty():
        raise BackupRefused(
            "The database holds tables. A backup is put into an empty one: make it, and name it in DATABASE_URL."
        )
    connection.close()
    if connection.vendor == "sqlite":
        _copy_sqlite(path, Path(str(connection.settings_dict["NAME"])))
    else:
        name = str(connection.settings_dict["NAME"])
        _run(
            *("pg_restore", "--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges"),
            *("--dbname", name, str(path)),
        )


def is_empty() -> bool:
    """Whether nobody made a table in the database."""
    return not connection.introspection.table_names()


def _copy_sqlite(source: Path, target: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as one,
        contextlib.closing(sqlite3.connect(target)) as other,
    ):
        one.backup(other)
        other.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it


def _run(program: str, *arguments: str) -> None:
    """One of PostgreSQL's programs, at the database of the settings; its password is in no argument."""
    database = connection.settings_dict
    _, secrets = DatabaseClient.settings_to_cmd_args_env(database, [])
    place = {"HOST": "PGHOST", "PORT": "PGPORT", "USER": "PGUSER", "NAME": "PGDATABASE"}
    named = {variable: str(database[key]) for key, variable in place.items() if database[key]}
    environment = {**os.environ, **named, **(secrets or {})}
    try:
        done = subprocess.run(  # noqa: S603  (fixed programs)
            [program, *arguments], env=environment, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise BackupRefused(
            f"{program} is not installed (Debian: apt-get install postgresql-client); it must not be older than the "
            "server."
        ) from None
    if done.returncode:
        raise BackupRefused(f"{program} failed: {done.stderr.strip() or done.returncode}")
