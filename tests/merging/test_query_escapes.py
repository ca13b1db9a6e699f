"""The cage of statements: what tries to get out of it is refused by the judges, stopped by limits, or reaches nothing.

Three fences, each tried by itself: the judges (nothing is run), the locked session (statements run in it without the
judges), and the confined process with its limits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import merging
from merging import Bounds, StagingRejected
from merging.delta import Snapshot, open_sealed_snapshot
from merging.sql.session import Session, session
from merging.staging.queries import answer
from merging.staging.queries.session import judged, prepare
from merging.staging.queries.statement import TableNames

SECRET = "nobody outside may read this"
NAMES = TableNames(tables=("dataset", "table"), columns=("id", "text"), keys=("id",))

#: Each is refused with a code that says why, before anything is run.
REFUSED = {
    "a file by its name": "SELECT * FROM '/etc/passwd'",
    "a file by its quoted name": 'SELECT * FROM "/etc/passwd"',
    "a Parquet file by its name": "SELECT * FROM '{secret}'",
    "read_csv": "SELECT * FROM read_csv('/etc/passwd')",
    "read_csv_auto": "SELECT * FROM read_csv_auto('{secret}')",
    "read_text": "SELECT * FROM read_text('{secret}')",
    "read_blob": "SELECT * FROM read_blob('{secret}')",
    "read_json": "SELECT * FROM read_json('{secret}')",
    "read_ndjson": "SELECT * FROM read_ndjson_objects('{secret}')",
    "read_parquet": "SELECT * FROM read_parquet('{secret}')",
    "parquet_scan": "SELECT * FROM parquet_scan('{secret}')",
    "read_duckdb": "SELECT * FROM read_duckdb('{secret}')",
    "parquet_metadata": "SELECT * FROM parquet_metadata('{secret}')",
    "sniff_csv": "SELECT * FROM sniff_csv('{secret}')",
    "glob": "SELECT * FROM glob('/etc/*')",
    "a file inside of a subquery": "SELECT id FROM dataset WHERE id IN (SELECT 1 FROM read_text('{secret}'))",
    "a file inside of WITH": "WITH q AS (SELECT * FROM read_text('{secret}')) SELECT * FROM q",
    "a file that an UPDATE joins": "UPDATE dataset SET text = f.content FROM read_text('{secret}') f WHERE true",
    "a file that a DELETE uses": "DELETE FROM dataset USING read_text('{secret}') f WHERE true",
    "a file that an INSERT selects": "INSERT INTO dataset (id, text) SELECT 1, content FROM read_text('{secret}')",
    "a file in a LATERAL join": "SELECT id FROM dataset, LATERAL (SELECT * FROM read_text('{secret}'))",
    "getenv": "SELECT id, getenv('HOME') AS text FROM dataset",
    "current_setting": "SELECT id, current_setting('temp_directory') AS text FROM dataset",
    "getvariable": "SELECT id, getvariable('x') AS text FROM dataset",
    "current_query": "SELECT id, current_query() AS text FROM dataset",
    "version": "SELECT id, version() AS text FROM dataset",
    "ATTACH": "ATTACH '{secret}' AS other",
    "DETACH": "DETACH memory",
    "USE": "USE memory",
    "COPY to a file": "COPY dataset TO '{secret}'",
    "COPY of a query to a file": "COPY (SELECT * FROM dataset) TO '{secret}' (FORMAT csv)",
    "COPY from a file": "COPY dataset FROM '{secret}'",
    "COPY between databases": "COPY FROM DATABASE memory TO temp",
    "EXPORT": "EXPORT DATABASE '{folder}'",
    "IMPORT": "IMPORT DATABASE '{folder}'",
    "INSTALL": "INSTALL httpfs",
    "FORCE INSTALL": "FORCE INSTALL httpfs FROM 'http://127.0.0.1/'",
    "LOAD": "LOAD '{secret}'",
    "SET": "SET enable_external_access = true",
    "SET of memory": "SET memory_limit = '1TB'",
    "SET GLOBAL": "SET GLOBAL temp_directory = '{folder}'",
    "RESET": "RESET memory_limit",
    "SET VARIABLE": "SET VARIABLE x = 1",
    "PRAGMA": "PRAGMA database_list",
    "PRAGMA with a value": "PRAGMA memory_limit='1TB'",
    "CALL": "CALL pragma_version()",
    "pragma as a table": "SELECT * FROM pragma_database_list()",
    "duckdb_settings": "SELECT * FROM duckdb_settings()",
    "duckdb_secrets": "SELECT * FROM duckdb_secrets()",
    "CREATE SECRET": "CREATE SECRET (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "the catalog": "SELECT * FROM information_schema.tables",
    "the catalog of SQLite": "SELECT * FROM sqlite_master",
    "the catalog of PostgreSQL": "SELECT * FROM pg_catalog.pg_class",
    "the catalog, behind a name of WITH": "WITH a AS (WITH sqlite_master AS (SELECT 1 AS id) FROM sqlite_master) "
    "SELECT * FROM sqlite_master",
    "another schema": "SELECT * FROM main.dataset",
    "another database": "SELECT * FROM memory.main.dataset",
    "CREATE TABLE": "CREATE TABLE mine AS SELECT * FROM dataset",
    "CREATE VIEW": "CREATE VIEW mine AS SELECT * FROM dataset",
    "CREATE MACRO": "CREATE MACRO mine(a) AS a",
    "CREATE TYPE": "CREATE TYPE mine AS ENUM ('a')",
    "CREATE SEQUENCE": "CREATE SEQUENCE mine",
    "DROP": "DROP VIEW dataset",
    "ALTER": "ALTER TABLE dataset ADD COLUMN mine INT",
    "TRUNCATE": "TRUNCATE dataset",
    "MERGE": "MERGE INTO dataset USING dataset d ON dataset.id = d.id WHEN MATCHED THEN DELETE",
    "BEGIN": "BEGIN",
    "CHECKPOINT": "FORCE CHECKPOINT",
    "VACUUM": "VACUUM",
    "PREPARE": "PREPARE mine AS SELECT 1",
    "EXECUTE": "EXECUTE mine",
    "EXPLAIN ANALYZE": "EXPLAIN ANALYZE SELECT * FROM dataset",
    "DESCRIBE": "SELECT * FROM (DESCRIBE dataset)",
    "SHOW": "SELECT * FROM (SHOW ALL TABLES)",
    "SUMMARIZE": "SUMMARIZE dataset",
    "a query in a text": "SELECT * FROM query('SELECT 1 AS id')",
    "a table in a text": "SELECT * FROM query_table('dataset')",
    "a serialized query": "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1 AS id'))",
    "a serialized plan": "SELECT id, json_serialize_plan('SELECT 1') AS text FROM dataset",
    "an object of Python": "SELECT * FROM python_map_function()",
    "Arrow by its address": "SELECT * FROM arrow_scan(1, 2, 3)",
    "pandas by its address": "SELECT * FROM pandas_scan(1)",
    "a variable of Python": "SELECT * FROM snapshot",
    "the log": "SELECT id, write_log('mine') AS text FROM dataset",
    "sleeping": "SELECT id, sleep_ms(100000) AS text FROM dataset",
    "sleeping as PostgreSQL does": "SELECT id, pg_sleep(1000) AS text FROM dataset",
    "setseed": "SELECT id, setseed(0.5) AS text FROM dataset",
    "random": "SELECT id, random() AS text FROM dataset",
    "a new name by chance": "SELECT id, gen_random_uuid() AS text FROM dataset",
    "nextval": "SELECT id, nextval('mine') AS text FROM dataset",
    "a function of a schema": "SELECT id, main.read_text('{secret}') AS text FROM dataset",
    "a function as a method": "SELECT id, '{secret}'.read_text() AS text FROM dataset",
    "a function in another case": "SELECT id, CuRRent_SETTING('x') AS text FROM dataset",
    "a quoted function": "SELECT id, \"current_setting\"('x') AS text FROM dataset",
    "a function inside of a lambda": "SELECT id, list_transform([1], lambda x: getenv('HOME')) AS text FROM dataset",
    "a function in ORDER BY": "SELECT id FROM dataset ORDER BY current_setting('x')",
    "a function in LIMIT": "SELECT id FROM dataset LIMIT (SELECT count(*) FROM read_text('{secret}'))",
    "a function of windows": "SELECT id, sum(current_setting('x')::INT) OVER () AS text FROM dataset",
    "recursion without an end": "WITH RECURSIVE t(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM t) SELECT * FROM t",
    "recursion by USING KEY": "WITH RECURSIVE t(id, n) USING KEY (id) AS (SELECT 1, 1 UNION SELECT id, n + 1 FROM t) "
    "SELECT * FROM t",
    "changes inside of WITH": "WITH t AS (DELETE FROM dataset RETURNING id) SELECT * FROM t",
    "two statements": "SELECT id FROM dataset; DROP VIEW dataset",
    "two statements without a space": "SELECT id FROM dataset;COPY dataset TO '{secret}'",
    "a statement behind a comment": "SELECT id FROM dataset; -- that is all\nATTACH '{secret}'",
    "a statement behind a comment that was closed": "SELECT id /* ; */ FROM dataset /* */; SET threads = 64",
    "a statement behind a dollar quote": "SELECT id, $$a$$ AS text FROM dataset; LOAD httpfs",
    "a comment in a comment": "SELECT id /* /* */ */ FROM dataset; DROP VIEW dataset",
    "a blank that is none": "SELECT\u00a0*\u2003FROM\u00a0read_text('{secret}')",
    "letters that look alike": "SELECT * FROM r\u0435ad_text('{secret}')",
    "letters of full width": "SELECT * FROM \uff52\uff45\uff41\uff44_text('{secret}')",
    "a text in code points": "SELECT * FROM U&'\\0064ataset'",
    "a blank without width": "ATT\u200bACH '{secret}'",
    "a NUL": "SELECT id FROM dataset\x00; DROP VIEW dataset",
    "half of a surrogate pair": "SELECT id, '\ud800' AS text FROM dataset",
    "a parameter": "SELECT id, $1 AS text FROM dataset",
    "a column by its place": "SELECT #1 FROM dataset",
    "an older version": "SELECT * FROM dataset AT (VERSION => 0)",
    "a sample": "SELECT id FROM dataset USING SAMPLE 1",
    "PIVOT": "PIVOT dataset ON id USING count(*)",
    "parentheses without end": f"SELECT {'(' * 5_000}1{')' * 5_000} AS id",
    "subqueries without end": f"SELECT * FROM {'(SELECT * FROM ' * 900}dataset{')' * 900}",
    "sums without end": f"SELECT {'+'.join(['1'] * 3_000)} AS id",
    "a list without end": f"SELECT {'[' * 3_000}{']' * 3_000} AS id",
    "a literal without end": f"SELECT id, '{'x' * 250_000}' AS text FROM dataset",
    "a text that is not closed": "SELECT id, 'text FROM dataset",
    "nothing": "  -- nothing at all\n",
}  # fmt: skip

#: What the judges never see here: it is run in the session as it is. What it may do is read the dataset.
RUN_UNJUDGED = {
    "a file": "SELECT * FROM read_text('{secret}')",
    "a file by its name": "SELECT * FROM '{secret}'",
    "the bytes of a file": "SELECT * FROM read_blob('{secret}')",
    "a folder": "SELECT * FROM glob('{folder}/*')",
    "a file through our own file system": "SELECT * FROM read_blob('{protocol}://{secret_below}')",
    "a data file of the table, written": "COPY (SELECT 1) TO '{data}' (FORMAT parquet)",
    "a data file of the table, in place": "COPY (SELECT 1) TO '{data}' (FORMAT parquet, USE_TMP_FILE false)",
    "a new file": "COPY (SELECT 1) TO '{folder}/new.csv'",
    "a new file through our own file system": "COPY (SELECT 1) TO '{protocol}://{folder_below}/new.csv'",
    "a database": "ATTACH '{folder}/new.db'",
    "an export": "EXPORT DATABASE '{folder}/export'",
    "an extension": "INSTALL httpfs",
    "an extension by its file": "LOAD '{secret}'",
    "an address": "SELECT * FROM read_csv('http://127.0.0.1:9/x')",
    "a bucket": "SELECT * FROM read_parquet('s3://bucket/x')",
    "external access": "SET enable_external_access = true",
    "the lock": "SET lock_configuration = false",
    "more paths": "SET allowed_paths = ['{secret}']",
    "more folders": "SET allowed_directories = ['/']",
    "more memory": "SET memory_limit = '1TB'",
    "another folder to spill to": "SET temp_directory = '{folder}'",
    "a log": "PRAGMA enable_profiling = 'json'; PRAGMA profiling_output = '{folder}/profile.json'",
    "a secret": "CREATE PERSISTENT SECRET (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "a variable of Python": "SELECT * FROM secret_rows",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cage")
    (folder / "secret.txt").write_text(SECRET)
    rows = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "text": ["a", "b", None]})
    merging.create_table(str(folder / "table"), rows)
    return folder


@pytest.fixture(scope="module")
def snapshot(folder: Path) -> Snapshot:
    return open_sealed_snapshot(str(folder / "table"))


@pytest.fixture(scope="module")
def locked(snapshot: Snapshot) -> Iterator[Session]:
    """A session as statements run in it."""
    with session() as opened:
        prepare(opened, snapshot, ["dataset", "table"])
        yield opened


@pytest.fixture
def unharmed(folder: Path) -> Iterator[None]:
    """Nothing in the folder, the table's own files included, is other than it was."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    yield
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED.keys())
def test_the_judges_refuse_every_escape(statement: str, folder: Path, locked: Session) -> None:
    written = statement.replace("{secret}", str(folder / "secret.txt")).replace("{folder}", str(folder))
    with pytest.raises(StagingRejected) as refused:
        judged(written, NAMES, locked)
    [problem] = refused.value.problems
    assert problem.code.startswith("sql_")


def test_there_are_more_than_sixty_escapes() -> None:
    assert len(REFUSED) + len(RUN_UNJUDGED) >= 60


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("statement", RUN_UNJUDGED.values(), ids=RUN_UNJUDGED.keys())
def test_statements_that_no_judge_saw_reach_nothing(
    statement: str, folder: Path, snapshot: Snapshot, locked: Session
) -> None:
    secret_rows = pa.table({"id": [SECRET]})  # what a replacement scan would find
    data = next((folder / "table").glob("*.parquet"))
    written = statement.format(
        secret=folder / "secret.txt",
        secret_below=str(folder / "secret.txt").lstrip("/"),
        folder=folder,
        folder_below=str(folder).lstrip("/"),
        data=data,
        protocol=snapshot.store.protocol,  # type: ignore[attr-defined]
    )
    assert locked.connection.execute("SELECT count(*) FROM dataset").fetchall() == [(3,)]
    with pytest.raises(duckdb.Error):
        locked.connection.execute(written).fetchall()
    assert secret_rows.num_rows == 1


def test_what_a_statement_spills_is_limited(locked: Session) -> None:
    [limit] = locked.row("SELECT current_setting('max_temp_directory_size')")
    assert limit == "7.4 GiB"


BOMBS = {
    "rows without end": ("SELECT r AS id FROM range(100000000000) t(r)", merging.ConfinedTooLong),
    "joins of everything with everything": (
        "SELECT a.id FROM dataset a, range(1000000) b, range(1000000) c ORDER BY hash(b.range + c.range)",
        merging.ConfinedTooLong,
    ),
    "a text of gigabytes": ("SELECT id, repeat('x', 3000000000) AS text FROM dataset", StagingRejected),
    "a text that grows": (
        "SELECT id, string_agg(repeat('x', 1000000), '') AS text FROM dataset, range(100000) GROUP BY id",
        StagingRejected,
    ),
}


@pytest.mark.usefixtures("child_for_staging", "unharmed")
@pytest.mark.parametrize(("statement", "stopped"), BOMBS.values(), ids=BOMBS.keys())
def test_limits_stop_what_the_judges_cannot_tell(
    statement: str, stopped: type[Exception], folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "scratch").mkdir()

    def run(written: str, seconds: float) -> Any:
        return merging.stage_query_apart(
            str(folder / "table"),
            written,
            ["id"],
            destination=str(tmp_path / "staged"),
            scratch=str(tmp_path / "scratch"),
            bounds=Bounds(memory_bytes=2 * 1024**3, seconds=seconds, file_bytes=1024**3),
        )

    with pytest.raises(stopped) as ended:
        run(statement, 1.0 if stopped is merging.ConfinedTooLong else 60.0)
    if isinstance(ended.value, StagingRejected):
        assert [one.code for one in ended.value.problems] == ["sql_too_large"]
    assert run("SELECT id, 'still here' AS text FROM dataset", 60.0).rows == 3


def test_the_tree_of_a_newer_duckdb_is_refused(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kinds of nodes that are in no list are refused, whatever they are."""
    parts: Callable[[str], Any] = frozenset
    monkeypatch.setattr("merging.staging.queries.judging.PARTS", parts("SELECT_NODE"))
    with pytest.raises(StagingRejected) as refused, answer(snapshot, ["id"], "SELECT id FROM dataset"):
        pass
    assert [one.code for one in refused.value.problems] == ["sql_not_allowed"]
