"""Looking after a table: its condition, checkpoints, compaction, and removing files that nothing needs.

None of it changes a row. What deletes comes in two calls, so that what would go can be shown first: finding is the dry
run. Call all of it under whatever keeps writers of the table apart; a writer that does not know of that is met by
compare-and-swap (``compact``) and by grace times (removing).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from merging import delta
from merging.delta import Snapshot, open_snapshot
from merging.engines import EngineWrite, TableWriter
from merging.errors import (
    CommitDiffers,
    MergeFailed,
    TableChanged,
    TableNotFound,
    UnsupportedTable,
    VersionMoved,
)
from merging.sql.session import session

#: A file below this share of the table's target size is small.
SMALL_FILE_SHARE = 0.5
#: How often a compaction starts again where others commit meanwhile.
COMPACTION_ATTEMPTS = 3


@dataclass(frozen=True)
class TableCondition:
    """How worn a table is, from its log alone.

    ``small_files`` are those that compaction would write together, ``vectors`` files with a deletion vector,
    ``dead_rows`` the rows that those hide. ``misspelt_files`` are those that Spark's VACUUM would delete although the
    table needs them, until a compaction has written them again. ``obstacles`` name what keeps the engine from
    compacting the table.
    """

    version: int
    row_count: int
    size_bytes: int
    files: int
    small_files: int
    vectors: int
    dead_rows: int
    misspelt_files: int
    checkpoint_due: bool
    obstacles: tuple[str, ...]

    @property
    def dead_share(self) -> float:
        """Dead rows among all that the files hold."""
        return self.dead_rows / max(1, self.row_count + self.dead_rows)


@dataclass(frozen=True)
class Compacted:
    """What a compaction did; ``version`` is None where there was nothing to do. ``writes`` tells which engine wrote."""

    version: int | None
    files_removed: int
    files_added: int
    vectors_folded: int
    bytes_written: int
    row_count: int
    writes: tuple[EngineWrite, ...] = ()


@dataclass(frozen=True)
class RemovableFiles:
    """Files of a table that can go: paths relative to its root, and their bytes together."""

    paths: tuple[str, ...]
    size_bytes: int


def table_condition(table_uri: str, *, storage_options: Mapping[str, str] | None = None) -> TableCondition:
    """How worn the newest version of a table is. Raises TableNotFound, TableChanged, UnsupportedTable."""
    snapshot = open_snapshot(table_uri, storage_options=storage_options)
    obstacles: tuple[str, ...] = ()
    try:
        snapshot.require_writable()
    except UnsupportedTable as error:
        obstacles = error.features
    groups = delta.files_to_compact(snapshot, small_file_share=SMALL_FILE_SHARE, dead_share=1, misspelt=False)
    return TableCondition(
        version=snapshot.version,
        row_count=snapshot.row_count,
        size_bytes=snapshot.size_bytes,
        files=len(snapshot.files),
        small_files=sum(len(group) for group in groups),
        vectors=int(snapshot.files.having_vectors().sum()),
        dead_rows=int(snapshot.files.numbers("dead").sum()),
        misspelt_files=len(delta.misspelt_files(snapshot)),
        checkpoint_due=delta.checkpoint_is_due(snapshot),
        obstacles=obstacles,
    )


def write_checkpoint(
    table_uri: str, *, version: int | None = None, storage_options: Mapping[str, str] | None = None
) -> int | None:
    """Write a checkpoint if one is due; its version, or None. Harmless beside writers and when called twice.

    Raises MergeFailed when it cannot be written; the table is none the worse for that.
    """
    return delta.checkpoint_if_due(table_uri, version, storage_options=storage_options)


def compact(
    table_uri: str,
    *,
    attempt_id: str,
    application_id: str,
    generation: int,
    user: str = "",
    dead_share: float = 0.0,
    before_commit: Callable[[], None] = lambda: None,
    while_waiting: Callable[[], None] | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> Compacted:
    """Write small files together, fold away the vectors of files with more than ``dead_share`` dead rows, and write
    those anew that Spark's VACUUM would delete.

    One compare-and-swap like every merge, on a snapshot opened here; where others commit meanwhile it begins again, a
    few times. ``before_commit`` has the last word: what it raises leaves the table as it was. ``while_waiting`` is
    called about twice a second while a cluster works; what it raises ends it likewise. The rows are counted before and
    after, in the log and in the files themselves.
    Raises VersionMoved, UnsupportedTable, CommitDiffers where the version stands and is wrong, and MergeFailed.
    """
    for attempt in range(1, COMPACTION_ATTEMPTS + 1):
        snapshot = open_snapshot(table_uri, storage_options=storage_options)
        try:
            with session(table_uri) as opened:
                writer = TableWriter(opened, while_waiting)
                done = delta.compact(
                    opened.connection,
                    snapshot,
                    attempt_id=attempt_id,
                    application_id=application_id,
                    generation=generation,
                    small_file_share=SMALL_FILE_SHARE,
                    dead_share=dead_share,
                    user=user,
                    step=lambda name: before_commit() if name == "before-put" else None,
                    writer=writer,
                )
        except VersionMoved:
            if attempt == COMPACTION_ATTEMPTS:
                raise
            continue
        if done.commit is not None:
            _require_same_rows(snapshot, done.commit.version)
        return Compacted(
            version=done.commit.version if done.commit else None,
            files_removed=done.files_removed,
            files_added=done.files_added,
            vectors_folded=done.vectors_folded,
            bytes_written=done.bytes_written,
            row_count=snapshot.row_count,
            writes=tuple(writer.writes),
        )
    raise AssertionError("The last attempt returns or raises.")


def _require_same_rows(before: Snapshot, version: int) -> None:
    """Two compactions at once would double a table: count what readers see, not only what the log says."""
    after = open_snapshot(before.uri, version=version, storage_options=before.storage_options)
    with session(after.uri) as opened:
        column = next(name for name in after.schema.names if name not in after.partition_columns)
        counted = opened.number(
            f"SELECT count(*) FROM ({delta.scan_sql(opened.connection, after, [column])})"
        )
    if not before.row_count == after.row_count == counted:
        raise CommitDiffers(
            f"Compaction of {before.uri} made version {version}, and the rows are not the same: {before.row_count:,} "
            f"before, {after.row_count:,} after by the log and {counted:,} in the files. Restore version "
            f"{before.version} before anybody writes to the table.",
            version=version,
            data={"version_before": before.version},
        )


def find_unneeded_files(
    table_uri: str,
    *,
    retention_hours: float,
    protect_versions: Collection[int] = (),
    protect_attempts: Collection[str] = (),
    now_ms: int | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> RemovableFiles:
    """What VACUUM would remove: files that no version needs which is younger than the retention or protected.

    The table's own ``delta.deletedFileRetentionDuration`` counts where it is longer. Versions whose log entries are
    gone protect nothing: nobody can read them any more.
    """
    with _protected(table_uri, protect_versions, storage_options) as (snapshot, protected):
        found = delta.find_unneeded(
            snapshot,
            retention_hours=max(retention_hours, _stated_retention(snapshot)),
            protect=protected,
            protect_attempts=protect_attempts,
            now_ms=now_ms,
        )
    return RemovableFiles(tuple(item.path for item in found), sum(item.size for item in found))


def find_orphaned_files(
    table_uri: str,
    attempt_ids: Collection[str],
    *,
    written_before_ms: int,
    protect_versions: Collection[int] = (),
    storage_options: Mapping[str, str] | None = None,
) -> RemovableFiles:
    """Files of attempts that are proven dead and never committed, told by the attempt's id in the names.

    Files that the log or a protected version names stay, and so do those written since ``written_before_ms``.
    """
    if not attempt_ids:
        return RemovableFiles((), 0)
    with _protected(table_uri, protect_versions, storage_options) as (snapshot, protected):
        found = delta.find_orphans(
            snapshot, attempt_ids, protect=protected, written_before_ms=written_before_ms
        )
    return RemovableFiles(tuple(item.path for item in found), sum(item.size for item in found))


def remove_files(
    table_uri: str, files: RemovableFiles, *, storage_options: Mapping[str, str] | None = None
) -> None:
    """Delete what was found, but for what the table holds again by now (a RESTORE may have come between).

    Files that are gone already are no error.
    """
    snapshot = open_snapshot(table_uri, storage_options=storage_options)
    needed = delta.named_files(snapshot)
    snapshot.store.delete(path for path in files.paths if path not in needed)


@contextmanager
def _protected(
    table_uri: str, versions: Collection[int], storage_options: Mapping[str, str] | None
) -> Iterator[tuple[Snapshot, list[Snapshot]]]:
    snapshot = open_snapshot(table_uri, storage_options=storage_options)
    protected = []
    for version in sorted(set(versions)):
        try:
            protected.append(open_snapshot(table_uri, version=version, storage_options=storage_options))
        except (TableNotFound, TableChanged):
            continue  # its log entries were cleaned up: no reader can ask for it
    yield snapshot, protected


_UNITS = {
    "millisecond": 1 / 3_600_000,
    "second": 1 / 3600,
    "minute": 1 / 60,
    "hour": 1.0,
    "day": 24.0,
    "week": 168.0,
    "month": 31 * 24.0,
    "year": 366 * 24.0,
}
_RETENTION = "delta.deletedFileRetentionDuration"


def _stated_retention(snapshot: Snapshot) -> float:
    """Hours for which the table itself asks to keep removed files; 0 where it says nothing.

    Read as Spark does: an interval of one or more numbers with units, with or without the word before it.
    Raises MergeFailed where it says something else: files that somebody wants to be kept must not go.
    """
    stated = snapshot.properties.get(_RETENTION, "")
    pairs = stated.lower().split()
    if pairs[:1] == ["interval"]:
        pairs = pairs[1:]
    try:
        if len(pairs) % 2:
            raise ValueError(stated)
        return sum(
            float(number) * _UNITS[unit.removesuffix("s")]
            for number, unit in zip(pairs[::2], pairs[1::2], strict=True)
        )
    except (KeyError, ValueError) as error:
        raise MergeFailed(
            f"How long {snapshot.uri} keeps removed files is not understood: {_RETENTION} is {stated!r}. "
            "Nothing is removed; state it like 'interval 7 days'.",
            data={"table_uri": snapshot.uri, "property": _RETENTION},
        ) from error
