"""The rows that change something, numbered in the order of their keys: what is written down in the end."""

from __future__ import annotations

from dataclasses import dataclass

from merging.model import Operation
from merging.sql.equality import digest_of, fingerprint
from merging.sql.quoting import any_of, literal
from merging.sql.session import Session
from merging.staging.comparison import Comparison
from merging.staging.layout import Layout, RowCounts
from merging.staging.mapping import InputColumn
from merging.staging.pairing import KEPT, Effects, is_one_value
from merging.staging.pinning import ABSENT
from merging.staging.workbench import Relation, Workbench

#: So many rows are numbered in a table of their own; of more of them a join with it would not fit into memory.
_NUMBERED_BEFORE = 4_000_000


@dataclass(frozen=True)
class Ordered:
    """The rows that are written down, but for ``rekeyed``, as ``columns`` (SQL) of the fewer that ``carried`` has.

    Where they are not yet ``in_order`` they have their numbers and are sorted by whoever writes them down. Where none
    ``may_be_rekeyed`` they may be sorted anew each time they are read.
    """

    carried: Relation
    columns: str
    effects: Effects
    may_be_rekeyed: bool
    in_order: bool

    def counts(self, opened: Session, rows: str, layout: Layout) -> RowCounts:
        """The same as ``count_rows`` finds in the rows that were written."""
        absent, rekeyed = opened.row(f"SELECT count(absent), count(rekeyed) // 2 FROM {rows}")
        names = layout.schema.names
        cells = {names[position]: number for position, number in self.effects.cells_updated.items()}
        return RowCounts(self.effects.operations, cells, rekeyed, bool(absent))


def order_by_key(bench: Workbench, paired: Relation, comparison: Comparison, effects: Effects) -> Ordered:
    """Drop what changes nothing, number the rest in key order; the files of the paired rows are taken over."""
    written = _Written(comparison, effects)
    deleted, inserted = (effects.operations[operation] for operation in ("delete", "insert"))
    key = comparison.columns.key_cells
    may_be_rekeyed = bool(deleted and inserted)
    at_once = bench.rows_at_once
    in_order = at_once is not None or sum(effects.operations.values()) > _NUMBERED_BEFORE
    if at_once is not None:
        rows = _in_parts(bench, paired, written.carried, key, at_once)
    elif not in_order:
        rows = _numbered(bench, paired, written.carried, key)
    elif may_be_rekeyed:
        rows = _sorted(bench, paired, written.carried, key)
    else:
        rows = _to_be_sorted(paired, written.carried, key)
    return Ordered(rows, written.columns, effects, may_be_rekeyed, in_order)


@dataclass(frozen=True)
class _Written:
    """The columns of what is written, and of what is carried there: a column that no updated row changes is carried
    once, for the base image and for what is proposed.
    """

    comparison: Comparison
    effects: Effects

    @property
    def _once(self) -> list[InputColumn]:
        columns = self.comparison.columns
        return [
            column
            for column in columns.values
            if column.position < columns.base_width
            and column.position not in self.effects.cells_updated
            and (not self.effects.operations["update"] or is_one_value(column.type))
        ]

    @property
    def _effect(self) -> str | None:
        """What all rows are; None where they differ."""
        kinds = [kind for kind, number in self.effects.operations.items() if number]
        return kinds[0] if len(kinds) == 1 else None

    @property
    def _based(self) -> list[int]:
        columns = self.comparison.columns
        return [
            index
            for index, name in enumerate(columns.schema.names[: columns.base_width])
            if name not in columns.keys
        ]

    @property
    def carried(self) -> str:
        """SQL over paired rows."""
        columns = self.comparison.columns
        once = {column.position: column for column in self._once}
        parts = [] if self._effect else ["effect AS op"]
        if self._has_absent:
            parts.append(f"{_absent(self.comparison)} AS absent")
        parts += [f"coalesce(base_file, {ABSENT})::INTEGER AS base_file", "base_row"]
        parts += [f"{cell} AS k{index}" for index, cell in enumerate(columns.key_cells)]
        parts += [
            f"CASE WHEN effect = 'insert' THEN {once[index].cell} ELSE b{index} END AS b{index}"
            if index in once
            else f"b{index}"
            for index in self._based
        ]
        parts += [
            f"CASE WHEN effect <> 'delete' THEN {self.comparison.proposed(column)} END AS p{column.position}"
            for column in columns.values
            if column.position not in once
        ]
        return ", ".join(parts)

    @property
    def columns(self) -> str:
        """SQL over what is carried."""
        columns = self.comparison.columns
        once = {column.position for column in self._once}
        parts = [f"{literal(self._effect)} AS op" if self._effect else "op"]
        parts.append("absent" if self._has_absent else "NULL::SMALLINT[] AS absent")
        parts += ["base_file", "base_row", *(f"k{index}" for index in range(len(columns.keys)))]
        parts += [
            f"{self._unless('insert', f'b{index}')} AS b{index}" if index in once else f"b{index}"
            for index in self._based
        ]
        parts += [
            f"{self._unless('delete', f'b{column.position}')} AS p{column.position}"
            if column.position in once
            else f"p{column.position}"
            for column in columns.values
        ]
        return ", ".join(parts)

    def _unless(self, effect: Operation, cell: str) -> str:
        if not self.effects.operations[effect]:
            return cell
        return f"CASE WHEN {'false' if self._effect else f'op <> {literal(effect)}'} THEN {cell} END"

    @property
    def _has_absent(self) -> bool:
        return bool(_absent(self.comparison))


def _absent(comparison: Comparison) -> str:
    """SQL: positions of the value columns that an inserted row did not give; empty where that can be of none."""
    columns = comparison.columns.values
    if not comparison.leaves_out:
        columns = tuple(column for column in columns if column.numbered)
    if not columns:
        return ""
    silent = [comparison.silent(column) for column in columns]
    cases = ", ".join(
        f"CASE WHEN {condition} THEN {column.position}::SMALLINT END"
        for column, condition in zip(columns, silent, strict=True)
    )
    listed = f"list_filter([{cases}], lambda position: position IS NOT NULL)"
    return f"CASE WHEN effect = 'insert' AND {any_of(silent)} THEN {listed} END"


def _turns(bench: Workbench, paired: Relation, key: list[str]) -> Relation:
    """The number of each row that is kept: ``n`` for its ordinal, ``turn``."""
    in_order = f"SELECT ordinal AS turn FROM {paired.sql} WHERE {KEPT} ORDER BY {', '.join(key)}"
    return bench.table("turns", f"SELECT turn, row_number() OVER () - 1 AS n FROM ({in_order})")


def _numbered(bench: Workbench, paired: Relation, carried: str, key: list[str]) -> Relation:
    """Numbered by their keys alone: what numbers rows as they come out of a sort works in one thread, and so does all
    that is behind it.
    """
    turns = _turns(bench, paired, key)
    return paired.made_into(f"SELECT n, {carried} FROM {paired.sql} JOIN {turns.sql} ON ordinal = turn")


def _to_be_sorted(paired: Relation, carried: str, key: list[str]) -> Relation:
    """Sorted by whoever writes them down: to write them down before that costs as much as the sort."""
    in_order = f"SELECT {carried} FROM {paired.sql} WHERE {KEPT} ORDER BY {', '.join(key)}"
    return paired.made_into(f"SELECT row_number() OVER () - 1 AS n, * FROM ({in_order})")


def _sorted(bench: Workbench, paired: Relation, carried: str, key: list[str]) -> Relation:
    query = f"SELECT {carried} FROM {paired.sql} WHERE {KEPT} ORDER BY {', '.join(key)}"
    written = bench.in_order("in_order", query)
    paired.remove()
    [path] = written.files
    return written.made_into(
        "SELECT file_row_number AS n, * EXCLUDE (file_row_number) "
        f"FROM read_parquet({literal(str(path))}, file_row_number = true)"
    )


def _in_parts(bench: Workbench, paired: Relation, carried: str, key: list[str], at_once: int) -> Relation:
    """A sort hands on rows by the thousand: wide ones would not fit. They are numbered by their keys alone and then
    written by and by, each part with one look at the rows that it can come from.
    """
    turns = _turns(bench, paired, key)
    number = bench.session.number(f"SELECT count(*) FROM {turns.sql}")
    parts = []
    for part, start in enumerate(range(0, max(1, number), at_once)):
        some = f"SELECT turn, n FROM {turns.sql} WHERE n >= {start} AND n < {start + at_once}"
        first, last = bench.session.row(f"SELECT min(turn), max(turn) FROM ({some})")
        within = "false" if first is None else f"ordinal BETWEEN {first} AND {last}"
        query = (
            f"SELECT n, {carried} FROM {paired.sql} JOIN ({some}) ON ordinal = turn WHERE {within} ORDER BY n"
        )
        parts.append(bench.in_order(f"in_order_{part}", query))
    paired.remove()
    return Relation.of_files(parts)


def with_rekeyed(bench: Workbench, ordered: Ordered, layout: Layout) -> Relation:
    """The rows with ``rekeyed``: a deleted and an inserted row of the same content were one row, given another key."""
    carried, columns = ordered.carried, ordered.columns
    rows = carried.made_into(f"SELECT n, {columns} FROM {carried.sql}")
    pairs = _rekeyed(bench, rows, layout) if ordered.may_be_rekeyed else None
    if pairs is None:
        in_order = "" if ordered.in_order else " ORDER BY n"
        return rows.made_into(
            f"SELECT n, {columns}, NULL::BIGINT AS rekeyed FROM (SELECT * FROM {carried.sql}{in_order})"
        )
    return rows.made_into(
        f"SELECT n, {columns}, rekeyed FROM "
        f"(SELECT f.*, r.rekeyed FROM {carried.sql} f LEFT JOIN {pairs.sql} r USING (n) ORDER BY n)"
    )


def _rekeyed(bench: Workbench, ordered: Relation, layout: Layout) -> Relation | None:
    """The pairs, each way (``n``, ``rekeyed``); None where there can be none."""
    positions = [position for position in layout.staged if position < layout.base_width]
    whole = positions and len(positions) >= layout.base_width - len(layout.keys)
    if not whole:
        return None

    def of(side: str) -> str:
        types = layout.schema.types
        return digest_of([fingerprint(f"{side}{position}", types[position]) for position in positions])

    empty = " AND ".join(f"coalesce(b{position}, p{position}) IS NULL" for position in positions)
    contents = bench.table(
        "contents",
        f"SELECT n, op, CASE WHEN op = 'delete' THEN {of('b')} ELSE {of('p')} END AS content "
        f"FROM {ordered.sql} WHERE op <> 'update' AND NOT ({empty})",
    )

    def alone(operation: str) -> str:
        return (
            f"SELECT content, min(n) AS n FROM {contents.sql} WHERE op = '{operation}' "
            "GROUP BY content HAVING count(*) = 1"
        )

    pairs = bench.table(
        "pairs",
        f"SELECT d.n AS old, i.n AS new FROM ({alone('delete')}) d JOIN ({alone('insert')}) i USING (content)",
    )
    return bench.table(
        "rekeyed",
        f"SELECT old AS n, new AS rekeyed FROM {pairs.sql} UNION ALL SELECT new, old FROM {pairs.sql}",
    )
