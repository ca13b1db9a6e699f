"""Whether texts can be read as dates or as JSON: judged by the functions that Great Expectations calls, or by it."""

from __future__ import annotations

from merging.expectations.expectation import Argument, Entry, TextJudge
from merging.expectations.kinds.arguments import COLUMN, MOSTLY
from merging.expectations.values import TEXT

ENTRIES = (
    Entry(
        "expect_column_values_to_match_strftime_format",
        {**COLUMN, "strftime_format": Argument("strftime", required=True), **MOSTLY},
        TextJudge(
            "merging.expectations.confined:no_dates",
            lambda one: {"format": one.arguments["strftime_format"]},
        ),
        "Each {column} is a date written as {strftime_format}",
        TEXT,
    ),
    Entry(
        "expect_column_values_to_be_json_parseable",
        {**COLUMN, **MOSTLY},
        TextJudge("merging.expectations.confined:no_json", lambda _: {}),
        "Each {column} is valid JSON",
        TEXT,
    ),
    Entry(
        "expect_column_values_to_be_dateutil_parseable",
        {**COLUMN, **MOSTLY},
        TextJudge(
            "merging.expectations.border:failing_texts",
            lambda one: {"type": one.type, "kwargs": dict(one.kwargs)},
            route="great_expectations",
        ),
        "Each {column} can be read as a date",
        TEXT,
    ),
    Entry(
        "expect_column_values_to_match_json_schema",
        {**COLUMN, "json_schema": Argument("schema", required=True), **MOSTLY},
        TextJudge(
            "merging.expectations.confined:unfit_for_schema",
            lambda one: {"schema": one.arguments["json_schema"]},
            advice="A pattern in its schema may repeat inside repetition, or the schema refer to itself over and over.",
        ),
        "Each {column} is JSON that fits the schema",
        TEXT,
    ),
)
