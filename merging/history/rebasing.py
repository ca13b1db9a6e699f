"""Rebase: the same proposal on the base images of today.

Rows without conflict get the table's present row as their base: what they edit stays proposed, what they do not edit
follows the table, and what the table has already is left out. A row in conflict keeps the base it was made from, so
that the conflict stays to be decided, and a choice made for it (bound to the same three values) goes on counting.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from merging.delta import stated_ranges
from merging.delta.fields import stored_names
from merging.delta.schema import delta_schema
from merging.errors import MergeConflict
from merging.model import ChangedRow, Operation, Row, Sides
from merging.sql.equality import same_value
from merging.sql.types import null_of
from merging.staging.layout import Layout, content_digest, count_rows
from merging.staging.pinning import ABSENT, write_base_files
from merging.staging.staged import Staged, new_content, open_for_pages, write_manifest, write_rows
from merging.staging.summary import summarize
from merging.store.publishing import NewFolder
from merging.threeway.alignment import MergedColumn
from merging.threeway.plan import MergePlan, plan
from merging.threeway.request import MergeRequest
from merging.threeway.sides import SIDE_LETTERS, current_edits, disagree, edits


@dataclass(frozen=True)
class Underneath:
    """What happened in the table to the rows of a request since its base images were taken.

    ``rows_moved`` of its rows are not as they were; ``cells_moved`` counts the moved cells by column and
    ``cells_edited`` those among them that the request edits too. ``examples`` are the first moved rows: base, current
    and proposed, with the moved columns as ``changed``.
    """

    base_version: int
    version: int
    rows_moved: int
    rows_settled: int
    conflicts: int
    cells_moved: Mapping[str, int]
    cells_edited: Mapping[str, int]
    columns_gained: tuple[str, ...]
    examples: tuple[ChangedRow, ...]


@dataclass(frozen=True)
class Rebased:
    """The content on today's base images. ``rows_settled`` rows were in the table already and are left out;
    ``rows_kept`` rows are in conflict and keep their old base.
    """

    staged: Staged
    rows_moved: int
    rows_settled: int
    rows_kept: int


def changes_under(request: MergeRequest, *, examples: int = 100) -> Underneath:
    """What moved under a request since its base; writes nothing. Raises as ``plan`` does, MergeConflict where a
    conflict of the schema has to be decided first.
    """
    with _planned(request) as made:
        opened = made.session
        based = [column for column in made.alignment.values if column.in_base]
        stood = "here AND op <> 'insert'"
        edited_here = [
            f"(op = 'delete' OR {edits(column) if column.staged else 'false'}) AND {current_edits(column)}"
            for column in based
        ]
        moved = opened.counts(f"FROM moves WHERE {stood}", [current_edits(column) for column in based])
        edited = opened.counts(f"FROM moves WHERE {stood}", edited_here)
        found = opened.rows(f"SELECT * FROM moves WHERE moved ORDER BY n LIMIT {examples}")
        return Underneath(
            base_version=made.staged.base_version,
            version=made.version,
            rows_moved=opened.number("SELECT count(*) FROM moves WHERE moved"),
            rows_settled=opened.number("SELECT count(*) FROM moves WHERE settled"),
            conflicts=len(made.conflicts),
            cells_moved=_by_name(based, moved),
            cells_edited=_by_name(based, edited),
            columns_gained=tuple(
                column.name for column in made.alignment.values if not column.in_base and not column.added
            ),
            examples=tuple(_example(made, row) for row in found),
        )


def _by_name(columns: Sequence[MergedColumn], numbers: Sequence[int]) -> dict[str, int]:
    return {column.name: number for column, number in zip(columns, numbers, strict=True) if number}


def rebase(request: MergeRequest, destination: str | None = None) -> Rebased:
    """Stage the request's content again on the table's present rows, as new staged content.

    Where nothing moved under it the digest stays the same, so that what was approved stays approved. Raises as
    ``plan`` does, MergeConflict where a conflict of the schema has to be decided first.
    """
    with _planned(request) as made, new_content(destination, request.table_uri) as folder:
        result = _write(made, folder)
    return replace(result, staged=open_for_pages(str(folder.final)))  # written by us just now


@contextmanager
def _planned(request: MergeRequest) -> Iterator[MergePlan]:
    """The plan with ``moves``; conflicts are looked for whether or not the merge will."""
    with plan(replace(request, skip_conflict_check=False)) as made:
        _compare(made)
        yield made


def _compare(made: MergePlan) -> None:
    """Make ``fates``, what became of each row: moved, in conflict, settled (in the table already); and ``moves``,
    ``joined`` with them.
    """
    if made.alignment.conflicts:
        raise MergeConflict(made.unresolved_conflicts(), total=made.unresolved)
    values = made.alignment.values
    staged = [column for column in values if column.staged]
    moved = " OR ".join(current_edits(column) for column in values if column.in_base) or "false"
    update_open = " OR ".join(f"({edits(column)} AND {disagree(column)})" for column in staged) or "false"
    insert_open = (
        " OR ".join(f"(NOT a{column.position} AND {disagree(column)})" for column in staged) or "false"
    )
    conflicted = "n IN (SELECT n FROM conflicts)" if len(made.conflicts) else "false"
    made.session.execute(
        "CREATE TEMP TABLE fates AS SELECT n, conflicted, "
        f"CASE op WHEN 'insert' THEN here ELSE NOT here OR {moved} END AS moved, "
        f"NOT conflicted AND CASE op WHEN 'update' THEN NOT here OR NOT ({update_open}) "
        f"WHEN 'insert' THEN here AND NOT ({insert_open}) ELSE NOT here END AS settled "
        f"FROM (SELECT *, {conflicted} AS conflicted FROM {made.cells.joined})"
    )
    # Not a copy of the rows, which are as wide as three images.
    made.session.execute(f"CREATE TEMP VIEW moves AS SELECT * FROM {made.cells.joined} JOIN fates USING (n)")


def _example(made: MergePlan, row: Mapping[str, Any]) -> ChangedRow:
    values = made.alignment.values
    key = {name: row[f"k{place}"] for place, name in enumerate(made.staged.primary_keys)}

    def image(side: str) -> Row:
        found = {
            column.name: row[f"{side}{column.position}"]
            for column in values
            if f"{side}{column.position}" in row and (side != "b" or column.in_base)
        }
        return {**key, **found}

    base = image("b") if row["op"] != "insert" else None
    current = image("c") if row["here"] else None
    changed = tuple(
        column.name
        for column in values
        if column.in_base and not same_value((base or {}).get(column.name), (current or {}).get(column.name))
    )
    operation: Operation = "insert" if base is None else "delete" if current is None else "update"
    proposed = image("p") if row["op"] != "delete" else None
    return ChangedRow(key, operation, changed, Sides(base, current, proposed))


@dataclass(frozen=True)
class _Target:
    """The columns of the rebased content: those that the table has now, then those that stay ``new``."""

    columns: tuple[MergedColumn, ...]
    new: tuple[MergedColumn, ...]
    base_schema_json: str
    layout: Layout


def _target(made: MergePlan, rows_kept: int) -> _Target:
    columns = made.alignment.values
    # In a base image a column that the table gained would be NULL for the rows in conflict, as if it had been there:
    # the conflict in it would be gone, and with it what was chosen. It stays new.
    new = tuple(column for column in columns if column.added or (rows_kept and column.gained_on_both_sides))
    base_schema_json = _without({column.name for column in new}, made.snapshot.schema_json)
    base = delta_schema(base_schema_json)
    schema = pa.schema([*base, *(pa.field(column.name, column.type, nullable=True) for column in new)])
    places = {name: place for place, name in enumerate(schema.names)}
    staged = tuple(places[column.name] for column in columns if column.staged)
    return _Target(
        columns, new, base_schema_json, Layout(made.staged.primary_keys, schema, len(base), staged)
    )


def _write(made: MergePlan, folder: NewFolder) -> Rebased:
    """Write the content whole, with its manifest: the rows on today's base images, in the columns that the table has
    now.
    """
    opened, old = made.session, made.staged
    moved, settled, kept = opened.row(
        "SELECT count(*) FILTER (moved), count(*) FILTER (settled), count(*) FILTER (conflicted) FROM fates"
    )
    target = _target(made, kept)
    layout, names = target.layout, target.layout.schema.names
    rows = write_rows(opened, _rebased_sql(target), folder.path)
    write_base_files(folder.path, made.snapshot.files)
    counts = count_rows(opened, rows, layout)
    digest = old.digest
    if moved or settled or made.alignment.left_out:
        digest = content_digest(opened, rows, old.table_id, layout, counts)
    given = {*old.primary_keys, *(names[position] for position in layout.staged)}
    staged = replace(
        old,
        location=str(folder.final),
        digest=digest,
        base_version=made.version,
        schema=layout.schema,
        base_column_count=layout.base_width,
        columns=tuple(name for name in names if name in given),
        new_columns=tuple(column.name for column in target.new),
        counts=counts.operations,
        cells_updated=counts.cells_updated,
        noop_rows=old.noop_rows + settled,
        rekeyed_rows=counts.rekeyed,
        has_absent=counts.has_absent,
        stored_names=stored_names(target.base_schema_json),
        summary=summarize(opened, folder.path, rows, layout, counts),
        ranges=stated_ranges(made.snapshot, (names[position] for position in layout.staged)),
    )
    write_manifest(folder.path, staged, target.base_schema_json)
    return Rebased(staged, rows_moved=moved, rows_settled=settled, rows_kept=kept)


def _rebased_sql(target: _Target) -> str:
    """SQL of the rows of ``moves`` that are not settled, numbered anew, in the target's layout."""
    places = {name: place for place, name in enumerate(target.layout.schema.names)}
    # A kept row stays as it was made; any other takes the present row, and proposes only what it edits.
    keep = "(conflicted OR (op = 'insert' AND NOT here))"
    parts = [
        "place.new_n AS n",
        "CASE WHEN op = 'insert' AND here AND NOT conflicted THEN 'update' ELSE op END AS op",
        f"CASE WHEN {keep} AND op = 'insert' THEN {_absent(target.columns, places)} END AS absent",
        # Where a kept row stands is not what its base says.
        f"CASE WHEN conflicted THEN NULL WHEN here THEN file_index ELSE {ABSENT} END::INTEGER AS base_file",
        "CASE WHEN here AND NOT conflicted THEN row_number END AS base_row",
        *(f"k{place}" for place in range(len(target.layout.keys))),
    ]
    for column in target.columns:
        base, current, proposed = (f"{side}{column.position}" for side in SIDE_LETTERS)
        place = places[column.name]
        if column in target.new:
            parts.append(f"{proposed} AS p{place}")
            continue
        parts.append(f"CASE WHEN {keep} THEN {base} ELSE {current} END AS b{place}")
        if column.staged:
            edited = f"CASE WHEN op = 'insert' THEN NOT a{column.position} ELSE {edits(column)} END"
            parts.append(
                f"CASE WHEN op = 'delete' THEN {null_of(column.type)} WHEN {keep} OR {edited} THEN {proposed} "
                f"ELSE {current} END AS p{place}"
            )
    places_sql = "SELECT n AS old_n, row_number() OVER (ORDER BY n) - 1 AS new_n FROM fates WHERE NOT settled"
    return (
        f"WITH places AS ({places_sql}) SELECT {', '.join(parts)}, other.new_n AS rekeyed "
        "FROM moves JOIN places place ON place.old_n = moves.n "
        "LEFT JOIN places other ON other.old_n = moves.rekeyed ORDER BY place.new_n"
    )


def _without(names: set[str], schema_json: str) -> str:
    """A Delta schema less some of its columns."""
    root = json.loads(schema_json)
    root["fields"] = [field for field in root["fields"] if field["name"] not in names]
    return json.dumps(root)


def _absent(columns: Sequence[MergedColumn], at: Mapping[str, int]) -> str:
    """SQL: the positions of the columns that an added row leaves out, in the new schema; NULL where there are none."""
    places = [
        f"CASE WHEN a{column.position} THEN {at[column.name]}::SMALLINT END"
        for column in columns
        if column.staged
    ]
    listed = f"list_filter([{', '.join(places)}]::SMALLINT[], lambda place: place IS NOT NULL)"
    return f"CASE WHEN len({listed}) > 0 THEN {listed} END"
