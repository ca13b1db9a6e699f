"""The commit point: one winner, no lost answers, and whatever dies leaves a whole table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pyarrow as pa
import pytest

from merging import delta
from merging.errors import CommitDiffers, MergeFailed, VersionMoved
from merging.store.client import ObjectExists
from merging.store.stores import LocalStore
from tests.merging.delta.delta_tables import (
    Merger,
    after_merge,
    assert_all_readers_agree,
    changed,
    labelled,
    own_rows,
    sample,
)
from tests.merging.sites import Site, paths_below

pytestmark = pytest.mark.any_store


def test_the_second_of_two_committers_is_told(make_table: Callable[..., str], merger: Merger) -> None:
    uri = make_table(sample(10))
    first = merger.prepare(uri, delete=[1])
    second = merger.prepare(uri, delete=[2])
    delta.commit(first, application_id="a", generation=1)
    before = paths_below(uri)
    with pytest.raises(VersionMoved) as caught:
        delta.commit(second, application_id="b", generation=1)
    assert caught.value.data == {"table_uri": uri, "version": 1}
    assert paths_below(uri) == before
    assert delta.discard(second)
    assert paths_below(uri) == before - set(second.paths)
    assert own_rows(uri) == after_merge(sample(10), None, [1])


def test_many_threads_racing_for_one_table(make_table: Callable[..., str]) -> None:
    uri = make_table(sample(40))
    errors: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            with duckdb.connect(":memory:", config={"threads": 1}) as connection:
                connection.execute("SET TimeZone = 'UTC'")
                merger = Merger(connection)
                for number in range(worker * 10, worker * 10 + 3):
                    while True:
                        prepared = merger.prepare(uri, delete=[number])
                        try:
                            done = delta.commit(prepared, application_id=f"w/{number}", generation=1)
                        except VersionMoved:
                            assert delta.discard(prepared)
                            continue
                        delta.verify(prepared, done)
                        break
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    gone = [worker * 10 + n for worker in range(4) for n in range(3)]
    snapshot = delta.open_snapshot(uri)
    assert snapshot.version == 12
    assert {name for name in snapshot.state.transactions if name.startswith("w/")} == {f"w/{n}" for n in gone}
    assert_all_readers_agree(uri, after_merge(sample(40), None, gone))


def test_foreign_appends_between_are_not_lost(make_table: Callable[..., str], merger: Merger) -> None:
    uri = make_table(sample(10))
    prepared = merger.prepare(uri, delete=[1])
    deltalake.write_deltalake(uri, sample(2, start=50), mode="append")
    with pytest.raises(VersionMoved):
        delta.commit(prepared, application_id="a", generation=1)
    assert delta.discard(prepared)
    merger.merge(uri, delete=[1, 50])
    both = pa.concat_tables([sample(10), sample(2, start=50)])
    assert_all_readers_agree(uri, after_merge(both, None, [1, 50]))


class LosesAnswers(LocalStore):
    """A store whose put works and whose answer never comes."""

    failure: type[Exception] = OSError

    def put_new(self, path: str, data: bytes) -> None:
        super().put_new(path, data)
        raise self.failure("the answer was lost")


class Refuses(LocalStore):
    """A store that fails before it stores anything."""

    def put_new(self, path: str, data: bytes) -> None:
        raise OSError("no route to host")


def through(uri: str, store: LocalStore) -> delta.Snapshot:
    from merging.delta.snapshot import snapshot_in

    return snapshot_in(store, uri)


@pytest.mark.in_folder
@pytest.mark.parametrize("failure", [OSError, ObjectExists, TimeoutError])
def test_a_lost_answer_to_ones_own_put_is_found_in_the_log(
    failure: type[Exception], make_table: Callable[..., str], merger: Merger
) -> None:
    uri = make_table(sample(10))
    store = LosesAnswers(Path(uri))
    store.failure = failure
    prepared = merger.prepare(through(uri, store), delete=[3])
    done = delta.commit(prepared, application_id="a", generation=1)
    assert done.version == 1
    assert delta.discard(prepared) is False
    assert_all_readers_agree(uri, after_merge(sample(10), None, [3]))


@pytest.mark.in_folder
def test_a_store_that_fails_leaves_nothing(make_table: Callable[..., str], merger: Merger) -> None:
    uri = make_table(sample(10))
    before = paths_below(uri)
    prepared = merger.prepare(through(uri, Refuses(Path(uri))), delete=[3])
    with pytest.raises(MergeFailed, match="could not be committed: no route to host"):
        delta.commit(prepared, application_id="a", generation=1)
    assert delta.discard(prepared)
    assert paths_below(uri) == before


def test_a_failure_while_preparing_removes_what_was_written(
    make_table: Callable[..., str], merger: Merger
) -> None:
    uri = make_table(sample(10))
    before = paths_below(uri)
    merger.connection.register("two", labelled(sample(2)))
    merger.connection.execute("CREATE TEMP TABLE added AS SELECT * REPLACE ('no number' AS u_whole) FROM two")
    merger.connection.execute(
        "CREATE TEMP TABLE located AS SELECT 0::BIGINT AS file_index, 3::BIGINT AS row_number"
    )
    with pytest.raises(duckdb.ConversionException):
        delta.prepare(
            merger.connection, delta.open_snapshot(uri), delta.RowChanges("located", "added"), attempt_id="x"
        )
    assert paths_below(uri) == before


@pytest.mark.parametrize("rows", ["(0, 3), (0, 3)", "(0, 99)"], ids=["twice", "beyond the file"])
@pytest.mark.parametrize("vectors", [True, False])
def test_rows_that_cannot_be_removed_are_an_error(
    rows: str, vectors: bool, make_table: Callable[..., str], merger: Merger
) -> None:
    uri = make_table(sample(10), deletion_vectors=vectors)
    before = paths_below(uri)
    merger.connection.execute(
        f"CREATE TEMP TABLE wrong AS SELECT * FROM (VALUES {rows}) v(file_index, row_number)"
    )
    with pytest.raises(MergeFailed, match="were to be removed"):
        delta.prepare(
            merger.connection, delta.open_snapshot(uri), delta.RowChanges("wrong", None), attempt_id="x"
        )
    assert paths_below(uri) == before


CHILD = """
import json, os, sys, uuid
import duckdb
import pyarrow as pa
from merging import delta
uri, where, attempt, options = sys.argv[1:]
delta.set_reach(lambda _: True, opens=lambda _: json.loads(options))
connection = duckdb.connect(config={"threads": 1})
snapshot = delta.open_snapshot(uri)
connection.execute("CREATE TEMP TABLE keys AS SELECT 3::BIGINT AS u_id")
delta.locate(connection, snapshot, "keys", ["id"], "located")
delta.fetch(connection, snapshot, "located", snapshot.schema.names, "added")
connection.execute("UPDATE added SET u_whole = -7")
def step(name):
    if name == where:
        os._exit(77)
prepared = delta.prepare(connection, snapshot, delta.RowChanges("located", "added", key_columns=("id",)),
                         attempt_id=attempt, step=step)
delta.commit(prepared, application_id="a", generation=1, commit_info={}, step=step)
os._exit(0)
"""


@pytest.mark.parametrize(
    ("where", "committed"),
    [("files-written", False), ("files-synced", False), ("before-put", False), ("after-put", True)],
)
@pytest.mark.parametrize("feed", [False, True])
def test_killed_at_every_step(
    where: str, committed: bool, feed: bool, make_table: Callable[..., str], site: Site
) -> None:
    uri = make_table(sample(10), change_data_feed=feed)
    before = paths_below(uri)
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": os.getcwd()}
    told = [uri, where, "deadattempt", json.dumps(dict(site.options))]
    result = subprocess.run([sys.executable, "-c", CHILD, *told], env=environment, check=False, timeout=120)
    assert result.returncode == 77
    snapshot = delta.open_snapshot(uri)
    found = delta.find_transaction(uri, "a", since_version=0)
    assert (found is not None, snapshot.version) == (committed, int(committed))
    written = paths_below(uri) - before
    assert written
    orphans = tuple(item.path for item in delta.find_orphans(snapshot, ["deadattempt"]))
    snapshot.store.delete(orphans)
    if committed:
        assert orphans == ()
        expected = after_merge(sample(10), changed(sample(10), [3], whole=-7), [])
    else:
        assert set(orphans) == written
        assert paths_below(uri) == before
        expected = after_merge(sample(10), None, [])
    assert_all_readers_agree(uri, expected)


def test_orphans_of_another_attempt_stay(make_table: Callable[..., str], merger: Merger) -> None:
    uri = make_table(sample(10))
    prepared = merger.prepare(uri, upsert=changed(sample(10), [3], whole=1))
    assert delta.find_orphans(delta.open_snapshot(uri), ["deadattempt"]) == ()
    delta.commit(prepared, application_id="a", generation=1)
    assert delta.find_orphans(delta.open_snapshot(uri), [prepared.attempt_id]) == ()
    assert_all_readers_agree(uri, after_merge(sample(10), changed(sample(10), [3], whole=1), []))


@pytest.mark.in_folder
def test_verification_notices_a_commit_that_is_not_what_was_prepared(
    make_table: Callable[..., str], merger: Merger
) -> None:
    uri = make_table(sample(10))
    prepared = merger.prepare(uri, delete=[3])
    done = delta.commit(prepared, application_id="a", generation=1)
    path = Path(uri) / "_delta_log" / f"{1:020d}.json"
    lines = [line for line in path.read_text().splitlines() if '"add"' not in line]
    path.write_text("\n".join(lines))
    with pytest.raises(CommitDiffers, match="is committed, but") as caught:
        delta.verify(prepared, done)
    assert caught.value.version == 1
    with pytest.raises(CommitDiffers, match="it has 0 rows where 9 were expected"):
        delta.verify_logged(delta.open_snapshot(uri), 1, 9)


@pytest.mark.in_folder
def test_verification_reads_two_commits_and_no_checkpoint(
    make_table: Callable[..., str], merger: Merger, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = make_table(sample(10))
    merger.merge(uri, delete=[1])
    deltalake.DeltaTable(uri).create_checkpoint()
    prepared = merger.prepare(uri, delete=[3])
    done = delta.commit(prepared, application_id="a", generation=1)
    read: list[str] = []
    real = LocalStore.read_dated

    def noting(store: LocalStore, path: str) -> tuple[bytes, int]:
        read.append(path)
        return real(store, path)

    monkeypatch.setattr(LocalStore, "read_dated", noting)
    monkeypatch.setattr(LocalStore, "read", pytest.fail)
    monkeypatch.setattr(LocalStore, "opened", pytest.fail)
    after = delta.verify(prepared, done)
    assert [path for path in read if path.startswith("_delta_log/")] == [
        "_delta_log/00000000000000000001.json",
        "_delta_log/00000000000000000002.json",
    ]
    monkeypatch.undo()
    whole = delta.open_snapshot(uri)
    assert (after.version, after.files, after.state.transactions, after.row_count) == (
        whole.version,
        whole.files,
        whole.state.transactions,
        whole.row_count,
    )


@pytest.mark.in_folder
def test_verification_reads_all_of_a_log_that_is_not_the_one_it_was(
    make_table: Callable[..., str], merger: Merger
) -> None:
    uri, other = make_table(sample(10)), make_table(sample(20))
    prepared = merger.prepare(uri, delete=[3])
    done = delta.commit(prepared, application_id="a", generation=1)
    first = Path("_delta_log") / f"{0:020d}.json"
    (Path(uri) / first).write_bytes((Path(other) / first).read_bytes())  # restored from somewhere else
    with pytest.raises(CommitDiffers, match="its active files are not those before") as caught:
        delta.verify(prepared, done)
    assert "it belongs to another table" in str(caught.value)
