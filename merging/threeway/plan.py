"""What a merge would do: made by the same code that the merge runs, and written nowhere.

A plan holds a session with its tables; close it (or use it in a ``with`` block) when done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from types import TracebackType
from typing import Any

from merging.delta import Expression, RowChanges, Snapshot, open_snapshot
from merging.delta.column_rules import ColumnRules, rules_of_schema
from merging.errors import InvalidResolution, TableChanged
from merging.expectations.report import ExpectationReport, ValidationReport
from merging.expectations.rules import rules_of
from merging.model import (
    ChangedRow,
    Check,
    Conflict,
    ConflictKind,
    Operation,
    Page,
    RekeyedRow,
    Resolution,
    Row,
    SchemaChange,
    Sides,
)
from merging.sql.cursors import make_cursor, read_cursor
from merging.sql.equality import differs, same_value
from merging.sql.failures import naming_engine_failures
from merging.sql.parsing import Refused, cell_value
from merging.sql.quoting import column_sql, literal
from merging.sql.session import Session
from merging.sql.values import read_text, stored_value
from merging.staging.staged import Staged, open_staged
from merging.threeway.alignment import Alignment, MergedColumn, align
from merging.threeway.checking import check_merged
from merging.threeway.request import MergeRequest
from merging.threeway.rows import (
    ROW,
    SIDE_LETTERS,
    apply_resolutions,
    find_conflicts,
    join_current,
    legal_choices,
    merge_rows,
    table_columns_sql,
)

_ITERATION_PAGE = 500


class Conflicts:
    """The conflicts of a plan in key order, resolved ones included (``choice`` tells). Counted exactly, paged.

    While the schema is in conflict only those conflicts are here: they come first.
    """

    def __init__(self, plan: MergePlan) -> None:
        self._plan = plan

    def __len__(self) -> int:
        plan = self._plan
        return len(plan.alignment.conflicts) or plan.conflict_count

    def __iter__(self) -> Iterator[Conflict]:
        after = None
        while True:
            page = self.page(after=after, limit=_ITERATION_PAGE)
            yield from page.items
            if page.next is None:
                return
            after = page.next

    def __bool__(self) -> bool:
        return len(self) > 0

    def page(
        self,
        after: str | None = None,
        limit: int = 100,
        column: str | None = None,
        *,
        unresolved_only: bool = False,
    ) -> Page[Conflict]:
        """Conflicts from a cursor on, all or those of one column."""
        return self._plan.conflict_page(after, limit, column, unresolved_only=unresolved_only)


class MergePlan:
    """What a merge of a request would do on the table version ``version``."""

    def __init__(self, request: MergeRequest, staged: Staged, snapshot: Snapshot) -> None:
        self.request = request
        self.staged = staged
        self.snapshot = snapshot
        self.version = snapshot.version
        self.strategy = snapshot.strategy().name
        self.session = Session()
        try:
            self._compute()
        except BaseException:
            self.session.close()
            raise

    @naming_engine_failures()
    def _compute(self) -> None:
        request, opened = self.request, self.session
        resolutions = tuple(request.resolutions)
        of_schema: dict[str | None, Resolution] = {one.column: one for one in resolutions if not one.key}
        self._row_resolutions = tuple(one for one in resolutions if one.key)
        self.alignment: Alignment = align(
            opened, self.staged, self.snapshot, of_schema, merge_schema=request.merge_schema
        )
        self.conflicts = Conflicts(self)
        self.conflict_count = 0
        self.resolved_count = 0
        self.rows_added = self.rows_updated = self.rows_deleted = self.rows_agreed = 0
        self.cells_updated: Mapping[str, int] = {}
        self.schema_changes: tuple[SchemaChange, ...] = self.alignment.changes
        self._built_in: tuple[Check, ...] = ()
        if not self.alignment.conflicts:
            self._merge_in_session()
        self.row_count_before: int = self.snapshot.row_count
        self.row_count_after: int = self.row_count_before + self.rows_added - self.rows_deleted
        self.digest: str = self._digest()

    def _merge_in_session(self) -> None:
        request, opened = self.request, self.session
        opened.expect_columns(len(self.alignment.columns))
        standing = join_current(opened, self.staged, self.snapshot, self.alignment)
        check = not request.skip_conflict_check
        if check:
            self.conflict_count = find_conflicts(
                opened, self.alignment, request.conflict_policy, untouched=standing.untouched
            )
            if self.conflict_count:
                apply_resolutions(opened, self.alignment, self._row_resolutions)
                self.resolved_count = opened.number("SELECT count(*) FROM conflicts WHERE choice IS NOT NULL")
        merge_rows(
            opened,
            self.alignment,
            self._row_resolutions,
            unresolved="proposed" if request.force_merge else "current",
            check=check,
        )
        self._pad_texts()
        self._compute_generated()
        changing = [
            (column, updated) for column in self.alignment.values if (updated := self.updates(column))
        ]
        inserts, updates, deletes, *cells = opened.counts(
            "FROM merged",
            [f"action = '{action}'" for action in ("insert", "update", "delete")]
            + [f"action = 'update' AND {updated}" for _, updated in changing],
        )
        self.rows_added, self.rows_updated, self.rows_deleted = inserts, updates, deletes
        self.cells_updated = {
            column.name: number for (column, _), number in zip(changing, cells, strict=True) if number
        }
        in_conflict = 0
        if self.conflict_count:
            in_conflict = opened.number(
                "SELECT count(DISTINCT n) FROM conflicts WHERE n NOT IN (SELECT n FROM merged)"
            )
        self.rows_agreed = self.staged.rows - inserts - updates - deletes - in_conflict
        self._built_in = tuple(self._checks())

    def _column_sql(self, name: str) -> str:
        """SQL of a column's merged value."""
        [position] = [column.position for column in self.alignment.columns if column.name == name]
        return f"m{position}"

    def updates(self, column: MergedColumn) -> str | None:
        """SQL that is true of merged rows in which a column's cell changes; None for columns whose cells never do."""
        if column.staged:
            return f"u{column.position}"
        if column.name in self._generated() and column.name not in self.alignment.keys:
            return differs(f"m{column.position}", f"c{column.position}", column.type)
        return None

    @cached_property
    def _column_rules(self) -> Mapping[str, ColumnRules]:
        return rules_of_schema(self.snapshot.schema_json)

    def _pad_texts(self) -> None:
        """Give cells of char(n) that change the form in which the table stores them, chosen values too."""
        for column in self.alignment.values:
            rules = self._column_rules.get(column.name)
            if rules is not None and rules.pads and column.staged:
                cell = f"m{column.position}"
                self.session.execute(
                    f"UPDATE merged SET {cell} = {rules.stored(cell)} "
                    f"WHERE action = 'insert' OR (action = 'update' AND u{column.position})"
                )

    def _compute_generated(self) -> None:
        """Give the columns that the table computes the values that follow from the merged rows.

        A row that cannot be judged gets NULL there, and fails its check. A key is its row's own: it is checked alone.
        """
        for name, expression in self._generated().items():
            if name not in self.alignment.keys:
                doubtful, value = expression.doubtful(self._column_sql), expression.sql(self._column_sql)
                self.session.execute(
                    f"UPDATE merged SET {self._column_sql(name)} = CASE WHEN {doubtful} THEN NULL ELSE {value} END "
                    "WHERE action <> 'delete'"
                )

    def _generated(self) -> Mapping[str, Expression]:
        return self.snapshot.rules.generated

    @property
    def unresolved(self) -> int:
        """How many conflicts still wait for a choice."""
        if self.alignment.conflicts:
            return len(self.alignment.conflicts)
        return self.conflict_count - self.resolved_count

    @cached_property
    @naming_engine_failures()
    def validation(self) -> ValidationReport:
        """All checks of the merged result. Expectations are judged when this is first asked for.

        Raises SuiteRejected when the request's suite does not fit the merged table.
        """
        report = self.check_expectations()
        if report is None:
            return ValidationReport(self._built_in)
        return ValidationReport((*self._built_in, *report.checks()), report)

    @naming_engine_failures()
    def check_expectations(self, *, rows_only: bool = False) -> ExpectationReport | None:
        """Judge the request's suite on the merged result; None without a suite or while the schema is in conflict.

        ``rows_only`` gives a quick answer from the changed rows, and defers what needs the whole table.
        Raises SuiteRejected when the suite does not fit the merged table.
        """
        if self.request.expectations is None or self.alignment.conflicts:
            return None
        return check_merged(
            self.session,
            self.alignment,
            self.snapshot,
            rules_of(self.request.expectations),
            replaces_rows=bool(self.rows_updated or self.rows_deleted),
            rows_only=rows_only,
        )

    @property
    def deleted_share(self) -> float:
        """The share of the table's rows that the merge deletes, from 0 to 1."""
        return self.rows_deleted / self.row_count_before if self.row_count_before else 0.0

    @property
    def changes_nothing(self) -> bool:
        """Whether the content is already in the table."""
        return not (self.rows_added or self.rows_updated or self.rows_deleted or self.schema_changes)

    def close(self) -> None:
        """Free the session. Pages can no longer be read."""
        self.session.close()

    def __enter__(self) -> MergePlan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def value_of(self, column: str, value: Any, *, as_text: bool = False) -> Any:
        """A value that somebody chose for a column, or a key, as the merged table holds it.

        ``value`` is JSON, or with ``as_text`` the text of a cell. Raises InvalidResolution where it does not fit.
        """
        types = {one.name: one.type for one in self.alignment.columns}
        if column not in types:
            raise InvalidResolution(f"The merged table has no column {column}.", data={"column": column})
        kind = types[column]
        try:
            typed = read_text(value, kind) if as_text and value is not None else cell_value(value, kind)
        except Refused as error:
            raise InvalidResolution(
                f"The value chosen for {column} does not fit: {error}", data={"column": column}
            ) from error
        return stored_value(typed, kind)

    # pages

    @naming_engine_failures()
    def rows(
        self,
        operation: Operation | None = None,
        column: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[ChangedRow]:
        """Rows that the merge changes in the table, in key order, with all four images."""
        if self.alignment.conflicts:
            return Page(())
        conditions = [f"m.n > {read_cursor(after, 'plan', 1)[0] if after else -1}"]
        if operation is not None:
            conditions.append(f"m.action = {literal(operation)}")
        if column is not None:
            conditions.append(self._changes_column(column))
        images = ", ".join(f"m{column.position}" for column in self.alignment.columns)
        found = self.session.rows(
            f"SELECT j.*, m.action, {images} FROM merged m JOIN joined j ON j.n = m.n "
            f"WHERE {' AND '.join(conditions)} ORDER BY m.n LIMIT {limit + 1}"
        )
        items = tuple(self._changed_row(row) for row in found[:limit])
        return Page(items, make_cursor("plan", found[limit - 1]["n"]) if len(found) > limit else None)

    def _changes_column(self, name: str) -> str:
        for column in self.alignment.values:
            if column.name == name:
                position = column.position
                changed = differs(f"m.m{position}", f"j.c{position}", column.type)
                return f"(m.action = 'delete' OR {changed})"
        return "false"

    def _changed_row(self, row: Mapping[str, Any]) -> ChangedRow:
        operation: Operation = row["action"]
        sides = self._images(row)
        merged = self._image(row, "m") if operation != "delete" else None
        values = self.alignment.values
        if operation == "update":
            changed = tuple(
                column.name
                for column in values
                if not same_value(row[f"m{column.position}"], row[f"c{column.position}"])
            )
        else:
            side = merged or sides.current or {}
            changed = tuple(column.name for column in values if side.get(column.name) is not None)
        return ChangedRow(self._key(row), operation, changed, sides, merged)

    def _key(self, row: Mapping[str, Any]) -> Row:
        return {name: row[f"k{place}"] for place, name in enumerate(self.staged.primary_keys)}

    def _images(self, row: Mapping[str, Any]) -> Sides[Row | None]:
        """A row of ``joined`` as it is on each side, None where it is not there."""
        return Sides(
            self._image(row, "b") if row["op"] != "insert" else None,
            self._image(row, "c") if row["here"] else None,
            self._image(row, "p") if row["op"] != "delete" else None,
        )

    def _image(self, row: Mapping[str, Any], side: str) -> Row:
        """One image of a row, without the columns that its side does not know."""
        key = self._key(row)
        image: Row = {}
        for column in self.alignment.columns:
            position = column.position
            if column.name in key:
                image[column.name] = key[column.name]
            elif (side == "b" and not column.in_base) or (side == "c" and column.added):
                continue
            elif side == "p" and not column.staged:
                if column.in_base or row["op"] == "insert":
                    image[column.name] = row[f"b{position}"]
            else:
                image[column.name] = row[f"{side}{position}"]
        return image

    @naming_engine_failures()
    def conflict_page(
        self, after: str | None, limit: int, column: str | None, *, unresolved_only: bool
    ) -> Page[Conflict]:
        """Used by ``conflicts.page``."""
        if self.alignment.conflicts:
            start = read_cursor(after, "schema", 1)[0] if after else 0
            chosen = [one for one in self.alignment.conflicts if column is None or one.column == column]
            rest = make_cursor("schema", start + limit) if len(chosen) > start + limit else None
            return Page(tuple(chosen[start : start + limit]), rest)
        if not self.conflict_count:
            return Page(())
        n, col = read_cursor(after, "conflicts", 2) if after else (-1, ROW)
        conditions = [f"(x.n > {n} OR (x.n = {n} AND x.col > {col}))"]
        if column is not None:
            positions = [one.position for one in self.alignment.columns if one.name == column] or [-2]
            conditions.append(f"x.col = {positions[0]}")
        if unresolved_only:
            conditions.append("x.choice IS NULL")
        found = self.session.rows(
            "SELECT x.col, x.kind, x.digest, x.choice, x.pick, j.* FROM conflicts x JOIN joined j ON j.n = x.n "
            f"WHERE {' AND '.join(conditions)} ORDER BY x.n, x.col LIMIT {limit + 1}"
        )
        items = tuple(self._conflict(row) for row in found[:limit])
        last = found[limit - 1] if len(found) > limit else None
        return Page(items, make_cursor("conflicts", last["n"], last["col"]) if last else None)

    def _conflict(self, row: Mapping[str, Any]) -> Conflict:
        kind: ConflictKind = row["kind"]
        is_row = row["col"] == ROW
        column = None if is_row else self.alignment.columns[row["col"]]
        value = None
        if column is not None and row["choice"] == "custom":
            chosen = self._row_resolutions[row["pick"]].value
            value = stored_value(cell_value(chosen, column.type), column.type)
        return Conflict(
            key=self._key(row),
            column=None if column is None else column.name,
            kind=kind,
            sides=self._images(row)
            if column is None
            else SIDE_LETTERS.map(lambda side: row[f"{side}{column.position}"]),
            inputs_digest=row["digest"],
            legal_choices=legal_choices(kind, row=is_row),
            choice=row["choice"],
            value=value,
            rekeyed_to=self._key_of(row["rekeyed"]) if is_row and kind == "modify/delete" else None,
        )

    def _key_of(self, number: int | None) -> Row | None:
        if number is None:
            return None
        keys = ", ".join(f"k{place}" for place in range(len(self.staged.primary_keys)))
        found = self.session.rows(f"SELECT {keys} FROM joined WHERE n = {number}")
        return self._key(found[0]) if found else None

    @naming_engine_failures()
    def rekeyed(self, limit: int = 100) -> tuple[RekeyedRow, ...]:
        """Rows whose content leaves one key for another in this request."""
        if not self.staged.rekeyed_rows or self.alignment.conflicts:
            return ()
        keys = [f"k{place}" for place in range(len(self.staged.primary_keys))]
        old, new = ", ".join(f"o.{key} AS o_{key}" for key in keys), ", ".join(f"j.{key}" for key in keys)
        found = self.session.rows(
            f"SELECT {old}, {new} FROM joined o JOIN joined j ON j.n = o.rekeyed "
            f"WHERE o.op = 'delete' ORDER BY o.n LIMIT {limit}"
        )
        names = self.staged.primary_keys
        return tuple(
            RekeyedRow(
                {name: row[f"o_k{place}"] for place, name in enumerate(names)},
                {name: row[f"k{place}"] for place, name in enumerate(names)},
            )
            for row in found
        )

    # for the executor

    @naming_engine_failures()
    def unresolved_conflicts(self, limit: int = 1_000) -> tuple[Conflict, ...]:
        """The first conflicts that still wait for a choice."""
        return self.conflict_page(None, limit, None, unresolved_only=True).items

    def row_changes(self) -> RowChanges:
        """Views of what the merge removes and adds, as the border to Delta takes them."""
        opened = self.session
        merged = table_columns_sql(self.alignment, "m")
        # A new column has no current value, so images of before carry NULL there.
        current = table_columns_sql(self.alignment, "c")
        views = {
            "removed_rows": "SELECT file_index, row_number FROM merged WHERE action <> 'insert'",
            "added_rows": f"SELECT {merged} FROM merged WHERE action <> 'delete'",
            "inserted_rows": f"SELECT {merged} FROM merged WHERE action = 'insert'",
            "updated_after": f"SELECT {merged} FROM merged WHERE action = 'update'",
            "updated_before": f"SELECT {current} FROM merged WHERE action = 'update'",
            "deleted_rows": f"SELECT {current} FROM merged WHERE action = 'delete'",
        }
        for name, query in views.items():
            opened.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {query}")
        return RowChanges(
            removed="removed_rows" if self.rows_updated or self.rows_deleted else None,
            added="added_rows" if self.rows_updated or self.rows_added else None,
            inserted="inserted_rows",
            updated_before="updated_before",
            updated_after="updated_after",
            deleted="deleted_rows",
            key_columns=self.staged.primary_keys,
        )

    def _checks(self) -> Iterator[Check]:
        opened = self.session
        keys = [column for column in self.alignment.columns if column.name in self.alignment.keys]
        listed = ", ".join(f"m{column.position}" for column in keys)
        nulls = " OR ".join(f"m{column.position} IS NULL" for column in keys)
        broken, rows, distinct = opened.row(
            f"SELECT count(*) FILTER ({nulls}), count(*), count(DISTINCT ({listed})) FROM merged"
        )
        yield Check(
            "unique_key",
            rows == distinct and not broken,
            "Every merged row has a complete key of its own."
            if rows == distinct and not broken
            else f"{rows - distinct + broken:,} merged rows lack a key of their own.",
            rows - distinct + broken,
        )
        for column in self.alignment.columns:
            if column.nullable or column.added:
                continue
            yield self._rows_check(
                f"not_null:{column.name}",
                f"m{column.position} IS NULL",
                f"{column.name} has a value in every merged row.",
                f"merged rows have no value in {column.name}, which takes no NULL.",
            )
        for name, rules in self._column_rules.items():
            for rule in rules.rules:
                kind = "not_null" if rule.limit is None else "length"
                yield self._rows_check(
                    f"{kind}:{rule.place}",
                    rule.broken_by(self._column_sql(name)),
                    f"{rule.place} {rule.demand}, and does in every merged row.",
                    f"merged rows break a rule of the table: {rule.place} {rule.demand}.",
                )
        yield from self._rule_checks()

    def _rule_checks(self) -> Iterator[Check]:
        """The rules that the table's own expressions make, judged on the rows that the merge writes."""
        for rule in self.snapshot.rules.conditions:
            holds, doubtful = (
                rule.expression.sql(self._column_sql),
                rule.expression.doubtful(self._column_sql),
            )
            yield self._rows_check(
                rule.name,
                f"CASE WHEN {doubtful} THEN true ELSE {holds} IS NOT TRUE END",
                f"{rule.sentence} holds in every merged row.",
                f"merged rows break {rule.sentence}{_or_doubtful(doubtful)}.",
            )
        for name, expression in self._generated().items():
            doubtful = expression.doubtful(self._column_sql)
            given = "false"
            if name in self.alignment.keys:
                given = f"{self._column_sql(name)} IS DISTINCT FROM {expression.sql(self._column_sql)}"
            yield self._rows_check(
                f"generated:{name}",
                f"CASE WHEN {doubtful} THEN true ELSE {given} END",
                f"{name} is {expression.text} in every merged row.",
                f"merged rows have another {name} than {expression.text}{_or_doubtful(doubtful)}.",
            )

    def _rows_check(self, name: str, broken: str, passed: str, failed: str) -> Check:
        """A check of the rows that the merge writes: `broken` is SQL of a row that does not pass."""
        condition = f"action <> 'delete' AND ({broken})"
        failures = self.session.number(f"SELECT count(*) FROM merged WHERE {condition}")
        examples: tuple[dict[str, Any], ...] = ()
        if failures:
            keys = [column for column in self.alignment.columns if column.name in self.alignment.keys]
            shown = ", ".join(f"m{one.position} AS {column_sql(one.name)}" for one in keys)
            examples = tuple(
                self.session.user_rows(f"SELECT {shown} FROM merged WHERE {condition} ORDER BY n LIMIT 20")
            )
        return Check(
            name, not failures, passed if not failures else f"{failures:,} {failed}", failures, examples
        )

    def _digest(self) -> str:
        """Stands for the merge's effect: content, choices, counts, conflicts. Not for the version it is made on."""
        whole = hashlib.sha256()
        facts = {
            "staged": self.staged.digest,
            "table": self.snapshot.table_id,
            "policy": self.request.conflict_policy,
            "skip": self.request.skip_conflict_check,
            "force": self.request.force_merge,
            "rows": [self.rows_added, self.rows_updated, self.rows_deleted],
            "cells": sorted(self.cells_updated.items()),
            "schema": [[one.kind, one.column, one.type] for one in self.schema_changes],
            "left_out": sorted(self.alignment.left_out),
            "schema_conflicts": [one.inputs_digest for one in self.alignment.conflicts],
        }
        whole.update(json.dumps(facts, sort_keys=True).encode())
        if self.conflict_count:
            chosen = self.session.connection.execute(
                "SELECT digest, choice, pick FROM conflicts ORDER BY n, col"
            ).fetchall()
            for digest, choice, pick in chosen:
                value = self._row_resolutions[pick].value if choice == "custom" else None
                whole.update(f"{digest} {choice} {value!r}\n".encode())
        return whole.hexdigest()


def _or_doubtful(doubtful: str) -> str:
    """What else may be wrong with rows that do not pass, where some values cannot be judged as Spark does."""
    if doubtful == "false":
        return ""
    return (
        ", or hold values that Spark may judge otherwise (beyond what a type holds, outside of ASCII or of the years "
        "1 to 9999)"
    )


def plan(request: MergeRequest) -> MergePlan:
    """What merging the request would do on the table's newest version. Writes nothing.

    Raises StagedCorrupt, TableNotFound, TableChanged, UnsupportedTable, DuplicateKeys, InvalidResolution.
    """
    staged = resolve_staged(request)
    snapshot = open_snapshot(request.table_uri, storage_options=request.storage_options)
    return plan_on(request, staged, snapshot)


def resolve_staged(request: MergeRequest) -> Staged:
    """The request's staged content, verified."""
    location = request.staged.location if isinstance(request.staged, Staged) else request.staged
    staged = open_staged(location)
    expected = {request.staged_digest} - {""}
    if isinstance(request.staged, Staged):
        expected.add(request.staged.digest)
    if expected - {staged.digest}:
        raise TableChanged("The staged content was replaced by other content.", data={"location": location})
    return staged


def plan_on(request: MergeRequest, staged: Staged, snapshot: Snapshot) -> MergePlan:
    """The plan on one snapshot: what both ``plan`` and every attempt of ``merge`` run."""
    if set(request.primary_keys) != set(staged.primary_keys):
        raise TableChanged(
            f"The request names the key columns {', '.join(request.primary_keys)}, the content was staged with "
            f"{', '.join(staged.primary_keys)}; stage it again.",
            data={
                "primary_keys": list(request.primary_keys),
                "staged_primary_keys": list(staged.primary_keys),
            },
        )
    return MergePlan(request, staged, snapshot)
