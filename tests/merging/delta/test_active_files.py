"""Data files as columns: the same files as values, whoever wrote the log, and the same bounds as read one by one."""

from __future__ import annotations

import datetime
import io
import json
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merging import delta
from merging.delta import active_files, checkpoint_files
from merging.delta.actions import DataFile, RemovedFile, data_file
from merging.delta.active_files import ActiveFiles, FileBlock, block_of
from merging.delta.damage import Damaged
from merging.delta.statistics import column_bounds
from merging.delta.vectors import VectorDescriptor
from merging.sql.session import session
from tests.merging.delta.delta_tables import Merger, changed, sample

PATHS = st.sampled_from([f"part-{number}.parquet" for number in range(6)])
VECTORS = st.one_of(
    st.none(),
    st.builds(
        VectorDescriptor,
        st.sampled_from(["u", "p", "i"]),
        st.sampled_from(["vBn[lx{q8@P<9BNH/isA", "ab^-aqEH.-t@S}K{vb[*k^", 'a "b" \\ \x7f/ä\'']),
        st.sampled_from([None, 1, 40]),
        st.integers(1, 2**40),
        st.integers(0, 9),
    ),
)
FILES = st.builds(
    DataFile,
    PATHS,
    st.integers(0, 2**60),
    st.dictionaries(st.sampled_from(["p", "q"]), st.one_of(st.none(), st.text(max_size=3)), max_size=2),
    st.integers(0, 2**40),
    st.one_of(st.none(), st.sampled_from(['{"numRecords":3}', "{", ""])),
    st.one_of(st.none(), st.integers(0, 2**53)),
    VECTORS,
    st.fixed_dictionaries(
        {},
        optional={
            "baseRowId": st.integers(0, 2**60),
            "defaultRowCommitVersion": st.integers(0, 9),
            "tags": st.just({"a": "b", "c": None}),
            "clusteringProvider": st.just("liquid"),
        },
    ),
)


@given(st.lists(FILES, max_size=8), st.data())
def test_files_are_the_same_in_columns(files: list[DataFile], data: st.DataObject) -> None:
    active = ActiveFiles.of(files)
    assert len(active) == len(files)
    assert [*active] == files
    assert active == files
    assert (active == [*files, *files[:1]]) is not bool(files)
    indexes = data.draw(st.lists(st.integers(0, len(files) - 1), max_size=9)) if files else []
    assert active.at(indexes) == [files[index] for index in indexes]
    assert active[1:] == files[1:]
    assert active.numbers("size").tolist() == [file.size for file in files]
    assert active.numbers("dead").tolist() == [file.dead_rows for file in files]
    assert active.having_vectors().tolist() == [file.vector is not None for file in files]
    for index in (len(files), -len(files) - 1):
        with pytest.raises(IndexError):
            active[index]
    if files:
        assert active[-1] == files[-1]


@pytest.mark.parametrize("hashed", ["usual", "all alike"])
@given(st.lists(FILES, max_size=8), st.lists(FILES, max_size=8), st.integers(1, 3))
def test_twins_are_the_files_with_the_same_paths(
    hashed: str, mine: list[DataFile], theirs: list[DataFile], at_a_time: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(active_files, "_TOLD_AT_A_TIME", at_a_time)
        if hashed == "all alike":
            patched.setattr(active_files, "_hashes_of", lambda texts: np.zeros(len(texts), np.int64))
        half = len(mine) // 2
        blocks = [FileBlock.of(block_of(part)) for part in (mine[:half], mine[half:])]
        told = [*ActiveFiles.of(theirs).told()]
        found = ActiveFiles.in_blocks(blocks).twins_of(told)
    named = [row for batch in told for row in batch.to_pylist()]
    vectors = [file.vector and json.dumps(file.vector.to_log()) for file in theirs]
    assert named == [
        {"path": file.logged_path, "vector": vector} for file, vector in zip(theirs, vectors, strict=True)
    ]
    # Whose path is there twice, with two vectors, nobody knows for another's.
    names = Counter(file.logged_path for file in mine), Counter(file.logged_path for file in theirs)
    places = {
        file.logged_path: place
        for place, file in enumerate(mine)
        if all(of.get(file.logged_path, 1) == 1 for of in names)
    }
    assert found.places.tolist() == [places.get(file.logged_path, -1) for file in theirs]
    changed = [
        row
        for row, file in enumerate(theirs)
        if file.logged_path in places and mine[places[file.logged_path]].vector != file.vector
    ]
    assert found.changed.tolist() == changed
    assert list(found.vectors) == [vectors[row] for row in changed]


@given(st.lists(st.lists(st.tuples(st.booleans(), FILES), max_size=5), max_size=8))
def test_versions_share_what_they_have_in_common(commits: list[list[tuple[bool, DataFile]]]) -> None:
    versions: list[tuple[ActiveFiles, dict[Any, DataFile]]] = [(ActiveFiles(), {})]
    for commit in commits:
        active, expected = versions[-1][0], dict(versions[-1][1])
        changes: list[DataFile | RemovedFile] = []
        for stays, file in commit:
            expected.pop(file.identity, None)
            if stays:
                expected[file.identity] = file
            changes.append(file if stays else RemovedFile(file.logged_path, file.vector, 0))
        versions.append((active.after(changes), expected))
    # What came later changes no version, and each knows what another has not.
    for active, expected in versions:
        assert {file.identity: file for file in active} == expected
        assert len(active) == len(expected)
        for other, theirs in versions:
            assert active.apart_from(other) == (
                expected.keys() - theirs.keys(),
                theirs.keys() - expected.keys(),
            )


def test_a_file_that_comes_stands_last() -> None:
    one, two, three = (DataFile(name, 1, {}, 0, None, None, None) for name in ("one", "two", "three"))
    again = ActiveFiles.of([one, two]).after([three]).after([one])
    assert [file.path for file in again] == ["two", "three", "one"]
    assert [file.path for file in again.after([RemovedFile("three", None, 0)])] == ["two", "one"]


# ---- checkpoints ----------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(make_table: Callable[..., str], merger: Merger) -> Path:
    """Partitions, vectors and statistics, by delta-rs."""
    uri = make_table(sample(40), partition_by=["flag", "part"])
    merger.merge(uri, upsert=changed(sample(40), [3, 14], whole=7), delete=[5, 20])
    deltalake.DeltaTable(uri).create_checkpoint()
    [path] = Path(uri, "_delta_log").glob("*.checkpoint.parquet")
    return path


def one_by_one(table: pa.Table) -> list[DataFile]:
    return [
        data_file({name: value for name, value in add.items() if value is not None})
        for add in table.column("add").to_pylist()
        if add is not None
    ]


def files_of(content: io.BytesIO) -> list[DataFile]:
    """The files of a checkpoint, as logs are read."""
    return [*ActiveFiles.in_blocks(map(FileBlock.of, checkpoint_files.files_in(pq.ParquetFile(content))))]


def in_columns(content: bytes, monkeypatch: pytest.MonkeyPatch) -> list[DataFile]:
    """The files of a checkpoint, none of which was looked at by itself."""
    with monkeypatch.context() as patched:
        patched.delattr(checkpoint_files, "_one_by_one")
        return files_of(io.BytesIO(content))


def test_a_checkpoint_is_taken_in_columns(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = one_by_one(pq.read_table(checkpoint))
    assert len(expected) > 5
    assert any(file.vector for file in expected)
    assert in_columns(checkpoint.read_bytes(), monkeypatch) == expected
    monkeypatch.setattr(checkpoint_files, "_AT_A_TIME", 3)
    assert in_columns(checkpoint.read_bytes(), monkeypatch) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("path", ""),
        ("path", None),
        ("path", "a\0b"),
        ("size", -1),
        ("size", None),
        ("modificationTime", 2**62),
        ("modificationTime", None),
        ("baseRowId", -5),
        ("baseRowId", 12),
        ("clusteringProvider", "liquid"),
        ("tags", {"a": "b"}),
        ("tags", {}),
        ("deletionVector", None),
        ("deletionVector", {"storageType": "x"}),
        ("deletionVector", {"pathOrInlineDv": "tooshort"}),
        ("deletionVector", {"cardinality": -1}),
        ("deletionVector", {"offset": None}),
        ("stats", None),
        ("stats", '{"minValues":{},"numRecords":4}'),
        ("stats", "{"),
    ],
)
def test_what_is_odd_in_a_checkpoint_is_what_it_is_by_itself(checkpoint: Path, name: str, value: Any) -> None:
    table = pq.read_table(checkpoint)
    rows = table.column("add").to_pylist()
    odd = next(row for row in rows if row and row["deletionVector"])
    odd[name] = {**odd[name], **value} if name == "deletionVector" and value else value
    kind = table.schema.field("add").type
    fields = {kind.field(place).name: kind.field(place).type for place in range(kind.num_fields)}
    fields |= {"baseRowId": pa.int64(), "clusteringProvider": pa.string()}
    made = pa.table({"add": pa.array(rows, pa.struct([pa.field(*one) for one in fields.items()]))})
    content = io.BytesIO()
    pq.write_table(made, content)

    def told(read: Callable[[], list[DataFile]]) -> list[DataFile] | str:
        try:
            return read()
        except Damaged as damage:
            return damage.message.rpartition(": ")[2]

    assert told(lambda: files_of(content)) == told(lambda: one_by_one(made))


# ---- bounds ---------------------------------------------------------------------------------------------------

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(["", "~", "a~", "a?", "b\x7f", "a b\\", 'say "x"', "\ufffd", "ab\U0010ffff", "1", "{"]),
)
VALUES = {
    pa.int64(): st.one_of(
        st.integers(-(2**70), 2**70), st.integers(-9, 9), st.sampled_from([2**53, -(2**63)])
    ),
    pa.int8(): st.integers(-400, 400),
    pa.string(): TEXTS,
    pa.date32(): st.one_of(st.dates().map(str), st.sampled_from(["0000-01-01", "2020-02-31", "x"])),
    pa.timestamp("us", "UTC"): st.datetimes().map(lambda one: one.isoformat(timespec="milliseconds") + "Z"),
    pa.decimal128(38, 9): st.decimals(
        allow_nan=False, allow_infinity=False, places=12, min_value=-(10**20), max_value=10**20
    ),
}
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 1, 1.5, "x", [], {}, float("nan"), "2020-01-01", 10**30]
)


@given(data=st.data(), kind=st.sampled_from([*VALUES]))
def test_bounds_are_the_same_for_many_files_and_for_few(data: st.DataObject, kind: pa.DataType) -> None:
    def text(value: Any) -> str:
        return str(value) if isinstance(value, Decimal) else json.dumps(value)

    values = st.one_of(VALUES[kind], ODD)
    names = st.sampled_from(["k", 'o"d/d ~1', "ä b.c"])
    name = data.draw(names)
    stats: list[str | None] = [None, "", "{", "[]", "5", '{"minValues":3}', '{"minValues":{"k":[1]}}']
    for low, high, nulls in data.draw(st.lists(st.tuples(values, values, ODD), max_size=20)):
        stated = {"minValues": low, "maxValues": high, "nullCount": nulls}
        members = (
            f"{json.dumps(key)}: {{{json.dumps(name)}: {text(value)}}}" for key, value in stated.items()
        )
        stats.append(f"{{{', '.join(members)}}}")
    block = FileBlock.of(block_of([DataFile("p", 1, {}, 0, one, None, None) for one in stats]))
    found = []
    for many in (0, 10**9):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(column_bounds, "_MANY", many)
            with column_bounds._Texts(name) as texts:
                found.append(column_bounds._of_statistics(texts, kind, block))
    assert found[0].equals(found[1]), [one.to_pylist() for one in found]


def test_bounds_of_a_partition_of_many_files() -> None:
    values = [None, "", "2013-01-01", "2013-01-02", "x"]
    block = FileBlock.of(block_of([DataFile("p", 1, {"d": value}, 0, None, None, None) for value in values]))
    found = column_bounds._of_partitions({}, "d", "d", pa.date32(), block)
    day = datetime.date(2013, 1, 1)
    assert found.column("low").to_pylist() == [None, None, day, day + datetime.timedelta(1), None]
    assert found.column("never").to_pylist() == [True, True, False, False, False]


def test_bounds_of_all_blocks_take_one_session(
    make_table: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [
        DataFile(
            f"{number}", 1, {}, 0, f'{{"minValues":{{"id":{number}}},"maxValues":{{"id":{number}}}}}', 1, None
        )
        for number in range(9)
    ]
    snapshot = delta.open_snapshot(make_table(sample(3)))
    blocks = [FileBlock.of(block_of(files[start : start + 3])) for start in (0, 3, 6)]
    object.__setattr__(snapshot, "files", ActiveFiles.in_blocks(blocks))
    opened: list[int] = []

    def counted() -> Any:
        opened.append(1)
        return session()

    monkeypatch.setattr(column_bounds, "_MANY", 0)
    monkeypatch.setattr(column_bounds, "session", counted)
    for _ in range(2):
        assert column_bounds.bounds_of(snapshot, "id").column("high").to_pylist() == list(range(9))
    assert len(opened) == 1, "known bounds need none, and all that are to be found one together"


def test_what_is_derived_follows_the_files_that_are_active(make_table: Callable[..., str]) -> None:
    files = [
        DataFile(
            f"{number}",
            1,
            {},
            0,
            json.dumps({"minValues": {"id": number}, "maxValues": {"id": number}}),
            1,
            None,
        )
        for number in range(6)
    ]
    snapshot = delta.open_snapshot(make_table(sample(3)))
    active = ActiveFiles.of(files[:4]).after([RemovedFile("1", None, 0), *files[4:]])
    object.__setattr__(snapshot, "files", active)
    assert column_bounds.bounds_of(snapshot, "id").column("low").to_pylist() == [0, 2, 3, 4, 5]
    assert active.with_paths(["3", "nowhere", "0"]).tolist() == [0, 2]

    def even(columns: pa.RecordBatch) -> np.ndarray:
        return np.arange(len(columns)) % 2 == 0

    assert active.where("even", even) == [0, 2, 4]
    assert active.after([RemovedFile("2", None, 0)]).where("even", even) == [0, 1, 3]
