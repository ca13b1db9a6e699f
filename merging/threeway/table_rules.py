"""The table's own rules on the rows that a merge writes: key, NOT NULL, lengths, constraints, computed columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from merging.delta import Snapshot
from merging.delta.column_rules import ColumnRules
from merging.delta.identity import Numbering
from merging.model import Check
from merging.sql.quoting import column_sql
from merging.sql.session import Session
from merging.threeway.alignment import Alignment, MergedColumn


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
    yield from _filled_checks(opened, alignment, snapshot)
    yield from _expression_checks(opened, alignment, snapshot)


def _filled_checks(opened: Session, alignment: Alignment, snapshot: Snapshot) -> Iterator[Check]:
    """Whether the table has what it fills new rows with: a default that is proved, numbers that are left."""
    rules = snapshot.rules
    for column in alignment.values:
        name, filled = column.name, f"f{column.position}"
        default = rules.defaults.get(name)
        if default is not None and default.doubtful(str) != "false":
            yield _rows_check(
                opened,
                alignment,
                f"default:{name}",
                f"{filled} AND {default.doubtful(str)}",
                f"{name} is {default.text} in every new row that says nothing of it.",
                f"new rows say nothing of {name}, whose default ({default.text}) does not fit it.",
            )
        identity = rules.identities.get(name)
        if identity is not None:
            yield _rows_check(
                opened,
                alignment,
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
