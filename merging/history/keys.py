"""Which merges changed a row, and which staged contents change rows that merges changed: by their keys alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from merging.errors import StagedCorrupt
from merging.executing.artefacts import IMAGES
from merging.history.diffs import summary_of
from merging.sql.bloom import make_filter, passing
from merging.sql.quoting import literal
from merging.sql.session import Session, session
from merging.staging.staged import ROWS

Name = TypeVar("Name")


def key_filters(artefacts: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
    """The filter of the keys that each merge changed, for callers to keep; None where its images cannot be read.

    Cost: reading the images' key columns, and about a microsecond a key.
    """
    opened: Session | None = None
    with ExitStack() as stack:
        for location in artefacts:
            folder = Path(location)
            opened = opened or stack.enter_context(session())
            try:
                yield location, _filter_of_images(opened, folder)
            except StagedCorrupt:
                yield location, None


def _filter_of_images(opened: Session, folder: Path) -> bytes:
    summary, schema = summary_of(folder)
    types = {name: schema.field(name).type for name in summary["primary_keys"]}
    return make_filter(opened, f"read_parquet({literal(str(folder / IMAGES))})", types)


def merges_that_may_hold(filters: Iterable[tuple[Name, bytes]], key: Mapping[str, Any]) -> list[Name]:
    """The names of the merges whose filters let the key pass, in the order given: all that changed the row, and about
    one in a hundred of the others.

    ``key`` holds values of the key columns' types, or text for them. Raises InvalidKeys where one has no value.
    """
    with session() as opened:
        return list(passing(opened, filters, key))


def contents_touched(contents: Mapping[Name, str], artefacts: Iterable[str]) -> set[Name]:
    """The names of the staged contents (by their locations) that are for a row which one of the merges changed.

    Reads nothing but key columns. Where they cannot be read or compared, every content counts as touched.
    """
    images = [str(Path(location) / IMAGES) for location in artefacts]
    rows = {name: str(Path(location) / ROWS) for name, location in contents.items()}
    if not images:
        return set()
    with session() as opened:
        try:
            changed = f"read_parquet([{', '.join(map(literal, images))}])"
            described = opened.rows(f"DESCRIBE SELECT COLUMNS('^k[0-9]+$') FROM {changed}")
            keys = [one["column_name"] for one in described]
            opened.execute(f"CREATE TEMP TABLE changed AS SELECT {', '.join(keys)} FROM {changed}")
            on = " AND ".join(f"s.{key} IS NOT DISTINCT FROM c.{key}" for key in keys)
            return {
                name
                for name, path in rows.items()
                if opened.number(
                    f"SELECT count(*) FROM (SELECT 1 FROM read_parquet({literal(path)}) s SEMI JOIN changed c ON {on} "
                    "LIMIT 1)"
                )
            }
        except duckdb.Error:
            return set(contents)
