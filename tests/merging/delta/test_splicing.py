"""Files that lose rows page by page: what everybody reads in them, what they state, and when they are not made so."""

from __future__ import annotations

import datetime
import json
import random
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import numpy as np
import polars
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merging import delta
from merging.delta import content_checks, pages, runs
from merging.delta.actions import DataFile
from merging.delta.reading import register_positions
from merging.delta.thrift import BadThrift, read_struct, write_struct, write_varint
from merging.delta.writing import by_duckdb as writing_files
from merging.delta.writing import splicer, splicing
from merging.errors import MergeFailed
from merging.store.stores import LocalStore
from tests.merging.delta.delta_tables import Merger, assert_all_readers_agree, own_rows
from tests.merging.stores import Place, add_action, head_actions, local_place, put_commit

ROWS = 9_000


def sample_rows(rows: int = ROWS) -> pa.Table:
    """Columns of every type that stands in pages of its own, with and without NULLs, few and many values."""
    rng = random.Random(7)  # noqa: S311
    numbers = range(rows)
    moment = datetime.datetime(2013, 1, 1, tzinfo=datetime.UTC)
    return pa.table(
        {
            "id": pa.array(numbers, pa.int64()),
            "few": pa.array([["north", "south", "east"][n % 3] for n in numbers]),
            "note": pa.array([None if n % 11 == 0 else f"note {rng.random()}" for n in numbers]),
            "small": pa.array([n % 7 for n in numbers], pa.int8()),
            "whole": pa.array([None if n % 4 == 0 else n // 50 for n in numbers], pa.int32()),
            "price": pa.array([Decimal(n % 900) / 4 for n in numbers], pa.decimal128(15, 2)),
            "wide": pa.array([Decimal(10**25 + n) / 1000 for n in numbers], pa.decimal128(38, 3)),
            "single": pa.array([[0.0, -0.0, 2.5][n % 3] for n in numbers], pa.float32()),
            "double": pa.array([float("nan") if n % 9 == 0 else rng.random() for n in numbers], pa.float64()),
            "flag": pa.array([n % 5 == 0 for n in numbers]),
            "maybe": pa.array([None if n % 6 == 0 else n % 2 == 0 for n in numbers], pa.bool_()),
            "raw": pa.array([bytes([n % 256, 0]) for n in numbers], pa.binary()),
            "day": pa.array([datetime.date(2013, 1, 1 + n // 1000) for n in numbers]),
            "moment": pa.array([moment + datetime.timedelta(seconds=n) for n in numbers], pa.timestamp("us", "UTC")),
            "nothing": pa.array([None] * rows, pa.int64()),
            "place": pa.array(
                [None if n % 10 == 0 else {"x": n % 100, "y": None if n % 8 == 0 else "y"} for n in numbers],
                pa.struct({"x": pa.int64(), "y": pa.string()}),
            ),
        }
    )  # fmt: skip


def by_pyarrow(**options: Any) -> Callable[[pa.Table, Path], None]:
    return lambda table, path: pq.write_table(table, path, **options)


def by_duckdb(options: str) -> Callable[[pa.Table, Path], None]:
    def write(table: pa.Table, path: Path) -> None:
        with duckdb.connect() as connection:
            connection.register("source", table)
            connection.execute(f"COPY (SELECT * FROM source) TO '{path}' (FORMAT parquet, {options})")

    return write


def by_delta_rs(table: pa.Table, path: Path) -> None:
    """What delta-rs writes with its own settings: pages of 20,000 rows at most, with their indexes."""
    folder = path.parent / "written"
    properties = deltalake.WriterProperties(
        max_row_group_size=5_000, data_page_row_count_limit=700, write_batch_size=100
    )
    deltalake.write_deltalake(str(folder), table, writer_properties=properties)
    [written] = folder.glob("*.parquet")
    written.rename(path)


def by_polars(table: pa.Table, path: Path) -> None:
    polars.from_arrow(table).write_parquet(  # type: ignore[union-attr]
        path, compression="zstd", row_group_size=4_000, data_page_size=4_000
    )


_PAGES = {"data_page_size": 2_000, "write_batch_size": 100, "write_page_index": True, "row_group_size": 5_000}
WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    "pyarrow": by_pyarrow(**_PAGES),
    "pyarrow, second pages": by_pyarrow(data_page_version="2.0", **_PAGES),
    "pyarrow, plain": by_pyarrow(use_dictionary=False, compression="none", **_PAGES),
    "pyarrow, dictionaries that end": by_pyarrow(dictionary_pagesize_limit=3_000, **_PAGES),
    "pyarrow, zstd and checksums": by_pyarrow(compression="zstd", write_page_checksum=True, **_PAGES),
    "pyarrow, gzip, no indexes": by_pyarrow(compression="gzip", data_page_size=2_000, write_batch_size=100),
    "pyarrow, integers": by_pyarrow(store_decimal_as_integer=True, **_PAGES),
    "DuckDB": by_duckdb("ROW_GROUP_SIZE 2048"),
    "delta-rs": by_delta_rs,
    "Polars": by_polars,
}


@pytest.fixture(autouse=True)
def _everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files lose rows in most pages, and have few; no process beside this one splices any."""
    monkeypatch.setattr(writing_files, "can_splice_apart", lambda: False)
    monkeypatch.setattr(splicing, "_ROWS_OF_A_PAGE", 1)
    monkeypatch.setattr(splicing, "_PACKING", 0)
    monkeypatch.setattr(splicing, "_TAKING_OUT", 0)


def exact_bounds(table: pa.Table) -> dict[str, Any]:
    """Statistics of some columns as a log states them."""
    bounded = ("id", "few", "small", "whole")
    found = {name: pc.min_max(table[name]).as_py() for name in bounded}
    return {
        "numRecords": table.num_rows,
        "minValues": {name: found[name]["min"] for name in bounded},
        "maxValues": {name: found[name]["max"] for name in bounded},
        "nullCount": {name: table[name].null_count for name in (*bounded, "note", "nothing")}
        | {"place": {"y": pc.struct_field(table["place"].combine_chunks(), "y").null_count}},
    }


def table_of(
    tmp_path: Path, writer: Callable[[pa.Table, Path], None], table: pa.Table, stats: Any = None
) -> Place:
    place = local_place(tmp_path)
    path = Path(place.uri) / "old.parquet"
    path.parent.mkdir(exist_ok=True)
    writer(table, path)
    stated = exact_bounds(table) if stats is None else stats
    added = add_action("old.parquet", path.read_bytes(), stats=json.dumps(stated))
    put_commit(place, 0, [*head_actions(table.schema), added])
    return place


def spliced(place: Place, gone: list[int]) -> delta.WrittenFile | None:
    snapshot = delta.open_snapshot(place.uri)
    return splicing.splice(snapshot, snapshot.files[0], snapshot.fields, np.array(gone), "new.parquet")


def data_pages(path: Path, name: str) -> list[bytes]:
    """The pages of a column of the only row group, as they stand in a file."""
    group = pq.ParquetFile(path).metadata.row_group(0)
    [chunk] = [
        found for place in range(group.num_columns) if (found := group.column(place)).path_in_schema == name
    ]
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    data = path.read_bytes()

    def read(at: int, length: int) -> bytes:
        return data[at : at + length]

    found = pages.pages_between(read, start, start + chunk.total_compressed_size)
    return [data[one.at : one.end] for one in found if one.kind == pages.DATA]


def bounding_rows(path: Path) -> set[int]:
    """The rows that hold the least and the greatest value of a column in their row group."""
    file = pq.ParquetFile(path)
    found = set()
    first = 0
    for number in range(file.num_row_groups):
        group = file.read_row_group(number, columns=["id", "note", "wide", "double", "moment"])
        for column in group.columns:
            bounds = pc.min_max(column)
            found |= {first + pc.index(column, bounds[which]).as_py() for which in ("min", "max")}
        first += group.num_rows
    return found


def as_read(table: pa.Table) -> list[Any]:
    """Rows in order; NaN is itself."""
    return [str(row) for row in table.to_pylist()]


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("seed", [1, 2])
def test_everybody_reads_what_is_left(writer: str, seed: int, tmp_path: Path) -> None:
    table = sample_rows()
    place = table_of(tmp_path, WRITERS[writer], table)
    rng = random.Random(seed)  # noqa: S311
    some = set(range(ROWS)) - bounding_rows(Path(place.uri) / "old.parquet")
    gone = sorted(rng.sample(sorted(some), 3 if seed == 1 else 150))
    done = spliced(place, gone)
    assert done is not None
    kept = table.take([n for n in range(ROWS) if n not in set(gone)])
    new = Path(place.uri) / "new.parquet"
    assert (done.rows, done.size) == (kept.num_rows, new.stat().st_size)
    old_file, new_file = pq.ParquetFile(new.with_name("old.parquet")), pq.ParquetFile(new)
    expected = as_read(pq.read_table(new.with_name("old.parquet")).take(
        [n for n in range(ROWS) if n not in set(gone)]
    ))  # fmt: skip
    assert as_read(pq.read_table(new, page_checksum_verification=True)) == expected
    texts = ["few", "note"]  # whoever takes their dictionaries over as they are
    by_place = pq.read_table(new, columns=texts, read_dictionary=texts)
    by_value = pq.read_table(new, columns=texts)
    assert by_place.cast(by_value.schema).equals(by_value)
    assert as_read(polars.read_parquet(new).to_arrow().cast(new_file.schema_arrow)) == expected
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        old = new.with_name("old.parquet")
        numbered = f"SELECT *, file_row_number AS n FROM read_parquet('{old}')"
        left = (
            f"SELECT * EXCLUDE (n) FROM ({numbered}) WHERE n NOT IN ({', '.join(map(str, gone))}) ORDER BY n"
        )
        assert as_read(connection.sql(f"SELECT * FROM '{new}'").to_arrow_table()) == as_read(
            connection.sql(left).to_arrow_table()
        )
        for asked in (gone[0], gone[0] - 1, gone[-1] + 1):
            # By bounds, page indexes and Bloom filters.
            found = connection.sql(f"SELECT id FROM '{new}' WHERE id = {asked}").fetchall()
            assert found == ([] if asked in gone else [(asked,)])
            note = table["note"][asked].as_py()
            if note is not None:
                found = connection.execute(f"SELECT id FROM '{new}' WHERE note = ?", [note]).fetchall()
                assert found == ([] if asked in gone else [(asked,)])
    assert new_file.metadata.created_by == old_file.metadata.created_by
    assert new_file.metadata.num_rows == kept.num_rows
    assert_statistics_are_exact(new_file)
    assert json.loads(done.stated or "") == exact_bounds(kept)


def assert_statistics_are_exact(file: pq.ParquetFile) -> None:
    """Bounds and NULLs of every column chunk against its values."""
    metadata = file.metadata
    for number in range(metadata.num_row_groups):
        group = file.read_row_group(number)
        for leaf in range(metadata.num_columns):
            chunk = metadata.row_group(number).column(leaf)
            assert chunk.num_values == group.num_rows
            stated = chunk.statistics
            name = chunk.path_in_schema
            if stated is None or "." in name or not stated.has_min_max:
                continue
            assert stated.null_count == group[name].null_count
            if pa.types.is_floating(group[name].type):
                continue
            found = pc.min_max(group[name]).as_py()
            assert (stated.min, stated.max) == (found["min"], found["max"])


@pytest.mark.parametrize("writer", ["pyarrow", "delta-rs", "DuckDB"])
def test_readers_of_tables_find_every_row_by_its_values(writer: str, tmp_path: Path) -> None:
    """delta-rs prunes by bounds of files, row groups and pages, DuckDB by Bloom filters, Polars by both bounds."""
    table = sample_rows()
    place = table_of(tmp_path, WRITERS[writer], table)
    gone = sorted({*range(500, 900, 3), 4_321, 8_000} - bounding_rows(Path(place.uri) / "old.parquet"))
    done = spliced(place, gone)
    assert done is not None
    before = delta.open_snapshot(place.uri).files[0]
    put_commit(
        place,
        1,
        [
            {"remove": {"path": "old.parquet", "deletionTimestamp": 1, "dataChange": True, "size": before.size}},
            add_action("new.parquet", (Path(place.uri) / "new.parquet").read_bytes(), stats=done.stated),
        ],
    )  # fmt: skip
    assert_all_readers_agree(place.uri)
    assert len(own_rows(place.uri)) == ROWS - len(gone)
    asked = (
        deltalake.QueryBuilder()
        .register("t", deltalake.DeltaTable(place.uri))
        .execute(
            "SELECT id FROM t WHERE id IN (500, 501, 4321, 4322, 8999) AND whole IS NOT NULL ORDER BY id"
        )
        .read_all()
    )
    assert pa.table(asked)["id"].to_pylist() == [501, 4322, 8999]
    lazy = polars.scan_delta(place.uri).filter(polars.col("moment") == table["moment"][4_322].as_py())
    assert lazy.select("id").collect()["id"].to_list() == [4_322]


@pytest.mark.parametrize(
    ("gone", "why"),
    [
        ([0], "the least id"),
        ([ROWS - 1], "the greatest id"),
        ([*range(5_000, 9_000)], "a whole row group"),
        ([*range(2_000, 3_000)], "whole pages"),
    ],
)
def test_where_a_bound_may_go_nothing_is_left_behind(gone: list[int], why: str, tmp_path: Path) -> None:
    place = table_of(tmp_path, WRITERS["pyarrow"], sample_rows())
    assert spliced(place, gone) is None, why
    assert {path.name for path in Path(place.uri).iterdir()} == {"old.parquet", "_delta_log"}


def test_what_the_log_knows_better_than_the_file_is_not_kept(tmp_path: Path) -> None:
    """Without bounds in the file nobody knows whether the least value goes."""
    table = sample_rows()
    place = table_of(
        tmp_path, by_pyarrow(write_statistics=False, data_page_size=2_000, write_batch_size=100), table
    )
    assert spliced(place, [17]) is None
    unbounded = {"numRecords": ROWS}
    place = table_of(
        tmp_path,
        by_pyarrow(write_statistics=False, data_page_size=2_000, write_batch_size=100),
        table,
        unbounded,
    )
    done = spliced(place, [17])
    assert done is not None
    assert json.loads(done.stated or "") == {"numRecords": ROWS - 1}


OTHERS: dict[str, tuple[pa.Array, Callable[[pa.Table, Path], None]]] = {
    "lists": (pa.array([[1, 2]] * 300, pa.list_(pa.int64())), by_pyarrow()),
    "maps": (pa.array([[("a", 1)]] * 300, pa.map_(pa.string(), pa.int64())), by_pyarrow()),
    "differences": (
        pa.array(range(300), pa.int64()),
        by_duckdb("PARQUET_VERSION V2, DICTIONARY_SIZE_LIMIT 1"),
    ),
    "brotli": (pa.array(range(300), pa.int64()), by_pyarrow(compression="brotli")),
    "lz4": (pa.array(range(300), pa.int64()), by_pyarrow(compression="lz4")),
    "bytes apart": (
        pa.array([n / 3 for n in range(300)], pa.float64()),
        by_pyarrow(use_dictionary=False, use_byte_stream_split=["other"]),
    ),
}


@pytest.mark.parametrize("other", OTHERS)
def test_what_is_not_understood_is_written_in_another_way(other: str, tmp_path: Path) -> None:
    cells, writer = OTHERS[other]
    table = pa.table({"id": pa.array(range(300), pa.int64()), "other": cells})
    place = table_of(tmp_path, writer, table, {"numRecords": 300})
    assert spliced(place, [4]) is None
    assert {path.name for path in Path(place.uri).iterdir()} == {"old.parquet", "_delta_log"}


def test_damaged_files_are_written_by_others(tmp_path: Path) -> None:
    """Whatever byte of pages or footer is another: what is written has the right number of rows, or nothing is."""
    table = sample_rows(300).select(["id", "few", "whole", "note"])
    place = table_of(
        tmp_path, by_pyarrow(compression="none", data_page_size=500, write_batch_size=50), table, {}
    )
    path = Path(place.uri) / "old.parquet"
    honest = path.read_bytes()
    rng = random.Random(3)  # noqa: S311
    places = [(rng.randrange(4, len(honest) - 8), rng.randrange(256)) for _ in range(400)]
    # What the footer states, each number and kind of it: of another kind, negative, or more than any file has.
    footer = range(len(honest) - 8 - int.from_bytes(honest[-8:-4], "little"), len(honest) - 8)
    places += [(at, rng.choice([honest[at] ^ 1, honest[at] ^ 0x31 ^ 0x3C, 0x36, 0x8F])) for at in footer]
    for at, byte in places:
        damaged = bytearray(honest)
        damaged[at] = byte
        path.write_bytes(damaged)
        done = spliced(place, [5, 77])
        new = path.with_name("new.parquet")
        assert new.exists() == (done is not None)
        if done is not None:
            assert done.rows == 298
            new.unlink()


PLAINLY: dict[str, Callable[[pa.Table, Path], None]] = {
    "dictionaries": by_pyarrow(compression="none", **_PAGES),
    "dictionaries that end": by_pyarrow(compression="none", dictionary_pagesize_limit=9_000, **_PAGES),
    "no dictionaries": by_pyarrow(compression="none", use_dictionary=False, **_PAGES),
    "second pages": by_pyarrow(compression="none", data_page_version="2.0", **_PAGES),
    "DuckDB": by_duckdb("ROW_GROUP_SIZE 2048, COMPRESSION uncompressed"),
}


@pytest.mark.parametrize("writer", PLAINLY)
def test_what_was_deleted_is_not_in_the_file_any_more(writer: str, tmp_path: Path) -> None:
    """Neither in dictionaries nor among bounds; what another row has, too, stays."""
    names = [f"person {n // 2:05}" if n < 2_000 else f"person {n:05}" for n in range(6_000)]
    table = pa.table({"id": pa.array(range(6_000), pa.int64()), "name": names})
    place = table_of(tmp_path, PLAINLY[writer], table, {"numRecords": 6_000})
    gone = [100, 202, 203, *range(2_400, 2_450), *range(5_600, 5_640)]
    assert spliced(place, gone) is not None
    path = Path(place.uri) / "new.parquet"
    left = [name for n, name in enumerate(names) if n not in set(gone)]
    data = path.read_bytes()
    assert [name for name in {*names} if name.encode() in data and name not in left] == []
    assert pq.read_table(path)["name"].to_pylist() == left
    assert polars.read_parquet(path)["name"].to_list() == left
    with duckdb.connect() as connection:
        for asked in {*names[::37], *(names[n] for n in gone)}:
            found = connection.execute(f"SELECT count(*) FROM '{path}' WHERE name = ?", [asked]).fetchall()
            assert found == [(left.count(asked),)]


@pytest.mark.parametrize("loses_it", [True, False])
def test_a_bound_that_is_the_beginning_of_a_text_may_stand_for_one_that_goes(
    loses_it: bool, tmp_path: Path
) -> None:
    """Polars cuts bounds and does not say so: who deletes the greatest text means its beginning to be gone, too."""
    names = [f"person {n % 97}" for n in range(3_000)]
    names[500] = "zz secret " + "x" * 80
    table = pa.table({"id": pa.array(range(3_000), pa.int64()), "name": names})
    place = table_of(tmp_path, by_polars, table, {"numRecords": 3_000, "maxValues": {"name": names[500]}})
    assert b"zz secret" in (Path(place.uri) / "old.parquet").read_bytes()
    assert spliced(place, [500 if loses_it else 501]) is None
    assert not (Path(place.uri) / "new.parquet").exists()


@pytest.mark.parametrize("compression", ["none", "snappy"])
def test_a_damaged_page_gets_no_checksum_that_fits(compression: str, tmp_path: Path) -> None:
    table = sample_rows(3_000).select(["id", "note"])
    writer = by_pyarrow(compression=compression, use_dictionary=False, write_page_checksum=True, **_PAGES)
    place = table_of(tmp_path, writer, table, {"numRecords": 3_000})
    path = Path(place.uri) / "old.parquet"
    data = bytearray(path.read_bytes())
    data[data.index(b"note 0.", len(data) // 2) + 8] ^= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match="CRC checksum verification failed"):
        pq.read_table(path, page_checksum_verification=True)
    with pytest.raises(MergeFailed, match="a page is not what its checksum says"):
        spliced(place, [*range(1, 3_000, 3)])
    assert {one.name for one in path.parent.iterdir()} == {"old.parquet", "_delta_log"}


@pytest.mark.parametrize("kind", [pages.Leaf(("a",), 6, 0, 0), pages.Leaf(("a",), 2, 8, 0)])
@pytest.mark.parametrize("count", [-1, 251, 10**9, 2**62])
def test_no_room_is_made_for_values_that_no_page_holds(kind: pages.Leaf, count: int) -> None:
    with pytest.raises(ValueError, match="fewer values than it says"):
        pages.Plain(kind, bytes(1_000 if kind.width == 0 else 2_000), count).places  # noqa: B018


def test_what_stands_for_texts_that_went_is_no_text_of_theirs(tmp_path: Path) -> None:
    """In dictionaries whose texts are digits, as what stands there then is."""
    texts = [str(n % 30 + 1) for n in range(3_000)]
    table = pa.table({"id": pa.array(range(3_000), pa.int64()), "t": texts})
    place = table_of(tmp_path, by_pyarrow(**_PAGES), table, {"numRecords": 3_000})
    gone = [n for n in range(3_000) if texts[n] in ("7", "21", "3")]
    assert spliced(place, gone) is not None
    new = Path(place.uri) / "new.parquet"
    read = pq.read_table(new, read_dictionary=["t"])["t"]
    assert read.cast(pa.string()).to_pylist() == [one for n, one in enumerate(texts) if n not in set(gone)]
    with duckdb.connect() as connection:
        found = connection.sql(f"SELECT t, count(*) FROM '{new}' GROUP BY t").fetchall()
    assert dict(found) == {str(n): 100 for n in range(1, 31) if n not in (7, 21, 3)}


def test_small_files_are_not_looked_through(
    tmp_path: Path, merger: Merger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have one page of each column. Nor are the rows that they lose listed for each of them."""
    looked: list[str] = []
    listed: list[int] = []
    real = splicing.splice

    def noted(snapshot: delta.Snapshot, file: DataFile, *given: Any) -> delta.WrittenFile | None:
        looked.append(file.path)
        return real(snapshot, file, *given)

    def counted(connection: Any, indexes: np.ndarray, numbers: np.ndarray, **given: Any) -> str:
        listed.append(len(numbers))
        return register_positions(connection, indexes, numbers, **given)

    monkeypatch.setattr(writing_files, "splice", noted)
    monkeypatch.setattr(writing_files, "register_positions", counted)
    monkeypatch.setattr(splicing, "_ROWS_OF_A_PAGE", 20_000)
    uri = str(tmp_path / "table")
    for first, rows in ((0, 20_001), (30_000, 20_000), (60_000, 50)):
        numbers = pa.array(range(first, first + rows), pa.int64())
        deltalake.write_deltalake(uri, pa.table({"id": numbers}), mode="append")
    [large] = [file.path for file in delta.open_snapshot(uri).files if file.num_records == 20_001]
    merger.merge(uri, delete=[5_000, 35_000, 35_001, 60_020])
    assert (looked, listed) == ([large], [4])
    assert_all_readers_agree(uri)
    left = [n for n in [*range(20_001), *range(30_000, 50_000), *range(60_000, 60_050)]
            if n not in (5_000, 35_000, 35_001, 60_020)]  # fmt: skip
    assert sorted(row[0] for row in own_rows(uri)) == left


def files_of(uri: str, number: int) -> list[str]:
    """A table of so many files of 40,000 rows, and their names in the order of their rows."""
    found: list[str] = []
    for first in range(0, number * 40_000, 40_000):
        numbers = pa.array(range(first, first + 40_000), pa.int64())
        deltalake.write_deltalake(uri, pa.table({"id": numbers}), mode="append")
        found += [one.path for one in delta.open_snapshot(uri).files if one.path not in found]
    return found


@pytest.mark.parametrize("slow", ["splice", "copy_to", None])
def test_how_a_file_is_written_does_not_depend_on_who_was_first(
    slow: str | None, tmp_path: Path, merger: Merger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB writes those that lose rows in the most pages, as many as take the time of the others."""
    monkeypatch.setattr(splicing, "_ROWS_OF_A_PAGE", 20_000)
    monkeypatch.setattr(splicing, "_PACKING", 0.55)
    uri = str(tmp_path / "table")
    files = files_of(uri, 6)
    looked: list[str] = []
    real = splicing.splice

    def noted(snapshot: delta.Snapshot, file: DataFile, *given: Any) -> delta.WrittenFile | None:
        looked.append(file.path)
        return real(snapshot, file, *given)

    monkeypatch.setattr(writing_files, "splice", noted)
    if slow is not None:
        quick = getattr(writing_files, slow)

        def waits(*given: Any, **named: Any) -> Any:
            time.sleep(0.3)
            return quick(*given, **named)

        monkeypatch.setattr(writing_files, slow, waits)
    gone = [n * 40_000 + 5_000 for n in range(6)] + [2 * 40_000 + 35_000, 4 * 40_000 + 35_000]
    merger.merge(uri, delete=gone)
    assert sorted(looked) == sorted(files[n] for n in (0, 1, 3, 5))
    assert_all_readers_agree(uri)
    assert sorted(row[0] for row in own_rows(uri)) == sorted({*range(240_000)} - {*gone})


def test_files_are_flushed_while_others_are_written(
    tmp_path: Path, merger: Merger, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "table")
    files_of(uri, 3)
    flushed = threading.Event()
    waited: list[bool] = []
    begun: list[str] = []
    real, sync = splicing.splice, LocalStore.sync

    def last_waits(snapshot: delta.Snapshot, file: DataFile, *given: Any) -> delta.WrittenFile | None:
        begun.append(file.path)
        if len(begun) == 3:
            waited.append(flushed.wait(20))
        return real(snapshot, file, *given)

    def noted(store: LocalStore, paths: Iterable[str]) -> None:
        sync(store, paths)
        flushed.set()

    monkeypatch.setattr(writing_files, "splice", last_waits)
    monkeypatch.setattr(LocalStore, "sync", noted)
    monkeypatch.setattr(splicing, "_COPYING", 0)
    merger.merge(uri, delete=[5_000, 45_000, 85_000])
    assert waited == [True]


def test_where_a_file_fails_no_other_is_begun(
    tmp_path: Path, merger: Merger, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "table")
    before = {*files_of(uri, 8)}
    begun: list[str] = []

    def fails(snapshot: delta.Snapshot, file: DataFile, *_: Any) -> delta.WrittenFile | None:
        begun.append(file.path)
        if len(begun) == 1:
            raise MergeFailed("it failed")
        time.sleep(1)
        return None

    monkeypatch.setattr(writing_files, "splice", fails)
    monkeypatch.setattr(splicing, "_COPYING", 0)
    with pytest.raises(MergeFailed, match="it failed"):
        merger.prepare(delta.open_snapshot(uri), delete=[n * 40_000 + 5_000 for n in range(8)])
    assert len(begun) <= 3
    assert {one.name for one in Path(uri).glob("*.parquet")} == before


@pytest.mark.parametrize("codec", [1, 2, 6])
def test_a_body_of_another_size_than_stated_is_not_taken(codec: int) -> None:
    values = pages.Values(pages.Leaf(("a",), 6, 0, 0), codec)
    body = values.packed(b"a" * 900)
    assert values.unpacked(body, 900) == b"a" * 900
    for stated in (899, 901, 5_000):
        with pytest.raises(pages.NotTaken):
            values.unpacked(body, stated)


def test_a_merge_keeps_the_pages_that_lose_nothing(
    tmp_path: Path, merger: Merger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_checks, "SHARE", 1.0)
    made: list[delta.WrittenFile | None] = []
    real = splicing.splice

    def noted(*given: Any) -> delta.WrittenFile | None:
        made.append(real(*given))
        return made[-1]

    monkeypatch.setattr(writing_files, "splice", noted)
    uri = str(tmp_path / "table")
    table = pa.table(
        {
            "id": pa.array(range(100_000), pa.int64()),
            "t": [f"text {n}" for n in range(100_000)],
            "n": pa.array([n % 50 for n in range(100_000)], pa.int32()),
        }
    )
    deltalake.write_deltalake(uri, table)
    before = set(Path(uri).glob("*.parquet"))
    edited = pa.table({"id": [70_000], "t": ["edited"], "n": pa.array([1], pa.int32())})
    merger.merge(uri, upsert=edited, delete=[65_000])
    assert [one is not None for one in made] == [True]
    assert_all_readers_agree(uri)
    assert len(own_rows(uri)) == 99_999
    [old] = before
    [new] = [Path(uri) / one.path for one in made if one is not None]
    # Pages of 20,000 rows; texts have one more, where their dictionary ended. One of each column lost rows.
    written = new.read_bytes()
    for name, count in (("id", 5), ("t", 6), ("n", 5)):
        kept = [one in written for one in data_pages(old, name)]
        assert (len(kept), kept.count(False)) == (count, 1)
    [stats] = [
        json.loads(file.stats_json or "") for file in delta.open_snapshot(uri).files if file.path == new.name
    ]
    assert stats["numRecords"] == 99_998
    assert (stats["minValues"]["id"], stats["maxValues"]["id"]) == (0, 99_999)
    # Those that lose rows everywhere, or their least, are rewritten whole.
    merger.merge(uri, delete=[0])
    assert made[-1] is None
    [least] = [json.loads(file.stats_json or "")["minValues"]["id"] for file in delta.open_snapshot(uri).files
               if (file.num_records or 0) > 1]  # fmt: skip
    assert least == 1


def test_wrong_pages_are_found_where_files_are_compared(
    tmp_path: Path, merger: Merger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_checks, "SHARE", 1.0)
    real = pages.take_out

    def other(values: Any, page: Any, body: bytes, gone: np.ndarray) -> Any:
        return real(values, page, body, gone + 1)

    monkeypatch.setattr(splicer, "take_out", other)
    uri = str(tmp_path / "table")
    deltalake.write_deltalake(uri, pa.table({"id": range(100), "n": [n % 5 for n in range(100)]}))
    with pytest.raises(MergeFailed, match="is not what its rows were before"):
        merger.merge(uri, delete=[40])
    assert delta.open_snapshot(uri).version == 0
    assert len([*Path(uri).glob("*.parquet")]) == 1


# Numbers in runs


def encoded(values: list[int], width: int, lengths: Iterator[int]) -> bytes:
    """Runs of both kinds, as a writer might cut them."""
    written = b""
    at = 0
    while at < len(values):
        length = next(lengths)
        if length % 2:
            same = 1
            while at + same < len(values) and values[at + same] == values[at] and same < length:
                same += 1
            written += runs.run_of(values[at], width, same)
            at += same
            continue
        some = values[at : at + length * 4 // 8 * 8 or 8]
        if len(some) % 8 and at + len(some) < len(values):
            raise AssertionError("only the last run is filled up")
        filled = some + [0] * (-len(some) % 8)
        bits = "".join(f"{one:0{width}b}"[::-1] if width else "" for one in filled)
        body = bytes(int(bits[n : n + 8][::-1], 2) for n in range(0, len(bits), 8))
        written += write_varint(len(filled) // 8 << 1 | 1) + body
        at += len(some)
    return written


@given(st.data())
def test_values_are_taken_out_of_runs(data: st.DataObject) -> None:
    width = data.draw(st.integers(0, 20))
    values = data.draw(st.lists(st.integers(0, min(2**width - 1, 2**width - 1)), min_size=1, max_size=120))
    repeated = data.draw(st.sampled_from([1, 3, 20, 90]))
    values = [one for one in values for _ in range(repeated)]
    cuts = random.Random(data.draw(st.integers(0, 99)))  # noqa: S311
    written = encoded(values, width, iter(lambda: cuts.randrange(1, 40), None))
    gone = sorted(data.draw(st.sets(st.integers(0, len(values) - 1))))
    assert runs.read_all(written, width, len(values)).tolist() == values
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_NEAR", data.draw(st.sampled_from([1, 40, 4_096])))
        kept, taken = runs.take_out(written, width, len(values), np.array(gone, np.int64))
    taken_out = set(gone)
    left = [one for place, one in enumerate(values) if place not in taken_out]
    assert taken.tolist() == [values[place] for place in gone]
    assert runs.read_all(kept, width, len(left)).tolist() == left
    for asked in {*values, 0}:
        assert runs.holds(kept, width, len(left), asked) == (asked in left)


@pytest.mark.parametrize("width", [1, 2, 7, 14, 20])
def test_runs_stay_as_short_as_they_were(width: int) -> None:
    """Of values that take turns, now in runs of one and now in eights, and of those that none is lost from."""
    rng = random.Random(width)  # noqa: S311
    values: list[int] = []
    while len(values) < 20_000:
        values += [rng.randrange(2**width)] * rng.choice([1, 1, 1, 30, 200])
    cuts = iter(lambda: rng.choice([7, 8, 501, 1_000]), None)
    written = encoded(values, width, cuts)
    for lost in (1, 40, 2_000):
        gone = np.array(sorted(rng.sample(range(len(values)), lost)))
        kept, _ = runs.take_out(written, width, len(values), gone)
        assert len(kept) < len(written) * 1.05 + 20


@given(st.sampled_from([0, 1, 4, 5, 8, 12]), st.data())
def test_values_are_found_among_others(width: int, data: st.DataObject) -> None:
    """Of every width, and texts (0): those that are there at all their places, no part of any and of no two."""
    size = st.integers(0, 20) if width == 0 else st.just(width)
    one_of_them = size.flatmap(
        lambda length: st.lists(st.sampled_from(b"ab\0"), min_size=length, max_size=length)
    )
    values = [bytes(one) for one in data.draw(st.lists(one_of_them, min_size=1, max_size=30))]
    leaf = pages.Leaf(("a",), 7 if width else 6, width, 0)
    encoded_plainly = b"".join(one if width else struct.pack("<I", len(one)) + one for one in values)
    plain = pages.Plain(leaf, encoded_plainly, len(values))
    for asked in {*values, b"", b"ab" * width, bytes(data.draw(one_of_them))}:
        assert plain.find(asked) == [place for place, one in enumerate(values) if one == asked]


def test_runs_that_end_too_early_are_damaged() -> None:
    for data in (b"", b"\x03", b"\x03\x01", b"\x00\x01"):
        with pytest.raises(BadThrift, match="fewer values than it says"):
            runs.read_all(data, 12, 8)


# Structs


@pytest.mark.parametrize("writer", WRITERS)
def test_footers_are_written_as_they_were_read(writer: str, tmp_path: Path) -> None:
    path = tmp_path / f"{uuid.uuid4().hex}.parquet"
    WRITERS[writer](sample_rows(100), path)
    data = path.read_bytes()
    footer = data[-8 - int.from_bytes(data[-8:-4], "little") : -8]
    assert write_struct(read_struct(footer)[0]) == footer
