"""Functions of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from merging.delta.expressions.nodes import NotUnderstood
from merging.delta.expressions.values import (
    INT,
    STRING,
    Function,
    Value,
    doubts_of,
    require_texts,
    typed_null,
)
from merging.sql.quoting import literal


def _length(name: str, values: Sequence[Value]) -> Value:
    require_texts(name, values, 1)
    return Value(f"CAST(length({values[0].sql}) AS INTEGER)", INT, doubts_of(values))


def _in_case(name: str, values: Sequence[Value]) -> Value:
    require_texts(name, values, 1)
    sql = values[0].sql
    ours = {"lcase": "lower", "ucase": "upper"}.get(name, name)
    # Case beyond ASCII is a matter of the Unicode version and of the locale.
    return Value(f"{ours}({sql})", STRING, (*doubts_of(values), f"strlen({sql}) <> length({sql})"))


def _trimmed(name: str, values: Sequence[Value]) -> Value:
    require_texts(name, values, 1)
    return Value(f"{name}({values[0].sql}, ' ')", STRING, doubts_of(values))


def _joined(name: str, values: Sequence[Value]) -> Value:
    if not values:
        raise NotUnderstood("concat of nothing")
    require_texts(name, values, len(values))
    return Value(f"({' || '.join(typed_null(one).sql for one in values)})", STRING, doubts_of(values))


def like_pattern(pattern: str, escape: str) -> str:
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


def _substring(name: str, values: Sequence[Value]) -> Value:
    if len(values) not in (2, 3):
        raise NotUnderstood(f"{name} with {len(values)} values")
    require_texts(name, values[:1], 1)
    places = [value.constant for value in values[1:]]
    lowest = (1, 0)
    for place, least in zip(places, lowest, strict=False):
        if not isinstance(place, Decimal) or place != int(place) or not least <= place < 2**31:
            raise NotUnderstood(f"{name} with a place that is no plain number from {least} on")
    given = ", ".join(str(int(place)) for place in places if isinstance(place, Decimal))
    return Value(f"substring({values[0].sql}, {given})", STRING, values[0].doubts)


FUNCTIONS: Mapping[str, Function] = {
    **dict.fromkeys(("length", "char_length", "character_length", "len"), _length),
    **dict.fromkeys(("lower", "upper", "lcase", "ucase"), _in_case),
    **dict.fromkeys(("trim", "ltrim", "rtrim"), _trimmed),
    **dict.fromkeys(("concat", "||"), _joined),
    **dict.fromkeys(("substring", "substr"), _substring),
}
