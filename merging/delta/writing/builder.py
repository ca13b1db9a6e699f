"""The commit being prepared: what every subject of this room adds its actions, files and figures to."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from merging.delta.actions import DataFile
from merging.delta.fields import TableField, table_fields
from merging.delta.snapshot import Snapshot
from merging.delta.vectors import VectorDescriptor, read_vector
from merging.delta.writing.asked import FileWriter, NewFile
from merging.delta.writing.data_files import WrittenFile
from merging.delta.writing.file_names import data_file_name, log_path
from merging.delta.writing.new_schema import schema_actions
from merging.delta.writing.prepared import PreparedCommit
from merging.delta.writing.row_ids import FreshIds
from merging.errors import MergeFailed

#: What the log says of a file by which its rows are told apart; whoever removes the file says it again.
_NUMBERS = ("baseRowId", "defaultRowCommitVersion")


class CommitBuilder:
    """Collects actions, files and figures while a commit is prepared; `writer` writes what it names.

    `schema` are the table's columns after the commit; a commit whose rows stay the same has no `data_change`.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        writer: FileWriter,
        snapshot: Snapshot,
        attempt_id: str,
        schema: pa.Schema,
        *,
        data_change: bool = True,
    ) -> None:
        self.data_change = data_change
        self.connection = connection
        self.writer = writer
        self.snapshot = snapshot
        self.attempt_id = attempt_id
        self.schema = schema
        self.fields = {one.name: one for one in snapshot.fields}
        self.now = int(time.time() * 1000)
        self.actions: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.bytes_written = 0
        self.rows_removed = 0
        self.rows_added = 0
        self.rows_miscounted = 0
        self.metrics: dict[str, int] = {}
        self._fresh_ids = FreshIds(snapshot)

    def physical_records(self, file: DataFile) -> int:
        """Rows stored in a file that this commit touches, by its footer: were the log's count believed and too small,
        live rows would go with a file that seemed to have none left."""
        stored = self.snapshot.stored_records(file)
        self.rows_miscounted += stored - self.snapshot.physical_records(file)
        return stored

    def live_records(self, file: DataFile) -> int:
        """Those of them that readers see. Raises MergeFailed where the file's vector marks rows that it does not have:
        taken from the others, they would let live ones go with their file."""
        stored = self.physical_records(file)
        if file.vector is not None:
            read_vector(self.snapshot.store, file.vector, within=stored)
        return stored - file.dead_rows

    def change_schema(self, numbers_given: Mapping[str, int]) -> None:
        """Give the table its new columns in this commit, and note the last numbers that it gives; files written from
        now on hold them.
        """
        actions = schema_actions(self.snapshot, self.schema, numbers_given)
        self.actions += actions
        [metadata] = [action["metaData"] for action in actions if "metaData" in action]
        fields = table_fields(metadata["schemaString"], self.schema, self.snapshot.mapping_mode)
        self.fields = {one.name: one for one in fields}

    def columns_in_files(self, schema: pa.Schema) -> list[str]:
        """The columns of the table's old or new schema that its files hold: all but those that partition it."""
        return [name for name in schema.names if name not in self.snapshot.partition_columns]

    def stored(self, columns: Sequence[str]) -> list[TableField]:
        """The columns as files hold them."""
        return [self.fields[name] for name in columns]

    def count(self, name: str, amount: int) -> None:
        """Add to one of the commit's operation metrics."""
        self.metrics[name] = self.metrics.get(name, 0) + amount

    def file_name(self, kind: str = "part") -> str:
        """A fresh name for a file of rows."""
        return data_file_name(self.attempt_id, kind)

    def write(
        self, columns: Sequence[str], files: Iterable[NewFile], further: Sequence[str] = ()
    ) -> Iterator[WrittenFile]:
        """Write files of rows that come, in their order; see `FileWriter`. Raises MergeFailed where one has not as many
        rows as it was to have: somebody else's, or not all.
        """
        asked: dict[str, int] = {}

        def noted() -> Iterator[NewFile]:
            for file in files:
                self.paths.append(file.path)
                asked[file.path] = file.number
                yield file

        for written in self.writer.write(self.snapshot, self.stored(columns), noted(), further):
            if written.rows != asked[written.path]:
                raise MergeFailed(
                    f"A new file of the table was to hold {asked[written.path]:,} rows and holds {written.rows:,}; "
                    "nothing was committed.",
                    data={"file": written.path},
                )
            self.bytes_written += written.size
            yield written

    def add(self, written: WrittenFile, partition_values: Mapping[str, str | None]) -> None:
        """Name a new file in the log."""
        self.actions.append(
            {
                "add": {
                    "path": log_path(written.path),
                    "partitionValues": dict(partition_values),
                    "size": written.size,
                    "modificationTime": self.now,
                    "dataChange": self.data_change,
                    "stats": written.stats(self.snapshot),
                    **self._fresh_ids.take(written.rows),
                }
            }
        )

    def marked(self, file: DataFile, vector: VectorDescriptor, stats: str, stored: int) -> dict[str, Any]:
        """The action that names a file of so many stored rows again, with another vector: with the row ids that it has,
        if it has any."""
        numbered = {} if "baseRowId" in file.extra else self._fresh_ids.take(stored)
        return {
            "add": {
                "path": file.logged_path,
                "partitionValues": dict(file.partition_values),
                "size": file.size,
                "modificationTime": file.modification_time,
                "dataChange": self.data_change,
                "stats": stats,
                "deletionVector": vector.to_log(),
                **numbered,
                **file.extra,
            }
        }

    def remove(self, file: DataFile) -> None:
        """Take a file, with the vector that it has, out of the log."""
        action: dict[str, Any] = {
            "path": file.logged_path,
            "deletionTimestamp": self.now,
            "dataChange": self.data_change,
            "extendedFileMetadata": True,
            "partitionValues": dict(file.partition_values),
            "size": file.size,
            **{name: file.extra[name] for name in _NUMBERS if name in file.extra},
        }
        if file.vector is not None:
            action["deletionVector"] = file.vector.to_log()
        self.actions.append({"remove": action})

    def remove_rows(self, file: DataFile, named: int, live: int) -> None:
        """Take a file out of the log because `named` rows of it go. Raises as `require_live` does."""
        self.require_live(file, named, live)
        self.rows_removed += named
        self.remove(file)

    def require_live(self, file: DataFile, named: int, live: int) -> None:
        """Raise MergeFailed unless all the rows that were named are `live`, each named once."""
        if live != named:
            raise MergeFailed(
                f"{named} rows of {file.path} were to be removed but only {live} of them are live.",
                data={"table_uri": self.snapshot.uri, "path": file.path},
            )

    def count_rows(self, relation: str) -> int:
        """How many rows a relation has."""
        [(count,)] = self.connection.execute(f"SELECT count(*) FROM {relation}").fetchall()
        return int(count)

    def prepared(self) -> PreparedCommit:
        """What was collected, for `committing`."""
        return PreparedCommit(
            snapshot=self.snapshot,
            attempt_id=self.attempt_id,
            actions=(*self.actions, *self._fresh_ids.actions()),
            paths=tuple(self.paths),
            bytes_written=self.bytes_written,
            rows_removed=self.rows_removed,
            rows_added=self.rows_added,
            metrics=self.metrics,
            rows_miscounted=self.rows_miscounted,
        )
