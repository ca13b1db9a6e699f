"""The files that a checkpoint names, taken from its columns into ours without a value of Python for each.

What Parquet holds as checkpoints have it is looked at as columns; anything else (other types, damage) is read action by
action, which says what is wrong with which.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from merging.delta.actions import data_file
from merging.delta.active_files import MOST_TOGETHER, block_of
from merging.delta.damage import Damaged
from merging.delta.plain_files import OF_A_VECTOR, READ, Unusual, plain_files, plain_vectors

#: Files of one batch: what they take is in memory twice for a moment.
_AT_A_TIME = MOST_TOGETHER
_PARSED = "stats_parsed"


def files_in(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """The files of the add actions in a part of a checkpoint, as columns of active files. Raises Damaged."""
    kind = file.schema_arrow.field("add").type
    if pa.types.is_null(kind):
        return
    if not pa.types.is_struct(kind):
        raise Damaged(f"its column add is no struct but {kind}")
    held = {kind.field(place).name for place in range(kind.num_fields)}
    # A struct of statistics is as large as all else together: it is read where there is no text of them alone.
    read = [name for name in READ if name in held]
    if _PARSED in held and ("stats" not in held or not _any_text(file, "add.stats")):
        read.append(_PARSED)
    number = 0
    columns = [f"add.{name}" for name in read] if "path" in held else ["add"]
    for batch in file.iter_batches(_AT_A_TIME, columns=columns, use_threads=False):
        adds = batch.column("add")
        if adds.null_count:
            adds = adds.filter(adds.is_valid())
        if len(adds):
            yield _in_columns(adds) or _one_by_one(adds, number)
            number += len(adds)
        del batch, adds
        # What the allocator keeps of memory that nobody has any more is several times what the files take.
        pa.default_memory_pool().release_unused()


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


def _in_columns(adds: pa.StructArray) -> pa.RecordBatch | None:
    """The add actions as columns; None where they must be looked at one by one."""
    held = {adds.type.field(place).name for place in range(adds.type.num_fields)}
    if _PARSED in held:
        return None
    given = {name: pc.struct_field(adds, name) for name in READ if name in held}
    stated = given.pop("deletionVector", None)
    try:
        return plain_files(given, len(adds), _vectors(stated) if stated is not None else None)
    except Unusual:
        return None


def _vectors(stated: pa.Array) -> pa.RecordBatch | None:
    if stated.null_count == len(stated):
        return None
    if not pa.types.is_struct(stated.type):
        raise Unusual
    held = {stated.type.field(place).name for place in range(stated.type.num_fields)}
    parts = {name: pc.struct_field(stated, name) for name in OF_A_VECTOR.values() if name in held}
    return plain_vectors(parts, stated.is_valid())
