"""One value, one form: what goes out comes back, whichever of the two readers (SQL or Python) takes it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merging.sql.equality import same_value
from merging.sql.moments import FarDate, FarMoment, date_of, days_of, microseconds_of, moment_of
from merging.sql.parsing import Refused, cell_value, explain, from_text
from merging.sql.session import Session, tuples
from merging.sql.strict_json import read_json
from merging.sql.values import arrow_values, json_form, python_values, read_text, sql_form, text_form
from tests.merging.border_values import BORDERS, NAMES

SIMPLE = [name for name in NAMES if not pa.types.is_nested(BORDERS[name].type)]


@pytest.fixture(scope="module")
def opened() -> Iterator[Session]:
    one = Session()
    yield one
    one.close()


@pytest.mark.parametrize("name", NAMES)
def test_fd15_what_goes_out_comes_back(opened: Session, name: str) -> None:
    kind = BORDERS[name].type
    for value in BORDERS[name].values:
        form = json.loads(json.dumps(json_form(value), allow_nan=False))
        assert same_value(_back(cell_value(form, kind), kind), value)
        assert same_value(_back(read_text(text_form(value), kind), kind), value)
        [(returned,)] = tuples(opened.table(f"SELECT {sql_form(cell_value(form, kind), kind)} AS v"))
        assert same_value(returned, value)


@pytest.mark.parametrize("name", SIMPLE)
def test_fd15_text_uploads_read_the_same_form(opened: Session, name: str) -> None:
    kind = BORDERS[name].type
    given_texts = pa.table({"t": pa.array([text_form(value) for value in BORDERS[name].values], pa.string())})
    opened.connection.register("given_texts", given_texts)
    typed = from_text("t", kind)
    rows = list(tuples(opened.table(f"SELECT {typed.value} AS v, {typed.bad} AS bad FROM given_texts")))
    opened.connection.unregister("given_texts")
    assert [bad for _, bad in rows] == [False] * len(rows)
    for (value, _), expected in zip(rows, BORDERS[name].values, strict=True):
        assert same_value(value, expected), (value, expected)


def _back(value: Any, kind: pa.DataType) -> Any:
    """What the engine hands out again for a value that it was given."""
    [returned] = python_values(arrow_values([value], kind))
    return returned


@pytest.mark.parametrize(
    ("days", "text"),
    [
        (-719529, "-0001-12-31"),
        (-719528, "0000-01-01"),
        (-719163, "0000-12-31"),
        (-719162, "0001-01-01"),
        (2932896, "9999-12-31"),
        (2932897, "+10000-01-01"),
        (3663442, "+12000-03-01"),
        (2**31 - 1, "+5881580-07-11"),
        (-(2**31), "-5877641-06-23"),
    ],
)
def test_fd12_days_of_the_whole_calendar(days: int, text: str) -> None:
    day = date_of(days)
    assert (day.isoformat(), days_of(day)) == (text, days)
    assert isinstance(day, FarDate if not -719162 <= days <= 2932896 else date)


@given(st.integers(-(2**63), 2**63 - 1), st.booleans())
def test_fd12_moments_keep_their_number(microseconds: int, zoned: bool) -> None:
    assert microseconds_of(moment_of(microseconds, zoned=zoned)) == microseconds


def test_fd12_moments_order_and_hash() -> None:
    assert FarDate(-719163) < date(1, 1, 1) < FarDate(2932897) < FarDate(2932898)
    moments: list[Any] = [FarMoment(2**62, True), datetime(1, 1, 1, tzinfo=UTC), FarMoment(-(2**62), True)]
    assert sorted(moments) == [
        FarMoment(-(2**62), True),
        datetime(1, 1, 1, tzinfo=UTC),
        FarMoment(2**62, True),
    ]
    assert FarMoment(2**62, False) >= FarMoment(2**62, False)
    assert FarDate(2932897) <= FarDate(2932897)
    with pytest.raises(TypeError):
        assert FarMoment(2**62, False) < datetime(1, 1, 1, tzinfo=UTC)
    with pytest.raises(TypeError):
        assert FarDate(2932897) > datetime(1, 1, 1, tzinfo=UTC)
    assert len({FarMoment(2**62, True), FarMoment(2**62, True), FarMoment(2**62, False)}) == 2
    assert FarMoment(253402300800000001, False).isoformat() == "+10000-01-01T00:00:00.000001"
    assert str(FarMoment(-62135596800000001, True)) == "0000-12-31 23:59:59.999999+00:00"


#: Of nought or next to it: numbers that become 0 in a double, a float or neither.
_VANISHING = [
    "1e-400",
    "-1.0e-400",
    "0.00e-400",
    "1e-46",
    "5e-324",
    "2e-324",
    "0." + "0" * 330 + "1",
    "-0",
    "0e5",
]
_TEXTS = st.one_of(
    st.from_regex(r"[+-]?[0-9]{1,4}(\.[0-9]{0,4})?([eE][+-]?[0-9]{1,2})?", fullmatch=True),
    st.from_regex(r"[+-]?([0-9]{4}|[0-9]{5,7})-[0-9]{2}-[0-9]{2}", fullmatch=True),
    st.from_regex(
        r"[+-]?([0-9]{4}|1[0-9]{4,5})-0[1-9]-[0-2][0-9][T ][0-2][0-9]:[0-6][0-9](:[0-6][0-9](\.[0-9]{1,7})?)?"
        r"( ?(z|Z|UTC|[+-][0-2][0-9](:?[0-9]{2})?))?",
        fullmatch=True,
    ),
    st.sampled_from(
        [
            "NaN",
            "nan",
            "-NaN",
            "inf",
            "-Infinity",
            "",
            " ",
            "true",
            "F",
            "0xff",
            "0xf",
            "AAE=",
            "1e400",
            *_VANISHING,
        ]
    ),
)


@settings(max_examples=100)
@given(st.lists(_TEXTS, min_size=1, max_size=40), st.sampled_from(SIMPLE))
def test_fd23_uploads_and_single_values_are_read_by_the_same_rules(
    opened: Session, texts: list[str], name: str
) -> None:
    kind = BORDERS[name].type
    typed = from_text("t", kind)
    opened.connection.register("given_texts", pa.table({"t": pa.array(texts, pa.string())}))
    rows = list(tuples(opened.table(f"SELECT {typed.value} AS v, {typed.bad} AS b FROM given_texts")))
    for text, (value, bad) in zip(texts, rows, strict=True):
        try:
            single = _back(cell_value(text, kind), kind)
        except Refused:
            assert bad, (text, value)
        else:
            assert not bad, (text, single)
            assert same_value(single, value), (text, single, value)


@pytest.mark.parametrize(
    ("text", "kind", "why"),
    [
        ("1e400", pa.float64(), "too large for a double"),
        ("1e-400", pa.float64(), "too small for a double, which would keep 0"),
        ("1e-46", pa.float32(), "too small for a float, which would keep 0"),
        ("9007199254740993", pa.float64(), "a double cannot hold this whole number exactly"),
        ("16777217", pa.float32(), "a float cannot hold this whole number exactly"),
        ("2147483648", pa.int32(), "an integer holds whole numbers from -2147483648"),
        ("128", pa.int8(), "a byte holds whole numbers from -128 to 127"),
    ],
)
def test_a_refused_number_is_told_why(text: str, kind: pa.DataType, why: str) -> None:
    assert why in explain(text, kind)[1]


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()], ids=str)
@pytest.mark.parametrize("text", ["1e-400", "-1e-400", "1e-9999999999999"])
def test_a_number_of_json_that_would_be_kept_as_0_is_refused(kind: pa.DataType, text: str) -> None:
    with pytest.raises(Refused, match=f"found {text}: too small"):
        cell_value(read_json(text), kind)
    assert cell_value(read_json("-0.0e5"), kind) == 0


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.int64(), pa.decimal128(38, 0), pa.decimal128(38, 38), pa.float64()], ids=str
)
def test_numbers_of_hundreds_and_thousands_of_digits_are_refused(kind: pa.DataType) -> None:
    """Python makes no float of the one and no whole number of the other."""
    for one in ("9" * 5_000, "-" + "9" * 5_000, int("9" * 400), -int("9" * 400)):
        with pytest.raises(Refused):
            cell_value(one, kind)
    if not pa.types.is_decimal(kind) or kind.scale == 0:
        assert [read_text(sign + "0" * 5_000 + "7", kind) for sign in ("", "+", "-")] == [7, 7, -7]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("1234567890.123456789012", pa.decimal128(38, 12), Decimal("1234567890.123456789012")),
        ("9007199254740993.0", pa.int64(), 9007199254740993),
        ("1E-12", pa.decimal128(38, 12), Decimal("1E-12")),
        ("0." + "9" * 38, pa.decimal128(38, 38), Decimal("0." + "9" * 38)),
        ("9" * 38, pa.decimal128(38, 0), Decimal("9" * 38)),
        ("-1e37", pa.decimal128(38, 0), Decimal("-1" + "0" * 37)),
        ("1e-38", pa.decimal128(38, 38), Decimal("1E-38")),
        ("-10.00E-13", pa.decimal128(38, 12), Decimal("-1E-12")),
        (".0625e+2", pa.decimal128(5, 2), Decimal("6.25")),
        ("0e50", pa.decimal128(5, 2), Decimal(0)),
    ],
)
def test_fd16_numbers_are_exact(opened: Session, text: str, kind: pa.DataType, value: Any) -> None:
    assert cell_value(text, kind) == value
    assert cell_value(value, kind) == value
    typed = from_text(f"'{text}'", kind)
    assert opened.table(f"SELECT {typed.value} AS v, {typed.bad} AS b").to_pylist() == [
        {"v": value, "b": False}
    ]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("1.5E-12", pa.decimal128(38, 12)),
        ("9" * 39, pa.decimal128(38, 0)),
        ("1e38", pa.decimal128(38, 0)),
        ("1e-999999999999999999999", pa.decimal128(38, 0)),
        ("0.1234567890123", pa.decimal128(38, 12)),
        ("1e400", pa.float64()),
        ("1e39", pa.float32()),
        ("1e-400", pa.float64()),
        ("0." + "0" * 330 + "1", pa.float64()),
        (Decimal("-1e-400"), pa.float64()),
        ("1e-46", pa.float32()),
        (1e-46, pa.float32()),
        (9007199254740993, pa.float64()),
        (16777217, pa.float32()),
        (10**400, pa.float64()),
        (0.5, pa.int64()),
        (1e300, pa.int64()),
        (math.nan, pa.int64()),
        (math.inf, pa.decimal128(38, 0)),
        ("2024-01-01T00:00:00+25:00", pa.timestamp("us", tz="UTC")),
        ("2024-01-01T00:00:00+00:99", pa.timestamp("us", tz="UTC")),
        ("2024-01-01T24:00:00", pa.timestamp("us")),
        ("2024-01-01T23:59:60", pa.timestamp("us")),
        ("2024-01-01T23:60", pa.timestamp("us")),
        ("2023-02-29", pa.date32()),
        ("-5877641-06-22", pa.date32()),
        ("5881580-07-12", pa.date32()),
        ("294247-01-10T04:00:54.775808", pa.timestamp("us")),
        ("-290308-12-21T23:59:59.999999", pa.timestamp("us")),
        ("AAE=", pa.binary()),
        ("0xf", pa.binary()),
        ({"a": 1}, pa.list_(pa.int64())),
        ([["a", 1], ["a", 2]], pa.map_(pa.string(), pa.int64())),
        ([["a"]], pa.map_(pa.string(), pa.int64())),
        ([[None, 1]], pa.map_(pa.string(), pa.int64())),
    ],
)
def test_fd16_fd23_what_cannot_be_exact_is_refused(opened: Session, value: Any, kind: pa.DataType) -> None:
    with pytest.raises(Refused) as refusal:
        cell_value(value, kind)
    assert str(refusal.value)
    if isinstance(value, str):
        typed = from_text(f"'{value}'", kind)
        [(bad,)] = tuples(opened.table(f"SELECT {typed.bad} AS b"))
        assert bad is True


def test_a_zone_is_taken_to_utc() -> None:
    kind = pa.timestamp("us", tz="UTC")
    late = cell_value("9999-12-31T23:59:59-12:00", kind)
    assert late == FarMoment(253402343999000000, True)
    assert text_form(late) == "+10000-01-01T11:59:59+00:00"
    assert cell_value("2024-01-01 10:00:00.5 +0530", kind) == datetime(
        2024, 1, 1, 4, 30, 0, 500_000, tzinfo=UTC
    )


@pytest.mark.parametrize("name", SIMPLE)
def test_what_types_a_cell_is_short_where_its_text_stands_ready(name: str) -> None:
    """It is planned for every column: at thousands of letters a hundred decimals took 20 seconds for one row."""
    kind = BORDERS[name].type
    typed = from_text("f1", kind, "t1")
    assert len(typed.value) + len(typed.bad) < 2_500


@pytest.mark.parametrize("hidden", ["\u00a0", "\u3000", "\u200b", "\ufeff", "\n", "\x85"], ids=ascii)
@pytest.mark.parametrize("text", ["{}7", "7{}"])
@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (pa.int64(), "expected a number (long)"),
        (pa.decimal128(9, 2), "expected a number (decimal(9,2))"),
        (pa.float32(), "expected a number (float)"),
        (pa.date32(), "expected a date"),
        (pa.timestamp("us"), "expected a timestamp"),
    ],
    ids=str,
)
def test_a_character_that_nobody_sees_is_told_of_the_value_that_it_spoils(
    hidden: str, text: str, kind: pa.DataType, why: str
) -> None:
    value = text.format(hidden)
    if pa.types.is_temporal(kind):
        value = value.replace("7", "2020-01-01")
    _, sentence = explain(value, kind)
    assert why in sentence
    assert sentence.isprintable()
    assert json.dumps(hidden)[1:-1] in sentence
