"""Databases of tests begin as copies of one that has all migrations: to migrate an empty one takes ten seconds.

Of PostgreSQL a whole cluster is copied, whose ``template1`` is migrated: so is every database made in it, unless it is
made of ``template0``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from config.env import BASE_DIR
from tests import options


def begin_migrated(database: Path) -> bool:
    """Put a copy of the suite's database there; whether there is one. It has all migrations: to look takes seconds."""
    if options.MIGRATED is None:
        return False
    shutil.copyfile(options.MIGRATED, database)
    return True


def begin_cluster(binaries: Path, data: Path, owner: str | None) -> None:
    """Make the data of a cluster whose user may make databases: a copy of the suite's, or one without anything."""
    if options.MIGRATED_CLUSTER is not None:
        copy_cluster(options.MIGRATED_CLUSTER, data)
        return
    subprocess.run(
        [
            *(str(binaries / "initdb"), "--pgdata", str(data), "--username", "headgate"),
            *("--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"),
        ],
        check=True,
        user=owner,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=data.parent,
    )


def copy_cluster(data: Path, place: Path) -> None:
    """Copy the data of a cluster that does not run, with their owner."""
    subprocess.run(["cp", "--archive", str(data), str(place)], check=True)


def migrate(database_url: str) -> None:
    """Bring a database to the present, or make it."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings.test",
        "DATABASE_URL": database_url,
    }
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(command, cwd=BASE_DIR, env=environment, check=True)
