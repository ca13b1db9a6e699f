"""Changes of files made into columns many at once: the same files, and the same words about damage, as one by one."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from merging.delta import active_files, file_changes, packed_texts
from merging.delta.actions import DataFile, RemovedFile
from merging.delta.active_files import ActiveFiles
from merging.delta.damage import Damaged, DamagedLine, parse_action, parse_lines
from merging.delta.file_changes import FileChanges
from merging.delta.log import LoggedCommit, TableState
from merging.delta.packed_texts import PackedTexts
from merging.errors import TableChanged

NUMBERS: st.SearchStrategy[Any] = st.sampled_from([0, 1, 7, 2**53, 2**63 - 1])
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 1.0, 1.5, -1, 2**63, 10**30, "", "1", "a\0b", "\U0001f600", [], {}, {"a": 1}, [["a", "b"]]]
)


def vectors(kinds: str, paths: list[str]) -> st.SearchStrategy[Any]:
    """Descriptors as logs have them."""
    return st.fixed_dictionaries(
        {
            "storageType": st.sampled_from(kinds),
            "pathOrInlineDv": st.sampled_from(paths),
            "sizeInBytes": NUMBERS,
            "cardinality": NUMBERS,
        },
        optional={"offset": st.one_of(st.none(), NUMBERS), "maxRowIndex": st.just(3)},
    )


VECTORS = st.one_of(
    vectors("u", ["vBn[lx{q8@P<9BNH/isA", "ab^-aqEH.-t@S}K{vb[*k^", "folder/vBn[lx{q8@P<9BNH/isA"]),
    vectors("pi", ["file:/t/a%20b.bin", "wi5b=000010000siXQKl0rr91000f55c8Xg0"]),
)
PAIRS = st.dictionaries(
    st.sampled_from(["p", "q", "ä"]), st.one_of(st.none(), st.text(max_size=2)), max_size=2
)
STATS = st.sampled_from(
    ['{"numRecords":3}', '{"minValues":{},"numRecords":4}', "{", "", "null", '{"numRecords":1.5}']
)
PATHS = st.sampled_from(["a.parquet", "b.parquet", "p=%C3%A4/c%20d.parquet", "s3://elsewhere/e.parquet"])
ADDS = st.fixed_dictionaries(
    {
        "path": PATHS,
        "size": NUMBERS,
        "partitionValues": PAIRS,
        "modificationTime": st.just(5),
        "dataChange": st.just(True),
    },
    optional={
        "stats": st.one_of(st.none(), STATS),
        "deletionVector": st.one_of(st.none(), VECTORS),
        "tags": st.one_of(st.none(), PAIRS),
        "baseRowId": NUMBERS,
        "defaultRowCommitVersion": NUMBERS,
        "clusteringProvider": st.just("liquid"),
        "stats_parsed": st.just({"numRecords": 1}),
    },
)
REMOVES = st.fixed_dictionaries(
    {"path": PATHS, "dataChange": st.just(True)},
    optional={"deletionVector": st.one_of(st.none(), VECTORS), "deletionTimestamp": NUMBERS, "tags": PAIRS},
)
USUAL = st.one_of(
    st.builds(lambda add: {"add": add}, ADDS),
    st.builds(lambda remove: {"remove": remove}, REMOVES),
    st.builds(lambda add, remove: {"remove": remove, "add": add}, ADDS, REMOVES),
    st.just({"add": None, "txn": {"appId": "a", "version": 1}}),
)


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A line in which something has another value than logs have there, or none; some of which mean something."""
    kind = draw(st.sampled_from(["add", "remove"]))
    action: Any = dict(draw(ADDS if kind == "add" else REMOVES))
    if draw(st.booleans()) and action.get("deletionVector"):
        vector = dict(action["deletionVector"])
        name = draw(st.sampled_from([*vector]))
        vector[name] = draw(st.one_of(ODD, st.sampled_from(["x", "tooshort", "~" * 20, "z" * 19 + "\u00e9"])))
        return {kind: {**action, "deletionVector": vector}}
    name = draw(st.sampled_from([*action, None]))
    return {kind: draw(ODD)} if name is None else {kind: {**action, name: draw(ODD)}}


def commits_of(lines: list[list[dict[str, Any]]]) -> list[LoggedCommit]:
    """As they come out of a log."""
    return [
        LoggedCommit(
            version,
            tuple(parse_action(json.dumps(line).encode()) for line in one),
            {},
            0,
            range(1, len(one) + 1),
            "t",
        )
        for version, one in enumerate(lines)
    ]


def one_by_one(commits: list[LoggedCommit]) -> list[DataFile] | str:
    """The files that the commits leave, by the rule of the protocol, or what is said of the first damage."""
    files: dict[Any, DataFile] = {}
    try:
        for commit in commits:
            for action in commit.read("add", "remove"):
                assert isinstance(action, DataFile | RemovedFile)
                files.pop(action.identity, None)
                if isinstance(action, DataFile):
                    files[action.identity] = action
    except TableChanged as damage:
        return damage.message
    return [*files.values()]


def together(commits: list[LoggedCommit]) -> list[DataFile] | str:
    state = TableState()
    try:
        state.apply(commits)
    except TableChanged as damage:
        return damage.message
    return [*state.files]


@given(
    st.lists(st.lists(st.one_of(USUAL, USUAL, damaged()), min_size=1, max_size=6), max_size=5),
    st.sampled_from([1, 3, 4_096]),
)
def test_many_changes_leave_what_they_leave_one_by_one(lines: list[list[dict[str, Any]]], many: int) -> None:
    commits = commits_of(lines)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(file_changes, "_AT_A_TIME", many)
        patched.setattr(file_changes, "MOST_TOGETHER", 2)
        patched.setattr(active_files, "MOST_TOGETHER", 5)
        patched.setattr(packed_texts, "_TOGETHER", 20)
        assert together(commits) == one_by_one(commits)


@given(st.lists(st.lists(USUAL, min_size=1, max_size=6), max_size=5))
def test_what_logs_have_is_never_looked_at_one_by_one(lines: list[list[dict[str, Any]]]) -> None:
    expected = one_by_one(commits_of(lines))
    with pytest.MonkeyPatch.context() as patched:
        patched.delattr(file_changes, "_one_by_one")
        assert together(commits_of(lines)) == expected


def test_the_line_of_a_damaged_change_is_named() -> None:
    whole = {"add": {"path": "a", "size": 1}}
    commits = commits_of(
        [[whole], [{"txn": {"appId": "a", "version": 1}}, whole, {"remove": {"path": 5}}, {"add": 3}]]
    )
    assert together(commits) == "Version 1 in the log of t is damaged, line 3: path of remove is 5."


def test_the_files_before_stay_as_they_are() -> None:
    before = ActiveFiles.of(
        [DataFile("a", 1, {}, 0, None, None, None), DataFile("b", 1, {}, 0, "{}", None, None)]
    )
    changes = FileChanges(before)
    for commit in commits_of([[{"remove": {"path": "a"}}, {"add": {"path": "c", "size": 2}}]]):
        changes.take(commit)
    assert [file.path for file in changes.files()] == ["b", "c"]
    assert [file.path for file in before] == ["a", "b"]


# ---- lines ----------------------------------------------------------------------------------------------------

DEEP = b'{"n":' + b"[" * 5_000 + b"]" * 5_000 + b"}"
PIECES = st.sampled_from(
    [
        b'{"a":1}',
        b'{"b":"x\\u00e4"}',
        b'{"c":"\\ud800"}',
        b'{"a":',
        b"1}",
        b"{}",
        b"[1]",
        b"7",
        b"",
        b" ",
        b"\xff",
        b'"\x01"',
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        DEEP,
        "{'ä'}".encode(),
        b'{"a":"\\n"}',
    ]
)
ENDS = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\r", b"", b"\n\n", b" \n", b",", "\u2028".encode()])


@given(st.lists(st.tuples(PIECES, ENDS), max_size=6).map(lambda parts: b"".join(map(b"".join, parts))))
@example(b'{"a":\n1}\n{"a":1}')
@example(b'{"a":\r1}')
@example(b'{"a":1}{"b":2}\n{"c":\n3}')
def test_lines_are_read_together_as_each_by_itself(content: bytes) -> None:
    numbers, actions = [], []
    damage = None
    for number, line in enumerate(content.splitlines(), 1):
        if line and not line.isspace():
            try:
                actions.append(parse_action(line))
            except Damaged as error:
                damage = (number, error.message)
                break
            numbers.append(number)
    if damage is None:
        found = parse_lines(content)
        assert ([*found[0]], str(found[1])) == (numbers, str(actions))
        return
    with pytest.raises(DamagedLine) as raised:
        parse_lines(content)
    assert (raised.value.number, raised.value.damage.message) == damage


# ---- packed texts ---------------------------------------------------------------------------------------------


@given(st.lists(st.one_of(st.none(), st.text(max_size=9)), max_size=30), st.integers(0, 4), st.data())
def test_packed_texts_are_the_texts(texts: list[str | None], start: int, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(packed_texts, "_TOGETHER", data.draw(st.sampled_from([1, 12, 1_000])))
        patched.setattr(packed_texts, "_A_RUN", data.draw(st.sampled_from([1, 20, 10_000])))
        packed = PackedTexts(pa.array(texts, pa.large_string()).slice(start))
        kept = texts[start:]
        assert len(packed) == len(kept)
        assert [text for run in packed.runs() for text in run.to_pylist()] == kept
        for run in packed.runs():
            run.validate(full=True)
        rows = data.draw(st.lists(st.integers(0, len(kept) - 1), max_size=9)) if kept else []
        assert packed.take(np.array(rows, np.int64)) == [kept[row] for row in rows]


def test_statistics_are_packed_well() -> None:
    texts = pa.array(
        [json.dumps({"numRecords": 10, "minValues": {"id": row}}) for row in range(9_000)], pa.large_string()
    )
    assert PackedTexts(texts).nbytes < texts.nbytes / 3
