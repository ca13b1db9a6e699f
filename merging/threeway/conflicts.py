"""What Current and Proposed both changed: found, counted and read page by page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from merging.model import Choice, Conflict, ConflictKind, ConflictPolicy, Page, Resolution, Row
from merging.sql.cursors import make_cursor, read_cursor
from merging.sql.equality import digest_of, fingerprint
from merging.sql.failures import naming_engine_failures
from merging.sql.paging import read_numbered
from merging.sql.session import Session
from merging.sql.values import stored_value
from merging.threeway.alignment import Alignment, MergedColumn
from merging.threeway.resolutions import ROW, chosen_value, legal_choices
from merging.threeway.sides import SIDE_LETTERS, any_of, current_edits, disagree, edits, images_of, key_of

_ITERATION_PAGE = 500


def _cell_conflict(column: MergedColumn) -> tuple[str, str]:
    """SQL predicates of a cell's conflicts in updated and in added rows."""
    update = f"op = 'update' AND here AND {edits(column)} AND {disagree(column)}"
    if column.in_base:
        update += f" AND {current_edits(column)}"
    elif not column.gained_on_both_sides:
        update = "false"
    insert = f"op = 'insert' AND here AND NOT a{column.position} AND {disagree(column)}"
    return update, "false" if column.added else insert


def find_conflicts(opened: Session, alignment: Alignment, policy: ConflictPolicy) -> int:
    """Fill ``conflicts`` and return how many there are, where a staged row was touched since the base."""
    opened.execute(
        "CREATE TABLE conflicts(n BIGINT, col INTEGER, kind VARCHAR, digest VARCHAR, choice VARCHAR, pick BIGINT)"
    )
    staged = [column for column in alignment.values if column.staged]
    base_columns = [column for column in alignment.values if column.in_base]
    modified = any_of([current_edits(column) for column in base_columns])
    touched = any_of([edits(column) for column in staged if column.in_base])
    row_kinds = [
        (f"op = 'update' AND NOT here AND {touched}", "delete/modify"),
        (f"op = 'delete' AND here AND {modified}", "modify/delete"),
    ]
    if policy == "row":
        clashing = any_of(
            [f"({edits(column)} AND {disagree(column)})" for column in staged if not column.added]
        )
        added = any_of(
            [f"(NOT a{column.position} AND {disagree(column)})" for column in staged if not column.added]
        )
        row_kinds.append((f"op = 'update' AND here AND {modified} AND {clashing}", "modify/modify"))
        row_kinds.append((f"op = 'insert' AND here AND {added}", "add/add"))
    # Most columns of most merges are in no conflict: one look tells which are, and only those are asked for digests.
    cells = [(column, *_cell_conflict(column)) for column in staged] if policy == "cell" else []
    in_rows, *in_cells = opened.counts(
        "FROM moved",
        [
            any_of([f"({condition})" for condition, _ in row_kinds]),
            *(f"({update}) OR ({insert})" for _, update, insert in cells),
        ],
    )
    if in_rows:
        cases = " ".join(f"WHEN {condition} THEN '{kind}'" for condition, kind in row_kinds)
        row_digest = digest_of(
            ["'row'", *_keys_of(alignment), "op", "here::VARCHAR"]
            + [
                fingerprint(f"{side}{column.position}", column.type)
                for column in alignment.values
                for side in ("b", "c", *("p" if column.staged else ""))
            ]
        )
        opened.execute(
            f"INSERT INTO conflicts SELECT n, {ROW}, kind, {row_digest}, NULL, NULL "
            f"FROM (SELECT *, CASE {cases} END AS kind FROM moved) WHERE kind IS NOT NULL"
        )
    found = [cell for cell, number in zip(cells, in_cells, strict=True) if number]
    if found:
        # Lists side by side in one look at the rows, as in the diff of a merge.
        digests = []
        for column, update, insert in found:
            digest = digest_of(
                ["'cell'", *_keys_of(alignment), f"'{column.name.encode().hex()}'"]
                + [fingerprint(f"{side}{column.position}", column.type) for side in SIDE_LETTERS]
            )
            digests.append(f"CASE WHEN ({update}) OR ({insert}) THEN {digest} END")
        places = ", ".join(str(column.position) for column, _, _ in found)
        opened.execute(
            "INSERT INTO conflicts SELECT n, col, kind, digest, NULL, NULL FROM "
            "(SELECT n, CASE op WHEN 'insert' THEN 'add/add' ELSE 'modify/modify' END AS kind, "
            f"unnest([{places}]) AS col, unnest([{', '.join(digests)}]) AS digest FROM moved) "
            "WHERE digest IS NOT NULL"
        )
    return in_rows + sum(in_cells)


def _keys_of(alignment: Alignment) -> list[str]:
    types = {column.name: column.type for column in alignment.columns}
    return [fingerprint(f"k{index}", types[name]) for index, name in enumerate(alignment.keys)]


class Conflicts:
    """The conflicts of a plan in key order, resolved ones included (``choice`` tells). Counted exactly, paged.

    While the schema is in conflict only those conflicts are here: they come first.
    """

    def __init__(
        self,
        opened: Session,
        alignment: Alignment,
        resolutions: Sequence[Resolution] = (),
        *,
        found: int = 0,
        resolved: int = 0,
    ) -> None:
        self._session = opened
        self._alignment = alignment
        self._resolutions = resolutions
        self._number = len(alignment.conflicts) or found
        self._resolved = resolved

    def __len__(self) -> int:
        return self._number

    @property
    def unresolved(self) -> int:
        """How many still wait for a choice."""
        return self._number - self._resolved

    def choices(self) -> Iterator[tuple[str, Choice | None, Any]]:
        """Of every conflict in rows its ``inputs_digest``, what was chosen, and a custom choice's value as given."""
        if self._alignment.conflicts or not self._number:
            return
        query = "SELECT digest, choice, pick FROM conflicts ORDER BY n, col"
        for digest, choice, pick in self._session.each(query):
            yield digest, choice, self._resolutions[pick].value if choice == "custom" else None

    def __iter__(self) -> Iterator[Conflict]:
        after = None
        while True:
            page = self.page(after=after, limit=_ITERATION_PAGE)
            yield from page.items
            if page.next is None:
                return
            after = page.next

    @naming_engine_failures()
    def page(
        self,
        after: str | None = None,
        limit: int = 100,
        *,
        unresolved_only: bool = False,
    ) -> Page[Conflict]:
        """Conflicts from a cursor on."""
        if self._alignment.conflicts:
            return page_of_schema(self._alignment.conflicts, after, limit)
        if not self._number:
            return Page(())
        n, col = read_cursor(after, "conflicts", 2) if after else (-1, ROW)
        conditions = [f"(x.n > {n} OR (x.n = {n} AND x.col > {col}))"]
        if unresolved_only:
            conditions.append("x.choice IS NULL")
        found = self._session.rows(
            "SELECT x.n, x.col, x.kind, x.digest, x.choice, x.pick FROM conflicts x "
            f"WHERE {' AND '.join(conditions)} ORDER BY x.n, x.col LIMIT {limit + 1}"
        )
        rows = rows_of_conflicts(self._session, "moved", [one["n"] for one in found[:limit]])
        shown = [one for one in found[:limit] if one["n"] in rows]
        items = tuple(self._conflict({**rows[one["n"]], **one}) for one in shown)
        last = shown[-1] if len(found) > len(shown) else None
        return Page(items, make_cursor("conflicts", last["n"], last["col"]) if last else None)

    def _conflict(self, row: Mapping[str, Any]) -> Conflict:
        given = self._resolutions[row["pick"]] if row["choice"] == "custom" else None
        return conflict_of(self._session, self._alignment, row, given)


def rows_of_conflicts(opened: Session, relation: str, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
    """The rows that conflicts are in, by their numbers: as far as they fit onto a page."""
    found = read_numbered(opened, f"SELECT * FROM {relation}", sorted(set(numbers)))
    return {row["n"]: row for row in found}


def page_of_schema(found: Sequence[Conflict], after: str | None, limit: int) -> Page[Conflict]:
    """A page of conflicts of the schema, which are few and in nobody's rows."""
    start = read_cursor(after, "schema", 1)[0] if after else 0
    rest = make_cursor("schema", start + limit) if len(found) > start + limit else None
    return Page(tuple(found[start : start + limit]), rest)


def conflict_of(
    opened: Session, alignment: Alignment, row: Mapping[str, Any], custom: Resolution | None
) -> Conflict:
    """A conflict from its line in ``conflicts`` and the row of ``joined`` that it is in; ``custom`` is the choice of
    another value, if it is that.
    """
    kind: ConflictKind = row["kind"]
    offered = legal_choices(kind, row=row["col"] == ROW)
    key, digest, choice = key_of(row, alignment), row["digest"], row["choice"]
    beside = row.get("beside", 0)
    if row["col"] == ROW:
        images = images_of(row, alignment)
        moved = _key_at(opened, alignment, row["rekeyed"]) if kind == "modify/delete" else None
        return Conflict(key, None, kind, images, digest, offered, choice=choice, rekeyed_to=moved)
    column = alignment.columns[row["col"]]
    cells = SIDE_LETTERS.map(lambda side: row[f"{side}{column.position}"])
    value = stored_value(chosen_value(custom, column), column.type) if custom is not None else None
    return Conflict(key, column.name, kind, cells, digest, offered, choice=choice, value=value, beside=beside)


def _key_at(opened: Session, alignment: Alignment, number: int | None) -> Row | None:
    if number is None:
        return None
    keys = ", ".join(f"k{place}" for place in range(len(alignment.keys)))
    found = opened.rows(f"SELECT {keys} FROM joined WHERE n = {number}")
    return key_of(found[0], alignment) if found else None
