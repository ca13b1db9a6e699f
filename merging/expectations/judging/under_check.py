"""What judges work on: the merged result as relations, and what is known of each expectation so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import duckdb

from merging.expectations.cage import Cage
from merging.expectations.expectation import Expectation
from merging.expectations.findings import Counts, Finding, NotChecked
from merging.expectations.judged_rows import JudgedRows
from merging.expectations.report import FailingRow, Scope
from merging.model import Column
from merging.sql.failures import raise_unreachable
from merging.sql.quoting import column_label, column_sql
from merging.sql.session import Session

#: What may stop the check of one expectation, and of no other.
CANNOT = (duckdb.Error, NotChecked, OverflowError, MemoryError)


@dataclass(frozen=True)
class Failures:
    """Rows that fail now: some of them, how many, how many of them new."""

    rows: tuple[FailingRow, ...] = ()
    total: int = 0
    new: int = 0


@dataclass
class Checked:
    """What is known of one expectation while it is checked."""

    expectation: Expectation
    scope: Scope = "table"
    finding: Finding | None = None
    finding_before: Finding | None = None
    counts: Counts | None = None
    counts_before: Counts | None = None
    ok: bool = True
    ok_before: bool = True
    failures: Failures = field(default_factory=Failures)
    new: bool = False
    deferred: bool = False
    error: str | None = None


@dataclass(frozen=True)
class MergedResult:
    """A table after a merge, and what the merge changes.

    ``merged``: every row after the merge; ``changed``: those that it adds or updates, as they will be; ``replaced``:
    those that it updates or deletes, as they were; ``before``: every row now. ``scope`` is what is asked for: an
    expectation that looks at a share of the table looks at all of it in any case. ``cage`` is where users' patterns are
    matched.
    """

    session: Session
    merged: JudgedRows
    changed: JudgedRows
    replaced: JudgedRows | None
    before: JudgedRows | None
    keys: tuple[str, ...]
    columns: tuple[Column, ...]
    added_columns: frozenset[str]
    scope: Scope
    examples: int
    cage: Cage

    def scope_of(self, one: Expectation) -> Scope:
        """Which rows an expectation on rows is judged by."""
        return "changes" if self.scope == "changes" and one.mostly == 1 else "table"

    def key_list(self) -> str:
        """SQL: the key columns."""
        return ", ".join(column_sql(name) for name in self.keys)

    def same(self, left: str, right: str) -> str:
        """SQL: two relations agree in the key."""
        return " AND ".join(f"{left}.{column_sql(name)} = {right}.{column_sql(name)}" for name in self.keys)

    def failing_rows(self, failing: str, one: Expectation) -> Failures:
        """Some rows of a query (keys, judged columns, is_new), the new ones first, and its exact counts."""
        total, new = self.session.row(f"SELECT count(*), count(*) FILTER (is_new) FROM ({failing})")
        order = "".join(f", f.{column_sql(name)}" for name in self.keys)
        listed = f"SELECT * FROM ({failing}) f ORDER BY is_new DESC{order} LIMIT {self.examples}"
        was, joins = "false AS was_there", ""
        if self.keys and self.replaced is not None and self.replaced != self.before:
            earlier = "".join(
                f", {column_sql(name)} AS was_{place}" for place, name in enumerate(one.read_columns)
            )
            was = "r.was_there IS NOT NULL AS was_there" + "".join(
                f", r.was_{place}" for place in range(len(one.read_columns))
            )
            joins = (
                f"LEFT JOIN (SELECT {self.key_list()}, true AS was_there{earlier} FROM {self.replaced}) r "
                f"ON {self.same('f', 'r')}"
            )
        found = self.session.rows(
            f"SELECT f.*, {was} FROM ({listed}) f {joins} ORDER BY f.is_new DESC{order}"
        )
        rows = tuple(
            FailingRow(
                key={name: row[column_label(name)] for name in self.keys},
                values={name: row[column_label(name)] for name in one.read_columns},
                new=row["is_new"],
                before={name: row[f"was_{place}"] for place, name in enumerate(one.read_columns)}
                if row["was_there"]
                else None,
            )
            for row in found
        )
        return Failures(rows, total, new)


def guarded(checked: Checked, check: Callable[[Checked], None]) -> None:
    """Check one expectation; what it cannot do is its own error and stops no other."""
    try:
        check(checked)
    except CANNOT as error:
        raise_unreachable(error)
        checked.error = first_line(error)


def first_line(error: BaseException) -> str:
    """An error as people read it."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
