"""Data files that somebody else wrote for a commit: believed by their footers, and found where attempts left them."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from merging import delta
from merging.delta.creating import create_in
from merging.delta.fields import TableField
from merging.delta.snapshot import snapshot_in
from merging.delta.writing import TEMPORARY, read_alike, temporary_folder, written_elsewhere
from merging.delta.writing.file_names import data_file_name
from merging.errors import MergeFailed
from merging.sql.values import arrow_values
from tests.merging.border_values import BORDERS
from tests.merging.delta.delta_tables import sample
from tests.merging.stores import Place, local_place, memory_place, put_table

LATER = 4_000_000_000_000


def as_duckdb_states_them(uri: str) -> None:
    """Hold what a footer says of each file against what DuckDB said when it wrote it."""
    snapshot = delta.open_snapshot(uri)
    fields = [one for one in snapshot.fields if one.name not in snapshot.partition_columns]
    assert len(snapshot.files)
    for file in snapshot.files:
        written = written_elsewhere(snapshot, file.path, fields)
        assert (written.size, written.rows) == (file.size, file.num_records)
        assert json.loads(written.stats(snapshot)) == json.loads(file.stats_json or "{}")


@pytest.mark.parametrize("partition_by", [[], ["part"]], ids=["plain", "partitioned"])
def test_statistics_of_a_footer_are_those_of_the_writer(tmp_path: Path, partition_by: list[str]) -> None:
    delta.create_table(str(tmp_path / "t"), sample(40), partition_by=partition_by)
    as_duckdb_states_them(str(tmp_path / "t"))


@pytest.mark.parametrize("name", BORDERS)
def test_statistics_at_the_borders_of_a_type(tmp_path: Path, name: str) -> None:
    borders = BORDERS[name]
    values = [*borders.values, None]
    table = pa.table(
        {"id": pa.array(range(len(values)), pa.int32()), "v": arrow_values(values, borders.type)}
    )
    uri = str(tmp_path / "t")
    delta.create_table(uri, table)
    as_duckdb_states_them(uri)
    for place, _ in enumerate(borders.values):
        one = str(tmp_path / f"one {place}")
        delta.create_table(one, table.take([place]))
        as_duckdb_states_them(one)


def held(schema: pa.Schema, fields: list[TableField], place: Place, **options: Any) -> bool:
    """Whether every reader reads a file of these columns as the table's."""
    put_table(place, [pa.table({"id": pa.array([1], pa.int64())})])
    snapshot = snapshot_in(place.store, place.uri)
    [file] = snapshot.files
    pq.write_table(schema.empty_table(), Path(place.uri, file.path), **options)
    size = Path(place.uri, file.path).stat().st_size
    [found] = read_alike(snapshot, fields, [delta_file(file, size)])
    return found


def delta_file(file: Any, size: int) -> Any:
    return type(file)(file.logged_path, size, file.partition_values, 0, None, None, None, {})


MAPPED = [
    TableField("id", "col-1", 1, pa.int64()),
    TableField("s", "col-2", 2, pa.struct([("x", pa.int32())]), (TableField("x", "col-3", 3, pa.int32()),)),
]


def column(name: str, data_type: pa.DataType, number: int) -> pa.Field:
    return pa.field(name, data_type, metadata={"PARQUET:field_id": str(number)})


STRUCT = pa.struct([column("col-3", pa.int32(), 3)])
FILES: dict[str, tuple[list[pa.Field], bool]] = {
    "the table's": ([column("col-1", pa.int64(), 1), column("col-2", STRUCT, 2)], True),
    "no ids": ([pa.field("col-1", pa.int64()), pa.field("col-2", pa.struct([("col-3", pa.int32())]))], True),
    "a column less": ([column("col-1", pa.int64(), 1)], True),
    "one that was dropped": ([column("col-1", pa.int64(), 1), column("old", pa.string(), 9)], True),
    "another id": ([column("col-1", pa.int64(), 7)], False),
    "another name": ([column("id", pa.int64(), 1)], False),
    "another case": ([column("COL-1", pa.int64(), 1)], False),
    "a narrower type": ([column("col-1", pa.int32(), 1)], False),
    "another part": ([column("col-2", pa.struct([column("x", pa.int32(), 3)]), 2)], False),
    "two of one name": ([column("col-1", pa.int64(), 1), column("COL-1", pa.int64(), 8)], False),
}


@pytest.mark.parametrize(("columns", "alike"), FILES.values(), ids=FILES)
def test_files_that_everybody_reads_alike(tmp_path: Path, columns: list[pa.Field], alike: bool) -> None:
    assert held(pa.schema(columns), MAPPED, local_place(tmp_path)) is alike


@pytest.mark.parametrize(
    ("options", "alike"),
    [({}, True), ({"use_deprecated_int96_timestamps": True}, False), ({"coerce_timestamps": "ms"}, False)],
    ids=str,
)
def test_moments_of_other_kinds_are_read_by_us(tmp_path: Path, options: dict[str, Any], alike: bool) -> None:
    kind = pa.timestamp("us", "UTC")
    fields = [TableField("t", "t", None, kind)]
    assert held(pa.schema([("t", kind)]), fields, local_place(tmp_path), **options) is alike


@pytest.mark.parametrize(("version", "alike"), [("4.1.0", True), ("3.0.2", False)])
def test_moments_as_int96_are_whole_microseconds_where_spark_wrote_them(
    tmp_path: Path, version: str, alike: bool
) -> None:
    kind = pa.timestamp("us", "UTC")
    schema = pa.schema([("t", kind)], metadata={"org.apache.spark.version": version})
    fields = [TableField("t", "t", None, kind)]
    place = local_place(tmp_path)
    assert held(schema, fields, place, use_deprecated_int96_timestamps=True) is alike


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"id": pa.array([1], pa.int32())}, "does not hold the column id"),
        ({"other": pa.array([1], pa.int64())}, "does not hold the column id"),
        ({"id": pa.array([1], pa.int64()), "more": [1]}, "holds 2 columns instead of 1"),
    ],
    ids=["type", "name", "more"],
)
def test_a_file_with_other_columns_is_not_taken(tmp_path: Path, columns: dict[str, Any], told: str) -> None:
    uri = str(tmp_path / "t")
    snapshot = delta.create_table(uri, pa.table({"id": pa.array([1], pa.int64())}))
    pq.write_table(pa.table(columns), Path(uri, "new.parquet"))
    with pytest.raises(MergeFailed, match=told):
        written_elsewhere(snapshot, "new.parquet", snapshot.fields)
    with pytest.raises(MergeFailed, match="is not there"):
        written_elsewhere(snapshot, "none.parquet", snapshot.fields)
    Path(uri, "new.parquet").write_bytes(Path(uri, "new.parquet").read_bytes()[:-9])
    with pytest.raises(MergeFailed):
        written_elsewhere(snapshot, "new.parquet", snapshot.fields)


@pytest.mark.parametrize("distant", [False, True], ids=["folder", "object store"])
def test_what_was_written_for_an_attempt_is_found_and_goes(tmp_path: Path, distant: bool) -> None:
    place = memory_place() if distant else local_place(tmp_path)
    create_in(place.store, place.uri, sample(3))
    before = {item.path for item in place.store.walk()}
    folder = temporary_folder(data_file_name("dead"))
    assert folder.startswith(f"{TEMPORARY}/dead/")
    wrote = {f"{folder}/_temporary/0/part.parquet", f"{folder}/n=0/part.parquet"}
    other = f"{TEMPORARY}/living/{uuid.uuid4()}/n=0/part.parquet"
    for path in (*wrote, other):
        place.store.write(path, b"rows")
    snapshot = snapshot_in(place.store, place.uri)
    assert {item.path for item in delta.find_orphans(snapshot, ["dead"])} == wrote
    unneeded = delta.find_unneeded(snapshot, now_ms=LATER, protect_attempts=["living"])
    assert {item.path for item in unneeded} == wrote
    assert {item.path for item in place.store.within(folder)} == wrote
    place.store.move(f"{folder}/n=0/part.parquet", "p=1/part-dead.parquet")
    assert place.store.read("p=1/part-dead.parquet") == b"rows"
    place.store.remove_folder(folder)
    place.store.remove_folder(folder)
    assert {item.path for item in place.store.walk()} == before | {other, "p=1/part-dead.parquet"}
    if not distant:
        assert not Path(place.uri, TEMPORARY, "dead").exists()
