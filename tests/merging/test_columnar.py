"""Parquet and Arrow as others write them: every layout, every type, damage, and what files declare of themselves."""

from __future__ import annotations

import datetime
import struct
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pandas
import polars
import pyarrow as pa
import pyarrow.ipc as arrow_ipc
import pyarrow.parquet as arrow_parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merging import FarDate, StagingRejected
from merging.confinement import Bounds, run_confined
from merging.staging import workbench
from merging.staging.sources import Problems, open_source
from merging.staging.sources.base import BATCH_BYTES
from tests.fuzz.mutants import mutant
from tests.merging.arrow_layouts import built, logical_type, value
from tests.merging.test_staging import naive, problems, proposed
from tests.merging.world import World, arrow, same_rows

UTC = datetime.UTC
NESTED = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        ("day", pa.date32()),
        ("amount", pa.decimal128(20, 2)),
        ("at", pa.timestamp("us")),
        ("code", pa.string()),
        ("raw", pa.binary()),
        ("numbers", pa.list_(pa.int32())),
        ("point", pa.struct([("x", pa.float32()), ("at", pa.timestamp("us"))])),
        ("named", pa.map_(pa.string(), pa.int64())),
    ]
)


@pytest.fixture
def nested(tmp_path: Path) -> World:
    return World(tmp_path, "merge-on-read", NESTED, [{"id": 1}])


def told(world: World, changes: Any) -> list[tuple[int | None, str | None, str]]:
    """Place and sentence of what is refused."""
    with pytest.raises(StagingRejected) as refused:
        world.stage(changes)
    assert world.version == world.base_version
    return [(one.line, one.column, one.message) for one in refused.value.problems]


def read(changes: Any) -> list[Any]:
    """The first column as the engine gets it."""
    source = open_source(changes, {}, Problems())
    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("source", source.reader())
    found = connection.sql("SELECT f0 FROM source ORDER BY ordinal").to_arrow_table().column(0).to_pylist()
    connection.close()
    return found


@given(st.integers(0, 2**32), st.sampled_from([1, 7, 40]))
@settings(max_examples=60)
def test_fd24_any_layout_is_read_cell_by_cell(seed: int, rows: int) -> None:
    """Layouts x types x slices: what the engine gets is what the values are."""
    random = Random(seed)  # noqa: S311
    kind = logical_type(random)
    values = [value(random, kind) for _ in range(rows)]
    array = built(random, values, kind)
    array.validate(full=True)
    assert read(pa.table({"x": array})) == values


@pytest.mark.parametrize("rows", [1, 50_000, 120_001])
def test_fd24_structs_in_structs_of_any_length_and_slice(rows: int) -> None:
    inner = pa.StructArray.from_arrays([pa.array(range(rows + 3)), pa.array(["v"] * (rows + 3))], ["n", "t"])
    outer = pa.StructArray.from_arrays([inner], ["in"], mask=pa.array([n % 3 == 0 for n in range(rows + 3)]))
    expected = [None if n % 3 == 0 else {"in": {"n": n, "t": "v"}} for n in range(3, rows + 3)]
    assert read(pa.table({"x": outer}).slice(3)) == expected


def test_fd24_every_row_of_a_layout_is_staged_and_merged(make_world: Callable[..., World]) -> None:
    kind = ["struct", {"a": ["struct", {"b c": ["list", "long"], "ü": "text"}]}]
    plain = pa.struct([("a", pa.struct([("b c", pa.list_(pa.int64())), ("ü", pa.string())]))])
    schema = pa.schema([("id", pa.int64()), ("x", plain)])
    random = Random(5)  # noqa: S311
    base = [{"id": n, "x": value(random, kind)} for n in range(20)]
    world = make_world(schema=schema, rows=base)
    changed = [{"id": n, "x": value(random, kind)} for n in range(10, 40)]
    cells = built(random, [row["x"] for row in changed], kind)
    world.merge(world.stage(pa.table({"id": [row["id"] for row in changed], "x": cells})))
    assert same_rows(world.rows(), [*base[:10], *changed], world.keys)


def test_fd11_an_index_of_pandas_is_left_out_and_said(world: World) -> None:
    frame = pandas.DataFrame({"id": [1, 2], "a": [11, 20]}, index=[7, 9])
    path = world.folder / "x.parquet"
    frame.to_parquet(path)
    staged = world.stage(path)
    assert (staged.new_columns, staged.counts["update"], staged.noop_rows) == ((), 1, 1)
    assert staged.warnings == (
        '"__index_level_0__": the index of the pandas DataFrame, which is no column of the table, was left out. '
        "To propose it as a new column, write the file after reset_index().",
    )
    named = frame.rename_axis("dept")
    staged = world.stage(pa.Table.from_pandas(named))
    assert (staged.new_columns, len(staged.warnings), staged.warnings[0][:6]) == ((), 1, '"dept"')
    # Rewritten by something that drops pandas' metadata.
    bare = pa.Table.from_pandas(frame).replace_schema_metadata(None)
    assert world.stage(bare).new_columns == ()


@pytest.mark.parametrize("index", [[1, 2], pandas.RangeIndex(1, 3)])
def test_fd11_an_index_that_is_a_column_is_taken(world: World, index: Any) -> None:
    """A range of pandas stands in the metadata alone."""
    frame = pandas.DataFrame({"a": [11, 20]}, index=pandas.Index(index, name="id"))
    path = world.folder / "x.parquet"
    frame.to_parquet(path)
    staged = world.stage(path)
    assert (staged.warnings, staged.counts["update"], staged.noop_rows) == ((), 1, 1)
    [row] = staged.page().items
    assert row.proposed == {"id": 1, "a": 11, "b": "x", "c": 1.5}


def test_fd11_a_range_index_must_have_a_value_for_each_row(world: World) -> None:
    frame = pandas.DataFrame({"a": [11, 20, 30]}, index=pandas.RangeIndex(1, 4, name="id"))
    cut = pa.Table.from_pandas(frame).slice(0, 2)
    assert problems(world, cut) == [(None, "id", "incomplete")]


def test_fd11_metadata_of_others_is_harmless(world: World) -> None:
    table = arrow(world.schema, [{"id": 1, "a": 11, "b": "x", "c": 1.5}])
    for metadata in ({"pandas": "{"}, {"pandas": '{"index_columns": [1, {}, null]}'}, {"geo": "x"}):
        assert world.stage(table.replace_schema_metadata(metadata)).counts["update"] == 1


TIMES = pa.array([1_000], pa.timestamp("ns"))
TAKEN: list[tuple[str, pa.Array, Any]] = [
    ("numbers", pa.array([[1, None]], pa.list_view(pa.uint32())), [1, None]),
    ("numbers", pa.array([[1, 2]], pa.list_(pa.float16(), 2)), [1, 2]),
    ("numbers", pa.array([["7"]], pa.large_list_view(pa.string_view())), [7]),
    ("numbers", pa.array([[]], pa.list_(pa.null())), []),
    ("point", pa.array([{"x": None, "at": None}], pa.struct([("at", pa.null()), ("x", pa.null())])), None),
    ("point", pa.StructArray.from_arrays([TIMES, pa.array([3], pa.uint8())], ["at", "x"]), None),
    ("named", pa.array([[("k", 7)]], pa.map_(pa.string_view(), pa.uint32())), {"k": 7}),
    ("amount", pa.array([Decimal("1.5")], pa.decimal256(76, 38)), Decimal("1.50")),
    ("amount", pa.array([Decimal("1.5")], pa.decimal32(5, 1)), Decimal("1.50")),
    ("amount", pa.array([2**59], pa.uint64()), Decimal(2**59)),
    ("at", pa.array([1_000], pa.timestamp("ns")), naive(1970, 1, 1, micro=1)),
    ("day", pa.array([86_400_000], pa.date64()), datetime.date(1970, 1, 2)),
    ("day", pa.array([86_400], pa.timestamp("s")), datetime.date(1970, 1, 2)),
    ("day", pa.array(["1970-01-02T00:00:00.000"]), datetime.date(1970, 1, 2)),
    ("code", pa.array([b"\x00" * 16], pa.uuid()), "00000000-0000-0000-0000-000000000000"),
    ("raw", pa.array([b"\x00" * 16], pa.uuid()), b"\x00" * 16),
    ("raw", pa.array([b"\x00\xff"], pa.binary_view()), b"\x00\xff"),
    ("code", pa.array(["é"], pa.json_()), "é"),
    ("code", pa.DictionaryArray.from_arrays(pa.array([0]), pa.array(["a", None])), "a"),
]


@pytest.mark.sample(8)
@pytest.mark.parametrize(("column", "given", "wanted"), TAKEN)
def test_fd11_fd28_foreign_types_are_taken_exactly(
    nested: World, column: str, given: pa.Array, wanted: Any
) -> None:
    path = nested.folder / "x.arrow"
    table = pa.table({"id": [1], column: given})
    with arrow_ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    for changes in (table, path):
        [row] = proposed(nested.stage(changes))
        assert row is not None
        if column == "point":
            wanted = (
                {"x": 3.0, "at": naive(1970, 1, 1, micro=1)} if given[0].as_py()["x"] else given[0].as_py()
            )
        assert row[column] == wanted


NEW: list[tuple[pa.Array, str, Any]] = [
    (pa.array([2**64 - 1], pa.uint64()), "decimal128(20, 0)", Decimal(2**64 - 1)),
    (pa.array([[1]], pa.list_view(pa.uint32())), "list<element: int64>", [1]),
    (pa.array([[]], pa.list_(pa.null())), "list<element: string>", []),
    (
        pa.array([{"a": [None]}], pa.struct([("a", pa.list_(pa.null()))])),
        "struct<a: list<element: string>>",
        None,
    ),
    (pa.array([1.5], pa.float16()), "float", 1.5),
    (pa.array([0], pa.timestamp("ns", "Mars/Olympus")), "timestamp[us, tz=UTC]", None),
    (pa.array([True]).cast(pa.bool8()), "bool", True),
    (pa.array([Decimal("1.5")], pa.decimal256(76, 10)), "decimal128(38, 10)", Decimal("1.5")),
]


@pytest.mark.parametrize(("given", "kind", "wanted"), NEW)
def test_fd11_fd28_new_columns_get_a_type_that_holds_every_value(
    nested: World, given: pa.Array, kind: str, wanted: Any
) -> None:
    staged = nested.stage(pa.table({"id": [1], "new": given}))
    assert str(staged.schema.field("new").type) == kind
    [row] = proposed(staged)
    assert row is not None
    if wanted is not None:
        assert row["new"] == wanted


REFUSED: list[tuple[str, pa.Array, int | None, str]] = [
    (
        "at",
        pa.array([None, 1], pa.timestamp("ns")),
        2,
        'found "1970-01-01 00:00:00.000000001": the table keeps',
    ),
    (
        "point",
        pa.StructArray.from_arrays([pa.array([0.5, 0.5]), pa.array([0, 1], pa.timestamp("ns"))], ["x", "at"]),
        2,
        'at at: found "1970-01-01 00:00:00.000000001": the table keeps',
    ),
    ("at", pa.array([0, 2**60], pa.timestamp("s")), 2, 'found "1152921504606846976 s since 1970"'),
    (
        "at",
        pa.array([0, 0], pa.timestamp("us", "UTC")),
        None,
        "the content has it as timestamp with a time zone, the table",
    ),
    ("at", pa.array([0, 1 - 2**63], pa.timestamp("us")), 2, 'found "-9223372036854775807 us since 1970"'),
    ("amount", pa.array([None, Decimal(10) ** 40], pa.decimal256(76, 0)), 2, 'found "1' + "0" * 40 + '"'),
    ("day", pa.array([0, 1], pa.timestamp("s")), 2, 'found "1970-01-01 00:00:01"'),
    (
        "numbers",
        pa.array([[1], ["x"]][:1] * 2, pa.list_(pa.duration("s"))),
        None,
        "the content has the column as list",
    ),
    (
        "new",
        pa.array([1, 2], pa.time64("us")),
        None,
        "the content has the column as time64[us]: a Delta table has no",
    ),
    (
        "point",
        pa.array([{"x": 1.0}] * 2),
        None,
        "the content's struct has no field \"at\", which the table's has.",
    ),
    (
        "named",
        pa.array([[("a", 1)], [("a", 1), ("a", 2)]], pa.map_(pa.string(), pa.int64())),
        2,
        'the map has the key "a" twice.',
    ),
    ("numbers", pa.array([[1], [2**40]]), 2, ""),
    (
        "new",
        pa.array([{"a": 1}] * 2, pa.struct([("a", pa.int64()), ("A", pa.int64())])),
        None,
        "the content has the column as struct",
    ),
]


@pytest.mark.parametrize(("column", "given", "line", "sentence"), REFUSED)
def test_fd11_fd28_what_would_lose_is_refused_by_place(
    nested: World, column: str, given: pa.Array, line: int | None, sentence: str
) -> None:
    [(found_line, found_column, message)] = told(nested, pa.table({"id": [1, 2], column: given}))
    assert (found_line, found_column, message[: len(sentence)]) == (line, column, sentence)


def test_fd28_cells_of_deleted_rows_are_not_looked_at(nested: World) -> None:
    changes = pa.table({"id": [1], "at": pa.array([1], pa.timestamp("ns")), "_op": ["delete"]})
    assert nested.stage(changes).counts["delete"] == 1


@pytest.mark.parametrize("text", ["2012-01-01T00:00:00.000", "2012-01-01 00:00", "2012-01-01T00:00:00Z"])
def test_fd18_midnights_are_days_in_every_format(nested: World, text: str) -> None:
    csv = nested.file("x.csv", f"id,day\n1,{text}\n")
    json = nested.file("x.jsonl", f'{{"id": 1, "day": "{text}"}}\n')
    for changes in (csv, json, pa.table({"id": [1], "day": [text]})):
        [row] = proposed(nested.stage(changes))
        assert row is not None
        assert row["day"] == datetime.date(2012, 1, 1)
    later = nested.file("y.csv", "id,day\n1,2012-01-01T00:00:00.001\n")
    assert problems(nested, later) == [(2, "day", "not_date")]


def test_fd18_days_are_midnights_and_midnights_days_but_for_those_without_end(nested: World) -> None:
    naive_us = pa.timestamp("us")
    changes = pa.table(
        {"id": [1], "at": pa.array([1], pa.date32()), "day": pa.array([-9_223_372_022_400_000_000], naive_us)}
    )
    [row] = proposed(nested.stage(changes))
    assert row is not None
    assert row["at"] == naive(1970, 1, 2)
    assert row["day"] == FarDate(-106_751_991)
    # DuckDB takes the last of each for infinities.
    for number in (2**63 - 1, 2**63 - 2):
        endless = pa.table({"id": [1], "day": pa.array([number], naive_us)})
        assert problems(nested, endless) == [(1, "day", "not_date")]
    for day in (2**31 - 1, -(2**31), 200_000_000):
        endless = pa.table({"id": [1], "at": pa.array([day], pa.date32())})
        assert [one[:2] for one in problems(nested, endless)] == [(1, "at")]


def test_fd11_files_of_each_writer_change_nothing(nested: World) -> None:
    row = {
        "id": 1,
        "day": datetime.date(2024, 2, 29),
        "amount": Decimal("1.10"),
        "at": naive(2024, 1, 1, 12, micro=1),
        "code": "é",
        "raw": b"\x00\xff",
        "numbers": [1, None],
        "point": {"x": 0.25, "at": naive(2024, 1, 1)},
        "named": [("a", 1)],
    }
    world = World(nested.folder, "merge-on-read", NESTED, [row])
    table = arrow(NESTED, [row])
    folder = world.folder
    compliant: dict[str, Any] = {"use_compliant_nested_type": False}
    for name, options in {"new": {"compression": "brotli"}, "old": {"version": "1.0", **compliant}}.items():
        arrow_parquet.write_table(table, folder / f"{name}.parquet", **options)
    with duckdb.connect(":memory:") as connection:
        connection.register("given", table)
        connection.execute(f"COPY given TO '{folder / 'duckdb.parquet'}' (COMPRESSION lz4_raw)")
    polars.from_arrow(table.drop_columns("named")).write_parquet(folder / "polars.parquet")  # type: ignore[union-attr]
    polars.from_arrow(table.drop_columns("named")).write_ipc(folder / "polars.arrow")  # type: ignore[union-attr]
    polars.from_arrow(table.drop_columns("named")).write_ipc_stream(folder / "stream.arrow")  # type: ignore[union-attr]
    table.drop_columns("named").to_pandas().to_feather(folder / "pandas.feather")
    for name in (
        "new.parquet",
        "old.parquet",
        "duckdb.parquet",
        "polars.parquet",
        "polars.arrow",
        "stream.arrow",
    ):
        staged = world.stage(folder / name)
        assert (staged.rows, staged.noop_rows, staged.new_columns, staged.warnings) == (0, 1, (), ()), name
    assert world.stage(folder / "pandas.feather").noop_rows == 1


def parquet(world: World, **options: Any) -> Path:
    path = world.folder / "x.parquet"
    rows = [{"id": n, "a": n, "b": f"text {n}", "c": None} for n in range(9973)]
    arrow_parquet.write_table(arrow(world.schema, rows), path, **options)
    return path


def rewritten_footer(path: Path, old: bytes, new: bytes, place: int | None) -> Path:
    """The file with some bytes of its footer replaced (compact Thrift: the structure stays), at one place or all."""
    content = path.read_bytes()
    length = int.from_bytes(content[-8:-4], "little")
    start = len(content) - 8 - length
    parts = content[start:-8].split(old)
    ends = [new if place in {None, number} else old for number in range(len(parts) - 1)]
    footer = b"".join(part + end for part, end in zip(parts, [*ends, b""], strict=True))
    assert footer != content[start:-8]
    path.write_bytes(content[:start] + footer + content[-8:])
    return path


def zigzag(number: int) -> bytes:
    """A positive number as compact Thrift writes it."""
    left = number * 2
    found = bytearray()
    while left > 127:
        found.append(left & 127 | 128)
        left >>= 7
    return bytes([*found, left])


def counts(path: Path) -> list[int]:
    described = arrow_parquet.read_metadata(path)
    group = described.row_group(0)
    return [described.num_rows, group.num_rows, *(group.column(n).num_values for n in range(4))]


@pytest.mark.parametrize("declared", [9999, 9900])
def test_fd25_columns_must_hold_the_rows_that_are_declared(world: World, declared: int) -> None:
    """The file, its row group or one column chunk says another number of rows than the others."""
    path = parquet(world, compression="none", write_statistics=False)
    right, content = counts(path), path.read_bytes()
    refused = 0
    for place in range(10):
        path.write_bytes(content)
        rewritten_footer(path, zigzag(9973), zigzag(declared), place)
        if counts(path) != right:
            assert problems(world, path)[0][2] == "incomplete"
            refused += 1
    assert refused == len(right)


def test_fd25_a_file_that_holds_fewer_rows_than_all_its_counts_say(world: World) -> None:
    path = parquet(world, compression="none", write_statistics=False)
    rewritten_footer(path, zigzag(9973), zigzag(9999), None)
    [(line, _, code)] = problems(world, path)
    assert (line, code in {"incomplete", "unreadable"}) == (None, True)


def test_fd25_a_cut_arrow_stream_is_refused_wherever_it_is_cut(world: World) -> None:
    table = arrow(world.schema, [{"id": n, "a": n} for n in range(30)])
    sink = pa.BufferOutputStream()
    with arrow_ipc.new_stream(sink, table.schema) as writer:
        for batch in table.to_batches(max_chunksize=10):
            writer.write_batch(batch)
    content = sink.getvalue().to_pybytes()
    assert world.stage(world.file("whole.arrow", content)).counts["insert"] == 27
    for end in [*range(0, len(content), 97), len(content) - 8, len(content) - 1]:
        [(_, _, code)] = problems(world, world.file("x.arrow", content[:end]))
        assert code in {"unreadable", "incomplete"}
    assert problems(world, world.file("x.arrow", content + content)) == [(None, None, "incomplete")]


def test_fs1_offsets_that_point_outside_are_refused(world: World) -> None:
    """674 bytes that ended the process: offsets of texts far outside their data."""
    table = pa.table({"id": [1, 2, 3], "b": ["aa", "bb", "cc"]})
    sink = pa.BufferOutputStream()
    with arrow_ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    content = sink.getvalue().to_pybytes()
    right, wrong = struct.pack("<4i", 0, 2, 4, 6), struct.pack("<4i", 0, 2, 2**30, 6)
    assert content.count(right) == 1
    [(line, column, code)] = problems(world, world.file("x.arrow", content.replace(right, wrong)))
    assert (line, column, code) == (None, "b", "unreadable")


def test_fs1_names_that_are_no_utf8_are_refused(world: World) -> None:
    table = pa.table({"id": [1], "namename": [1]})
    sink = pa.BufferOutputStream()
    with arrow_ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content = sink.getvalue().to_pybytes().replace(b"namename", b"name\xff\xfeme")
    assert problems(world, world.file("x.arrow", content)) == [(None, None, "unreadable")]


def test_fs1_texts_that_are_no_utf8_are_refused_by_row(world: World) -> None:
    raw = pa.array([b"ok", b"\xff\xfe"]).view(pa.string())
    table = pa.table({"id": [1, 2], "b": raw})
    path = world.folder / "x.parquet"
    arrow_parquet.write_table(table, path)
    for changes in (table, path):
        assert problems(world, changes) == [(2, "b", "not_utf8")]


def test_fs1_damaged_pages_and_cut_files_are_refused(world: World) -> None:
    path = parquet(world, write_page_checksum=True, compression="zstd")
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[200] ^= 0xFF
    assert problems(world, world.file("x.parquet", bytes(damaged))) == [(None, None, "unreadable")]
    for end in (0, 4, 8, 100, len(content) - 1):
        assert problems(world, world.file("x.parquet", content[:end])) == [(None, None, "unreadable")]


def test_fd28_encrypted_parquet_is_refused_by_name(world: World) -> None:
    path = world.file("x.parquet", b"PARE" + b"\x00" * 40 + b"PARE")
    assert problems(world, path) == [(None, None, "encrypted")]


def test_fs1_files_that_hold_nothing_change_nothing(world: World) -> None:
    path = world.folder / "x.parquet"
    with arrow_parquet.ParquetWriter(path, world.schema):
        pass
    assert (world.stage(path).rows, world.stage(path).noop_rows) == (0, 0)
    repeated = pa.table([[1], [2]], names=["id", "id"])
    arrow_parquet.write_table(repeated, path)
    assert problems(world, path) == [(None, "id", "repeated_column")]


def test_fp2_int96_of_any_year_is_read_right(nested: World) -> None:
    moments = [naive(9999, 12, 31), naive(1, 1, 1), naive(2024, 1, 1, micro=7)]
    table = pa.table({"id": [1, 2, 3], "at": pa.array(moments, pa.timestamp("us"))})
    path = nested.folder / "x.parquet"
    arrow_parquet.write_table(table, path, use_deprecated_int96_timestamps=True)
    assert [row["at"] for row in proposed(nested.stage(path)) if row] == moments


STAGE_AND_MEASURE = """
import sys
from pathlib import Path
import merging
table, upload, destination = sys.argv[1:]
staged = merging.stage(table, upload, ["id"], destination=destination)
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(staged.rows, int(peak.split()[1]) // 1024)
"""


@pytest.mark.sample(1)
@pytest.mark.parametrize(("rows", "width"), [(120_000, 1_400), (300, 400_000), (12, 8_000_000)])
def test_fd27_wide_texts_are_staged_within_a_gigabyte(world: World, rows: int, width: int) -> None:
    """160 MiB of distinct texts in a file of some megabytes; some of 400 kB, and a few of 8 MB each."""
    words = [f"{number:x} " * 20 for number in range(10**6, 10**6 + 500)]
    texts = [(f"{n}-" + words[n % 500] * (width // 160 + 1))[:width] for n in range(rows)]
    path = world.folder / "wide.parquet"
    arrow_parquet.write_table(
        pa.table({"id": pa.array(range(rows), pa.int64()), "b": texts}), path, compression="zstd"
    )
    texts.clear()
    child = subprocess.run(
        [sys.executable, "-c", STAGE_AND_MEASURE, world.uri, str(path), str(world.folder / "s")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    staged, peak = map(int, child.stdout.splitlines()[-1].split())
    assert staged == rows
    assert peak < 950, f"{peak} MiB"


def test_fd27_a_long_text_repeated_by_a_dictionary_is_read_in_small_batches(world: World) -> None:
    """400 rows of the same 1 MB: the file says it once."""
    path = world.folder / "repeated.parquet"
    text = "x" * 1_000_000
    arrow_parquet.write_table(pa.table({"id": range(400), "b": pa.array([text] * 400)}), path)
    assert path.stat().st_size < 1_200_000
    sizes = [batch.nbytes for batch in open_source(path, {}, Problems()).reader()]
    assert (sum(sizes) > 400_000_000, max(sizes) <= BATCH_BYTES + 1_000_000) == (True, True)


def test_fd27_rows_written_in_parts_are_the_same_content(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"id": n, "a": n, "b": f"text {n * 7919 % 1000}", "c": None} for n in range(1000, 0, -1)]
    changes = arrow(world.schema, rows)
    whole = world.stage(changes)
    monkeypatch.setattr(workbench, "_BYTES_AT_ONCE", 10_000)
    in_parts = world.stage(changes)
    assert in_parts.digest == whole.digest
    stored = [arrow_parquet.read_table(Path(one.location) / "rows.parquet") for one in (whole, in_parts)]
    assert stored[0].to_pylist() == stored[1].to_pylist()


def test_fs1_a_row_group_that_is_no_struct_is_refused(world: World) -> None:
    """The fuzz target's parquet, seed 11, 14897: pyarrow opens it, and our own look at the footer met bytes."""
    ending, content = mutant("parquet", 11, 14897)
    with pytest.raises(StagingRejected) as refused:
        world.stage(world.file(f"x.{ending}", content))
    assert refused.value.problems[0].code == "unreadable"


def test_fs1_size_statistics_that_contradict_the_schema_end_no_process(world: World) -> None:
    """pyarrow ends the process when it is asked for such a column chunk: the fuzz target's parquet, seed 11, 229."""
    ending, content = mutant("parquet", 11, 229)
    told = run_confined(
        "tests.merging.test_content_limits:stage_in_little_memory",
        {
            "table": world.uri,
            "upload": str(world.file(f"x.{ending}", content)),
            "destination": str(world.folder / "staged"),
        },
        Bounds(),
    )
    assert "The content was refused" in told
