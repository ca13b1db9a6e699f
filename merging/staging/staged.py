"""Staged content on disk: what a change request proposes, with the base images it was made from.

A staged folder holds ``rows.parquet`` (see ``layout``), ``base_files.parquet`` (see ``pinning``), for large content the
files of its ``summary`` and, written last, ``manifest.json`` with the checksums of all.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from merging.delta.fields import stored_names
from merging.delta.rules import filled_columns
from merging.delta.schema import delta_schema
from merging.delta.statistics import Range
from merging.errors import StagedCorrupt
from merging.model import ChangedRow, ChangesFilter, ChangesPage, Operation, UnknownColumn, ValueGroup
from merging.sql.parsing import Refused, cell_value
from merging.sql.quoting import column_sql, literal
from merging.sql.session import Session, session
from merging.sql.types import delta_field, type_name
from merging.sql.values import json_form
from merging.staging.layout import Layout, nulled_cells
from merging.staging.pages import Pages
from merging.staging.summary import GROUPS, MARKS, Summary
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
ALL_CHANGES = ChangesFilter()
MANIFEST = "manifest.json"
ROWS = "rows.parquet"
BASE_FILES = "base_files.parquet"
_ROWS_PER_GROUP = 4_096  # a page of rows that are far apart reads a group for each of them
_BYTES_PER_GROUP = 16 << 20


@dataclass(frozen=True)
class Staged:
    """Immutable staged content. ``rows`` counts what it would change; rows that already equal the base are not in it.

    ``digest`` stands for the content: the same changes give the same digest whatever their order or file format.
    ``ranges`` are the least and the greatest value that columns of numbers, days and moments had in the table at the
    base, where its files say so.
    ``filled_columns`` are those that the table filled itself at the base where a new row says nothing of them.
    ``unknown_columns`` were left alone until somebody decides about them: what has any is to be looked at, not merged.
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
    stored_names: Mapping[str, str]
    summary: Summary | None = None
    ranges: Mapping[str, Range] = dataclasses.field(default_factory=dict)
    unknown_columns: tuple[UnknownColumn, ...] = ()
    filled_columns: frozenset[str] = frozenset()

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
        names = self.schema.names
        return tuple(names.index(name) for name in self.primary_keys)

    @property
    def staged_positions(self) -> tuple[int, ...]:
        """Where the staged value columns stand in ``schema``."""
        given = set(self.columns) - set(self.primary_keys)
        return tuple(position for position, name in enumerate(self.schema.names) if name in given)

    @property
    def layout(self) -> Layout:
        """What the columns of the rows are."""
        return Layout(self.primary_keys, self.schema, self.base_column_count, self.staged_positions)

    @property
    def row_width(self) -> int:
        """About how many bytes a row takes, its base image beside what is proposed."""
        metadata = pq.read_metadata(self.rows_path)
        sizes: list[int] = [
            metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)
        ]
        rows: int = metadata.num_rows
        return sum(sizes) // max(1, rows)

    def source_sql(self) -> str:
        """The rows as a DuckDB table function."""
        return f"read_parquet({literal(self.rows_path)})"

    def base_sql(self, position: int) -> str:
        """SQL of a column's base value in ``rows.parquet``."""
        name = self.schema.field(position).name
        if name in self.primary_keys:
            return f"k{self.primary_keys.index(name)}"
        return f"b{position}"

    @property
    def _pages(self) -> Pages:
        return Pages(
            self.location,
            self.source_sql(),
            self.layout,
            self.counts,
            self.cells_updated,
            self.summary,
            self.ranges,
            self.filled_columns,
        )

    def page(
        self,
        wanted: ChangesFilter = ALL_CHANGES,
        *,
        after: str | None = None,
        limit: int = 100,
    ) -> ChangesPage[ChangedRow]:
        """Changed rows in key order, base against proposed: those that the filter lets through.

        ``after`` is a cursor of an earlier page, of the one after or before it. Raises InvalidFilter, InvalidCursor.
        """
        return self._pages.page(wanted, after, limit)

    def matching(self, wanted: ChangesFilter) -> str:
        """SQL relation of the numbers (``n``) of the rows that a filter lets through. Raises InvalidFilter."""
        return self._pages.matching(wanted)

    def row(self, key: Mapping[str, Any]) -> ChangedRow | None:
        """What the content does to the row of a key (values of the key columns' types); None where it does nothing."""
        return self._pages.row(key)

    def cells_becoming_null(self) -> dict[str, int]:
        """How many cells of updated rows would become NULL, by column (those with any)."""
        with session() as opened:
            return nulled_cells(opened, self.source_sql(), self.layout)

    def value_groups(self, limit: int = 50) -> tuple[ValueGroup, ...]:
        """Equal edits taken together, the most frequent first."""
        return self._pages.value_groups(limit)


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


def write_rows(opened: Session, query: str, folder: Path) -> str:
    """Write ``rows.parquet``, flushed to disk, with the rows of a query in its order; return the SQL that reads it."""
    path = folder / ROWS
    # The second version of the format has encodings for numbers in order and texts alike: smaller, quicker to read.
    # What they leave is compressed as well by the least effort as by more.
    opened.execute(
        f"COPY ({query}) TO {literal(str(path))} "
        f"(FORMAT parquet, PARQUET_VERSION V2, ROW_GROUP_SIZE {_ROWS_PER_GROUP}, "
        f"ROW_GROUP_SIZE_BYTES {_BYTES_PER_GROUP}, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
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
        "ranges": {name: [json_form(bound) for bound in found] for name, found in staged.ranges.items()},
        "files": {
            name: file_facts(folder / name)
            for name in (ROWS, BASE_FILES, MARKS, GROUPS)
            if (folder / name).is_file()
        },
    }
    if staged.summary is not None:
        content["summary"] = {
            "operations": sorted(staged.summary.operations),
            "columns": sorted(staged.summary.columns),
        }
    if staged.unknown_columns:
        content["unknown_columns"] = [vars(column) for column in staged.unknown_columns]
    write_json(folder / MANIFEST, sealed(content))


def open_staged(location: str) -> Staged:
    """Open staged content by its location and verify it whole: for whoever decides by it.

    Raises StagedCorrupt when a file is missing, truncated or changed since it was staged.
    """
    content = _read_manifest(location)
    for name, facts in content["files"].items():
        if file_facts(_folder(location) / name) != facts:
            raise _changed(location, name)
    return _staged(location, content)


def open_for_pages(location: str) -> Staged:
    """Open staged content to show pages of it: its manifest is verified, of its files only the sizes are, so that a
    page of large content costs a page. Whoever decides by the content opens it with ``open_staged``.

    Raises StagedCorrupt when the manifest was changed, or a file is missing or truncated.
    """
    return _staged(location, _read_manifest(location))


def base_schema_of(location: str) -> str:
    """The schema of the base version, in Delta's JSON. Raises StagedCorrupt."""
    return json.dumps(_read_manifest(location)["base_schema"])


def _folder(location: str) -> Path:
    return Path(location.removeprefix("file://"))


def _changed(location: str, name: str) -> StagedCorrupt:
    return StagedCorrupt(f"The file {name} of the staged content at {location} is truncated or was changed.")


def _read_manifest(location: str) -> dict[str, Any]:
    """The manifest, if it is what was written and the files that it names have their sizes."""
    folder = _folder(location)
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
        if (folder / name).stat().st_size != facts["size"]:
            raise _changed(location, name)
    return content


def _staged(location: str, content: Mapping[str, Any]) -> Staged:
    base_schema = delta_schema(json.dumps(content["base_schema"]))
    new_schema = delta_schema(json.dumps({"fields": content["new_fields"]}))
    schema = pa.schema([*base_schema, *new_schema])
    keys = tuple(content["primary_keys"])
    filled = filled_columns(json.dumps(content["base_schema"]))
    return Staged(
        location=str(_folder(location)),
        digest=content["digest"],
        base_version=content["base_version"],
        table_id=content["table_id"],
        table_uri=content["table_uri"],
        primary_keys=keys,
        schema=schema,
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
        stored_names=stored_names(json.dumps(content["base_schema"])),
        summary=_summary(content.get("summary")),
        ranges=_ranges(content.get("ranges", {}), schema),
        unknown_columns=tuple(UnknownColumn(**one) for one in content.get("unknown_columns", ())),
        filled_columns=frozenset(filled) - set(keys),
    )


def _ranges(content: Mapping[str, list[Any]], schema: pa.Schema) -> dict[str, Range]:
    """Ranges as values, but for those of which a bound lies beyond the calendar: a hint is no reason to refuse."""
    found: dict[str, Range] = {}
    for name, (low, high) in content.items():
        with suppress(Refused):
            found[name] = (
                cell_value(low, schema.field(name).type),
                cell_value(high, schema.field(name).type),
            )
    return found


def _summary(content: Mapping[str, Any] | None) -> Summary | None:
    if content is None:
        return None
    return Summary(frozenset(content["operations"]), frozenset(content["columns"]))


def key_columns_sql(staged: Staged) -> str:
    """SQL list of the key columns under their labels."""
    return ", ".join(f"k{index} AS {column_sql(name)}" for index, name in enumerate(staged.primary_keys))
