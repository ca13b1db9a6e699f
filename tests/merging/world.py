"""A small table with a base, a current and a proposed state, on every strategy."""

from __future__ import annotations

import dataclasses
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa

import merging
from merging import MergePlan, MergeRequest, MergeResult, Staged
from merging.sql.equality import same_value
from merging.store.stores import TableStore
from tests.merging.sites import Site
from tests.table_copies import create_as_copy

STRATEGIES = ("merge-on-read", "copy-on-write")
Row = dict[str, Any]

T = pa.schema([("id", pa.int64()), ("a", pa.int32()), ("b", pa.string()), ("c", pa.float64())])
B: list[Row] = [
    {"id": 1, "a": 10, "b": "x", "c": 1.5},
    {"id": 2, "a": 20, "b": "y", "c": 2.5},
    {"id": 3, "a": 30, "b": None, "c": None},
]
ABSENT: Any = object()


def arrow(schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)


def with_rows(base: Sequence[Row], *changes: Row, delete: Sequence[Any] = (), key: str = "id") -> list[Row]:
    """A state: ``base`` with changed or added rows laid over it, by key, and some deleted."""
    merged = {row[key]: dict(row) for row in base}
    for change in changes:
        merged[change[key]] = {**merged.get(change[key], {}), **change}
    return [row for value, row in merged.items() if value not in delete]


class World:
    """One table; ``stage`` proposes, ``set_current`` lets somebody else change it, ``merge`` merges.

    It lies at a site, or in a folder where a test is about folders.
    """

    def __init__(
        self,
        site: Site | Path,
        strategy: str,
        schema: pa.Schema = T,
        rows: Sequence[Row] = tuple(B),
        keys: Sequence[str] = ("id",),
        partition_by: Sequence[str] = (),
        change_data_feed: bool = False,
    ) -> None:
        self.site = site if isinstance(site, Site) else Site(site, str(site))
        self.folder = self.site.folder
        self.strategy = strategy
        self.keys = list(keys)
        self.schema = schema
        self.uri = self.site.new_table()
        options = {
            "deletion_vectors": strategy == "merge-on-read",
            "partition_by": list(partition_by),
            "change_data_feed": change_data_feed,
        }
        if self.site.is_local:
            create_as_copy(Path(self.uri), arrow(schema, rows), options)
        else:
            made = self.folder / f"made-{uuid.uuid4().hex}"
            create_as_copy(made, arrow(schema, rows), options)
            self.site.put(made, self.uri)
            shutil.rmtree(made)
        self.base_version = self.version

    @property
    def version(self) -> int:
        return merging.inspect_table(self.uri).version

    @property
    def store(self) -> TableStore:
        """The table's files, wherever they lie."""
        return self.site.store(self.uri)

    def paths(self) -> set[str]:
        """The files of the table and whatever else lies below its address."""
        return {item.path for item in self.store.walk()}

    def rows(self, uri: str | None = None) -> list[Row]:
        """All rows as delta-rs itself reads them, in key order."""
        table = deltalake.DeltaTable(uri or self.uri)
        builder = deltalake.QueryBuilder().register("t", table)
        found = pa.table(builder.execute("select * from t").read_all()).to_pylist()
        return sorted(found, key=lambda row: tuple(str(row[key]) for key in self.keys))

    def set_current(self, rows: Sequence[Row], schema: pa.Schema | None = None) -> None:
        """Somebody else replaces the table's content."""
        deltalake.write_deltalake(
            self.uri,
            arrow(schema or self.schema, rows),
            mode="overwrite",
            schema_mode="overwrite" if schema is not None else None,
        )

    def stage(self, changes: Any, **options: Any) -> Staged:
        if isinstance(changes, list):
            changes = arrow(self._schema_of(changes), changes)
        return merging.stage(
            self.uri,
            changes,
            self.keys,
            options.pop("base_version", self.base_version),
            destination=str(self.folder / "staging"),
            **options,
        )

    def _schema_of(self, rows: Sequence[Row]) -> pa.Schema:
        names = list(dict.fromkeys(name for row in rows for name in row))
        return pa.schema(
            [
                self.schema.field(name) if name in self.schema.names else pa.field(name, pa.string())
                for name in names
            ]
        )

    def file(self, name: str, content: str | bytes) -> Path:
        """A file to upload."""
        path = self.folder / f"{uuid.uuid4().hex}-{name}"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def request(self, staged: Staged | str, cr_id: str = "CR-1", **options: Any) -> MergeRequest:
        options.setdefault("destination", str(self.folder / "artefacts"))
        return MergeRequest(self.uri, cr_id, self.keys, staged, **options)

    def plan(self, staged: Staged, **options: Any) -> MergePlan:
        return merging.plan(self.request(staged, **options))

    def merge(
        self,
        staged: Staged | str,
        cr_id: str = "CR-1",
        progress: Callable[..., None] | None = None,
        **options: Any,
    ) -> MergeResult:
        return merging.merge(self.request(staged, cr_id, **options), progress)


def proposal(
    base: Sequence[Row], proposed: Sequence[Row], schema: pa.Schema, keys: Sequence[str]
) -> pa.Table:
    """The changes between two states as content to stage: changed rows whole, deleted rows by key."""

    def key_of(row: Row) -> tuple[Any, ...]:
        return tuple(row[key] for key in keys)

    before = {key_of(row): row for row in base}
    after = {key_of(row): row for row in proposed}
    rows: list[Row] = [
        {**row, "_op": "upsert"}
        for key, row in after.items()
        if key not in before or not same_value(before[key], row)
    ]
    rows += [{**dict(zip(keys, key, strict=True)), "_op": "delete"} for key in before if key not in after]
    return arrow(schema.append(pa.field("_op", pa.string())), rows)


def same_rows(left: Sequence[Row], right: Sequence[Row], keys: Sequence[str]) -> bool:
    """Equal content in any order; NaN equals NaN."""

    def ordered(rows: Sequence[Row]) -> list[Row]:
        return sorted(rows, key=lambda row: tuple(str(row[key]) for key in keys))

    return len(left) == len(right) and all(
        same_value(dict(one), dict(other)) for one, other in zip(ordered(left), ordered(right), strict=True)
    )


def resolve(
    conflicts: Iterable[merging.Conflict], choice: Any, value: Any = None
) -> list[merging.Resolution]:
    """The same choice for every conflict."""
    return [merging.Resolution(one.key, one.column, choice, value, one.inputs_digest) for one in conflicts]


def replaced(request: MergeRequest, **changes: Any) -> MergeRequest:
    """The request with other fields."""
    return dataclasses.replace(request, **changes)
