"""Rows through the stored images of many merges: what each of them did to them. No table is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from merging.errors import InvalidKeys, StagedCorrupt
from merging.executing.artefacts import IMAGES, images_sql
from merging.history.diffs import changed_row, summary_of
from merging.model import ChangedRow
from merging.sql.parsing import Refused, cell_value
from merging.sql.quoting import literal
from merging.sql.session import Session, session, tuples
from merging.sql.values import sql_form


@dataclass(frozen=True)
class TracedRow:
    """What one merge did to the row: ``row`` has its images before (``current``) and after (``merged``), None where
    the merge left it alone. ``problem`` says why the merge's images could not be read.
    """

    artefacts: str
    row: ChangedRow | None = None
    problem: str = ""


def trace_row(artefacts: Iterable[str], key: Mapping[str, Any]) -> Iterator[TracedRow]:
    """Look the key up in each artefacts folder, in the order given.

    Cost: the footer of each folder's images, and the row groups that can hold the key (rows stand in key order).
    ``key`` holds values of the key columns' types, or text for them. Raises InvalidKeys where it does not fit.
    """
    with session() as opened:
        for location in artefacts:
            folder = Path(location)
            try:
                summary, schema = summary_of(folder)
            except StagedCorrupt as error:
                yield TracedRow(location, problem=error.message)
                continue
            rows = _rows_of(opened, folder, summary, schema, [key])
            yield TracedRow(location, rows[0] if rows else None)


def trace_rows(
    artefacts: Sequence[str], keys: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, list[ChangedRow]]]:
    """The artefacts folders of merges that changed rows of these keys, in the order given, with what they did to them.
    Those whose images cannot be read are left out.

    Cost: for all folders together the key columns in the row groups that can hold the keys, then those that do.
    """
    if not artefacts or not keys:
        return
    with session() as opened:
        for location in _touching(opened, artefacts, keys):
            folder = Path(location)
            with suppress(StagedCorrupt):
                summary, schema = summary_of(folder)
                yield location, _rows_of(opened, folder, summary, schema, keys)


def _touching(opened: Session, artefacts: Sequence[str], keys: Sequence[Mapping[str, Any]]) -> list[str]:
    """Those of the folders whose images have one of the keys; all of them where that cannot be asked at once."""
    images = {str(Path(location) / IMAGES): location for location in artefacts}
    there = {path: location for path, location in images.items() if Path(path).is_file()}
    try:
        summary, schema = summary_of(Path(next(iter(there.values()))))
        condition = _any_key(summary["primary_keys"], schema, keys)
        files = ", ".join(map(literal, there))
        found = opened.connection.execute(
            f"SELECT DISTINCT filename FROM read_parquet([{files}], filename = true, union_by_name = true) "
            f"WHERE {condition}"
        ).fetchall()
    except StopIteration:
        return []
    except (StagedCorrupt, duckdb.Error):
        return list(there.values())
    touching = {path for (path,) in found}
    return [location for path, location in there.items() if path in touching]


def _rows_of(
    opened: Session,
    folder: Path,
    summary: Mapping[str, Any],
    schema: pa.Schema,
    asked: Sequence[Mapping[str, Any]],
) -> list[ChangedRow]:
    keys = summary["primary_keys"]
    query = f"SELECT * FROM {images_sql(folder, summary)} WHERE {_any_key(keys, schema, asked)}"
    found = opened.table(query)
    positions = [position for position, field in enumerate(schema) if field.name not in keys]
    return [
        changed_row(dict(zip(found.column_names, images, strict=True)), schema, keys, positions)
        for images in tuples(found)
    ]


def _any_key(keys: Sequence[str], schema: pa.Schema, asked: Sequence[Mapping[str, Any]]) -> str:
    """SQL: the row has one of these keys. Raises InvalidKeys."""
    conditions = []
    for key in asked:
        parts = []
        for place, name in enumerate(keys):
            kind = schema.field(name).type
            try:
                value = cell_value(key[name], kind)
            except (KeyError, Refused) as error:
                raise InvalidKeys(
                    f"{dict(key)} is no key: a key has a value for each of {', '.join(keys)}.",
                    data={"key_columns": list(keys)},
                ) from error
            parts.append(f"k{place} = {sql_form(value, kind)}")
        conditions.append(f"({' AND '.join(parts)})")
    return f"({' OR '.join(conditions)})"
