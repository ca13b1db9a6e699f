"""One row through the stored images of many merges: what each of them did to it. No table is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merging.errors import InvalidKeys, StagedCorrupt
from merging.executing.artefacts import IMAGES
from merging.history.diffs import changed_row, summary_of
from merging.model import ChangedRow
from merging.sql.parsing import Refused, cell_value
from merging.sql.quoting import literal
from merging.sql.session import session, tuples
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
            keys: list[str] = summary["primary_keys"]
            conditions = []
            for place, name in enumerate(keys):
                kind = schema.field(name).type
                try:
                    value = cell_value(key[name], kind)
                except (KeyError, Refused) as error:
                    raise InvalidKeys(
                        f"{dict(key)} is no key: a key has a value for each of {', '.join(keys)}.",
                        data={"key_columns": keys},
                    ) from error
                conditions.append(f"k{place} = {sql_form(value, kind)}")
            query = f"SELECT * FROM read_parquet({literal(str(folder / IMAGES))}) WHERE {' AND '.join(conditions)}"
            found = opened.table(query)
            positions = [position for position, field in enumerate(schema) if field.name not in keys]
            rows = [
                changed_row(dict(zip(found.column_names, images, strict=True)), schema, keys, positions)
                for images in tuples(found)
            ]
            yield TracedRow(location, rows[0] if rows else None)
