"""Great Expectations suites (1.x, JSON), read strictly: what is not understood is refused by its place.

Great Expectations itself drops unknown expectations silently and runs row conditions given as text; neither passes
here.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from merging.errors import MergeError
from merging.expectations.argument_values import argument_value
from merging.expectations.catalogue import CATALOGUE, REFUSED
from merging.expectations.conditions import parse_condition
from merging.expectations.expectation import Argument, Entry, Expectation, Severity
from merging.expectations.values import NUMERIC, Family, WrongValue, family
from merging.model import Column
from merging.sql.strict_json import read_json

MAX_EXPECTATIONS = 500
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
        if not _is_whole_text(kwargs):
            self.report(f"{place}.kwargs", "wrong_value", "A text holds half a character (a lone surrogate).")
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
        arguments, types = found
        meta = given.get("meta")
        return Expectation(
            number=number,
            entry=entry,
            kwargs=dict(kwargs),
            arguments=arguments,
            types=types,
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
    ) -> tuple[dict[str, Any], dict[str, str]] | None:
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
        return (
            (arguments, {name: self.types[name] for name in families})
            if len(self.problems) == before
            else None
        )

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
            return argument_value(name, argument, given, families)
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


def _is_whole_text(given: Any) -> bool:
    """Whether all texts in a JSON value can be written."""
    try:
        json.dumps(given, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return False
    return True
