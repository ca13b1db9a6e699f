"""Databases of tests begin as copies of one that has all migrations: to migrate an empty one takes ten seconds."""

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


def make_migrated(database: Path) -> None:
    """Make the database that the others begin as."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings.test",
        "DATABASE_URL": f"sqlite:///{database}",
    }
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(command, cwd=BASE_DIR, env=environment, check=True)
