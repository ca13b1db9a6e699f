"""Cell values between Python and JSON."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from datasets.errors import InvalidInput
from datasets.rows import json_value, parse_json, typed_key, typed_row


@pytest.mark.parametrize(
    ("given", "type_name", "value"),
    [
        ("True", "boolean", True),
        ("false", "boolean", False),
        (True, "boolean", True),
        ("12", "long", 12),
        ("1.50", "decimal(5,2)", Decimal("1.50")),
        ("2026-01-31", "date", date(2026, 1, 31)),
        ("2026-01-31T12:00:00", "timestamp", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("0x6869", "binary", b"hi"),
        (None, "long", None),
    ],
)
def test_a_key_gets_the_types_of_its_columns(given: Any, type_name: str, value: Any) -> None:
    assert typed_key({"k": given}, {"k": type_name}) == {"k": value}


@pytest.mark.parametrize(
    ("given", "type_name"),
    [("maybe", "boolean"), ("x", "long"), ("x", "date"), ("x", "decimal(5,2)"), ("?", "binary")],
)
def test_what_does_not_fit_names_the_column(given: str, type_name: str) -> None:
    with pytest.raises(InvalidInput, match=r'key column k: ".*" is no '):
        typed_key({"k": given}, {"k": type_name})
    with pytest.raises(InvalidInput, match="no column other"):
        typed_key({"other": given}, {"k": type_name})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "This is no JSON"),
        ("NaN", "NaN is no JSON number"),
        ('{"a": ["\\ud800"]}', "cannot be stored"),
        ('{"a\\u0000": 1}', "cannot be stored"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 101 + "]" * 101, "nested too deeply: 100 levels"),
        ("9" * 5000, "5,000 digits; 4,300 are possible"),
    ],
)
def test_json_that_cannot_be_kept_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        parse_json(text, "key")
    assert parse_json('{"a": "\\ud83d\\ude00"}', "key") == {"a": "\U0001f600"}


def test_rows_that_were_kept_are_typed_again() -> None:
    row = {
        "long": 2**62,
        "decimal(38,2)": Decimal("12345678901234567890.10"),
        "double": float("inf"),
        "date": date(1582, 10, 15),
        "timestamp": datetime(2013, 1, 4, 13, tzinfo=UTC),
        "timestamp_ntz": datetime(2013, 1, 4, 13),  # noqa: DTZ001 - it has no zone
        "binary": b"\x00\xff",
        "string": "2013-01-04T13:00:00+00:00",
        "boolean": None,
    }
    assert typed_row(json_value(row), {name: name for name in row}) == row


def test_what_does_not_fit_its_column_any_more_stays_as_it_was_kept() -> None:
    kept = {"now a number": "N1", "gone": "x", "nested": [1]}
    assert typed_row(kept, {"now a number": "long", "nested": "array"}) == kept
