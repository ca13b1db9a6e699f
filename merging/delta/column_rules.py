"""What a table's schema asks of the values inside a column: no NULL in parts of nested values, lengths of texts.

Pure: SQL from a schema, for whoever brings values to a table, when they are staged and again when they are merged.

Sources: PROTOCOL.md, "Schema Serialization Format" (``nullable``, ``containsNull``, ``valueContainsNull``); Spark's
``CharVarcharUtils``: the column is a string for Delta, its real type stands in the metadata of the column. Spark pads
a ``char(n)`` with blanks when it writes and refuses what is longer; lengths are in code points.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from merging.errors import UnsupportedTable
from merging.sql.quoting import literal, quote

_DECLARED = "__CHAR_VARCHAR_TYPE_STRING"
_TEXT = re.compile(r"(char|varchar)\((\d+)\)")

Step = tuple[Literal["field", "element", "key", "value"], str]


@dataclass(frozen=True)
class Rule:
    """One demand on a part of a column: ``limit`` characters at most, or (``limit`` None) a value in each place.

    ``path`` leads to the part; it is empty for the column itself.
    """

    column: str
    path: tuple[Step, ...]
    limit: int | None = None
    padded: bool = False

    @property
    def place(self) -> str:
        """The part in words: ``point.x``, ``tags.element``."""
        return ".".join([self.column, *(name or kind for kind, name in self.path)])

    @property
    def demand(self) -> str:
        """What is asked, as the end of a sentence."""
        if self.limit is None:
            return "takes no NULL"
        return f"holds {self.limit:,} characters at most"

    def broken_by(self, expression: str) -> str:
        """SQL predicate: a value of the column breaks the rule."""
        return f"coalesce({_somewhere(expression, self.path, self._leaf, 0)}, false)"

    def _leaf(self, expression: str) -> str:
        return f"{expression} IS NULL" if self.limit is None else f"length({expression}) > {self.limit}"


def _somewhere(expression: str, path: tuple[Step, ...], leaf: Any, depth: int) -> str:
    if not path:
        return str(leaf(expression))
    (kind, name), rest = path[0], path[1:]
    if kind == "field":
        inner = _somewhere(f"struct_extract({expression}, {literal(name)})", rest, leaf, depth)
        # A struct that is NULL has no value in its fields either: Delta's own writers refuse it. Within lists and maps
        # they know no such rule.
        return f"({expression} IS NOT NULL AND {inner})" if depth else inner
    listed = {"element": expression, "key": f"map_keys({expression})", "value": f"map_values({expression})"}
    part = f"part{depth}"
    inner = _somewhere(part, rest, leaf, depth + 1)
    return f"len(list_filter({listed[kind]}, lambda {part}: coalesce({inner}, false))) > 0"


@dataclass(frozen=True)
class ColumnRules:
    """All rules of one column, and the form in which its values are stored."""

    rules: tuple[Rule, ...] = ()
    described: Any = field(default=None, repr=False)

    @cached_property
    def _padded(self) -> Mapping[tuple[Step, ...], int]:
        return {rule.path: rule.limit for rule in self.rules if rule.padded and rule.limit is not None}

    @property
    def pads(self) -> bool:
        """Whether values are stored with blanks behind them."""
        return bool(self._padded)

    def stored(self, expression: str) -> str:
        """SQL of a value as the table stores it: ``char(n)`` padded, at any depth."""
        if not self.pads:
            return expression
        return self._stored(expression, self.described, (), 0)

    def _stored(self, expression: str, described: Any, path: tuple[Step, ...], depth: int) -> str:
        if not any(padded[: len(path)] == path for padded in self._padded):
            return expression
        if isinstance(described, str):
            limit = self._padded[path]
            padded = f"rpad({expression}, {limit}, ' ')"
            return f"CASE WHEN length({expression}) < {limit} THEN {padded} ELSE {expression} END"
        item = f"item{depth}"
        if described["type"] == "struct":
            parts = ", ".join(
                f"{quote(one['name'])} := "
                + self._stored(
                    f"struct_extract({expression}, {literal(one['name'])})",
                    one["type"],
                    (*path, ("field", one["name"])),
                    depth,
                )
                for one in described["fields"]
            )
            return f"CASE WHEN {expression} IS NOT NULL THEN struct_pack({parts}) END"
        if described["type"] == "array":
            inner = self._stored(item, described["elementType"], (*path, ("element", "")), depth + 1)
            return f"list_transform({expression}, lambda {item}: {inner})"
        key = self._stored(f"{item}.key", described["keyType"], (*path, ("key", "")), depth + 1)
        value = self._stored(f"{item}.value", described["valueType"], (*path, ("value", "")), depth + 1)
        entries = (
            f"list_transform(map_entries({expression}), lambda {item}: struct_pack(k := {key}, v := {value}))"
        )
        return f"CASE WHEN {expression} IS NOT NULL THEN map_from_entries({entries}) END"


def rules_of_schema(schema_json: str) -> dict[str, ColumnRules]:
    """The rules of each column that has some. NULL in a column itself is not among them.

    Raises UnsupportedTable where the declared length of a text cannot be read.
    """
    found: dict[str, ColumnRules] = {}
    for item in json.loads(schema_json)["fields"]:
        rules = tuple(_rules_in(item["name"], item, ()))
        if rules:
            found[item["name"]] = ColumnRules(rules, item["type"])
    return found


def _rules_in(column: str, item: Mapping[str, Any], path: tuple[Step, ...]) -> list[Rule]:
    rules = []
    declared = (item.get("metadata") or {}).get(_DECLARED)
    if declared is not None:
        rules += _lengths(column, item["type"], str(declared), path)
    return rules + _nulls(column, item["type"], path)


def _nulls(column: str, described: Any, path: tuple[Step, ...]) -> list[Rule]:
    if isinstance(described, str):
        return []
    rules: list[Rule] = []
    if described["type"] == "struct":
        for one in described["fields"]:
            inside: tuple[Step, ...] = (*path, ("field", one["name"]))
            if not one.get("nullable", True):
                rules.append(Rule(column, inside))
            rules += _rules_in(column, one, inside)
        return rules
    if described["type"] == "array":
        inside = (*path, ("element", ""))
        if not described["containsNull"]:
            rules.append(Rule(column, inside))
        return rules + _nulls(column, described["elementType"], inside)
    inside = (*path, ("value", ""))
    if not described["valueContainsNull"]:
        rules.append(Rule(column, inside))
    rules += _nulls(column, described["keyType"], (*path, ("key", "")))
    return rules + _nulls(column, described["valueType"], inside)


def _lengths(column: str, described: Any, declared: str, path: tuple[Step, ...]) -> list[Rule]:
    """The lengths in a declared type, which has the shape of the described one."""
    reader = _DeclaredType(column, declared)
    rules = list(reader.read(described, path))
    reader.expect_end()
    return rules


class _DeclaredType:
    """A type as Spark's catalogue writes it (``struct<a:char(3),b:array<varchar(5)>>``), read beside Delta's."""

    def __init__(self, column: str, text: str) -> None:
        self.column = column
        self.text = text
        self.at = 0

    def read(self, described: Any, path: tuple[Step, ...]) -> list[Rule]:
        if isinstance(described, str):
            return self._single(path)
        rules: list[Rule] = []
        if described["type"] == "struct":
            self._take("struct<")
            for number, one in enumerate(described["fields"]):
                self._take("," * bool(number))
                self._take_name(one["name"])
                rules += self.read(one["type"], (*path, ("field", one["name"])))
        elif described["type"] == "array":
            self._take("array<")
            rules += self.read(described["elementType"], (*path, ("element", "")))
        else:
            self._take("map<")
            rules += self.read(described["keyType"], (*path, ("key", "")))
            self._take(",")
            rules += self.read(described["valueType"], (*path, ("value", "")))
        self._take(">")
        return rules

    def _single(self, path: tuple[Step, ...]) -> list[Rule]:
        found = re.compile(r"[a-z_ ]+(\([0-9, ]+\))?", re.IGNORECASE).match(self.text, self.at)
        if not found:
            raise self._unreadable()
        self.at = found.end()
        text = _TEXT.fullmatch(found[0].lower())
        if not text:
            return []
        return [Rule(self.column, path, int(text[2]), padded=text[1] == "char")]

    def _take_name(self, name: str) -> None:
        quoted = "`" + name.replace("`", "``") + "`"
        self._take(f"{quoted}:" if self.text.startswith(quoted, self.at) else f"{name}:")

    def _take(self, token: str) -> None:
        if not self.text.lower().startswith(token.lower(), self.at):
            raise self._unreadable()
        self.at += len(token)

    def expect_end(self) -> None:
        if self.at != len(self.text):
            raise self._unreadable()

    def _unreadable(self) -> UnsupportedTable:
        return UnsupportedTable(
            [f"declared type {self.text}"],
            f"The column {self.column} is declared as {self.text}, whose lengths cannot be read.",
        )
