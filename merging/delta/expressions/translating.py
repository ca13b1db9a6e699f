"""The tree of an expression as SQL of DuckDB, from the types of the table's columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from merging.delta.expressions import calculating, comparing, texts
from merging.delta.expressions.calculating import cast_to_number, cast_to_text
from merging.delta.expressions.comparing import chosen, compared
from merging.delta.expressions.literals import (
    number_value,
    text_value,
)
from merging.delta.expressions.moments import Moments
from merging.delta.expressions.nodes import (
    Call,
    Case,
    Cast,
    Name,
    Node,
    NotUnderstood,
    Number,
    Text,
    TypedText,
    Word,
)
from merging.delta.expressions.texts import like_pattern
from merging.delta.expressions.values import (
    BOOLEAN,
    DATE,
    DOUBLE,
    INT,
    LARGEST_PRECISION,
    NULL,
    STRING,
    Function,
    Value,
    require_texts,
)
from merging.sql.quoting import literal

#: SQL of a top-level column, by its logical name.
ColumnSql = Callable[[str], str]

_CAST_TYPES: Mapping[str, pa.DataType] = {
    "string": STRING,
    "tinyint": pa.int8(),
    "byte": pa.int8(),
    "smallint": pa.int16(),
    "short": pa.int16(),
    "int": INT,
    "integer": INT,
    "bigint": pa.int64(),
    "long": pa.int64(),
    "double": DOUBLE,
    "date": DATE,
}


class Translator:
    """Walks a tree, with what is known of the table: its columns, those of which Spark makes something else than is
    stored (``unproved``, and why), the ``zone`` of its writers, the SQL of a column. ``seen`` collects columns."""

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
        self.moments = Moments(zone)
        self.functions: Mapping[str, Function] = {
            **comparing.OPERATORS,
            **calculating.OPERATORS,
            **texts.FUNCTIONS,
            **self.moments.functions,
        }
        self.column = column
        self.seen = seen

    def value(self, node: Node) -> Value:
        match node:
            case Text(value):
                return text_value(value)
            case Number():
                return number_value(node)
            case Word("null"):
                return Value("NULL", NULL)
            case Word(name):
                return Value(name, BOOLEAN, constant=name == "true")
            case TypedText(kind, text):
                return self.moments.literal(kind, text)
            case Name(parts):
                return self.name(parts)
            case Cast():
                return self.cast(node)
            case Case():
                return self.case(node)
            case Call(name, arguments):
                return self.call(name, arguments)
        raise NotUnderstood(repr(node))

    def name(self, parts: Sequence[str]) -> Value:
        field = field_called(parts[0], list(self.schema), "column")
        self.seen[field.name] = None
        if field.name in self.unproved:
            raise NotUnderstood(f"the column {field.name}, {self.unproved[field.name]}")
        sql = self.column(field.name)
        path = field.name
        for part in parts[1:]:
            if not pa.types.is_struct(field.type):
                raise NotUnderstood(f"{path}.{part}: {path} is no struct")
            field = field_called(part, [field.type.field(i) for i in range(field.type.num_fields)], "field")
            sql = f"struct_extract({sql}, {literal(field.name)})"
            path = f"{path}.{field.name}"
        return Value(sql, pa.string() if pa.types.is_large_string(field.type) else field.type)

    def call(self, name: str, arguments: Sequence[Node]) -> Value:
        if name == "like":
            return self.like(arguments)
        values = [self.value(argument) for argument in arguments]
        function = self.functions.get(name)
        if function is None:
            what = "function" if name.isidentifier() else "operator"
            raise NotUnderstood(f"the {what} {name if name.isidentifier() else name.upper()}")
        return function(name, values)

    def like(self, arguments: Sequence[Node]) -> Value:
        if len(arguments) != 3:
            raise NotUnderstood("like as a function")
        operand, pattern, escape = arguments
        value = self.value(operand)
        require_texts("LIKE", [value], 1)
        if not isinstance(pattern, Text) or not isinstance(escape, Text):
            raise NotUnderstood("LIKE with a pattern that is no text in quotes")
        return Value(f"({value.sql} LIKE {like_pattern(pattern.value, escape.value)})", BOOLEAN, value.doubts)

    def cast(self, node: Cast) -> Value:
        value = self.value(node.operand)
        if node.type in ("decimal", "dec", "numeric"):
            precision, scale = (*node.parameters, 0)[:2] if node.parameters else (10, 0)
            if not 1 <= precision <= LARGEST_PRECISION or not 0 <= scale <= precision:
                raise NotUnderstood(f"CAST to decimal({precision},{scale})")
            return cast_to_number(value, pa.decimal128(precision, scale))
        target = _CAST_TYPES.get(node.type)
        if target is None or node.parameters:
            raise NotUnderstood(f"CAST to {node.type}")
        if target == DATE:
            return self.moments.to_date(value)
        if target == STRING:
            return cast_to_text(value)
        return cast_to_number(value, target)

    def case(self, node: Case) -> Value:
        operand = self.value(node.operand) if node.operand is not None else None
        branches = []
        for when, then in node.branches:
            test = self.value(when)
            if operand is not None:
                test = compared("=", operand, test)
            branches.append((test, self.value(then)))
        otherwise = self.value(node.otherwise) if node.otherwise is not None else Value("NULL", NULL)
        return chosen(branches, otherwise)


def field_called(wanted: str, fields: Sequence[pa.Field], what: str) -> pa.Field:
    """The field of this name, without regard to case as Spark has it."""
    fitting = [field for field in fields if field.name.lower() == wanted.lower()]
    if len(fitting) != 1:
        raise NotUnderstood(
            f"{wanted}: there is no such {what}"
            if not fitting
            else f"{wanted}: several {what}s are called so"
        )
    return fitting[0]
