"""The rules of a table's own: CHECK constraints, invariants, and the columns that it fills itself.

Sources: PROTOCOL.md, "CHECK Constraints" (properties `delta.constraints.<name>`), "Column Invariants", "Generated
Columns", "Default Columns" and "Identity Columns" (metadata of fields). An expression that Headgate cannot judge as
Spark does is refused by its name.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from merging.delta.damage import Damaged
from merging.delta.expressions import Expression, NotUnderstood, computed, condition, default_value
from merging.delta.identity import Numbering, identity_of
from merging.model import FilledColumn

SESSION_ZONE_PROPERTY = "headgate.sessionTimeZone"
"""The table property that says in which zone the sessions work that write the table; only UTC is taken."""

_CONSTRAINT = "delta.constraints."
_INVARIANT = "delta.invariants"
_GENERATED = "delta.generationExpression"
_DEFAULT = "CURRENT_DEFAULT"
_COLLATIONS = "__COLLATIONS"
_DECLARED = "__CHAR_VARCHAR_TYPE_STRING"
_UTC = frozenset({"utc", "etc/utc", "gmt", "z", "+00:00"})


@dataclass(frozen=True)
class RowRule:
    """What must be true of every row that is written; NULL breaks it, as in Delta's own writers.

    `name` is `check:` and the constraint's name, or `invariant:` and the column's.
    """

    name: str
    expression: Expression

    @property
    def sentence(self) -> str:
        """The rule in words: its name and its expression."""
        kind, _, name = self.name.partition(":")
        what = "the constraint" if kind == "check" else "the invariant of"
        return f"{what} {name} ({self.expression.text})"


@dataclass(frozen=True)
class TableRules:
    """The conditions of a table, what it fills its columns with by their names, and what of both cannot be judged.

    `generated` are computed from the row; `defaults` and numbers (`identities`) are for new rows that say nothing of
    the column. `compared_otherwise`: columns whose values Spark does not compare as they are stored, and why.
    """

    conditions: tuple[RowRule, ...]
    generated: Mapping[str, Expression]
    defaults: Mapping[str, Expression]
    identities: Mapping[str, Numbering]
    refused: tuple[str, ...]
    compared_otherwise: Mapping[str, str]


def rules_of(schema: pa.Schema, schema_json: str, properties: Mapping[str, str]) -> TableRules:
    """The rules of a table with this schema and these properties."""
    fields = json.loads(schema_json)["fields"]
    zone = "UTC" if properties.get(SESSION_ZONE_PROPERTY, "").lower() in _UTC else None
    unproved = {item["name"]: reason for item in fields if (reason := _unproved(item))}
    generated_texts = {
        item["name"]: str(item["metadata"][_GENERATED])
        for item in fields
        if _GENERATED in (item.get("metadata") or {})
    }
    conditions: list[RowRule] = []
    generated: dict[str, Expression] = {}
    refused: list[str] = []
    for name, text in generated_texts.items():
        try:
            made = computed(text, schema.field(name).type, schema, unproved=unproved, zone=zone)
            others = sorted(generated_texts.keys() & set(made.columns))
            if others:
                raise NotUnderstood(f"{others[0]}, which is generated itself")
            generated[name] = made
        except NotUnderstood as reason:
            refused.append(f"generated column {name} ({text}): {reason}")
    for kind, name, text in [*_constraints(properties), *_invariants(fields)]:
        try:
            made = condition(text, schema, unproved=unproved, zone=zone)
            conditions.append(RowRule(f"{kind}:{name}", made))
        except NotUnderstood as reason:
            what = "CHECK constraint" if kind == "check" else "invariant of column"
            refused.append(f"{what} {name} ({text}): {reason}")
    defaults = _defaults(fields, schema, zone, refused)
    identities = _identities(fields, refused)
    return TableRules(
        tuple(conditions), generated, defaults, identities, (*refused, *_deep_rules(fields)), unproved
    )


def _defaults(
    fields: list[Any], schema: pa.Schema, zone: str | None, refused: list[str]
) -> dict[str, Expression]:
    found = {}
    for item in fields:
        text = (item.get("metadata") or {}).get(_DEFAULT)
        if text is not None:
            try:
                found[item["name"]] = default_value(str(text), schema.field(item["name"]).type, zone=zone)
            except NotUnderstood as reason:
                refused.append(f"default of column {item['name']} ({text}): {reason}")
    return found


def _identities(fields: list[Any], refused: list[str]) -> dict[str, Numbering]:
    found = {}
    for item in fields:
        try:
            identity = identity_of(item)
        except Damaged as damage:
            refused.append(f"identityColumns: {damage.message}")
        else:
            if identity is not None:
                found[item["name"]] = identity
    return found


def filled_columns(schema_json: str) -> dict[str, FilledColumn]:
    """The columns that a table fills itself where a new row says nothing of them, by their names; ``schema_json`` is
    Delta's. What is damaged in it is left out.
    """
    found = {}
    for item in json.loads(schema_json)["fields"]:
        metadata = item.get("metadata") or {}
        with contextlib.suppress(Damaged):
            identity = identity_of(item)
            if identity is not None:
                found[item["name"]] = FilledColumn(identity.words, identity.takes_values)
        if _GENERATED in metadata:
            found[item["name"]] = FilledColumn(f"GENERATED ALWAYS AS ({metadata[_GENERATED]})", False)
        elif _DEFAULT in metadata:
            found[item["name"]] = FilledColumn(f"DEFAULT {metadata[_DEFAULT]}", True)
    return found


def _constraints(properties: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    for name, text in sorted(properties.items()):
        if name.startswith(_CONSTRAINT):
            yield "check", name.removeprefix(_CONSTRAINT), text


def _invariants(fields: list[Any]) -> Iterator[tuple[str, str, str]]:
    for item in fields:
        stated = (item.get("metadata") or {}).get(_INVARIANT)
        if stated is not None:
            yield "invariant", item["name"], _invariant_text(stated)


def _invariant_text(stated: object) -> str:
    """The expression within `{"expression": {"expression": …}}`; as it stands where it has another form."""
    try:
        return str(json.loads(str(stated))["expression"]["expression"])
    except (ValueError, KeyError, TypeError):
        return str(stated)


def _deep_rules(fields: list[Any]) -> list[str]:
    """Expressions on parts of nested columns, which Spark does not make."""
    found = []
    for item in fields:
        for path, part in parts_within(item):
            metadata = part.get("metadata") or {}
            if not metadata.keys().isdisjoint((_INVARIANT, _GENERATED, _DEFAULT)):
                found.append(f"a rule within a nested column ({path})")
    return found


def _unproved(item: Mapping[str, Any]) -> str | None:
    """Why Spark does not compare what stands in a column, or in a part of it, as it stands there."""
    parts = [item, *(part for _, part in parts_within(item))]
    metadata = [part.get("metadata") or {} for part in parts]
    declared = [str(one.get(_DECLARED, "")).lower() for one in metadata]
    if any("char(" in text.replace("varchar(", "") for text in declared):
        return "which is a char(n): Spark pads it when it reads"
    if any(_COLLATIONS in one for one in metadata):
        return "which has a collation"
    return None


def parts_within(item: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The fields of structs within a field of a Delta schema, at every depth, with their paths."""
    pending = [(str(item["name"]), item["type"])]
    while pending:
        path, described = pending.pop()
        if not isinstance(described, Mapping):
            continue
        for field in described.get("fields", ()):
            inner = f"{path}.{field['name']}"
            yield inner, field
            pending.append((inner, field["type"]))
        inner_types = ("elementType", "keyType", "valueType")
        pending += [(path, described[place]) for place in inner_types if place in described]
