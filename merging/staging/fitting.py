"""What must be right between the content and its base: operations, values where the table wants some, its rules."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from merging.delta import Snapshot
from merging.sql.equality import differs
from merging.sql.quoting import any_of
from merging.sql.types import is_text
from merging.staging.comparison import Comparison, rounded
from merging.staging.loading import is_readable
from merging.staging.mapping import Columns
from merging.staging.sources import Source
from merging.staging.workbench import Fault, Inspection


def check_fit(paired: Inspection, snapshot: Snapshot, comparison: Comparison, source: Source) -> None:
    """List every row that the base version cannot take."""
    columns = paired.columns
    faults = [
        *_presence(),
        *rounded(columns, source, comparison),
        *_computed(columns, snapshot, comparison),
        *_numbered(columns, snapshot, comparison),
        *_values_given(columns, snapshot, comparison),
        *_column_rules(columns, comparison),
        *(_append_only() if snapshot.append_only else ()),
        *_partitions(columns, snapshot),
    ]
    paired.refuse(faults)


def _presence() -> Iterator[Fault]:
    yield Fault(
        "key_exists",
        "op = 'insert' AND changed",
        "the table already has a row with the key {key}: write update (or upsert) to change it.",
    )
    yield Fault(
        "key_absent",
        "op = 'update' AND NOT in_base",
        "there is no row with the key {key} in the table to update: write insert (or upsert) to add it.",
    )
    yield Fault(
        "key_absent",
        "op = 'delete' AND NOT in_base",
        "there is no row with the key {key} in the table to delete.",
    )


def _computed(columns: Columns, snapshot: Snapshot, comparison: Comparison) -> Iterator[Fault]:
    """Values of columns that the table computes are those that follow from their rows, or stay as they were."""
    for column in columns.computed:
        expression = snapshot.rules.generated[column.name]
        proposed = functools.partial(_proposed, snapshot, comparison)
        doubtful = [expression.doubtful(proposed)]
        doubtful += [
            f"effect = 'insert' AND {proposed(name)} IS NULL"
            for name in expression.columns
            if name in snapshot.rules.identities
        ]
        other = differs(column.cell, expression.sql(proposed), column.type)
        said = (
            f"(effect = 'insert' AND {column.cell} IS NOT NULL "
            f"OR effect = 'update' AND {comparison.changed(column)})"
        )
        yield Fault(
            "generated_column",
            f"{said} AND {comparison.given(column)} AND {is_readable(column)} "
            f"AND CASE WHEN {any_of(doubtful)} THEN false ELSE {other} END",
            f"the table computes this column ({expression.text}), and in the row with the key {{key}} that is another "
            "value; leave it out, or write what follows from the row.",
            column.name,
        )


def _proposed(snapshot: Snapshot, comparison: Comparison, name: str) -> str:
    """SQL of what a row has in a column of the table once it is merged into its base."""
    columns = comparison.columns
    given = {column.name: column for column in columns.inputs if not column.computed}
    default = snapshot.rules.defaults.get(name)
    filled = f"WHEN effect = 'insert' THEN {default.sql(str)} " if default is not None else ""
    column = given.get(name)
    if column is None:
        base = f"b{columns.schema.names.index(name)}"
        return f"CASE {filled}ELSE {base} END" if filled else base
    if name in columns.keys:
        return column.cell
    kept = f"WHEN {comparison.keeps_base(column)} THEN {column.base} "
    silent = filled.replace("'insert'", f"'insert' AND {comparison.silent(column)}")
    return f"CASE {kept}{silent}ELSE {column.cell} END"


def _numbered(columns: Columns, snapshot: Snapshot, comparison: Comparison) -> Iterator[Fault]:
    """A number that the table gave stays with its row; a new row brings one only where the table lets it."""
    for column in columns.inputs:
        identity = snapshot.rules.identities.get(column.name)
        if identity is None:
            continue
        is_key = column.name in columns.keys
        if not identity.takes_values:
            yield Fault(
                "identity_column",
                f"effect = 'insert' AND {column.cell} IS NOT NULL",
                f"the table numbers its rows itself ({identity.words}); "
                + (
                    "a new row (key {key}) cannot bring a key of its own."
                    if is_key
                    else "leave the cell of the new row (key {key}) empty."
                ),
                column.name,
            )
        if not is_key:
            yield Fault(
                "identity_column",
                f"effect = 'update' AND {comparison.changed(column)} AND {is_readable(column)}",
                f"the table numbered the row with the key {{key}} ({identity.words}), and nobody gives it another "
                "number; leave the value as it is, or the column out.",
                column.name,
            )


def _values_given(columns: Columns, snapshot: Snapshot, comparison: Comparison) -> Iterator[Fault]:
    """Columns that take no NULL have a value."""
    given = {column.name: column for column in columns.inputs}
    for field in snapshot.schema:
        if field.nullable or field.name in columns.keys or field.name in snapshot.generated_columns:
            continue
        column, is_filled = given.get(field.name), field.name in snapshot.filled_columns
        if field.name in snapshot.rules.identities or (column is None and is_filled):
            continue
        if column is None:
            yield Fault(
                "missing_value",
                "effect = 'insert'",
                f"a new row (key {{key}}) needs a value for {field.name}, which takes no NULL, "
                "but the content lacks the column.",
                field.name,
            )
            continue
        yield Fault(
            "missing_value",
            "false" if is_filled else f"effect = 'insert' AND NOT {comparison.given(column)}",
            f"the new row (key {{key}}) lacks a value for {field.name}, which takes no NULL.",
            field.name,
        )
        yield Fault(
            "null_not_allowed",
            f"effect <> 'delete' AND {comparison.given(column)} AND {column.cell} IS NULL AND {is_readable(column)}",
            f"{field.name} takes no NULL; give a value (key {{key}}).",
            field.name,
        )


def _column_rules(columns: Columns, comparison: Comparison) -> Iterator[Fault]:
    """What the schema asks of values inside columns; cells that the row leaves as they are are not judged."""
    for column in (one for one in columns.inputs if not one.computed):
        for rule in column.rules.rules:
            changed = "false" if column.name in columns.keys else comparison.changed(column)
            yield Fault(
                "null_not_allowed" if rule.limit is None else "text_too_long",
                f"effect <> 'delete' AND (effect = 'insert' OR {changed}) AND {rule.broken_by(column.cell)}",
                f"{rule.place} {rule.demand} (key {{key}}).",
                column.name,
            )


def _append_only() -> Iterator[Fault]:
    rule = "the table is append-only (delta.appendOnly)"
    yield Fault(
        "append_only",
        "effect = 'update' AND changed AND op <> 'insert'",
        f"{rule}: rows can be added, and the row with the key {{key}} cannot be changed; leave it out.",
    )
    yield Fault(
        "append_only",
        "effect = 'delete' AND in_base",
        f"{rule}: rows can be added, and the row with the key {{key}} cannot be deleted; leave it out.",
    )


def _partitions(columns: Columns, snapshot: Snapshot) -> Iterator[Fault]:
    """Delta stores an empty text of a partition column as NULL (PROTOCOL.md, "Partition Value Serialization"). A row to
    which delta-rs gave one all the same may keep it."""
    for column in columns.inputs:
        if column.name in snapshot.partition_columns and is_text(column.type):
            has_it = "in_base" if column.name in columns.keys else f"{column.base} IS NOT DISTINCT FROM ''"
            yield Fault(
                "empty_partition_value",
                f"effect <> 'delete' AND {column.cell} = '' AND NOT {has_it}",
                f"{column.name} partitions the table, and an empty text cannot be told from NULL there (key "
                "{key}); give a value or NULL.",
                column.name,
            )
