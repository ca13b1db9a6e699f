"""Aggregates in DuckDB's SQL, said to Spark: where the two mean the same, and only there.

The two agree on little by themselves: they widen numbers, compare, escape and count NaN differently. So each node of an
expression is looked up here with the types of its operands, all types that Spark would choose are written out, and what
is not proved equal raises NotSaid: DuckDB then computes it. What is proved: `tests/merging/interoperability/
test_spark_aggregates.py` asks both of every expectation and every type of column.

Sums, means and deviations of floating numbers are those of Spark's own order of addition, as they are of DuckDB's with
several threads: equal but for rounding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from merging.engines.protocol import NotSaid
from merging.sql.types import is_text

_DIGITS = 38
_EXACT_IN_DOUBLE = 15  # digits of a decimal that divides exactly to the nearest double
_SPARK: dict[pa.DataType, str] = {
    pa.string(): "STRING",
    pa.large_string(): "STRING",
    pa.int64(): "BIGINT",
    pa.int32(): "INT",
    pa.int16(): "SMALLINT",
    pa.int8(): "TINYINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.binary(): "BINARY",
    pa.large_binary(): "BINARY",
    pa.date32(): "DATE",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP",
    pa.timestamp("us"): "TIMESTAMP_NTZ",
}
_COMPARISONS: dict[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.NullSafeEQ: "<=>",
}


@dataclass(frozen=True)
class Said:
    """An expression as Spark writes it, and its type; None is the type of NULL alone."""

    sql: str
    type: pa.DataType | None


def spark_type(data_type: pa.DataType) -> str:
    """What Spark calls a type. Raises NotSaid for nested ones."""
    if pa.types.is_decimal(data_type):
        return f"DECIMAL({data_type.precision}, {data_type.scale})"
    if data_type not in _SPARK:
        raise NotSaid(f"values of the type {data_type}")
    return _SPARK[data_type]


def require_told_apart(data_type: pa.DataType, *, nested: bool = False) -> None:
    """Raise NotSaid for values that Spark does not group, and tell equal, as DuckDB does."""
    if pa.types.is_struct(data_type):
        for part in data_type:
            require_told_apart(part.type, nested=True)
    elif pa.types.is_list(data_type) or pa.types.is_large_list(data_type):
        require_told_apart(data_type.value_type, nested=True)
    elif nested and pa.types.is_floating(data_type):
        raise NotSaid("floating numbers within values")
    else:
        spark_type(data_type)


def spark_sql(expression: str, columns: Mapping[str, Said]) -> str:
    """An expression or aggregate of DuckDB's SQL in Spark's; ``columns`` by their labels. Raises NotSaid."""
    try:
        return _Speaker(columns).said(sqlglot.parse_one(expression, dialect="duckdb")).sql
    except (SqlglotError, RecursionError) as error:  # hundreds of conditions that stand within one another
        raise NotSaid(expression) from error


class _Speaker:
    def __init__(self, columns: Mapping[str, Said]) -> None:
        self._columns = columns
        self._known: dict[type[exp.Expr], Callable[..., Said]] = {
            exp.Paren: lambda node: self.said(node.this),
            exp.Column: self._column,
            exp.Literal: _literal,
            exp.Boolean: lambda node: Said("true" if node.this else "false", pa.bool_()),
            exp.Null: lambda _: Said("NULL", None),
            exp.Neg: self._negative,
            exp.And: lambda node: self._joined(node, "AND"),
            exp.Or: lambda node: self._joined(node, "OR"),
            exp.Not: lambda node: Said(f"(NOT {self._condition(node.this)})", pa.bool_()),
            exp.Is: self._is,
            exp.IsNan: self._is_nan,
            exp.In: self._in,
            exp.Case: self._case,
            exp.Cast: self._cast,
            exp.Add: self._sum_of_cells,
            exp.Like: self._like,
            exp.Length: self._length,
            exp.DateFromParts: self._day,
            exp.UnixToTime: self._moment,
            exp.Unhex: self._bytes,
            exp.Anonymous: self._function,
            exp.Filter: self._filtered,
            exp.Count: self._count,
            exp.Min: lambda node: self._extreme(node, "min"),
            exp.Max: lambda node: self._extreme(node, "max"),
            exp.Sum: self._sum,
            exp.Avg: lambda node: self._of_doubles(node, "avg"),
            exp.StddevSamp: lambda node: self._of_doubles(node, "stddev_samp"),
            **dict.fromkeys(_COMPARISONS, self._compared),
        }

    def said(self, node: exp.Expr) -> Said:
        """The node in Spark's SQL."""
        say = self._known.get(type(node))
        if say is None:
            raise NotSaid(node.sql(dialect="duckdb")[:200])
        return say(node)

    def _column(self, node: exp.Column) -> Said:
        if node.table or node.name not in self._columns:
            raise NotSaid(f"the column {node.sql(dialect='duckdb')}")
        return self._columns[node.name]

    def _condition(self, node: exp.Expr) -> str:
        found = self.said(node)
        if found.type not in (pa.bool_(), None):
            raise NotSaid(f"{found.type} as a condition")
        return found.sql

    def _joined(self, node: exp.Connector, word: str) -> Said:
        return Said(f"({self._condition(node.left)} {word} {self._condition(node.right)})", pa.bool_())

    def _negative(self, node: exp.Neg) -> Said:
        if not isinstance(node.this, exp.Literal) or node.this.is_string:
            raise NotSaid("a negative value")
        # Spark's minus sign is a calculation, which leaves 34 digits of a decimal.
        return _literal(node.this, "-")

    def _is(self, node: exp.Is) -> Said:
        subject, wanted = self.said(node.this), node.expression
        if isinstance(wanted, exp.Null):
            return Said(f"({subject.sql} IS NULL)", pa.bool_())
        if isinstance(wanted, exp.Boolean) and subject.type == pa.bool_():
            return Said(f"({subject.sql} IS {'TRUE' if wanted.this else 'FALSE'})", pa.bool_())
        raise NotSaid(node.sql(dialect="duckdb"))

    def _is_nan(self, node: exp.IsNan) -> Said:
        subject = self.said(node.this)
        if subject.type is None or not pa.types.is_floating(subject.type):
            raise NotSaid("isnan of no floating number")
        # Spark's isnan is false of NULL, DuckDB's is NULL.
        return Said(f"(CASE WHEN {subject.sql} IS NULL THEN NULL ELSE isnan({subject.sql}) END)", pa.bool_())

    def _judged(self, node: exp.Expr) -> Said:
        """A value that a condition is about. Readers leave files out by what conditions say of columns: of those whose
        statistics may be wrong it is said in a way that they do not follow. They know no NaN, which is the greatest
        number, and delta-rs writes those of decimals as floating numbers.
        """
        found = self.said(node)
        kind = found.type
        if kind is None or not (pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
            return found
        return Said(f"greatest({found.sql}, {found.sql})", kind) if isinstance(node, exp.Column) else found

    def _compared(self, node: exp.Binary) -> Said:
        left, right = _alike([self._judged(node.left), self._judged(node.right)])
        return Said(f"({left.sql} {_COMPARISONS[type(node)]} {right.sql})", pa.bool_())

    def _in(self, node: exp.In) -> Said:
        if node.args.get("query") or node.args.get("unnest") or not node.expressions:
            raise NotSaid("IN with a query")
        subject, *values = _alike([self._judged(one) for one in (node.this, *node.expressions)])
        return Said(f"({subject.sql} IN ({', '.join(one.sql for one in values)}))", pa.bool_())

    def _case(self, node: exp.Case) -> Said:
        if node.this is not None:
            raise NotSaid("CASE of a value")
        conditions = [self._condition(branch.this) for branch in node.args["ifs"]]
        otherwise = node.args.get("default") or exp.Null()
        values = [
            self.said(one) for one in (*(branch.args["true"] for branch in node.args["ifs"]), otherwise)
        ]
        types = {value.type for value in values if value.type is not None}
        if len(types) > 1:
            raise NotSaid("CASE of several types")
        branches = "".join(
            f" WHEN {condition} THEN {value.sql}"
            for condition, value in zip(conditions, values, strict=False)
        )
        return Said(f"(CASE{branches} ELSE {values[-1].sql} END)", next(iter(types), None))

    def _cast(self, node: exp.Cast) -> Said:
        if isinstance(node.this, exp.Literal) and node.this.is_string:
            return _constant(node.this.this, node.to)
        if isinstance(node.this, exp.Null) and not _is_target(node.to):
            return Said("NULL", None)
        target = _target(node.to)
        inner = self.said(node.this)
        if inner.type is None:
            return Said(f"CAST(NULL AS {spark_type(target)})", target)
        given = inner.type
        whole = pa.types.is_integer(given) or (pa.types.is_decimal(given) and given.scale == 0)
        exact = given == target or (
            whole and pa.types.is_decimal(target) and (target.precision, target.scale) == (_DIGITS, 0)
        )
        near = target == pa.float64() and (
            pa.types.is_integer(given)
            or pa.types.is_floating(given)
            or (pa.types.is_decimal(given) and given.precision <= _EXACT_IN_DOUBLE)
        )
        if not (exact or near):
            raise NotSaid(f"{given} as {target}")
        return Said(f"CAST({inner.sql} AS {spark_type(target)})", target)

    def _sum_of_cells(self, node: exp.Add) -> Said:
        left, right = self.said(node.left), self.said(node.right)
        whole = pa.decimal128(_DIGITS, 0)
        if left.type != right.type or left.type not in (pa.float64(), whole):
            raise NotSaid(f"{left.type} + {right.type}")
        added = f"({left.sql} + {right.sql})"
        return Said(added if left.type != whole else f"CAST({added} AS {spark_type(whole)})", left.type)

    def _like(self, node: exp.Like) -> Said:
        subject, pattern = self.said(node.this), node.expression
        if subject.type is None or not is_text(subject.type):
            raise NotSaid("LIKE of no text")
        if not (isinstance(pattern, exp.Literal) and pattern.is_string):
            raise NotSaid("LIKE a pattern that is computed")
        # Spark always has an escape, by default the backslash; DuckDB has none unless it is named.
        unused = next((one for one in "\\^~|!#$" if one not in pattern.this), None)
        if unused is None:
            raise NotSaid("LIKE a pattern of so many signs")
        escape = "\\\\" if unused == "\\" else unused
        return Said(f"({subject.sql} LIKE {_text(pattern.this)} ESCAPE '{escape}')", pa.bool_())

    def _length(self, node: exp.Length) -> Said:
        subject = self.said(node.this)
        if subject.type is None or not is_text(subject.type):
            raise NotSaid("the length of no text")
        return Said(f"CAST(length({subject.sql}) AS BIGINT)", pa.int64())

    def _day(self, node: exp.DateFromParts) -> Said:
        return Said(f"date_from_unix_date({_number(node.args['year'])})", pa.date32())

    def _moment(self, node: exp.UnixToTime) -> Said:
        scale = node.args.get("scale")
        if scale is None or scale.name != "6":
            raise NotSaid("a moment by another unit")
        return Said(f"CAST(timestamp_micros({_number(node.this)}) AS TIMESTAMP_NTZ)", pa.timestamp("us"))

    def _bytes(self, node: exp.Unhex) -> Said:
        if not (isinstance(node.this, exp.Literal) and re.fullmatch(r"([0-9a-f]{2})*", node.this.this)):
            raise NotSaid("unhex of a value")
        return Said(f"X'{node.this.this}'", pa.binary())

    def _function(self, node: exp.Anonymous) -> Said:
        if node.this.lower() == "make_timestamptz" and len(node.expressions) == 1:
            return Said(f"timestamp_micros({_number(node.expressions[0])})", pa.timestamp("us", tz="UTC"))
        if node.this.lower() == "strlen" and len(node.expressions) == 1:
            subject = self.said(node.expressions[0])
            if subject.type is not None and is_text(subject.type):
                return Said(f"CAST(octet_length({subject.sql}) AS BIGINT)", pa.int64())
        raise NotSaid(f"the function {node.this}")

    # ---- aggregates ---------------------------------------------------------------------------------------------

    def _filtered(self, node: exp.Filter) -> Said:
        found = self.said(node.this)
        return Said(f"{found.sql} FILTER (WHERE {self._condition(node.expression.this)})", found.type)

    def _count(self, node: exp.Count) -> Said:
        if not isinstance(node.this, exp.Star):
            raise NotSaid("a count of values")
        return Said("count(1)", pa.int64())

    def _extreme(self, node: exp.Min | exp.Max, name: str) -> Said:
        subject = self.said(node.this)
        if node.expressions or subject.type is None:
            raise NotSaid(name)
        spark_type(subject.type)
        return Said(f"{name}({subject.sql})", subject.type)

    def _sum(self, node: exp.Sum) -> Said:
        subject = self.said(node.this)
        if subject.type is not None and pa.types.is_integer(subject.type):
            whole = pa.decimal128(_DIGITS, 0)
            return Said(f"sum(CAST({subject.sql} AS {spark_type(whole)}))", whole)
        return self._of_doubles(node, "sum")

    def _of_doubles(self, node: exp.AggFunc, name: str) -> Said:
        subject = self.said(node.this)
        if subject.type is None or not pa.types.is_floating(subject.type):
            raise NotSaid(f"{name} of {subject.type}")
        return Said(f"{name}(CAST({subject.sql} AS DOUBLE))", pa.float64())


def _alike(values: list[Said]) -> list[Said]:
    """Values as they are compared: of the one type that DuckDB compares them by."""
    types = {one.type for one in values if one.type is not None}
    if len(types) <= 1:
        for one in types:
            spark_type(one)
        return values
    if all(map(pa.types.is_integer, types)):
        return values
    if all(pa.types.is_integer(one) or pa.types.is_decimal(one) for one in types):
        before = max(_before_point(one) for one in types)
        behind = max(one.scale if pa.types.is_decimal(one) else 0 for one in types)
        if before + behind > _DIGITS:
            raise NotSaid("decimals that are too wide to be compared")
        return [_as(one, pa.decimal128(before + behind, behind)) for one in values]
    if any(map(pa.types.is_decimal, types)) or not all(
        pa.types.is_integer(one) or pa.types.is_floating(one) for one in types
    ):
        raise NotSaid(f"{' with '.join(sorted(map(str, types)))}")
    return [_as(one, pa.float64() if pa.float64() in types else pa.float32()) for one in values]


def _before_point(data_type: pa.DataType) -> int:
    if pa.types.is_decimal(data_type):
        return int(data_type.precision - data_type.scale)
    return {8: 3, 16: 5, 32: 10, 64: 19}[data_type.bit_width]


def _as(value: Said, target: pa.DataType) -> Said:
    return value if value.type == target else Said(f"CAST({value.sql} AS {spark_type(target)})", target)


def _is_target(kind: exp.DataType) -> bool:
    try:
        _target(kind)
    except NotSaid:
        return False
    return True


def _target(kind: exp.DataType) -> pa.DataType:
    if kind.is_type("decimal") and [one.name for one in kind.expressions] == [str(_DIGITS), "0"]:
        return pa.decimal128(_DIGITS, 0)
    if kind.is_type(
        "int128"
    ):  # no whole number of a table, nor a sum of some, has more digits than the decimal
        return pa.decimal128(_DIGITS, 0)
    if kind.is_type("double"):
        return pa.float64()
    raise NotSaid(f"a cast to {kind.sql(dialect='duckdb')}")


_CONSTANTS: dict[str, tuple[pa.DataType, str]] = {
    "TINYINT": (pa.int8(), r"-?[0-9]+"),
    "SMALLINT": (pa.int16(), r"-?[0-9]+"),
    "INT": (pa.int32(), r"-?[0-9]+"),
    "BIGINT": (pa.int64(), r"-?[0-9]+"),
    "FLOAT": (pa.float32(), r"-?[0-9.]+(e[+-]?[0-9]+)?|NaN|-?Infinity"),
    "DOUBLE": (pa.float64(), r"-?[0-9.]+(e[+-]?[0-9]+)?|NaN|-?Infinity"),
    "BOOLEAN": (pa.bool_(), r"true|false"),
}


def _constant(text: str, kind: exp.DataType) -> Said:
    """A value that is written as a text, of a type that has it exactly or, of floating numbers, the nearest."""
    if kind.is_type("decimal") and len(kind.expressions) == 2:
        precision, scale = (int(one.name) for one in kind.expressions)
        target, wanted = pa.decimal128(precision, scale), rf"-?[0-9]+(\.[0-9]{{1,{scale or 1}}})?"
    else:
        target, wanted = _CONSTANTS.get(kind.this.value, (None, ""))
    if target is None or not re.fullmatch(wanted, text):
        raise NotSaid(f"{text[:200]} as {kind.sql(dialect='duckdb')}")
    return Said(f"CAST('{text}' AS {spark_type(target)})", target)


def _literal(node: exp.Literal, sign: str = "") -> Said:
    if node.is_string:
        return Said(_text(node.this), pa.string())
    digits = node.this
    if re.fullmatch(r"[0-9]+", digits):
        return _whole(digits, sign)
    if re.fullmatch(r"[0-9]*\.[0-9]+", digits):
        before, _, behind = digits.partition(".")
        precision = len(before.lstrip("0")) + len(behind)
        if precision <= _DIGITS:
            kind = pa.decimal128(precision, len(behind))
            return Said(f"CAST('{sign}{digits}' AS {spark_type(kind)})", kind)
    raise NotSaid(f"the number {digits}")


def _whole(digits: str, sign: str) -> Said:
    number = int(digits)
    if number >= 2**63 and len(digits) > _DIGITS:
        raise NotSaid(f"the number {digits}")
    kind = pa.int32() if number < 2**31 else pa.int64() if number < 2**63 else pa.decimal128(len(digits), 0)
    return Said(f"CAST('{sign}{digits}' AS {spark_type(kind)})", kind)


def _number(node: exp.Expr) -> str:
    """A whole number that is written out."""
    written = node.sql(dialect="duckdb").replace(" ", "")
    if not re.fullmatch(r"-?[0-9]+", written):
        raise NotSaid(written[:200])
    return written if abs(int(written)) < 2**31 else f"CAST('{written}' AS BIGINT)"


def _text(value: str) -> str:
    """A text of any signs."""
    return f"CAST(X'{value.encode().hex()}' AS STRING)"
