"""Merges through delta-rs, for tables with features that our own writer lacks.

delta-rs checks constraints and generated columns and writes mapped columns. The same discipline holds: a
strict compare-and-swap on the snapshot's version, the transaction marker in the commit, and a literal
predicate on the keys, without which delta-rs would read every file.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import deltalake
import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from deltalake.exceptions import CommitFailedError, DeltaError

from merging.delta.reading import run_arrow
from merging.delta.schema import column_sql, duckdb_type, literal, quote
from merging.delta.snapshot import Snapshot
from merging.errors import MergeFailed, UnsupportedTable, VersionMoved

OPERATION = "__headgate_operation"
_KEEP, _DELETE = 0, 1
_IN_LIST_LIMIT = 500
_UNSAFE_EXPRESSION = re.compile(
    r"\b(select|from|with|values|attach|copy|pragma|install|load|set)\b|;|--|/\*", re.I
)


@dataclass(frozen=True)
class ForeignMerge:
    """What delta-rs is given: source rows with an operation column, and a predicate with literals."""

    source: pa.Table
    predicate: str
    schema_changes: bool


def prepare_foreign(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    schema: pa.Schema,
    added: str | None,
    deleted: str | None,
    key_columns: tuple[str, ...],
) -> ForeignMerge:
    """Collect the rows of a merge for delta-rs; writes nothing.

    Raises UnsupportedTable for a column name or generation expression that cannot be handed over safely.
    """
    if not key_columns:
        raise ValueError("RowChanges.key_columns is needed for tables that are written through delta-rs")
    if any("`" in name for name in schema.names):
        raise UnsupportedTable(
            ["a back-tick in a column name, with " + ", ".join(snapshot.requirements.foreign)]
        )
    generated = _generation_expressions(snapshot)
    parts = []
    if added is not None:
        inner = f"SELECT {_casts(schema, schema.names)} FROM {added}"
        if generated:
            replaced = ", ".join(
                f"CAST(({expression}) AS {duckdb_type(schema.field(name).type)}) AS {quote(name)}"
                for name, expression in generated.items()
            )
            inner = f"SELECT * REPLACE ({replaced}) FROM ({inner})"
        parts.append(f"SELECT *, {_KEEP}::TINYINT AS {OPERATION} FROM ({inner})")
    if deleted is not None:
        keys = ", ".join(
            f"CAST({column_sql(name) if name in key_columns else 'NULL'} AS {duckdb_type(schema.field(name).type)}) "
            f"AS {quote(name)}"
            for name in schema.names
        )
        parts.append(f"SELECT {keys}, {_DELETE}::TINYINT AS {OPERATION} FROM {deleted}")
    target = schema.append(pa.field(OPERATION, pa.int8()))
    if not parts:
        return ForeignMerge(target.empty_table(), "false", False)
    try:
        source = run_arrow(connection, " UNION ALL ".join(parts))
    except duckdb.Error as error:
        if generated:
            raise UnsupportedTable(
                [f"generated column {name} ({expression})" for name, expression in generated.items()]
            ) from error
        raise
    nullable = pa.schema([field.with_nullable(True) for field in target])
    return ForeignMerge(
        source.cast(nullable), _predicate(source, key_columns), not schema.equals(snapshot.schema)
    )


def _casts(schema: pa.Schema, names: list[str]) -> str:
    return ", ".join(
        f"CAST({column_sql(name)} AS {duckdb_type(schema.field(name).type)}) AS {quote(name)}"
        for name in names
    )


def _generation_expressions(snapshot: Snapshot) -> dict[str, str]:
    """Expressions of generated columns; delta-rs computes them for inserts but not for updates."""
    for name, expression in snapshot.generated_columns.items():
        # The text comes out of the table and runs on our machine: only plain scalar expressions.
        if _UNSAFE_EXPRESSION.search(expression):
            raise UnsupportedTable([f"generated column {name} ({expression})"])
    return dict(snapshot.generated_columns)


def _predicate(source: pa.Table, key_columns: tuple[str, ...]) -> str:
    """Equality of the keys, with literals on the target's side so that delta-rs can skip files."""
    conditions = [f"t.{quote(name)} = s.{quote(name)}" for name in key_columns]
    for name in key_columns:
        column = source.column(name)
        distinct = column.unique()
        if not _has_literals(column.type) or len(distinct) == 0:
            continue
        if len(distinct) <= _IN_LIST_LIMIT:
            values = ", ".join(_literal(value, column.type) for value in distinct.to_pylist())
            conditions.append(f"t.{quote(name)} IN ({values})")
        else:
            bounds = pc.min_max(column).as_py()
            low, high = _literal(bounds["min"], column.type), _literal(bounds["max"], column.type)
            conditions.append(f"t.{quote(name)} >= {low} AND t.{quote(name)} <= {high}")
    return " AND ".join(conditions)


def _has_literals(data_type: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(data_type) or pa.types.is_string(data_type) or pa.types.is_date(data_type)
    )


def _literal(value: Any, data_type: pa.DataType) -> str:
    if pa.types.is_integer(data_type):
        return str(int(value))
    if pa.types.is_date(data_type):
        return f"CAST({literal(value.isoformat())} AS DATE)"
    return literal(str(value))


def commit_foreign(
    snapshot: Snapshot,
    merge: ForeignMerge,
    *,
    application_id: str,
    generation: int,
    commit_info: Mapping[str, Any],
) -> None:
    """Run the merge on exactly the snapshot's version.

    Raises VersionMoved when somebody else committed first, MergeFailed for everything else (a constraint that
    a row breaks included); the caller looks for its marker before it believes either.
    """
    marker = deltalake.Transaction(application_id, generation, int(time.time() * 1000))
    metadata = {name: value for name, value in commit_info.items() if name not in _DELTA_RS_WRITES}
    properties = deltalake.CommitProperties(
        custom_metadata=metadata, max_commit_retries=0, app_transactions=[marker]
    )
    options = dict(snapshot.storage_options) if snapshot.storage_options else None
    try:
        table = deltalake.DeltaTable(snapshot.uri, version=snapshot.version, storage_options=options)
        (
            table.merge(
                merge.source,
                merge.predicate,
                source_alias="s",
                target_alias="t",
                merge_schema=merge.schema_changes,
                commit_properties=properties,
                post_commithook_properties=deltalake.PostCommitHookProperties(
                    create_checkpoint=False, cleanup_expired_logs=False
                ),
            )
            .when_matched_delete(predicate=f"s.{OPERATION} = {_DELETE}")
            .when_matched_update_all(predicate=f"s.{OPERATION} = {_KEEP}", except_cols=[OPERATION])
            .when_not_matched_insert_all(predicate=f"s.{OPERATION} = {_KEEP}", except_cols=[OPERATION])
            .execute()
        )
    except CommitFailedError as error:
        raise VersionMoved(
            f"Version {snapshot.version + 1} of {snapshot.uri} was committed by somebody else.",
            data={"table_uri": snapshot.uri, "version": snapshot.version + 1},
        ) from error
    except DeltaError as error:
        broken = "failed validation check" in str(error)
        raise MergeFailed(
            f"The merge breaks a constraint of the table ({_rules(snapshot)}): {error}"
            if broken
            else f"delta-rs could not merge into {snapshot.uri}: {error}",
            data={"table_uri": snapshot.uri, "breaks_constraint": broken},
        ) from error


_DELTA_RS_WRITES = frozenset(
    {"operation", "operationMetrics", "operationParameters", "timestamp", "engineInfo"}
)


def _rules(snapshot: Snapshot) -> str:
    rules = [f"{name}: {expression}" for name, expression in snapshot.constraints.items()]
    return "; ".join(rules) or ", ".join(snapshot.requirements.foreign)
