"""Strict typing of proposed values: text and foreign types into a column's exact type, or a clear refusal.

Two faces of one set of rules: SQL for streams of cells (``from_text``, ``from_typed``) and Python for single values
(``cell_value``: choices made by hand, keys in requests, nested values in JSON). ``explain`` says in a sentence why a
text was refused and how to mend it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa

from merging.sql.moments import FarDate, FarMoment, date_of, days_from_civil, microseconds_of, moment_of
from merging.sql.quoting import literal, quote
from merging.sql.strict_json import WrittenNumber
from merging.sql.types import duckdb_type, is_nested, is_text, type_name

_NUMBER = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)"
_NOT_ZERO = r"[^eE]*[1-9]"
"""How a number begins that is not zero, however small."""
_INFINITY = r"[+-]?([iI][nN][fF]([iI][nN][iI][tT][yY])?)"
_NOT_A_NUMBER = r"[+-]?[nN][aA][nN]"
_DATE = r"[+-]?[0-9]{4,7}-[0-9]{2}-[0-9]{2}"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6}0*)?)?"
# No place on earth was ever further from UTC than 18 hours, which is where java.time and so Spark end too.
_ZONE = r" ?([zZ]|UTC|[+-](0[0-9]|1[0-7])(:?[0-5][0-9])?|[+-]18(:?00)?)"
_SCIENTIFIC = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][+-]?0*[0-9]{1,3}"
_MIDNIGHT = r"00:00(:00(\.0+)?)?"
_UTC_ZONE = r" ?([zZ]|UTC|[+-]00(:?00)?)"
_DAY = rf"{_DATE}([T ]{_MIDNIGHT}({_UTC_ZONE})?)?"
_PLACEHOLDERS = frozenset(
    {
        "null",
        "none",
        "nan",
        "na",
        "n/a",
        "#n/a",
        "nil",
        "-",
        "--",
        "?",
        "\\n",
        "<na>",
        "nat",
        "missing",
        "unknown",
    }
)
_INTEGER_LIMITS = {
    pa.int8(): (-(2**7), 2**7 - 1),
    pa.int16(): (-(2**15), 2**15 - 1),
    pa.int32(): (-(2**31), 2**31 - 1),
    pa.int64(): (-(2**63), 2**63 - 1),
}

EXACT_DIGITS = {pa.float32(): 6, pa.float64(): 15}
"""The decimal digits that every floating point number of the type keeps (C's FLT_DIG and DBL_DIG)."""
_FIRST_ROUNDED = {pa.float32(): 2**24, pa.float64(): 2**53}
"""The first whole number that may stand for its neighbour."""

# All days of Delta, and the moments that all parts of the engine can hold (Delta's begin four hours earlier).
FIRST_DAY, LAST_DAY = -(2**31), 2**31 - 1
FIRST_MOMENT, LAST_MOMENT = -9_223_372_022_400_000_000, 2**63 - 1
# The last of them are DuckDB's infinities, or beyond what it reads as text.
_LAST_DAYS = {"5881580-07-11": LAST_DAY, "-5877641-06-24": FIRST_DAY + 1, "-5877641-06-23": FIRST_DAY}
_LAST_MOMENT_TEXT = r"294247-01-10[T ]04:00:54\.775807"
_FIRST_MOMENT_TEXT = r"-290308-12-21[T ]19:59:05\.224193"


@dataclass(frozen=True)
class Typed:
    """SQL of a cell in its column's type, and the SQL predicate that tells a cell which must be refused."""

    value: str
    bad: str


class Refused(ValueError):
    """A single value does not fit its column; the message is a full sentence."""


class NumberText(str):
    """A JSON number by its digits as they stood in the file, so that nothing passes through a double."""

    __slots__ = ()


def without_blanks(text: str) -> str:
    """SQL of a text cell without the blanks around it. To look whether there are any is cheaper than to cut."""
    ends = " OR ".join(
        f"{look}({text}, '{blank}')" for look in ("starts_with", "ends_with") for blank in " \t"
    )
    return f"CASE WHEN {ends} THEN trim({text}, ' \t') ELSE {text} END"


def from_text(text: str, target: pa.DataType, trimmed: str | None = None) -> Typed:
    """SQL that types a text cell strictly: what it accepts is exactly what ``explain`` describes.

    ``trimmed`` is where the cell stands ``without_blanks``, and for a decimal ``without_exponent``, for whoever
    computes that once: it is needed often.
    """
    if is_text(target):
        return Typed(text, "false")
    given, trimmed = trimmed, trimmed or f"trim({text}, ' \t')"
    kind = duckdb_type(target)
    value = f"TRY_CAST({trimmed} AS {kind})"
    if pa.types.is_integer(target):
        return Typed(
            value, _unless_plain(text, value, rf"regexp_full_match({trimmed}, '[+-]?[0-9]+(\.0*)?')")
        )
    if pa.types.is_floating(target):
        named = f"regexp_full_match({trimmed}, '{_INFINITY}|{_NOT_A_NUMBER}')"
        finite = f"(regexp_full_match({trimmed}, '{_NUMBER}([eE][+-]?[0-9]+)?') AND NOT isinf({value}))"
        vanished = f"({value} = 0 AND regexp_matches({trimmed}, '^{_NOT_ZERO}'))"
        return Typed(
            value, f"({text} IS NOT NULL AND ({value} IS NULL OR {vanished} OR NOT ({finite} OR {named})))"
        )
    if pa.types.is_decimal(target):
        plain = given or without_exponent(trimmed)
        fits = f"regexp_full_match({plain}, '[+-]?([0-9]*\\.?[0-9]{{0,{target.scale}}})0*')"
        value = f"TRY_CAST({plain} AS {kind})"
        return Typed(
            value, _unless_plain(text, value, f"(regexp_full_match({plain}, '{_NUMBER}') AND {fits})")
        )
    if pa.types.is_boolean(target):
        accepted = f"regexp_full_match({trimmed}, '(?i)true|false|t|f')"
        return Typed(value, f"({text} IS NOT NULL AND ({value} IS NULL OR NOT {accepted}))")
    if pa.types.is_date(target):
        # A midnight is a day, as in typed sources: exports write dates so. DuckDB knows years of any length, but no
        # plus before them.
        accepted = f"regexp_full_match({trimmed}, '{_DAY}')"
        bare = f"ltrim({trimmed}, '+')"
        day = f"split_part(replace({bare}, 'T', ' '), ' ', 1)"
        value = f"TRY_CAST(CASE WHEN strlen({bare}) > 10 THEN {day} ELSE {bare} END AS DATE)"
        ends = " ".join(f"WHEN '{end}' THEN make_date({days})" for end, days in _LAST_DAYS.items())
        value = f"coalesce({value}, CASE {day} {ends} END)"
        return Typed(value, f"({text} IS NOT NULL AND ({value} IS NULL OR NOT {accepted}))")
    if pa.types.is_timestamp(target):
        zone = f"({_ZONE})?" if target.tz else ""
        # A day alone is its midnight: pandas writes a column of midnights so.
        accepted = f"regexp_full_match({trimmed}, '{_DATE}([T ]{_TIME}{zone})?')"
        bare = f"ltrim({trimmed}, '+')"
        value = f"TRY_CAST({bare} AS {kind})"
        if target.tz:
            # Nor does it know a blank before an offset, nor all the ways to write UTC.
            spelled = f"regexp_replace(regexp_replace({bare}, ' ?(UTC|[zZ])$', 'Z'), ' ([+-])', '\\1')"
            value = f"coalesce({value}, TRY_CAST({spelled} AS {kind}))"
        last = f"regexp_full_match({bare}, '{_LAST_MOMENT_TEXT}{'(Z|.00:00)?' if target.tz else ''}')"
        value = f"coalesce({value}, CASE WHEN {last} THEN 'infinity'::{kind} END)"
        early = f"{value} < CAST(make_timestamp({FIRST_MOMENT}::BIGINT) AS {kind})"
        return Typed(value, f"({text} IS NOT NULL AND ({value} IS NULL OR {early} OR NOT {accepted}))")
    if pa.types.is_binary(target) or pa.types.is_large_binary(target):
        accepted = f"regexp_full_match({trimmed}, '0[xX]([0-9a-fA-F]{{2}})*')"
        value = f"CASE WHEN {accepted} THEN unhex(substr({trimmed}, 3)) END"
        return Typed(value, f"({text} IS NOT NULL AND NOT {accepted})")
    raise Refused(f"text cannot be read as {type_name(target)}")


def beyond_text(text: str, data_type: pa.DataType) -> str | None:
    """SQL of a day or moment that stands at the end of its type, so that DuckDB reads it in no spelling; None for any
    other text. A plus before the year is taken off."""
    if pa.types.is_date(data_type):
        return f"make_date({_LAST_DAYS[text]})" if text in _LAST_DAYS else None
    if pa.types.is_timestamp(data_type):
        for end, spelled in (("infinity", _LAST_MOMENT_TEXT), ("-infinity", _FIRST_MOMENT_TEXT)):
            if re.fullmatch(rf"{spelled}(Z|[+-]00:?00)?", text):
                return f"'{end}'::{duckdb_type(data_type)}"
    return None


def without_exponent(text: str) -> str:
    """SQL of a number in E notation written out, of any other text as it is: DuckDB's own cast rounds what has an
    exponent and more decimals than fit, lets through more whole digits than fit, and refuses some that do fit.
    """
    mantissa = f"ltrim(split_part(lower({text}), 'e', 1), '+-')"
    digits = f"replace({mantissa}, '.', '')"
    point = (
        f"(length(split_part({mantissa}, '.', 1)) + TRY_CAST(split_part(lower({text}), 'e', 2) AS INTEGER))"
    )
    number = (
        f"CASE WHEN {point} <= 0 THEN concat('0.', repeat('0', -{point}), {digits}) "
        f"WHEN {point} >= length({digits}) THEN concat({digits}, repeat('0', {point} - length({digits}))) "
        f"ELSE concat(left({digits}, {point}), '.', substr({digits}, {point} + 1)) END"
    )
    sign = f"CASE WHEN {text} LIKE '-%' THEN '-' ELSE '' END"
    # Evaluated only for texts of that form, since the exponent of any other is no number; the look at one letter spares
    # the regular expression for nearly every cell.
    scientific = (
        f"CASE WHEN regexp_full_match({text}, '{_SCIENTIFIC}') THEN concat({sign}, {number}) ELSE {text} END"
    )
    return f"CASE WHEN contains({text}, 'e') OR contains({text}, 'E') THEN {scientific} ELSE {text} END"


def _unless_plain(text: str, value: str, accepted: str) -> str:
    # The comparison with the value's own text spares the regular expression for nearly every cell.
    return f"({text} IS NOT NULL AND ({value} IS NULL OR ({value}::VARCHAR <> {text} AND NOT {accepted})))"


def from_typed(cell: str, source: pa.DataType, target: pa.DataType) -> Typed:
    """SQL that takes a cell of a typed source (Parquet, Arrow) without loss, by one rule at every depth.

    ``source`` is a plain type: a Delta type, or NULL. Refused: the types can't meet.
    """
    return _from_typed(cell, source, target, "", 0)


def _from_typed(cell: str, source: pa.DataType, target: pa.DataType, path: str, depth: int) -> Typed:
    if pa.types.is_null(source):
        return Typed(f"NULL::{duckdb_type(target)}", "false")
    if _same_layout(source, target):
        return Typed(cell, "false")
    if pa.types.is_struct(source) and pa.types.is_struct(target):
        return _from_struct(cell, source, target, path, depth)
    if pa.types.is_map(source) and pa.types.is_map(target):
        return _from_map(cell, source, target, path, depth)
    if _is_list(source) and _is_list(target):
        item = f"item{depth}"
        inner = _from_typed(item, source.value_type, target.value_type, f"{path}[]", depth + 1)
        return Typed(f"list_transform({cell}, lambda {item}: {inner.value})", _any_bad(cell, item, inner.bad))
    if is_nested(source) or is_nested(target):
        raise _mismatch(source, target, path)
    if is_text(source):
        return from_text(cell, target)
    value = f"TRY_CAST({cell} AS {duckdb_type(target)})"
    if is_number(source) and is_number(target):
        if pa.types.is_float64(source) and pa.types.is_float32(target):
            same = f"(isnan({cell}) OR {value}::VARCHAR::DOUBLE = {cell} OR {value}::DOUBLE = {cell})"
            return Typed(value, f"({cell} IS NOT NULL AND ({value} IS NULL OR NOT {same}))")
        typed = _lossless(cell, value, source)
        if pa.types.is_floating(source) and pa.types.is_decimal(target):
            # By its digits: DuckDB's own cast multiplies, and invents digits behind the fifteenth.
            typed = from_text(f"{cell}::VARCHAR", target)
        if depth and pa.types.is_floating(source) and not pa.types.is_floating(target):
            # Inside values nothing is compared with what the table has: what may have been rounded is refused.
            return Typed(typed.value, f"({typed.bad} OR {may_be_rounded(typed.value, source, target)})")
        return typed
    if pa.types.is_date(source) and pa.types.is_timestamp(target):
        # A day is its midnight, as in text; the days that are infinite to DuckDB have none there.
        return Typed(value, f"({cell} IS NOT NULL AND ({value} IS NULL OR NOT isfinite({cell})))")
    if pa.types.is_timestamp(source):
        return _from_timestamp(cell, source, target, path)
    raise _mismatch(source, target, path)


def _same_layout(source: pa.DataType, target: pa.DataType) -> bool:
    """Whether two types are one but for NULLs allowed and the names of list elements."""
    return source == target or (not _holds_null(source) and duckdb_type(source) == duckdb_type(target))


def _holds_null(data_type: pa.DataType) -> bool:
    if pa.types.is_null(data_type):
        return True
    return any(_holds_null(data_type.field(index).type) for index in range(data_type.num_fields))


def _any_bad(items: str, item: str, bad: str) -> str:
    return (
        "false" if bad == "false" else f"coalesce(len(list_filter({items}, lambda {item}: {bad})) > 0, false)"
    )


def _from_struct(cell: str, source: pa.DataType, target: pa.DataType, path: str, depth: int) -> Typed:
    given = {field.name: field.type for field in source}
    wanted = {field.name: field.type for field in target}
    for name in [*wanted, *given]:
        if name not in given:
            raise Refused(
                f"{_at(path)}the content's struct has no field {shown(name)}, which the table's has."
            )
        if name not in wanted:
            raise Refused(
                f"{_at(path)}the content's struct has a field {shown(name)}, which the table's has not."
            )
    values = []
    bad = []
    for name, kind in wanted.items():
        part = f"struct_extract({cell}, {literal(name)})"
        inner = _from_typed(part, given[name], kind, f"{path}.{name}", depth + 1)
        values.append(f"{quote(name)} := {inner.value}")
        if inner.bad != "false":
            bad.append(inner.bad)
    packed = f"CASE WHEN {cell} IS NOT NULL THEN struct_pack({', '.join(values)}) END"
    return Typed(packed, f"({' OR '.join(bad)})" if bad else "false")


def _from_map(cell: str, source: pa.DataType, target: pa.DataType, path: str, depth: int) -> Typed:
    entry = f"item{depth}"
    key = _from_typed(f"{entry}.key", source.key_type, target.key_type, f"{path}.key", depth + 1)
    item = _from_typed(f"{entry}.value", source.item_type, target.item_type, f"{path}.value", depth + 1)
    entries = f"map_entries({cell})"
    keys = f"list_transform({entries}, lambda {entry}: {key.value})"
    # Keys that become equal, or NULL, would make no map.
    unfit = f"(coalesce(list_unique({keys}), 0) <> coalesce(len({entries}), 0))"
    bad = unfit if item.bad == "false" else f"({unfit} OR {_any_bad(entries, entry, item.bad)})"
    if key.bad != "false":
        bad = f"({bad} OR {_any_bad(entries, entry, key.bad)})"
    packed = f"list_transform({entries}, lambda {entry}: struct_pack(k := {key.value}, v := {item.value}))"
    return Typed(f"CASE WHEN {cell} IS NOT NULL AND NOT {unfit} THEN map_from_entries({packed}) END", bad)


def _lossless(cell: str, value: str, source: pa.DataType) -> Typed:
    """The cast value, and as bad whatever does not come back the same."""
    back = f"TRY_CAST({value} AS {duckdb_type(source)})"
    return Typed(value, f"({cell} IS NOT NULL AND ({value} IS NULL OR {back} IS DISTINCT FROM {cell}))")


def _from_timestamp(cell: str, source: pa.DataType, target: pa.DataType, path: str) -> Typed:
    if pa.types.is_date(target):
        # A midnight is a day; zoned ones count in UTC, in which they are kept.
        value = f"TRY_CAST({cell} AS DATE)"
        midnight = f"(isfinite({cell}) AND {value}::TIMESTAMP IS NOT DISTINCT FROM {cell}::TIMESTAMP)"
        return Typed(value, f"({cell} IS NOT NULL AND NOT {midnight})")
    if not pa.types.is_timestamp(target) or (source.tz and not target.tz):
        raise _mismatch(source, target, path)
    value = f"({cell} AT TIME ZONE 'UTC')"
    return Typed(value, f"({cell} IS NOT NULL AND {value} IS NULL)")


def is_number(data_type: pa.DataType) -> bool:
    """Whether the column holds whole numbers, floating point numbers or decimals."""
    return bool(
        pa.types.is_integer(data_type) or pa.types.is_floating(data_type) or pa.types.is_decimal(data_type)
    )


def shortened(value: str, floating: pa.DataType) -> str:
    """SQL text of a number with as many digits as every floating point number of the type keeps."""
    return f"format('{{:.{EXACT_DIGITS[floating]}g}}', {value}::DOUBLE)"


def may_be_rounded(value: str, floating: pa.DataType, target: pa.DataType) -> str:
    """SQL predicate: a value that came as a floating point number may stand for several values of the target."""
    if pa.types.is_floating(target):
        return f"({value} IS NOT NULL)"
    first = _FIRST_ROUNDED[floating]
    if pa.types.is_integer(target):
        return f"({value} IS NOT NULL AND abs({value}::HUGEINT) >= {first})"
    whole = f"({value} = floor({value}) AND abs({value}) < {first})"
    cut = f"TRY_CAST({shortened(value, floating)} AS {duckdb_type(target)})"
    return f"({value} IS NOT NULL AND NOT {whole} AND {value} IS DISTINCT FROM {cut})"


def _is_bytes(data_type: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(data_type)
        or pa.types.is_large_binary(data_type)
        or pa.types.is_fixed_size_binary(data_type)
    )


def _is_list(data_type: pa.DataType) -> bool:
    return bool(pa.types.is_list(data_type) or pa.types.is_large_list(data_type))


def _mismatch(source: pa.DataType, target: pa.DataType, path: str) -> Refused:
    hint = ""
    if is_text(target):
        hint = " Convert it to text yourself, so that leading zeros and formats are what you mean."
    elif pa.types.is_timestamp(source) and pa.types.is_timestamp(target):
        hint = " The column has no time zone; remove the zone from the values after converting them."
    zoned = pa.types.is_timestamp(source) and source.tz
    given = (
        "timestamp with a time zone" if zoned else source
    )  # the zone itself is gone: all count in UTC here
    return Refused(f"{_at(path)}the content has it as {given}, the table as {type_name(target)}.{hint}")


def _at(path: str) -> str:
    return f"at {path.lstrip('.')}: " if path else ""


def explain(text: str, target: pa.DataType, null_token: str | None = "") -> tuple[str, str]:
    """Why ``text`` cannot be a cell of the column: a stable code and a sentence that says how to mend it."""
    found = shown(text)
    wanted = type_name(target)
    bare = text.strip(" \t")  # no other blank is taken off a value, so that one is what may be wrong with it
    if bare.lower() in _PLACEHOLDERS:
        if null_token is None:
            mend = "leave the value out or give null."
        else:
            token = "an empty cell" if null_token == "" else f"{null_token!r}"
            mend = f"a missing value is {token} here; change the cells or declare {bare!r} as the NULL token."
        return "placeholder", f"found {found} where the table has {wanted}: {mend}"
    if bare == "":
        return "empty", f"found an empty text where the table has {wanted}; give a value or NULL."
    if is_number(target):
        return _explain_number(bare, found, target)
    if pa.types.is_boolean(target):
        return "not_boolean", f"found {found}; expected true or false."
    if pa.types.is_date(target):
        if re.fullmatch(_DATE, bare):
            return "no_such_date", f"found {found}: there is no such day in the calendar of the table."
        return "not_date", f"found {found}; expected a date as YYYY-MM-DD, for example 2024-02-01."
    if pa.types.is_timestamp(target):
        return _explain_timestamp(bare, found, target)
    if _is_bytes(target):
        return (
            "not_binary",
            f"found {found}; expected bytes as hexadecimal digits after 0x, for example 0x00ff.",
        )
    return "wrong_type", f"found {found}; expected {wanted}."


def _explain_number(bare: str, found: str, target: pa.DataType) -> tuple[str, str]:
    wanted = type_name(target)
    if re.fullmatch(r"[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?", bare):
        return "thousands_separator", f"found {found}: write the number without thousands separators."
    if re.fullmatch(r"[+-]?[0-9]+,[0-9]+", bare):
        return "decimal_comma", f"found {found}: write the number with a decimal point, not a comma."
    if not re.fullmatch(rf"{_NUMBER}([eE][+-]?[0-9]+)?", bare):
        return "not_number", f"found {found}; expected a number ({wanted})."
    if pa.types.is_integer(target):
        low, high = _INTEGER_LIMITS[target]
        if re.fullmatch(r"[+-]?[0-9]+(\.0*)?", bare):
            article = "an" if wanted == "integer" else "a"
            return (
                "out_of_range",
                f"found {found}: {article} {wanted} holds whole numbers from {low} to {high}.",
            )
        return "not_whole", f"found {found}; expected a whole number ({wanted}) written with digits alone."
    if pa.types.is_decimal(target):
        return (
            "decimal_does_not_fit",
            f"found {found}: a {wanted} holds {target.precision - target.scale} digits before and {target.scale} "
            "after the decimal point; nothing is rounded.",
        )
    kept = at_width(float(bare), target)
    if math.isinf(kept):
        return "out_of_range", f"found {found}: too large for a {wanted}."
    if kept == 0:
        return "out_of_range", _vanished(found, target)
    return "out_of_range", f"found {found}: a {wanted} cannot hold this whole number exactly."


def _vanished(found: str, target: pa.DataType) -> str:
    return (
        f"found {found}: too small for a {type_name(target)}, which would keep 0; give 0 where you mean it."
    )


def _explain_timestamp(bare: str, found: str, target: pa.DataType) -> tuple[str, str]:
    zoned = bool(re.fullmatch(rf"{_DATE}[T ][0-9:.]+{_ZONE}", bare))
    if not target.tz and zoned:
        return "zone_not_allowed", f"found {found}: the column has no time zone; write the time without one."
    if re.fullmatch(rf"{_DATE}[T ][0-9:]+\.[0-9]{{7,}}({_ZONE})?", bare):
        return "too_precise", f"found {found}: the table keeps microseconds, six digits after the second."
    parts = re.fullmatch(rf"{_DATE}[T ]([0-9:]+)(\.[0-9]+)? ?([zZ]|UTC|[+-][0-9:]+)?", bare)
    if parts and parts[1].count(":") in (1, 2) and not re.fullmatch(_TIME, parts[1]):
        return "no_such_time", f"found {found}: a day has the times from 00:00:00 to 23:59:59.999999."
    if parts and parts[3] and not re.fullmatch(_ZONE, parts[3]):
        return "no_such_zone", f"found {found}: offsets from UTC go from -18:00 to +18:00, as +HH:MM."
    if parts and re.fullmatch(_TIME, parts[1] + (parts[2] or "")):
        return "no_such_date", f"found {found}: there is no such day in the calendar of the table."
    if re.fullmatch(_DATE, bare):
        return "no_such_date", f"found {found}: there is no such day in the calendar."
    example = "2024-02-01T13:45:00Z" if target.tz else "2024-02-01T13:45:00"
    return "not_timestamp", f"found {found}; expected a timestamp such as {example}."


def shown(text: str, limit: int = 80) -> str:
    """A value as it may appear in a message: quoted, what nobody sees spelled out, cut."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    quoted = json.dumps(cut, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in quoted)


def cell_value(value: Any, target: pa.DataType) -> Any:
    """A single Python or JSON value as a cell of the column, strictly. Raises Refused with a full sentence."""
    if value is None:
        return None
    if pa.types.is_struct(target):
        if not isinstance(value, Mapping):
            raise Refused(f"found {_kind(value)}; expected an object ({type_name(target)}).")
        unknown = set(value) - {field.name for field in target}
        if unknown:
            raise Refused(f"the object has no field {', '.join(sorted(map(str, unknown)))}.")
        return {field.name: cell_value(value.get(field.name), field.type) for field in target}
    if _is_list(target):
        if not isinstance(value, list | tuple):
            raise Refused(f"found {_kind(value)}; expected a list ({type_name(target)}).")
        return [cell_value(item, target.value_type) for item in value]
    if pa.types.is_map(target):
        return _map_value(value, target)
    if isinstance(value, str) and not isinstance(value, NumberText) and not is_text(target):
        return _scalar_from_text(value, target)
    return _scalar(value, target)


def _map_value(value: Any, target: pa.DataType) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        pairs = list(value.items())
    elif isinstance(value, list | tuple):
        pairs = [_pair(item) for item in value]
    else:
        raise Refused(f"found {_kind(value)}; expected an object ({type_name(target)}).")
    typed = [(cell_value(key, target.key_type), cell_value(item, target.item_type)) for key, item in pairs]
    if any(key is None for key, _ in typed):
        raise Refused("a map cannot have NULL as a key.")
    if len({repr(key) for key, _ in typed}) < len(typed):
        raise Refused("the map has a key twice.")
    return typed


def _pair(item: Any) -> tuple[Any, Any]:
    if isinstance(item, Mapping) and {"key", "value"} == set(item):
        return item["key"], item["value"]
    if isinstance(item, list | tuple) and len(item) == 2:
        return item[0], item[1]
    raise Refused(f"found {_kind(item)} as an entry of a map; expected [key, value].")


def _scalar(value: Any, target: pa.DataType) -> Any:
    if is_text(target):
        if type(value) is not str:
            raise Refused(f"found {_kind(value)}; expected a text: put it in quotes.")
        return value
    if pa.types.is_boolean(target):
        if not isinstance(value, bool):
            raise Refused(f"found {_kind(value)}; expected true or false.")
        return value
    if is_number(target):
        if isinstance(value, NumberText):
            return _scalar_from_text(str(value), target)
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            raise Refused(f"found {_kind(value)}; expected a number ({type_name(target)}).")
        return _number(value, target)
    if pa.types.is_timestamp(target):
        return _timestamp(value, target)
    if pa.types.is_date(target):
        if not isinstance(value, date | FarDate) or isinstance(value, datetime):
            raise Refused(f"found {_kind(value)}; expected a date as YYYY-MM-DD.")
        return value
    if _is_bytes(target):
        if not isinstance(value, bytes | bytearray | memoryview):
            raise Refused(f"found {_kind(value)}; expected bytes.")
        return bytes(value)
    raise Refused(f"values of {type_name(target)} cannot be given one by one.")


def _number(value: int | float | Decimal, target: pa.DataType) -> Any:
    if pa.types.is_floating(target):
        try:
            converted = at_width(float(value), target)
        except OverflowError:
            converted = math.inf
        if math.isinf(converted) and not (isinstance(value, float | Decimal) and math.isinf(value)):
            raise Refused(f"found {value}: too large for a {type_name(target)}.")
        written = value.text if isinstance(value, WrittenNumber) else str(value)
        if converted == 0 and re.match(_NOT_ZERO, written):
            raise Refused(_vanished(written, target))
        if isinstance(value, int) and int(converted) != value:
            raise Refused(f"found {value}: a {type_name(target)} cannot hold this whole number exactly.")
        return converted
    if not (isinstance(value, int) or math.isfinite(value)):  # of hundreds of digits there is no float to ask
        raise Refused(f"found {value}; expected a number ({type_name(target)}).")
    text = value.text if isinstance(value, WrittenNumber) else str(value)
    if pa.types.is_integer(target) and not isinstance(value, int):
        number = Decimal(text)
        if abs(number) >= 2**63 + 1 or number != int(number):
            raise Refused(explain(text, target, None)[1])
        text = str(int(number))  # Python and JSON have 1E3 for a whole number, too
    return _scalar_from_text(text, target)


def _timestamp(value: Any, target: pa.DataType) -> datetime | FarMoment:
    if isinstance(value, FarMoment) and value.zoned == bool(target.tz):
        return value
    if not isinstance(value, datetime):
        raise Refused(f"found {_kind(value)}; expected a timestamp.")
    if target.tz:
        return moment_of(microseconds_of(value), zoned=True)
    if value.tzinfo is not None:
        raise Refused(f"found {value.isoformat()}: the column has no time zone.")
    return value


def _scalar_from_text(text: str, target: pa.DataType) -> Any:
    """The Python twin of ``from_text`` for one value."""
    value = _read_scalar(text.strip(" \t"), target)
    if value is None:
        raise Refused(explain(text, target, None)[1])
    return value


def _read_scalar(bare: str, target: pa.DataType) -> Any:
    """The value that a text is in the column, None where it is none."""
    if pa.types.is_integer(target):
        low, high = _INTEGER_LIMITS[target]
        if not re.fullmatch(r"[+-]?[0-9]+(\.0*)?", bare):
            return None
        digits = bare.split(".")[0].lstrip("+-0")
        if len(digits) > len(str(high)):  # Python reads none of thousands
            return None
        number = int(digits or 0) * (-1 if bare.startswith("-") else 1)
        return number if low <= number <= high else None
    if pa.types.is_decimal(target):
        return _decimal(bare, target)
    if pa.types.is_floating(target):
        return _float(bare, target)
    if pa.types.is_boolean(target):
        if bare.lower() not in {"true", "false", "t", "f"}:
            return None
        return bare.lower() in {"true", "t"}
    if pa.types.is_date(target):
        return _parsed_date(bare)
    if pa.types.is_timestamp(target):
        return _parsed_timestamp(bare, target)
    if _is_bytes(target):
        if not re.fullmatch(r"0[xX]([0-9a-fA-F]{2})*", bare):
            return None
        return bytes.fromhex(bare[2:])
    return None


def _decimal(bare: str, target: pa.DataType) -> Decimal | None:
    """Exact, whatever the precision: Python's own arithmetic would round to 28 digits."""
    if not re.fullmatch(rf"{_NUMBER}|{_SCIENTIFIC}", bare):
        return None
    try:
        sign, digits, exponent = Decimal(bare).as_tuple()
    except InvalidOperation:  # an exponent beyond all bounds
        return None
    if not isinstance(exponent, int):
        return None
    significant = "".join(map(str, digits)).lstrip("0")
    stripped = significant.rstrip("0")
    exponent += len(significant) - len(stripped)
    if not stripped:
        return Decimal((0, (0,), -target.scale))
    padding = exponent + target.scale
    if padding < 0 or len(stripped) + padding > target.precision:
        return None
    return Decimal((sign, tuple(int(digit) for digit in stripped) + (0,) * padding, -target.scale))


def _float(bare: str, target: pa.DataType) -> float | None:
    if re.fullmatch(rf"{_INFINITY}|{_NOT_A_NUMBER}", bare):
        return float(bare)
    if not re.fullmatch(rf"{_NUMBER}([eE][+-]?[0-9]+)?", bare):
        return None
    converted = at_width(float(bare), target)
    if math.isinf(converted) or (converted == 0 and re.match(_NOT_ZERO, bare)):
        return None
    return converted


def at_width(number: float, target: pa.DataType) -> float:
    """The number as the column keeps it; infinite where it is too large."""
    return float(pa.scalar(number, pa.float64()).cast(target, safe=False).as_py())


_DATE_PARTS = r"(?P<year>[+-]?[0-9]{4,7})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
_TIME_PARTS = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(:(?P<second>[0-9]{2})(\.(?P<fraction>[0-9]+))?)?"


def _parsed_date(bare: str) -> date | FarDate | None:
    if not re.fullmatch(_DAY, bare):
        return None
    days = _days(bare)
    return date_of(days) if days is not None and FIRST_DAY <= days <= LAST_DAY else None


def _days(text: str) -> int | None:
    parts = re.match(_DATE_PARTS, text)
    if parts is None:
        return None
    try:
        return days_from_civil(int(parts["year"]), int(parts["month"]), int(parts["day"]))
    except ValueError:
        return None


def _parsed_timestamp(bare: str, target: pa.DataType) -> datetime | FarMoment | None:
    zone = f"({_ZONE})?" if target.tz else ""
    parts = re.fullmatch(rf"{_DATE_PARTS}([T ]{_TIME_PARTS}(?P<zone>{_ZONE})?)?", bare)
    if parts is None or not re.fullmatch(rf"{_DATE}([T ]{_TIME}{zone})?", bare):
        return None
    days = _days(bare)
    if days is None:
        return None
    seconds = int(parts["hour"] or 0) * 3600 + int(parts["minute"] or 0) * 60 + int(parts["second"] or 0)
    microseconds = int((parts["fraction"] or "0")[:6].ljust(6, "0"))
    local = (days * 86_400 + seconds - _offset(parts["zone"])) * 1_000_000 + microseconds
    if not FIRST_MOMENT <= local <= LAST_MOMENT:
        return None
    return moment_of(local, zoned=target.tz is not None)


def _offset(zone: str | None) -> int:
    """Seconds east of UTC."""
    parts = re.fullmatch(r" ?([+-])([0-9]{2}):?([0-9]{2})?", zone or "")
    if parts is None:
        return 0
    seconds = int(parts[2]) * 3600 + int(parts[3] or 0) * 60
    return -seconds if parts[1] == "-" else seconds


def _kind(value: Any) -> str:
    if isinstance(value, NumberText):
        return f"the number {value}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {shown(value)}"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    return f"{type(value).__name__} {value!r}"[:80]
