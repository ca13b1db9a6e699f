"""The actions of a log as values (PROTOCOL.md, "Actions"): the one place where what others wrote is typed.

What only helps (statistics, tags, commitInfo, times) is left out where it is damaged: a table must not end over it.
The rest raises `Damaged`.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from merging.delta.damage import (
    Damaged,
    fields_of,
    number_of,
    optional_moment,
    optional_number,
    pairs_of,
    text_of,
    texts_of,
    whole_json,
)
from merging.delta.vectors import VectorDescriptor

# More rows than this no file can hold; a larger number is damage.
_MOST_RECORDS = 2**53


class _LoggedFile:
    """What files that the log adds and removes have in common."""

    __slots__ = ()

    logged_path: str
    vector: VectorDescriptor | None

    @property
    def path(self) -> str:
        """The path in the store, relative to the table's root, or absolute."""
        return urllib.parse.unquote(self.logged_path)

    @property
    def identity(self) -> tuple[str, str | None]:
        """What the log knows the file by: path and vector."""
        return self.logged_path, self.vector.unique_id if self.vector else None

    @property
    def places(self) -> tuple[str, ...]:
        """The paths of its bytes: its own, and that of its vector where that stands in a file."""
        vector = self.vector.file_path if self.vector else None
        return (self.path,) if vector is None else (self.path, vector)


@dataclass(frozen=True, slots=True)
class DataFile(_LoggedFile):
    """One active data file. `partition_values` are strings by (physical) column name, as in the log.

    `stats_json` is the raw statistics text; `num_records` the physical row count, None when the log does
    not say; `logged_path` the path exactly as the log spells it (URL-encoded), `path` the decoded one.
    """

    logged_path: str
    size: int
    partition_values: Mapping[str, str | None]
    modification_time: int
    stats_json: str | None
    num_records: int | None
    vector: VectorDescriptor | None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dead_rows(self) -> int:
        """How many of its rows its vector marks as gone."""
        return self.vector.cardinality if self.vector else 0

    def stats(self) -> dict[str, Any]:
        """The statistics, numbers that are no integers as Decimal with every digit; {} where they cannot be read."""
        return read_stats(self.stats_json)


@dataclass(frozen=True, slots=True)
class RemovedFile(_LoggedFile):
    """A data file that a version removed: its path as the log spells it, its vector, when it was removed."""

    logged_path: str
    vector: VectorDescriptor | None
    deleted_ms: int


@dataclass(frozen=True, slots=True)
class Marker:
    """A transaction marker."""

    application_id: str
    version: int
    last_updated: int | None


@dataclass(frozen=True, slots=True)
class TableMetadata:
    """A metaData action: its required fields are there and of their types, what else it has is kept."""

    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TableProtocol:
    """A protocol action: its versions are numbers, its features lists of names."""

    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Domain:
    """The configuration of a metadata domain; None where it was removed."""

    name: str
    configuration: str | None


Action = DataFile | RemovedFile | Marker | TableMetadata | TableProtocol | Domain


def data_file(value: Any) -> DataFile:
    """The data file of an add action."""
    add = fields_of(value, "add")
    path, size, values = add.get("path"), add.get("size"), add.get("partitionValues")
    # Logs hold hundreds of thousands of these: what is as usual is told at a glance, the rest is looked into.
    if type(path) is not str or not path or "\0" in path:
        path = _path(add, "add")
    if type(size) is not int or not 0 <= size < _USUAL_SIZE:
        size = number_of(add, "size", "add")
    stats, modified = add.get("stats"), add.get("modificationTime")
    if type(stats) is not str:
        stats = None
    return DataFile(
        path,
        size,
        pairs_of(add, "partitionValues", "add") if values else {},
        optional_moment(modified) or 0,
        stats,
        num_records(stats),
        _vector(add),
        _extra(add) if not _EXTRA.isdisjoint(add) else {},
    )


_USUAL_SIZE = 2**60
_EXTRA = frozenset({"tags", "baseRowId", "defaultRowCommitVersion", "clusteringProvider"})


def _extra(add: Mapping[str, Any]) -> dict[str, Any]:
    extra: dict[str, Any] = {
        name: number_of(add, name, "add")
        for name in ("baseRowId", "defaultRowCommitVersion")
        if add.get(name) is not None
    }
    tags = _optional_pairs(add.get("tags"))
    if tags:
        extra["tags"] = tags
    if isinstance(add.get("clusteringProvider"), str):
        extra["clusteringProvider"] = add["clusteringProvider"]
    return extra


def removed_file(value: Any) -> RemovedFile:
    """The removal of a data file. One without a date counts as old, as PROTOCOL.md has it (default 0)."""
    remove = fields_of(value, "remove")
    path, moment = remove.get("path"), remove.get("deletionTimestamp")
    if type(path) is not str or not path or "\0" in path:
        path = _path(remove, "remove")
    if type(moment) is not int or not 0 <= moment < _USUAL_SIZE:
        moment = optional_number(moment) or 0
    vector = remove.get("deletionVector")
    return RemovedFile(path, None if vector is None else VectorDescriptor.from_log(vector), moment)


def marker(value: Any) -> Marker:
    """The marker of a txn action."""
    txn = fields_of(value, "txn")
    # -1 is the version of markers that only keep others out (generations below any merge's).
    version = number_of(txn, "version", "txn", lowest=-(2**63))
    return Marker(text_of(txn, "appId", "txn"), version, optional_moment(txn.get("lastUpdated")))


def table_metadata(value: Any) -> TableMetadata:
    """A metaData action; what its schemaString says is read with the snapshot, where it is the newest."""
    metadata = fields_of(value, "metaData")
    text_of(metadata, "id", "metaData")
    kept = {
        **metadata,
        "schemaString": whole_json(text_of(metadata, "schemaString", "metaData")),
        "partitionColumns": list(texts_of(metadata, "partitionColumns", "metaData")),
        "configuration": {
            name: item
            for name, item in pairs_of(metadata, "configuration", "metaData").items()
            if item is not None
        },
    }
    file_format = metadata.get("format")
    if file_format is not None:
        file_format = fields_of(file_format, "format of metaData")
        kept["format"] = {
            "provider": text_of(file_format, "provider", "format of metaData"),
            "options": _optional_pairs(file_format.get("options")) or {},
        }
    for name in ("name", "description"):
        if not isinstance(kept.get(name), str):
            kept.pop(name, None)
    if optional_number(kept.get("createdTime")) is None:
        kept.pop("createdTime", None)
    return TableMetadata(kept)


def table_protocol(value: Any) -> TableProtocol:
    """A protocol action."""
    protocol = fields_of(value, "protocol")
    for name in ("minReaderVersion", "minWriterVersion"):
        number_of(protocol, name, "protocol")
    features = {
        name: list(texts_of(protocol, name, "protocol"))
        for name in ("readerFeatures", "writerFeatures")
        if protocol.get(name) is not None
    }
    kept = {name: item for name, item in protocol.items() if item is not None}
    return TableProtocol({**kept, **features})


def domain(value: Any) -> Domain:
    """The domain of a domainMetadata action."""
    stated = fields_of(value, "domainMetadata")
    name = text_of(stated, "domain", "domainMetadata")
    removed = stated.get("removed")
    if not isinstance(removed, bool | None):
        raise Damaged("removed of domainMetadata is neither true nor false")
    return Domain(name, None if removed else text_of(stated, "configuration", "domainMetadata"))


_READERS: Mapping[str, Callable[[Any], Action]] = {
    "add": data_file,
    "remove": removed_file,
    "txn": marker,
    "metaData": table_metadata,
    "protocol": table_protocol,
    "domainMetadata": domain,
}


def actions_in(line: Mapping[str, Any], kinds: Collection[str] = ()) -> list[Action]:
    """The actions that one line holds, of `kinds` only where any are named; others (commitInfo, cdc) are none."""
    return [
        _READERS[kind](value)
        for kind, value in line.items()
        if value is not None and kind in _READERS and (not kinds or kind in kinds)
    ]


def commit_info(lines: Iterator[Mapping[str, Any]]) -> Mapping[str, Any]:
    """What a commit says of itself: its last commitInfo that is an object."""
    info: Mapping[str, Any] = {}
    for line in lines:
        stated = line.get("commitInfo")
        if isinstance(stated, dict) and stated:
            info = stated
    return info


def _path(value: Mapping[str, Any], what: str) -> str:
    path = text_of(value, "path", what)
    if not path or "\0" in path:
        raise Damaged(f"{what} has no path")
    return path


def _vector(value: Mapping[str, Any]) -> VectorDescriptor | None:
    vector = value.get("deletionVector")
    return None if vector is None else VectorDescriptor.from_log(vector)


def _optional_pairs(value: Any) -> dict[str, str | None]:
    try:
        return pairs_of({"value": value}, "value", "")
    except Damaged:
        return {}


_NUM_RECORDS = re.compile(r'^\s*\{\s*"numRecords"\s*:\s*(\d{1,15})\s*[,}]', re.ASCII)


def num_records(stats_json: str | None) -> int | None:
    """The physical rows that statistics state; None where they do not."""
    if not stats_json:
        return None
    quick = _NUM_RECORDS.match(stats_json)
    if quick:
        return int(quick[1])
    count = optional_number(read_stats(stats_json).get("numRecords"))
    return count if count is not None and 0 <= count <= _MOST_RECORDS else None


def read_stats(stats_json: str | None) -> dict[str, Any]:
    """Statistics, numbers that are no integers as Decimal; {} where they are damaged: they only save time."""
    if not stats_json:
        return {}
    try:
        loaded = json.loads(stats_json, parse_float=Decimal, parse_constant=no_number)
    except (ValueError, ArithmeticError, RecursionError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def no_number(_: str) -> None:
    """NaN and Infinity, which are no JSON and bound nothing."""
