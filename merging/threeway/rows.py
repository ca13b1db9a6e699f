"""The three-way rules on cells, as DuckDB SQL over tables of one session (out of core where they must be).

Per cell, NULL-safely, in the merged column's type: ``current = proposed → it``, ``current = base → proposed``,
``proposed = base → current``, otherwise that cell is in conflict and the row's other cells merge all the same. Rows:
delete/delete is clean, modify/delete and delete/modify conflict (only columns that the base had count as modified),
add/add is clean where equal and conflicts per cell where not. This is what Dolt's ``processColumn`` does, on cells.

Tables made here: ``joined`` (n, op, here, file_index, row_number, rekeyed, ``k<j>`` keys, ``b<i>`` ``c<i>`` ``p<i>``
values, ``a<i>`` left out), ``conflicts`` (n, col, kind, digest, choice, pick) and ``merged`` (n, file_index,
row_number, action, ``k<j>`` keys, ``c<i>`` and ``m<i>`` values before and after, ``u<i>`` changed), in the order of
``n``. ``i`` is the position of the merged column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pyarrow as pa

from merging.delta import fetch
from merging.delta.snapshot import Snapshot
from merging.errors import InvalidResolution
from merging.model import Choice, ConflictKind, ConflictPolicy, Resolution, Sides
from merging.sql.equality import differs, digest_of, fingerprint
from merging.sql.parsing import Refused, cell_value
from merging.sql.quoting import column_sql
from merging.sql.session import Session
from merging.sql.types import duckdb_type
from merging.sql.values import arrow_values
from merging.staging.pinning import Standing, file_index_sql, find_standing, locate_held
from merging.staging.staged import Staged
from merging.threeway.alignment import Alignment, MergedColumn, base_sql, current_sql, proposed_sql

ROW = -1
"""The column number of a conflict of the row itself."""

SIDE_LETTERS = Sides("b", "c", "p")
"""What the columns of ``joined`` begin with that hold a side's values."""

Default = Literal["current", "proposed"]


def legal_choices(kind: ConflictKind, *, row: bool) -> tuple[Choice, ...]:
    """What may be chosen for a conflict of a kind."""
    if kind == "schema":
        return ("current",)
    if kind in ("modify/delete", "delete/modify"):
        return ("current", "proposed", "keep", "delete")
    if row:
        return ("current", "proposed")
    if kind == "add/add":
        return ("current", "proposed", "custom")
    return ("current", "proposed", "base", "custom")


def join_current(opened: Session, staged: Staged, snapshot: Snapshot, alignment: Alignment) -> Standing:
    """Find the current rows of the staged keys and put the three images side by side in ``joined``.

    A row that stands where it stood at the base has its base image as current image: it is not read again.
    Raises DuplicateKeys when the table holds several rows of a staged key.
    """
    standing = find_standing(opened, staged, snapshot)
    if standing.pinned and any(not column.in_base and not column.added for column in alignment.values):
        # The table gained columns since: base images do not tell what they hold.
        locate_held(opened, staged, standing)
        standing = replace(standing, pinned=False, located=standing.located + standing.held)
    keys = list(staged.primary_keys)
    sources = [f"{staged.source_sql()} s"]
    here, file_index, row_number = [], [], []
    if standing.pinned:
        here.append("h.n IS NOT NULL" if standing.lost else "s.op <> 'insert'")
        file_index.append("h.file_index" if standing.lost else file_index_sql(standing))
        row_number.append("h.row_number" if standing.lost else "s.base_row")
        if standing.lost:
            sources.append("LEFT JOIN held h ON h.n = s.n")
    if standing.located or not standing.pinned:
        fetch(opened.connection, snapshot, "located", snapshot.schema.names, "current_rows")
        here.append("c.file_index IS NOT NULL")
        file_index.append("c.file_index")
        row_number.append("c.row_number")
        on = " AND ".join(f"s.k{index} = c.{column_sql(name)}" for index, name in enumerate(keys))
        sources.append(f"LEFT JOIN current_rows c ON {on}")
    columns = ["s.n", "s.op", f"({' OR '.join(here)}) AS here"]
    columns += [f"coalesce({', '.join(file_index)}) AS file_index"]
    columns += [f"coalesce({', '.join(row_number)}) AS row_number", "s.rekeyed"]
    columns += [f"s.k{index}" for index in range(len(keys))]
    for column in alignment.values:
        base = base_sql(column, staged)
        if len(here) == 2:
            current = f"CASE WHEN {here[0]} THEN {base} ELSE {current_sql(column)} END"
        elif not standing.pinned:
            current = current_sql(column)
        else:
            current = f"CASE WHEN {here[0]} THEN {base} END" if standing.lost else base
        columns.append(f"{base} AS b{column.position}")
        columns.append(f"{current} AS c{column.position}")
        if column.staged:
            columns.append(f"{proposed_sql(column)} AS p{column.position}")
            columns.append(f"{_absent_sql(column, staged)} AS a{column.position}")
    select = f"SELECT {', '.join(columns)} FROM {' '.join(sources)}"
    if standing.untouched:
        opened.execute(f"CREATE VIEW joined AS {select}")
    else:
        opened.execute(f"CREATE TABLE joined AS {select} ORDER BY s.n")
    return standing


def _absent_sql(column: MergedColumn, staged: Staged) -> str:
    if not staged.has_absent:
        return "false"
    return f"coalesce(list_contains(s.absent, {column.staged_position}), false)"


def edits(column: MergedColumn) -> str:
    """SQL: Proposed says something new of the cell."""
    if not column.in_base:
        return f"(op = 'update' AND p{column.position} IS NOT NULL)"
    return differs(f"p{column.position}", f"b{column.position}", column.type)


def current_edits(column: MergedColumn) -> str:
    return differs(f"c{column.position}", f"b{column.position}", column.type)


def disagree(column: MergedColumn) -> str:
    return differs(f"p{column.position}", f"c{column.position}", column.type)


def _any(conditions: Sequence[str]) -> str:
    return f"({' OR '.join(conditions)})" if conditions else "false"


def _cell_conflict(column: MergedColumn) -> tuple[str, str]:
    """SQL predicates of a cell's conflicts in updated and in added rows."""
    update = f"op = 'update' AND here AND {edits(column)} AND {disagree(column)}"
    if column.in_base:
        update += f" AND {current_edits(column)}"
    elif not column.gained_on_both_sides:
        update = "false"
    insert = f"op = 'insert' AND here AND NOT a{column.position} AND {disagree(column)}"
    return update, "false" if column.added else insert


def find_conflicts(
    opened: Session, alignment: Alignment, policy: ConflictPolicy, *, untouched: bool = False
) -> int:
    """Fill ``conflicts`` and return how many there are; none where no staged row was touched since the base."""
    opened.execute(
        "CREATE TABLE conflicts(n BIGINT, col INTEGER, kind VARCHAR, digest VARCHAR, choice VARCHAR, pick BIGINT)"
    )
    if untouched:
        return 0
    staged = [column for column in alignment.values if column.staged]
    base_columns = [column for column in alignment.values if column.in_base]
    modified = _any([current_edits(column) for column in base_columns])
    touched = _any([edits(column) for column in staged if column.in_base])
    row_kinds = [
        (f"op = 'update' AND NOT here AND {touched}", "delete/modify"),
        (f"op = 'delete' AND here AND {modified}", "modify/delete"),
    ]
    if policy == "row":
        clashing = _any(
            [f"({edits(column)} AND {disagree(column)})" for column in staged if not column.added]
        )
        added = _any(
            [f"(NOT a{column.position} AND {disagree(column)})" for column in staged if not column.added]
        )
        row_kinds.append((f"op = 'update' AND here AND {modified} AND {clashing}", "modify/modify"))
        row_kinds.append((f"op = 'insert' AND here AND {added}", "add/add"))
    row_digest = digest_of(
        ["'row'", *_keys_of(alignment), "op", "here::VARCHAR"]
        + [
            fingerprint(f"{side}{column.position}", column.type)
            for column in alignment.values
            for side in ("b", "c", *("p" if column.staged else ""))
        ]
    )
    cases = " ".join(f"WHEN {condition} THEN '{kind}'" for condition, kind in row_kinds)
    opened.execute(
        f"INSERT INTO conflicts SELECT n, {ROW}, kind, {row_digest}, NULL, NULL "
        f"FROM (SELECT *, CASE {cases} END AS kind FROM joined) WHERE kind IS NOT NULL"
    )
    if policy == "cell":
        for column in staged:
            update, insert = _cell_conflict(column)
            digest = digest_of(
                ["'cell'", *_keys_of(alignment), f"'{column.name.encode().hex()}'"]
                + [fingerprint(f"{side}{column.position}", column.type) for side in SIDE_LETTERS]
            )
            opened.execute(
                f"INSERT INTO conflicts SELECT n, {column.position}, "
                f"CASE op WHEN 'insert' THEN 'add/add' ELSE 'modify/modify' END, {digest}, NULL, NULL "
                f"FROM joined WHERE ({update}) OR ({insert})"
            )
    return opened.number("SELECT count(*) FROM conflicts")


def _keys_of(alignment: Alignment) -> list[str]:
    types = {column.name: column.type for column in alignment.columns}
    return [fingerprint(f"k{index}", types[name]) for index, name in enumerate(alignment.keys)]


def apply_resolutions(opened: Session, alignment: Alignment, resolutions: Sequence[Resolution]) -> None:
    """Note choices in ``conflicts`` where key, column and inputs digest match; the last choice counts.

    Raises InvalidResolution for a choice that its conflict does not offer or a value that does not fit.
    """
    if not resolutions:
        return
    by_name = {column.name: column for column in alignment.columns}
    key_types = [by_name[name].type for name in alignment.keys]
    keys: list[list[object]] = [[] for _ in alignment.keys]
    numbers: list[int] = []
    kept: list[int] = []
    for pick, resolution in enumerate(resolutions):
        if resolution.column is not None and resolution.column not in by_name:
            continue
        try:
            values = [
                cell_value(resolution.key[name], kind)
                for name, kind in zip(alignment.keys, key_types, strict=True)
            ]
        except (KeyError, Refused) as error:
            raise InvalidResolution(
                f"A resolution has the key {dict(resolution.key)}, which does not fit the key columns "
                f"{', '.join(alignment.keys)}.",
            ) from error
        for place, value in enumerate(values):
            keys[place].append(value)
        numbers.append(ROW if resolution.column is None else by_name[resolution.column].position)
        kept.append(pick)
    data = {
        f"k{place}": arrow_values(values, kind)
        for place, (values, kind) in enumerate(zip(keys, key_types, strict=True))
    }
    data["col"] = pa.array(numbers, pa.int32())
    data["choice"] = pa.array([resolutions[pick].choice for pick in kept], pa.string())
    data["digest"] = pa.array([resolutions[pick].inputs_digest for pick in kept], pa.string())
    data["pick"] = pa.array(kept, pa.int64())
    opened.connection.register("given_resolutions", pa.table(data))
    on = " AND ".join(f"j.k{place} = r.k{place}" for place in range(len(alignment.keys)))
    opened.execute(
        "CREATE TEMP TABLE resolutions AS SELECT j.n, r.col, r.digest, arg_max(r.choice, r.pick) AS choice, "
        f"max(r.pick) AS pick FROM given_resolutions r JOIN joined j ON {on} GROUP BY j.n, r.col, r.digest"
    )
    opened.connection.unregister("given_resolutions")
    opened.execute(
        "UPDATE conflicts SET choice = r.choice, pick = r.pick FROM resolutions r "
        "WHERE conflicts.n = r.n AND conflicts.col = r.col AND conflicts.digest = r.digest"
    )
    _refuse_illegal(opened, resolutions)


def _refuse_illegal(opened: Session, resolutions: Sequence[Resolution]) -> None:
    used = opened.rows(
        "SELECT DISTINCT kind, col < 0 AS is_row, choice, min(pick) AS pick FROM conflicts WHERE choice IS NOT NULL "
        "GROUP BY ALL"
    )
    for found in used:
        offered = legal_choices(found["kind"], row=found["is_row"])
        if found["choice"] not in offered:
            example = resolutions[found["pick"]]
            raise InvalidResolution(
                f"{found['choice']} cannot be chosen for a {found['kind']} conflict "
                f"(key {dict(example.key)}); it offers {', '.join(offered)}.",
                data={"choice": found["choice"], "legal_choices": list(offered)},
            )


def merge_rows(
    opened: Session,
    alignment: Alignment,
    resolutions: Sequence[Resolution],
    *,
    unresolved: Default,
    check: bool,
) -> None:
    """Fill ``merged`` with the rows that the merge changes.

    ``unresolved``: whose value stands where nobody chose. Without ``check`` there are no conflicts and Proposed
    wins in every staged cell.
    """
    conflicted = (
        {
            int(number)
            for (number,) in opened.connection.execute("SELECT DISTINCT col FROM conflicts").fetchall()
        }
        if check
        else set()
    )
    joins = []
    row_choice = "NULL"
    if ROW in conflicted:
        joins.append(
            f"LEFT JOIN (SELECT n, coalesce(choice, '{unresolved}') AS choice FROM conflicts WHERE col = {ROW}) r "
            "ON r.n = j.n"
        )
        row_choice = "r.choice"
    values = []
    for column in alignment.columns:
        if column.name in alignment.keys:
            values.append(f"k{alignment.keys.index(column.name)} AS m{column.position}")
            continue
        alias = None
        if column.position in conflicted:
            alias = f"x{column.position}"
            joins.append(
                f"LEFT JOIN {_choices_of(opened, column, resolutions, unresolved)} {alias} ON {alias}.n = j.n"
            )
        values.append(f"{_merged_value(column, alias, row_choice)} AS m{column.position}")
    present = _present(row_choice, check=check)
    staged = [column for column in alignment.values if column.staged]
    updated = "".join(
        f", {differs(f'm{column.position}', f'c{column.position}', column.type)} AS u{column.position}"
        for column in staged
    )
    any_updated = _any([f"u{column.position}" for column in staged])
    currents = "".join(f", j.c{column.position}" for column in alignment.values)
    keys = "".join(f", j.k{place}" for place in range(len(alignment.keys)))
    opened.execute(
        "CREATE TABLE merged AS SELECT *, CASE WHEN present AND NOT here THEN 'insert' "
        f"WHEN here AND NOT present THEN 'delete' WHEN present AND {any_updated} THEN 'update' END AS action "
        f"FROM (SELECT *{updated} FROM (SELECT j.n, j.file_index, j.row_number, j.here, {present} AS present, "
        f"{', '.join(values)}{keys}{currents} FROM joined j {' '.join(joins)})) WHERE action IS NOT NULL"
        f"{' ORDER BY n' if joins else ''}"
    )


def _choices_of(
    opened: Session, column: MergedColumn, resolutions: Sequence[Resolution], unresolved: Default
) -> str:
    """A table of the choices made for a column's conflicts, custom values included."""
    name = f"choices{column.position}"
    picked = opened.connection.execute(
        f"SELECT n, pick FROM conflicts WHERE col = {column.position} AND choice = 'custom'"
    ).fetchall()
    custom: list[object] = []
    for _, pick in picked:
        value = resolutions[pick].value
        try:
            custom.append(cell_value(value, column.type))
        except Refused as error:
            raise InvalidResolution(
                f"The value chosen for {column.name} (key {dict(resolutions[pick].key)}) does not fit: {error}",
                data={"column": column.name},
            ) from error
    opened.connection.register(
        f"{name}_given",
        pa.table(
            {"n": pa.array([n for n, _ in picked], pa.int64()), "value": arrow_values(custom, column.type)}
        ),
    )
    opened.execute(
        f"CREATE TEMP TABLE {name} AS SELECT c.n, coalesce(c.choice, '{unresolved}') AS choice, "
        f"g.value::{duckdb_type(column.type)} AS value "
        f"FROM conflicts c LEFT JOIN {name}_given g USING (n) WHERE c.col = {column.position}"
    )
    opened.connection.unregister(f"{name}_given")
    return name


def _merged_value(column: MergedColumn, alias: str | None, row_choice: str) -> str:
    """SQL of a cell's merged value."""
    position = column.position
    current, base = f"j.c{position}", f"j.b{position}"
    if not column.staged:
        return f"CASE WHEN here THEN {current} ELSE {base} END"
    proposed = f"p{position}"
    chosen = proposed
    if alias is not None:
        chosen = (
            f"CASE {alias}.choice WHEN 'current' THEN {current} WHEN 'base' THEN {base} "
            f"WHEN 'custom' THEN {alias}.value ELSE {proposed} END"
        )
    kept = f"WHEN here AND {row_choice} = 'current' THEN {current} " if row_choice != "NULL" else ""
    return (
        f"CASE WHEN NOT here THEN {proposed} WHEN op = 'delete' THEN {current} {kept}"
        f"WHEN op = 'insert' THEN CASE WHEN a{position} THEN {current} ELSE {chosen} END "
        f"WHEN {edits(column)} THEN {chosen} ELSE {current} END"
    )


def _present(row_choice: str, *, check: bool) -> str:
    """SQL: the row is in the merged table."""
    if not check:
        return "op <> 'delete'"
    returns = f"coalesce({row_choice} IN ('keep', 'proposed'), false)"
    stays = f"coalesce({row_choice} IN ('keep', 'current'), false)"
    return f"CASE op WHEN 'insert' THEN true WHEN 'update' THEN here OR {returns} ELSE here AND {stays} END"


def table_columns_sql(alignment: Alignment, side: str) -> str:
    """SQL list of whole rows under the labels of the table's columns: side ``m`` (merged) or ``c`` (current)."""
    parts = []
    for column in alignment.columns:
        if side == "c" and column.name in alignment.keys:
            expression = f"k{alignment.keys.index(column.name)}"
        else:
            expression = f"{side}{column.position}"
        parts.append(f"{expression} AS {column_sql(column.name)}")
    return ", ".join(parts)
