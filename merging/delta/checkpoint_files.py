"""The files that a checkpoint names, taken from its columns into ours without a value of Python for each.

What Parquet holds as checkpoints have it is looked at as columns; anything else (other types, damage) is read action by
action, which says what is wrong with which.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from merging.delta.actions import data_file, num_records
from merging.delta.active_files import COLUMNS, block_of
from merging.delta.damage import Damaged, optional_moment
from merging.delta.vectors import VectorDescriptor

#: Files of one batch: what they take is in memory twice for a moment.
_AT_A_TIME = 16_384
# What of an add is read; the rest (parsed partition values, columns of other writers) would only cost time.
_READ = (
    "path",
    "size",
    "partitionValues",
    "modificationTime",
    "stats",
    "deletionVector",
    "tags",
    "baseRowId",
    "defaultRowCommitVersion",
    "clusteringProvider",
)
_PARSED = "stats_parsed"
_NUM_RECORDS = r'^\s*\{\s*"numRecords"\s*:\s*(?P<n>[0-9]{1,15})\s*[,}]'


def files_in(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """The files of the add actions in a part of a checkpoint, as columns of active files. Raises Damaged."""
    kind = file.schema_arrow.field("add").type
    if pa.types.is_null(kind):
        return
    if not pa.types.is_struct(kind):
        raise Damaged(f"its column add is no struct but {kind}")
    held = {kind.field(place).name for place in range(kind.num_fields)}
    # A struct of statistics is as large as all else together: it is read where there is no text of them alone.
    read = [name for name in _READ if name in held]
    if _PARSED in held and ("stats" not in held or not _any_text(file, "add.stats")):
        read.append(_PARSED)
    number = 0
    columns = [f"add.{name}" for name in read] if "path" in held else ["add"]
    for batch in file.iter_batches(_AT_A_TIME, columns=columns):
        adds = batch.column("add")
        if adds.null_count:
            adds = adds.filter(adds.is_valid())
        if len(adds):
            yield _in_columns(adds) or _one_by_one(adds, number)
            number += len(adds)


def _any_text(file: pq.ParquetFile, column: str) -> bool:
    return any(
        batch.column(0).field(0).null_count < len(batch)
        for batch in file.iter_batches(_AT_A_TIME, columns=[column])
        if len(batch)
    )


def _one_by_one(adds: pa.StructArray, before: int) -> pa.RecordBatch:
    columns = {
        adds.type.field(place).name: pc.struct_field(adds, [place]) for place in range(adds.type.num_fields)
    }
    parsed = columns.pop(_PARSED, None)
    texts: list[str | None] = [None] * len(adds)
    if parsed is not None and pa.types.is_struct(parsed.type):
        texts = [None if one is None else _stats_text(one) for one in _with_texts(parsed).to_pylist()]
    values = [column.to_pylist() for column in columns.values()]
    files = []
    for number, (stats, *row) in enumerate(zip(texts, *values, strict=True), before + 1):
        action = {name: value for name, value in zip(columns, row, strict=True) if value is not None}
        if stats is not None:
            action["stats"] = stats
        try:
            files.append(data_file(action))
        except Damaged as damage:
            raise Damaged(f"add {number}: {damage.message}") from damage
    return block_of(files)


def _with_texts(values: pa.Array) -> pa.Array:
    """A struct in which days and moments are texts: Python's own end with the years 1 and 9999, statistics do not."""
    # By way of moments without a zone: of those with one Arrow writes no year beyond 32767 right.
    plain = values.cast(_restated(values.type, _without_zone))
    return plain.cast(_restated(plain.type, _as_text))


def _restated(data_type: pa.DataType, restate: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    if pa.types.is_struct(data_type):
        return pa.struct([one.with_type(_restated(one.type, restate)) for one in data_type])
    return restate(data_type)


def _without_zone(data_type: pa.DataType) -> pa.DataType:
    return pa.timestamp(data_type.unit) if pa.types.is_timestamp(data_type) else data_type


def _as_text(data_type: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_temporal(data_type) else data_type


def _stats_text(parsed: Mapping[str, Any]) -> str:
    """Statistics that a checkpoint holds only as a struct, as the JSON text commits use."""
    return json.dumps({name: value for name, value in parsed.items() if value is not None}, default=str)


class _Unusual(Exception):
    """Something is not as checkpoints have it."""


def _in_columns(adds: pa.StructArray) -> pa.RecordBatch | None:
    """The add actions as columns; None where they must be looked at one by one."""
    held = {adds.type.field(place).name for place in range(adds.type.num_fields)}
    if _PARSED in held:
        return None
    given = {name: pc.struct_field(adds, name) for name in _READ if name in held}
    try:
        columns = {**_plain(given, len(adds)), **_vectors(given.get("deletionVector"), len(adds))}
        batch = pa.RecordBatch.from_arrays([columns[name] for name in COLUMNS.names], schema=COLUMNS)
        batch.validate(full=True)
    except (_Unusual, pa.ArrowException):
        return None
    return batch


def _plain(given: Mapping[str, pa.Array], length: int) -> dict[str, pa.Array]:
    path, size = _typed(given, "path", "path", length), _typed(given, "size", "size", length)
    _require(path.null_count == 0 and size.null_count == 0)
    _require(not _any([pc.equal(path, ""), pc.match_substring(path, "\0"), pc.less(size, 0)]))
    modified = _typed(given, "modificationTime", "modified", length).fill_null(0)
    limits = pc.min_max(modified)
    _require(all(optional_moment(limits[name].as_py()) is not None for name in ("min", "max")))
    ids = {
        column: _typed(given, name, column, length)
        for name, column in (("baseRowId", "first_row_id"), ("defaultRowCommitVersion", "row_commit_version"))
    }
    _require(not _any(pc.less(one, 0) for one in ids.values()))
    stats = _typed(given, "stats", "stats", length)
    return {
        "path": path,
        "size": size,
        "modified": modified,
        "partition": _typed(given, "partitionValues", "partition", length),
        "stats": stats,
        "records": _records(stats),
        "tags": _typed(given, "tags", "tags", length),
        "clustering": _typed(given, "clusteringProvider", "clustering", length),
        **ids,
    }


def _typed(given: Mapping[str, pa.Array], name: str, column: str, length: int) -> pa.Array:
    """What is given, in the type of our column."""
    kind = COLUMNS.field(column).type
    found = given.get(name)
    if found is None or pa.types.is_null(found.type):
        return pa.nulls(length, kind)
    alike = (
        (pa.types.is_map(kind) and pa.types.is_map(found.type))
        or (pa.types.is_integer(kind) and pa.types.is_integer(found.type))
        or (_is_text(kind) and _is_text(found.type))
    )
    _require(alike)
    return found.cast(kind)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _records(stats: pa.Array) -> pa.Array:
    """How many rows each file's statistics state, by what stands first in them or else by all of them."""
    found = pc.struct_field(pc.extract_regex(stats, _NUM_RECORDS), "n").cast(pa.int64())
    left = np.flatnonzero(pc.and_(pc.is_valid(stats), pc.is_null(found)).to_numpy(zero_copy_only=False))
    if not len(left):
        return found
    counts = found.to_pylist()
    for row in left:
        counts[row] = num_records(stats[row].as_py())
    return pa.array(counts, pa.int64())


_OF_A_VECTOR = {
    "vector_type": "storageType",
    "vector_path": "pathOrInlineDv",
    "vector_offset": "offset",
    "vector_size": "sizeInBytes",
    "dead": "cardinality",
}


def _vectors(given: pa.Array | None, length: int) -> dict[str, pa.Array]:
    if given is None or given.null_count == length:
        return {column: pa.nulls(length, COLUMNS.field(column).type) for column in _OF_A_VECTOR}
    _require(pa.types.is_struct(given.type))
    held = {given.type.field(place).name for place in range(given.type.num_fields)}
    parts = {name: pc.struct_field(given, name) for name in _OF_A_VECTOR.values() if name in held}
    columns = {column: _typed(parts, name, column, length) for column, name in _OF_A_VECTOR.items()}
    _require(all(columns[name].null_count == given.null_count for name in columns if name != "vector_offset"))
    _require(not _any(pc.less(columns[name], 0) for name in ("vector_offset", "vector_size", "dead")))
    ends: set[str] = set()
    kinds, paths = columns["vector_type"].to_pylist(), columns["vector_path"].to_pylist()
    for kind, path in zip(kinds, paths, strict=True):
        if kind == "u":
            ends.add(path[-20:])
        else:
            _require(kind in (None, "p", "i"))
    _require(all(VectorDescriptor("u", end, None, 0, 0).is_named for end in ends))
    return columns


def _any(masks: Iterable[pa.Array]) -> bool:
    return any(bool(pc.any(mask).as_py()) for mask in masks)


def _require(as_usual: bool) -> None:
    if not as_usual:
        raise _Unusual
