"""Staged content on disk: what a change request proposes, with the base images it was made from.

A staged folder holds ``rows.parquet`` (see ``layout``), ``base_files.parquet`` (see ``pinning``) and, written last,
``manifest.json`` with the checksums of all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from merging.delta.schema import delta_schema
from merging.errors import StagedCorrupt
from merging.model import ChangedRow, Operation, Page, Sides, ValueGroup
from merging.sql.cursors import make_cursor, read_cursor
from merging.sql.equality import differs, same_value
from merging.sql.quoting import column_sql, literal
from merging.sql.session import Session, session, tuples
from merging.sql.types import delta_field, type_name
from merging.staging.layout import Layout
from merging.store.publishing import (
    NewFolder,
    file_facts,
    flush_file,
    is_sealed,
    local_folder,
    new_folder,
    sealed,
    write_json,
)

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
ROWS = "rows.parquet"
BASE_FILES = "base_files.parquet"
_ROWS_PER_GROUP = 50_000
_BYTES_PER_GROUP = 16 << 20


@dataclass(frozen=True)
class Staged:
    """Immutable staged content. ``rows`` counts what it would change; rows that already equal the base are not in it.

    ``digest`` stands for the content: the same changes give the same digest whatever their order or file format.
    """

    location: str
    digest: str
    base_version: int
    table_id: str
    table_uri: str
    primary_keys: tuple[str, ...]
    schema: pa.Schema
    base_column_count: int
    columns: tuple[str, ...]
    new_columns: tuple[str, ...]
    counts: Mapping[Operation, int]
    cells_updated: Mapping[str, int]
    noop_rows: int
    duplicate_rows: int
    rekeyed_rows: int
    has_absent: bool
    warnings: tuple[str, ...]
    column_ids: Mapping[str, int]

    @property
    def rows(self) -> int:
        """How many rows the content changes."""
        return sum(self.counts.values())

    @property
    def new_column_types(self) -> dict[str, str]:
        """The types of the new columns, by Delta's names for them."""
        return {name: type_name(self.schema.field(name).type) for name in self.new_columns}

    @property
    def rows_path(self) -> str:
        """The file with the rows."""
        return os.path.join(self.location, ROWS)

    @property
    def key_positions(self) -> tuple[int, ...]:
        """Where the key columns stand in ``schema``, in the order of ``primary_keys``."""
        return tuple(self.schema.names.index(name) for name in self.primary_keys)

    @property
    def staged_positions(self) -> tuple[int, ...]:
        """Where the staged value columns stand in ``schema``."""
        keys = set(self.primary_keys)
        return tuple(
            position
            for position, name in enumerate(self.schema.names)
            if name in self.columns and name not in keys
        )

    @property
    def layout(self) -> Layout:
        """What the columns of the rows are."""
        return Layout(self.primary_keys, self.schema, self.base_column_count, self.staged_positions)

    def source_sql(self) -> str:
        """The rows as a DuckDB table function."""
        return f"read_parquet({literal(self.rows_path)})"

    def base_sql(self, position: int) -> str:
        """SQL of a column's base value in ``rows.parquet``."""
        name = self.schema.names[position]
        if name in self.primary_keys:
            return f"k{self.primary_keys.index(name)}"
        return f"b{position}"

    def page(
        self,
        *,
        operation: Operation | None = None,
        column: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[ChangedRow]:
        """Changed rows in key order, base against proposed; filtered by operation or by a changed column."""
        start = read_cursor(after, "staged", 1)[0] if after else -1
        conditions = [f"n > {start}"]
        if operation is not None:
            conditions.append(f"op = {literal(operation)}")
        if column is not None:
            conditions.append(self._changes(column))
        with session() as opened:
            opened.expect_columns(len(self.schema))
            found = opened.table(
                f"SELECT * FROM {self.source_sql()} WHERE {' AND '.join(conditions)} ORDER BY n LIMIT {limit + 1}"
            )
        names = found.column_names
        rows = [dict(zip(names, values, strict=True)) for values in tuples(found)]
        items = tuple(self._changed_row(row) for row in rows[:limit])
        return Page(items, make_cursor("staged", rows[limit - 1]["n"]) if len(rows) > limit else None)

    def value_groups(self, limit: int = 50) -> tuple[ValueGroup, ...]:
        """Equal edits taken together, the most frequent first."""
        groups: list[ValueGroup] = []
        with session() as opened:
            # A column without an updated cell has no groups, and wide tables have thousands of those.
            for name in self.cells_updated:
                position = self.schema.names.index(name)
                old = f"b{position}" if position < self.base_column_count else "NULL"
                found = opened.table(
                    f"SELECT {old} AS old, p{position} AS new, count(*) AS number FROM {self.source_sql()} "
                    f"WHERE op = 'update' AND {self._changes(name)} GROUP BY ALL ORDER BY number DESC LIMIT {limit}"
                )
                groups += [ValueGroup(name, old, new, rows) for old, new, rows in tuples(found)]
        groups.sort(key=lambda group: (-group.rows, group.column))
        return tuple(groups[:limit])

    def _changes(self, column: str) -> str:
        """SQL: the row changes the column (a deleted row changes all of them)."""
        if column not in self.schema.names:
            return "false"
        position = self.schema.names.index(column)
        if position not in self.staged_positions:
            return "op = 'delete'" if position < self.base_column_count else "false"
        base = f"b{position}" if position < self.base_column_count else "NULL"
        return f"(op = 'delete' OR {differs(base, f'p{position}', self.schema.field(position).type)})"

    def _changed_row(self, row: Mapping[str, Any]) -> ChangedRow:
        operation: Operation = row["op"]
        key = {name: row[f"k{position}"] for position, name in enumerate(self.primary_keys)}
        base: dict[str, Any] | None = None
        proposed: dict[str, Any] | None = None
        if operation != "insert":
            base = {
                name: key[name] if name in key else row[f"b{position}"]
                for position, name in enumerate(self.schema.names[: self.base_column_count])
            }
        if operation != "delete":
            given = {self.schema.names[position]: row[f"p{position}"] for position in self.staged_positions}
            unstaged = base or {}
            proposed = {
                name: key[name] if name in key else given[name] if name in given else unstaged.get(name)
                for name in self.schema.names
            }
        changed = tuple(
            name
            for name in self.schema.names
            if name not in key and not same_value((base or {}).get(name), (proposed or {}).get(name))
        )
        return ChangedRow(key, operation, changed, Sides(base, None, proposed))


@contextmanager
def new_content(destination: str | None, table_uri: str) -> Iterator[NewFolder]:
    """A folder for new staged content under ``destination`` (default: ``_staging`` beside the table), published where
    the block ends well.
    """
    place = local_folder(table_uri if destination is None else destination, "Staged content is")
    with new_folder(
        place.resolve().parent / "_staging" if destination is None else place, "staged"
    ) as folder:
        yield folder


def write_rows(opened: Session, query: str, folder: Path, row_width: int = 0) -> str:
    """Write ``rows.parquet``, flushed to disk, with the rows of a query in its order (``row_width`` bytes or so a row);
    return the SQL that reads it.
    """
    path = folder / ROWS
    rows = max(1, min(_ROWS_PER_GROUP, _BYTES_PER_GROUP // max(1, row_width)))
    opened.execute(
        f"COPY ({query}) TO {literal(str(path))} (FORMAT parquet, ROW_GROUP_SIZE {rows}, COMPRESSION zstd)"
    )
    flush_file(path)
    return f"read_parquet({literal(str(path))})"


def write_manifest(folder: Path, staged: Staged, base_schema_json: str) -> None:
    """Write ``manifest.json``, the last file of a staged folder, flushed to disk."""
    new_fields = [delta_field(staged.schema.field(name)) for name in staged.new_columns]
    content: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "digest": staged.digest,
        "base_version": staged.base_version,
        "table_id": staged.table_id,
        "table_uri": staged.table_uri,
        "primary_keys": list(staged.primary_keys),
        "base_schema": json.loads(base_schema_json),
        "new_fields": new_fields,
        "columns": list(staged.columns),
        "counts": dict(staged.counts),
        "cells_updated": dict(staged.cells_updated),
        "noop_rows": staged.noop_rows,
        "duplicate_rows": staged.duplicate_rows,
        "rekeyed_rows": staged.rekeyed_rows,
        "has_absent": staged.has_absent,
        "warnings": list(staged.warnings),
        "files": {name: file_facts(folder / name) for name in (ROWS, BASE_FILES)},
    }
    write_json(folder / MANIFEST, sealed(content))


def open_staged(location: str) -> Staged:
    """Open staged content by its location and verify it whole.

    Raises StagedCorrupt when a file is missing, truncated or changed since it was staged.
    """
    folder = Path(location.removeprefix("file://"))
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StagedCorrupt(f"There is no staged content at {location}: {MANIFEST} is missing.") from error
    except (ValueError, OSError) as error:
        raise StagedCorrupt(f"The manifest of the staged content at {location} is damaged.") from error
    if not isinstance(content, dict) or not is_sealed(content):
        raise StagedCorrupt(
            f"The manifest of the staged content at {location} was changed after it was staged."
        )
    if content["format"] != FORMAT_VERSION:
        raise StagedCorrupt(
            f"The staged content at {location} has format {content['format']}, which is not known."
        )
    for name, facts in content["files"].items():
        if not (folder / name).is_file():
            raise StagedCorrupt(f"The staged content at {location} lacks its file {name}.")
        if file_facts(folder / name) != facts:
            raise StagedCorrupt(
                f"The file {name} of the staged content at {location} is truncated or was changed."
            )
    base_schema = delta_schema(json.dumps(content["base_schema"]))
    new_schema = delta_schema(json.dumps({"fields": content["new_fields"]}))
    return Staged(
        location=str(folder),
        digest=content["digest"],
        base_version=content["base_version"],
        table_id=content["table_id"],
        table_uri=content["table_uri"],
        primary_keys=tuple(content["primary_keys"]),
        schema=pa.schema([*base_schema, *new_schema]),
        base_column_count=len(base_schema),
        columns=tuple(content["columns"]),
        new_columns=tuple(new_schema.names),
        counts=content["counts"],
        cells_updated=content["cells_updated"],
        noop_rows=content["noop_rows"],
        duplicate_rows=content["duplicate_rows"],
        rekeyed_rows=content["rekeyed_rows"],
        has_absent=content["has_absent"],
        warnings=tuple(content["warnings"]),
        column_ids=column_ids(json.dumps(content["base_schema"])),
    )


def column_ids(schema_json: str) -> dict[str, int]:
    """Stable column ids by name, where the table has column mapping (PROTOCOL.md, "Column Mapping")."""
    found = {}
    for field in json.loads(schema_json)["fields"]:
        identity = field.get("metadata", {}).get("delta.columnMapping.id")
        if identity is not None:
            found[field["name"]] = int(identity)
    return found


def key_columns_sql(staged: Staged) -> str:
    """SQL list of the key columns under their labels."""
    return ", ".join(f"k{index} AS {column_sql(name)}" for index, name in enumerate(staged.primary_keys))
