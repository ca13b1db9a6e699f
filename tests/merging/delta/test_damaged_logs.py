"""Logs of others, damaged in every place: opened with sane content, or named; never an error of somebody else's."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import merging
from merging import delta
from merging.delta.creating import create_in
from merging.delta.log import load_tombstones
from merging.delta.maintenance import named_files
from merging.delta.snapshot import snapshot_in
from merging.errors import MergeError, TableChanged, UnsupportedTable
from merging.store.stores import LocalStore
from tests.merging.delta.delta_tables import Merger, own_rows, sample
from tests.merging.stores import memory_store

Place = tuple[str | int, ...]
MAPPING = "delta.columnMapping."


# ---- a log with every kind of action ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions with every action and every optional field that we know of."""
    root = tmp_path_factory.mktemp("full") / "table"
    delta.create_table(str(root), sample(12), partition_by=["flag"], change_data_feed=True, name="things")
    with duckdb.connect(":memory:", config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        Merger(connection).merge(str(root), upsert=sample(2, start=4), delete=[1])
    lines = read_lines(root, 0)
    for line in lines:
        if "metaData" in line:
            line["metaData"]["description"] = "all of them"
            schema = json.loads(line["metaData"]["schemaString"])
            for number, field in enumerate(schema["fields"]):
                field["metadata"] = {"comment": f"column {number}"}
            line["metaData"]["schemaString"] = schema
        if "protocol" in line:
            line["protocol"]["writerFeatures"] += ["domainMetadata"]
        if "add" in line:
            line["add"]["tags"] = {"a": "b"}
            line["add"]["stats"] = json.loads(line["add"]["stats"])
    lines.append({"domainMetadata": {"domain": "d", "configuration": "{}", "removed": False}})
    write_lines(root, 0, lines)
    return root


def commit_path(root: Path, version: int) -> Path:
    return root / "_delta_log" / f"{version:020d}.json"


def read_lines(root: Path, version: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in commit_path(root, version).read_text().splitlines()]


def write_lines(root: Path, version: int, lines: list[Any]) -> None:
    commit_path(root, version).write_text("".join(json.dumps(spelled(line)) + "\n" for line in lines))


def spelled(line: Any) -> Any:
    """What stands as text in an action (schemaString, stats) may be given as a value."""
    line = copy.deepcopy(line)
    for kind, name in (("metaData", "schemaString"), ("add", "stats")):
        action = line.get(kind) if isinstance(line, dict) else None
        if isinstance(action, dict) and isinstance(action.get(name), dict):
            action[name] = json.dumps(action[name])
    return line


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    yield place
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from places(inner, (*place, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from places(inner, (*place, number))


ODD: st.SearchStrategy[Any] = st.sampled_from(
    [
        None, True, False, 0, -1, 1, 7, 2**40, 2**63, 10**30, 1.5, -0.0, float("inf"), float("nan"),
        "", "x", "0", "-1", "1e9", "true", "null", "{", "[]", "{}", "\u0000", "\ud800", "ä" * 300, "a\nb", "../..",
        [], [1], ["a"], [None], [[]], ["flag", "flag"], ["FLAG"], {}, {"a": 1}, {"": ""}, {"type": "struct"},
        {"type": "struct", "fields": []}, {"type": "array"}, {"type": "map", "keyType": "string"}, "decimal(50,3)",
        "decimal(2,5)", "variant", "interval", "decimal(-1,0)", "id", "name",
    ]
)  # fmt: skip


def damage(value: Any, place: Place, action: str, odd: Any) -> Any:
    """A copy with what stands at `place` dropped, replaced, renamed or said twice."""
    if not place:
        return odd
    result = copy.deepcopy(value)
    around: Any = result
    for step in place[:-1]:
        around = around[step]
    last = place[-1]
    if action == "drop":
        del around[last]
    elif action == "rename" and isinstance(around, dict):
        around[odd if isinstance(odd, str) else "renamed"] = around.pop(last)
    elif action == "double" and isinstance(around, list):
        around.append(copy.deepcopy(around[int(last)]))
    else:
        around[last] = odd
    return result


# ---- what must hold -----------------------------------------------------------------------------------------


def ask_everything(root: Path) -> None:
    """Every question that is answered from the log: an answer that can be stored and shown, or one of our errors."""
    uri = str(root)
    for question in (look, inspect, tell_history, find_marker, list_tombstones, look_at_the_first):
        try:
            question(uri)
        except MergeError as error:
            said = json.dumps([error.message, error.data], ensure_ascii=False)
            said.encode()


def look(uri: str) -> None:
    snapshot = delta.open_snapshot(uri)
    assert isinstance(snapshot.row_count, int)
    assert snapshot.row_count >= 0
    assert snapshot.size_bytes >= 0
    answers = [
        snapshot.name, snapshot.description, snapshot.table_id, dict(snapshot.properties), dict(snapshot.comments),
        list(snapshot.partition_columns), dict(snapshot.physical_names), snapshot.features, dict(snapshot.constraints),
        dict(snapshot.generated_columns), snapshot.schema.names, str(snapshot.timestamp),
    ]  # fmt: skip
    json.dumps(answers, ensure_ascii=False).encode()
    assert set(snapshot.partition_columns) <= set(snapshot.schema.names)
    named_files(snapshot)
    snapshot.find_transaction("nobody")


def look_at_the_first(uri: str) -> None:
    delta.open_snapshot(uri, version=0)


def inspect(uri: str) -> None:
    info = merging.inspect_table(uri)
    for column in info.columns:
        column.comment.encode()
    json.loads(info.schema_json)


def tell_history(uri: str) -> None:
    for version in merging.history(uri):
        told = [version.operation, version.user, version.engine, version.cr_id, str(version.timestamp)]
        json.dumps(told, ensure_ascii=False).encode()
        for count in (version.rows_added, version.rows_updated, version.rows_deleted):
            assert count is None or count >= 0


def find_marker(uri: str) -> None:
    delta.find_transaction(uri, "nobody", since_version=-1)


def list_tombstones(uri: str) -> None:
    for removed in load_tombstones(LocalStore(Path(uri)), 9):
        assert isinstance(removed.deleted_ms, int)
        assert removed.path.encode()


QUIET = settings(max_examples=150)
# A checkpoint is written anew for each.
QUIET_AND_FEW = settings(QUIET, max_examples=40)


@QUIET
@given(data=st.data())
def test_fp15_any_value_of_a_commit_may_be_damaged(full_table: Path, data: st.DataObject) -> None:
    version = data.draw(st.sampled_from([0, 0, 1]))
    before = commit_path(full_table, version).read_bytes()
    lines = [json.loads(line) for line in before.splitlines()]
    for line in lines:
        for kind, name in (("metaData", "schemaString"), ("add", "stats")):
            if kind in line:
                line[kind][name] = json.loads(line[kind][name])
    number = data.draw(st.integers(0, len(lines) - 1))
    place = data.draw(st.sampled_from(list(places(lines[number]))))
    action = data.draw(st.sampled_from(["drop", "replace", "replace", "replace", "rename", "double"]))
    lines[number] = damage(lines[number], place, action, data.draw(ODD))
    try:
        write_lines(full_table, version, lines)
        ask_everything(full_table)
    finally:
        commit_path(full_table, version).write_bytes(before)


@QUIET
@given(data=st.data())
def test_fp15_any_bytes_of_a_commit_may_be_damaged(full_table: Path, data: st.DataObject) -> None:
    path = commit_path(full_table, 0)
    before = path.read_bytes()
    start = data.draw(st.integers(0, len(before)))
    length = data.draw(st.integers(0, 40))
    put = data.draw(st.binary(max_size=6))
    try:
        path.write_bytes(before[:start] + put + before[start + length :])
        ask_everything(full_table)
    finally:
        path.write_bytes(before)


# ---- checkpoints --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpointed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table whose only readable history is a checkpoint by delta-rs at version 3."""
    root = tmp_path_factory.mktemp("checkpointed") / "table"
    delta.create_table(str(root), sample(12), partition_by=["flag"])
    with duckdb.connect(":memory:", config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for number in (1, 2, 3):
            Merger(connection).merge(str(root), upsert=sample(2, start=20 + number), delete=[number])
    deltalake.DeltaTable(root).create_checkpoint()
    for version in range(4):
        commit_path(root, version).unlink()
    return root


@QUIET_AND_FEW
@given(data=st.data())
def test_fp15_any_column_of_a_checkpoint_may_be_dropped_or_of_another_type(
    checkpointed: Path, data: st.DataObject
) -> None:
    path = checkpointed / "_delta_log" / f"{3:020d}.checkpoint.parquet"
    before = path.read_bytes()
    rows = pq.read_table(path).to_pylist()
    kind = data.draw(st.sampled_from(sorted({name for row in rows for name, value in row.items() if value})))
    first = next(row[kind] for row in rows if row[kind])
    place = data.draw(
        st.sampled_from([place for place in places(first) if all(isinstance(one, str) for one in place)])
    )
    action = data.draw(st.sampled_from(["drop", "replace", "rename"]))
    odd = data.draw(ODD)
    for row in rows:
        if row[kind]:
            try:
                row[kind] = damage(row[kind], place, action, odd)
            except (KeyError, TypeError):
                assume(False)
    try:
        try:
            pq.write_table(pa.Table.from_pylist(rows), path)
        except (pa.ArrowException, UnicodeError, OverflowError, TypeError, OSError):
            assume(False)
        ask_everything(checkpointed)
    finally:
        path.write_bytes(before)


@QUIET_AND_FEW
@given(data=st.data())
def test_fp15_any_bytes_of_a_checkpoint_may_be_damaged(checkpointed: Path, data: st.DataObject) -> None:
    path = checkpointed / "_delta_log" / f"{3:020d}.checkpoint.parquet"
    before = path.read_bytes()
    start = data.draw(st.one_of(st.integers(0, len(before)), st.integers(len(before) - 4000, len(before))))
    put = data.draw(st.binary(max_size=6))
    try:
        path.write_bytes(before[:start] + put + before[start + data.draw(st.integers(0, 8)) :])
        ask_everything(checkpointed)
    finally:
        path.write_bytes(before)


def test_fp15_a_checkpoint_with_fewer_columns_is_read(checkpointed: Path) -> None:
    path = checkpointed / "_delta_log" / f"{3:020d}.checkpoint.parquet"
    before, expected = path.read_bytes(), own_rows(str(checkpointed))
    try:
        table = pq.read_table(path)
        add = table.schema.field("add").type
        kept = [
            add.field(i)
            for i in range(add.num_fields)
            if add.field(i).name not in ("tags", "stats", "dataChange")
        ]
        rows = table.to_pylist()
        schema = table.schema.set(table.schema.get_field_index("add"), pa.field("add", pa.struct(kept)))
        schema = pa.schema([schema.field(name) for name in ("add", "metaData", "protocol")])
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
        assert own_rows(str(checkpointed)) == expected
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "checkpoint .* is damaged"),
        (b"PAR1", "checkpoint .* is damaged"),
        (b'{"add": {"path": "x"}}', "checkpoint .* is damaged"),
    ],
)
def test_fp15_a_checkpoint_that_is_none_is_named(checkpointed: Path, content: bytes, reason: str) -> None:
    path = checkpointed / "_delta_log" / f"{3:020d}.checkpoint.parquet"
    before = path.read_bytes()
    try:
        path.write_bytes(content)
        with pytest.raises(TableChanged, match=reason) as caught:
            delta.open_snapshot(str(checkpointed))
        assert caught.value.data["checkpoint"] == f"_delta_log/{3:020d}.checkpoint.parquet"
    finally:
        path.write_bytes(before)


VERSIONS = (b'"3"', b"-1", b"1e99", b"99", b"null", b"3.0")
HINTS = [b"", b"[]", b"5", b"{", b"\xff\xfe", *(b'{"version": %s}' % one for one in VERSIONS)]


@pytest.mark.parametrize("stated", HINTS)
def test_fp15_an_odd_last_checkpoint_is_only_a_hint(stated: bytes) -> None:
    store = memory_store(f"memory://{uuid.uuid4()}")
    create_in(store, store.uri, sample(6))
    store.put_new("_delta_log/_last_checkpoint", stated)
    assert snapshot_in(store, store.uri).row_count == 6


# ---- named places -------------------------------------------------------------------------------------------


def set_at(*place: str | int, value: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda line: damage(line, place, "replace", value)


def drop_at(*place: str | int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda line: damage(line, place, "drop", None)


DAMAGES: list[tuple[str, Callable[[Any], Any], str]] = [
    ("metaData", drop_at("metaData", "schemaString"), "metaData has no schemaString"),
    ("metaData", set_at("metaData", "schemaString", value=None), "metaData has no schemaString"),
    ("metaData", set_at("metaData", "schemaString", value="{"), "the schema is no JSON"),
    ("metaData", set_at("metaData", "schemaString", value=[]), r"schemaString of metaData is \[\]"),
    ("metaData", drop_at("metaData", "schemaString", "fields", 0, "name"), "a field of the schema has no name"),
    ("metaData", drop_at("metaData", "schemaString", "fields", 0, "type"), "column id has no type"),
    ("metaData", set_at("metaData", "schemaString", "fields", 0, "nullable", value="no"), "nullable of column id"),
    ("metaData", set_at("metaData", "schemaString", "fields", 0, "name", value="SMALL"), "two fields called 'small'"),
    ("metaData", drop_at("metaData", "id"), "metaData has no id"),
    ("metaData", set_at("metaData", "configuration", "a", value=5), "configuration of metaData is no map of texts"),
    ("metaData", set_at("metaData", "partitionColumns", value=["nowhere"]), "'nowhere', which is no column"),
    ("metaData", set_at("metaData", "partitionColumns", value="flag"), "partitionColumns of metaData is no list"),
    ("protocol", set_at("protocol", "minReaderVersion", value="3"), "minReaderVersion of protocol is '3'"),
    ("protocol", set_at("protocol", "readerFeatures", value="x"), "readerFeatures of protocol is no list"),
    ("add", drop_at("add", "path"), "add has no path"),
    ("add", drop_at("add", "size"), "add has no size"),
    ("add", set_at("add", "size", value=1.5), "size of add is 1.5"),
    ("add", set_at("add", "partitionValues", value=["x"]), "partitionValues of add is no map of texts"),
    ("add", set_at("add", value=[1]), r"add is no object but \[1\]"),
    ("add", set_at("add", "deletionVector", value={"storageType": "u"}), "deletionVector has no pathOrInlineDv"),
    ("add", set_at("add", "deletionVector", value={"storageType": "q", "pathOrInlineDv": "x"}), "storageType of"),
    ("add", set_at("add", "deletionVector", value={"storageType": "u", "pathOrInlineDv": "~"}), "names no file"),
    ("add", lambda line: [line], "it is no JSON object"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "change", "reason"), DAMAGES, ids=[reason for _, _, reason in DAMAGES])
def test_fp15_damage_is_named_with_version_and_line(
    kind: str, change: Callable[[Any], Any], reason: str, full_table: Path
) -> None:
    before = commit_path(full_table, 0).read_bytes()
    lines = [json.loads(line) for line in before.splitlines()]
    [number] = [place for place, line in enumerate(lines) if kind in line][:1]
    if kind == "metaData":
        lines[number][kind]["schemaString"] = json.loads(lines[number][kind]["schemaString"])
    lines[number] = change(lines[number])
    try:
        write_lines(full_table, 0, lines)
        with pytest.raises(TableChanged, match=reason) as caught:
            merging.inspect_table(str(full_table))
        assert f"line {number + 1}" in caught.value.message
        assert "ersion 0" in caught.value.message
        assert caught.value.code == "table_changed"
    finally:
        commit_path(full_table, 0).write_bytes(before)


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"\xff\xfe{}", b'{"add": "\xc3("}', b"[" * 100_000, b"5\n"]
)
def test_fp15_a_commit_that_is_none_is_named(content: bytes, full_table: Path) -> None:
    before = commit_path(full_table, 1).read_bytes()
    try:
        commit_path(full_table, 1).write_bytes(content)
        with pytest.raises(TableChanged, match=r"Version 1 .* is damaged, line 1: ") as caught:
            merging.inspect_table(str(full_table))
        assert caught.value.data["version"] == 1
    finally:
        commit_path(full_table, 1).write_bytes(before)


@pytest.mark.parametrize(
    "change",
    [
        set_at("add", "stats", value="no JSON"),
        set_at("add", "stats", value=[1]),
        set_at("add", "stats", value="[1]"),
        set_at("add", "stats", value="5"),
        set_at("add", "tags", value=[1]),
        set_at("add", "modificationTime", value="x"),
        set_at("add", "modificationTime", value=10**30),
        set_at("commitInfo", value=[1]),
        set_at("commitInfo", "timestamp", value="yesterday"),
        set_at("commitInfo", "timestamp", value=10**30),
        set_at("commitInfo", "operationMetrics", value=["x"]),
        set_at("commitInfo", "operation", value=None),
        set_at("metaData", "name", value=5),
        set_at("metaData", "createdTime", value={}),
    ],
)  # fmt: skip
def test_fp15_what_only_helps_is_left_out(change: Callable[[Any], Any], full_table: Path) -> None:
    expected = own_rows(str(full_table))
    before = commit_path(full_table, 0).read_bytes()
    lines = [json.loads(line) for line in before.splitlines()]
    for number, line in enumerate(lines):
        try:
            lines[number] = change(line)
        except (KeyError, TypeError):
            continue
    assert lines != [json.loads(line) for line in before.splitlines()]
    try:
        write_lines(full_table, 0, lines)
        assert own_rows(str(full_table)) == expected
        assert [version.version for version in merging.history(str(full_table))] == [1, 0]
    finally:
        commit_path(full_table, 0).write_bytes(before)


@pytest.mark.parametrize("mode", ["names", "", "position"])
def test_fp15_an_unknown_mapping_mode_is_refused(mode: str, full_table: Path) -> None:
    before = commit_path(full_table, 0).read_bytes()
    lines = [json.loads(line) for line in before.splitlines()]
    for line in lines:
        if "metaData" in line:
            line["metaData"]["configuration"][f"{MAPPING}mode"] = mode
        if "protocol" in line:
            line["protocol"]["readerFeatures"] += ["columnMapping"]
            line["protocol"]["writerFeatures"] += ["columnMapping"]
    try:
        write_lines(full_table, 0, lines)
        with pytest.raises(UnsupportedTable, match=f"column mapping mode {mode}"):
            merging.inspect_table(str(full_table))
    finally:
        commit_path(full_table, 0).write_bytes(before)
