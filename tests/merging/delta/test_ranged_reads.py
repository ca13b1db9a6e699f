"""What is read from a store is what stands in it, whoever of DuckDB's threads asks: every cell of files of many row
groups, on every way in which the engine reads."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import obstore
import pyarrow as pa
import pytest

import merging
from merging import MergeRequest, delta
from merging.delta.snapshot import snapshot_in
from merging.errors import MergeFailed
from merging.sql.quoting import column_sql, quote
from merging.sql.session import session
from merging.store.client import ObjectReplaced
from merging.store.files import KnownObjects, RangedReader, StoreFile
from tests.merging.delta.delta_tables import Merger, differing
from tests.merging.stores import (
    Place,
    local_place,
    memory_place,
    parquet,
    put,
    put_table,
    s3_place,
    s3_server,
)

ROWS, GROUP = 24_000, 2_000
PLACES = ("local", "memory", "s3")


def content(start: int = 0, rows: int = ROWS, mark: str = "") -> pa.Table:
    numbers = range(start, start + rows)
    return pa.table(
        {
            "id": pa.array(numbers, pa.int64()),
            "a": pa.array([f"{n * 7919 % 1_000_003}{mark}" for n in numbers]),
            "b": pa.array([n * 2_654_435_761 % 4_294_967_296 / 7 for n in numbers], pa.float64()),
            "c": pa.array([None if n % 11 == 0 else f"text {n} " * 3 for n in numbers]),
        }
    )


@pytest.fixture(scope="module")
def s3() -> Iterator[Mapping[str, str]]:
    with s3_server() as options:
        yield options


@pytest.fixture
def make_place(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], Place]:
    def make(kind: str) -> Place:
        if kind == "s3":
            return s3_place(request.getfixturevalue("s3"))
        return local_place(tmp_path) if kind == "local" else memory_place()

    return make


def rows_of(connection: duckdb.DuckDBPyConnection, snapshot: delta.Snapshot, source: str) -> pa.Table:
    columns = ", ".join(f"{column_sql(name)} AS {quote(name)}" for name in snapshot.schema.names)
    found: pa.Table = connection.sql(f"SELECT {columns} FROM ({source})").to_arrow_table()
    return found.sort_by("id").cast(snapshot.schema)


@pytest.mark.parametrize("kind", PLACES)
def test_fd2_scan_locate_and_fetch_give_every_cell_of_many_row_groups(
    kind: str, make_place: Callable[[str], Place]
) -> None:
    place = make_place(kind)
    put_table(place, [content(), content(ROWS)], row_group_size=GROUP)
    snapshot = snapshot_in(place.store, place.uri)
    expected = pa.concat_tables([content(), content(ROWS)])
    for _ in range(6 if kind == "s3" else 12):
        with duckdb.connect(":memory:", config={"threads": 4}) as connection:
            assert rows_of(connection, snapshot, delta.scan_sql(connection, snapshot)).equals(expected)
            connection.execute(
                f"CREATE TEMP TABLE keys AS SELECT range::BIGINT AS {column_sql('id')} "
                f"FROM range(5, {2 * ROWS}, 13)"
            )
            located = delta.locate(connection, snapshot, "keys", ["id"], "located")
            wanted = expected.take(pa.array(range(5, 2 * ROWS, 13)))
            assert located.rows == wanted.num_rows
            delta.fetch(connection, snapshot, "located", snapshot.schema.names, "images")
            assert rows_of(connection, snapshot, "FROM images").equals(wanted)


@pytest.mark.parametrize(("kind", "ahead"), [("local", False), ("memory", True)])
def test_only_from_a_distance_chunks_are_read_ahead(
    kind: str, ahead: bool, make_place: Callable[[str], Place]
) -> None:
    place = make_place(kind)
    put_table(place, [content(rows=10)])
    with session() as opened:
        delta.scan_sql(opened.connection, snapshot_in(place.store, place.uri))
        asked = "SELECT current_setting('disable_parquet_prefetching')"
        assert opened.row(asked) == (not ahead,)
    with session() as another:  # whatever the one before it read
        assert another.row(asked) == (True,)


@pytest.mark.sample(2)
@pytest.mark.parametrize("vectors", [True, False], ids=["vectors", "rewrite"])
@pytest.mark.parametrize("kind", PLACES)
def test_fd2_merge_compare_and_compact_keep_every_cell(
    kind: str, vectors: bool, make_place: Callable[[str], Place]
) -> None:
    """The border's own calls: vectors, rewriting, comparing two versions, compaction."""
    changed, gone = content(100, 50, mark="!"), [7, 13_000, ROWS + 5]
    expected = content(0, 2 * ROWS).to_pylist()
    expected[100:150] = changed.to_pylist()
    rest = [row for row in expected if row["id"] not in gone]
    for _ in range(2 if kind == "s3" else 4):
        place = make_place(kind)
        put_table(place, [content(), content(ROWS)], vectors=vectors, row_group_size=GROUP)
        with duckdb.connect(":memory:", config={"threads": 4}) as connection:
            before = snapshot_in(place.store, place.uri)
            prepared = Merger(connection).prepare(before, upsert=changed, delete=gone)
            delta.commit(prepared, application_id="a", generation=1)
            after = snapshot_in(place.store, place.uri)
            table = pa.Table.from_pylist(rest, schema=before.schema)
            assert rows_of(connection, after, delta.scan_sql(connection, after)).equals(table)
            counted, _ = differing(connection, before, after, ["id"], "compared")
            assert counted == {"update": 50, "delete": 3}
            delta.compact(connection, after, attempt_id=uuid.uuid4().hex, application_id="c")
            compacted = snapshot_in(place.store, place.uri)
            assert len(compacted.files) == 1
            assert rows_of(connection, compacted, delta.scan_sql(connection, compacted)).equals(table)


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_fd2_the_whole_engine_gives_the_same_on_a_store_as_in_a_folder(
    kind: str, make_place: Callable[[str], Place], tmp_path: Path
) -> None:
    place = make_place(kind)
    put_table(place, [content(), content(ROWS)], vectors=True, row_group_size=GROUP)
    options = dict(place.options) if place.options else None
    unique = {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}}
    suite = {"name": "s", "expectations": [unique]}
    assert merging.check_keys(place.uri, ["id"], storage_options=options).duplicate_keys == 0
    report = merging.check_table(place.uri, suite, ["id"], storage_options=options)
    assert report.ok
    changes = content(300, 20, mark="?").append_column("_op", pa.array(["upsert"] * 20))
    staged = merging.stage(
        place.uri, changes, ["id"], destination=str(tmp_path / "staging"), storage_options=options
    )
    assert staged.rows == 20
    result = merging.merge(
        MergeRequest(
            place.uri,
            "CR-1",
            ["id"],
            staged,
            destination=str(tmp_path / "artefacts"),
            storage_options=options,
        )
    )
    assert result.diff.rows_updated == 20
    page = merging.preview(place.uri, primary_keys=["id"], limit=400, storage_options=options)
    expected = content(0, 400).to_pylist()
    expected[300:320] = content(300, 20, mark="?").to_pylist()
    assert list(page.rows) == expected
    [traced] = merging.trace_row([result.artefacts or ""], {"id": 305})
    assert traced.row is not None


def test_fd2_sizes_and_footers_are_asked_for_once() -> None:
    place = memory_place()
    put_table(place, [content()], row_group_size=GROUP)
    snapshot = snapshot_in(place.store, place.uri)
    asked: list[str] = []

    def counted(name: str) -> Callable[..., Any]:
        real = getattr(obstore, name)

        def ask(*arguments: Any, **options: Any) -> Any:
            asked.append(name)
            return real(*arguments, **options)

        return ask

    with pytest.MonkeyPatch.context() as patched, duckdb.connect(":memory:") as connection:
        for name in ("head", "get"):
            patched.setattr(obstore, name, counted(name))
        connection.execute(f"SELECT count({column_sql('a')}) FROM ({delta.scan_sql(connection, snapshot)})")
        assert "head" not in asked
        first = len(asked)
        connection.execute(f"SELECT count(*) FROM ({delta.scan_sql(connection, snapshot)})")
        assert (len(asked), "head" in asked) == (first, False)


def test_fd2_two_threads_on_one_handle_each_get_what_they_asked_for() -> None:
    """DuckDB's pair of calls, seek and read, with another thread's pair in between."""
    place = memory_place()
    put(place, "numbers", bytes(range(256)) * 1_000)
    opened = StoreFile(RangedReader(place.store.client), "numbers")  # type: ignore[attr-defined]
    opened.seek(10)
    other = threading.Thread(target=lambda: (opened.seek(200), opened.read(9)))
    other.start()
    other.join()
    assert opened.read(3) == bytes([10, 11, 12])
    assert opened.tell() == 13


def test_fd2_an_object_that_is_replaced_while_it_is_read_is_noticed() -> None:
    place = memory_place()
    put(place, "object", bytes(200_000))
    reader = RangedReader(place.store.client, KnownObjects())  # type: ignore[attr-defined]
    assert reader.read("object", 0, 4) == bytes(4)
    put(place, "object", b"x" * 200_000)
    with pytest.raises(ObjectReplaced):
        reader.read("object", 0, 4)


def test_fd2_ranges_of_an_object_that_was_replaced_since_it_was_forgotten_are_not_its_own() -> None:
    place, known = memory_place(), KnownObjects()
    put(place, "object", b"o" * 300_000)
    reader = RangedReader(place.store.client, known)  # type: ignore[attr-defined]
    assert reader.read("object", 0, 100_000) == b"o" * 100_000
    put(place, "object", b"x" * 300_000)
    known.forget((place.store.client.identity, "object"))  # type: ignore[attr-defined]
    assert reader.read("object", 0, 100_000) == b"x" * 100_000
    # An end that is long enough is another look: what is kept goes where it is another object now.
    put(place, "object", b"y" * 300_000)
    reader.known("object", 200_000)
    assert reader.read("object", 0, 100_000) == b"y" * 100_000


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("damage", ["missing", "cut", "replaced", "no Parquet"])
def test_fp16_missing_and_damaged_data_files_are_named(
    damage: str, kind: str, make_place: Callable[[str], Place]
) -> None:
    place = make_place(kind)
    put_table(place, [content(0, 50)])
    whole = place.store.read("part-0.parquet")
    if damage == "missing":
        place.store.delete(["part-0.parquet"])
    else:
        broken = {
            "cut": whole[:300],
            "replaced": parquet(content(0, 9)),
            "no Parquet": b"x" * len(whole),
        }[damage]
        put(place, "part-0.parquet", broken)
    snapshot = snapshot_in(place.store, place.uri)
    with (
        duckdb.connect(":memory:") as connection,
        pytest.raises(MergeFailed, match=r"The data file part-0\.parquet of"),
    ):
        delta.scan_sql(connection, snapshot)
