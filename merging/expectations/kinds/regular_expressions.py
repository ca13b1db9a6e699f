"""Whether texts match regular expressions of Python.

They go to DuckDB where RE2 and Python agree (``regexes``) and the text is ASCII; all other texts are matched by Python,
in a confined process.
"""

from __future__ import annotations

from collections.abc import Callable

from merging.expectations.confined import Wanted
from merging.expectations.expectation import Argument, Entry, Expectation, TextJudge
from merging.expectations.kinds.arguments import ANY_OR_ALL, COLUMN, MOSTLY
from merging.expectations.kinds.predicates import column_of
from merging.expectations.regexes import for_re2
from merging.expectations.values import TEXT
from merging.expectations.wording import listed
from merging.sql.quoting import column_sql, literal

_REGEXES = {"regex_list": Argument("regexes", required=True)}


def _patterns(expectation: Expectation) -> tuple[str, ...]:
    given = expectation.arguments
    return tuple(given["regex_list"]) if "regex_list" in given else (given["regex"],)


def _matches(expectation: Expectation, joiner: str) -> str | None:
    """SQL: an ASCII text matches the patterns; None where RE2 cannot tell."""
    name, _ = column_of(expectation)
    written = [for_re2(pattern) for pattern in _patterns(expectation)]
    tests = [f"regexp_matches({column_sql(name)}, {literal(one)})" for one in written if one is not None]
    return f"({joiner.join(tests)})" if len(tests) == len(written) else None


def _matching(wanted: Callable[[Expectation], Wanted]) -> TextJudge:
    def in_sql(expectation: Expectation) -> str | None:
        matches = _matches(expectation, " AND " if wanted(expectation) == "all" else " OR ")
        return f"NOT {matches}" if matches is not None and wanted(expectation) == "none" else matches

    return TextJudge(
        "merging.expectations.confined:unmatched",
        lambda one: {"patterns": list(_patterns(one)), "wanted": wanted(one)},
        in_sql,
        advice="Repetition inside repetition, as in (a+)+, takes a pattern for ever; write it without.",
    )


_AS_ASKED = _matching(lambda one: "all" if one.arguments.get("match_on") == "all" else "any")
_NONE = _matching(lambda _: "none")

ENTRIES = (
    Entry(
        "expect_column_values_to_match_regex",
        {**COLUMN, "regex": Argument("regex", default="(?s).*"), **MOSTLY},
        _AS_ASKED,
        "Each {column} matches the regular expression {regex}",
        TEXT,
    ),
    Entry(
        "expect_column_values_to_not_match_regex",
        {**COLUMN, "regex": Argument("regex", required=True), **MOSTLY},
        _NONE,
        "No {column} matches the regular expression {regex}",
        TEXT,
    ),
    Entry(
        "expect_column_values_to_match_regex_list",
        {**COLUMN, **_REGEXES, **ANY_OR_ALL, **MOSTLY},
        _AS_ASKED,
        lambda given: (
            f"Each {given['column']} matches {given['match_on']} of the regular expressions "
            f"{listed(given['regex_list'], 'and')}"
        ),
        TEXT,
    ),
    Entry(
        "expect_column_values_to_not_match_regex_list",
        {**COLUMN, **_REGEXES, **MOSTLY},
        _NONE,
        lambda given: (
            f"No {given['column']} matches any of the regular expressions {listed(given['regex_list'], 'and')}"
        ),
        TEXT,
    ),
)
