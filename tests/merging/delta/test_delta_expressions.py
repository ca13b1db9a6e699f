"""Expressions in rules of tables: computed as Spark computes them, or refused by the part that is not proved.

What Spark says of `spark_expressions.EXPRESSIONS` is kept beside this file; `make test-spark` asks it again.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from merging.delta.expressions import NotUnderstood, computed, condition, translate
from merging.delta.rules import SESSION_ZONE_PROPERTY, rules_of
from merging.sql.types import delta_field
from tests.merging.delta.spark_expressions import EXPRESSIONS, IN_UTC, SCHEMA, ours, recorded

ANSWERS = recorded()


def test_every_expression_was_put_to_spark() -> None:
    assert ANSWERS.keys() == {*EXPRESSIONS, *IN_UTC}
    assert len(ANSWERS) > 140
    assert sum(len(answers) for answers in ANSWERS.values()) > 25_000


@pytest.mark.sample(60)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_fp6_an_expression_means_what_spark_said(expression: str) -> None:
    assert {str(n): value for n, value in ours(expression).items()} == ANSWERS[expression]


@pytest.mark.parametrize("expression", IN_UTC)
def test_fp6_what_follows_the_zone_means_what_spark_said_in_utc(expression: str) -> None:
    assert {str(n): value for n, value in ours(expression, "UTC").items()} == ANSWERS[expression]
    with pytest.raises(NotUnderstood, match=r"the session that writes.*headgate.sessionTimeZone = UTC"):
        translate(expression, SCHEMA)


REFUSED = {
    # other values in DuckDB, or in another mode of Spark
    "concat(s, regexp_replace(t, 'a', 'b'))": "the function regexp_replace",
    "log(f64) > 1": "the function log",
    "substring(s, 0, 2)": "substring with a place that is no plain number from 1 on",
    "substring(s, -2)": "substring with a place that is no plain number from 1 on",
    "substring(s, i32)": "substring with a place",
    "CAST(1e10 AS STRING)": "CAST of a double to string",
    "CAST(f64 AS STRING)": "CAST of a double to string",
    "CAST(f64 AS INT)": "CAST of a double to int32",
    "CAST(price AS INT)": "CAST of a decimal128\\(12, 2\\) to int32",
    "CAST(wide AS DECIMAL(30, 2))": "CAST of a decimal",
    "CAST(wide AS STRING)": "CAST of a decimal",
    "CAST(s AS DOUBLE)": "CAST of a string to double",
    "CAST(s AS DECIMAL(10, 2))": "CAST of a string to decimal",
    "CAST(s AS BOOLEAN)": "CAST to boolean",
    "CAST(flag AS INT)": "CAST of a bool to int32",
    "CAST(day AS TIMESTAMP)": "CAST to timestamp",
    "CAST(instant AS STRING)": "CAST of a timestamp to string",
    "CAST(s AS VARCHAR(3))": "CAST to varchar",
    "CAST(i32 AS ARRAY<INT>)": "'<' where",
    "try_cast(s AS INT) > 1": "AS",
    "round(1.005, 2) > price": "the function round",
    "i32 / 2": "the operator /",
    "i32 % 2 = 0": "the operator %",
    "i32 div 2": "div",
    "f64 + 1": "the arithmetic double \\+ int32",
    "s + 1": "the arithmetic string \\+ int32",
    "day + 1": "the arithmetic date32",
    "day - day": "the arithmetic date32",
    "wide * wide": "may lose digits",
    "s = 5": "Spark converts one of them",
    "s > i32": "Spark converts one of them",
    "i32 = '5'": "Spark converts one of them",
    "flag = 1": "Spark converts one of them",
    "flag = 'true'": "Spark converts one of them",
    "day = s": "Spark converts one of them",
    "day = '2020-1-1'": "Spark converts one of them",
    "day = local": "Spark converts one of them",
    "instant = local": "Spark converts one of them",
    "instant > '2020-01-01'": "Spark converts one of them",
    "price = f64": "Spark converts one of them",
    "wide > 1e3": "Spark converts one of them",
    "f32 > i32": "Spark converts one of them",
    "f32 = 16777217": "Spark converts one of them",
    "coalesce(day, '2020-01-01')": "Spark converts one of them",
    "CASE WHEN flag THEN 1 ELSE 'x' END": "Spark converts one of them",
    "place = place": "of values of type struct",
    "concat(s, 1)": "concat of a int32",
    "i32 || s": "\\|\\| of a int32",
    "length(i32)": "length of a int32",
    "year(s)": "year of a string",
    "hour(day)": "hour of a date32",
    "date_format(day, 'yyyy-MM-dd HH')": "date_format of a date's time of day",
    "date_format(day, 'MMM')": "date_format with the pattern 'MMM'",
    "date_format(day, s)": "no text in quotes",
    "date_trunc('MONTH', day)": "date_trunc of a date",
    "trunc(day, 'DD')": "trunc of this value",
    "s RLIKE 'a+'": "'RLIKE'",
    "s ILIKE 'a%'": "'ILIKE'",
    "s LIKE t": "LIKE with a pattern that is no text",
    r"s LIKE 'a\\bc'": "LIKE with the pattern",
    "s LIKE 'a' ESCAPE '%'": "LIKE with the escape",
    # one text in one version of Spark or setting of it, and another in others
    "s = 'it''s'": "should end",
    "s = 'a' 'b'": "should end",
    r"s = 'a\d'": "the escape",
    "s = r'a'": "the literal R",
    "i32 > 0 -- always": "a comment",
    "i32 /* x */ > 0": "a comment",
    # not of the grammar at all
    "(SELECT 1) = 1": "SELECT in this place",
    "i32 IN (SELECT 1)": "SELECT in this place",
    "EXISTS (SELECT 1)": "EXISTS|SELECT",
    "i32 > 0; DROP TABLE x": "the sign ';'",
    "read_text('/etc/passwd') = ''": "the function read_text",
    "getenv('HOME')": "the function getenv",
    "current_date() > day": "the function current_date",
    "rand() > 0.5": "the function rand",
    "uuid()": "the function uuid",
    "nowhere > 1": "there is no such column",
    "place.nowhere > 1": "there is no such field",
    "i32.x > 1": "i32 is no struct",
    "place['x'] > 1": "\\[ after place",
    "s::int": "'::' where the expression should end|:: after s",
    "i32 >": "'the end' where a value should be",
    "(i32 > 1": "should be",
    "CASE END": "END in this place",
    "TIMESTAMP '2020-01-01'": "the literal TIMESTAMP",
    "DATE '2020-02-30' = day": "the date '2020-02-30'",
    "DATE '2020-2-3' = day": "the literal DATE",
    "INTERVAL 1 DAY": "INTERVAL in this place",
    "X'1F'": "the literal X",
    "~i32": "the sign|'~'",
    "i32 & 1": "'&' where",
    "1e400": "beyond what a double holds",
    "5Z": "the sign '5'",
    "": "'the end' where a value should be",
    "NOT i32": "NOT of a int32",
    # operators written as functions, with arguments that they do not have
    "and(flag)": "and with 1 values",
    "between(i32)": "between with 1 values",
    "in(i32)": "in with 1 values",
    "like(s, 'a%')": "like as a function",
    "i32 AND flag": "AND of a int32",
    "(" * 300 + "flag" + ")" * 300: "nested too deeply",
    "NOT " * 300 + "flag": "nested too deeply",
    "- - 5": "two signs",
    "\0": "the sign",
}


@pytest.mark.parametrize("expression", REFUSED)
def test_fp6_what_is_not_proved_is_refused_by_its_part(expression: str) -> None:
    with pytest.raises(NotUnderstood, match=REFUSED[expression]):
        translate(expression, SCHEMA)


@pytest.mark.parametrize(
    ("expression", "target"),
    [
        ("i32", pa.string()),
        ("s", pa.int32()),
        ("f64", pa.int64()),
        ("wide", pa.decimal128(12, 2)),
        ("day", pa.timestamp("us")),
        ("flag", pa.int32()),
        ("i32 > 0", pa.string()),
    ],
)
def test_a_generated_column_takes_no_value_that_is_converted_on_the_way(
    expression: str, target: pa.DataType
) -> None:
    with pytest.raises(NotUnderstood):
        computed(expression, target, SCHEMA)


def test_a_condition_is_a_boolean() -> None:
    with pytest.raises(NotUnderstood, match="a condition of type int32"):
        condition("i32 + 1", SCHEMA)


def test_names_that_differ_in_case_alone_name_nothing() -> None:
    schema = pa.schema([("a", pa.int32()), ("A", pa.int32())])
    with pytest.raises(NotUnderstood, match="several columns are called so"):
        condition("a > 1", schema)


def rules(properties: dict[str, str], **metadata: dict[str, Any]) -> tuple[str, ...]:
    fields = [{**delta_field(field), "metadata": metadata.get(field.name, {})} for field in SCHEMA]
    schema_json = json.dumps({"type": "struct", "fields": fields})
    return rules_of(SCHEMA, schema_json, properties).refused


def test_fp6_refusals_name_the_rule_and_its_expression() -> None:
    assert rules({"delta.constraints.odd": "s RLIKE 'a'"}) == (
        "CHECK constraint odd (s RLIKE 'a'): 'RLIKE' where the expression should end",
    )
    invariant = json.dumps({"expression": {"expression": "log(f64) > 0"}})
    assert rules({}, f64={"delta.invariants": invariant}) == (
        "invariant of column f64 (log(f64) > 0): the function log",
    )
    assert rules({}, i64={"delta.generationExpression": "i32 / 2"}) == (
        "generated column i64 (i32 / 2): the operator /",
    )
    assert rules(
        {}, i64={"delta.generationExpression": "i32"}, i32={"delta.generationExpression": "i16"}
    ) == ("generated column i64 (i32): i32, which is generated itself",)


def test_fp6_spark_pads_a_char_when_it_reads() -> None:
    char = {"__CHAR_VARCHAR_TYPE_STRING": "char(3)"}
    assert rules({"delta.constraints.x": "s = 'a'"}, s=char) == (
        "CHECK constraint x (s = 'a'): the column s, which is a char(n): Spark pads it when it reads",
    )
    assert rules({"delta.constraints.x": "s = 'a'"}, s={"__CHAR_VARCHAR_TYPE_STRING": "varchar(3)"}) == ()


def test_fp6_a_collation_compares_otherwise() -> None:
    collated = {"__COLLATIONS": {"s": "spark.UTF8_LCASE"}}
    assert rules({"delta.constraints.x": "i32 > 0 AND s = 'a'"}, s=collated) == (
        "CHECK constraint x (i32 > 0 AND s = 'a'): the column s, which has a collation",
    )
    assert rules({"delta.constraints.x": "i32 > 0"}, s=collated) == ()


def test_a_column_may_be_called_end() -> None:
    schema = pa.schema([("start", pa.date32()), ("end", pa.date32())])
    assert condition("start <= end OR end IS NULL", schema).columns == ("start", "end")
    with pytest.raises(NotUnderstood, match="END in this place"):
        condition("CASE WHEN end > start THEN true ELSE end END", schema)


def test_the_zone_of_sessions_is_taken_from_the_table_where_it_is_utc() -> None:
    check = {"delta.constraints.x": "year(instant) > 2000"}
    assert rules({**check, SESSION_ZONE_PROPERTY: "Etc/UTC"}) == ()
    for zone in ({}, {SESSION_ZONE_PROPERTY: "Europe/Berlin"}):
        [refused] = rules({**check, **zone})
        assert refused.startswith(
            "CHECK constraint x (year(instant) > 2000): year of a timestamp: what it gives"
        )
