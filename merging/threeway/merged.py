"""The rows of the merge in ``merged``: each cell's value, what becomes of the row, and how many of each there are.

A column that is alike before and after the merge is held once (``v<i>``): most columns of most merges are, and to hold
and write values is what a merge costs. ``MergedCells`` tells where a cell is: a view that gave each one two names would
be planned with all columns of the table in every statement over a few of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from merging.delta import RowChanges, Snapshot
from merging.delta.column_rules import ColumnRules
from merging.model import Resolution
from merging.sql.equality import differs
from merging.sql.quoting import column_sql
from merging.sql.session import Session
from merging.staging.staged import Staged
from merging.threeway.alignment import Alignment, MergedColumn
from merging.threeway.resolutions import ROW, Default, hold_choices
from merging.threeway.sides import any_of, edits


@dataclass(frozen=True)
class Effect:
    """What the merge does to the table, in numbers. ``rows_agreed`` of its rows are in the table as proposed already:
    they are not changed and wait for no choice.
    """

    rows_added: int = 0
    rows_updated: int = 0
    rows_deleted: int = 0
    rows_agreed: int = 0
    cells_updated: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class MergedCells:
    """Where ``merged`` holds the cells of its rows, as SQL. ``alike`` are the positions of the columns whose values the
    merge changes in no row that stays, as far as that is known. ``joined`` has the rows' three images (see ``sides``).
    """

    alignment: Alignment
    alike: frozenset[int] = frozenset()
    joined: str = "joined"

    def before(self, column: MergedColumn) -> str:
        """The cell that the table has now, of rows that it has."""
        if column.name in self.alignment.keys:
            return f"k{self.alignment.keys.index(column.name)}"
        return f"{'v' if column.position in self.alike else 'c'}{column.position}"

    def after(self, column: MergedColumn) -> str:
        """The cell that the table has then, of rows that it has."""
        return f"{'v' if column.position in self.alike else 'm'}{column.position}"

    def merged_sql(self, name: str) -> str:
        """The same by the column's name."""
        [found] = [column for column in self.alignment.columns if column.name == name]
        return self.after(found)

    def updates(self, column: MergedColumn, snapshot: Snapshot) -> str | None:
        """What is true of rows in which a column's cell changes; None for columns whose cells never do."""
        if column.position in self.alike:
            return None
        if column.staged:
            return f"u{column.position}"
        if column.name in snapshot.rules.generated and column.name not in self.alignment.keys:
            return differs(self.after(column), self.before(column), column.type)
        return None

    def whole_rows_sql(self, *, before: bool = False) -> str:
        """A list of whole rows under the labels of the table's columns: as they are then, or ``before``."""
        cell = self.before if before else self.after
        return ", ".join(f"{cell(column)} AS {column_sql(column.name)}" for column in self.alignment.columns)


def alike_columns(
    alignment: Alignment,
    staged: Staged,
    snapshot: Snapshot,
    rules: Mapping[str, ColumnRules],
    *,
    added_twice: bool,
) -> frozenset[int]:
    """The positions of the columns that a merge changes in no row that stays: those of which the content updates no
    cell. None where the table writes cells itself, by the merged ones, or has a row that the content adds too.
    """
    if writes_cells(snapshot, rules) or added_twice:
        return frozenset()
    names = staged.schema.names
    return frozenset(
        column.position
        for column in alignment.values
        if column.in_base
        and column.staged_position is not None
        and not (column.staged and names[column.staged_position] in staged.cells_updated)
    )


def writes_cells(snapshot: Snapshot, rules: Mapping[str, ColumnRules]) -> bool:
    """Whether the table writes cells itself (``store_as_table``)."""
    writes = snapshot.rules.generated or snapshot.rules.identities or any(one.pads for one in rules.values())
    return bool(writes)


def merge_rows(
    opened: Session,
    cells: MergedCells,
    resolutions: Sequence[Resolution],
    *,
    unresolved: Default,
    check: bool,
    in_conflict: bool,
    untouched: bool,
    all_here: bool,
    final: bool,
) -> None:
    """Fill ``merged`` with the rows that the merge changes, in the order of ``n``.

    ``unresolved``: whose value stands where nobody chose. Without ``check`` nothing is ``in_conflict`` and Proposed
    wins in every staged cell. ``untouched``: nothing was touched since the base, so that ``joined`` has its rows in
    their order; ``all_here``: each of them is in the table. ``final``: the table writes no cell itself.
    """
    alignment, alike = cells.alignment, cells.alike
    conflicted = set()
    if in_conflict:
        found = opened.connection.execute("SELECT DISTINCT col FROM conflicts").fetchall()
        conflicted = {int(number) for (number,) in found}
    joins = []
    row_choice = "NULL"
    if ROW in conflicted:
        joins.append(
            f"LEFT JOIN (SELECT n, coalesce(choice, '{unresolved}') AS choice FROM conflicts WHERE col = {ROW}) r "
            "ON r.n = j.n"
        )
        row_choice = "r.choice"
    clashing = [column for column in alignment.columns if column.position in conflicted]
    custom: frozenset[int] = frozenset()
    if clashing:
        custom = hold_choices(opened, clashing, resolutions, unresolved)
        joins.append("LEFT JOIN choices x ON x.n = j.n")
    values = [f"{fills(column)} AS f{column.position}" for column in alignment.values if column.filled]
    for column in alignment.columns:
        if column.name in alignment.keys:
            values.append(f"k{alignment.keys.index(column.name)} AS m{column.position}")
            continue
        if column.position in alike:
            values.append(f"{_alike_value(column, all_here=all_here)} AS v{column.position}")
            continue
        chosen = f"p{column.position}"
        if column.position in conflicted:
            own = f"WHEN 'custom' THEN x.v{column.position} " if column.position in custom else ""
            chosen = (
                f"CASE x.choices[{column.position}] WHEN 'current' THEN j.c{column.position} "
                f"WHEN 'base' THEN j.b{column.position} {own}ELSE p{column.position} END"
            )
        values.append(f"{_merged_value(column, chosen, row_choice)} AS m{column.position}")
    present = _present(row_choice, check=check)
    held = ["j.n", "j.file_index", "j.row_number", "j.here", f"{present} AS present", *values]
    others = [column for column in alignment.values if column.position not in alike]
    staged = [column for column in others if column.staged]
    updated = "".join(
        f", {differs(f'm{column.position}', f'c{column.position}', column.type)} AS u{column.position}"
        for column in staged
    )
    any_updated = any_of([f"u{column.position}" for column in staged])
    currents = "".join(f", j.c{column.position}" for column in others)
    keys = "".join(f", j.k{place}" for place in range(len(alignment.keys)))
    rows = (
        "SELECT *, CASE WHEN present AND NOT here THEN 'insert' "
        f"WHEN here AND NOT present THEN 'delete' WHEN present AND {any_updated} THEN 'update' END AS action "
        f"FROM (SELECT *{updated} FROM (SELECT {', '.join(held)}{keys}{currents} "
        f"FROM {cells.joined} j {' '.join(joins)})) WHERE action IS NOT NULL{'' if untouched else ' ORDER BY n'}"
    )
    if final:
        opened.hold("merged", rows, as_read=untouched)
    else:
        opened.execute(f"CREATE TABLE merged AS {rows}")


def _alike_value(column: MergedColumn, *, all_here: bool) -> str:
    """SQL of the value that a column has in a row, before the merge and after it.

    To name what is proposed has it read, of most columns of most merges, which is for new rows alone.
    """
    current, base = f"j.c{column.position}", f"j.b{column.position}"
    if all_here:
        return current
    filled = f"WHEN {fills(column)} THEN {column.filled} " if column.filled else ""
    return (
        f"CASE WHEN here THEN {current} {filled}ELSE {f'p{column.position}' if column.staged else base} END"
    )


def _merged_value(column: MergedColumn, chosen: str, row_choice: str) -> str:
    """SQL of a cell's merged value; ``chosen`` stands where the content says something of the cell."""
    position = column.position
    current, base = f"j.c{position}", f"j.b{position}"
    filled = f"WHEN {fills(column)} THEN {column.filled} " if column.filled else ""
    if not column.staged:
        return f"CASE WHEN here THEN {current} {filled}ELSE {base} END"
    proposed = f"p{position}"
    kept = f"WHEN here AND {row_choice} = 'current' THEN {current} " if row_choice != "NULL" else ""
    return (
        f"CASE {filled}WHEN NOT here THEN {proposed} WHEN op = 'delete' THEN {current} {kept}"
        f"WHEN op = 'insert' THEN CASE WHEN a{position} THEN {current} ELSE {chosen} END "
        f"WHEN {edits(column)} THEN {chosen} ELSE {current} END"
    )


def fills(column: MergedColumn) -> str:
    """SQL: a new row says nothing of a column that the table fills then."""
    silent = f" AND a{column.position}" if column.staged else ""
    return f"(op = 'insert' AND NOT here{silent})"


def _present(row_choice: str, *, check: bool) -> str:
    """SQL: the row is in the merged table."""
    if not check:
        return "op <> 'delete'"
    returns = f"coalesce({row_choice} IN ('keep', 'proposed'), false)"
    stays = f"coalesce({row_choice} IN ('keep', 'current'), false)"
    return f"CASE op WHEN 'insert' THEN true WHEN 'update' THEN here OR {returns} ELSE here AND {stays} END"


def store_as_table(
    opened: Session, cells: MergedCells, snapshot: Snapshot, rules: Mapping[str, ColumnRules]
) -> None:
    """Give merged cells the form that the table has them in: numbered where it numbers them, padded where it pads,
    computed where it computes.
    """
    _number_rows(opened, cells.alignment, snapshot)
    _pad_texts(opened, cells.alignment, rules)
    _compute_generated(opened, cells, snapshot)


def _pad_texts(opened: Session, alignment: Alignment, rules: Mapping[str, ColumnRules]) -> None:
    """Give cells of char(n) that change the form in which the table stores them, chosen values too."""
    for column in alignment.values:
        known = rules.get(column.name)
        if known is not None and known.pads and (column.staged or column.filled):
            cell = f"m{column.position}"
            changed = f"u{column.position}" if column.staged else "false"
            opened.execute(
                f"UPDATE merged SET {cell} = {known.stored(cell)} "
                f"WHERE action = 'insert' OR (action = 'update' AND {changed})"
            )


def _number_rows(opened: Session, alignment: Alignment, snapshot: Snapshot) -> None:
    """Give new rows the numbers that the table has next, in the order of their keys: NULL where it has none left."""
    for column in alignment.values:
        identity = snapshot.rules.identities.get(column.name)
        if identity is not None:
            number = f"{identity.next}::HUGEINT + (row_number() OVER (ORDER BY n) - 1) * {identity.step}"
            opened.execute(
                f"UPDATE merged SET m{column.position} = numbered.number FROM (SELECT n, "
                f"TRY_CAST({number} AS BIGINT) AS number FROM merged WHERE f{column.position}) numbered "
                "WHERE merged.n = numbered.n"
            )


def numbers_given(opened: Session, alignment: Alignment, snapshot: Snapshot) -> dict[str, int]:
    """The last number that the merge gives in each column that the table numbers; none where it gives no number."""
    given = {}
    for column in alignment.values:
        identity = snapshot.rules.identities.get(column.name)
        if identity is not None:
            rows = opened.number(f"SELECT count(*) FROM merged WHERE f{column.position}")
            if rows:
                given[column.name] = identity.next + (rows - 1) * identity.step
    return given


def _compute_generated(opened: Session, cells: MergedCells, snapshot: Snapshot) -> None:
    """Give the columns that the table computes the values that follow from the merged rows.

    A row that cannot be judged gets NULL there, and fails its check. A key is its row's own: it is checked alone.
    """
    for name, expression in snapshot.rules.generated.items():
        if name not in cells.alignment.keys:
            doubtful, value = expression.doubtful(cells.merged_sql), expression.sql(cells.merged_sql)
            opened.execute(
                f"UPDATE merged SET {cells.merged_sql(name)} = "
                f"CASE WHEN {doubtful} THEN NULL ELSE {value} END WHERE action <> 'delete'"
            )


def count_effect(
    opened: Session,
    cells: MergedCells,
    snapshot: Snapshot,
    further: Sequence[str],
    *,
    staged_rows: int,
    conflicts: int,
) -> tuple[Effect, Sequence[int]]:
    """Count what ``merged`` holds, of ``staged_rows`` with ``conflicts``, and in the same look ``further`` numbers."""
    changing = [
        (column, updated) for column in cells.alignment.values if (updated := cells.updates(column, snapshot))
    ]
    conditions = [f"action = '{action}'" for action in ("insert", "update", "delete")]
    conditions += [f"action = 'update' AND {updated}" for _, updated in changing]
    found = opened.numbers([*(f"count_if({one})" for one in conditions), *further], "FROM merged")
    inserts, updated_rows, deletes = found[:3]
    changed = found[3 : len(conditions)]
    in_conflict = 0
    if conflicts:
        in_conflict = opened.number(
            "SELECT count(DISTINCT n) FROM conflicts WHERE n NOT IN (SELECT n FROM merged)"
        )
    effect = Effect(
        rows_added=inserts,
        rows_updated=updated_rows,
        rows_deleted=deletes,
        rows_agreed=staged_rows - inserts - updated_rows - deletes - in_conflict,
        cells_updated={
            column.name: number for (column, _), number in zip(changing, changed, strict=True) if number
        },
    )
    return effect, found[len(conditions) :]


def row_changes(opened: Session, cells: MergedCells, snapshot: Snapshot, effect: Effect) -> RowChanges:
    """What the merge removes and adds, as the border to Delta takes it."""
    merged = cells.whole_rows_sql()
    places = ", ".join(
        f"CASE WHEN action = 'update' THEN {place} END AS {place}" for place in ("file_index", "row_number")
    )
    removed, added = effect.rows_updated + effect.rows_deleted, effect.rows_updated + effect.rows_added
    changes = RowChanges(
        removed="(SELECT file_index, row_number FROM merged WHERE action <> 'insert')" if removed else None,
        added=f"(SELECT {merged}, {places} FROM merged WHERE action <> 'delete')" if added else None,
        key_columns=cells.alignment.keys,
        numbers_given=numbers_given(opened, cells.alignment, snapshot),
        number_removed=removed,
        number_added=added,
    )
    if not snapshot.change_data_feed:
        return changes
    # A new column has no current value, so images of before carry NULL there.
    current = cells.whole_rows_sql(before=True)
    return replace(
        changes,
        inserted=f"(SELECT {merged} FROM merged WHERE action = 'insert')",
        updated_before=f"(SELECT {current} FROM merged WHERE action = 'update')",
        updated_after=f"(SELECT {merged} FROM merged WHERE action = 'update')",
        deleted=f"(SELECT {current} FROM merged WHERE action = 'delete')",
    )
