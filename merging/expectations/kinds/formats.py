"""Whether texts can be read as dates or as JSON: judged by the functions that Great Expectations calls, or by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime

from merging.expectations import border
from merging.expectations.expectation import Argument, Entry, Expectation, TextJudge
from merging.expectations.kinds.arguments import COLUMN, MOSTLY
from merging.expectations.values import TEXT


def _each(fits: Callable[[str, Expectation], bool]) -> TextJudge:
    return TextJudge(lambda one, texts: [text for text in texts if not fits(text, one)])


def _is_date(text: str, expectation: Expectation) -> bool:
    try:
        datetime.strptime(text, expectation.arguments["strftime_format"])  # noqa: DTZ007 - only whether it can be read matters
    except ValueError:
        return False
    return True


def _is_json(text: str, _: Expectation) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


_BY_GREAT_EXPECTATIONS = TextJudge(
    lambda one, texts: border.failing_texts(one, texts), route="great_expectations"
)

ENTRIES = (
    Entry(
        "expect_column_values_to_match_strftime_format",
        {**COLUMN, "strftime_format": Argument("strftime", required=True), **MOSTLY},
        _each(_is_date),
        "Each {column} is a date written as {strftime_format}",
        TEXT,
    ),
    Entry(
        "expect_column_values_to_be_json_parseable",
        {**COLUMN, **MOSTLY},
        _each(_is_json),
        "Each {column} is valid JSON",
        TEXT,
    ),
    Entry(
        "expect_column_values_to_be_dateutil_parseable",
        {**COLUMN, **MOSTLY},
        _BY_GREAT_EXPECTATIONS,
        "Each {column} can be read as a date",
        TEXT,
    ),
    Entry(
        "expect_column_values_to_match_json_schema",
        {**COLUMN, "json_schema": Argument("schema", required=True), **MOSTLY},
        _BY_GREAT_EXPECTATIONS,
        "Each {column} is JSON that fits the schema",
        TEXT,
    ),
)
