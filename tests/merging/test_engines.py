"""Instances of DuckDB go from session to session: empty, as they were configured, or not at all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from merging.sql import engines as engines_module
from merging.sql import session as session_module
from merging.sql.engines import IDLE, SET_FOR_ALL, Engines
from merging.sql.session import Session

ENGINE = Path(session_module.__file__).parents[1]
CONFIGURATION = {"threads": 1, "memory_limit": "200MB"}


@pytest.fixture
def engines() -> Iterator[Engines]:
    made = Engines()
    yield made
    made.close()


def number_of_idle(engines: Engines) -> int:
    return sum(map(len, engines._idle.values()))


def test_an_instance_comes_back_empty(engines: Engines, tmp_path: Path) -> None:
    first = engines.lend(str(tmp_path / "1"), CONFIGURATION)
    first.connection.execute('CREATE TABLE "t""1" AS SELECT 1 AS a')
    first.connection.execute('CREATE VIEW v AS SELECT * FROM "t""1"')
    first.connection.execute("CREATE TEMP TABLE t AS SELECT 2 AS a")
    first.connection.execute("SET TimeZone = 'Asia/Tokyo'")
    engines.take_back(first)
    second = engines.lend(str(tmp_path / "2"), CONFIGURATION)
    assert second.instance is first.instance
    said = second.connection.execute(
        "SELECT (SELECT count(*) FROM duckdb_tables()), (SELECT count(*) FROM duckdb_views() WHERE NOT internal), "
        "current_setting('TimeZone') = 'Asia/Tokyo', current_setting('temp_directory')"
    ).fetchone()
    assert said == (0, 0, False, str(tmp_path / "2"))
    with pytest.raises(duckdb.ConnectionException):
        first.connection.execute("SELECT 1")
    engines.take_back(second)


@pytest.mark.parametrize(
    "left",
    [
        "SET threads = 2",
        "SET memory_limit = '300MB'",
        "SET enable_external_access = false",
        "SET lock_configuration = true",
        "SET disabled_optimizers = 'projection_placement'",
    ],
)
def test_an_instance_that_was_changed_ends(engines: Engines, tmp_path: Path, left: str) -> None:
    first = engines.lend(str(tmp_path / "1"), CONFIGURATION)
    first.connection.execute(left)
    engines.take_back(first)
    assert number_of_idle(engines) == 0
    with pytest.raises(duckdb.ConnectionException):
        first.instance.execute("SELECT 1")


def test_an_instance_that_reached_a_store_ends(engines: Engines, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    first = engines.lend(str(tmp_path / "1"), CONFIGURATION)
    first.connection.register_filesystem(fsspec.filesystem("memory"))
    engines.take_back(first)
    assert number_of_idle(engines) == 0


def test_an_instance_that_spilled_ends_with_its_folder(engines: Engines, tmp_path: Path) -> None:
    spill = tmp_path / "1"
    first = engines.lend(str(spill), {"threads": 1, "memory_limit": "30MB"})
    first.connection.execute(
        "CREATE TEMP TABLE t AS SELECT hash(range) AS a, hash(range + 1) AS b FROM range(6000000)"
    )
    assert spill.exists()
    engines.take_back(first)
    assert (spill.exists(), number_of_idle(engines)) == (False, 0)


def test_a_broken_instance_is_not_lent_again(engines: Engines, tmp_path: Path) -> None:
    first = engines.lend(str(tmp_path / "1"), CONFIGURATION)
    engines.take_back(first)
    first.instance.close()
    second = engines.lend(str(tmp_path / "2"), CONFIGURATION)
    assert second.connection.execute("SELECT 1").fetchone() == (1,)
    engines.take_back(second)


def test_sessions_at_once_share_nothing_and_few_instances_wait(engines: Engines, tmp_path: Path) -> None:
    lent = [engines.lend(str(tmp_path / str(number)), CONFIGURATION) for number in range(IDLE + 3)]
    for number, one in enumerate(lent):
        one.connection.execute(f"CREATE TABLE t AS SELECT {number} AS a")
    assert [one.connection.execute("SELECT a FROM t").fetchone() for one in lent] == [
        (n,) for n in range(len(lent))
    ]
    ending = [threading.Thread(target=engines.take_back, args=(one,)) for one in lent]
    for thread in ending:
        thread.start()
    for thread in ending:
        thread.join()
    assert number_of_idle(engines) == IDLE


def test_a_process_that_was_forked_opens_its_own() -> None:
    Session().close()  # one waits
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        told = b"broken"
        try:
            opened = Session()
            told = str(opened.number("SELECT sum(range) FROM range(1000000)")).encode()
            opened.close()
        finally:
            os.write(write, told)
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"499999500000"
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("ends", ["opened.close()", "pass"])
def test_a_process_ends_without_a_word(ends: str) -> None:
    script = f"from merging.sql.session import Session; opened = Session(); opened.number('SELECT 1'); {ends}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_all_that_the_engine_sets_is_compared() -> None:
    said = "\n".join(path.read_text() for path in sorted(ENGINE.rglob("*.py")))
    found = set(re.findall(r'[f"(]"?SET ([a-z_]+) = ', said))
    assert found - {"allocator_background_threads", "temp_directory"} == set(SET_FOR_ALL)


def test_the_engine_makes_nothing_else_that_would_stay() -> None:
    """Instances that are lent again are looked through for tables and views alone."""
    said = "\n".join(path.read_text() for path in sorted(ENGINE.rglob("*.py")))
    made = re.findall(
        r"(?i)CREATE (?:OR REPLACE )?(macro|function|schema|type|sequence|secret)|\b(ATTACH '|create_function)",
        said,
    )
    assert made == []


def test_a_session_ends_once(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Any] = []
    monkeypatch.setattr(engines_module.ENGINES, "take_back", taken.append)
    opened = Session()
    opened.close()
    opened.close()
    del opened
    assert len(taken) == 1


def threads_of(opened: Session) -> int:
    return opened.number("SELECT current_setting('threads')")


def test_rows_that_are_held_as_they_are_read_keep_one_thread_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.parquet"
    duckdb.execute(f"COPY (SELECT range AS n FROM range(50_000)) TO '{path}' (ROW_GROUP_SIZE 2048)")
    seen: list[int] = []
    execute = Session.execute

    def noted(opened: Session, statement: str, parameters: Any = None) -> None:
        execute(opened, statement, parameters)
        if statement.startswith("CREATE TABLE"):
            seen.append(threads_of(opened))

    monkeypatch.setattr(Session, "execute", noted)
    opened = Session()
    opened.hold("first", f"SELECT n FROM read_parquet('{path}')", as_read=True)
    opened.hold("second", "SELECT n FROM first ORDER BY -n")
    assert (seen, threads_of(opened)) == ([1, 2], 2)
    assert opened.connection.execute("SELECT n FROM first").fetchnumpy()["n"].tolist() == [*range(50_000)]
    with pytest.raises(duckdb.Error):
        opened.hold("third", "SELECT nothing", as_read=True)
    assert threads_of(opened) == 2
    opened.close()


@pytest.mark.parametrize(
    ("rows", "threads"), [(0, 1), (122_880, 1), (122_881, 2), (10_000_000, 2), (None, 2)]
)
def test_tables_are_read_by_a_thread_for_each_group(rows: int | None, threads: int) -> None:
    opened = Session(rows=rows)
    assert threads_of(opened) == threads
    opened.close()


@pytest.mark.parametrize(("rows", "threads"), [(122_880, 1), (122_881, 2)])
def test_what_is_read_of_a_table_takes_the_threads_that_it_keeps_busy(rows: int, threads: int) -> None:
    opened = Session(rows=10)
    with opened.reading(rows):
        assert threads_of(opened) == threads
    assert threads_of(opened) == 1
    opened.expect_columns(1_000)
    with opened.reading(10_000_000):
        assert threads_of(opened) == 1
    opened.close()
    whole = Session()
    with whole.reading(rows):
        assert threads_of(whole) == 2
    whole.close()
