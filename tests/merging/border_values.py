"""Every type of a Delta column with values at its borders, as plain Python values: what tests of all types walk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from merging.sql.moments import FarDate, FarMoment


@dataclass(frozen=True)
class Borders:
    """A column type and its values."""

    type: pa.DataType
    values: tuple[Any, ...]


_ZONED = pa.timestamp("us", tz="UTC")
_PLAIN = pa.timestamp("us")
_DAYS = (
    date(1, 1, 1),
    date(9999, 12, 31),
    date(1582, 10, 10),
    FarDate(2932897),
    FarDate(-719163),
    FarDate(3663450),
    FarDate(-721_000),
    FarDate(2**31 - 1),
    FarDate(2**31 - 2),
    FarDate(-(2**31)),
    FarDate(-(2**31) + 1),
)


def _moments(zoned: bool) -> tuple[Any, ...]:
    zone = UTC if zoned else None
    return (
        datetime(1, 1, 1, tzinfo=zone),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=zone),
        datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=zone),
        FarMoment(253402343999000000, zoned),
        FarMoment(-62135596800000001, zoned),
        FarMoment(2**63 - 1, zoned),
        FarMoment(2**63 - 2, zoned),
        FarMoment(-9_223_372_022_400_000_000, zoned),
    )


BORDERS = {
    "byte": Borders(pa.int8(), (-128, 0, 127)),
    "short": Borders(pa.int16(), (-(2**15), 2**15 - 1)),
    "integer": Borders(pa.int32(), (-(2**31), 2**31 - 1)),
    "long": Borders(pa.int64(), (-(2**63), 2**63 - 1, 2**53 + 1)),
    "float": Borders(
        pa.float32(), (math.nan, math.inf, -math.inf, -0.0, 3.4028234663852886e38, 1.401298464324817e-45)
    ),
    "double": Borders(
        pa.float64(),
        (math.nan, math.inf, -math.inf, -0.0, 1.7976931348623157e308, 5e-324, 0.1 + 0.2, 1e23, 2.0**70),
    ),
    "decimal_38_0": Borders(pa.decimal128(38, 0), (Decimal("9" * 38), Decimal("-" + "9" * 38), Decimal(0))),
    "decimal_38_12": Borders(
        pa.decimal128(38, 12),
        (Decimal("1E-12"), Decimal("1234567890.123456789012"), Decimal("-" + "9" * 26 + "." + "9" * 12)),
    ),
    "decimal_38_38": Borders(
        pa.decimal128(38, 38),
        (Decimal("1E-38"), Decimal("-0." + "9" * 38), Decimal("0." + "12345678" * 4 + "000000")),
    ),
    "decimal_5_2": Borders(pa.decimal128(5, 2), (Decimal("999.99"), Decimal("-0.01"), Decimal("1.50"))),
    "string": Borders(
        pa.string(),
        (
            "",
            " ",
            "a\x00b",
            "\x00",
            "NULL",
            "'",
            '"',
            "a\r\nb",
            "\u2028",
            "\U0010ffff",
            "é",
            "e\u0301",
            "0x00",
            "\\N",
        ),
    ),
    "binary": Borders(pa.binary(), (b"", b"\x00", b"\xff\xfe", b"0x00", b"\xd3\x1d4", bytes(range(256)))),
    "boolean": Borders(pa.bool_(), (True, False)),
    "date": Borders(pa.date32(), _DAYS),
    "timestamp": Borders(_ZONED, _moments(True)),
    "timestamp_ntz": Borders(_PLAIN, _moments(False)),
    "struct": Borders(
        pa.struct([("a b", pa.int32()), ("d", pa.date32()), ("s", pa.struct([("x", pa.float64())]))]),
        (
            {"a b": 1, "d": FarDate(3663450), "s": {"x": math.nan}},
            {"a b": None, "d": None, "s": None},
            {"a b": -1, "d": date(2024, 1, 1), "s": {"x": None}},
        ),
    ),
    "array": Borders(pa.list_(pa.float64()), ([], [None], [math.nan, None, -math.inf], [1.5])),
    "array_of_text": Borders(
        pa.list_(pa.string()), (["NULL"], [None], [""], ["a, b"], ["a", "b"], ["\x00'"])
    ),
    "array_of_moments": Borders(pa.list_(_ZONED), ([FarMoment(253402343999000000, True), None], [])),
    "map": Borders(pa.map_(pa.string(), pa.int64()), ({"a": 1, "b": None}, {}, {"": 2**63 - 1, "\x00": 0})),
    "map_of_bytes": Borders(
        pa.map_(pa.binary(), pa.decimal128(38, 12)),
        ({b"\x00": Decimal("1E-12"), b"": None}, {b"0x": Decimal(1)}),
    ),
    "map_of_days": Borders(
        pa.map_(pa.date32(), pa.list_(pa.int32())), ({date(2024, 1, 1): [1, None], FarDate(3663450): None},)
    ),
    "map_of_doubles": Borders(pa.map_(pa.float64(), pa.bool_()), ({1.5: True, math.inf: None},)),
    "map_of_structs": Borders(
        pa.map_(pa.struct([("k", pa.int32())]), pa.string()), ([({"k": 1}, "one"), ({"k": None}, None)],)
    ),
}
NAMES = sorted(BORDERS)
