"""Expressions of Spark in rules of tables (CHECK constraints, invariants, generated columns), computed by DuckDB.

The two engines agree on little by themselves: they coerce types, overflow, round, compare and cast differently, and
Spark's own answer may depend on its ANSI mode and on the session's time zone. So every node is translated here from
the types of the table's columns, and only where its meaning is proved equal to Spark's in either mode: by tests that
ask Spark (`tests/merging/delta/test_delta_expressions.py`). All else raises NotUnderstood, before anything is staged.

Where equality holds for part of the values only (no overflow, ASCII, years 1 to 9999), `Expression.doubtful` says in
SQL which rows lie outside; such a row is refused by name, never computed anyway.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa

from merging.delta.spark_syntax import (
    Call,
    Case,
    Cast,
    Name,
    Node,
    NotUnderstood,
    Number,
    Text,
    Typed,
    Word,
    parse,
)
from merging.sql.quoting import literal
from merging.sql.types import duckdb_type

#: SQL of a top-level column, by its logical name.
ColumnSql = Callable[[str], str]

_ALL_PROVED: Mapping[str, str] = {}
_NULL = pa.null()
_BOOLEAN = pa.bool_()
_STRING = pa.string()
_DATE = pa.date32()
_INT = pa.int32()
_DOUBLE = pa.float64()
_INSTANT = pa.timestamp("us", tz="UTC")
_LOCAL = pa.timestamp("us")
_INTEGERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64())
_DIGITS = {pa.int8(): 3, pa.int16(): 5, pa.int32(): 10, pa.int64(): 20}
_LARGEST_PRECISION = 38
_EXACT_IN_A_SINGLE = 2**24
_DAY_TEXT = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOMENT_TEXT = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?")
_ZONE_TEXT = re.compile(r"Z|[+-]\d{2}:\d{2}")
_PLAIN_SCALE = 6  # beyond it Java may print a decimal with an exponent
_CAST_TYPES: Mapping[str, pa.DataType] = {
    "string": _STRING,
    "tinyint": pa.int8(),
    "byte": pa.int8(),
    "smallint": pa.int16(),
    "short": pa.int16(),
    "int": _INT,
    "integer": _INT,
    "bigint": pa.int64(),
    "long": pa.int64(),
    "double": _DOUBLE,
    "date": _DATE,
}


@dataclass(frozen=True)
class Expression:
    """An expression of Spark that is proved: its SQL over given columns, its type, the columns it looks at."""

    text: str
    type: pa.DataType
    columns: tuple[str, ...]
    _value: Callable[[ColumnSql], _Value] = dataclasses.field(repr=False, compare=False)

    def sql(self, column: ColumnSql) -> str:
        """DuckDB's SQL of the value; only for rows that are not `doubtful`."""
        return self._value(column).sql

    def doubtful(self, column: ColumnSql) -> str:
        """SQL that is true for rows on which the value is not proved to be Spark's, and never NULL."""
        doubts = self._value(column).doubts
        return " OR ".join(f"coalesce({doubt}, false)" for doubt in doubts) or "false"


@dataclass(frozen=True)
class _Value:
    """A translated node: SQL, type, predicates that hold where it is not proved, the value of a constant."""

    sql: str
    type: pa.DataType
    doubts: tuple[str, ...] = ()
    constant: object = None


def translate(
    text: str, schema: pa.Schema, *, unproved: Mapping[str, str] = _ALL_PROVED, zone: str | None = None
) -> Expression:
    """An expression over the columns of a table. `unproved`: columns of which Spark makes something else than what is
    stored, and why (char(n) is padded); `zone`: that of the sessions which write the table, where it is known.

    Raises NotUnderstood, naming the part that is not proved.
    """
    try:
        tree = parse(text)
        seen: dict[str, None] = {}

        def value(column: ColumnSql) -> _Value:
            return _Translator(schema, unproved, zone, column, seen).value(tree)

        made = value(_any_column)
    except RecursionError as error:
        raise NotUnderstood("an expression nested too deeply") from error
    return Expression(text, made.type, tuple(seen), value)


def condition(
    text: str, schema: pa.Schema, *, unproved: Mapping[str, str] = _ALL_PROVED, zone: str | None = None
) -> Expression:
    """The same for an expression that must be true of every row; also raises NotUnderstood where it is no condition."""
    expression = translate(text, schema, unproved=unproved, zone=zone)
    if expression.type not in (_BOOLEAN, _NULL):
        raise NotUnderstood(f"a condition of type {_named(expression.type)}")
    return expression


def computed(
    text: str,
    target: pa.DataType,
    schema: pa.Schema,
    *,
    unproved: Mapping[str, str] = _ALL_PROVED,
    zone: str | None = None,
) -> Expression:
    """The same for what a generated column of type `target` holds."""
    expression = translate(text, schema, unproved=unproved, zone=zone)

    def assigned(column: ColumnSql) -> _Value:
        return _assigned(expression._value(column), target)

    assigned(_any_column)
    return dataclasses.replace(expression, type=target, _value=assigned)


def _any_column(name: str) -> str:
    return "x"


def _named(data_type: pa.DataType) -> str:
    if data_type == _LOCAL:
        return "timestamp_ntz"
    if data_type == _INSTANT:
        return "timestamp"
    return str(data_type)


class _Translator:
    def __init__(
        self,
        schema: pa.Schema,
        unproved: Mapping[str, str],
        zone: str | None,
        column: ColumnSql,
        seen: dict[str, None],
    ) -> None:
        self.schema = schema
        self.unproved = unproved
        self.zone = zone
        self.column = column
        self.seen = seen

    def value(self, node: Node) -> _Value:
        match node:
            case Text(value):
                return _text(value)
            case Number():
                return _number(node)
            case Word("null"):
                return _Value("NULL", _NULL)
            case Word(name):
                return _Value(name, _BOOLEAN, constant=name == "true")
            case Typed(kind, text):
                return self.typed(kind, text)
            case Name(parts):
                return self.name(parts)
            case Cast():
                return self.cast(node)
            case Case():
                return self.case(node)
            case Call(name, arguments):
                return self.call(name, arguments)
        raise NotUnderstood(repr(node))

    # leaves

    def typed(self, kind: str, text: str) -> _Value:
        if kind == "date" and _DAY_TEXT.fullmatch(text):
            return _date(text)
        if kind == "timestamp":
            zone = _ZONE_TEXT.search(text)
            if zone is not None and zone.end() == len(text) and _MOMENT_TEXT.fullmatch(text[: zone.start()]):
                return _moment(text, _INSTANT)
            if _MOMENT_TEXT.fullmatch(text):
                self.require_zone(f"TIMESTAMP '{text}' without a zone")
                return _moment(f"{text}Z", _INSTANT)
        if kind == "timestamp_ntz" and _MOMENT_TEXT.fullmatch(text):
            return _moment(text, _LOCAL)
        raise NotUnderstood(f"the literal {kind.upper()} '{text}'")

    def name(self, parts: Sequence[str]) -> _Value:
        field = _found(parts[0], list(self.schema), "column")
        self.seen[field.name] = None
        if field.name in self.unproved:
            raise NotUnderstood(f"the column {field.name}, {self.unproved[field.name]}")
        sql = self.column(field.name)
        path = field.name
        for part in parts[1:]:
            if not pa.types.is_struct(field.type):
                raise NotUnderstood(f"{path}.{part}: {path} is no struct")
            field = _found(part, [field.type.field(i) for i in range(field.type.num_fields)], "field")
            sql = f"struct_extract({sql}, {literal(field.name)})"
            path = f"{path}.{field.name}"
        return _Value(sql, pa.string() if pa.types.is_large_string(field.type) else field.type)

    def require_zone(self, what: str) -> None:
        if self.zone != "UTC":
            raise NotUnderstood(
                f"{what}: what it gives depends on the time zone of the session that writes, which no table records. "
                "Where all writers of the table work in UTC, its owner can say so with the table property "
                "headgate.sessionTimeZone = UTC"
            )

    # calls

    def call(self, name: str, arguments: Sequence[Node]) -> _Value:
        if name == "like":
            return self.like(*arguments)
        if name in ("year", "month", "day", "dayofmonth", "dayofweek", "dayofyear", "quarter"):
            return self.part_of_day(name, arguments)
        if name in ("hour", "minute", "second"):
            return self.part_of_time(name, arguments)
        values = [self.value(argument) for argument in arguments]
        doubts = _doubts(values)
        if name in ("and", "or"):
            _require_boolean(values, name)
            return _Value(f"({values[0].sql} {name.upper()} {values[1].sql})", _BOOLEAN, doubts)
        if name == "not":
            _require_boolean(values, name)
            return _Value(f"(NOT {values[0].sql})", _BOOLEAN, doubts)
        if name in ("is null", "isnull", "isnotnull"):
            _require_count(name, values, 1)
            return _Value(
                f"({values[0].sql} IS {'NOT ' if name == 'isnotnull' else ''}NULL)", _BOOLEAN, doubts
            )
        if name in ("is true", "is false"):
            _require_boolean(values, name)
            return _Value(f"({values[0].sql} {name.upper()})", _BOOLEAN, doubts)
        if name in _COMPARISONS:
            return _compared(name, values[0], values[1])
        if name == "between":
            low, high = _compared(">=", values[0], values[1]), _compared("<=", values[0], values[2])
            return _Value(f"({low.sql} AND {high.sql})", _BOOLEAN, _doubts([low, high]))
        if name == "in":
            same = _alike(values, "IN")
            return _Value(f"({same[0].sql} IN ({', '.join(one.sql for one in same[1:])}))", _BOOLEAN, doubts)
        if name in ("+", "-", "*"):
            return _arithmetic(name, values[0], values[1])
        if name == "negative":
            _require_count(name, values, 1)
            return _arithmetic("-", _Value("0", values[0].type), values[0])
        if name in ("coalesce", "nvl", "ifnull"):
            if not values or (name != "coalesce" and len(values) != 2):
                raise NotUnderstood(f"{name} with {len(values)} values")
            same = _alike(values, name)
            return _Value(f"coalesce({', '.join(one.sql for one in same)})", same[0].type, doubts)
        if name == "if":
            _require_count(name, values, 3)
            return _chosen([(values[0], values[1])], values[2])
        return self.function(name, values)

    def function(self, name: str, values: Sequence[_Value]) -> _Value:
        doubts = _doubts(values)
        if name in ("length", "char_length", "character_length", "len"):
            _require_texts(name, values, 1)
            return _Value(f"CAST(length({values[0].sql}) AS INTEGER)", _INT, doubts)
        if name in ("lower", "upper", "lcase", "ucase"):
            _require_texts(name, values, 1)
            sql = values[0].sql
            ours = {"lcase": "lower", "ucase": "upper"}.get(name, name)
            # Case beyond ASCII is a matter of the Unicode version and of the locale.
            return _Value(f"{ours}({sql})", _STRING, (*doubts, f"strlen({sql}) <> length({sql})"))
        if name in ("trim", "ltrim", "rtrim"):
            _require_texts(name, values, 1)
            return _Value(f"{name}({values[0].sql}, ' ')", _STRING, doubts)
        if name in ("concat", "||"):
            if not values:
                raise NotUnderstood("concat of nothing")
            _require_texts(name, values, len(values))
            return _Value(f"({' || '.join(_typed_null(one).sql for one in values)})", _STRING, doubts)
        if name in ("substring", "substr"):
            return _substring(name, values)
        if name in ("date", "to_date"):
            _require_count(name, values, 1)
            return self.to_date(values[0])
        if name == "date_format":
            return self.date_format(values)
        if name == "trunc":
            return _truncated_day(values)
        if name == "date_trunc":
            return self.date_trunc(values)
        raise NotUnderstood(
            f"the operator {name.upper()}" if not name.isidentifier() else f"the function {name}"
        )

    def like(self, operand: Node, pattern: Node, escape: Node) -> _Value:
        value = self.value(operand)
        _require_texts("LIKE", [value], 1)
        if not isinstance(pattern, Text) or not isinstance(escape, Text):
            raise NotUnderstood("LIKE with a pattern that is no text in quotes")
        return _Value(f"({value.sql} LIKE {_pattern(pattern.value, escape.value)})", _BOOLEAN, value.doubts)

    def day_of(self, name: str, value: _Value) -> _Value:
        """A value as a day, where a function takes dates."""
        if value.type == _DATE:
            sql = value.sql
        elif value.type == _LOCAL:
            sql = f"CAST({value.sql} AS DATE)"
        elif value.type == _INSTANT:
            self.require_zone(f"{name} of a timestamp")
            sql = f"CAST(({value.sql} AT TIME ZONE 'UTC') AS DATE)"
        else:
            raise NotUnderstood(f"{name} of a {_named(value.type)}")
        return _Value(sql, _DATE, (*value.doubts, _beyond_years(sql)))

    def part_of_day(self, name: str, arguments: Sequence[Node]) -> _Value:
        values = [self.value(argument) for argument in arguments]
        _require_count(name, values, 1)
        day = self.day_of(name, values[0])
        # Spark's weeks begin with Sunday as 1, DuckDB's with Sunday as 0.
        ours = f"{name}({day.sql})" + (" + 1" if name == "dayofweek" else "")
        return _Value(f"CAST({ours} AS INTEGER)", _INT, day.doubts)

    def local_of(self, name: str, value: _Value) -> _Value:
        """A value as a moment without a zone, where a function looks at the time of day."""
        if value.type == _LOCAL:
            sql = value.sql
        elif value.type == _INSTANT:
            self.require_zone(f"{name} of a timestamp")
            sql = f"({value.sql} AT TIME ZONE 'UTC')"
        else:
            raise NotUnderstood(f"{name} of a {_named(value.type)}")
        return _Value(sql, _LOCAL, (*value.doubts, _beyond_years(sql)))

    def part_of_time(self, name: str, arguments: Sequence[Node]) -> _Value:
        values = [self.value(argument) for argument in arguments]
        _require_count(name, values, 1)
        moment = self.local_of(name, values[0])
        return _Value(f"CAST({name}({moment.sql}) AS INTEGER)", _INT, moment.doubts)

    def to_date(self, value: _Value) -> _Value:
        if value.type != _STRING:
            return self.day_of("a date", value)
        # Both modes of Spark agree on a day as everybody writes it; the rest is an error in one and NULL in the other.
        day = f"TRY_CAST({_matching(value.sql, '[0-9]{4}-[0-9]{2}-[0-9]{2}')} AS DATE)"
        doubt = f"({value.sql} IS NOT NULL AND {day} IS NULL)"
        return _Value(day, _DATE, (*value.doubts, doubt, _beyond_years(day)))

    def date_format(self, values: Sequence[_Value]) -> _Value:
        _require_count("date_format", values, 2)
        pattern = values[1].constant
        if not isinstance(pattern, str):
            raise NotUnderstood("date_format with a pattern that is no text in quotes")
        letters = re.findall(r"yyyy|MM|dd|HH|mm|ss|[-/.:_ ]", pattern)
        if "".join(letters) != pattern or not letters:
            raise NotUnderstood(f"date_format with the pattern {pattern!r}")
        ours = "".join(_FORMATS.get(part, part) for part in letters)
        if values[0].type == _DATE:
            if set(letters) & {"HH", "mm", "ss"}:
                raise NotUnderstood("date_format of a date's time of day")
            moment = self.day_of("date_format", values[0])
        else:
            # Spark takes a timestamp_ntz for a timestamp of the session's zone and prints it in the same zone; around a
            # change of the clocks the two differ.
            if values[0].type == _LOCAL:
                self.require_zone("date_format of a timestamp_ntz")
            moment = self.local_of("date_format", values[0])
        return _Value(f"strftime({moment.sql}, {literal(ours)})", _STRING, moment.doubts)

    def date_trunc(self, values: Sequence[_Value]) -> _Value:
        _require_count("date_trunc", values, 2)
        unit = values[0].constant
        ours = _TIME_UNITS.get(unit.lower()) if isinstance(unit, str) else None
        if ours is None:
            raise NotUnderstood("date_trunc with this unit")
        if values[1].type != _INSTANT:
            raise NotUnderstood(f"date_trunc of a {_named(values[1].type)}")
        moment = self.local_of("date_trunc", values[1])
        return _Value(f"(date_trunc('{ours}', {moment.sql}) AT TIME ZONE 'UTC')", _INSTANT, moment.doubts)

    # casts and choices

    def cast(self, node: Cast) -> _Value:
        value = self.value(node.operand)
        if node.type in ("decimal", "dec", "numeric"):
            precision, scale = (*node.parameters, 0)[:2] if node.parameters else (10, 0)
            if not 1 <= precision <= _LARGEST_PRECISION or not 0 <= scale <= precision:
                raise NotUnderstood(f"CAST to decimal({precision},{scale})")
            return _cast_number(value, pa.decimal128(precision, scale))
        target = _CAST_TYPES.get(node.type)
        if target is None or node.parameters:
            raise NotUnderstood(f"CAST to {node.type}")
        if target == _DATE:
            return self.to_date(value)
        if target == _STRING:
            return _cast_text(value)
        return _cast_number(value, target)

    def case(self, node: Case) -> _Value:
        operand = self.value(node.operand) if node.operand is not None else None
        branches = []
        for when, then in node.branches:
            test = self.value(when)
            if operand is not None:
                test = _compared("=", operand, test)
            branches.append((test, self.value(then)))
        otherwise = self.value(node.otherwise) if node.otherwise is not None else _Value("NULL", _NULL)
        return _chosen(branches, otherwise)


_COMPARISONS = {
    "=": "=",
    "<>": "<>",
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
    "<=>": "IS NOT DISTINCT FROM",
}
_FORMATS = {"yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S"}
_DAY_UNITS = {
    **dict.fromkeys(("year", "yyyy", "yy"), "year"),
    "quarter": "quarter",
    **dict.fromkeys(("month", "mon", "mm"), "month"),
    "week": "week",
}
_TIME_UNITS = {
    **_DAY_UNITS,
    **dict.fromkeys(("day", "dd"), "day"),
    **{unit: unit for unit in ("hour", "minute", "second")},
}


# ---- values ---------------------------------------------------------------------------------------------------


def _found(wanted: str, fields: Sequence[pa.Field], what: str) -> pa.Field:
    """The field of this name, without regard to case as Spark has it."""
    fitting = [field for field in fields if field.name.lower() == wanted.lower()]
    if len(fitting) != 1:
        raise NotUnderstood(
            f"{wanted}: there is no such {what}"
            if not fitting
            else f"{wanted}: several {what}s are called so"
        )
    return fitting[0]


def _text(value: str) -> _Value:
    if "\0" in value:
        raise NotUnderstood("a text with a zero character")
    return _Value(literal(value), _STRING, constant=value)


def _number(number: Number) -> _Value:
    value = number.value
    integral = re.fullmatch(r"-?\d+", number.digits) is not None
    if number.suffix in ("D", "") and (number.suffix or "e" in number.digits.lower()):
        return _double(float(value))
    if number.suffix in ("L", "S", "Y", "") and integral:
        sized = {"Y": pa.int8(), "S": pa.int16(), "L": pa.int64()}.get(number.suffix)
        for fitting in (sized,) if sized is not None else (_INT, pa.int64()):
            if _fits(int(value), fitting):
                return _Value(f"CAST({int(value)} AS {duckdb_type(fitting)})", fitting, constant=value)
    if number.suffix in ("BD", "") and "e" not in number.digits.lower():
        return _decimal(value)
    raise NotUnderstood(f"the number {number.digits}{number.suffix}")


def _fits(value: int, data_type: pa.DataType) -> bool:
    limit = 1 << (data_type.bit_width - 1)
    return bool(-limit <= value < limit)


def _double(value: float) -> _Value:
    if value in (float("inf"), float("-inf")):
        raise NotUnderstood("a number beyond what a double holds")
    return _Value(f"CAST('{value!r}' AS DOUBLE)", _DOUBLE, constant=value)


def _decimal(value: Decimal) -> _Value:
    _, digits, exponent = value.as_tuple()
    scale = max(0, -int(exponent))
    precision = max(len(digits) + max(0, int(exponent)), scale, 1)
    if precision > _LARGEST_PRECISION:
        raise NotUnderstood(f"the number {value}")
    data_type = pa.decimal128(precision, scale)
    return _Value(f"CAST('{value:f}' AS {duckdb_type(data_type)})", data_type, constant=value)


def _date(text: str) -> _Value:
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise NotUnderstood(f"the date {text!r}") from error
    return _Value(f"DATE '{day.isoformat()}'", _DATE, constant=day)


def _moment(text: str, data_type: pa.DataType) -> _Value:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise NotUnderstood(f"the timestamp {text!r}") from error
    if data_type == _INSTANT:
        moment = moment.replace(tzinfo=None) - (moment.utcoffset() or timedelta())
    plain = moment.isoformat(sep=" ", timespec="microseconds")
    sql = f"TIMESTAMP '{plain}'"
    return _Value(sql if data_type == _LOCAL else f"({sql} AT TIME ZONE 'UTC')", data_type)


def _doubts(values: Sequence[_Value]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(doubt for value in values for doubt in value.doubts))


def _beyond_years(sql: str) -> str:
    return f"({sql} < DATE '0001-01-01' OR {sql} >= DATE '10000-01-01')"


def _require_count(name: str, values: Sequence[_Value], count: int) -> None:
    if len(values) != count:
        raise NotUnderstood(f"{name} with {len(values)} values")


def _require_boolean(values: Sequence[_Value], name: str) -> None:
    for value in values:
        if value.type not in (_BOOLEAN, _NULL):
            raise NotUnderstood(f"{name.upper()} of a {_named(value.type)}")


def _require_texts(name: str, values: Sequence[_Value], count: int) -> None:
    _require_count(name, values, count)
    for value in values:
        if value.type not in (_STRING, _NULL):
            raise NotUnderstood(f"{name} of a {_named(value.type)}")


def _matching(sql: str, pattern: str) -> str:
    return f"CASE WHEN regexp_full_match({sql}, {literal(pattern)}) THEN {sql} END"


def _typed_null(value: _Value) -> _Value:
    return _Value("CAST(NULL AS VARCHAR)", _STRING) if value.type == _NULL else value


# ---- comparisons and choices: values of one type ----------------------------------------------------------------

_COMPARING = frozenset({*_COMPARISONS, "IN"})
_COMPARABLE = (*_INTEGERS, _BOOLEAN, _STRING, _DATE, _INSTANT, _LOCAL, _DOUBLE, pa.float32())


def _compared(sign: str, left: _Value, right: _Value) -> _Value:
    left, right = _alike([left, right], sign)
    return _Value(f"({left.sql} {_COMPARISONS[sign]} {right.sql})", _BOOLEAN, _doubts([left, right]))


def _chosen(branches: Sequence[tuple[_Value, _Value]], otherwise: _Value) -> _Value:
    """CASE; whatever is doubtful in a branch that is not taken counts as doubtful too."""
    _require_boolean([test for test, _ in branches], "WHEN")
    results = _alike([*(then for _, then in branches), otherwise], "CASE")
    whens = " ".join(
        f"WHEN {test.sql} THEN {result.sql}" for (test, _), result in zip(branches, results[:-1], strict=True)
    )
    doubts = _doubts([*(test for test, _ in branches), *results])
    return _Value(f"(CASE {whens} ELSE {results[-1].sql} END)", results[0].type, doubts)


def _alike(values: Sequence[_Value], where: str) -> list[_Value]:
    """The values in their common type, where Spark's modes agree on it and no value changes on the way there."""
    types = {value.type for value in values} - {_NULL}
    if not types:
        return list(values)
    target = _common_type(values, types, where)
    return [_as(value, target) for value in values]


def _common_type(values: Sequence[_Value], types: set[pa.DataType], where: str) -> pa.DataType:
    kinds = ", ".join(sorted(_named(one) for one in types))
    if len(types) == 1:
        [only] = types
        if only not in _COMPARABLE and not pa.types.is_decimal(only):
            raise NotUnderstood(f"{where} of values of type {kinds}")
        return only
    if all(pa.types.is_integer(one) for one in types):
        return max(types, key=lambda one: one.bit_width)
    if all(pa.types.is_integer(one) or pa.types.is_decimal(one) for one in types):
        shapes = [_decimal_shape(value) for value in values if value.type != _NULL]
        whole = max(precision - scale for precision, scale in shapes)
        scale = max(scale for _, scale in shapes)
        if whole + scale > _LARGEST_PRECISION:
            raise NotUnderstood(f"{where} of {kinds}, which have no common type that holds both")
        return pa.decimal128(whole + scale, scale)
    if any(pa.types.is_floating(one) for one in types) and all(
        _is_exact_double(value, types) for value in values
    ):
        return _DOUBLE
    if (
        types == {_DATE, _STRING}
        and where in _COMPARING
        and all(
            value.type != _STRING
            or (isinstance(value.constant, str) and _DAY_TEXT.fullmatch(value.constant) is not None)
            for value in values
        )
    ):
        return _DATE
    raise NotUnderstood(f"{where} of {kinds}: Spark converts one of them, and its ways to do so differ")


def _decimal_shape(value: _Value) -> tuple[int, int]:
    if pa.types.is_decimal(value.type):
        return value.type.precision, value.type.scale
    if isinstance(value.constant, Decimal):
        return len(value.constant.as_tuple().digits), 0
    return _DIGITS[value.type], 0


def _is_exact_double(value: _Value, types: set[pa.DataType]) -> bool:
    """Whether a number becomes the same double in Spark (whatever its mode) and here."""
    if value.type == _NULL or pa.types.is_floating(value.type):
        return True
    if isinstance(value.constant, Decimal):
        integral = pa.types.is_integer(value.type)
        return not integral or _DOUBLE in types or abs(value.constant) <= _EXACT_IN_A_SINGLE
    if not pa.types.is_integer(value.type):
        return False
    return _DOUBLE in types or value.type.bit_width <= 16


def _as(value: _Value, target: pa.DataType) -> _Value:
    if value.type == target:
        return value
    if value.type == _NULL:
        return _Value(f"CAST(NULL AS {duckdb_type(target)})", target)
    if target == _DATE and isinstance(value.constant, str):
        return _date(value.constant)
    if target == _DOUBLE and isinstance(value.constant, Decimal):
        return _double(float(value.constant))
    return dataclasses.replace(value, sql=f"CAST({value.sql} AS {duckdb_type(target)})", type=target)


# ---- arithmetic and casts -----------------------------------------------------------------------------------------


def _arithmetic(sign: str, left: _Value, right: _Value) -> _Value:
    doubts = _doubts([left, right])
    kinds = f"{_named(left.type)} {sign} {_named(right.type)}"
    if pa.types.is_integer(left.type) and pa.types.is_integer(right.type):
        target = max(left.type, right.type, key=lambda one: one.bit_width)
        wide = f"(CAST({left.sql} AS HUGEINT) {sign} CAST({right.sql} AS HUGEINT))"
        sql = f"TRY_CAST({wide} AS {duckdb_type(target)})"
        return _Value(sql, target, (*doubts, f"({wide} IS NOT NULL AND {sql} IS NULL)"))
    if not all(pa.types.is_integer(one.type) or pa.types.is_decimal(one.type) for one in (left, right)):
        raise NotUnderstood(f"the arithmetic {kinds}")
    # Spark, "DecimalPrecision": exact as long as the result's digits fit.
    (p1, s1), (p2, s2) = _decimal_shape(left), _decimal_shape(right)
    if sign == "*":
        precision, scale = p1 + p2 + 1, s1 + s2
    else:
        scale = max(s1, s2)
        precision = max(p1 - s1, p2 - s2) + scale + 1
    if precision > _LARGEST_PRECISION:
        raise NotUnderstood(f"the arithmetic {kinds}, whose result may lose digits")
    target = pa.decimal128(precision, scale)
    # DuckDB multiplies decimals of up to 18 digits as 64 bits, whatever the product needs.
    widths = ((max(p1, 19), s1), (p2, s2)) if sign == "*" else ((precision, scale), (precision, scale))
    one, other = (
        f"CAST({side.sql} AS DECIMAL({width},{places}))"
        for side, (width, places) in zip((left, right), widths, strict=True)
    )
    return _Value(f"CAST({one} {sign} {other} AS {duckdb_type(target)})", target, doubts)


def _cast_text(value: _Value) -> _Value:
    text = f"CAST({value.sql} AS VARCHAR)"
    if value.type in (_STRING, _NULL, _BOOLEAN) or pa.types.is_integer(value.type):
        return _Value(text, _STRING, value.doubts, value.constant if value.type == _STRING else None)
    if value.type == _DATE:
        return _Value(text, _STRING, (*value.doubts, _beyond_years(value.sql)))
    if pa.types.is_decimal(value.type) and value.type.scale <= _PLAIN_SCALE:
        return _Value(text, _STRING, value.doubts)
    raise NotUnderstood(f"CAST of a {_named(value.type)} to string")


def _cast_number(value: _Value, target: pa.DataType) -> _Value:
    """CAST to a number where no digit is lost; one that does not fit is doubtful (an error, NULL or another)."""
    source = value.type
    if source == _NULL:
        return _as(value, target)
    sql = value.sql
    if source == target:
        return dataclasses.replace(value, constant=None)
    if target == _DOUBLE:
        if not pa.types.is_integer(source) and source != pa.float32():
            raise NotUnderstood(f"CAST of a {_named(source)} to double")
        return _Value(f"CAST({sql} AS DOUBLE)", target, value.doubts)
    exact = pa.types.is_integer(source) or (
        pa.types.is_decimal(source) and pa.types.is_decimal(target) and source.scale <= target.scale
    )
    if exact:
        fitted = f"TRY_CAST({sql} AS {duckdb_type(target)})"
    elif source == _STRING and pa.types.is_integer(target):
        fitted = f"TRY_CAST({_matching(sql, '-?[0-9]{1,18}')} AS {duckdb_type(target)})"
    else:
        raise NotUnderstood(f"CAST of a {_named(source)} to {_named(target)}")
    return _Value(fitted, target, (*value.doubts, f"({sql} IS NOT NULL AND {fitted} IS NULL)"))


def _assigned(value: _Value, target: pa.DataType) -> _Value:
    """A value as a generated column stores it."""
    if value.type in (target, _NULL):
        return _as(value, target)
    if target == _STRING or target in (_DATE, _INSTANT, _LOCAL, _BOOLEAN) or value.type == _STRING:
        raise NotUnderstood(f"a value of type {_named(value.type)} for a column of type {_named(target)}")
    return _cast_number(value, target)


# ---- texts and days -------------------------------------------------------------------------------------------------


def _pattern(pattern: str, escape: str) -> str:
    """The pattern of LIKE with every escape resolved as Spark resolves it; others are an error there."""
    if len(escape) != 1 or escape in "%_":
        raise NotUnderstood(f"LIKE with the escape {escape!r}")
    ours = []
    signs = iter(pattern)
    for sign in signs:
        if sign == escape:
            following = next(signs, None)
            if following is None or following not in ("%", "_", escape):
                raise NotUnderstood(f"LIKE with the pattern {pattern!r}")
            ours.append(f"\\{following}" if following in "%_\\" else following)
        else:
            ours.append("\\\\" if sign == "\\" else sign)
    text = "".join(ours)
    if "\0" in text:
        raise NotUnderstood("a text with a zero character")
    return f"{literal(text)} ESCAPE '\\'"


def _substring(name: str, values: Sequence[_Value]) -> _Value:
    if len(values) not in (2, 3):
        raise NotUnderstood(f"{name} with {len(values)} values")
    _require_texts(name, values[:1], 1)
    places = [value.constant for value in values[1:]]
    lowest = (1, 0)
    for place, least in zip(places, lowest, strict=False):
        if not isinstance(place, Decimal) or place != int(place) or not least <= place < 2**31:
            raise NotUnderstood(f"{name} with a place that is no plain number from {least} on")
    given = ", ".join(str(int(place)) for place in places if isinstance(place, Decimal))
    return _Value(f"substring({values[0].sql}, {given})", _STRING, values[0].doubts)


def _truncated_day(values: Sequence[_Value]) -> _Value:
    _require_count("trunc", values, 2)
    unit = values[1].constant
    ours = _DAY_UNITS.get(unit.lower()) if isinstance(unit, str) else None
    if ours is None or values[0].type != _DATE:
        raise NotUnderstood("trunc of this value with this unit")
    sql = values[0].sql
    return _Value(
        f"CAST(date_trunc('{ours}', {sql}) AS DATE)", _DATE, (*values[0].doubts, _beyond_years(sql))
    )
