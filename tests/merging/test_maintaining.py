"""Looking after a table: its condition, compaction under a last word, and what can be removed."""

import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path

import deltalake
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
import pytest

import merging
from merging.delta import open_snapshot, scan_sql
from merging.delta.reach import open_table
from merging.delta.writing.file_names import vector_identity
from tests.merging.sites import Site, paths_below

pytestmark = pytest.mark.any_store


@pytest.fixture
def table(site: Site) -> str:
    """Three files of ten rows, without deletion vectors."""
    uri = site.new_table()
    merging.create_table(uri, rows(0), deletion_vectors=True)
    for start in (10, 20):
        deltalake.write_deltalake(uri, rows(start), mode="append")
    return uri


def rows(start: int) -> pa.Table:
    return pa.table(
        {
            "id": pa.array(range(start, start + 10), pa.int64()),
            "name": [f"n{n}" for n in range(start, start + 10)],
        }
    )


def read(uri: str) -> list[int]:
    return sorted(row["id"] for row in merging.preview(uri, primary_keys=("id",), limit=1000).rows)


def data_files(uri: str) -> set[str]:
    return {path for path in paths_below(uri) if "/" not in path}


def compact(uri: str, **options: object) -> merging.Compacted:
    given = {"attempt_id": uuid.uuid4().hex, "application_id": "test/maintenance", "generation": 1, **options}
    return merging.compact(uri, **given)  # type: ignore[arg-type]  # options of the call


def test_the_condition_tells_how_worn_a_table_is(table: str) -> None:
    found = merging.table_condition(table)
    assert (found.version, found.files, found.small_files, found.vectors, found.dead_rows) == (2, 3, 3, 0, 0)
    assert (found.row_count, found.checkpoint_due, found.obstacles) == (30, False, ())
    deltalake.DeltaTable(table).alter.add_constraint({"positive": "id >= 0"})
    assert merging.table_condition(table).obstacles == ()


def test_compaction_tells_what_it_did_and_does_nothing_twice(table: str) -> None:
    done = compact(table)
    assert (done.version, done.files_removed, done.files_added, done.row_count) == (3, 3, 1, 30)
    assert read(table) == list(range(30))
    assert compact(table, generation=2).version is None


def test_compaction_begins_again_where_others_commit(table: str) -> None:
    moved: list[None] = []

    def somebody_else() -> None:
        if not moved:
            deltalake.write_deltalake(table, rows(30), mode="append")
            moved.append(None)

    done = compact(table, before_commit=somebody_else)
    assert (done.version, done.files_removed, done.row_count) == (4, 4, 40)
    assert read(table) == list(range(40))
    assert len(data_files(table)) == 5  # the first attempt took its file away again


def test_compaction_gives_up_where_others_always_commit(table: str) -> None:
    starts = iter(range(100, 1000, 10))
    with pytest.raises(merging.VersionMoved):
        compact(
            table,
            before_commit=lambda: deltalake.write_deltalake(table, rows(next(starts)), mode="append"),
        )
    assert len(read(table)) == 60


def test_the_last_word_leaves_the_table_as_it_was(table: str) -> None:
    before = data_files(table)

    def stop() -> None:
        raise InterruptedError("not any more")

    with pytest.raises(InterruptedError):
        compact(table, before_commit=stop)
    assert (merging.inspect_table(table).version, data_files(table)) == (2, before)


def test_rows_that_moved_are_told_loudly(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As delta-rs' own optimize does when two run at once: the files are in the table twice."""

    def doubled(*arguments: object, **named: object) -> str:
        source = scan_sql(*arguments, **named)  # type: ignore[arg-type]  # passed on as they came
        return f"SELECT * FROM ({source}) UNION ALL SELECT * FROM ({source})"

    monkeypatch.setattr("merging.tables.maintaining.delta.scan_sql", doubled)
    with pytest.raises(
        merging.CommitDiffers, match=r"30 before, 30 after by the log and 60 in the files"
    ) as raised:
        compact(table)
    assert raised.value.version == 3
    assert raised.value.data == {"version": 3, "version_before": 2}


@pytest.mark.in_folder
def test_old_files_go_and_protected_versions_stay_readable(table: str) -> None:
    compact(table)
    long_ago = 1_600_000_000
    for path in Path(table).glob("*.parquet"):
        os.utime(path, (long_ago, long_ago))
    kept = merging.find_unneeded_files(table, retention_hours=1)
    assert kept.paths == ()  # they were removed from the table only now
    later = int(open_snapshot(table).timestamp.timestamp() * 1000) + 2 * 3_600_000
    found = merging.find_unneeded_files(table, retention_hours=1, now_ms=later)
    assert (len(found.paths), found.size_bytes > 0) == (3, True)
    protected = merging.find_unneeded_files(table, retention_hours=1, now_ms=later, protect_versions=[1])
    assert len(protected.paths) == 1  # version 1 has two of the three
    assert len(data_files(table)) == 4  # finding deletes nothing
    merging.remove_files(table, protected)
    assert [row["id"] for row in merging.preview(table, primary_keys=("id",), version=1).rows] == list(
        range(20)
    )
    merging.remove_files(table, found)
    assert (len(data_files(table)), read(table)) == (1, list(range(30)))


@pytest.mark.in_folder
def test_the_tables_own_retention_counts_where_it_is_longer(table: str) -> None:
    compact(table)
    for path in Path(table).glob("*.parquet"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    later = int(open_snapshot(table).timestamp.timestamp() * 1000) + 25 * 3_600_000
    assert len(merging.find_unneeded_files(table, retention_hours=24, now_ms=later).paths) == 3
    deltalake.DeltaTable(table).alter.set_table_properties(
        {"delta.deletedFileRetentionDuration": "interval 2 days"}
    )
    assert merging.find_unneeded_files(table, retention_hours=24, now_ms=later).paths == ()


@pytest.mark.in_folder
@pytest.mark.parametrize(
    "stated",
    [
        "30 days",
        "interval 4 weeks 2 days",
        "interval 43200 minutes",
        "INTERVAL 2592000 seconds",
        "interval 30.0 days",
    ],
)
def test_every_way_to_state_a_retention_counts(table: str, stated: str) -> None:
    compact(table)
    for path in Path(table).glob("*.parquet"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    deltalake.DeltaTable(table).alter.set_table_properties(
        {"delta.deletedFileRetentionDuration": "interval 1 day"}
    )
    change_log(table, 4, lambda text: text.replace("interval 1 day", stated))
    day = 24 * 3_600_000
    removed = int(open_snapshot(table, version=3).timestamp.timestamp() * 1000)
    assert merging.find_unneeded_files(table, retention_hours=168, now_ms=removed + 29 * day).paths == ()
    assert len(merging.find_unneeded_files(table, retention_hours=168, now_ms=removed + 31 * day).paths) == 3
    change_log(table, 4, lambda text: text.replace(stated, "for ever"))
    with pytest.raises(merging.MergeFailed, match="'for ever'"):
        merging.find_unneeded_files(table, retention_hours=168, now_ms=removed + 31 * day)


def change_log(uri: str, version: int, change: Callable[[str], str]) -> None:
    path = Path(uri, "_delta_log", f"{version:020d}.json")
    path.write_text(change(path.read_text()))


def test_what_a_restore_brought_back_is_not_removed(table: str) -> None:
    compact(table)
    later = int(open_snapshot(table).timestamp.timestamp() * 1000) + 3_600_000
    found = merging.find_unneeded_files(table, retention_hours=0.5, now_ms=later)
    assert len(found.paths) == 3
    deltalake.DeltaTable(table).restore(2)
    merging.remove_files(table, found)
    assert read(table) == list(range(30))


@pytest.mark.in_folder
def test_files_that_the_log_names_by_absolute_paths_stay(table: str) -> None:
    for version in range(3):
        change_log(table, version, lambda text: text.replace('"path":"', f'"path":"file://{table}/'))
    assert deltalake.DeltaTable(table).count() == 30
    assert merging.find_unneeded_files(table, retention_hours=0, now_ms=4_000_000_000_000).paths == ()


@pytest.mark.in_folder
def test_removals_in_the_sidecars_of_a_checkpoint_count(table: str) -> None:
    """A V2 checkpoint (PROTOCOL.md, "V2 Spec"): what it removed recently stays, the JSON commits being gone."""
    compact(table)
    log = Path(table, "_delta_log")
    deltalake.DeltaTable(table).create_checkpoint()
    classic = log / f"{3:020d}.checkpoint.parquet"
    whole = pyarrow.parquet.read_table(classic)
    is_file = pc.or_(whole["add"].is_valid(), whole["remove"].is_valid())
    (log / "_sidecars").mkdir()
    pyarrow.parquet.write_table(
        whole.filter(is_file).select(["add", "remove"]), log / "_sidecars" / "one.parquet"
    )
    commits = [
        json.loads(line) for path in sorted(log.glob("*.json")) for line in path.read_text().splitlines()
    ]
    metadata = [action for action in commits if "metaData" in action][-1]
    v2 = {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": ["v2Checkpoint", "deletionVectors"],
        "writerFeatures": ["v2Checkpoint", "deletionVectors"],
    }
    sidecar = {"path": "one.parquet", "sizeInBytes": 1, "modificationTime": 0}
    lines = [{"checkpointMetadata": {"version": 3}}, metadata, {"protocol": v2}, {"sidecar": sidecar}]
    for path in [classic, log / "_last_checkpoint", *log.glob("*.json")]:
        path.unlink()
    (log / f"{3:020d}.checkpoint.{uuid.uuid4()}.json").write_text(
        "".join(json.dumps(line) + "\n" for line in lines)
    )
    for path in Path(table).glob("*.parquet"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    assert open_snapshot(table).row_count == 30
    assert merging.find_unneeded_files(table, retention_hours=24).paths == ()
    assert len(merging.find_unneeded_files(table, retention_hours=24, now_ms=4_000_000_000_000).paths) == 3


def test_orphans_are_found_by_the_name_of_their_attempt(table: str) -> None:
    dead, other = uuid.uuid4().hex, uuid.uuid4().hex
    store = open_table(table)
    parts = [f"part-{attempt}-{uuid.uuid4()}.parquet" for attempt in (dead, other)]
    vector = f"deletion_vector_{vector_identity(dead)}.bin"
    feed = f"_change_data/cdc-{dead}-{uuid.uuid4()}.parquet"
    for path in (*parts, vector, feed):
        store.write(path, b"x")
    now = 4_000_000_000_000
    found = merging.find_orphaned_files(table, [dead], written_before_ms=now)
    assert (found.paths, found.size_bytes) == (tuple(sorted([parts[0], vector, feed])), 3)
    assert merging.find_orphaned_files(table, [dead], written_before_ms=1000).paths == ()
    assert merging.find_orphaned_files(table, [], written_before_ms=now).paths == ()
    merging.remove_files(table, found)
    assert parts[1] in data_files(table)


def test_what_a_committed_attempt_wrote_is_no_orphan(table: str) -> None:
    attempt = uuid.uuid4().hex
    compact(table, attempt_id=attempt)
    compacted = data_files(table)
    deltalake.DeltaTable(table).delete("id >= 0")
    assert merging.find_orphaned_files(table, [attempt], written_before_ms=4_000_000_000_000).paths == ()
    assert data_files(table) >= compacted
