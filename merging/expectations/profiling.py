"""A first suite for a table, from its own data: missing values, ranges, sets of values, the key.

It holds for the table as it is, so that an owner starts from what is true and says what must stay true. What is
proposed of an expectation stands in its entry. Two scans at most: one of aggregates over all columns, one for the texts
with few different values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from merging.expectations.catalogue import CATALOGUE
from merging.expectations.expectation import Entry
from merging.expectations.judged_rows import JudgedRows
from merging.expectations.profile import ColumnFacts, Proposal, TableFacts
from merging.expectations.values import ORDERED, family, missing
from merging.model import Column
from merging.sql.quoting import column_label, column_sql
from merging.sql.session import Session

_FEW_VALUES = 25
_ROWS_PER_VALUE = 20
_LONGEST_VALUE = 100


def propose_suite(
    opened: Session,
    source: JudgedRows,
    columns: Sequence[Column],
    *,
    keys: Sequence[str] = (),
    name: str = "",
) -> dict[str, Any]:
    """A Great Expectations suite (JSON) that the rows with these columns satisfy, to be edited by an owner."""
    facts = _facts(opened, source, columns)
    few = [column.name for column in columns if _has_few_values(column, facts)]
    sets = _sets(opened, source, few)
    table = TableFacts(tuple(column.name for column in columns), facts["rows"], tuple(keys))
    proposed = [*_of_table(table)]
    for place, column in enumerate(columns):
        proposed += _of_column(_column_facts(column, place, facts, sets, keys))
    return {
        "name": name or "proposed",
        "expectations": proposed,
        "meta": {"proposed_from_rows": facts["rows"]},
    }


def _of_table(facts: TableFacts) -> Iterator[dict[str, Any]]:
    for entry in CATALOGUE.values():
        if entry.propose_for_table is not None:
            yield from _proposed(entry, entry.propose_for_table(facts))


def _of_column(facts: ColumnFacts) -> Iterator[dict[str, Any]]:
    for entry in CATALOGUE.values():
        if entry.propose_for_column is not None:
            yield from _proposed(entry, entry.propose_for_column(facts))


def _proposed(entry: Entry, proposal: Proposal | None) -> Iterator[dict[str, Any]]:
    if proposal is not None:
        yield {"type": entry.type, "kwargs": dict(proposal.kwargs), "severity": proposal.severity}


def _column_facts(
    column: Column,
    place: int,
    facts: Mapping[str, Any],
    sets: Mapping[str, Sequence[str]],
    keys: Sequence[str],
) -> ColumnFacts:
    return ColumnFacts(
        column,
        family(column.type),
        rows=facts["rows"],
        values=facts[f"values_{place}"],
        is_key=column.name in keys,
        low=facts.get(f"low_{place}"),
        high=facts.get(f"high_{place}"),
        listed=sets.get(column.name),
    )


def _facts(opened: Session, source: JudgedRows, columns: Sequence[Column]) -> Mapping[str, Any]:
    parts = {"rows": "count(*)"}
    for place, column in enumerate(columns):
        kind = family(column.type)
        present = f"NOT {missing(column.name, kind)}"
        name = column_sql(column.name)
        parts[f"values_{place}"] = f"count(*) FILTER ({present})"
        if kind in ORDERED:
            parts[f"low_{place}"] = f"min({name}) FILTER ({present})"
            parts[f"high_{place}"] = f"max({name}) FILTER ({present})"
        if kind == "text":
            parts[f"different_{place}"] = f"approx_count_distinct({name})"
            parts[f"low_{place}"] = f"min(length({name}))"
            parts[f"high_{place}"] = f"max(length({name}))"
    values = source.numbers(opened, list(parts.values()), [column.name for column in columns])
    return {
        **dict(zip(parts, values, strict=True)),
        "places": {column.name: place for place, column in enumerate(columns)},
    }


def _has_few_values(column: Column, facts: Mapping[str, Any]) -> bool:
    place = facts["places"][column.name]
    different = facts.get(f"different_{place}")
    if different is None or not facts[f"values_{place}"]:
        return False
    enough_rows = facts[f"values_{place}"] >= _ROWS_PER_VALUE * different
    return bool(different <= _FEW_VALUES and enough_rows and facts[f"high_{place}"] <= _LONGEST_VALUE)


def _sets(opened: Session, source: JudgedRows, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
    if not names:
        return {}
    listed = ", ".join(
        f"list_sort(list(DISTINCT {column_sql(name)}) FILTER ({column_sql(name)} IS NOT NULL)) AS {column_sql(name)}"
        for name in names
    )
    [row] = opened.rows(f"SELECT {listed} FROM {source}")
    return {name: row[column_label(name)] for name in names}
