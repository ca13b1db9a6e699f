"""Looking at a table: its rows, its schema at a version, its versions.

Each raises ``merging.TableUnreachable``, at once while nobody is to ask the table's store (``datasets.outages``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import merging
from datasets import outages
from datasets.errors import TableReplaced
from datasets.models import Dataset
from datasets.rows import column_types


def preview(
    *,
    dataset: Dataset,
    version: int | None = None,
    order_by: str | None = None,
    descending: bool = False,
    columns: Sequence[str] | None = None,
    filters: Sequence[tuple[str, str, str]] = (),
    after: str | None = None,
    limit: int = 50,
) -> merging.TablePage:
    """One page of the table's rows, in key order unless asked otherwise, on any version that is still there.

    Raises ``merging.VersionGone`` for one whose log or files were cleaned up, and the engine's errors.
    """
    with outages.asking(dataset), naming_gone_versions(dataset, version):
        return merging.preview(
            dataset.table_uri,
            version=version,
            primary_keys=tuple(dataset.primary_keys),
            order_by=order_by,
            descending=descending,
            columns=columns,
            filters=tuple(filters),
            after=after,
            limit=limit,
        )


def stream_rows(
    *,
    dataset: Dataset,
    version: int | None = None,
    order_by: str | None = None,
    descending: bool = False,
    columns: Sequence[str] | None = None,
    filters: Sequence[tuple[str, str, str]] = (),
) -> merging.RowStream:
    """All rows that ``preview`` would show page by page, to be closed by the caller; in the order of the table's files
    unless asked otherwise. Raises as ``preview`` does.
    """
    with outages.asking(dataset), naming_gone_versions(dataset, version):
        return merging.stream_rows(
            dataset.table_uri,
            version=version,
            primary_keys=tuple(dataset.primary_keys),
            order_by=order_by,
            descending=descending,
            columns=columns,
            filters=tuple(filters),
        )


def compare_versions(*, dataset: Dataset, before: int, after: int) -> merging.Differences:
    """What differs between two versions of the table, in either order, to be closed by the caller.

    Raises ``merging.VersionGone``, ``merging.TableChanged`` and the engine's errors.
    """
    with outages.asking(dataset), naming_gone_versions(dataset, min(before, after)):
        return merging.compare_versions(
            dataset.table_uri, primary_keys=tuple(dataset.primary_keys), before=before, after=after
        )


def sizes(*, dataset: Dataset, first: int, last: int) -> tuple[merging.VersionSize, ...]:
    """How many rows and bytes the table had in each version from one to another; nothing where its log does not
    tell.
    """
    with outages.asking(dataset):
        return merging.sizes(dataset.table_uri, first=first, last=last)


def newest_version(dataset: Dataset) -> int:
    """The newest version of the table, from its log."""
    with outages.asking(dataset):
        return merging.inspect_table(dataset.table_uri).version


@contextmanager
def naming_gone_versions(dataset: Dataset, version: int | None) -> Iterator[None]:
    """Say of a file that is gone that its version is."""
    try:
        yield
    except merging.FileMissing as error:
        if version is None or version >= dataset.meta.delta_version:
            raise
        raise merging.VersionGone(
            f"Version {version} of {dataset.name} cannot be shown any more: its files were cleaned up (VACUUM). The "
            f"newest is {dataset.meta.delta_version}."
        ) from error


def table_at(*, dataset: Dataset, version: int | None = None) -> merging.TableInfo:
    """Schema, counts and properties of the table at a version, from its log."""
    with outages.asking(dataset):
        info = merging.inspect_table(dataset.table_uri, version=version)
    if info.table_id != dataset.meta.table_id:
        raise TableReplaced(f"The table at {dataset.table_uri} is not the one that was registered.")
    return info


@dataclass(frozen=True)
class KnownTable:
    """A table as the database remembers it, for those who else are told what its log says; what the database does not
    keep is None. Of nested columns ``type`` is the kind alone.
    """

    table_id: str
    version: int
    columns: tuple[merging.Column, ...]
    partition_columns: tuple[str, ...]
    row_count: int | None
    size_bytes: int
    file_count: int
    strategy: str
    timestamp: datetime | None
    features: None = None
    constraints: None = None
    properties: None = None
    warnings: tuple[str, ...] = ()


def known_table(dataset: Dataset) -> KnownTable:
    """What the database remembers of the table."""
    meta = dataset.meta
    types = column_types(meta.schema_json)
    return KnownTable(
        table_id=meta.table_id,
        version=meta.delta_version,
        columns=tuple(
            merging.Column(
                name=field["name"],
                type=types[field["name"]],
                nullable=field.get("nullable", True),
                comment=(field.get("metadata") or {}).get("comment", ""),
            )
            for field in meta.schema_json["fields"]
        ),
        partition_columns=tuple(meta.partition_columns),
        row_count=meta.row_count,
        size_bytes=meta.size_bytes,
        file_count=meta.file_count,
        strategy=meta.strategy,
        timestamp=meta.version_timestamp,
    )


def history(
    *, dataset: Dataset, limit: int = 50, before: int | None = None
) -> tuple[merging.TableVersion, ...]:
    """The table's versions, newest first: which change request or which foreign job wrote each."""
    with outages.asking(dataset):
        return merging.history(dataset.table_uri, limit=limit, before=before)
