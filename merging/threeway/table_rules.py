"""The table's own rules on the rows that a merge writes: key, NOT NULL, lengths, constraints, computed columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from merging.delta import Snapshot
from merging.delta.column_rules import ColumnRules
from merging.model import Check
from merging.sql.quoting import column_sql
from merging.sql.session import Session
from merging.threeway.alignment import Alignment


def table_checks(
    opened: Session, alignment: Alignment, snapshot: Snapshot, rules: Mapping[str, ColumnRules]
) -> Iterator[Check]:
    """Whether the rows that the merge writes keep the table's own rules: its key, its columns', its expressions'."""
    keys = [column for column in alignment.columns if column.name in alignment.keys]
    listed = ", ".join(f"m{column.position}" for column in keys)
    nulls = " OR ".join(f"m{column.position} IS NULL" for column in keys)
    broken, rows, distinct = opened.row(
        f"SELECT count(*) FILTER ({nulls}), count(*), count(DISTINCT ({listed})) FROM merged"
    )
    lacking = rows - distinct + broken
    yield Check(
        "unique_key",
        not lacking,
        f"{lacking:,} merged rows lack a key of their own."
        if lacking
        else "Every merged row has a complete key of its own.",
        lacking,
    )
    for column in alignment.columns:
        if column.nullable or column.added:
            continue
        yield _rows_check(
            opened,
            alignment,
            f"not_null:{column.name}",
            f"m{column.position} IS NULL",
            f"{column.name} has a value in every merged row.",
            f"merged rows have no value in {column.name}, which takes no NULL.",
        )
    for name, known in rules.items():
        for rule in known.rules:
            kind = "not_null" if rule.limit is None else "length"
            yield _rows_check(
                opened,
                alignment,
                f"{kind}:{rule.place}",
                rule.broken_by(alignment.merged_sql(name)),
                f"{rule.place} {rule.demand}, and does in every merged row.",
                f"merged rows break a rule of the table: {rule.place} {rule.demand}.",
            )
    yield from _expression_checks(opened, alignment, snapshot)


def _expression_checks(opened: Session, alignment: Alignment, snapshot: Snapshot) -> Iterator[Check]:
    """The rules that the table's own expressions make, judged on the rows that the merge writes."""
    for rule in snapshot.rules.conditions:
        holds, doubtful = (
            rule.expression.sql(alignment.merged_sql),
            rule.expression.doubtful(alignment.merged_sql),
        )
        yield _rows_check(
            opened,
            alignment,
            rule.name,
            f"CASE WHEN {doubtful} THEN true ELSE {holds} IS NOT TRUE END",
            f"{rule.sentence} holds in every merged row.",
            f"merged rows break {rule.sentence}{_or_doubtful(doubtful)}.",
        )
    for name, expression in snapshot.rules.generated.items():
        doubtful = expression.doubtful(alignment.merged_sql)
        given = "false"
        if name in alignment.keys:
            given = f"{alignment.merged_sql(name)} IS DISTINCT FROM {expression.sql(alignment.merged_sql)}"
        yield _rows_check(
            opened,
            alignment,
            f"generated:{name}",
            f"CASE WHEN {doubtful} THEN true ELSE {given} END",
            f"{name} is {expression.text} in every merged row.",
            f"merged rows have another {name} than {expression.text}{_or_doubtful(doubtful)}.",
        )


def _rows_check(
    opened: Session, alignment: Alignment, name: str, broken: str, passed: str, failed: str
) -> Check:
    """A check of the rows that the merge writes: `broken` is SQL of a row that does not pass."""
    condition = f"action <> 'delete' AND ({broken})"
    failures = opened.number(f"SELECT count(*) FROM merged WHERE {condition}")
    examples: tuple[dict[str, Any], ...] = ()
    if failures:
        keys = [column for column in alignment.columns if column.name in alignment.keys]
        shown = ", ".join(f"m{one.position} AS {column_sql(one.name)}" for one in keys)
        examples = tuple(
            opened.user_rows(f"SELECT {shown} FROM merged WHERE {condition} ORDER BY n LIMIT 20")
        )
    return Check(name, not failures, passed if not failures else f"{failures:,} {failed}", failures, examples)


def _or_doubtful(doubtful: str) -> str:
    """What else may be wrong with rows that do not pass, where some values cannot be judged as Spark does."""
    if doubtful == "false":
        return ""
    return (
        ", or hold values that Spark may judge otherwise (beyond what a type holds, outside of ASCII or of the years "
        "1 to 9999)"
    )
