"""What must be right between the content and its base: operations, values where the table wants some, its rules."""

from __future__ import annotations

from merging.delta import Snapshot
from merging.sql.types import is_text
from merging.staging.comparison import Comparison, check_rounded
from merging.staging.loading import is_readable
from merging.staging.sources import Source
from merging.staging.workbench import Inspection


def check_fit(paired: Inspection, snapshot: Snapshot, comparison: Comparison, source: Source) -> None:
    """List every row that the base version cannot take."""
    _check_presence(paired)
    check_rounded(paired, source, comparison)
    _check_values_given(paired, snapshot, comparison)
    _check_column_rules(paired, comparison)
    if snapshot.append_only:
        _check_append_only(paired)
    _check_partitions(paired, snapshot)


def _check_presence(paired: Inspection) -> None:
    paired.refuse(
        "key_exists",
        "op = 'insert' AND changed",
        "the table already has a row with the key {key}: write update (or upsert) to change it.",
    )
    paired.refuse(
        "key_absent",
        "op = 'update' AND NOT in_base",
        "there is no row with the key {key} in the table to update: write insert (or upsert) to add it.",
    )
    paired.refuse(
        "key_absent",
        "op = 'delete' AND NOT in_base",
        "there is no row with the key {key} in the table to delete.",
    )


def _check_values_given(paired: Inspection, snapshot: Snapshot, comparison: Comparison) -> None:
    """Columns that take no NULL have a value."""
    given = {column.name: column for column in paired.columns.inputs}
    for field in snapshot.schema:
        if field.nullable or field.name in paired.columns.keys or field.name in snapshot.generated_columns:
            continue
        column = given.get(field.name)
        if column is None:
            paired.refuse(
                "missing_value",
                "effect = 'insert'",
                f"a new row (key {{key}}) needs a value for {field.name}, which takes no NULL, "
                "but the content lacks the column.",
                column=field.name,
            )
            continue
        paired.refuse(
            "missing_value",
            f"effect = 'insert' AND NOT {comparison.given(column)}",
            f"the new row (key {{key}}) lacks a value for {field.name}, which takes no NULL.",
            column=field.name,
        )
        paired.refuse(
            "null_not_allowed",
            f"effect <> 'delete' AND {comparison.given(column)} AND {column.cell} IS NULL AND {is_readable(column)}",
            f"{field.name} takes no NULL; give a value (key {{key}}).",
            column=field.name,
        )


def _check_column_rules(paired: Inspection, comparison: Comparison) -> None:
    """What the schema asks of values inside columns; cells that the row leaves as they are are not judged."""
    for column in paired.columns.inputs:
        for rule in column.rules.rules:
            changed = "false" if column.name in paired.columns.keys else comparison.changed(column)
            paired.refuse(
                "null_not_allowed" if rule.limit is None else "text_too_long",
                f"effect <> 'delete' AND (effect = 'insert' OR {changed}) AND {rule.broken_by(column.cell)}",
                f"{rule.place} {rule.demand} (key {{key}}).",
                column=column.name,
            )


def _check_append_only(paired: Inspection) -> None:
    rule = "the table is append-only (delta.appendOnly)"
    paired.refuse(
        "append_only",
        "effect = 'update' AND changed AND op <> 'insert'",
        f"{rule}: rows can be added, and the row with the key {{key}} cannot be changed; leave it out.",
    )
    paired.refuse(
        "append_only",
        "effect = 'delete' AND in_base",
        f"{rule}: rows can be added, and the row with the key {{key}} cannot be deleted; leave it out.",
    )


def _check_partitions(paired: Inspection, snapshot: Snapshot) -> None:
    """Delta stores an empty text of a partition column as NULL (PROTOCOL.md, "Partition Value Serialization")."""
    for column in paired.columns.inputs:
        if column.name in snapshot.partition_columns and is_text(column.type):
            paired.refuse(
                "empty_partition_value",
                f"effect <> 'delete' AND {column.cell} = ''",
                f"{column.name} partitions the table, and an empty text cannot be told from NULL there (key "
                "{key}); give a value or NULL.",
                column=column.name,
            )
