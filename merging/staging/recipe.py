"""Staging: proposed changes read, typed, checked and written down with the base image of every row.

Nothing is staged unless everything is right; then the content no longer depends on the table's old files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from merging.delta import Snapshot, open_snapshot, stated_ranges
from merging.delta.fields import stored_names
from merging.delta.keys import check_key_columns
from merging.errors import StagingRejected, UnsupportedTable
from merging.model import ColumnAction, EmptyCells, Progress, UnknownColumn
from merging.sql.session import limits, session
from merging.sql.types import is_text
from merging.staging.checking import check_rows, collapse_repeated
from merging.staging.comparison import comparison_of, precision_warnings
from merging.staging.decisions import Decisions
from merging.staging.fitting import check_fit
from merging.staging.guessing import type_new_columns, types_of_unknown
from merging.staging.layout import RowCounts, content_digest
from merging.staging.loading import list_unreadable, load
from merging.staging.mapping import Columns, map_columns, read_column_types, without_types
from merging.staging.ordering import order_by_key, with_rekeyed
from merging.staging.pairing import effects_of, pair_with_base
from merging.staging.pinning import write_base_files
from merging.staging.sources import OPERATION_COLUMN, Blanks, Problems, format_of, open_source
from merging.staging.staged import Staged, new_content, open_for_pages, write_manifest, write_rows
from merging.staging.summary import Summary, summarize
from merging.staging.workbench import Inspection, Workbench


def stage(
    table_uri: str,
    changes: Any,
    primary_keys: Sequence[str],
    base_version: int | None = None,
    destination: str | None = None,
    *,
    storage_options: Mapping[str, str] | None = None,
    null_token: str = "",
    merge_schema: bool = True,
    file_format: str | None = None,
    file_name: str = "",
    column_types: Mapping[str, str] | None = None,
    column_actions: Mapping[str, ColumnAction] | None = None,
    empty_cells: EmptyCells | None = None,
    asks_about_columns: bool = False,
    progress: Progress | None = None,
) -> Staged:
    """Read, type and check proposed changes against a table, pin their base images and write them down.

    ``changes``: a pyarrow Table or RecordBatchReader, a DuckDB relation, or the path of a file (CSV, Parquet, JSON
    lines, Arrow, XLSX) with the key columns, any of the value columns and optionally ``_op`` (``upsert`` by default,
    ``insert``, ``update``, ``delete``). ``null_token`` is what an unquoted CSV cell holds for NULL.
    ``file_format`` (``csv``, ``jsonl``, ``xlsx``, ``parquet``, ``arrow``) is else told by the ending of ``file_name``,
    the name that a file was uploaded under, or of its path; a compressed text is known by its content.
    ``base_version`` is the table version the author worked on (default: the newest). The content is written to a new
    folder under ``destination`` (default: ``_staging`` beside the table). With ``merge_schema`` unknown columns are
    staged as new nullable columns, otherwise they are refused. ``column_types`` says the types of new columns by their
    names in Delta (``decimal(10,2)``); without it a column of texts has the type from which every value comes back
    exactly as it was written, or is text.
    ``column_actions`` say of columns of the content, by their names in it, which of the table they are, or that they
    are new or left out. With ``asks_about_columns`` a column that the table lacks and nobody has decided about is told
    as one of ``Staged.unknown_columns`` and left alone. ``empty_cells`` says what an empty cell of a CSV file (without
    quotes) or a workbook means: the value stays as it is, NULL, or empty text (NULL in columns of other types); without
    it ``null_token`` says. Other formats have no empty cells.

    Raises StagingRejected with every problem by line and column; DuplicateKeys, InvalidKeys, UnsupportedTable,
    TableNotFound. Nothing is left behind then.
    """
    snapshot = open_snapshot(table_uri, version=base_version, storage_options=storage_options)
    snapshot.require_writable()
    check_key_columns(snapshot.schema, list(primary_keys), snapshot.rules.compared_otherwise)
    _refuse_reserved(snapshot)
    problems = Problems()
    decisions = Decisions(column_actions or {}, asks_about_columns)
    chosen = read_column_types({**(column_types or {}), **decisions.types})
    targets = decisions.targets({field.name: field.type for field in snapshot.schema})
    # A column that shall be text takes whatever its cells are; other types ask for cells of their kind.
    targets |= {name: kind for name, kind in chosen.items() if name not in targets and not is_text(kind)}
    source = open_source(
        changes,
        targets,
        problems,
        blanks=Blanks(null_token, empty_cells, _text_columns(targets, decisions, primary_keys)),
        file_format=file_format or format_of(file_name),
        file_name=file_name,
    )
    columns = map_columns(
        source, snapshot, primary_keys, chosen, merge_schema=merge_schema, decisions=decisions
    )
    with new_content(destination, table_uri) as folder:
        with session(memory_limit=limits().staging_memory) as opened:
            bench = Workbench(opened, folder.path, source)
            try:
                content = _content(bench, snapshot, columns, problems, progress)
            except StagingRejected as refusal:
                refusal.unknown_columns = without_types(columns)
                raise
        staged = _described(content, snapshot, str(folder.final), table_uri)
        write_base_files(folder.path, snapshot.files)
        write_manifest(folder.path, staged, snapshot.schema_json)
    return open_for_pages(str(folder.final))  # written by us just now


def _refuse_reserved(snapshot: Snapshot) -> None:
    if OPERATION_COLUMN in snapshot.schema.names:
        raise UnsupportedTable(
            [f"column {OPERATION_COLUMN}"],
            f"The table has a column named {OPERATION_COLUMN}, which uploads use to name the operation of a row.",
        )


def _text_columns(
    targets: Mapping[str, pa.DataType], decisions: Decisions, keys: Sequence[str]
) -> frozenset[str]:
    """The content's columns whose empty cells can be empty texts: a key without anything is a mistake."""
    return frozenset(
        name for name, kind in targets.items() if is_text(kind) and decisions.name_of(name) not in keys
    )


@dataclass(frozen=True)
class _Content:
    """What the stages found: the rows are written."""

    columns: Columns
    digest: str
    counts: RowCounts
    summary: Summary | None
    noop_rows: int
    duplicate_rows: int
    warnings: tuple[str, ...]
    unknown_columns: tuple[UnknownColumn, ...]


def _content(
    bench: Workbench, snapshot: Snapshot, columns: Columns, problems: Problems, progress: Progress | None
) -> _Content:
    """The stages in their order: each takes what the ones before it found. Raises StagingRejected with all problems."""
    opened = bench.session
    opened.expect_columns(len(columns.schema))
    if progress is not None:
        bench.source.tell_rows(lambda rows: progress("reading", rows=rows))
    loaded = load(bench, columns)
    if progress is not None:
        progress("checking", rows=bench.source.rows_read)
    list_unreadable(bench, loaded, columns, problems)
    unknown = types_of_unknown(bench, loaded, columns, zoneless=snapshot.has_zoneless_timestamps)
    typed = type_new_columns(bench, loaded, columns, zoneless=snapshot.has_zoneless_timestamps)
    columns, loaded = typed.columns, typed.loaded
    check_rows(Inspection(opened, loaded.rows, columns, problems))
    distinct = collapse_repeated(bench, loaded.rows, columns, problems)
    comparison = comparison_of(bench, loaded, distinct.rows, columns)
    paired = pair_with_base(bench, distinct.rows, snapshot, comparison, problems)
    check_fit(Inspection(opened, paired, columns, problems), snapshot, comparison, bench.source)
    _refuse(bench, problems)
    effects = effects_of(bench, paired, comparison)
    cut = precision_warnings(bench, paired, comparison, effects.cells_updated)
    ordered = order_by_key(bench, paired, comparison, effects)
    layout = columns.layout
    rows = write_rows(opened, with_rekeyed(bench, ordered, layout).sql, bench.folder)
    ordered.carried.remove()
    counts = ordered.counts(opened, rows, layout)
    digest = content_digest(opened, rows, snapshot.table_id, layout, counts)
    summary = summarize(opened, bench.folder, rows, layout, counts)
    warnings = (*bench.source.warnings, *typed.warnings, *distinct.warnings, *cut, *_moved(counts.rekeyed))
    return _Content(columns, digest, counts, summary, effects.noop_rows, distinct.repeated, warnings, unknown)


def _refuse(bench: Workbench, problems: Problems) -> None:
    if problems.total:
        lines = bench.source.lines(problems.ordinals())
        raise problems.rejection(lines, bench.source.columns)


def _moved(rekeyed: int) -> Iterator[str]:
    if rekeyed:
        rows = "row keeps its content under" if rekeyed == 1 else "rows keep their content under"
        yield f"{rekeyed:,} {rows} another key."


def _described(content: _Content, snapshot: Snapshot, location: str, table_uri: str) -> Staged:
    columns = content.columns
    return Staged(
        location=location,
        digest=content.digest,
        base_version=snapshot.version,
        table_id=snapshot.table_id,
        table_uri=table_uri,
        primary_keys=columns.keys,
        schema=columns.schema,
        base_column_count=columns.base_width,
        columns=tuple(
            column.name
            for column in sorted(columns.inputs, key=lambda one: one.position)
            if not column.computed
        ),
        new_columns=tuple(column.name for column in columns.inputs if column.new),
        counts=content.counts.operations,
        cells_updated=content.counts.cells_updated,
        noop_rows=content.noop_rows,
        duplicate_rows=content.duplicate_rows,
        rekeyed_rows=content.counts.rekeyed,
        has_absent=content.counts.has_absent,
        warnings=content.warnings,
        stored_names=stored_names(snapshot.schema_json),
        summary=content.summary,
        ranges=stated_ranges(snapshot, (column.name for column in columns.values)),
        unknown_columns=content.unknown_columns,
    )
