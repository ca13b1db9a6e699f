"""What the engine asks of a distant store: exact numbers of requests, on a table of 12 files whose checkpoint is 10
versions back (FO4, issue "In production", point 3)."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

import merging
from merging import MergeRequest
from merging.delta import known_states
from merging.delta.known_states import KnownStates
from merging.delta.log import TableState
from merging.delta.maintenance import checkpoints
from merging.scratch import scratch_place
from merging.store import files, stores
from merging.store.client import StoredObject
from tests.stores.far_tables import FILES, ROWS, FarTable, in_store, make_in_folder
from tests.stores.proxy import Proxy

#: A row of each file, in the middle of its second row group.
SPREAD = [number * ROWS + ROWS // 2 for number in range(FILES)]


def change(table: FarTable, ids: list[int], proxy: Proxy, folder: Path, cr_id: str = "CR-1") -> MergeRequest:
    options = proxy.options(dict(table.options))
    rows = pa.table({"id": ids, "b": [f"new {number}" for number in ids]})
    staged = merging.stage(
        table.uri, rows, ["id"], destination=str(folder / "staged"), storage_options=options
    )
    return MergeRequest(
        table.uri, cr_id, ["id"], staged, destination=str(folder / "artefacts"), storage_options=options
    )


def test_fo4_opening_staging_and_merging_ask_for_no_more_than_they_need(
    s3: dict[str, str], proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = in_store(tmp_path, s3, vectors=True)
    options = proxy.options(s3)
    proxy.latency = 0.1  # what is asked at once overlaps however busy this machine is
    with proxy.counting() as cold:
        version = merging.inspect_table(table.uri, storage_options=options).version
    proxy.latency = 0
    # The hint, the listing, and at once the checkpoint with the ten commits behind it.
    assert (len(cold), cold.depth <= 4, len(cold.of("HEAD"))) == (13, True, 0)
    with proxy.counting() as warm:
        merging.inspect_table(table.uri, storage_options=options)
    assert (len(warm), warm.depth) == (1, 1)

    with proxy.counting() as staging:
        request = change(table, SPREAD, proxy, tmp_path)
    # The listing; of each file its footer, its keys and its rows, in the row group that has the row.
    assert (len(staging), len(staging.of("HEAD"))) == (1 + 3 * FILES, 0)

    monkeypatch.setattr(stores, "_probed", {"s3://tables"})
    with proxy.counting() as merge:
        result = merging.merge(request)
    assert (result.strategy, result.diff.rows_updated) == ("merge-on-read", FILES)
    # The listing, the vectors, the rows, the commit, and for the proof both commits again.
    assert (len(merge), len(merge.of("PUT")), len(merge.of("HEAD"))) == (6, 3, 0)
    assert table.now() == table.after([{"id": one, "b": f"new {one}"} for one in SPREAD])
    with proxy.counting() as after:
        assert merging.inspect_table(table.uri, storage_options=options).version == version + 1
    assert len(after) == 2


@pytest.mark.parametrize("larger_than_memory", [False, True])
def test_fo4_copy_on_write_moves_no_more_bytes_than_the_touched_files_have(
    s3: dict[str, str],
    proxy: Proxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    larger_than_memory: bool,
) -> None:
    if larger_than_memory:
        monkeypatch.setattr(files, "MOST_REMEMBERED", 0)
        monkeypatch.setattr(files, "_RECENT", files.RecentRanges(0))
    table = in_store(tmp_path, s3, vectors=False, rows=30_000, files=4)
    request = change(table, [15_000, 45_000], proxy, tmp_path)
    with proxy.counting() as merge:
        result = merging.merge(request)
    assert (result.strategy, result.diff.rows_updated) == ("copy-on-write", 2)
    whole = sum(
        size
        for name, size in sizes_of(table).items()
        if any(name in one.path for one in merge.of("GET", r"/part-"))
    )
    data = [one for one in merge.asked if "_delta_log" not in one.path]
    assert len({one.path for one in data if one.method == "GET" and one.path.endswith(".parquet")}) == 2
    assert 0 < sum(one.received for one in data if one.method == "GET") <= whole
    assert 0 < sum(one.sent for one in data if one.method == "PUT") <= whole
    assert table.now() == table.after([{"id": one, "b": f"new {one}"} for one in (15_000, 45_000)])
    assert files._ON_DISK._kept == {}
    assert list(scratch_place("range").parent.glob("range-*")) == []


def test_what_is_kept_on_disk_goes_with_the_last_block_and_whatever_comes_after_it_is_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept, place = files.RangesOnDisk(), ("s3://a", "part")
    assert not kept.put(place, 0, b"nobody works on it", 18)
    with kept.keeping([place]):
        with kept.keeping([place]):
            assert kept.put(place, 10, b"0123456789", 20)
        assert kept.get(place, 12, 15) == b"234", "another block names it still"
        assert kept.get(place, 5, 12) is None
        kept.forget(place)  # it was replaced
        assert kept.get(place, 12, 15) is None
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=89))
        assert kept.put(place, 10, b"0123456789", 20)
        assert kept.get(place, 10, 20) is None, "the result needs the room"
    monkeypatch.undo()

    ended = kept.keeping([place])
    ended.__enter__()
    write = Path.write_bytes

    def and_the_block_ends(file: Path, content: bytes) -> int:
        ended.__exit__(None, None, None)
        return write(file, content)

    monkeypatch.setattr(Path, "write_bytes", and_the_block_ends)
    assert kept.put(place, 0, b"0123456789", 10)
    assert kept.get(place, 0, 10) is None
    assert (kept._kept, kept._blocks) == ({}, {})
    assert list(scratch_place("range").parent.glob("range-*")) == []


def test_a_disk_that_fails_costs_no_more_than_another_question(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, place = files.RangesOnDisk(), ("s3://a", "part")
    with kept.keeping([place]):
        assert kept.put(place, 0, b"0123456789", 10)
        [(_, _, file)] = kept._kept[place]
        file.write_bytes(b"01234")
        assert kept.get(place, 0, 4) == b"0123"
        assert kept.get(place, 0, 9) is None, "it was cut off"

        def fails(*_: object, **__: object) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(Path, "open", fails)
        assert kept.get(place, 0, 4) is None
        monkeypatch.undo()
        monkeypatch.setattr("shutil.disk_usage", fails)
        assert kept.put(place, 10, b"0123456789", 20)
        monkeypatch.undo()
        monkeypatch.setattr("merging.store.files.scratch_place", fails)
        assert kept.put(place, 10, b"0123456789", 20)
        monkeypatch.undo()
        assert len(kept._kept[place]) == 1
    assert not file.exists()


def sizes_of(table: FarTable) -> dict[str, int]:
    store = stores.open_store(table.uri, table.options)
    return {item.path.rpartition("/")[2]: item.size for item in store.walk()}


def test_a_table_that_takes_the_place_of_another_is_noticed(
    s3: dict[str, str], proxy: Proxy, tmp_path: Path
) -> None:
    table = in_store(tmp_path, s3, vectors=True, files=2, rows=30, behind=-1)
    options = proxy.options(s3)
    first = merging.inspect_table(table.uri, storage_options=options)
    other = in_store(tmp_path, s3, vectors=True, files=2, rows=30, behind=-1)
    old, new = (stores.open_store(one.uri, s3) for one in (table, other))
    old.delete([item.path for item in old.walk()])
    for item in list(new.walk()):
        old.write(item.path, new.read(item.path))
    again = merging.inspect_table(table.uri, storage_options=options)
    assert again.version == first.version
    assert again.table_id != first.table_id
    old.delete(["_delta_log/00000000000000000001.json"])
    assert merging.inspect_table(table.uri, storage_options=options).version == 0


def test_other_credentials_share_no_memory(s3: dict[str, str], proxy: Proxy, tmp_path: Path) -> None:
    table = in_store(tmp_path, s3, vectors=True, files=1, rows=3, behind=-1)
    options = proxy.options(s3)
    merging.inspect_table(table.uri, storage_options=options)
    with proxy.counting() as asked:
        merging.inspect_table(table.uri, storage_options={**options, "AWS_ACCESS_KEY_ID": "another"})
    assert len(asked.of("GET", r"\.json")) == 1
    one, same, another = (
        stores.open_store(table.uri, {**options, "AWS_ACCESS_KEY_ID": key}).identity
        for key in ("a", "a", "b")
    )
    assert one == same != another
    assert "a" * 3 not in str(one)


def test_what_is_remembered_is_bounded() -> None:
    weight = TableState(version=1).weight() + 1_500
    known: KnownStates[TableState] = KnownStates(weight * 3)
    for version in range(10):
        state = TableState(version=version)
        state.weight = lambda: weight  # type: ignore[method-assign]
        known.put("t", state, {f"{version}.json": StoredObject(f"{version}.json", 1, 1)})
    assert [known.nearest("t", version) is not None for version in (6, 7, 9)] == [False, True, True]
    assert known.nearest("u", None) is None
    known.forget("t")
    assert (known.nearest("t", None), known._weight) == (None, 0)
    assert known_states._MOST_BYTES <= 256 * 1024**2


def test_many_files_are_deleted_by_one_request(s3: dict[str, str], proxy: Proxy, tmp_path: Path) -> None:
    table = in_store(tmp_path, s3, vectors=True, files=1, rows=3, behind=-1)
    store = stores.open_store(table.uri, proxy.options(s3))
    for number in range(20):
        store.write(f"gone-{number}", b"x")
    with proxy.counting() as asked:
        store.delete([*(f"gone-{number}" for number in range(20)), "never was"])
    assert [one.method for one in asked.asked] == ["POST"]
    assert [item for item in store.walk() if item.path.startswith("gone")] == []


def test_fo4_a_page_reads_the_files_that_it_can_come_from(
    s3: dict[str, str], proxy: Proxy, tmp_path: Path
) -> None:
    table = in_store(tmp_path, s3, vectors=True)
    options = proxy.options(s3)
    merging.inspect_table(table.uri, storage_options=options)
    after: str | None = None
    for start in (0, 50, 100):
        with proxy.counting() as asked:
            page = merging.preview(
                table.uri, primary_keys=["id"], limit=50, after=after, storage_options=options
            )
        assert list(page.rows) == list(table.rows[start : start + 50])
        data = asked.of("GET", r"part-[^/]*\.parquet")
        assert (len({one.path for one in data}), len(asked) - len(data)) == (1, 1)
        # Its footer the first time, the keys of the row group that has them, the rows (kept from the page before).
        assert len(data) <= 3
        after = page.next


def test_statistics_that_count_wrongly_hide_no_row_of_a_page(tmp_path: Path) -> None:
    path, rows = make_in_folder(tmp_path, vectors=True, files=3, rows=30, behind=-1)
    commit = path / "_delta_log" / f"{0:020d}.json"
    lines = [json.loads(line) for line in commit.read_text().splitlines()]
    for line in lines:
        if "add" in line:
            stats = json.loads(line["add"]["stats"])
            line["add"]["stats"] = json.dumps({**stats, "numRecords": 3_000})
    commit.write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = merging.preview(str(path), primary_keys=["id"], limit=80)
    assert list(page.rows) == rows[:80]


def test_a_checkpoint_is_written_by_the_one_client_of_stores(
    s3: dict[str, str], proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = in_store(tmp_path, s3, vectors=True, files=11, rows=3, behind=-1)
    written: list[str] = []
    write = checkpoints._write

    def noting(path: str, version: int) -> None:
        written.append(path)
        write(path, version)

    monkeypatch.setattr(checkpoints, "_write", noting)
    with proxy.counting() as asked:
        assert merging.write_checkpoint(table.uri, storage_options=proxy.options(s3)) == 10
    assert [(path.startswith("/"), Path(path).exists()) for path in written] == [(True, False)]
    assert [one.path.rpartition("/")[2] for one in asked.of("PUT")] == [
        "00000000000000000010.checkpoint.parquet",
        "_last_checkpoint",
    ]
    assert merging.write_checkpoint(table.uri, storage_options=s3) is None
    store = stores.open_store(table.uri, s3)
    store.delete([item.path for item in store.list("_delta_log") if item.path.endswith(".json")])
    monkeypatch.setattr("merging.delta.log._KNOWN", KnownStates())
    assert merging.inspect_table(table.uri, storage_options=s3).version == 10
    assert table.now() == list(table.rows)
