"""Statements are ended from outside, at once, and what comes after them works as before."""

import pytest

from merging import CutShort
from merging.sql.session import session
from merging.sql.stopping import after, stopped_when

ENDLESS = "SELECT count(*) FROM range(1_000_000_000_000) AS numbers(n) WHERE n % 7 = 3"


def test_a_statement_ends_when_its_time_is_over_and_the_session_works_on() -> None:
    with session() as opened:
        with (
            pytest.raises(CutShort, match=r"It took too long\."),
            stopped_when(opened, after(0), "It took too long."),
        ):
            opened.number(ENDLESS)
        with stopped_when(opened, after(60), "It took too long."):
            assert opened.number("SELECT 7") == 7


def test_other_failures_stay_what_they_are() -> None:
    with session() as opened, pytest.raises(ZeroDivisionError), stopped_when(opened, after(60), "No."):
        raise ZeroDivisionError
