"""Patterns written for RE2 match what Python's match, on ASCII; other texts and patterns go to Python."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merging.expectations import confined
from merging.expectations.regexes import for_re2
from merging.sql.session import limits
from tests.merging.expectations.conftest import Check
from tests.merging.expectations.support import expect

ATOMS = st.sampled_from(
    [
        "a",
        "B",
        "1",
        "_",
        " ",
        r"\n",
        ".",
        r"\d",
        r"\W",
        r"\s",
        "[a-c]",
        r"[^\d\-]",
        r"[\w.]",
        r"\.",
        r"\b",
        "-",
    ]
)

_DEPTH = 2


@st.composite
def patterns(draw: st.DrawFn, depth: int = _DEPTH) -> str:
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        atom = draw(ATOMS)
        if depth and draw(st.booleans()):
            atom = f"({draw(patterns(depth - 1))})"
        if not atom.endswith(r"\b"):
            atom += draw(st.sampled_from(["", "", "*", "+", "?", "{1,2}", "*?"]))
        parts.append(atom)
    body = "".join(parts)
    if draw(st.booleans()):
        body += "|" + draw(ATOMS)
    flags = ["(?i)", "(?s)"] if depth == _DEPTH else []
    start = draw(st.sampled_from(["", "^", r"\A", *flags]))
    return start + body + draw(st.sampled_from(["", "$", r"\Z"]))


@settings(max_examples=150)
@given(patterns(), st.lists(st.text("aAbB1_ .-\n\t\x0b\x1c", max_size=6), max_size=8))
def test_patterns_for_re2_match_what_python_matches(pattern: str, texts: list[str]) -> None:
    written = for_re2(pattern)
    if written is None:
        return
    with duckdb.connect() as connection:
        for text in [*texts, ""]:
            [(found,)] = connection.execute("SELECT regexp_matches($1, $2)", [text, written]).fetchall()
            assert found == bool(re.search(pattern, text)), (pattern, written, text)


@pytest.mark.parametrize("pattern", ["(?=a)", r"(a)\1", "(?<!x)y", "é", "(?m)^a", "a$b", "(?P<n>a)(?(n)b|c)"])
def test_what_re2_cannot_do_is_left_to_python(pattern: str) -> None:
    assert for_re2(pattern) is None


def test_texts_outside_ascii_follow_python(check: Check) -> None:
    texts = ["1", "٣", "a", "é", "x\n", None, "ﬀ", "K"]
    table = pa.table({"id": range(len(texts)), "s": pa.array(texts, pa.string())})
    for pattern in [r"^\d$", r"\w", r"(?i)^k$", r"[a-z]$", r"(?=1)", r"^.$"]:
        matching = expect("column_values_to_match_regex", column="s", regex=pattern)
        [found] = check(matching, merged=table).results
        failing = {dict(row.key)["id"] for row in found.failing_rows}
        assert failing == {
            n for n, text in enumerate(texts) if text is not None and not re.search(pattern, text)
        }


# (x+x+)+y with a look-ahead, so that RE2 cannot take it: Python needs time that doubles with each letter.
ENDLESS = r"(?=.)^(x+x+)+y$"


@pytest.mark.parametrize("kind", ["match", "not_match"])
def test_a_pattern_that_never_ends_is_given_up_with_its_name(
    check: Check, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("merging.sql.session._limits", replace(limits(), check_seconds=1))
    table = pa.table({"id": [1, 2], "s": ["x" * 60, "é" + "x" * 60], "t": ["a", "b"]})
    endless = expect(f"column_values_to_{kind}_regex", column="s", regex=ENDLESS)
    harmless = expect("column_values_to_match_regex", column="t", regex="(?=a)")
    started = time.perf_counter()

    found = check(endless, harmless, merged=table).results

    assert time.perf_counter() - started < 10
    assert (found[0].state, found[0].ok, found[0].blocking) == ("error", False, True)
    assert found[0].error == (
        "it was stopped after 1 s. Repetition inside repetition, as in (a+)+, takes a pattern for ever; "
        "write it without."
    )
    assert (found[1].state, found[1].failing_rows_total) == ("new", 1)


def test_the_same_pattern_without_look_ahead_is_no_matter_for_re2(check: Check) -> None:
    table = pa.table({"id": [1, 2], "s": ["x" * 5000, "xxy"]})
    [found] = check(
        expect("column_values_to_match_regex", column="s", regex=r"^(x+x+)+y$"), merged=table
    ).results
    assert (found.state, [dict(row.key)["id"] for row in found.failing_rows]) == ("new", [1])


@pytest.mark.parametrize(("wanted", "places"), [("any", [2]), ("all", [0, 1, 2]), ("none", [0, 1])])
def test_the_process_that_matches_answers_with_places(wanted: confined.Wanted, places: list[int]) -> None:
    assert confined.failing(["^a", "b$"], wanted, ["ax", "xb", "x"]) == places
