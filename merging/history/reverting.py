"""Reverts: the reverse of a merged request from its stored images, as new staged content.

The content merges three-way like any other: what was edited after the merge conflicts instead of being lost. No old
version of the table is read, so VACUUM cannot take a revert away.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from merging.delta import open_snapshot
from merging.delta.keys import check_key_columns
from merging.delta.schema import delta_schema
from merging.errors import StagedCorrupt, TableChanged
from merging.executing.artefacts import FORMAT_VERSION, IMAGES, SUMMARY
from merging.model import Operation
from merging.sql.equality import differs, digest_of, fingerprint
from merging.sql.quoting import literal
from merging.sql.session import Session, session
from merging.staging.pinning import write_base_files
from merging.staging.staged import ROWS, Staged, column_ids, new_content, open_staged, write_manifest
from merging.store.publishing import file_facts, flush_file


def invert(
    table_uri: str,
    artefacts: str,
    primary_keys: Sequence[str],
    destination: str | None = None,
    *,
    storage_options: Mapping[str, str] | None = None,
) -> Staged:
    """Stage the reverse of a merge from its artefacts folder.

    Its base is what the merge left, its proposal what was there before: added rows are deleted, deleted rows are added,
    changed cells get their old values. Columns that the merge added stay.
    Raises StagedCorrupt when the artefacts are missing or damaged, TableChanged when the table was created anew.
    """
    summary = _read_summary(Path(artefacts.removeprefix("file://")))
    snapshot = open_snapshot(table_uri, storage_options=storage_options)
    if snapshot.table_id != summary["table_id"]:
        raise TableChanged(
            "The table was dropped and created anew since the merge; there is nothing to revert in it.",
            data={"merged_table_id": summary["table_id"], "table_id": snapshot.table_id},
        )
    keys = tuple(primary_keys)
    if set(keys) != set(summary["primary_keys"]):
        raise TableChanged(
            f"The merge used the key columns {', '.join(summary['primary_keys'])}.",
            data={"primary_keys": list(keys)},
        )
    keys = tuple(summary["primary_keys"])
    schema_json = json.dumps({"type": "struct", "fields": summary["fields"]})
    schema = delta_schema(schema_json)
    check_key_columns(schema, list(keys), snapshot.rules.compared_otherwise)
    with new_content(destination, table_uri) as folder:
        with session() as opened:
            opened.expect_columns(len(schema))
            staged = _reverse(
                opened, Path(artefacts.removeprefix("file://")) / IMAGES, folder.path, schema, keys, summary
            )
        ids = column_ids(snapshot.schema_json)
        staged = replace(staged, location=str(folder.final), table_uri=table_uri, column_ids=ids)
        write_manifest(folder.path, staged, _with_ids(schema_json, snapshot.schema_json))
    return open_staged(str(folder.final))


def _with_ids(schema_json: str, current_json: str) -> str:
    """The fields with the metadata (column mapping ids) that they have in the table."""
    known = {field["name"]: field.get("metadata", {}) for field in json.loads(current_json)["fields"]}
    root = json.loads(schema_json)
    for field in root["fields"]:
        field["metadata"] = known.get(field["name"], {})
    return json.dumps(root)


def _read_summary(folder: Path) -> dict[str, Any]:
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StagedCorrupt(f"The artefacts of the merge at {folder} are missing or damaged.") from error
    if not isinstance(summary, dict) or summary.get("format") != FORMAT_VERSION:
        raise StagedCorrupt(f"The artefacts at {folder} have a format that is not known.")
    facts = summary["files"][IMAGES]
    path = folder / IMAGES
    if not path.is_file():
        raise StagedCorrupt(f"The artefacts at {folder} lack {IMAGES}.")
    if file_facts(path) != facts:
        raise StagedCorrupt(f"{IMAGES} at {folder} is truncated or was changed after the merge.")
    return summary


def _reverse(
    opened: Session,
    images: Path,
    folder: Path,
    schema: pa.Schema,
    keys: tuple[str, ...],
    summary: Mapping[str, Any],
) -> Staged:
    """Write the reversed rows: what the merge left is the base, what was before it is proposed."""
    # Columns that the merge added had no value before: nothing is proposed for them.
    values = [
        position
        for position, field in enumerate(schema)
        if field.name not in keys and field.name not in summary["added_columns"]
    ]
    bases = [position for position, field in enumerate(schema) if field.name not in keys]
    effect = "CASE op WHEN 'insert' THEN 'delete' WHEN 'delete' THEN 'insert' ELSE 'update' END"
    columns = ["row_number() OVER () - 1 AS n", f"{effect} AS op", "NULL::SMALLINT[] AS absent"]
    # Nobody noted where the merge put the rows: they are found by their keys.
    columns += ["NULL::INTEGER AS base_file", "NULL::BIGINT AS base_row"]
    columns += [f"k{place}" for place in range(len(keys))]
    columns += [f"a{position} AS b{position}" for position in bases]
    columns += [f"b{position} AS p{position}" for position in values]
    ordered = ", ".join(f"k{place}" for place in range(len(keys)))
    source = f"(SELECT * FROM read_parquet({literal(str(images))}) ORDER BY {ordered})"
    opened.execute(f"CREATE TEMP TABLE reversed AS SELECT {', '.join(columns)} FROM {source}")
    # An update whose only changes were values of added columns has nothing to reverse.
    changes = " OR ".join(
        differs(f"b{position}", f"p{position}", schema.field(position).type) for position in values
    )
    opened.execute(f"DELETE FROM reversed WHERE op = 'update' AND NOT ({changes or 'false'})")
    opened.execute(
        f"COPY (SELECT row_number() OVER (ORDER BY n) - 1 AS n, * EXCLUDE (n), NULL::BIGINT AS rekeyed "
        f"FROM reversed ORDER BY n) TO {literal(str(folder / ROWS))} (FORMAT parquet, COMPRESSION zstd)"
    )
    flush_file(folder / ROWS)
    write_base_files(folder, ())
    inserts, updates, deletes = opened.row(
        "SELECT count(*) FILTER (op = 'insert'), count(*) FILTER (op = 'update'), count(*) FILTER (op = 'delete') "
        "FROM reversed"
    )
    counts: dict[Operation, int] = {"insert": inserts, "update": updates, "delete": deletes}
    cells = {}
    for position in values:
        changed = differs(f"b{position}", f"p{position}", schema.field(position).type)
        number = opened.number(f"SELECT count(*) FROM reversed WHERE op = 'update' AND {changed}")
        if number:
            cells[schema.names[position]] = number
    return Staged(
        location=str(folder),
        digest=_digest(opened, schema, keys, bases, values),
        base_version=int(summary["version"]),
        table_id=summary["table_id"],
        table_uri="",
        primary_keys=keys,
        schema=schema,
        base_column_count=len(schema),
        columns=tuple(
            schema.names[position]
            for position in range(len(schema))
            if position not in set(bases) - set(values)
        ),
        new_columns=(),
        counts=counts,
        cells_updated=cells,
        noop_rows=0,
        duplicate_rows=0,
        rekeyed_rows=0,
        has_absent=False,
        warnings=(),
        column_ids={},
    )


def _digest(
    opened: Session, schema: pa.Schema, keys: tuple[str, ...], bases: Sequence[int], values: Sequence[int]
) -> str:
    parts = ["op"]
    parts += [fingerprint(f"k{place}", schema.field(name).type) for place, name in enumerate(keys)]
    parts += [fingerprint(f"b{position}", schema.field(position).type) for position in bases]
    parts += [fingerprint(f"p{position}", schema.field(position).type) for position in values]
    overall = hashlib.sha256(b"reverse")
    for (digest,) in opened.connection.execute(
        f"SELECT {digest_of(parts)} FROM reversed ORDER BY n"
    ).fetchall():
        overall.update(digest.encode())
    return overall.hexdigest()
