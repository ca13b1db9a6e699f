"""Rows, differences and conflicts as streams and files: exact, in any format, and back again."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

import merging
from merging import FileFormat, RowStream, StreamEnded
from merging.sql.values import arrow_values
from tests.merging.border_values import BORDERS
from tests.merging.world import B, T, World, with_rows

BOUNDS = merging.Bounds(memory_bytes=2 << 30, seconds=60)


#: Workbooks are for people: what comes back of them is in test_rows_to_edit.
STREAMED = [one for one in FileFormat if one is not FileFormat.XLSX]


def file_of(stream: RowStream, file_format: FileFormat) -> bytes:
    with stream:
        return b"".join(merging.encoded(stream.schema, stream.batches, file_format))


def table_of(stream: RowStream, file_format: FileFormat = FileFormat.ARROW) -> pa.Table:
    content = file_of(stream, file_format)
    if file_format is FileFormat.PARQUET:
        return pa.parquet.read_table(io.BytesIO(content))
    return pa.ipc.open_stream(content).read_all()


def rows_of(stream: RowStream) -> list[dict[str, Any]]:
    return list(table_of(stream).to_pylist())


# ---- rows of a table


@pytest.mark.parametrize("file_format", STREAMED)
def test_every_value_comes_back_from_every_format_without_a_change(
    tmp_path: Path, file_format: FileFormat
) -> None:
    length = max(len(one.values) for one in BORDERS.values()) + 1
    columns = {"id": pa.array(range(length))}
    for name, one in BORDERS.items():
        columns[name] = arrow_values([*one.values, *[None] * (length - len(one.values))], one.type)
    table = pa.table(columns)
    uri = str(tmp_path / "table")
    merging.create_table(uri, table)
    stream = merging.stream_rows(uri, primary_keys=["id"])
    content = tmp_path / f"download.{file_format}"
    content.write_bytes(file_of(stream, file_format))

    staged = merging.stage(uri, str(content), ["id"], destination=str(tmp_path / "staging"))
    assert (staged.rows, staged.noop_rows, staged.warnings) == (0, length, ())
    if file_format is not FileFormat.CSV:
        again = table_of(merging.stream_rows(uri, primary_keys=["id"]), file_format)
        assert again.schema.equals(table.schema)


def test_a_csv_tells_null_from_the_empty_text_and_changes_no_cell(world: World) -> None:
    world.set_current(
        [
            {"id": 1, "a": None, "b": "", "c": None},
            {"id": 2, "a": 0, "b": None, "c": -0.0},
            {"id": 3, "a": 7, "b": '=1+1,"x"\r\n', "c": 1e300},
        ]
    )
    content = file_of(merging.stream_rows(world.uri, primary_keys=["id"], order_by="id"), FileFormat.CSV)
    assert content.decode() == ('"id","a","b","c"\n1,,"",\n2,0,,"-0.0"\n3,7,"=1+1,""x""\r\n","1e+300"\n')


def test_rows_are_filtered_ordered_and_narrowed_on_any_version(make_world: Callable[..., World]) -> None:
    world = make_world()
    merged = world.merge(world.stage(with_rows([], {"id": 1, "a": 11}, {"id": 9, "a": 90})))
    found = table_of(
        merging.stream_rows(
            world.uri,
            primary_keys=["id"],
            columns=["a", "id"],
            filters=[("a", ">", "10")],
            order_by="a",
            descending=True,
        )
    )
    assert found.to_pylist() == [
        {"id": 9, "a": 90},
        {"id": 3, "a": 30},
        {"id": 2, "a": 20},
        {"id": 1, "a": 11},
    ]
    with merging.stream_rows(world.uri, primary_keys=["id"], version=0, order_by="id") as before:
        assert before.version == 0
        assert pa.Table.from_batches(before.batches, before.schema).to_pylist() == B
    assert merged.merged_version == 1
    for refused in ({"columns": ["nope"]}, {"filters": [("a", "~", "1")]}, {"order_by": "nope"}):
        with pytest.raises(merging.InvalidFilter):
            merging.stream_rows(world.uri, primary_keys=["id"], **refused)
    with pytest.raises(merging.MergeError):
        merging.stream_rows(world.uri, primary_keys=["id"], version=7)


@pytest.mark.parametrize("file_format", STREAMED)
def test_a_table_without_rows_is_a_file_without_rows(world: World, file_format: FileFormat) -> None:
    world.set_current([])
    content = file_of(merging.stream_rows(world.uri, primary_keys=["id"]), file_format)
    if file_format is FileFormat.CSV:
        assert content == b'"id","a","b","c"\n'
    else:
        table = table_of(merging.stream_rows(world.uri, primary_keys=["id"]), file_format)
        assert (table.num_rows, table.schema) == (0, T)


def test_long_rows_come_in_small_batches(tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    text = "x" * 4_000
    merging.create_table(uri, pa.table({"id": pa.array(range(10_000)), "text": [text] * 10_000}))
    with merging.stream_rows(uri, primary_keys=["id"]) as stream:
        sizes = [(batch.num_rows, batch.nbytes) for batch in stream.batches]
    assert sum(rows for rows, _ in sizes) == 10_000
    assert max(size for _, size in sizes) < 16 << 20


def test_a_stream_ends_when_it_is_stopped_by_another_thread(tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    merging.create_table(uri, pa.table({"id": pa.array(range(300_000))}))
    stream = merging.stream_rows(uri, primary_keys=["id"])
    read = next(stream.batches)
    assert 0 < read.num_rows < 300_000
    stopping = Thread(target=stream.stop)
    stopping.start()
    stopping.join()
    with pytest.raises(StreamEnded):
        list(stream.batches)
    stream.close()
    stream.close()
    stream.stop()


def test_a_stream_that_was_closed_holds_nothing_however_long_it_is_kept(tmp_path: Path) -> None:
    """Answers are kept by themselves until Python looks for such circles; what they were read from is not."""
    uri = tmp_path / "table"
    merging.create_table(str(uri), pa.table({"id": pa.array(range(1_000_000))}))
    stream = merging.stream_rows(str(uri), primary_keys=["id"])
    next(stream.batches)
    assert _held_open(uri) > 0
    stream.close()
    assert _held_open(uri) == 0
    with pytest.raises(StreamEnded):
        next(stream.batches)


def _held_open(folder: Path) -> int:
    found = 0
    for one in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            found += one.readlink().is_relative_to(folder)
    return found


# ---- differences


def test_versions_are_compared_in_both_directions(make_world: Callable[..., World]) -> None:
    world = make_world()
    world.merge(
        world.stage(
            pa.table(
                {
                    "id": [1, 3, 4],
                    "a": pa.array([11, None, 40], pa.int32()),
                    "_op": ["update", "delete", "insert"],
                }
            )
        )
    )
    found = merging.compare_versions(world.uri, primary_keys=["id"], before=0, after=1)
    first = found.page(limit=2)
    second = found.page(after=first.next, limit=2)
    rows = [*first.items, *second.items]
    assert [(one.key["id"], one.operation) for one in rows] == [(1, "update"), (3, "delete"), (4, "insert")]
    assert (rows[0].changed, rows[1].after, rows[2].before) == (("a",), None, None)
    assert second.next is None
    assert [one.key["id"] for one in found.page(merging.ChangesFilter(operation="delete")).items] == [3]
    assert [one.key["id"] for one in found.page(merging.ChangesFilter(column="c")).items] == [3]
    assert rows_of(found.stream(("from", "to"))) == [
        {"_op": "update", "id": 1, "a.from": 10, "a.to": 11},
        {"_op": "delete", "id": 3, "a.from": 30, "a.to": None},
        {"_op": "insert", "id": 4, "a.from": None, "a.to": 40},
    ]
    back = merging.compare_versions(world.uri, primary_keys=["id"], before=1, after=0)
    assert rows_of(back.stream(("from", "to"), merging.ChangesFilter(operation="update"))) == [
        {"_op": "update", "id": 1, "a.from": 11, "a.to": 10}
    ]
    same = merging.compare_versions(world.uri, primary_keys=["id"], before=1, after=1)
    assert rows_of(same.stream(("from", "to"))) == []
    with pytest.raises(merging.InvalidFilter):
        merging.compare_versions(world.uri, primary_keys=["id"], before=0, after=1).page(
            merging.ChangesFilter(column="nope")
        )


def test_staged_and_merged_changes_are_the_same_rows(make_world: Callable[..., World]) -> None:
    world = make_world()
    staged = world.stage(
        pa.table(
            {
                "id": [1, 3, 4],
                "a": pa.array([11, None, 40], pa.int32()),
                "_op": ["update", "delete", "insert"],
            }
        )
    )
    expected = [
        {"_op": "update", "id": 1, "a.base": 10, "a.proposed": 11},
        {"_op": "delete", "id": 3, "a.base": 30, "a.proposed": None},
        {"_op": "insert", "id": 4, "a.base": None, "a.proposed": 40},
    ]
    sides = ("base", "proposed")
    assert rows_of(merging.changes_staged(staged.location).stream(sides)) == expected
    result = world.merge(staged)
    assert result.artefacts is not None
    assert rows_of(merging.changes_merged(result.artefacts).stream(sides)) == expected
    assert (
        rows_of(
            merging.changes_merged(result.artefacts).stream(sides, merging.ChangesFilter(operation="insert"))
        )
        == expected[2:]
    )


def test_revisions_are_compared_by_what_they_propose(world: World) -> None:
    first = world.stage(pa.table({"id": [1, 2, 3], "b": ["q", "r", "s"]}))
    second = world.stage(
        pa.table(
            {
                "id": [1, 2, 4],
                "b": ["q", None, "new"],
                "_op": ["update", "delete", "insert"],
                "d": [None, None, "fresh"],
            }
        )
    )
    found = merging.compare_staged(first.location, second.location)
    assert [(one.key["id"], one.operation, one.changed) for one in found.page().items] == [
        (2, "update", ("a", "b", "c", "_op")),
        (3, "delete", ("a", "b", "_op")),
        (4, "insert", ("b", "d", "_op")),
    ]
    streamed = rows_of(found.stream(("from", "to")))
    assert [(row["_op"], row["id"], row["_op.from"], row["_op.to"]) for row in streamed] == [
        ("update", 2, "update", "delete"),
        ("delete", 3, "update", None),
        ("insert", 4, None, "insert"),
    ]
    assert [row["b.to"] for row in streamed] == [None, None, "new"]


def test_names_of_columns_never_stand_twice(tmp_path: Path) -> None:
    schema = pa.schema([("a.base", pa.int64()), ("_op", pa.string()), ("a", pa.string())])
    rows = [{"a.base": 1, "_op": "k", "a": "x"}]
    world = World(tmp_path, "merge-on-read", schema, rows, keys=("a.base", "_op"))
    world.set_current([{"a.base": 1, "_op": "k", "a": "y"}])
    found = merging.compare_versions(world.uri, primary_keys=world.keys, before=0, after=1)
    table = table_of(found.stream(("base", "proposed")))
    assert table.schema.names == ["_op_", "a.base", "_op", "a.base_", "a.proposed"]
    assert table.to_pylist() == [
        {"_op_": "update", "a.base": 1, "_op": "k", "a.base_": "x", "a.proposed": "y"}
    ]


# ---- conflicts


@pytest.mark.parametrize("file_format", [FileFormat.CSV, FileFormat.PARQUET])
def test_conflicts_go_out_and_choices_come_back(
    world: World, tmp_path: Path, file_format: FileFormat
) -> None:
    staged = world.stage(
        pa.table({"id": [1, 2], "a": pa.array([11, 21], pa.int32()), "_op": ["update", "update"]})
    )
    world.set_current(with_rows(B, {"id": 1, "a": 12}, delete=[2]))
    with merging.open_conflicts(world.request(staged), str(tmp_path / "kept"), ()) as found:
        stream = merging.stream_conflicts(
            found, merging.ConflictFilter(), seen=lambda one: f"seen {one.choice}", close=found.close
        )
        table = table_of(stream)
    assert table.schema.names == [
        "id",
        *(["column", "kind", "base", "current", "proposed", "choice", "value"]),
        *ABOUT,
    ]
    cell, row = table.to_pylist()
    assert (cell["id"], cell["column"], cell["kind"]) == (1, "a", "modify/modify")
    assert (cell["base"], cell["current"], cell["proposed"], cell["choice"]) == ("10", "12", "11", None)
    assert (row["column"], row["kind"], row["current"]) == (None, "delete/modify", None)
    assert row["proposed"] == '{"id":2,"a":21,"b":"y","c":2.5}'

    chosen = table.set_column(6, "choice", pa.array(["custom", None])).set_column(
        7, "value", pa.array(["", None], pa.string())
    )
    content = tmp_path / f"choices.{file_format}"
    content.write_bytes(b"".join(merging.encoded(chosen.schema, chosen.to_batches(), file_format)))
    [read] = merging.read_choices(
        str(content), file_format, ["id"], bounds=BOUNDS, scratch=str(tmp_path), most=10
    )
    assert read == merging.ChoiceLine(
        line=2 if file_format is FileFormat.CSV else 1,
        key={"id": "1"},
        column="a",
        choice="custom",
        value="",
        inputs_digest=cell["inputs_digest"],
        seen="seen None",
    )


ABOUT = ("inputs_digest", "seen")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"id,choice\n1,current\n", "missing_column"),
        (b"", "empty_file"),
        (b"id,inputs_digest,choice\n1,d,current\n2,d,base\n3,d,base\n", "too_many"),
        (b'id,inputs_digest,choice\n1,d,"current"x\n', None),
        (b"PAR1" + bytes(200) + b"PAR1", None),
    ],
)
def test_what_is_no_file_of_choices_is_refused(tmp_path: Path, content: bytes, code: str | None) -> None:
    path = tmp_path / "choices"
    path.write_bytes(content)
    file_format = "parquet" if content.startswith(b"PAR1") else "csv"
    with pytest.raises(merging.StagingRejected) as refused:
        merging.read_choices(str(path), file_format, ["id"], bounds=BOUNDS, scratch=str(tmp_path), most=2)
    assert code in (None, refused.value.problems[0].code)


def test_a_key_column_may_be_called_like_one_of_a_file_of_choices(tmp_path: Path) -> None:
    path = tmp_path / "choices.csv"
    path.write_text("choice,column,column_,choice_,inputs_digest\nk,c,a,current,d\n")
    [read] = merging.read_choices(
        str(path), "csv", ["choice", "column"], bounds=BOUNDS, scratch=str(tmp_path), most=2
    )
    assert (read.key, read.column, read.choice, read.seen) == (
        {"choice": "k", "column": "c"},
        "a",
        "current",
        None,
    )
