"""Expectations on texts that SQL cannot judge, or not alone: each distinct text is judged once, by Python.

Regular expressions go to DuckDB where RE2 and Python agree (``regexes``) and the text is ASCII; all other texts, date
formats and JSON are judged by the very functions that Great Expectations calls. What it judges by libraries of its own
goes to Great Expectations itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Literal

import pyarrow as pa

from merging.expectations import regex_process
from merging.expectations.predicates import considered, domain
from merging.expectations.regexes import for_re2
from merging.expectations.report import NotChecked
from merging.expectations.suites import Expectation
from merging.sql.quoting import column_sql, literal
from merging.sql.session import Session

_BATCH = 100_000
REGEX_SECONDS = 5.0
"""How long Python may match one batch of texts with the patterns of an expectation; usual ones take well below 1 s."""

Wanted = Literal["any", "all", "none"]


def prepare_matching(opened: Session, expectation: Expectation, relations: Iterable[str]) -> str:
    """Judge the texts of the relations; returns the predicate of failing rows (never NULL on judged rows).

    It refers to a temporary table ``expectation_bad_<number>``. Raises NotChecked.
    """
    [name] = expectation.columns
    column = column_sql(name)
    in_sql = _in_sql(expectation, column)
    wanted = f"{considered(expectation)} AND {domain(expectation)}"
    if in_sql is not None:
        wanted += f" AND strlen({column}) <> length({column})"
    sources = " UNION ".join(
        f"SELECT DISTINCT {column} AS value FROM {relation} WHERE {wanted}" for relation in relations
    )
    table = f"expectation_bad_{expectation.number}"
    opened.execute(f"CREATE OR REPLACE TEMP TABLE {table}(value VARCHAR)")
    found = opened.connection.execute(sources).fetchall()
    judge = _judge(expectation)
    any_bad = False
    for start in range(0, len(found), _BATCH):
        bad = judge([value for (value,) in found[start : start + _BATCH]])
        if bad:
            any_bad = True
            opened.connection.register("judged_texts", pa.table({"value": pa.array(bad, pa.string())}))
            opened.execute(f"INSERT INTO {table} SELECT value FROM judged_texts")
            opened.connection.unregister("judged_texts")
    by_python = f"{column} IN (SELECT value FROM {table})" if any_bad else "false"
    if in_sql is None:
        return f"({by_python})"
    return f"(CASE WHEN strlen({column}) = length({column}) THEN NOT ({in_sql}) ELSE {by_python} END)"


def _patterns(expectation: Expectation) -> tuple[str, ...]:
    given = expectation.arguments
    return tuple(given["regex_list"]) if "regex_list" in given else (given["regex"],)


def _in_sql(expectation: Expectation, column: str) -> str | None:
    """SQL: an ASCII text is as expected; None where RE2 cannot tell."""
    if "regex" not in expectation.type:
        return None
    written = [for_re2(pattern) for pattern in _patterns(expectation)]
    tests = [f"regexp_matches({column}, {literal(one)})" for one in written if one is not None]
    if len(tests) < len(written):
        return None
    joiner = " AND " if expectation.arguments.get("match_on") == "all" else " OR "
    joined = joiner.join(tests)
    return f"NOT ({joined})" if "_not_match_" in expectation.type else f"({joined})"


def _judge(expectation: Expectation) -> Callable[[Sequence[str]], list[str]]:
    """Which of some texts fail."""
    if expectation.entry.route == "great_expectations":
        return lambda texts: _judged_by_great_expectations(expectation, texts)
    if expectation.type == "expect_column_values_to_match_strftime_format":
        pattern = expectation.arguments["strftime_format"]
        return lambda texts: [text for text in texts if not _is_date(text, pattern)]
    if expectation.type == "expect_column_values_to_be_json_parseable":
        return lambda texts: [text for text in texts if not _is_json(text)]
    patterns = _patterns(expectation)
    if "_not_match_" in expectation.type:
        return lambda texts: _matched_in_time(patterns, "none", texts)
    wanted: Wanted = "all" if expectation.arguments.get("match_on") == "all" else "any"
    return lambda texts: _matched_in_time(patterns, wanted, texts)


def _matched_in_time(patterns: Sequence[str], wanted: Wanted, texts: Sequence[str]) -> list[str]:
    """Which of some texts fail. Raises NotChecked where Python takes too long.

    ``re`` cannot be interrupted, and some patterns take it longer than anybody lives: it works in a process of its
    own, which is ended when its time is over.
    """
    question = json.dumps({"patterns": list(patterns), "wanted": wanted, "texts": list(texts)})
    try:
        answer = subprocess.run(  # noqa: S603 - this project's own file, and nothing of the suite is an argument
            [sys.executable, "-I", "-S", regex_process.__file__],
            input=question.encode(),
            stdout=subprocess.PIPE,
            check=True,
            timeout=REGEX_SECONDS,
        )
    except subprocess.TimeoutExpired:
        noun = "text" if len(texts) == 1 else "texts"
        raise NotChecked(
            f"the pattern takes too long: Python did not match {len(texts):,} {noun} within {REGEX_SECONDS:g} s. "
            "Repetition inside repetition, as in (a+)+, does this; write the pattern without it."
        ) from None
    return [texts[place] for place in json.loads(answer.stdout)]


def _judged_by_great_expectations(expectation: Expectation, texts: Sequence[str]) -> list[str]:
    # Imported when needed: the library takes seconds to load.
    from merging.expectations import border

    return border.failing_texts(expectation, texts)


def _is_date(text: str, pattern: str) -> bool:
    try:
        datetime.strptime(text, pattern)  # noqa: DTZ007 - only whether it can be read matters
    except ValueError:
        return False
    return True


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
