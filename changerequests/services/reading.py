"""Content of each kind, read in a process that may die alone: for uploads, and for looks at what one would be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

import merging
from changerequests.errors import ReaderDied, ReaderOutOfMemory, ReaderTookTooLong, UploadEnded, UploadLost
from changerequests.models import ReceivedContent
from changerequests.states import KINDS_WITH_SOURCE, UploadKind
from datasets.errors import DomainError, TableReplaced
from datasets.models import Dataset
from datasets.rows import column_actions

#: Of the process that reads: as many files as any format needs, with room for what DuckDB spills.
_OPEN_FILES = 1024
#: No single file that it writes is larger than this many times the largest upload.
_LARGEST_FILE = 4
#: How often a worker looks whether it shall stop.
_SECONDS_BETWEEN_LOOKS = 1.0
_A_FILE = ("Reading and checking the file", "Split the file into several change requests.")
#: What was being done, and what to try instead.
_WORDS = {
    UploadKind.FILE: _A_FILE,
    UploadKind.ROWS: _A_FILE,
    UploadKind.SQL: ("Running the statement", "Ask for fewer rows at once, or send them as a file."),
    UploadKind.TABLE: ("Comparing the tables", "Send the changed rows as a file."),
}
UNFORESEEN = "Staging failed unexpectedly; nothing was staged. The worker's log says more."


@dataclass(frozen=True)
class Reading:
    """One reading of content for a dataset: where its rows are written, and who watches."""

    dataset: Dataset
    destination: Path
    merge_schema: bool
    on_progress: Callable[[str, int], None]
    is_cancelled: Callable[[], bool]

    def file(self, path: Path, **options: Any) -> merging.Staged:
        """The rows of a received file; ``options`` are those of ``merging.stage_apart``."""
        table, keys = self._table
        with self._apart(UploadKind.FILE) as apart:
            return self._own(merging.stage_apart(table, str(path), keys, **apart, **options))

    def statement(self, statement: str, **options: Any) -> merging.Staged:
        """The rows that a statement of SQL gives over the dataset as it is now; ``options`` are those of
        ``merging.stage_query_apart``.
        """
        table, keys = self._table
        with self._apart(UploadKind.SQL) as apart:
            names = [self.dataset.slug]
            return self._own(
                merging.stage_query_apart(table, statement, keys, names=names, **apart, **options)
            )

    def other_table(self, path: str, *, base_version: int | None, proved_only: bool) -> merging.Staged:
        """What another table changed since the version of the dataset's table that it was made from."""
        table, keys = self._table
        with self._apart(UploadKind.TABLE, network="://" in path) as apart:
            apart |= {"base_version": base_version, "proved_only": proved_only}
            return self._own(merging.stage_table_apart(table, path, keys, **apart))

    @property
    def _table(self) -> tuple[str, tuple[str, ...]]:
        return self.dataset.table_uri, tuple(self.dataset.primary_keys)

    @contextmanager
    def _apart(self, kind: UploadKind, *, network: bool = False) -> Iterator[dict[str, Any]]:
        with merging.scratch_folder("staging") as scratch:
            yield {
                "destination": str(self.destination),
                "scratch": str(scratch),
                "bounds": bounds_for(self.dataset, kind, network=network),
                "merge_schema": self.merge_schema,
                "on_progress": self.on_progress,
                "is_cancelled": self.is_cancelled,
            }

    def _own(self, staged: merging.Staged) -> merging.Staged:
        if staged.table_id != self.dataset.meta.table_id:
            raise TableReplaced(f"The table at {self.dataset.table_uri} is not the one that was registered.")
        return staged


def decided(content: ReceivedContent) -> dict[str, merging.ColumnAction]:
    """What was decided about the columns of content."""
    return column_actions(content.column_actions)


def how_to_read(content: ReceivedContent) -> dict[str, Any]:
    """The options of ``Reading.file`` for content that came as a file."""
    return {
        "null_token": content.null_token,
        "file_format": content.file_format or None,
        "file_name": content.file_name,
        "column_types": content.column_types,
        "column_actions": decided(content),
        "empty_cells": content.empty_cells or None,
    }


def bounds_for(
    dataset: Dataset, kind: UploadKind = UploadKind.FILE, *, network: bool = False
) -> merging.Bounds:
    """What the process that reads content may take; only tables in an object store need the network."""
    return merging.Bounds(
        memory_bytes=settings.STAGING_PROCESS_MEMORY,
        seconds=_seconds(kind),
        open_files=_OPEN_FILES,
        file_bytes=_LARGEST_FILE * settings.UPLOAD_LIMIT_BYTES,
        network=network or ("://" in dataset.table_uri and not dataset.table_uri.startswith("file://")),
    )


def _seconds(kind: UploadKind) -> int:
    return int(getattr(settings, _setting(kind)))


def _setting(kind: UploadKind) -> str:
    return "QUERY_SECONDS" if kind == UploadKind.SQL else "STAGING_SECONDS"


def now_and_then(look: Callable[[], bool]) -> Callable[[], bool]:
    """A look at the database that is asked for many times a second, and taken once in a while."""
    looked_at, seen = time.monotonic(), False

    def answer() -> bool:
        nonlocal looked_at, seen
        now = time.monotonic()
        if not seen and now - looked_at >= _SECONDS_BETWEEN_LOOKS:
            looked_at, seen = now, look()
        return seen

    return answer


def told(error: merging.MergeFailed | UploadLost, kind: UploadKind) -> merging.MergeError | DomainError:
    """What ended a child, in words for whoever sent the content."""
    what_now = "Nothing was staged, and nothing else was harmed."
    doing, again = _WORDS[kind]
    if isinstance(error, merging.ConfinedTooLong):
        return ReaderTookTooLong(
            f"{doing} took longer than the {_seconds(kind):,} seconds that it may take ({_setting(kind)}). "
            f"{what_now} {again}"
        )
    if isinstance(error, merging.ConfinedOutOfMemory):
        return ReaderOutOfMemory(
            f"{doing} took more memory than the {settings.STAGING_PROCESS_MEMORY:,} bytes that an upload may "
            f"take (STAGING_PROCESS_MEMORY). {what_now} {again}"
        )
    if isinstance(error, merging.ConfinedDied) and error.raised:
        return UploadEnded(UNFORESEEN, UploadEnded.code)
    if isinstance(error, merging.ConfinedFailure):
        damaged = "The file may be damaged: write it anew, or in another format, and upload it again."
        return ReaderDied(
            f"{doing} ended its process: {error.message} {what_now} "
            f"{again if kind in KINDS_WITH_SOURCE else damaged}"
        )
    return error
