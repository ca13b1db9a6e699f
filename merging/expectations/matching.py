"""Texts that SQL cannot judge, or not alone: each distinct text is judged once, in a confined process.

Regular expressions go to DuckDB where RE2 and Python agree (``regexes``) and the text is ASCII; all other texts are
judged by Python, in batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import duckdb
import pyarrow as pa

from merging.expectations.cage import Cage
from merging.expectations.expectation import Expectation, TextJudge
from merging.expectations.judged_rows import JudgedRows
from merging.sql.quoting import column_sql
from merging.sql.session import Session

_BATCH = 100_000
_BATCH_CHARACTERS = 16_000_000


def prepare_matching(
    opened: Session, expectation: Expectation, judge: TextJudge, relations: Iterable[JudgedRows], cage: Cage
) -> str:
    """Judge the texts of the relations; returns the predicate of failing rows (never NULL on judged rows).

    It refers to a temporary table ``expectation_bad_<number>``. Raises NotChecked.
    """
    [name] = expectation.columns
    column = column_sql(name)
    in_sql = _taken(opened, judge.in_sql(expectation), column)
    wanted = expectation.judged
    if in_sql is not None:
        wanted += f" AND strlen({column}) <> length({column})"
    sources = " UNION ".join(
        f"SELECT DISTINCT {column} AS value FROM {relation} WHERE {wanted}" for relation in relations
    )
    table = f"expectation_bad_{expectation.number}"
    opened.execute(f"CREATE OR REPLACE TEMP TABLE {table}(value VARCHAR)")
    found = opened.connection.execute(sources).fetchall()
    any_bad = False
    question = judge.question(expectation)
    for texts in _batches([value for (value,) in found]):
        places = cage.ask(
            expectation.number, judge.function, {**question, "texts": texts}, advice=judge.advice
        )
        bad = [texts[place] for place in places]
        if bad:
            any_bad = True
            opened.connection.register("judged_texts", pa.table({"value": pa.array(bad, pa.string())}))
            opened.execute(f"INSERT INTO {table} SELECT value FROM judged_texts")
            opened.connection.unregister("judged_texts")
    by_python = f"{column} IN (SELECT value FROM {table})" if any_bad else "false"
    if in_sql is None:
        return f"({by_python})"
    return f"(CASE WHEN strlen({column}) = length({column}) THEN NOT ({in_sql}) ELSE {by_python} END)"


def _taken(opened: Session, in_sql: str | None, column: str) -> str | None:
    """A predicate that DuckDB takes: RE2 refuses patterns that are long when their repetitions are written out."""
    if in_sql is not None:
        try:
            opened.row(f"SELECT {in_sql} FROM (SELECT '' AS {column})")
        except duckdb.Error:
            return None
    return in_sql


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for text in texts:
        if batch and (len(batch) == _BATCH or characters + len(text) > _BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(text)
        characters += len(text)
    if batch:
        yield batch
