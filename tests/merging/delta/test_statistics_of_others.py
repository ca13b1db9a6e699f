"""Statistics as every known writer makes them: none of them hides a row, and most of them still spare files."""

from __future__ import annotations

import datetime
import json
import math
import string
import struct
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merging import delta
from merging.delta.actions import data_file
from merging.delta.statistics import loose_stats
from merging.delta.statistics.bounds import Bounds, partition_reader_of, reader_of
from merging.delta.statistics.ranges import stated_ranges
from tests.merging.delta.delta_tables import Merger, labelled, own_rows

Stated = tuple[Any, Any]
Writer = Callable[[list[Any], Any], Stated]


def through_json(stated: Stated) -> Stated:
    """What a reader of the log sees: numbers with a fraction as Decimal, as `DataFile.stats` gives them."""
    low, high = (
        json.loads(str(value) if isinstance(value, Decimal) else json.dumps(value), parse_float=Decimal)
        for value in stated
    )
    return low, high


def widened_bounds(data_type: pa.DataType, low: Any, high: Any) -> Bounds:
    return reader_of(data_type)(low, high)


def assert_within(data_type: pa.DataType, values: list[Any], stated: Stated) -> None:
    low, high = widened_bounds(data_type, *stated)
    for value in values:
        assert low is None or low <= value, (stated, low, value)
        assert high is None or value <= high, (stated, high, value)


# ---- text ---------------------------------------------------------------------------------------------------

LETTERS = st.one_of(
    st.sampled_from("ab~?\x7f\\\x00 zéÿ\u07ff\ud7ff\ue000\uf8ff\uff41\ufffc\ufffd\ufffe\uffff"),
    st.sampled_from("\U00010000\U0001f600\U0010fffc\U0010fffd\U0010fffe\U0010ffff"),
    st.characters(exclude_categories=["Cs"]),
)
WORDS = st.text(LETTERS, max_size=12)
LENGTHS = st.integers(1, 40)


def units(text: str) -> list[int]:
    encoded = text.encode("utf-16-be", "surrogatepass")
    return list(struct.unpack(f">{len(encoded) // 2}H", encoded))


def from_units(numbers: list[int]) -> str:
    """A Java string on its way to UTF-8: half a character becomes a question mark."""
    text = struct.pack(f">{len(numbers)}H", *numbers).decode("utf-16-be", "surrogatepass")
    return text.encode("utf-8", "replace").decode()


def least(texts: list[str]) -> str:
    return min(texts, key=str.encode)


def greatest(texts: list[str]) -> str:
    return max(texts, key=str.encode)


def spark_until_3_0(texts: list[str], length: int) -> Stated:
    """Delta for Spark up to 3.0, StatisticsCollection.truncateMaxStringAgg: UTF-16 units, then U+FFFD."""
    return least(texts)[:length], spark_cut(greatest(texts), length)


def spark_cut(text: str, length: int) -> str:
    numbers = units(text)
    if len(numbers) <= length:
        return text
    extended = length
    while extended < len(numbers) and numbers[extended] >= 0xFFFD:
        extended += 1
    return from_units([*numbers[:extended], 0xFFFD])


def spark_since_3_1(texts: list[str], length: int) -> Stated:
    """The same since 3.1: whole characters, then DEL or U+10FFFF, or the whole text where it is soon at its end."""

    def prefix(text: str) -> int:
        numbers = units(text)
        if len(numbers) <= length:
            return len(text)
        return len(from_units(numbers[: length + (0xD800 <= numbers[length - 1] <= 0xDBFF)]))

    low, high = least(texts), greatest(texts)
    end = prefix(high)
    while end < len(high):
        if high[end] < "\x7f":
            return low[: prefix(low)], high[:end] + "\x7f"
        if high[end] < "\U0010ffff":
            return low[: prefix(low)], high[:end] + "\U0010ffff"
        end += 1
    return low[: prefix(low)], high


def kernel_rs(texts: list[str], length: int) -> Stated:
    """delta-kernel-rs, engine/default/stats.rs: so many characters, and nothing behind them."""
    return least(texts)[:length], greatest(texts)[:length]


def parquet_rs(texts: list[str], length: int) -> Stated:
    """parquet-rs, as delta-rs, Polars and others write: at most so many bytes, the last character raised."""

    def cut(text: str) -> str:
        return text.encode()[:length].decode("utf-8", "ignore")

    low, high = least(texts), greatest(texts)
    if len(high.encode()) <= length:
        return cut(low), high
    raised = cut(high)
    while raised:
        code = ord(raised[-1]) + 1
        code = 0xE000 if code == 0xD800 else code
        if code <= 0x10FFFF and len(chr(code).encode()) == len(raised[-1].encode()):
            return cut(low), raised[:-1] + chr(code)
        raised = raised[:-1]
    return cut(low), high


def cut_bytes(texts: list[str], length: int) -> Stated:
    """Bytes cut anywhere and read as UTF-8 with replacements, the last byte of the maximum raised."""
    low, high = least(texts).encode(), greatest(texts).encode()
    cut = high[:length]
    if len(high) > length:
        cut = cut.rstrip(b"\xff")
        cut = cut[:-1] + bytes([cut[-1] + 1]) if cut else high
    return low[:length].decode("utf-8", "replace"), cut.decode("utf-8", "replace")


def in_java_order(texts: list[str], length: int) -> Stated:
    """Java strings compared as such: by UTF-16 units."""
    ordered = sorted(texts, key=units)
    return from_units(units(ordered[0])[:length]), spark_cut(ordered[-1], length)


def bytes_escaped(texts: list[str], length: int) -> Stated:
    """delta-rs, writer/stats.rs, for text that the Parquet file does not declare as text."""

    def escaped(text: str) -> str:
        special = {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r", 0x22: '\\"', 0x27: "\\'", 0x5C: "\\\\"}
        return "".join(
            special.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}")
            for byte in text.encode()
        )

    return escaped(least(texts)), escaped(greatest(texts))


def other_tie_breakers(texts: list[str], length: int) -> Stated:
    low, high = least(texts), greatest(texts)
    breaker = ("\ufffd", "\U0010fffd", "\U0010ffff", "\x7f", "\uffff", "\u00ff", "~")[length % 7]
    return low[:length], high if len(high) <= length else high[:length] + breaker


TEXT_WRITERS: list[Writer] = [
    spark_until_3_0,
    spark_since_3_1,
    kernel_rs,
    parquet_rs,
    cut_bytes,
    in_java_order,
    bytes_escaped,
    other_tie_breakers,
]


@pytest.mark.parametrize("writer", TEXT_WRITERS, ids=lambda writer: writer.__name__)
@given(st.lists(WORDS, min_size=1, max_size=5), LENGTHS, st.text(LETTERS, max_size=34))
def test_fd6_no_text_is_hidden(writer: Writer, words: list[str], length: int, common: str) -> None:
    """Lengths other than 32, too: they are a setting."""
    for texts in (words, [common + word for word in words]):
        assert_within(pa.string(), texts, through_json(writer(texts, length)))


@given(st.text(string.ascii_letters + string.digits + " -_/.:é漢", min_size=2, max_size=40))
def test_bounds_of_plain_texts_stay_close(text: str) -> None:
    low, high = widened_bounds(pa.string(), text, text)
    assert low == text
    assert high == text[:-1] + chr(ord(text[-1]) + 1)


@pytest.mark.parametrize("stated", ["\ud83d", "ab\ud83d", "\ud83dab"])
def test_half_a_character_bounds_what_is_before_it(stated: str) -> None:
    before = stated.partition("\ud83d")[0]
    assert widened_bounds(pa.string(), stated, stated) == (before, "ac" if before else None)


# ---- numbers ------------------------------------------------------------------------------------------------

LONGS = st.lists(
    st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(2**53 - 4, 2**53 + 9), st.integers(-9, 9)),
    min_size=1,
)


@given(LONGS)
def test_no_integer_is_hidden_by_writers_that_hold_doubles(values: list[int]) -> None:
    assert_within(pa.int64(), values, (min(values), max(values)))
    assert_within(pa.int64(), values, (int(float(min(values))), int(float(max(values)))))


def test_bounds_of_plain_integers_are_exact() -> None:
    assert widened_bounds(pa.int64(), 1 - 2**53, 2**53 - 1) == (1 - 2**53, 2**53 - 1)
    assert widened_bounds(pa.int8(), -128, 127) == (-128, 127)


def as_double(value: Decimal) -> float:
    return float(value)


def next_smaller(value: Decimal) -> float:
    """delta-rs steps towards zero where rounding gave a digit too many."""
    return math.nextafter(float(value), 0.0)


def within_64_bits(value: Decimal) -> float | int:
    """delta-rs takes what has no scale through 64 bits."""
    return float(value) if value.as_tuple().exponent else max(-(2**63), min(2**63 - 1, int(value)))


def as_plain(value: Decimal) -> Decimal:
    return value


def as_exponent(value: Decimal) -> str:
    return f"{value:E}"


def as_text(value: Decimal) -> str:
    return f"{value:f}"


@pytest.mark.parametrize("spell", [as_double, next_smaller, within_64_bits, as_plain, as_text, as_exponent])
@given(data=st.data())
def test_no_decimal_is_hidden(spell: Callable[[Decimal], Any], data: st.DataObject) -> None:
    precision = data.draw(st.integers(1, 38))
    scale = data.draw(st.integers(0, precision))
    digits = st.integers(1 - 10**precision, 10**precision - 1)
    values = [Decimal(f"{one}E-{scale}") for one in data.draw(st.lists(digits, min_size=1, max_size=4))]
    stated = through_json((spell(min(values)), spell(max(values))))
    data_type = pa.decimal128(precision, scale)
    assert_within(data_type, values, stated)
    low, high = widened_bounds(data_type, *stated)
    pa.array([low, high], data_type)


@pytest.mark.parametrize("data_type", [pa.int64(), pa.decimal128(9, 2), pa.date32(), pa.timestamp("us")])
@pytest.mark.parametrize(
    "odd", [None, True, [1], {}, "", "nonsense", "NaN", "Infinity", Decimal("NaN"), "9" * 50 + "x", "\ud83d"]
)
def test_what_is_no_value_of_the_type_bounds_nothing(data_type: pa.DataType, odd: Any) -> None:
    assert widened_bounds(data_type, odd, odd) == (None, None)
    good = {"int64": 5, "decimal128(9, 2)": 5}.get(str(data_type), "2020-01-01")
    for stated in ((odd, good), (good, odd)):
        assert widened_bounds(data_type, *stated) == (None, None)


@pytest.mark.parametrize("odd", [None, True, 5, Decimal("5.5"), ["a"], {}])
def test_what_is_no_text_bounds_no_text(odd: Any) -> None:
    assert widened_bounds(pa.string(), odd, "b") == (None, None)
    assert widened_bounds(pa.string(), "a", odd) == (None, None)


@pytest.mark.parametrize(
    ("data_type", "low", "high"),
    [
        (pa.int32(), 9, 3),
        (pa.date32(), "2020-02-01", "2020-01-01"),
        (pa.timestamp("us", "UTC"), "2020-02-01T00:00:00.000Z", "2020-01-01T00:00:00.000Z"),
        (pa.decimal128(5, 2), Decimal("9.99"), Decimal("1.11")),
    ],
)
def test_bounds_that_contradict_each_other_are_none(data_type: pa.DataType, low: Any, high: Any) -> None:
    assert widened_bounds(data_type, low, high) == (None, None)


# ---- dates and timestamps -----------------------------------------------------------------------------------

FIRST = int(np.datetime64("-4000-01-01T00:00:00", "us").astype(int))
LAST = int(np.datetime64("14000-01-01T00:00:00", "us").astype(int))
SENTINELS = [
    int(np.datetime64(text, "us").astype(int))
    for text in (
        "0001-01-01",
        "1582-10-04",
        "1582-10-15",
        "1899-12-31T23:59:59.999999",
        "1900-01-01",
        "9999-12-31",
    )
]
MOMENTS = st.lists(
    st.one_of(
        st.integers(FIRST, LAST),
        st.sampled_from(SENTINELS).flatmap(lambda at: st.integers(at - 10**8, at + 10**8)),
        st.integers(-(10**15), 10**15),
    ),
    min_size=1,
    max_size=4,
)


def spelled(microseconds: int, digits: int = 6, between: str = "T") -> str:
    text = str(np.datetime64(microseconds, "us"))
    year, rest = (
        text.split("-", 1)
        if not text.startswith("-")
        else ("-" + text[1:].split("-", 1)[0], text[1:].split("-", 1)[1])
    )
    if len(year) > 4 and not year.startswith("-"):
        year = "+" + year
    rest = rest.replace("T", between)
    return f"{year}-{rest[: len(rest) - 6 + digits]}".removesuffix(".")


def floored(microseconds: int, unit: int) -> int:
    return microseconds // unit * unit


def spark_in_a_zone(seconds: int) -> Callable[[int], str]:
    """Spark's to_json: milliseconds, local time, the offset without its seconds."""

    def spell(moment: int) -> str:
        sign, minutes = "-" if seconds < 0 else "+", abs(seconds) // 60
        zone = f"{sign}{minutes // 60:02d}:{minutes % 60:02d}" if seconds else "Z"
        return spelled(moment + seconds * 1_000_000, 3) + zone

    return spell


def without_zeros(moment: int) -> str:
    """delta-rs and Trino: milliseconds, zeros at the end left out."""
    text = spelled(floored(moment, 1000), 3)
    return (text.rstrip("0").removesuffix(".") if text.endswith("0") and "." in text else text) + "Z"


def in_whole(unit: int) -> Callable[[int], str]:
    return lambda moment: spelled(floored(moment, unit), 3) + "Z"


def towards_zero(moment: int) -> str:
    """Integer division as Java and C do it."""
    return spelled(int(math.copysign(abs(moment) // 1000, moment)) * 1000, 3) + "Z"


def minutes_only(moment: int) -> str:
    return spelled(moment, 0)[:-3] + "Z"


def without_zone(seconds: int) -> Callable[[int], str]:
    return lambda moment: spelled(moment + seconds * 1_000_000, 6, " ")


OFFSETS = st.one_of(st.integers(-64_800, 64_800), st.sampled_from([-17_762, 3_208, 0, 1_172]))
SPELLINGS = st.one_of(
    OFFSETS.map(spark_in_a_zone),
    OFFSETS.map(without_zone),
    st.sampled_from([1000, 1_000_000, 60_000_000]).map(in_whole),
    st.sampled_from([without_zeros, towards_zero, minutes_only, lambda moment: spelled(moment) + "Z"]),
)


@given(MOMENTS, SPELLINGS)
def test_fd7_no_timestamp_is_hidden(moments: list[int], spell: Callable[[int], str]) -> None:
    stated = spell(min(moments)), spell(max(moments))
    assert_within(pa.timestamp("us", "UTC"), moments, stated)


@given(MOMENTS, st.sampled_from(["T", " "]), st.integers(0, 6), st.sampled_from(["", "Z"]))
def test_fd7_no_timestamp_without_zone_is_hidden(
    moments: list[int], between: str, digits: int, zone: str
) -> None:
    stated = spelled(min(moments), digits, between) + zone, spelled(max(moments), digits, between) + zone
    assert_within(pa.timestamp("us"), moments, stated)


def test_bounds_of_plain_timestamps_stay_close() -> None:
    at = int(np.datetime64("2013-01-01T05:00:01.234", "us").astype(int))
    text = "2013-01-01T05:00:01.234Z"
    assert widened_bounds(pa.timestamp("us", "UTC"), text, text) == (at - 1000, at + 1000)
    assert widened_bounds(pa.timestamp("us", "UTC"), text, text[:-1] + "+01:00") == (None, None)
    local = text[:-1] + "-01:00"
    hour = 3_600_000_000
    assert widened_bounds(pa.timestamp("us", "UTC"), local, local) == (
        at + hour - 1000 - 60_000_000,
        at + hour + 1000 + 60_000_000,
    )


def julian(days: int) -> str:
    """A date as writers with the legacy calendar spell it (Richards' algorithm, for the Julian calendar)."""
    f = days + 2_440_588 + 1401
    e = 4 * f + 3
    h = 5 * (e % 1461 // 4) + 2
    month = (h // 153 + 2) % 12 + 1
    year = e // 1461 - 4716 + (14 - month) // 12
    return f"{year:04d}-{month:02d}-{h % 153 // 5 + 1:02d}"


@given(st.lists(st.integers(-800_000, 4_400_000), min_size=1, max_size=4))
def test_no_date_is_hidden(days: list[int]) -> None:
    def plain(day: int) -> str:
        return spelled(day * 86_400_000_000).partition("T")[0]

    assert_within(pa.date32(), days, (plain(min(days)), plain(max(days))))
    if min(days) > -719_000:
        before = [day for day in days if day < -141_427] or [-141_428]
        assert_within(pa.date32(), before, (julian(min(before)), julian(max(before))))


def test_bounds_of_plain_dates_are_exact() -> None:
    assert widened_bounds(pa.date32(), "1960-02-29", "2013-01-01") == (-3594, 15706)


# ---- partitions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data_type", "value", "bounds"),
    [
        (pa.string(), "a b/ü%=1", ("a b/ü%=1", "a b/ü%=1")),
        (pa.int32(), "-7", (-7, -7)),
        (pa.int32(), " 7", (None, None)),
        (pa.int32(), "7.5", (None, None)),
        (pa.date32(), "2013-01-01", (15706, 15706)),
        (pa.date32(), "yesterday", (None, None)),
        (pa.decimal128(5, 2), "1.50", (Decimal("1.49"), Decimal("1.51"))),
        (pa.decimal128(5, 2), "inf", (None, None)),
    ],
)
def test_bounds_of_a_partition(data_type: pa.DataType, value: str, bounds: Stated) -> None:
    assert partition_reader_of(data_type)(value, value) == bounds


# ---- merges over such statistics ----------------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["merge-on-read", "copy-on-write"])
def deletion_vectors(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def restate(uri: str, stats: Any) -> None:
    """Give the table's first file these statistics."""
    restate_text(uri, json.dumps(stats))


def restate_text(uri: str, stats: str) -> None:
    path = Path(uri) / "_delta_log" / f"{0:020d}.json"
    actions = [json.loads(line) for line in path.read_text().splitlines()]
    for action in actions:
        if "add" in action:
            action["add"]["stats"] = stats
    path.write_text("".join(json.dumps(action) + "\n" for action in actions))


def two_files(
    make: Callable[..., str], merger: Merger, first: pa.Table, second: pa.Table, vectors: bool
) -> str:
    uri = make(first, deletion_vectors=vectors)
    merger.merge(uri, upsert=second, key="k")
    assert len(delta.open_snapshot(uri).files) == 2
    return uri


@pytest.mark.parametrize("length", [32, 7])
def test_fd6_a_key_beyond_the_tie_breaker_is_updated_not_doubled(
    length: int, deletion_vectors: bool, make_table: Callable[..., str], merger: Merger
) -> None:
    schema = pa.schema([("k", pa.string()), ("v", pa.int64())])
    hidden = "p" * length + "\U0001f600 tail"
    first = pa.table({"k": ["a", hidden], "v": [1, 2]}, schema)
    uri = two_files(make_table, merger, first, pa.table({"k": ["zz"], "v": [3]}, schema), deletion_vectors)
    restate(
        uri,
        {
            "numRecords": 2,
            "minValues": {"k": "a"},
            "maxValues": {"k": "p" * length + "\ufffd"},
            "nullCount": {"k": 0},
        },
    )
    merger.merge(uri, upsert=pa.table({"k": [hidden], "v": [20]}, schema), key="k")
    assert own_rows(uri) == [("a", 1), (hidden, 20), ("zz", 3)]


@pytest.mark.parametrize("sign", [1, -1])
def test_fd6_a_decimal_beyond_64_bits_in_files_of_delta_rs_is_updated_not_doubled(
    sign: int, tmp_path: Path, merger: Merger
) -> None:
    key = pa.decimal128(20, 0)
    schema = pa.schema([("k", key), ("v", pa.int64())])
    far, near = Decimal(sign * (10**20 - 1)), Decimal(1)
    uri = str(tmp_path / "table")
    for value, one in enumerate((far, near)):
        content = pa.table({"k": pa.array([one], key), "v": [value]}, schema)
        deltalake.write_deltalake(uri, content, mode="append")
    assert stated_ranges(delta.open_snapshot(uri), ["k"]) == {}
    merger.merge(uri, upsert=pa.table({"k": pa.array([far], key), "v": [20]}, schema), key="k")
    assert own_rows(uri) == sorted([(near, 1), (far, 20)])


def test_fd7_a_key_of_before_standard_time_is_updated_not_doubled(
    deletion_vectors: bool, make_table: Callable[..., str], merger: Merger
) -> None:
    schema = pa.schema([("k", pa.timestamp("us", "UTC")), ("v", pa.int64())])
    # 1800-01-01 in New York, 4:56:02 behind UTC; Spark writes the offset as -04:56.
    at = datetime.datetime(1800, 1, 1, 4, 56, 2, tzinfo=datetime.UTC)
    later = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    first = pa.table({"k": pa.array([at], schema.field("k").type), "v": [1]}, schema)
    second = pa.table({"k": pa.array([later], schema.field("k").type), "v": [2]}, schema)
    uri = two_files(make_table, merger, first, second, deletion_vectors)
    stated = {"k": "1800-01-01T00:00:00.000-04:56"}
    restate(uri, {"numRecords": 1, "minValues": stated, "maxValues": stated, "nullCount": {"k": 0}})
    merger.merge(uri, upsert=first.set_column(1, schema.field("v"), pa.array([10])), key="k")
    with duckdb.connect() as connection:
        found = connection.sql(delta.scan_sql(connection, delta.open_snapshot(uri), ["v"])).fetchall()
    assert sorted(found) == [(2,), (10,)]


@pytest.mark.parametrize(
    "stats",
    [
        [1, 2],
        "text",
        5,
        {"numRecords": 2, "minValues": [], "maxValues": "x"},
        {"numRecords": 2, "minValues": {"k": 5}, "maxValues": {"k": None}},
        {"numRecords": 2, "minValues": {"k": {"k": "a"}}, "maxValues": {"k": ["z"]}, "nullCount": 3},
        {
            "numRecords": 2,
            "minValues": {"k": "a\ud83d"},
            "maxValues": {"k": "b\ude00"},
            "nullCount": {"k": "x"},
        },
    ],
    ids=str,
)
def test_odd_statistics_bound_nothing(stats: Any, make_table: Callable[..., str], merger: Merger) -> None:
    schema = pa.schema([("k", pa.string()), ("v", pa.int64())])
    first = pa.table({"k": ["a", "b"], "v": [1, 2]}, schema)
    uri = two_files(make_table, merger, first, pa.table({"k": ["zz"], "v": [3]}, schema), True)
    restate(uri, stats)
    merger.merge(uri, upsert=pa.table({"k": ["b"], "v": [20]}, schema), key="k")
    assert own_rows(uri) == [("a", 1), ("b", 20), ("zz", 3)]


# ---- counts of others ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("stated", [2, 1, 0, 7, -1, 5.0, "5", True, None, 2**60])
def test_a_wrong_count_takes_no_row_with_it(
    stated: Any, deletion_vectors: bool, make_table: Callable[..., str], merger: Merger
) -> None:
    """Five rows, of which two are deleted: were two all there are, the file would go with the other three."""
    schema = pa.schema([("k", pa.string()), ("v", pa.int64())])
    first = pa.table({"k": list("abcde"), "v": [1, 2, 3, 4, 5]}, schema)
    uri = two_files(make_table, merger, first, pa.table({"k": ["z"], "v": [9]}, schema), deletion_vectors)
    restate(uri, {"numRecords": stated, "minValues": {"k": "a"}, "maxValues": {"k": "e"}})
    done = merger.merge(uri, delete=["d", "e"], key="k")
    assert own_rows_of(uri, done) == [("a", 1), ("b", 2), ("c", 3), ("z", 9)]
    done = merger.merge(uri, delete=["a", "b", "c"], key="k")
    assert own_rows_of(uri, done) == [("z", 9)]


def own_rows_of(uri: str, snapshot: delta.Snapshot) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        found = connection.sql(delta.scan_sql(connection, snapshot)).fetchall()
    return sorted(found)


def test_a_count_that_is_missing_is_asked_of_the_footer(make_table: Callable[..., str]) -> None:
    uri = make_table(pa.table({"k": list("abcde")}))
    restate(uri, {"numRecords": "5", "minValues": {"k": "a"}})
    assert delta.open_snapshot(uri).row_count == 5


def test_members_of_statistics_keep_every_digit_and_a_column_may_be_called_like_one() -> None:
    text = (
        '{ "numRecords" : 3, "maxValues":{"tightBounds":true,"d":1.10000000000000000001},"tightBounds":true }'
    )
    file = data_file({"path": "a", "size": 1, "stats": text})
    assert loose_stats(file, 5) == (
        '{"numRecords":5,"maxValues":{"tightBounds":true,"d":1.10000000000000000001},"tightBounds":false}'
    )
    for damaged in ("{", "[1]", "5", '{"numRecords":3,', ""):
        file = data_file({"path": "a", "size": 1, "stats": damaged})
        assert loose_stats(file, 5) == '{"numRecords":5,"tightBounds":false}'


UTC = datetime.UTC


@pytest.mark.parametrize(
    ("data_type", "key", "low", "high", "other"),
    [
        (pa.date32(), datetime.date(1, 1, 1), "0001-01-01", "9999-12-31", datetime.date(2020, 1, 1)),
        (pa.date32(), datetime.date(9999, 12, 31), "-4712-01-01", "+12000-01-01", datetime.date(2020, 1, 1)),
        (pa.date32(), datetime.date(1500, 3, 1), "1500-02-20", "1500-02-20", datetime.date(2020, 1, 1)),
        (
            pa.timestamp("us", "UTC"),
            datetime.datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
            "0000-01-01T00:00:00.000Z",
            "9999-12-31T15:59:59.999-08:00",
            datetime.datetime(2020, 1, 1, tzinfo=UTC),
        ),
        (
            pa.timestamp("us"),
            datetime.datetime(2013, 5, 5, 1, 2, 3, 4567, UTC).replace(tzinfo=None),
            "2013-05-05 01:02:03.004",
            "2013-05-05 01:02:03.004",
            datetime.datetime(2020, 1, 1, tzinfo=UTC).replace(tzinfo=None),
        ),
        (pa.int8(), 127, -128, 127, 0),
        (pa.int64(), 2**63 - 1, 2**63, 2**63, 0),
        (pa.decimal128(38, 0), Decimal(10**38 - 1), Decimal("1E+38"), Decimal("1E+38"), Decimal(0)),
        (pa.string(), "\U0010ffff" * 3, "\U0010ffff", "\U0010ffff", "a"),
        (pa.string(), "a\0b", "a", "a", "b"),
    ],
)  # fmt: skip
def test_a_key_at_the_border_of_its_type_is_found_by_pairs_and_by_columns(
    data_type: pa.DataType,
    key: Any,
    low: Any,
    high: Any,
    other: Any,
    make_table: Callable[..., str],
    merger: Merger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = (pa.table({"k": pa.array([value], data_type)}) for value in (key, other))
    uri = two_files(make_table, merger, first, second, True)
    stated = [str(value) if isinstance(value, Decimal) else json.dumps(value) for value in (low, high)]
    restate_text(uri, f'{{"numRecords":1,"minValues":{{"k":{stated[0]}}},"maxValues":{{"k":{stated[1]}}}}}')
    snapshot = delta.open_snapshot(uri)
    for limit in (4_000_000, 0):
        monkeypatch.setattr("merging.delta.statistics.pruning._PAIR_LIMIT", limit)
        merger.connection.register("asked", labelled(first))
        merger.connection.execute("CREATE OR REPLACE TEMP TABLE keys AS FROM asked")
        assert delta.locate(merger.connection, snapshot, "keys", ["k"], "located").rows == 1


@pytest.mark.parametrize(
    ("data_type", "value"),
    [
        (pa.decimal128(38, 0), Decimal("9" * 38)),
        (pa.decimal128(38, 10), Decimal("1234567890123456789.5")),
        (pa.decimal128(38, 38), Decimal("-0." + "9" * 38)),
    ],
)
def test_ranges_of_decimals_of_all_their_digits_are_stated(
    data_type: pa.DataType, value: Decimal, make_table: Callable[..., str]
) -> None:
    """Python calculates with 28 digits unless it is told otherwise."""
    uri = make_table(pa.table({"d": pa.array([value], data_type)}))
    spelled = str(value)
    restate_text(uri, f'{{"numRecords":1,"minValues":{{"d":{spelled}}},"maxValues":{{"d":{spelled}}}}}')
    low, high = stated_ranges(delta.open_snapshot(uri), ["d"])["d"]
    assert (low, high) == (value, value)


@pytest.mark.parametrize("scale", [0, 2, 38])
def test_ranges_of_decimals_lie_within_their_type(scale: int, make_table: Callable[..., str]) -> None:
    """Doubles, in which some writers state them, may lie beyond; others may state any number."""
    data_type = pa.decimal128(38, scale)
    least, largest = (Decimal((sign, (9,) * 38, -scale)) for sign in (1, 0))
    uri = make_table(pa.table({"d": pa.array([least, largest], data_type)}))
    for spelled in (f"1e{38 - scale}", "1e200", "1e999", "1" + "0" * 300):
        restate_text(uri, f'{{"numRecords":2,"minValues":{{"d":-{spelled}}},"maxValues":{{"d":{spelled}}}}}')
        assert stated_ranges(delta.open_snapshot(uri), ["d"])["d"] == (least, largest)
