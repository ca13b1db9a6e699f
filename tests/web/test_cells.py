"""Cell values as pages show them: exactly, with what is invisible made visible."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from web.cells import LONGEST_TEXT, cell_html, cell_text, difference_html, invisible_difference


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "NULL"),
        (True, "true"),
        (0, "0"),
        (12345678901234567890, "12345678901234567890"),
        (0.1, "0.1"),
        (Decimal("1.50"), "1.50"),
        (Decimal("1E+3"), "1000"),
        (date(2013, 1, 4), "2013-01-04"),
        (datetime(2013, 1, 4, 13, tzinfo=UTC), "2013-01-04 13:00 UTC"),
        (datetime(2013, 1, 4, 8, tzinfo=timezone(timedelta(hours=-5))), "2013-01-04 13:00 UTC"),
        (datetime(2013, 1, 4, 13, 5, 9, 120, tzinfo=UTC).replace(tzinfo=None), "2013-01-04 13:05:09.000120"),
        (b"\x00\xff", "0x00ff"),
        ({"a": [1, None]}, '{"a": [1, null]}'),
    ],
)
def test_values_read_exactly(value: Any, text: str) -> None:
    assert cell_text(value) == text


def test_null_and_empty_text_are_told_apart() -> None:
    assert cell_html(None) == '<span class="null">NULL</span>'
    assert cell_html("") == '<span class="null">empty text</span>'
    assert cell_html("NULL") == '<span class="cell">NULL</span>'


def test_invisible_characters_are_marked() -> None:
    assert cell_html(" N1 x ") == (
        '<span class="cell"><span class="unseen">·</span>N1 x<span class="unseen">·</span></span>'
    )
    assert "↵" in cell_html("a\nb")
    assert "[zero-width space]" in cell_html("a\u200bb")
    assert "[U+0007]" in cell_html("a\x07b")


def test_markup_in_values_stays_text() -> None:
    assert cell_html("<b> ") == '<span class="cell">&lt;b&gt;<span class="unseen">·</span></span>'
    assert "<script" not in difference_html("<script>1</script>", "<script>2</script>")


def test_long_text_is_cut_and_counted() -> None:
    html = cell_html("x" * (LONGEST_TEXT + 1))
    assert f"{LONGEST_TEXT + 1} characters" in html
    assert "x" * LONGEST_TEXT + "…" in html
    assert "x" * (LONGEST_TEXT + 1) not in html


@pytest.mark.parametrize(
    ("old", "new", "note"),
    [
        ("JFK", "JFK ", "only spaces at an end differ"),
        (None, "", "NULL and empty text differ"),
        ("", None, "NULL and empty text differ"),
        ("Zürich", "Zu\u0308rich", "same letters, accents encoded differently"),
        ("a\u200bb", "ab", "only invisible characters differ"),
        ("a\u00a0b", "a b", "only invisible characters differ"),
        ("ﬁn", "fin", "look-alike characters differ"),
        ("JFK", "LGA", ""),
        (1, 2, ""),
        (None, "x", ""),
    ],
)
def test_differences_that_the_eye_misses_are_named(old: Any, new: Any, note: str) -> None:
    assert invisible_difference(old, new) == note


def test_the_old_value_stands_above_the_new_one() -> None:
    assert difference_html(None, "N1") == (
        '<span class="diff"><del><span class="null">NULL</span></del>'
        '<ins><span class="cell">N1</span></ins></span>'
    )
