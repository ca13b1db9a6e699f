"""Content that is something else than its name says, or that a library gives up on: told by what it is."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import openpyxl
import polars
import pyarrow as pa
import pyarrow.ipc as arrow_ipc
import pyarrow.parquet as arrow_parquet
import pytest

from merging import MergeRequest, StagingRejected, compact, merge, stage
from merging.delta import content_checks
from merging.sql.values import arrow_values, python_values
from tests.merging.border_values import BORDERS
from tests.merging.world import World

ROWS = b"id,b\n1,new\n"


def _told(world: World, name: str, content: bytes) -> str:
    before = world.rows()
    with pytest.raises(StagingRejected) as refusal:
        world.stage(world.file(name, content))
    assert world.rows() == before
    return refusal.value.problems[0].message


def _zstd(content: bytes) -> bytes:
    compressed: bytes = pa.compress(content, codec="zstd", asbytes=True)
    return compressed


def test_fd25_frames_without_content_are_passed_over(world: World) -> None:
    frame = b"\x5a\x2a\x4d\x18\x04\x00\x00\x00abcd"
    for content in (
        frame + _zstd(ROWS),
        _zstd(ROWS) + frame,
        frame + _zstd(ROWS[:7]) + frame + _zstd(ROWS[7:]),
    ):
        staged = world.stage(world.file("x.csv.zst", content))
        assert staged.cells_updated == {"b": 1}
    for nothing in (frame, bz2.compress(b""), gzip.compress(b"", mtime=0)):
        assert _told(world, "x.csv", nothing) == "the file is empty: it has no header line."


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("x.csv", lzma.compress(ROWS), "the file is compressed with xz (unpack it"),
        (
            "x.jsonl",
            pa.compress(ROWS, codec="lz4", asbytes=True),
            "the file is compressed with lz4 (unpack it",
        ),
        ("x.csv", b"7z\xbc\xaf\x27\x1c" + bytes(40), "the file is an archive (.7z; unpack it)"),
        (
            "x.parquet",
            gzip.compress(ROWS, mtime=0),
            "the file is compressed (gzip; unpack it), not a Parquet file",
        ),
        ("x.arrow", b"%PDF-1.7", "the file is a PDF document, not an Arrow file"),
    ],
)
def test_fs3_other_formats_are_told_with_the_way_out(
    world: World, name: str, content: bytes, what: str
) -> None:
    assert _told(world, name, content).startswith(what)


def test_fs3_parquet_under_the_name_of_arrow(world: World) -> None:
    buffer = io.BytesIO()
    arrow_parquet.write_table(pa.table({"id": [1]}), buffer)
    told = _told(world, "x.feather", buffer.getvalue())
    assert told == "the file is a Parquet file, not an Arrow file; give its name the ending of what it is."


def test_fd9_row_numbers_of_pandas_and_r_are_told_with_the_way_out(world: World) -> None:
    told = _told(world, "x.csv", b'"","id","b"\n"1",1,"x"\n')
    assert told.endswith("(row numbers are left out by index=False in pandas, by row.names=FALSE in R).")


def test_fd24_streams_that_fail_are_refused_by_name(world: World) -> None:
    integers = polars.DataFrame({"id": [1], "n": [2**100]}, schema_overrides={"n": polars.Int128})
    late = "SELECT i AS id, CASE WHEN i > 100000 THEN error('boom') END::VARCHAR AS b FROM range(200000) t(i)"
    with duckdb.connect(":memory:") as connection:
        for changes in (integers, connection.sql("SELECT 1 AS id, error('boom') AS b"), connection.sql(late)):
            with pytest.raises(StagingRejected) as refusal:
                world.stage(changes)
            assert [one.code for one in refusal.value.problems] == ["unreadable"]


@pytest.mark.parametrize("name", ["date", "timestamp", "timestamp_ntz"])
def test_fd12_files_with_far_days_are_rewritten(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(content_checks, "SHARE", 0)
    borders = BORDERS[name]
    schema = pa.schema([("id", pa.int64()), ("v", borders.type), ("a", pa.int64())])
    world = make_world(schema=schema, rows=[])
    values = arrow_values(list(borders.values), borders.type)
    numbers = pa.array(range(len(values)), pa.int64())
    world.merge(world.stage(pa.table({"id": numbers, "v": values, "a": numbers})), "CR-1")
    world.merge(world.stage(pa.table({"id": [0], "a": [99]}), base_version=world.version), "CR-2")
    table = deltalake.DeltaTable(world.uri)
    read = pa.table(
        deltalake.QueryBuilder().register("t", table).execute("SELECT * FROM t ORDER BY id").read_all()
    )
    assert python_values(read["v"]) == list(borders.values)
    assert read["a"].to_pylist() == [99, *range(1, len(values))]


def test_fd12_moments_before_the_engines_calendar_stay_as_they_are(tmp_path: Path) -> None:
    first = -(2**63)
    for strategy, properties in {"mor": {"delta.enableDeletionVectors": "true"}, "cow": {}}.items():
        uri = str(tmp_path / strategy)
        moments = pa.array([first, 0, first], pa.int64()).cast(pa.timestamp("us", tz="UTC"))
        table = pa.table({"id": [1, 2, 3], "at": moments, "a": [1, 2, 3]})
        deltalake.write_deltalake(uri, table, configuration=properties)
        staged = stage(uri, pa.table({"id": [1], "a": [9]}), ["id"], destination=str(tmp_path / "staged"))
        merge(MergeRequest(uri, "CR-1", ["id"], staged, destination=str(tmp_path / f"artefacts-{strategy}")))
        compact(uri, attempt_id=uuid.uuid4().hex, application_id="tests", generation=1)
        left = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(uri)).execute("SELECT * FROM t")
        rows = pa.table(left.read_all()).sort_by("id")
        assert rows["at"].cast(pa.int64()).to_pylist() == [first, 0, first]
        assert rows["a"].to_pylist() == [9, 2, 3]


@pytest.mark.parametrize("nested", [False, True])
def test_fd11_days_in_the_calendar_of_spark_2_are_refused_by_row(tmp_path: Path, nested: bool) -> None:
    def of(values: pa.Array) -> pa.Array:
        in_lists = pa.ListArray.from_arrays(pa.array(range(len(values) + 1), pa.int32()), values)
        return pa.StructArray.from_arrays([in_lists], ["x"]) if nested else values

    path = tmp_path / "x.parquet"
    shared: dict[str, list[Any]] = {"d": [-141_427, None, 0], "t": [-2_208_988_800_000_000, None, 0]}
    kinds = {"d": pa.date32(), "t": pa.timestamp("us", tz="UTC")}
    schema = pa.schema(
        [("id", pa.int64()), *((name, of(pa.array([0], kind)).type) for name, kind in kinds.items())]
    )
    world = World(tmp_path, "merge-on-read", schema, [])
    stated = {"org.apache.spark.version": "3.5.0", "org.apache.spark.legacyDateTime": ""}
    for changed, metadata in ((None, stated), ("d", stated), ("t", stated), ("d", {})):
        columns = {
            name: of(pa.array([*numbers[:2], numbers[0] - (name == changed)], kinds[name]))
            for name, numbers in shared.items()
        }
        table = pa.table({"id": [1, 2, 3], **columns}).replace_schema_metadata(metadata)
        arrow_parquet.write_table(table, path, row_group_size=2)
        if changed is None or not metadata:
            assert world.stage(path).counts["insert"] == 3
            continue
        with pytest.raises(StagingRejected) as refusal:
            world.stage(path)
        [problem] = refusal.value.problems
        assert (problem.code, problem.line, problem.column) == ("other_calendar", 3, changed)
    assert world.rows() == []


def _whole(file_format: str) -> bytes:
    """A right file of a format, with nothing at its end that could be missing unnoticed."""
    table = pa.table({"id": [7, 8], "b": ["x", "y"]})
    sink = io.BytesIO()
    if file_format == "parquet":
        arrow_parquet.write_table(table, sink, compression="zstd", write_page_checksum=True)
    elif file_format in ("arrow", "feather"):
        opened = arrow_ipc.new_file if file_format == "arrow" else arrow_ipc.new_stream
        with opened(sink, table.schema) as writer:
            writer.write_table(table)
    elif file_format == "xlsx":
        book = openpyxl.Workbook()
        for row in (["id", "b"], [7, "x"], [8, "y"]):
            book.active.append(row)
        book.save(sink)
    elif file_format == "csv.gz":
        return gzip.compress(b"id,b\n7,x\n") + gzip.compress(b"8,y\n")
    else:
        return {"csv": b'id,b\n7,"x"\n8,"y"\n', "jsonl": b'{"id":7,"b":"x"}\n{"id":8,"b":"y"}\n'}[file_format]
    return sink.getvalue()


FORMATS = ("csv", "csv.gz", "jsonl", "xlsx", "parquet", "arrow", "feather")


@pytest.mark.parametrize("file_format", FORMATS)
def test_fs3_files_under_the_ending_of_another_format_are_read_or_told_what_they_are(
    world: World, file_format: str
) -> None:
    content = _whole(file_format)
    told_as = {
        "csv": "text, such as CSV",
        "csv.gz": "compressed (gzip",
        "jsonl": "JSON",
        "xlsx": "a workbook (.xlsx)",
        "parquet": "a Parquet file",
        "arrow": "an Arrow file",
        "feather": "a stream of Arrow data",
    }[file_format]
    texts = {"csv", "csv.gz", "jsonl", "tsv"}
    arrows = {"arrow", "feather"}
    for ending in ("csv", "jsonl", "xlsx", "parquet", "arrow", "dat"):
        if ending == file_format or {ending, file_format} <= arrows:
            assert world.stage(world.file(f"x.{ending}", content)).rows == 2
            continue
        if ending in texts and file_format in texts and {ending, file_format} != {"csv", "jsonl"}:
            continue
        with pytest.raises(StagingRejected) as refusal:
            world.stage(world.file(f"x.{ending}", content))
        if not (ending in texts and file_format in texts):
            assert told_as in str(refusal.value)


@pytest.mark.parametrize("file_format", ["csv.gz", "xlsx", "parquet", "arrow", "feather"])
def test_fs3_files_that_were_cut_anywhere_are_refused(world: World, file_format: str) -> None:
    content = _whole(file_format)
    before = world.rows()
    step = max(1, len(content) // 20)
    for end in [*range(0, len(content), step), *range(len(content) - 6, len(content))]:
        if file_format == "csv.gz" and end == len(gzip.compress(b"id,b\n7,x\n")):
            continue  # whole members, and so a whole file
        with pytest.raises(StagingRejected):
            world.stage(world.file(f"x.{file_format}", content[:end]))
    assert world.rows() == before
    assert world.stage(world.file(f"x.{file_format}", content)).rows == 2
