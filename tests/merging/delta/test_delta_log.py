"""Replaying the log: agreed with delta-rs at every version, and named errors where it is damaged."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from merging import delta
from merging.delta.log import load_tombstones
from merging.errors import TableChanged, TableNotFound
from merging.store.stores import LocalStore
from tests.merging.delta.delta_tables import Merger, changed, own_rows, sample, sorted_rows


def log_file(uri: str, name: str) -> Path:
    return Path(uri) / "_delta_log" / name


def commit_file(uri: str, version: int) -> Path:
    return log_file(uri, f"{version:020d}.json")


@pytest.fixture
def long_table(make_table: Callable[..., str], merger: Merger) -> str:
    """Twelve versions by us and by delta-rs, with a checkpoint at 6."""
    uri = make_table(sample(30), partition_by=["flag"])
    for number in range(1, 6):
        merger.merge(
            uri, upsert=changed(sample(30), [number, number + 10], whole=number), delete=[number + 20]
        )
    deltalake.write_deltalake(uri, sample(3, start=200), mode="append")
    deltalake.DeltaTable(uri).create_checkpoint()
    for number in range(7, 12):
        merger.merge(uri, upsert=sample(2, start=300 + 2 * number), delete=[number])
    return uri


def test_every_version_is_what_delta_rs_says(long_table: str) -> None:
    for version in range(12):
        snapshot = delta.open_snapshot(long_table, version=version)
        table = deltalake.DeltaTable(long_table, version=version)
        assert snapshot.version == version
        assert snapshot.table_id == str(table.metadata().id)
        assert sorted(snapshot.store.relative(file.path) for file in snapshot.files) == sorted(
            uri.removeprefix(long_table + "/") for uri in table.file_uris()
        )
        assert snapshot.row_count == pa.table(table.scan().read_all()).num_rows
        assert own_rows(long_table, version=version) == sorted_rows(
            pa.table(table.scan().read_all()), snapshot.schema.names
        )


def test_the_checkpoint_alone_is_enough(long_table: str) -> None:
    before = delta.open_snapshot(long_table)
    for version in range(6):
        commit_file(long_table, version).unlink()
    after = delta.open_snapshot(long_table)
    assert {file.identity for file in after.files} == {file.identity for file in before.files}
    assert {file.stats_json for file in after.files} == {file.stats_json for file in before.files}
    assert (after.row_count, after.schema, dict(after.properties), after.protocol["readerFeatures"]) == (
        before.row_count,
        before.schema,
        dict(before.properties),
        before.protocol["readerFeatures"],
    )
    assert after.state.transactions.keys() == before.state.transactions.keys()
    assert delta.open_snapshot(long_table, version=6).version == 6
    with pytest.raises(TableNotFound, match="no longer in the log; the oldest is 6"):
        delta.open_snapshot(long_table, version=3)


def test_markers_survive_checkpoints_and_their_commits_are_found(long_table: str, merger: Merger) -> None:
    prepared = merger.prepare(long_table, delete=[12])
    delta.commit(prepared, application_id="here/CR-9", generation=2, commit_info={"crId": "CR-9"})
    merger.merge(long_table, delete=[13])
    deltalake.DeltaTable(long_table).create_checkpoint()
    found = delta.open_snapshot(long_table).find_transaction("here/CR-9")
    assert found is not None
    assert (found.version, found.commit_version) == (2, 12)
    assert found.commit_info is not None
    assert found.commit_info["attemptId"] == prepared.attempt_id
    for version in range(13):
        commit_file(long_table, version).unlink()
    found = delta.open_snapshot(long_table).find_transaction("here/CR-9")
    assert found is not None
    assert (found.version, found.commit_version, found.commit_info) == (2, None, None)
    assert delta.open_snapshot(long_table).find_transaction("here/CR-1") is None


def test_checkpoint_in_parts(long_table: str) -> None:
    whole = log_file(long_table, f"{6:020d}.checkpoint.parquet")
    expected = own_rows(long_table)
    table = pq.read_table(whole)
    names = [f"{6:020d}.checkpoint.{part:010d}.0000000003.parquet" for part in (1, 2, 3)]
    share = -(-table.num_rows // 3)
    for position, name in enumerate(names):
        pq.write_table(table.slice(position * share, share), log_file(long_table, name))
    whole.unlink()
    for version in range(6):
        commit_file(long_table, version).unlink()
    assert own_rows(long_table) == expected
    log_file(long_table, names[1]).unlink()
    with pytest.raises(TableChanged, match="the checkpoint of version 6 lacks parts") as caught:
        delta.open_snapshot(long_table)
    assert caught.value.data["incomplete_checkpoints"] == [6]


def test_an_incomplete_checkpoint_is_passed_over_while_the_commits_are_there(long_table: str) -> None:
    expected = own_rows(long_table)
    whole = log_file(long_table, f"{6:020d}.checkpoint.parquet")
    shutil.move(whole, log_file(long_table, f"{6:020d}.checkpoint.0000000001.0000000002.parquet"))
    assert own_rows(long_table) == expected


@pytest.mark.parametrize("form", ["json", "parquet"])
def test_v2_checkpoint_with_sidecar(long_table: str, form: str) -> None:
    whole = log_file(long_table, f"{6:020d}.checkpoint.parquet")
    expected = own_rows(long_table)
    table = pq.read_table(whole)
    adds = table.filter(table.column("add").is_valid())
    rest = table.filter(table.column("add").is_null())
    sidecar = f"{uuid.uuid4()}.parquet"
    log_file(long_table, "_sidecars").mkdir()
    pq.write_table(adds.select(["add"]), log_file(long_table, f"_sidecars/{sidecar}"))
    named = log_file(long_table, f"{6:020d}.checkpoint.{uuid.uuid4()}.{form}")
    pointer = {"path": sidecar, "sizeInBytes": 1, "modificationTime": 1}
    if form == "parquet":
        # Written without the NOT NULL marks inside actions, which rows of other kinds of actions cannot keep.
        plain = pa.Table.from_pylist(rest.to_pylist())
        last = pa.table({"sidecar": pa.array([{"path": sidecar, "sizeInBytes": 1}])})
        pq.write_table(pa.concat_tables([plain, last], promote_options="default"), named)
    else:
        lines: list[dict[str, Any]] = [{"checkpointMetadata": {"version": 6}}, {"sidecar": pointer}]
        for row in rest.to_pylist():
            lines += [{kind: as_json(value)} for kind, value in row.items() if value is not None]
        named.write_text("".join(json.dumps(line) + "\n" for line in lines))
    whole.unlink()
    for version in range(6):
        commit_file(long_table, version).unlink()
    assert own_rows(long_table) == expected


def as_json(value: Any) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return dict(value)
    if isinstance(value, dict):
        return {name: as_json(inner) for name, inner in value.items() if inner is not None}
    return value


def parse_statistics(
    uri: str, further: pa.StructType, values: dict[str, Any], *, int96: bool = False
) -> None:
    """Let the checkpoint hold statistics as a struct only, with these of further columns."""
    whole = log_file(uri, f"{6:020d}.checkpoint.parquet")
    rows = pq.read_table(whole).to_pylist()
    for row in rows:
        if row["add"]:
            stats = json.loads(row["add"].pop("stats"))
            bounds = {"id": stats["minValues"]["id"], **values}
            row["add"]["stats_parsed"] = {"numRecords": stats["numRecords"], "minValues": bounds}
    schema = pq.read_schema(whole)
    add = schema.field("add").type
    fields = [
        add.field(i) for i in range(add.num_fields) if add.field(i).name not in ("stats", "stats_parsed")
    ]
    parsed = pa.struct({"numRecords": pa.int64(), "minValues": pa.struct([("id", pa.int64()), *further])})
    schema = schema.set(
        schema.get_field_index("add"), pa.field("add", pa.struct([*fields, ("stats_parsed", parsed)]))
    )
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, whole, use_deprecated_int96_timestamps=int96)
    for version in range(6):
        commit_file(uri, version).unlink()


def test_checkpoint_with_parsed_statistics_only(long_table: str) -> None:
    expected = delta.open_snapshot(long_table).row_count
    parse_statistics(long_table, pa.struct([]), {})
    assert delta.open_snapshot(long_table).row_count == expected


@pytest.mark.parametrize("int96", [False, True])
def test_parsed_statistics_beyond_the_years_of_python(long_table: str, int96: bool) -> None:
    """Spark states moments as INT96."""
    moments = {"z": pa.timestamp("us", "UTC"), "n": pa.timestamp("us")}
    further = pa.struct([("far", pa.date32()), ("in", pa.struct(list(moments.items()))), *moments.items()])
    values = {name: pa.scalar(253_402_300_800_000_000, kind) for name, kind in moments.items()}
    far = {"far": pa.scalar(2_932_897, pa.int32()).cast(pa.date32()), "in": values, **values}
    expected = delta.open_snapshot(long_table).row_count
    parse_statistics(long_table, further, far, int96=int96)
    snapshot = delta.open_snapshot(long_table)
    assert snapshot.row_count == expected
    bounds = [file.stats().get("minValues", {}) for file in snapshot.files]
    stated = [{name: one[name] for name in far} for one in bounds if "far" in one]
    told = dict.fromkeys(moments, "10000-01-01 00:00:00.000000")
    assert stated == [{"far": "10000-01-01", "in": told, **told}] * len(stated)
    assert stated


@pytest.mark.parametrize("missing", [3, 8])
def test_a_gap_is_an_error(long_table: str, missing: int) -> None:
    log_file(long_table, f"{6:020d}.checkpoint.parquet").unlink()
    commit_file(long_table, missing).unlink()
    with pytest.raises(TableChanged, match=f"has a gap: version {missing} is missing"):
        delta.open_snapshot(long_table)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("kind", ["json", "checkpoint.parquet"])
@pytest.mark.parametrize("version", [10**15, 2**63 - 1, 10**20 - 1])
def test_a_stray_file_with_the_name_of_a_far_version_ends_no_process(
    long_table: str, version: int, kind: str, known: bool
) -> None:
    """Nobody goes through all the versions that are not there."""
    if known:
        delta.open_snapshot(long_table)
    content = (
        commit_file(long_table, 11) if kind == "json" else log_file(long_table, f"{6:020d}.{kind}")
    ).read_bytes()
    log_file(long_table, f"{version:020d}.{kind}").write_bytes(content)
    if version >= 2**63:
        assert delta.open_snapshot(long_table).version == 11
    elif kind == "json":
        with pytest.raises(TableChanged, match="has a gap: version 12 is missing"):
            delta.open_snapshot(long_table)
    else:
        assert delta.open_snapshot(long_table).version == version


@pytest.mark.parametrize("total", [2, 10**10 - 1])
def test_a_stray_part_of_a_checkpoint_of_many_ends_no_process(long_table: str, total: int) -> None:
    """Nobody goes through all the parts that are not there."""
    log_file(long_table, f"{11:020d}.checkpoint.{1:010d}.{total:010d}.parquet").write_bytes(b"")
    assert delta.open_snapshot(long_table).version == 11


@pytest.mark.parametrize("size", [2**62, 2**63 - 1])
def test_a_table_is_never_smaller_than_nothing(long_table: str, size: int) -> None:
    """Else no database remembered it, and the look at all tables ended there."""
    lines = [json.loads(line) for line in commit_file(long_table, 11).read_text().splitlines()]
    added = [line for line in lines if "add" in line][:1]
    added += [{"add": {**one["add"], "path": "other.parquet"}} for one in added]
    for one in added:
        one["add"]["size"] = size
    commit_file(long_table, 12).write_text("\n".join(map(json.dumps, added)))
    assert delta.open_snapshot(long_table).size_bytes == 2**63 - 1


def test_a_gap_below_the_checkpoint_matters_only_there(long_table: str) -> None:
    commit_file(long_table, 3).unlink()
    assert delta.open_snapshot(long_table).version == 11
    with pytest.raises(TableChanged, match="version 3 is missing"):
        delta.open_snapshot(long_table, version=4)


@pytest.mark.parametrize("content", ["{", '{"add": ', "\x00\x01"])
def test_a_damaged_commit_is_named(long_table: str, content: str) -> None:
    commit_file(long_table, 8).write_text(content)
    with pytest.raises(TableChanged, match=r"Version 8 .* is damaged"):
        delta.open_snapshot(long_table)


def cut(whole: Path) -> None:
    whole.write_bytes(whole.read_bytes()[:200])


def without_actions(whole: Path) -> None:
    pq.write_table(pq.read_table(whole).slice(0, 0), whole)


def without(kind: str) -> Callable[[Path], None]:
    def leave_out(whole: Path) -> None:
        pq.write_table(pq.read_table(whole).drop_columns([kind]), whole)

    return leave_out


def as_v2(lines: list[dict[str, Any]]) -> Callable[[Path], None]:
    """Instead of it a V2 checkpoint of these lines."""

    def put(whole: Path) -> None:
        named = whole.with_name(f"{6:020d}.checkpoint.{uuid.uuid4()}.json")
        named.write_text("".join(json.dumps(line) + "\n" for line in lines))
        whole.unlink()

    return put


BROKEN: dict[str, Callable[[Path], Any]] = {
    "empty": lambda whole: whole.write_bytes(b""),
    "cut": cut,
    "no Parquet": lambda whole: whole.write_text("{}"),
    "without actions": without_actions,
    "without protocol": without("protocol"),
    "without metadata": without("metaData"),
    "V2 that is empty": as_v2([]),
    "V2 without its sidecar": as_v2(
        [{"checkpointMetadata": {"version": 6}}, {"sidecar": {"path": "gone.parquet", "sizeInBytes": 1}}]
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_what_a_broken_checkpoint_said_is_found_in_the_commits(long_table: str, how: str) -> None:
    rows = {version: own_rows(long_table, version=version) for version in (5, 6, 8, 11)}
    removed = tombstones(long_table)
    copy = str(shutil.copytree(long_table, f"{long_table}-copy"))
    BROKEN[how](log_file(copy, f"{6:020d}.checkpoint.parquet"))
    assert {version: own_rows(copy, version=version) for version in rows} == rows
    assert tombstones(copy) == removed
    again = delta.open_snapshot(copy)
    assert again.state.transactions == delta.open_snapshot(long_table).state.transactions
    # Where one commit is gone, nothing else says what it said.
    commit_file(copy, 4).unlink()
    other = str(shutil.copytree(copy, f"{copy}-other"))
    with pytest.raises(TableChanged, match=r"checkpoint .* (is damaged|lacks a part)"):
        delta.open_snapshot(other)


def tombstones(uri: str) -> set[str]:
    return {removed.path for removed in load_tombstones(LocalStore(Path(uri)), 11)}


@pytest.mark.parametrize("how", ["empty", "cut", "without actions"])
def test_an_older_checkpoint_says_what_a_broken_one_said(long_table: str, how: str) -> None:
    deltalake.DeltaTable(long_table).create_checkpoint()
    expected = own_rows(long_table)
    for version in range(6):
        commit_file(long_table, version).unlink()
    copy = str(shutil.copytree(long_table, f"{long_table}-copy"))
    BROKEN[how](log_file(copy, f"{11:020d}.checkpoint.parquet"))
    assert own_rows(copy) == expected


@pytest.mark.parametrize("broken", ["first", "last", "classic"])
def test_of_several_checkpoints_of_one_version_one_is_enough(long_table: str, broken: str) -> None:
    whole = log_file(long_table, f"{6:020d}.checkpoint.parquet")
    expected = own_rows(long_table)
    named = {
        name: whole.with_name(f"{6:020d}.checkpoint.{digit * 8}-0000-0000-0000-000000000000.parquet")
        for name, digit in (("first", "0"), ("last", "f"))
    }
    for path in named.values():
        shutil.copy(whole, path)
    for version in range(6):
        commit_file(long_table, version).unlink()
    copy = str(shutil.copytree(long_table, f"{long_table}-copy"))
    for name, path in {**named, "classic": whole}.items():
        if name != broken:
            log_file(copy, path.name).write_bytes(b"PAR1")
    assert own_rows(copy) == expected


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files of logs that are read from now on."""
    names: list[str] = []

    def telling(asked: Callable[[LocalStore, str], Any]) -> Callable[[LocalStore, str], Any]:
        def told(store: LocalStore, path: str) -> Any:
            names.append(path.rpartition("/")[2])
            return asked(store, path)

        return told

    for way in ("read", "read_dated", "opened"):
        monkeypatch.setattr(LocalStore, way, telling(getattr(LocalStore, way)))
    return names


def test_fc9_a_table_that_is_known_is_opened_by_what_came_since(
    long_table: str, merger: Merger, read: list[str]
) -> None:
    delta.open_snapshot(long_table)
    deltalake.write_deltalake(long_table, sample(3, start=400), mode="append")
    read.clear()
    opened = delta.open_snapshot(long_table)
    assert (opened.version, read) == (12, [f"{12:020d}.json"])
    assert delta.open_snapshot(long_table).version == 12
    assert read == [f"{12:020d}.json"]
    # What it has become is what one finds who never saw it.
    copy = shutil.copytree(long_table, f"{long_table}-copy")
    assert own_rows(str(copy)) == own_rows(long_table)
    again = delta.open_snapshot(str(copy))
    assert {file.identity for file in again.files} == {file.identity for file in opened.files}
    assert again.state.transactions == opened.state.transactions


def test_fc9_a_table_that_is_not_known_is_opened_from_its_newest_checkpoint(
    long_table: str, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = str(shutil.copytree(long_table, f"{long_table}-copy"))
    looked: list[str] = []
    mark = LocalStore.mark

    def look(store: LocalStore, path: str) -> object:
        looked.append(path)
        return mark(store, path)

    monkeypatch.setattr(LocalStore, "mark", look)
    delta.open_snapshot(copy)
    names = [f"{6:020d}.checkpoint.parquet", *(f"{version:020d}.json" for version in range(7, 12))]
    assert read == ["_last_checkpoint", *names]
    assert sorted(looked) == sorted(f"_delta_log/{name}" for name in names)


def test_a_checkpoint_that_came_since_is_not_read_but_known_from_now_on(
    long_table: str, read: list[str]
) -> None:
    delta.open_snapshot(long_table)
    deltalake.DeltaTable(long_table).create_checkpoint()
    read.clear()
    opened = delta.open_snapshot(long_table)
    assert (opened.version, opened.state.checkpoint_version, read) == (11, 11, [])
    log_file(long_table, f"{11:020d}.checkpoint.parquet").write_bytes(b"PAR1")
    assert delta.open_snapshot(long_table).state.checkpoint_version == 6


def test_a_version_of_which_only_a_checkpoint_is_left_is_the_newest(long_table: str) -> None:
    known = delta.open_snapshot(long_table, version=9)
    deltalake.DeltaTable(long_table).create_checkpoint()
    for version in (10, 11):
        commit_file(long_table, version).unlink()
    opened = delta.open_snapshot(long_table)
    assert (known.version, opened.version) == (9, 11)


@pytest.mark.parametrize("version", [7, 11])
def test_a_log_that_was_mended_is_read_anew(long_table: str, version: int) -> None:
    whole = delta.open_snapshot(long_table)
    before = commit_file(long_table, version).read_bytes()
    commit_file(long_table, version).write_bytes(b"{")
    with pytest.raises(TableChanged, match=rf"Version {version} .* is damaged"):
        delta.open_snapshot(long_table)
    commit_file(long_table, version).write_bytes(before)
    mended = delta.open_snapshot(long_table)
    assert {file.identity for file in mended.files} == {file.identity for file in whole.files}


def test_another_table_in_the_place_of_one_that_is_known(
    make_table: Callable[..., str], tmp_path: Path
) -> None:
    first, second = make_table(sample(3)), make_table(sample(5))
    delta.open_snapshot(first)
    shutil.rmtree(first)
    shutil.copytree(second, first)
    assert delta.open_snapshot(first).table_id == delta.open_snapshot(second).table_id


def test_no_table_and_no_such_version(tmp_path: Path, make_table: Callable[..., str]) -> None:
    with pytest.raises(TableNotFound, match="There is no Delta table"):
        delta.open_snapshot(str(tmp_path / "nothing"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(TableNotFound):
        delta.open_snapshot(str(tmp_path / "folder"))
    with pytest.raises(TableNotFound, match=r"Version 5 .* does not exist; the newest is 0"):
        delta.open_snapshot(make_table(sample(2)), version=5)


def test_schema_comments_constraints_and_properties(tmp_path: Path) -> None:
    uri = str(tmp_path / "described")
    nested = deltalake.schema.ArrayType(
        deltalake.schema.StructType([deltalake.Field("x", deltalake.schema.PrimitiveType("short"))]),
        contains_null=False,
    )
    fields = [
        deltalake.Field(
            "id", deltalake.schema.PrimitiveType("long"), nullable=False, metadata={"comment": "the key"}
        ),
        deltalake.Field("list", nested),
        deltalake.Field(
            "map",
            deltalake.schema.MapType(
                deltalake.schema.PrimitiveType("string"),
                deltalake.schema.PrimitiveType("decimal(5,1)"),
                value_contains_null=True,
            ),
        ),
        deltalake.Field("at", deltalake.schema.PrimitiveType("timestamp_ntz")),
        deltalake.Field("data", deltalake.schema.PrimitiveType("binary")),
    ]
    deltalake.DeltaTable.create(
        uri,
        deltalake.Schema(fields),
        name="things",
        configuration={"delta.logRetentionDuration": "interval 3 days"},
    )
    snapshot = delta.open_snapshot(uri)
    element = pa.field("element", pa.struct([pa.field("x", pa.int16())]), nullable=False)
    assert snapshot.schema.equals(
        pa.schema(
            [
                pa.field("id", pa.int64(), nullable=False),
                pa.field("list", pa.list_(element)),
                pa.field("map", pa.map_(pa.string(), pa.field("value", pa.decimal128(5, 1)))),
                pa.field("at", pa.timestamp("us")),
                pa.field("data", pa.binary()),
            ]
        )
    )
    assert (snapshot.name, dict(snapshot.comments), snapshot.row_count) == ("things", {"id": "the key"}, 0)
    assert dict(snapshot.properties) == {"delta.logRetentionDuration": "interval 3 days"}
    assert own_rows(uri) == []


def test_row_count_from_footers_where_the_log_has_none(
    make_table: Callable[..., str], merger: Merger
) -> None:
    uri = make_table(sample(30))
    path = commit_file(uri, 0)
    actions = [json.loads(line) for line in path.read_text().splitlines()]
    for action in actions:
        if "add" in action:
            del action["add"]["stats"]
    path.write_text("".join(json.dumps(action) + "\n" for action in actions))
    snapshot = delta.open_snapshot(uri)
    assert snapshot.files[0].num_records is None
    assert snapshot.row_count == 30
    done = merger.merge(uri, delete=[4])
    assert (done.row_count, done.files[0].num_records) == (29, 30)


def test_history(long_table: str) -> None:
    history = delta.read_history(long_table)
    assert [entry.version for entry in history] == list(range(11, -1, -1))
    assert [entry.operation for entry in history[-2:]] == ["MERGE", "CREATE TABLE AS SELECT"]
    appended = next(entry for entry in history if entry.version == 6)
    assert (appended.operation, appended.rows_added, appended.cr_id) == ("WRITE", 3, None)
    assert appended.engine.startswith("delta-rs")
    assert [entry.version for entry in delta.read_history(long_table, limit=2, before=5)] == [4, 3]
    with pytest.raises(TableNotFound):
        delta.read_history(long_table + "/nothing")
