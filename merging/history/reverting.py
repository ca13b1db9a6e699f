"""Reverts: the reverse of a merged request from its stored images, as new staged content.

The content merges three-way like any other: what was edited after the merge conflicts instead of being lost. No old
version of the table is read, so VACUUM cannot take a revert away.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from merging.delta import ActiveFiles, Snapshot, open_snapshot
from merging.delta.fields import STORED_NAME, stored_names
from merging.delta.keys import check_key_columns
from merging.delta.schema import delta_schema
from merging.delta.writing.file_names import attempt_mark
from merging.engines import Keys, TableReader
from merging.errors import StagedCorrupt, TableChanged
from merging.executing.artefacts import IMAGES, KNOWN_FORMATS, SUMMARY, images_sql
from merging.sql.equality import differs
from merging.sql.quoting import any_of, column_sql
from merging.sql.session import Session, session
from merging.staging.layout import Layout, content_digest, count_rows
from merging.staging.pinning import ABSENT, write_base_files
from merging.staging.staged import (
    Staged,
    new_content,
    open_for_pages,
    write_manifest,
    write_rows,
)
from merging.staging.summary import summarize
from merging.store.publishing import file_facts


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
    artefacts_folder = Path(artefacts.removeprefix("file://"))
    summary = _read_summary(artefacts_folder)
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
            staged = _reverse(opened, snapshot, artefacts_folder, folder.path, schema, summary)
        base_json = _as_stored(schema_json, snapshot.schema_json, summary.get("stored_names"))
        names = stored_names(base_json)
        staged = replace(staged, location=str(folder.final), table_uri=table_uri, stored_names=names)
        write_manifest(folder.path, staged, base_json)
    return open_for_pages(str(folder.final))  # written by us just now


def _as_stored(schema_json: str, current_json: str, stored: Mapping[str, str] | None) -> str:
    """The fields of the merge with the metadata that their columns have in the table, whatever they are called now.

    ``stored`` are the names under which files store them; artefacts of before (None) do not tell, and go by name.
    """
    here = stored_names(current_json) if stored is not None else {}
    known = {here.get(field["name"], field["name"]): field for field in json.loads(current_json)["fields"]}
    root = json.loads(schema_json)
    for field in root["fields"]:
        name = (stored or {}).get(field["name"])
        found = known.get(name or field["name"])
        if found is not None:
            field["metadata"] = found.get("metadata") or {}
        elif name is not None:
            field["metadata"] = {STORED_NAME: name}
    return json.dumps(root)


def _read_summary(folder: Path) -> dict[str, Any]:
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StagedCorrupt(f"The artefacts of the merge at {folder} are missing or damaged.") from error
    if not isinstance(summary, dict) or summary.get("format") not in KNOWN_FORMATS:
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
    snapshot: Snapshot,
    artefacts: Path,
    folder: Path,
    schema: pa.Schema,
    summary: Mapping[str, Any],
) -> Staged:
    """Write the reversed rows: what the merge left is the base, what was before it is proposed."""
    layout = _layout(schema, summary)
    images = images_sql(artefacts, summary)
    pins = _pin(opened, snapshot, images, summary)
    rows = write_rows(opened, _reversed_sql(images, pins, layout), folder)
    write_base_files(folder, snapshot.files if pins is not None else ActiveFiles())
    counts = count_rows(opened, rows, layout)
    given = {*layout.keys, *(schema.field(position).name for position in layout.staged)}
    return Staged(
        location=str(folder),
        digest=content_digest(opened, rows, summary["table_id"], layout, counts),
        base_version=int(summary["version"]),
        table_id=summary["table_id"],
        table_uri="",
        primary_keys=layout.keys,
        schema=schema,
        base_column_count=len(schema),
        columns=tuple(name for name in schema.names if name in given),
        new_columns=(),
        counts=counts.operations,
        cells_updated=counts.cells_updated,
        noop_rows=0,
        duplicate_rows=0,
        rekeyed_rows=0,
        has_absent=False,
        warnings=(),
        stored_names={},
        summary=summarize(opened, folder, rows, layout, counts),
    )


def _layout(schema: pa.Schema, summary: Mapping[str, Any]) -> Layout:
    """The reverse gives values for what the merge changed: all columns where deleted rows come back, else those with
    updated cells. Columns that the merge added had no value before: nothing is proposed for them.
    """
    keys = tuple(summary["primary_keys"])
    changed = schema.names if summary["rows_deleted"] else summary["cells_updated"]
    given = set(changed) - {*keys, *summary["added_columns"]}
    staged = tuple(position for position, name in enumerate(schema.names) if name in given)
    return Layout(keys, schema, len(schema), staged)


def _pin(opened: Session, snapshot: Snapshot, images: str, summary: Mapping[str, Any]) -> str | None:
    """A table of where the merge put its rows (file_index, row_number, their keys), found in the files that it wrote.
    None where that cannot be told: the rows are found by their keys then.

    Only of the version that the merge made: of any later one the keys of deleted rows may be back elsewhere, and so
    they may of one that has its number since the table was put back from a backup. What the table computes itself is
    in no image.
    """
    attempt = summary["attempt_id"]
    if snapshot.version != summary["version"] or snapshot.attempt_id != attempt or snapshot.generated_columns:
        return None
    keys = summary["primary_keys"]
    listed = ", ".join(f"k{place} AS {column_sql(name)}" for place, name in enumerate(keys))
    opened.execute(f"CREATE TEMP VIEW left_keys AS SELECT {listed} FROM {images} WHERE op <> 'delete'")
    paths = snapshot.files.column("path").to_pylist()
    written = [index for index, path in enumerate(paths) if attempt_mark(path) == attempt]
    found = TableReader(opened, snapshot).rows_of(Keys("left_keys", keys), keys, written)
    return found.sql if found.number == opened.number("SELECT count(*) FROM left_keys") else None


def _reversed_sql(images: str, pins: str | None, layout: Layout) -> str:
    keys = [f"k{place}" for place in range(len(layout.keys))]
    source, base_file, base_row = f"{images} i", "NULL::INTEGER", "NULL::BIGINT"
    if pins is not None:
        on = " AND ".join(
            f"l.{column_sql(name)} = i.{key}" for name, key in zip(layout.keys, keys, strict=True)
        )
        source = f"{images} i LEFT JOIN {pins} l ON {on}"
        base_file = f"coalesce(l.file_index, {ABSENT})::INTEGER"
        base_row = "l.row_number"
    columns = [
        f"row_number() OVER (ORDER BY {', '.join(keys)}) - 1 AS n",
        "CASE op WHEN 'insert' THEN 'delete' WHEN 'delete' THEN 'insert' ELSE 'update' END AS op",
        "NULL::SMALLINT[] AS absent",
        f"{base_file} AS base_file",
        f"{base_row} AS base_row",
        *keys,
        *(f"a{position} AS b{position}" for position in layout.based),
        *(f"b{position} AS p{position}" for position in layout.staged),
        "NULL::BIGINT AS rekeyed",
    ]
    # An update whose only changes were values of added columns has nothing to reverse.
    types = layout.schema.types
    changes = any_of([differs(f"a{position}", f"b{position}", types[position]) for position in layout.staged])
    return f"SELECT {', '.join(columns)} FROM {source} WHERE i.op <> 'update' OR {changes} ORDER BY n"
