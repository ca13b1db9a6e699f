"""Row conditions of Great Expectations 1.x: which rows an expectation looks at.

Only the structured form is taken. A condition given as a string is handed to ``DataFrame.query`` by Great Expectations,
which runs code: those are refused. Missing values follow pandas: they satisfy ``!=`` and ``NOT_IN``, and no other
comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from merging.expectations.values import (
    SIMPLE,
    Family,
    Sign,
    WrongValue,
    compared,
    family,
    in_list,
    missing,
    typed,
)
from merging.sql.quoting import column_sql

Operator = Literal["==", "!=", "<", "<=", ">", ">=", "IN", "NOT_IN"]

MAX_CONDITIONS = 100
_ORDER = ("<", "<=", ">", ">=")
_SIGNS: Mapping[Operator, Sign] = {"==": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_OPERATORS = ("==", "!=", *_ORDER, "IN", "NOT_IN")
_WORDS = {
    "==": "is",
    "!=": "is not",
    "<": "is less than",
    "<=": "is at most",
    ">": "is greater than",
    ">=": "is at least",
    "IN": "is one of",
    "NOT_IN": "is none of",
}


@dataclass(frozen=True)
class Condition:
    """A condition on rows: a comparison, a question for missing values, or a group of conditions."""

    kind: Literal["comparison", "nullity", "and", "or"]
    column: str = ""
    type: str = "string"
    operator: Operator = "=="
    value: Any = None
    is_null: bool = False
    conditions: tuple[Condition, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        if self.conditions:
            return tuple(dict.fromkeys(name for one in self.conditions for name in one.columns))
        return (self.column,)

    def sql(self) -> str:
        """A predicate that is never NULL."""
        if self.conditions:
            joined = f" {self.kind.upper()} ".join(one.sql() for one in self.conditions)
            return f"({joined})"
        absent = missing(self.column, family(self.type))
        if self.kind == "nullity":
            return absent if self.is_null else f"(NOT {absent})"
        if self.operator in ("IN", "NOT_IN"):
            found = f"(NOT {absent} AND {in_list(self.column, self.type, self.value)})"
            return found if self.operator == "IN" else f"(NOT {found})"
        holds = compared(column_sql(self.column), _SIGNS[self.operator], self.value, self.type)
        return f"({absent} OR {holds})" if self.operator == "!=" else f"(NOT {absent} AND {holds})"

    def words(self) -> str:
        """The condition in English, to follow ``where``."""
        if self.conditions:
            parts = [f"({one.words()})" if one.conditions else one.words() for one in self.conditions]
            return f" {self.kind} ".join(parts)
        if self.kind == "nullity":
            return f"{self.column} is missing" if self.is_null else f"{self.column} is not missing"
        value = self.value
        shown = ", ".join(str(one) for one in value) if isinstance(value, tuple) else str(value)
        return f"{self.column} {_WORDS[self.operator]} {shown}"


Report = Callable[[str, str, str], None]
"""Called with place, code and message of each problem."""


def parse_condition(given: Any, place: str, types: Mapping[str, str], report: Report) -> Condition | None:
    """A condition from JSON; None after problems were reported. ``types`` are Delta's type names by column."""
    if isinstance(given, str):
        report(
            place,
            "string_condition",
            "A row condition given as a text would be run as code; give it as a structure "
            '({"type": "comparison", "column": {"name": ...}, "operator": "==", "parameter": ...}).',
        )
        return None
    found = _parse(given, place, types, report)
    if found is not None and _count(found) > MAX_CONDITIONS:
        report(place, "wrong_value", f"A row condition may have {MAX_CONDITIONS} comparisons at most.")
        return None
    return found


def _count(condition: Condition) -> int:
    return sum(_count(one) for one in condition.conditions) if condition.conditions else 1


def _parse(given: Any, place: str, types: Mapping[str, str], report: Report) -> Condition | None:
    if not isinstance(given, Mapping):
        report(place, "wrong_value", "A row condition is an object with a type.")
        return None
    kind = given.get("type")
    if kind == "pass_through":
        report(place, "string_condition", "pass_through conditions would be run as code and are not taken.")
        return None
    if kind in ("and", "or"):
        return _group(given, kind, place, types, report)
    if kind == "nullity":
        return _nullity(given, place, types, report)
    if kind == "comparison":
        return _comparison(given, place, types, report)
    report(place, "wrong_value", "The type of a row condition is comparison, nullity, and, or.")
    return None


def _unknown(given: Mapping[str, Any], known: tuple[str, ...], place: str, report: Report) -> None:
    for name in given:
        if name not in known:
            report(f"{place}.{name}", "unknown_kwarg", f"A row condition knows no {name}.")


def _group(
    given: Mapping[str, Any],
    kind: Literal["and", "or"],
    place: str,
    types: Mapping[str, str],
    report: Report,
) -> Condition | None:
    _unknown(given, ("type", "conditions"), place, report)
    listed = given.get("conditions")
    if not isinstance(listed, list) or not listed:
        report(f"{place}.conditions", "wrong_value", f"An {kind} condition has a list of conditions.")
        return None
    parts = [_parse(one, f"{place}.conditions[{number}]", types, report) for number, one in enumerate(listed)]
    found = tuple(one for one in parts if one is not None)
    if len(found) < len(parts):
        return None
    if any(one.kind == "or" for one in found):
        report(place, "wrong_value", f"An {kind} condition cannot hold an or condition.")
        return None
    return Condition(kind=kind, conditions=found)


def _named_column(
    given: Mapping[str, Any], place: str, types: Mapping[str, str], report: Report
) -> tuple[str, Family] | None:
    column = given.get("column")
    name = column.get("name") if isinstance(column, Mapping) else None
    if not isinstance(name, str):
        report(f"{place}.column", "wrong_value", 'A row condition names its column as {"name": ...}.')
        return None
    if name not in types:
        report(f"{place}.column", "unknown_column", f"The table has no column {name}.")
        return None
    return name, family(types[name])


def _nullity(
    given: Mapping[str, Any], place: str, types: Mapping[str, str], report: Report
) -> Condition | None:
    _unknown(given, ("type", "column", "is_null"), place, report)
    named = _named_column(given, place, types, report)
    if not isinstance(given.get("is_null"), bool):
        report(f"{place}.is_null", "wrong_value", "is_null is true or false.")
        return None
    if named is None:
        return None
    return Condition(kind="nullity", column=named[0], type=types[named[0]], is_null=given["is_null"])


def _comparison(
    given: Mapping[str, Any], place: str, types: Mapping[str, str], report: Report
) -> Condition | None:
    _unknown(given, ("type", "column", "operator", "parameter"), place, report)
    named = _named_column(given, place, types, report)
    operator = given.get("operator")
    if operator not in _OPERATORS:
        report(f"{place}.operator", "wrong_value", f"operator is one of {', '.join(_OPERATORS)}.")
        return None
    if named is None:
        return None
    name, kind = named
    value = given.get("parameter")
    many = operator in ("IN", "NOT_IN")
    if value is None or many != isinstance(value, list):
        wanted = "a list" if many else "one value; ask for missing values with a nullity condition"
        report(f"{place}.parameter", "wrong_value", f"The parameter of {operator} is {wanted}.")
        return None
    if kind not in SIMPLE or (operator in _ORDER and kind == "boolean"):
        report(
            f"{place}.operator", "wrong_column_type", f"{operator} cannot compare the {kind} column {name}."
        )
        return None
    try:
        value = tuple(typed(one, kind) for one in value) if many else typed(value, kind)
    except WrongValue as error:
        report(f"{place}.parameter", "wrong_value", f"{error}, which {name} would be compared with.")
        return None
    return Condition(kind="comparison", column=name, type=types[name], operator=operator, value=value)
