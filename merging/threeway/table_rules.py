"""The table's own rules on the rows that a merge writes: key, NOT NULL, lengths, constraints, computed columns.

All of them are asked for in one list, whatever their number, of whoever counts what the merge does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from merging.delta import Snapshot
from merging.delta.column_rules import ColumnRules
from merging.delta.identity import Numbering
from merging.model import Check
from merging.sql.quoting import column_sql
from merging.sql.session import Session
from merging.sql.types import is_text
from merging.threeway.alignment import MergedColumn
from merging.threeway.merged import MergedCells


@dataclass(frozen=True)
class _Rule:
    """A rule of the rows that the merge writes: ``broken`` is SQL of a row that does not pass, ``failed`` goes on from
    how many do not.
    """

    name: str
    broken: str
    passed: str
    failed: str

    @property
    def condition(self) -> str:
        """SQL of a row that the merge writes and that does not pass; no other row is judged."""
        return f"CASE WHEN action <> 'delete' THEN {self.broken} ELSE false END"


@dataclass(frozen=True)
class AskedRules:
    """The rules of a table that rows in ``merged`` are to keep: its key, its columns', its expressions'."""

    cells: MergedCells
    rules: Sequence[_Rule]

    @classmethod
    def of(cls, cells: MergedCells, snapshot: Snapshot, columns: Mapping[str, ColumnRules]) -> AskedRules:
        """Those of a table, and of its ``columns``."""
        return cls(
            cells,
            [
                *_column_rules(cells, columns),
                *_filled_rules(cells, snapshot),
                *_expression_rules(cells, snapshot),
                *_partition_rules(cells, snapshot),
            ],
        )

    @property
    def aggregates(self) -> list[str]:
        """What ``checks`` are to be told: how many rows lack a key of their own, and how many break each rule."""
        cells = self.cells
        keys = [
            cells.after(column) for column in cells.alignment.columns if column.name in cells.alignment.keys
        ]
        nulls = " OR ".join(f"{key} IS NULL" for key in keys)
        lacking = f"count(*) - count(DISTINCT ({', '.join(keys)})) + count_if({nulls})"
        return [lacking, *(f"count_if({rule.condition})" for rule in self.rules)]

    def checks(self, opened: Session, found: Sequence[int]) -> tuple[Check, ...]:
        """Whether the rows that the merge writes keep the rules, by the ``found`` numbers."""
        lacking, *broken = found
        judged = (
            _judged(opened, self.cells, rule, number) for rule, number in zip(self.rules, broken, strict=True)
        )
        return (_unique_key(lacking), *judged)


def _unique_key(lacking: int) -> Check:
    return Check(
        "unique_key",
        not lacking,
        f"{lacking:,} merged rows lack a key of their own."
        if lacking
        else "Every merged row has a complete key of its own.",
        lacking,
    )


def _column_rules(cells: MergedCells, rules: Mapping[str, ColumnRules]) -> Iterator[_Rule]:
    """What the table asks of the cells of single columns."""
    for column in cells.alignment.columns:
        if column.nullable or column.added:
            continue
        yield _Rule(
            f"not_null:{column.name}",
            f"{cells.after(column)} IS NULL",
            f"{column.name} has a value in every merged row.",
            f"merged rows have no value in {column.name}, which takes no NULL.",
        )
    for name, known in rules.items():
        for rule in known.rules:
            kind = "not_null" if rule.limit is None else "length"
            yield _Rule(
                f"{kind}:{rule.place}",
                rule.broken_by(cells.merged_sql(name)),
                f"{rule.place} {rule.demand}, and does in every merged row.",
                f"merged rows break a rule of the table: {rule.place} {rule.demand}.",
            )


def _filled_rules(cells: MergedCells, snapshot: Snapshot) -> Iterator[_Rule]:
    """Whether the table has what it fills new rows with: a default that is proved, numbers that are left."""
    rules = snapshot.rules
    for column in cells.alignment.values:
        name, filled = column.name, f"f{column.position}"
        default = rules.defaults.get(name)
        if default is not None and default.doubtful(str) != "false":
            yield _Rule(
                f"default:{name}",
                f"{filled} AND {default.doubtful(str)}",
                f"{name} is {default.text} in every new row that says nothing of it.",
                f"new rows say nothing of {name}, whose default ({default.text}) does not fit it.",
            )
        identity = rules.identities.get(name)
        if identity is not None:
            yield _Rule(
                f"identity:{name}",
                _unnumbered(column, identity),
                f"{name} has a number of the table's in every new row.",
                f"new rows have no number that {name} can have, which is {identity.words}; numbers that the "
                f"table has left: {identity.left:,}.",
            )


def _unnumbered(column: MergedColumn, identity: Numbering) -> str:
    """SQL: a new row has no number, or brings one that the table never gave and takes from nobody."""
    number = f"m{column.position}"
    if identity.takes_values:
        return f"action = 'insert' AND {number} IS NULL"
    given = f"f{column.position} OR coalesce({identity.was_given(number)}, false)"
    return f"action = 'insert' AND ({number} IS NULL OR NOT ({given}))"


def _expression_rules(cells: MergedCells, snapshot: Snapshot) -> Iterator[_Rule]:
    """The rules that the table's own expressions make, judged on the rows that the merge writes."""
    for rule in snapshot.rules.conditions:
        holds, doubtful = rule.expression.sql(cells.merged_sql), rule.expression.doubtful(cells.merged_sql)
        yield _Rule(
            rule.name,
            f"CASE WHEN {doubtful} THEN true ELSE {holds} IS NOT TRUE END",
            f"{rule.sentence} holds in every merged row.",
            f"merged rows break {rule.sentence}{_or_doubtful(doubtful)}.",
        )
    for name, expression in snapshot.rules.generated.items():
        doubtful = expression.doubtful(cells.merged_sql)
        given = "false"
        if name in cells.alignment.keys:
            given = f"{cells.merged_sql(name)} IS DISTINCT FROM {expression.sql(cells.merged_sql)}"
        yield _Rule(
            f"generated:{name}",
            f"CASE WHEN {doubtful} THEN true ELSE {given} END",
            f"{name} is {expression.text} in every merged row.",
            f"merged rows have another {name} than {expression.text}{_or_doubtful(doubtful)}.",
        )


def _partition_rules(cells: MergedCells, snapshot: Snapshot) -> Iterator[_Rule]:
    """What a folder can be named after: the table fills columns, and people choose values, after the content is staged.

    A row to which somebody else gave an empty text may keep it.
    """
    for column in cells.alignment.columns:
        if column.name in snapshot.partition_columns and is_text(column.type):
            yield _Rule(
                f"partition:{column.name}",
                f"{cells.after(column)} = '' AND (action = 'insert' OR {cells.before(column)} IS DISTINCT FROM '')",
                f"{column.name} is an empty text in no merged row: it partitions the table.",
                f"merged rows have an empty text in {column.name}, which partitions the table: it cannot be told from "
                "NULL there.",
            )


def _judged(opened: Session, cells: MergedCells, rule: _Rule, failures: int) -> Check:
    """The check that so many rows do not pass, with the first of them."""
    if not failures:
        return Check(rule.name, True, rule.passed)
    keys = [one for one in cells.alignment.columns if one.name in cells.alignment.keys]
    shown = ", ".join(f"{cells.after(one)} AS {column_sql(one.name)}" for one in keys)
    examples: tuple[dict[str, Any], ...] = tuple(
        opened.user_rows(f"SELECT {shown} FROM merged WHERE {rule.condition} ORDER BY n LIMIT 20")
    )
    return Check(rule.name, False, f"{failures:,} {rule.failed}", failures, examples)


def _or_doubtful(doubtful: str) -> str:
    """What else may be wrong with rows that do not pass, where some values cannot be judged as Spark does."""
    if doubtful == "false":
        return ""
    return (
        ", or hold values that Spark may judge otherwise (beyond what a type holds, outside of ASCII or of the years "
        "1 to 9999)"
    )
