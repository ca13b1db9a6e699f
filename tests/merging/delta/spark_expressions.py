"""Expressions, rows to judge them on, and Spark's answers: what Spark said once is kept in `spark_answers.json.gz`.

`make test-spark` asks Spark itself; `HEADGATE_RECORD_SPARK=1 make test-spark` keeps what it says, which is needed
where an expression is added.
"""

from __future__ import annotations

import datetime
import gzip
import json
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from merging.delta.expressions import translate
from merging.sql.quoting import column_sql

ANSWERS = Path(__file__).with_name("spark_answers.json.gz")

SCHEMA = pa.schema(
    [
        ("n", pa.int32()),
        ("i8", pa.int8()),
        ("i16", pa.int16()),
        ("i32", pa.int32()),
        ("i64", pa.int64()),
        ("price", pa.decimal128(12, 2)),
        ("wide", pa.decimal128(30, 10)),
        ("f32", pa.float32()),
        ("f64", pa.float64()),
        ("s", pa.string()),
        ("t", pa.string()),
        ("flag", pa.bool_()),
        ("day", pa.date32()),
        ("local", pa.timestamp("us")),
        ("instant", pa.timestamp("us", "UTC")),
        ("odd Name", pa.int32()),
        (
            "place",
            pa.struct(
                [("x", pa.int32()), ("Y z", pa.string()), ("inner", pa.struct([("since", pa.date32())]))]
            ),
        ),
    ]
)

#: Conditions and values that need nothing of the session.
EXPRESSIONS = (
    "i32 = 5",
    "i32 <> i16",
    "i32 != i64",
    "i32 == i8",
    "i64 < 9223372036854775807",
    "i8 <= i32",
    "i32 > -2147483648",
    "i64 >= 3L",
    "i32 <=> i16",
    "s <=> t",
    "flag AND i32 > 0",
    "flag OR i32 > 0",
    "NOT flag",
    "!flag OR s IS NULL",
    "NOT i32 > 3 AND flag",
    "i32 = 5 IS NULL",
    "i32 > 3 = flag",
    "flag IS TRUE",
    "flag IS NOT FALSE",
    "i32 IS NULL",
    "place IS NOT NULL",
    "isnull(s) OR isnotnull(t)",
    "i32 IS DISTINCT FROM i16",
    "i32 IN (1, 2, 5, NULL)",
    "i32 NOT IN (1, 2)",
    "s IN ('a', 'abc', '')",
    "price IN (1, 2.50, 3)",
    "price IN (i32, 0)",
    "day IN (DATE '2020-02-28', '2021-01-01')",
    "i32 BETWEEN 1 AND 100",
    "i32 NOT BETWEEN i8 AND i16",
    "day BETWEEN '2019-01-01' AND '2021-12-31'",
    "s BETWEEN 'a' AND 'b'",
    "s LIKE 'a%'",
    "s LIKE '_'",
    "s LIKE '%b_'",
    r"s LIKE 'a\\%b'",
    r"s LIKE 'a\_b%'",
    r"s LIKE '%\\\\%'",
    "s LIKE 'a!%b' ESCAPE '!'",
    "s NOT LIKE '%a%'",
    "s LIKE ''",
    "s < t",
    "s >= 'B'",
    '"abc" = s',
    "s = 'it\\'s'",
    "price > 10",
    "price >= 10.005",
    "price < i32",
    "price = wide",
    "price <= 1000BD OR price IS NULL",
    "wide <> 0.1234567890",
    "f64 > 0.5",
    "f64 >= 0",
    "f64 = f32",
    "f64 < i32",
    "f64 > i64",
    "f64 <> 1e10",
    "f32 = 0.1",
    "f32 > 3",
    "f32 < i16",
    "f64 BETWEEN -90 AND 90",
    "f64 = -0.0D",
    "flag = true",
    "day > DATE '2020-02-28'",
    "day <= '2020-02-28'",
    "local >= TIMESTAMP_NTZ '2020-02-28 12:30:00'",
    "instant < TIMESTAMP '2020-02-28 12:30:00Z'",
    "instant >= TIMESTAMP '2020-02-28T12:30:00.25+05:30'",
    "i32 + i16",
    "i32 - 1",
    "i8 + i8",
    "i8 * i16",
    "i64 * 3",
    "i64 - i32 * 2",
    "-i32",
    "-i8 * 2",
    "- i16 + 3",
    "i32 * i32 + i64",
    "price + 1",
    "price * 2",
    "price - wide",
    "price * price",
    "price * 1.19",
    "i32 * 0.5",
    "-price",
    "(i32 + 1) * (i16 - 1) > 10",
    "coalesce(i32, i16, 0)",
    "coalesce(s, t, 'none')",
    "nvl(s, '')",
    "ifnull(price, 0)",
    "coalesce(NULL, i32)",
    "CASE WHEN i32 > 0 THEN 'plus' WHEN i32 < 0 THEN 'minus' ELSE s END",
    "CASE i32 WHEN 1 THEN 10 WHEN 2 THEN 20 END",
    "CASE WHEN flag THEN i32 ELSE i64 END",
    "CASE WHEN flag THEN price ELSE i32 END",
    "if(flag, s, t)",
    "IF(i32 IS NULL, 0, 1)",
    "length(s)",
    "char_length(s) <= 3",
    "character_length(t) + 1",
    "lower(s)",
    "upper(t) = 'ABC'",
    "lcase(s)",
    "trim(s)",
    "ltrim(s)",
    "rtrim(s)",
    "trim(s) <> ''",
    "concat(s, t)",
    "concat(s, '-', t, NULL)",
    "s || '/' || t",
    "substring(s, 1, 2)",
    "substr(s, 3)",
    "substring(s, 2, 0)",
    "substring(concat(s, t), 2, 3)",
    "CAST(i32 AS STRING)",
    "CAST(price AS STRING)",
    "CAST(wide AS DECIMAL(38, 12))",
    "CAST(flag AS STRING)",
    "CAST(day AS STRING)",
    "CAST(i64 AS INT)",
    "CAST(i32 AS TINYINT)",
    "CAST(i16 AS BIGINT)",
    "CAST(i32 AS DECIMAL(12, 2))",
    "CAST(i32 AS DOUBLE)",
    "CAST(f32 AS DOUBLE)",
    "CAST(s AS INT)",
    "CAST(t AS BIGINT)",
    "CAST(s AS DATE)",
    "to_date(t)",
    "CAST(local AS DATE)",
    "date(day)",
    "year(day)",
    "month(day)",
    "day(day)",
    "dayofmonth(day)",
    "dayofweek(day)",
    "dayofyear(day)",
    "quarter(day)",
    "YEAR(local) * 100 + MONTH(local)",
    "hour(local)",
    "minute(local)",
    "second(local)",
    "trunc(day, 'MM')",
    "trunc(day, 'year')",
    "trunc(day, 'Quarter')",
    "trunc(day, 'week')",
    "date_format(day, 'yyyy-MM')",
    "date_format(day, 'dd.MM.yyyy')",
    "concat(CAST(year(day) AS STRING), '-', CAST(month(day) AS STRING))",
    "`odd Name` > 3",
    "`Odd name` + I32",
    "place.x > 3",
    "place.`y Z`",
    "PLACE.inner.since >= DATE '2020-01-01'",
    "year(place.inner.since)",
    "i32 > 0 AND i32 < 10 OR i32 = 100 AND NOT flag",
    "1",
    "'x'",
    "1.5",
    "NULL",
    "3000000000",
    "DATE '2020-02-29'",
    "2S + 3Y",
    "CAST(NULL AS STRING)",
)

#: Expressions whose value follows the session's time zone: proved for UTC alone.
IN_UTC = (
    "CAST(instant AS DATE)",
    "to_date(instant)",
    "year(instant)",
    "month(instant)",
    "dayofweek(instant)",
    "hour(instant)",
    "minute(instant) + second(instant)",
    "date_format(instant, 'yyyy-MM')",
    "date_format(instant, 'yyyy-MM-dd HH:mm:ss')",
    "date_format(local, 'yyyyMMdd')",
    "date_trunc('HOUR', instant)",
    "date_trunc('day', instant)",
    "date_trunc('Week', instant)",
    "date_trunc('MONTH', instant)",
    "date_trunc('quarter', instant)",
    "instant >= TIMESTAMP '2020-02-28 12:30:00'",
)

_TEXTS = (
    *("", " ", "a", "A", "abc", "ABC", "a%b", "a_b", "a_bc", "aXb", "a\\b", "ab", "bab", "xb1", "\u00a0x\u00a0"),
    *("  padded  ", "\ttab\t", "line\nbreak", "Ä", "ß", "İ", "ı", "🎉", "a🎉b", "it's", 'say "x"', "B", "Z", "é"),
    *("12", "-7", "+3", " 5 ", "007", "9999999999", "1e3", "1.5", "2020-02-28", "2020-02-30", "2021-1-1", "0000-01-01"),
)  # fmt: skip


def rows(count: int = 200) -> pa.Table:
    """Random rows, borders among them, the same at every call."""
    chance = random.Random(9)  # noqa: S311 - the same rows every time

    def maybe(value: Any) -> Any:
        return None if chance.random() < 0.12 else value

    def whole(bits: int) -> int:
        edge = 1 << (bits - 1)
        borders = (0, 1, 2, 5, -1, edge - 1, -edge, edge // 2, 100)
        wanted = chance.choice(borders) if chance.random() < 0.5 else chance.randint(-edge, edge - 1)
        return max(-edge, min(edge - 1, wanted)) if chance.random() < 0.7 else chance.randint(-10, 10)

    def real() -> float:
        special = (0.0, -0.0, 0.1, 0.5, 1e10, float("nan"), float("inf"), float("-inf"), 1.5, 5e-324, 1e300)
        return chance.choice(special) if chance.random() < 0.4 else chance.uniform(-200, 200)

    def number(digits: int, scale: int) -> Decimal:
        if chance.random() < 0.5:
            return Decimal(chance.randint(-2000, 2000)).scaleb(-scale)
        return Decimal(chance.randint(-(10**digits) + 1, 10**digits - 1)).scaleb(-scale)

    def a_day() -> datetime.date:
        borders = (
            datetime.date(1, 1, 1),
            datetime.date(9999, 12, 31),
            datetime.date(2020, 2, 28),
            datetime.date(1582, 10, 4),
        )
        if chance.random() < 0.15:
            return chance.choice(borders)
        return datetime.date(1900, 1, 1) + datetime.timedelta(days=chance.randint(0, 60_000))

    def a_moment() -> datetime.datetime:
        start = datetime.datetime(1890, 1, 1)  # noqa: DTZ001 - told what zone it is in below, or none
        if chance.random() < 0.3:
            return datetime.datetime(2020, 2, 28, 12, 30) + datetime.timedelta(  # noqa: DTZ001
                microseconds=chance.choice((0, 1, -1, 250_000, -19_800_000_000))
            )
        return start + datetime.timedelta(microseconds=chance.randint(0, 60_000 * 86_400 * 10**6))

    single = pa.array([0.0], pa.float32()).type
    made: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for n in range(count):
        made["n"].append(n)
        for bits in (8, 16, 32, 64):
            made[f"i{bits}"].append(maybe(whole(bits)))
        made["price"].append(maybe(number(12, 2)))
        made["wide"].append(maybe(number(30, 10)))
        value = real()
        made["f32"].append(maybe(pa.scalar(value, pa.float64()).cast(single, safe=False).as_py()))
        made["f64"].append(maybe(value if chance.random() < 0.6 else real()))
        made["s"].append(maybe(chance.choice(_TEXTS)))
        made["t"].append(maybe(chance.choice(_TEXTS)))
        made["flag"].append(maybe(chance.random() < 0.5))
        made["day"].append(maybe(a_day()))
        made["local"].append(maybe(a_moment()))
        made["instant"].append(maybe(a_moment().replace(tzinfo=datetime.UTC)))
        made["odd Name"].append(maybe(whole(32)))
        inner = maybe({"since": maybe(a_day())})
        made["place"].append(
            maybe({"x": maybe(whole(32)), "Y z": maybe(chance.choice(_TEXTS)), "inner": inner})
        )
    return pa.table(made, schema=SCHEMA)


def spelled(value: Any) -> str | None:
    """A value as it is kept and compared."""
    if value is None:
        return None
    if isinstance(value, datetime.datetime):
        plain = value.astimezone(datetime.UTC).replace(tzinfo=None) if value.tzinfo else value
        return plain.isoformat()
    if isinstance(value, float):
        return repr(value)
    return str(value)


def ours(expression: str, zone: str | None = None) -> dict[int, str | None]:
    """What we compute for every row that is not doubtful, by the row's number."""
    translated = translate(expression, SCHEMA, zone=zone)
    table = rows()
    with duckdb.connect(":memory:") as made:
        made.execute("SET TimeZone = 'UTC'")
        made.register("given", table)
        labels = ", ".join(f'"{name}" AS {column_sql(name)}' for name in table.column_names)
        made.execute(f"CREATE TABLE r AS SELECT {labels} FROM given")
        found = made.sql(
            f"SELECT {column_sql('n')} AS n, {translated.sql(column_sql)} AS v FROM r "
            f"WHERE NOT ({translated.doubtful(column_sql)}) ORDER BY 1"
        ).to_arrow_table()
    return {row["n"]: spelled(row["v"]) for row in found.to_pylist()}


Answers = dict[str, dict[str, str | None]]


def recorded() -> Answers:
    """Spark's answers by expression and row number, for the rows that are not doubtful."""
    answers: Answers = json.loads(gzip.decompress(ANSWERS.read_bytes()))
    return answers


def record(answers: Answers) -> None:
    """Keep Spark's answers."""
    content = json.dumps(answers, ensure_ascii=False, indent=0, sort_keys=True).encode()
    ANSWERS.write_bytes(gzip.compress(content, mtime=0))
