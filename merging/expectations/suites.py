"""Great Expectations suites (1.x, JSON), read strictly: what is not understood is refused by its place.

Great Expectations itself drops unknown expectations silently and runs row conditions given as text; neither passes
here.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, ClassVar, Literal

from merging.errors import MergeError
from merging.expectations.catalogue import CATALOGUE, REFUSED, Argument, Entry
from merging.expectations.conditions import Condition, parse_condition
from merging.expectations.values import NUMERIC, Family, WrongValue, family, typed
from merging.model import Column
from merging.sql.strict_json import read_json

Severity = Literal["critical", "warning", "info"]

MAX_EXPECTATIONS = 500
MAX_VALUES = 10_000
MAX_PATTERN = 1_000
_SEVERITIES = ("critical", "warning", "info")
_SUITE_KEYS = ("name", "expectations", "meta", "notes", "id", "suite_parameters")
_EXPECTATION_KEYS = ("type", "kwargs", "meta", "severity", "id", "notes", "description", "rendered_content")
_IGNORED_KWARGS = ("batch_id", "result_format", "catch_exceptions")


@dataclass(frozen=True)
class SuiteProblem:
    """One reason why a suite is refused. ``place`` is a path into the JSON (``expectations[3].kwargs.column``)."""

    place: str
    code: str
    message: str
    expectation: str | None = None


class SuiteRejected(MergeError):
    """A suite that cannot be checked as it is written; every problem is named."""

    code: ClassVar[str] = "suite_rejected"

    def __init__(self, problems: Sequence[SuiteProblem]) -> None:
        self.problems: tuple[SuiteProblem, ...] = tuple(problems)
        first = self.problems[0]
        more = f" ({len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        super().__init__(
            f"The suite cannot be used: {first.place}: {first.message}{more}",
            data={
                "problems": [
                    {
                        "place": one.place,
                        "code": one.code,
                        "message": one.message,
                        "expectation": one.expectation,
                    }
                    for one in self.problems
                ]
            },
        )


@dataclass(frozen=True)
class Expectation:
    """One expectation of a suite. ``arguments`` hold typed values and defaults, ``kwargs`` the JSON as given."""

    number: int
    type: str
    kwargs: Mapping[str, Any]
    arguments: Mapping[str, Any]
    families: Mapping[str, Family]
    severity: Severity = "critical"
    condition: Condition | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None

    @property
    def entry(self) -> Entry:
        """What the catalogue knows of it."""
        return CATALOGUE[self.type]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it judges, without those of its condition."""
        names: list[str] = []
        for name, argument in self.entry.arguments.items():
            if argument.kind == "column":
                names.append(self.arguments[name])
            elif argument.kind == "columns":
                names.extend(self.arguments[name])
        return tuple(dict.fromkeys(names))

    @property
    def read_columns(self) -> tuple[str, ...]:
        """The columns that it needs, with those of its condition."""
        extra = self.condition.columns if self.condition else ()
        return tuple(dict.fromkeys((*self.columns, *extra)))

    @property
    def mostly(self) -> float:
        """The share of rows that must satisfy it."""
        return float(self.arguments.get("mostly", 1))


@dataclass(frozen=True)
class Suite:
    """A suite that fits its table's columns."""

    name: str
    expectations: tuple[Expectation, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)


def parse_suite(document: str | Mapping[str, Any], columns: Sequence[Column]) -> Suite:
    """The suite in a JSON document (text or parsed) for a table of these columns. Raises SuiteRejected."""
    reader = _Reader(columns)
    suite = reader.read(document)
    if reader.problems or suite is None:
        raise SuiteRejected(reader.problems)
    return suite


def validate_suite(document: str | Mapping[str, Any], columns: Sequence[Column]) -> tuple[SuiteProblem, ...]:
    """All problems of a suite for a table of these columns; empty when it can be used."""
    reader = _Reader(columns)
    reader.read(document)
    return tuple(reader.problems)


class _Reader:
    def __init__(self, columns: Sequence[Column]) -> None:
        self.types = {column.name: column.type for column in columns}
        self.problems: list[SuiteProblem] = []
        self._type: str | None = None

    def report(self, place: str, code: str, message: str) -> None:
        self.problems.append(SuiteProblem(place, code, message, self._type))

    def read(self, document: str | Mapping[str, Any]) -> Suite | None:
        if isinstance(document, str):
            try:
                document = read_json(document)
            except ValueError as error:
                self.report("$", "not_json", str(error))
                return None
        if not isinstance(document, Mapping):
            self.report("$", "wrong_value", "A suite is an object with a name and a list of expectations.")
            return None
        self._keys(document, _SUITE_KEYS, "")
        if document.get("suite_parameters"):
            self.report("suite_parameters", "unsupported", "Suite parameters are not supported.")
        listed = document.get("expectations")
        if not isinstance(listed, list):
            self.report("expectations", "wrong_value", "expectations is a list.")
            return None
        if len(listed) > MAX_EXPECTATIONS:
            self.report("expectations", "too_many", f"A suite holds {MAX_EXPECTATIONS} expectations at most.")
            return None
        read = [self._expectation(one, number) for number, one in enumerate(listed)]
        meta = document.get("meta")
        return Suite(
            name=str(document.get("name") or ""),
            expectations=tuple(one for one in read if one is not None),
            meta=meta if isinstance(meta, Mapping) else {},
        )

    def _keys(self, given: Mapping[str, Any], known: Sequence[str], place: str) -> None:
        for name in given:
            if name in known:
                continue
            if name == "expectation_type":
                message = "Suites of Great Expectations 1.x name an expectation's type as type."
            elif name == "windows":
                message = "Windows over time are not supported."
            else:
                message = f"{name} is not known here; known are {', '.join(known)}."
            self.report(f"{place}{name}", "unknown_key", message)

    def _expectation(self, given: Any, number: int) -> Expectation | None:
        place = f"expectations[{number}]"
        self._type = None
        before = len(self.problems)
        if not isinstance(given, Mapping):
            self.report(place, "wrong_value", "An expectation is an object with type and kwargs.")
            return None
        self._keys(given, _EXPECTATION_KEYS, f"{place}.")
        name = given.get("type")
        entry = CATALOGUE.get(name) if isinstance(name, str) else None
        if entry is None:
            self._unknown_type(name, place)
            return None
        self._type = entry.type
        severity: Severity = given.get("severity") or "critical"
        if severity not in _SEVERITIES:
            self.report(f"{place}.severity", "wrong_value", f"severity is one of {', '.join(_SEVERITIES)}.")
        kwargs = given.get("kwargs")
        if not isinstance(kwargs, Mapping):
            self.report(f"{place}.kwargs", "wrong_value", "kwargs is an object.")
            return None
        found = self._arguments(entry, kwargs, f"{place}.kwargs")
        condition = None
        if kwargs.get("row_condition") is not None:
            if entry.conditional:
                condition = parse_condition(
                    kwargs["row_condition"], f"{place}.kwargs.row_condition", self.types, self.report
                )
            else:
                self.report(
                    f"{place}.kwargs.row_condition", "unknown_kwarg", f"{entry.type} takes no row_condition."
                )
        if len(self.problems) > before or found is None:
            return None
        arguments, families = found
        meta = given.get("meta")
        return Expectation(
            number=number,
            type=entry.type,
            kwargs=dict(kwargs),
            arguments=arguments,
            families=families,
            severity=severity,
            condition=condition,
            meta=meta if isinstance(meta, Mapping) else {},
            id=given.get("id"),
        )

    def _unknown_type(self, name: Any, place: str) -> None:
        if not isinstance(name, str):
            self.report(f"{place}.type", "unknown_expectation", "The expectation has no type.")
            return
        self._type = name
        if name in REFUSED:
            self.report(
                f"{place}.type", "unsupported_expectation", f"{name} is not supported: {REFUSED[name]}."
            )
            return
        near = difflib.get_close_matches(name, CATALOGUE, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        self.report(
            f"{place}.type", "unknown_expectation", f"There is no supported expectation {name}.{hint}"
        )

    def _arguments(
        self, entry: Entry, kwargs: Mapping[str, Any], place: str
    ) -> tuple[dict[str, Any], dict[str, Family]] | None:
        before = len(self.problems)
        known = (*entry.arguments, "row_condition", "condition_parser", *_IGNORED_KWARGS)
        for name in kwargs:
            if name not in known:
                message = (
                    "Windows over time are not supported."
                    if name == "windows"
                    else f"{entry.type} takes no {name}; it takes {', '.join(entry.arguments)}."
                )
                self.report(f"{place}.{name}", "unknown_kwarg", message)
        families = self._columns(entry, kwargs, place)
        if families is None:
            return None
        arguments: dict[str, Any] = {}
        for name, argument in entry.arguments.items():
            arguments[name] = self._argument(name, argument, kwargs.get(name), families, f"{place}.{name}")
        if len(self.problems) == before:
            self._together(entry, arguments, place)
        return (arguments, families) if len(self.problems) == before else None

    def _columns(self, entry: Entry, kwargs: Mapping[str, Any], place: str) -> dict[str, Family] | None:
        """The families of the columns that an expectation names; None after problems."""
        named: list[tuple[str, Any]] = []
        for name, argument in entry.arguments.items():
            given = kwargs.get(name)
            if argument.kind == "column":
                named.append((f"{place}.{name}", given))
            elif argument.kind == "columns":
                if not isinstance(given, list) or len(given) < 2:
                    self.report(f"{place}.{name}", "wrong_value", f"{name} is a list of two columns or more.")
                    return None
                if len({str(one) for one in given}) < len(given):
                    self.report(f"{place}.{name}", "wrong_value", f"{name} names a column twice.")
                    return None
                named += [(f"{place}.{name}[{number}]", one) for number, one in enumerate(given)]
        families: dict[str, Family] = {}
        for where, column in named:
            if not isinstance(column, str) or not column:
                self.report(where, "missing_kwarg", "The name of a column is needed here.")
            elif column not in self.types:
                near = difflib.get_close_matches(column, self.types, 1)
                hint = f" Did you mean {near[0]}?" if near else ""
                self.report(where, "unknown_column", f"The table has no column {column}.{hint}")
            else:
                kind = family(self.types[column])
                families[column] = kind
                if kind not in entry.families:
                    allowed = ", ".join(sorted(entry.families))
                    self.report(
                        where,
                        "wrong_column_type",
                        f"{column} is {self.types[column]}; {entry.type} looks at {allowed} columns.",
                    )
        if len(families) < len({str(column) for _, column in named}):
            return None
        groups = {"number" if kind in NUMERIC else kind for kind in families.values()}
        if entry.same_family and len(groups) > 1:
            listed = ", ".join(f"{name} ({self.types[name]})" for name in families)
            self.report(place, "wrong_column_type", f"These columns cannot be compared: {listed}.")
            return None
        return families

    def _argument(
        self, name: str, argument: Argument, given: Any, families: Mapping[str, Family], place: str
    ) -> Any:
        if given is None:
            if argument.required:
                self.report(place, "missing_kwarg", f"{name} is needed.")
            return argument.default
        if isinstance(given, Mapping) and "$PARAMETER" in given:
            self.report(place, "unsupported", "Suite parameters are not supported; write the value.")
            return None
        try:
            return _value(name, argument, given, families)
        except WrongValue as error:
            self.report(place, "wrong_value", f"{error}.")
            return None

    def _together(self, entry: Entry, arguments: Mapping[str, Any], place: str) -> None:
        """What arguments must satisfy together."""
        low, high = arguments.get("min_value"), arguments.get("max_value")
        if entry.needs_bound and low is None and high is None:
            self.report(place, "missing_kwarg", "min_value or max_value is needed.")
        if low is not None and high is not None and low > high:
            self.report(
                f"{place}.min_value", "wrong_value", f"min_value {low} is greater than max_value {high}."
            )


def _value(name: str, argument: Argument, given: Any, families: Mapping[str, Family]) -> Any:
    """A given argument as a typed value. Raises WrongValue."""
    kind = argument.kind
    if kind in ("column", "name", "text"):
        return _text(name, given)
    if kind in ("columns", "names", "texts"):
        return tuple(_text(name, one) for one in _list(name, given, least=0 if kind == "names" else 1))
    if kind == "flag":
        if not isinstance(given, bool):
            raise WrongValue(f"{name} is true or false")
        return given
    if kind in ("number", "count", "share"):
        return _limited(name, argument, given)
    if kind == "bound":
        return typed(given, next(iter(families.values())))
    if kind == "values":
        column = next(iter(families.values()))
        return tuple(typed(one, column) for one in _list(name, given, least=1) if one is not None)
    if kind == "pairs":
        return _pairs(name, given, tuple(families.values()))
    if kind == "choice":
        return _choice(name, argument, given)
    if kind == "regex":
        return _regex(name, given)
    if kind == "regexes":
        return tuple(_regex(name, one) for one in _list(name, given, least=1))
    if kind == "strftime":
        return _strftime(name, given)
    if kind == "quantiles":
        return _quantiles(name, given)
    if kind == "character":
        if len(_text(name, given)) != 1:
            raise WrongValue(f"{name} is one character")
        return given
    if kind == "schema":
        return _json_schema(name, given)
    if not isinstance(given, Mapping):
        raise WrongValue(f"{name} is an object")
    return given


def _text(name: str, given: Any) -> str:
    if not isinstance(given, str):
        raise WrongValue(f"{name} is text")
    if "\x00" in given:
        raise WrongValue(f"{name} holds a NUL character")
    return given


def _list(name: str, given: Any, *, least: int) -> list[Any]:
    if not isinstance(given, list) or len(given) < least:
        raise WrongValue(f"{name} is a list{' with at least one value' if least else ''}")
    if len(given) > MAX_VALUES:
        raise WrongValue(f"{name} holds {MAX_VALUES:,} values at most")
    return given


def _limited(name: str, argument: Argument, given: Any) -> int | float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise WrongValue(f"{name} is a number")
    if argument.kind == "count" and (given != int(given)):
        raise WrongValue(f"{name} is a whole number")
    if argument.least is not None and given < argument.least:
        raise WrongValue(f"{name} is {argument.least:g} or more")
    if argument.most is not None and given > argument.most:
        raise WrongValue(f"{name} is {argument.most:g} or less")
    return int(given) if argument.kind == "count" else given


def _choice(name: str, argument: Argument, given: Any) -> str:
    if name == "allow_relative_error" and given is False:
        return str(argument.default)
    if given not in argument.choices:
        raise WrongValue(f"{name} is one of {', '.join(argument.choices)}")
    return str(given)


def _pairs(name: str, given: Any, families: Sequence[Family]) -> tuple[tuple[Any, Any], ...]:
    first, second = families[0], families[-1]
    pairs: list[tuple[Any, Any]] = []
    for one in _list(name, given, least=1):
        if not isinstance(one, list) or len(one) != 2:
            raise WrongValue(f"{name} is a list of pairs")
        left, right = one
        pairs.append(
            (
                None if left is None else typed(left, first),
                None if right is None else typed(right, second),
            )
        )
    return tuple(pairs)


def _regex(name: str, given: Any) -> str:
    pattern = _text(name, given)
    if len(pattern) > MAX_PATTERN:
        raise WrongValue(f"{name} has {MAX_PATTERN:,} characters at most")
    try:
        re.compile(pattern)
    except re.error as error:
        raise WrongValue(f"{name} is no regular expression of Python: {error}") from error
    return pattern


def _strftime(name: str, given: Any) -> str:
    pattern = _text(name, given)
    try:
        datetime.strptime(datetime(2020, 2, 3, 4, 5, 6, tzinfo=UTC).strftime(pattern), pattern)  # noqa: DTZ007 - the pattern decides
    except (ValueError, re.error) as error:
        raise WrongValue(f"{name} cannot be used to read a date: {error}") from error
    return pattern


def _quantiles(name: str, given: Any) -> tuple[tuple[float, float | None, float | None], ...]:
    if not isinstance(given, Mapping) or set(given) != {"quantiles", "value_ranges"}:
        raise WrongValue(f"{name} has quantiles and value_ranges")
    quantiles = _list("quantiles", given["quantiles"], least=1)
    ranges = _list("value_ranges", given["value_ranges"], least=1)
    if len(quantiles) != len(ranges):
        raise WrongValue("quantiles and value_ranges are lists of the same length")
    found = []
    share = Argument("share", least=0, most=1)
    for quantile, limits in zip(quantiles, ranges, strict=True):
        if not isinstance(limits, list) or len(limits) != 2:
            raise WrongValue("value_ranges is a list of [lowest, highest]")
        low, high = (None if one is None else _limited("a limit", Argument("number"), one) for one in limits)
        if low is not None and high is not None and low > high:
            raise WrongValue(f"the range {low} to {high} is empty")
        found.append((float(_limited("a quantile", share, quantile)), low, high))
    return tuple(found)


def _json_schema(name: str, given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise WrongValue(f"{name} is a JSON Schema")
    if any(not reference.startswith("#") for reference in _references(given)):
        raise WrongValue(f"{name} refers to a schema outside of it")
    return given


def _references(schema: Any) -> list[str]:
    """All ``$ref`` of a JSON Schema: those that leave it would be fetched from the network."""
    if isinstance(schema, Mapping):
        own = [str(schema["$ref"])] if "$ref" in schema else []
        return own + [found for one in schema.values() for found in _references(one)]
    if isinstance(schema, list):
        return [found for one in schema for found in _references(one)]
    return []


def show(value: Any) -> str:
    """A typed value as people read it."""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date):
        return value.isoformat()
    return str(value)
