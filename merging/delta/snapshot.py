"""A table at one version: what every other part of the border works on."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyroaring

from merging.delta.actions import DataFile
from merging.delta.active_files import ActiveFiles
from merging.delta.damage import Damaged, optional_moment
from merging.delta.domains import clustering_columns
from merging.delta.features import (
    Requirements,
    mapping_mode,
    require_mapping,
    require_partitions,
    require_readable,
    required_by,
    supported_features,
    what_to_do,
)
from merging.delta.fields import MappingMode, TableField, table_fields
from merging.delta.footers import read_footer
from merging.delta.log import LoggedCommit, TableState, load_next_state, load_state, read_commit
from merging.delta.naming import folded
from merging.delta.partitions import in_zone, is_instant
from merging.delta.reach import leaving, open_sealed_table, open_table, options_of, require_reach
from merging.delta.row_tracking import RowTracking, row_tracking_of
from merging.delta.rules import TableRules, filled_columns, rules_of
from merging.delta.schema import delta_schema
from merging.delta.strategies import CommitStrategy, strategy_of
from merging.delta.vectors import read_vector, require_room
from merging.errors import TableChanged, UnsupportedTable
from merging.model import FilledColumn
from merging.sql.types import is_text
from merging.store.stores import TableStore

#: The property of tables that let transaction markers go when checkpoints are written.
MARKER_RETENTION = "delta.setTransactionRetentionDuration"


@dataclass(frozen=True)
class FoundTransaction:
    """A transaction marker: its own version (the merge generation) and, where the log still has it, its commit."""

    version: int
    commit_version: int | None
    commit_info: Mapping[str, Any] | None
    timestamp: datetime | None


@dataclass(frozen=True)
class Snapshot:
    """One version of a table, from its log alone.

    `schema` is the exact logical schema; `files` the active data files (their index in this sequence is the
    `file_index` of reads).
    """

    store: TableStore
    uri: str
    version: int
    table_id: str
    name: str
    description: str
    schema: pa.Schema
    schema_json: str
    partition_columns: tuple[str, ...]
    properties: Mapping[str, str]
    protocol: Mapping[str, Any]
    files: ActiveFiles
    timestamp: datetime
    metadata: Mapping[str, Any]
    storage_options: Mapping[str, str] | None = field(repr=False)
    state: TableState = field(repr=False)

    @functools.cached_property
    def row_count(self) -> int:
        """Exact number of rows, without a scan: counts of the log, or Parquet footers where it has none."""
        return self.stored_row_count - int(self.files.numbers("dead").sum())

    @functools.cached_property
    def stored_row_count(self) -> int:
        """The same with the rows that vectors hide."""
        stated, dead = self.files.numbers("records", -1), self.files.numbers("dead")
        in_doubt = np.flatnonzero(stated < dead)  # also where nothing is stated of a file without a vector
        asked = sum(self.physical_records(file) for file in self.files.at(in_doubt))
        return int(stated.sum() - stated[in_doubt].sum()) + asked

    @functools.cached_property
    def size_bytes(self) -> int:
        """Bytes of the active data files; no more than 64 bits hold, whatever a log says."""
        return min(int(sum(self.files.numbers("size").tolist())), 2**63 - 1)

    @functools.cached_property
    def files_elsewhere(self) -> tuple[str, ...]:
        """The paths of its files, as the log spells them, that lie outside of the table's folder."""
        return tuple(leaving(self.store, self.files))

    @functools.cached_property
    def requirements(self) -> Requirements:
        """What the table's protocol, properties and schema ask of a writer."""
        refused = [*self.rules.refused, *self._refused_domains]
        return required_by(self.protocol, self.properties, self.schema_json, self.partition_columns, refused)

    @functools.cached_property
    def clustering_columns(self) -> tuple[tuple[str, ...], ...]:
        """The columns by which the table's files are clustered, each as its path of stored names. Raises Damaged."""
        return clustering_columns(self.state.domains)

    @functools.cached_property
    def row_tracking(self) -> RowTracking | None:
        """How the table tracks its rows; None where it does not. Raises Damaged."""
        features = supported_features(self.protocol)
        return row_tracking_of(features, self.properties, self.state.domains, self.fields, self.files)

    @property
    def _refused_domains(self) -> list[str]:
        refused = []
        for feature, read in (
            ("clustering", lambda: self.clustering_columns),
            ("rowTracking", lambda: self.row_tracking),
        ):
            try:
                read()
            except Damaged as damage:
                refused.append(f"{feature}: {damage.message}")
        return refused

    @functools.cached_property
    def rules(self) -> TableRules:
        """The conditions and generated columns that the table's own expressions make."""
        return rules_of(self.schema, self.schema_json, self.properties)

    @property
    def constraints(self) -> Mapping[str, str]:
        """CHECK constraints by name."""
        prefix = "delta.constraints."
        return {
            name.removeprefix(prefix): value
            for name, value in self.properties.items()
            if name.startswith(prefix)
        }

    @functools.cached_property
    def generated_columns(self) -> Mapping[str, str]:
        """The expressions of columns that the table computes, by column name."""
        return {
            item["name"]: item["metadata"]["delta.generationExpression"]
            for item in json.loads(self.schema_json)["fields"]
            if "delta.generationExpression" in (item.get("metadata") or {})
        }

    @functools.cached_property
    def filled_columns(self) -> Mapping[str, FilledColumn]:
        """The columns that the table fills itself where a new row says nothing of them, by name."""
        return filled_columns(self.schema_json)

    @property
    def columns_without_values(self) -> frozenset[str]:
        """The columns whose values are the table's alone: it computes them, or numbers every row itself."""
        return frozenset(name for name, made in self.filled_columns.items() if not made.takes_values)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the table features in use, for people."""
        return self.requirements.in_use

    @property
    def change_data_feed(self) -> bool:
        """Whether commits must carry the change data feed."""
        return self.requirements.change_data_feed

    @property
    def append_only(self) -> bool:
        """Whether updates and deletes are forbidden by `delta.appendOnly`."""
        return self.requirements.append_only

    @property
    def blanks_in_names(self) -> bool:
        """Whether a column's name may hold blanks: Parquet's own names may not (PROTOCOL.md, "Column Mapping")."""
        return self.properties.get("delta.columnMapping.mode", "none") != "none"

    @property
    def has_zoneless_timestamps(self) -> bool:
        """Whether the table has the feature that `timestamp_ntz` asks for."""
        return "timestampNtz" in (self.protocol.get("writerFeatures") or ())

    def next_moment(self, now_ms: int) -> int:
        """When a commit on top of this version, made now, says that it was made (milliseconds since 1970).

        Where the table orders its versions by what they say of themselves, later than this one says, whatever the
        clocks of those who wrote it (PROTOCOL.md, "In-Commit Timestamps").
        """
        if not self.requirements.in_commit_timestamps:
            return now_ms
        stated = self.properties.get("delta.inCommitTimestampEnablementTimestamp", "")
        # The commit before may be gone, in a checkpoint. What is no moment that can be shown is damage.
        enabled = (optional_moment(int(stated)) or 0) if stated.isdecimal() and len(stated) < 20 else 0
        return max(now_ms, _to_ms(self.timestamp) + 1, enabled + 1)

    @property
    def attempt_id(self) -> str:
        """The attempt of ours that made this version; empty where it was somebody else, or the log does not tell."""
        return str(self._commit_info.get("attemptId", ""))

    @property
    def mark(self) -> str:
        """What tells this version from another one that has its number some day: in a table that is put back from a
        backup numbers are given again."""
        return f"{self.version} {self.timestamp.isoformat()} {self._commit_info.get('txnId', '')}"

    @property
    def _commit_info(self) -> Mapping[str, Any]:
        return {} if self.state.newest is None else self.state.newest.info

    def strategy(self) -> CommitStrategy:
        """How a merge writes this table. Raises as `require_writable` does."""
        self.require_writable()
        return strategy_of(deletion_vectors=self.requirements.deletion_vectors)

    def require_writable(self) -> None:
        """Raise UnsupportedTable, naming the features, where nothing that we have can write this table."""
        refused = self.requirements.refused
        if refused:
            message = f"Headgate cannot write this table; it uses: {', '.join(refused)}.{what_to_do(refused)}"
            raise UnsupportedTable(refused, message)
        self.require_partitions()

    def partition_text(self, file: DataFile, name: str) -> str | None:
        """A file's value of a partition column, by its logical name, as DuckDB casts it; None for NULL.

        An empty text is NULL by PROTOCOL.md ("Partition Value Serialization"). Of a column of texts, where delta-rs
        writes it, everybody reads it as what it is (Spark, delta-rs, Polars), and so it stays.
        Raises UnsupportedTable as `in_zone` does.
        """
        value = file.partition_values.get(self.physical_names[name])
        data_type = self.schema.field(name).type
        if value is None or (value == "" and not is_text(data_type)):
            return None
        if is_instant(data_type):
            value = in_zone(self.properties, name, value)
        # Spark writes one before years of five digits, and DuckDB reads none.
        return value.removeprefix("+") if pa.types.is_temporal(data_type) else value

    def require_partitions(self) -> None:
        """Raise UnsupportedTable where a partition value is an instant of which nobody can say which, or stands under
        its column's name in other letters: those who look for the name find no value, and those who do not find it."""
        stored = {self.physical_names[name]: name for name in self.partition_columns}
        alike = {folded(one): name for one, name in stored.items()}
        for spelled in self.files.partition_names() - stored.keys():
            if name := alike.get(folded(spelled)):
                raise UnsupportedTable(
                    [f"partition values under another name ({spelled})"],
                    f"The log has values of the partition column {name} under the name {spelled}, where readers look "
                    "for none: to some of them they are NULL. Have those files written again by whoever wrote them.",
                )
        for name in self.partition_columns:
            if is_instant(self.schema.field(name).type):
                texts = self.files.partition_texts(self.physical_names[name])
                for value in pc.unique(texts).to_pylist():
                    if value:
                        in_zone(self.properties, name, value)

    def physical_records(self, file: DataFile) -> int:
        """Rows stored in a data file, those that a vector hides included: by the log where its word can be right.

        The log's count is a statistic: who does more than show it asks `stored_records`.
        """
        if file.num_records is None or file.num_records < file.dead_rows:
            return self.stored_records(file)
        return file.num_records

    def stored_records(self, file: DataFile) -> int:
        """Rows stored in a data file by its own footer. Raises MergeFailed where that cannot be read, or where the
        file's vector marks more: a table would seem to have fewer rows than none."""
        rows = read_footer(self.store, file).rows
        if file.vector is not None:
            require_room(self.store, file.vector, rows)
        return rows

    def dead_rows(self, file: DataFile) -> pyroaring.BitMap64:
        """The numbers of the rows that a data file's vector hides, which are no more than the file has: a vector of a
        few bytes can say of billions that they are gone. Raises as `stored_records` and `read_vector` do."""
        if file.vector is None:
            return pyroaring.BitMap64()
        self.stored_records(file)
        return read_vector(self.store, file.vector)

    def live_records(self, file: DataFile) -> int:
        """Rows of a data file that readers see."""
        return self.physical_records(file) - file.dead_rows

    @property
    def mapping_mode(self) -> MappingMode:
        """How columns are found in data files: by their names, by stored names, or by field ids."""
        stated = mapping_mode(self.protocol, self.properties)
        return "id" if stated == "id" else "name" if stated == "name" else "none"

    @functools.cached_property
    def fields(self) -> tuple[TableField, ...]:
        """The columns with their stored names and field ids, at every depth."""
        return table_fields(self.schema_json, self.schema, self.mapping_mode)

    @functools.cached_property
    def physical_names(self) -> Mapping[str, str]:
        """Stored name of every top-level column; differs from the logical one under column mapping."""
        return {one.name: one.stored_name for one in self.fields}

    @functools.cached_property
    def comments(self) -> Mapping[str, str]:
        """Column comments."""
        fields = json.loads(self.schema_json)["fields"]
        return {
            item["name"]: item["metadata"]["comment"]
            for item in fields
            if isinstance((item.get("metadata") or {}).get("comment"), str)
        }

    def find_transaction(self, application_id: str) -> FoundTransaction | None:
        """The newest transaction marker of `application_id` up to this version, with the commit that made it.

        Markers survive checkpoints, commits do not: `commit_version` is None when its JSON is gone. Where the table
        lets markers expire, a checkpoint may have left one out whose commit is still there: it counts all the same.
        """
        marker = self.state.transactions.get(application_id)
        if marker is None and not self.markers_expire:
            return None
        version, last_updated = marker or (None, None)
        found = self._commit_with(application_id, version)
        if found is not None:
            made, commit = found
            return FoundTransaction(made, commit.version, commit.info, _from_ms(commit.timestamp_ms))
        if version is None:
            return None
        return FoundTransaction(version, None, None, _from_ms(last_updated) if last_updated else None)

    @property
    def markers_expire(self) -> bool:
        """Whether the table lets checkpoints leave old transaction markers out."""
        return MARKER_RETENTION in self.properties

    def _commit_with(self, application_id: str, version: int | None) -> tuple[int, LoggedCommit] | None:
        """The newest commit with the marker (of that version, or of any), and the marker's version."""
        told = self.state.marked_in.get(application_id)
        begun = self.state.checkpoint_version
        # What came after the checkpoint was replayed: there it is told, or it is not.
        for number in range(-1 if begun is None else begun, -1, -1) if told is None else (told,):
            try:
                commit = read_commit(self.store, number)
            except FileNotFoundError:
                return None
            found = commit.markers.get(application_id)
            if found is not None and version in (None, found):
                return found, commit
        return None


def open_snapshot(
    table_uri: str, *, version: int | None = None, storage_options: Mapping[str, str] | None = None
) -> Snapshot:
    """The table at `version` (None: the newest), read from its log.

    Raises TableNotFound, TableChanged (gap or damage in the log), UnsupportedTable (a reader feature or
    column type that we cannot read right), FilesElsewhere (files outside of a table that may not have such),
    TableElsewhere (it lies where it may not).
    """
    options = options_of(table_uri, storage_options)
    return snapshot_in(open_table(table_uri, options), table_uri, version, options)


def open_sealed_snapshot(
    table_uri: str, *, version: int | None = None, storage_options: Mapping[str, str] | None = None
) -> Snapshot:
    """The same, whose files DuckDB can only read, and by no other names than `engine_paths`: for locked sessions."""
    options = options_of(table_uri, storage_options)
    return snapshot_in(open_sealed_table(table_uri, options), table_uri, version, options)


def snapshot_in(
    store: TableStore,
    table_uri: str,
    version: int | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> Snapshot:
    """The same, in a store that is open already."""
    state = load_state(store, version)
    return snapshot_of(store, table_uri, state, storage_options)


def snapshot_after(before: Snapshot) -> Snapshot:
    """The version that follows, from what is known of this one and the one commit. Raises as `open_snapshot` does."""
    state = load_next_state(before.store, before.state)
    return snapshot_of(before.store, before.uri, state, before.storage_options)


def snapshot_of(
    store: TableStore, table_uri: str, state: TableState, storage_options: Mapping[str, str] | None
) -> Snapshot:
    """The snapshot of a replayed state.

    Raises TableChanged where its metadata is damaged, UnsupportedTable for what we cannot read right, FilesElsewhere
    where files lie outside of a table that may not have such.
    """
    metadata = state.metadata
    require_reach(store, state.files)
    require_readable(state.protocol, metadata)
    schema_json = metadata["schemaString"]
    partition_columns = tuple(metadata.get("partitionColumns") or ())
    properties = dict(metadata.get("configuration") or {})
    try:
        schema = delta_schema(schema_json)
        require_partitions(schema, partition_columns)
        require_mapping(schema_json, mapping_mode(state.protocol, properties))
    except Damaged as damage:
        raise TableChanged(
            f"The log of {table_uri} is damaged, {state.metadata_place}: {damage.message}.",
            data={"table_uri": table_uri, "version": state.version, "place": state.metadata_place},
        ) from damage
    if state.newest is not None:
        made = state.newest.timestamp_ms
    else:
        made = int(state.files.numbers("modified").max(initial=0))
    return Snapshot(
        store=store,
        uri=table_uri,
        version=state.version,
        table_id=metadata["id"],
        name=metadata.get("name") or "",
        description=metadata.get("description") or "",
        schema=schema,
        schema_json=schema_json,
        partition_columns=partition_columns,
        properties=properties,
        protocol=state.protocol,
        files=state.files,
        timestamp=_from_ms(made),
        metadata=metadata,
        storage_options=storage_options,
        state=state,
    )


def _to_ms(moment: datetime) -> int:
    return (moment - datetime.fromtimestamp(0, tz=UTC)) // timedelta(milliseconds=1)


def _from_ms(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
