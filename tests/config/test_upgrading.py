"""An installation of the first days comes up to today's with every row that it had. On both databases."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from config.env import BASE_DIR
from tests.conftest import connected_database_url


@pytest.fixture
def empty_database(transactional_db: None, tmp_path: Path) -> Iterator[str]:
    """The address of a database that nobody migrated."""
    if connection.vendor == "sqlite":
        yield f"sqlite:///{tmp_path / 'first.sqlite3'}"
        return
    name = f"first_{uuid.uuid4().hex}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield f"{connected_database_url().rpartition('/')[0]}/{name}"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.both_databases
def test_an_installation_of_the_first_days_comes_up_with_all_its_rows(empty_database: str) -> None:
    # In one process: each takes seconds to begin.
    environment = {
        **os.environ,
        "DATABASE_URL": empty_database,
        "DJANGO_SETTINGS_MODULE": "config.settings.test",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.config.first_days"],
        cwd=BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen: dict[str, Any] = json.loads(done.stdout)

    states = ("draft", "pending", "merging", "merged", "closed")
    assert seen["requests"] == {status: [status, True] for status in states}
    assert seen["digests"] == [True] * 5
    assert seen["unsettled"] == ["merging"]
    assert seen["comments"] == ["So."] * 5 + ["Why?"] * 5
    assert seen["outcomes"] == {"failed": 1, "succeeded": 1, "cancelled": 1}
    assert seen["tokens"] == [["carl", "made before there were scopes"]]
    assert {address: status for address, status in seen["answers"].items() if status != 200} == {}
