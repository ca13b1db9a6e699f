"""Files spliced by a process beside this one: the same files, and all of them, whatever becomes of it."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from merging import delta
from merging.confinement import Bounds, calling
from merging.delta import content_checks
from merging.delta.writing import Rewrite, WrittenFile, splicer, splicing, splicing_apart
from merging.delta.writing import by_duckdb as writing_files
from merging.errors import MergeFailed
from tests.merging.delta.delta_tables import Merger, assert_all_readers_agree, own_rows
from tests.merging.delta.test_splicing import (
    ROWS,
    WRITERS,
    bounding_rows,
    by_pyarrow,
    files_of,
    sample_rows,
    table_of,
)
from tests.merging.stores import Place, add_action, head_actions, local_place, put_commit

GONE = [n * 40_000 + 5_000 for n in range(6)]


@pytest.fixture(autouse=True)
def _ready() -> None:
    end = time.monotonic() + 60
    while not splicing_apart.can_splice_apart():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def _all_are_spliced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files lose rows in most pages."""
    for name in ("_PACKING", "_TAKING_OUT"):
        monkeypatch.setattr(splicing, name, 0)
    monkeypatch.setattr(writing_files, "_WORTH_A_PROCESS", 0)


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of what was made by the process."""
    made: list[str] = []
    real = splicing_apart._written

    def noted(snapshot: delta.Snapshot, fields: Any, one: Rewrite, told: Any) -> WrittenFile | None:
        found = real(snapshot, fields, one, told)
        if found is not None:
            made.append(found.path)
        return found

    monkeypatch.setattr(splicing_apart, "_written", noted)
    return made


@pytest.fixture
def slow_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whoever splices here takes long, so that the process comes to most files. The paths of what is made here."""
    made: list[str] = []
    real = splicing.splice

    def waits(*given: Any) -> WrittenFile | None:
        time.sleep(0.5)
        found = real(*given)
        if found is not None:
            made.append(found.path)
        return found

    monkeypatch.setattr(writing_files, "splice", waits)
    return made


def spliced_apart(
    place: Place, gone: list[list[int]]
) -> tuple[list[WrittenFile | None], Rewrite | None, delta.Snapshot]:
    """The first file of a table again without some of its rows, as often as is asked."""
    snapshot = delta.open_snapshot(place.uri)
    asked = [
        Rewrite((0,), f"apart{number}.parquet", 0, np.array(numbers)) for number, numbers in enumerate(gone)
    ]
    made: list[WrittenFile | None] = []
    turns = iter(asked)
    left = splicing_apart.splice_apart(
        snapshot,
        snapshot.fields,
        lambda: next(turns, None),
        lambda _, written: made.append(written),
        largest=snapshot.files[0].size,
    )
    return made, left, snapshot


def server_pid() -> int:
    """Of the process that it comes from."""
    [found] = [server._process.pid for kind, server in calling._SERVERS._by_module.items() if not kind[2]]
    return found


def in_folder(uri: str) -> set[str]:
    return {one.name for one in Path(uri).glob("*.parquet")}


def assert_what_is_left(uri: str, files: int, gone: list[int]) -> None:
    """In the table, and nothing but its files and those before in its folder."""
    assert_all_readers_agree(uri)
    assert sorted(row[0] for row in own_rows(uri)) == sorted({*range(files * 40_000)} - {*gone})
    newest = delta.open_snapshot(uri)
    versions = [delta.open_snapshot(uri, version=number) for number in range(newest.version)]
    assert in_folder(uri) == {file.path for one in (newest, *versions) for file in one.files}


@pytest.mark.parametrize("writer", WRITERS)
def test_it_writes_what_is_written_here(writer: str, tmp_path: Path) -> None:
    place = table_of(tmp_path, WRITERS[writer], sample_rows())
    old = Path(place.uri) / "old.parquet"
    some = sorted({*range(ROWS)} - bounding_rows(old))
    gone = sorted(random.Random(1).sample(some, 100))  # noqa: S311
    [apart], left, snapshot = spliced_apart(place, [gone])
    here = splicing.splice(snapshot, snapshot.files[0], snapshot.fields, np.array(gone), "here.parquet")
    assert apart is not None
    assert here is not None
    assert left is None
    assert dataclasses.replace(apart, path=here.path) == here
    assert old.with_name(apart.path).read_bytes() == old.with_name(here.path).read_bytes()


def test_what_is_not_taken_there_is_written_here(tmp_path: Path, merger: Merger, apart: list[str]) -> None:
    """The least of a file goes: nobody knows what bounds it then."""
    uri = str(tmp_path / "table")
    files_of(uri, 6)
    gone = [0, 40_000, *GONE[2:]]
    merger.merge(uri, delete=gone)
    assert_what_is_left(uri, 6, gone)
    assert len(apart) <= 4


def test_nothing_is_left_of_what_is_not_taken(tmp_path: Path) -> None:
    place = table_of(tmp_path, WRITERS["pyarrow"], sample_rows())
    [first, least, last], left, _ = spliced_apart(place, [[17], [0], [18]])
    assert (first is None, least is None, last is None, left) == (False, True, False, None)
    assert in_folder(place.uri) == {"old.parquet", "apart0.parquet", "apart2.parquet"}


def test_a_merge_has_its_files_spliced_on_both_sides(
    tmp_path: Path,
    merger: Merger,
    apart: list[str],
    slow_here: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All that DuckDB would take longer for, whoever comes to them."""
    uri = str(tmp_path / "table")
    files_of(uri, 6)
    monkeypatch.setattr(splicing, "_PACKING", 0.55)
    merger.merge(uri, delete=GONE)
    assert_what_is_left(uri, 6, GONE)
    assert len(apart) > len(slow_here) > 0
    assert len(apart) + len(slow_here) == 6


def test_nothing_of_the_engine_is_loaded_where_it_begins() -> None:
    maps = Path(f"/proc/{server_pid()}/maps").read_text(encoding="utf-8")
    loaded = {word for word in ("libarrow", "duckdb", "deltalake", "obstore") if word in maps}
    assert loaded == {"libarrow"}


@pytest.mark.parametrize(
    ("whose", "number"),
    [("process", signal.SIGKILL), ("server", signal.SIGKILL), ("process", signal.SIGSTOP)],
    ids=["killed", "with its server", "stopped"],
)
@pytest.mark.usefixtures("slow_here")
def test_where_it_does_not_go_on_its_file_is_written_here(
    whose: str,
    number: signal.Signals,
    tmp_path: Path,
    merger: Merger,
    apart: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(splicing_apart, "_SECONDS_OF_A_FILE", 3)
    uri = str(tmp_path / "table")
    files_of(uri, 6)
    real = splicing_apart._asked
    lent: list[str] = []

    def killing(snapshot: delta.Snapshot, one: Rewrite) -> dict[str, Any]:
        asked = real(snapshot, one)
        lent.append(one.path)
        if len(lent) == 2:
            Path(asked["target"]).write_bytes(b"PAR1, and it began")
            server = server_pid()
            [process] = Path(f"/proc/{server}/task/{server}/children").read_text(encoding="ascii").split()
            os.kill(int(process) if whose == "process" else server, number)
        return asked

    monkeypatch.setattr(splicing_apart, "_asked", killing)
    merger.merge(uri, delete=GONE)
    assert_what_is_left(uri, 6, GONE)
    assert len(lent) == 2
    assert apart == lent[:1]
    assert lent[1] in {file.path for file in delta.open_snapshot(uri).files}


@pytest.mark.parametrize(
    "bounds",
    [
        Bounds(seconds=0.001, engine=False),
        Bounds(file_bytes=1_000, engine=False),
    ],
    ids=["time", "size of files"],
)
def test_where_it_is_refused_something_its_files_are_written_here(
    bounds: Bounds, tmp_path: Path, merger: Merger, apart: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splicing_apart, "_bounds", lambda _: bounds)
    asked: list[None] = []
    real = splicing_apart.splice_apart

    def noted(*given: Any, **named: Any) -> Rewrite | None:
        asked.append(None)
        return real(*given, **named)

    monkeypatch.setattr(writing_files, "splice_apart", noted)
    uri = str(tmp_path / "table")
    files_of(uri, 6)
    merger.merge(uri, delete=GONE)
    assert_what_is_left(uri, 6, GONE)
    assert (len(asked), apart) == (1, [])


def test_wrong_pages_are_found_where_files_are_compared(
    tmp_path: Path, merger: Merger, slow_here: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_checks, "SHARE", 1.0)
    real = splicing.cut_of

    def other(snapshot: delta.Snapshot, file: Any, removed: np.ndarray) -> splicer.Cut:
        return real(snapshot, file, removed + 1)

    monkeypatch.setattr(splicing_apart, "cut_of", other)
    uri = str(tmp_path / "table")
    before = {*files_of(uri, 6)}
    with pytest.raises(MergeFailed, match="is not what its rows were before"):
        merger.merge(uri, delete=GONE)
    assert in_folder(uri) == before


def test_want_of_memory_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow's is one of its own errors, too; a file that is taken for damaged is not given back."""

    class _Wanting:
        name = "zstd"

        def decompress(self, *_: Any) -> None:
            raise pa.ArrowMemoryError

    monkeypatch.setattr(pa, "Codec", lambda _: _Wanting())
    place = table_of(tmp_path, WRITERS["pyarrow, zstd and checksums"], sample_rows())
    snapshot = delta.open_snapshot(place.uri)
    cut = splicing.cut_of(snapshot, snapshot.files[0], np.array([17]))
    with snapshot.store.opened("old.parquet") as source, pytest.raises(MemoryError):
        splicer.splice_file(source, io.BytesIO(), cut)


@pytest.mark.parametrize("slow", ["splice", "splice_apart"])
def test_a_damaged_page_is_told_of_in_the_same_words(
    slow: str, tmp_path: Path, merger: Merger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes to it first."""
    quick = getattr(writing_files, slow)

    def waits(*given: Any, **named: Any) -> Any:
        time.sleep(0.5)
        return quick(*given, **named)

    monkeypatch.setattr(writing_files, slow, waits)
    monkeypatch.setattr(splicing, "_ROWS_OF_A_PAGE", 1)
    place = local_place(tmp_path)
    write = by_pyarrow(
        compression="none", write_page_checksum=True, data_page_size=2_000, write_batch_size=100
    )
    actions = head_actions(pa.schema({"id": pa.int64(), "note": pa.string()}))
    for number in range(2):
        ids = range(number * 3_000, number * 3_000 + 3_000)
        path = Path(place.uri) / f"{number}.parquet"
        write(pa.table({"id": pa.array(ids, pa.int64()), "note": [f"note {n}" for n in ids]}), path)
        data = bytearray(path.read_bytes())
        data[data.index(b"note %d" % (ids[0] + 1_505)) + 3] ^= 1
        path.write_bytes(data)
        actions.append(add_action(path.name, bytes(data), stats=json.dumps({"numRecords": 3_000})))
    put_commit(place, 0, actions)
    before = in_folder(place.uri)
    with pytest.raises(
        MergeFailed, match=r"^The data file [01].parquet of .* is damaged: a page is not what its"
    ):
        merger.prepare(delta.open_snapshot(place.uri), delete=[*range(1, 6_000, 3)])
    assert in_folder(place.uri) == before


def test_where_a_file_fails_here_it_is_lent_no_other(
    tmp_path: Path, merger: Merger, apart: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "table")
    before = {*files_of(uri, 12)}

    def fails(*_: Any) -> None:
        raise MergeFailed("it failed")

    monkeypatch.setattr(writing_files, "splice", fails)
    with pytest.raises(MergeFailed, match="it failed"):
        merger.prepare(delta.open_snapshot(uri), delete=[n * 40_000 + 5_000 for n in range(12)])
    assert len(apart) < 11
    assert in_folder(uri) == before


def test_a_merge_does_not_wait_for_it(
    tmp_path: Path, merger: Merger, apart: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first starts what it comes from, and splices alone; those that have next to nothing to splice do not start
    it."""
    servers = calling._Servers()
    monkeypatch.setattr(calling, "_SERVERS", servers)
    real = servers.is_ready
    asked: list[bool] = []

    def as_if_slow(*given: Any) -> bool:
        real(*given)
        asked.append(False)
        return False

    monkeypatch.setattr(servers, "is_ready", as_if_slow)
    uri = str(tmp_path / "table")
    try:
        files_of(uri, 3)
        merger.merge(uri, delete=[7_000])
        monkeypatch.setattr(writing_files, "_WORTH_A_PROCESS", 1 << 30)
        merger.merge(uri, delete=[8_000, 48_000, 88_000])
        assert (asked, servers._by_module) == ([], {})
        monkeypatch.setattr(writing_files, "_WORTH_A_PROCESS", 0)
        gone = [5_000, 45_000, 85_000]
        merger.merge(uri, delete=gone)
        assert (asked, len(servers._by_module), apart) == ([False], 1, [])
        assert_what_is_left(uri, 3, [7_000, 8_000, 48_000, 88_000, *gone])
    finally:
        servers.end()
