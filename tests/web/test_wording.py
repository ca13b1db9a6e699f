"""Numbers, sizes, times and lists as pages write them."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from web.template_tags import moment, number, share, size
from web.wording import browser_in_words, counted, listed

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_nouns_follow_their_numbers() -> None:
    assert [counted(n, "row") for n in (0, 1, 1204)] == ["0 rows", "1 row", "1,204 rows"]


def test_lists_read_as_sentences() -> None:
    assert [listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_numbers_that_are_not_known_are_a_dash() -> None:
    assert (number(336776), number(0), number(None), size(None)) == ("336,776", "0", "–", "–")


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 %"), (0.05, "5 %"), (0.0245, "2.5 %"), (0.0004, "0.040 %"), (1, "100 %")]
)
def test_shares_keep_the_digits_they_need(value: float, text: str) -> None:
    assert share(value) == text


@pytest.mark.parametrize(("value", "text"), [(999, "999 B"), (5_010_000, "5.0 MB"), (224_000_000, "224 MB")])
def test_sizes_have_a_unit(value: int, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(
    ("age", "text"),
    [
        (timedelta(seconds=5), "just now"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(hours=3), "3 hours ago"),
        (timedelta(days=2), "2 days ago"),
        (timedelta(days=20), "3 Nov 2026"),
    ],
)
def test_times_are_relative_while_that_helps(age: timedelta, text: str) -> None:
    with time_machine.travel(NOW, tick=False):
        html = moment(NOW - age)
    assert f">{text}<" in html
    assert "UTC" in html


def test_browsers_are_called_by_their_names() -> None:
    webkit = "AppleWebKit/537.36 (KHTML, like Gecko)"
    assert [
        browser_in_words(agent)
        for agent in (
            f"Mozilla/5.0 (X11; Linux x86_64) {webkit} Chrome/156.0.0.0 Safari/537.36",
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {webkit} Chrome/156.0 Safari/537.36 Edg/156.0",
            f"Mozilla/5.0 (Linux; Android 16) {webkit} Chrome/156.0 Mobile Safari/537.36",
            f"Mozilla/5.0 (Macintosh; Intel Mac OS X 14_1) {webkit} Version/19.0 Safari/605.1",
            "Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0",
            "curl/8.9",
            "",
        )
    ] == [
        "Chrome on Linux",
        "Edge on Windows",
        "Chrome on Android",
        "Safari on macOS",
        "Firefox on Windows",
        "curl/8.9",
        "A browser",
    ]
