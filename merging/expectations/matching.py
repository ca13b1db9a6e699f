"""Texts that SQL cannot judge, or not alone: each distinct text is judged once, by Python.

Regular expressions go to DuckDB where RE2 and Python agree (``regexes``) and the text is ASCII; all other texts are
judged by Python, in batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import pyarrow as pa

from merging.confinement import Bounds, run_confined
from merging.errors import ConfinedTooLong
from merging.expectations.expectation import Expectation, TextJudge
from merging.expectations.findings import NotChecked
from merging.sql.quoting import column_sql
from merging.sql.session import Session

_BATCH = 100_000
REGEX_SECONDS = 5.0
"""How long Python may match one batch of texts with the patterns of an expectation; usual ones take well below 1 s."""

_PLACES = "merging.expectations.regex_process:places"

Wanted = Literal["any", "all", "none"]


def prepare_matching(
    opened: Session, expectation: Expectation, judge: TextJudge, relations: Iterable[str]
) -> str:
    """Judge the texts of the relations; returns the predicate of failing rows (never NULL on judged rows).

    It refers to a temporary table ``expectation_bad_<number>``. Raises NotChecked.
    """
    [name] = expectation.columns
    column = column_sql(name)
    in_sql = judge.in_sql(expectation)
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
    for start in range(0, len(found), _BATCH):
        bad = judge.failing(expectation, [value for (value,) in found[start : start + _BATCH]])
        if bad:
            any_bad = True
            opened.connection.register("judged_texts", pa.table({"value": pa.array(bad, pa.string())}))
            opened.execute(f"INSERT INTO {table} SELECT value FROM judged_texts")
            opened.connection.unregister("judged_texts")
    by_python = f"{column} IN (SELECT value FROM {table})" if any_bad else "false"
    if in_sql is None:
        return f"({by_python})"
    return f"(CASE WHEN strlen({column}) = length({column}) THEN NOT ({in_sql}) ELSE {by_python} END)"


def matched_in_time(patterns: Sequence[str], wanted: Wanted, texts: Sequence[str]) -> list[str]:
    """Which of some texts fail. Raises NotChecked where Python takes too long.

    ``re`` cannot be interrupted, and some patterns take it longer than anybody lives: it works in a confined process,
    which is ended when its time is over.
    """
    question = {"patterns": list(patterns), "wanted": wanted, "texts": list(texts)}
    try:
        found: list[int] = run_confined(_PLACES, question, Bounds(seconds=REGEX_SECONDS))
    except ConfinedTooLong:
        noun = "text" if len(texts) == 1 else "texts"
        raise NotChecked(
            f"the pattern takes too long: Python did not match {len(texts):,} {noun} within {REGEX_SECONDS:g} s. "
            "Repetition inside repetition, as in (a+)+, does this; write the pattern without it."
        ) from None
    return [texts[place] for place in found]
