"""Files as a log adds them, taken as columns where all is as logs have it, without a value of Python for each.

What is not (other types, damage) is ``Unusual``: whoever meets it looks at the actions one by one (``actions``), which
says what is wrong with which, or what it means all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from merging.delta.actions import num_records
from merging.delta.active_files import COLUMNS
from merging.delta.damage import optional_moment
from merging.delta.vectors import Z85

#: Our columns by what an add calls them; the rest of an add (parsed values, columns of other writers) is not read.
_PLAIN = {
    "path": "path",
    "size": "size",
    "partitionValues": "partition",
    "modificationTime": "modified",
    "stats": "stats",
    "tags": "tags",
    "baseRowId": "first_row_id",
    "defaultRowCommitVersion": "row_commit_version",
    "clusteringProvider": "clustering",
}
READ = (*_PLAIN, "deletionVector")
OF_A_VECTOR = {
    "vector_type": "storageType",
    "vector_path": "pathOrInlineDv",
    "vector_offset": "offset",
    "vector_size": "sizeInBytes",
    "dead": "cardinality",
}
_KINDS = {name: COLUMNS.field(ours).type for name, ours in _PLAIN.items()} | {
    name: COLUMNS.field(ours).type for ours, name in OF_A_VECTOR.items()
}
_VECTOR = pa.schema([COLUMNS.field(name) for name in OF_A_VECTOR])
_NUM_RECORDS = r'^\s*\{\s*"numRecords"\s*:\s*(?P<n>[0-9]{1,15})\s*[,}]'


class Unusual(Exception):
    """Something is not as logs have it."""


def plain_files(
    given: Mapping[str, pa.Array], length: int, vectors: pa.RecordBatch | None = None
) -> pa.RecordBatch:
    """The files of add actions (``COLUMNS``), of which these columns are given, and their ``plain_vectors``.

    Raises Unusual.
    """
    columns = {ours: _typed(given.get(name), ours, length) for name, ours in _PLAIN.items()}
    path, size = columns["path"], columns["size"]
    _require(path.null_count == 0 and size.null_count == 0)
    _require(not _any([pc.equal(path, ""), pc.match_substring(path, "\0"), pc.less(size, 0)]))
    columns["modified"] = columns["modified"].fill_null(0)
    limits = pc.min_max(columns["modified"])
    _require(not length or all(optional_moment(limits[name].as_py()) is not None for name in ("min", "max")))
    _require(not _any(pc.less(columns[name], 0) for name in ("first_row_id", "row_commit_version")))
    columns["records"] = _records(columns["stats"])
    for field in _VECTOR:
        columns[field.name] = pa.nulls(length, field.type) if vectors is None else vectors.column(field.name)
    return _validated([columns[name] for name in COLUMNS.names], COLUMNS)


def plain_vectors(given: Mapping[str, pa.Array], stated: pa.Array) -> pa.RecordBatch:
    """The columns of deletion vectors, NULL where none is stated. Raises Unusual."""
    columns = {ours: _typed(given.get(name), ours, len(stated)) for ours, name in OF_A_VECTOR.items()}
    missing = pc.sum(pc.invert(stated)).as_py() or 0
    _require(all(columns[name].null_count == missing for name in columns if name != "vector_offset"))
    _require(not _any(pc.less(columns[name], 0) for name in ("vector_offset", "vector_size", "dead")))
    kinds = columns["vector_type"]
    _require({*kinds.unique().to_pylist()} <= {None, "u", "p", "i"})
    relative = columns["vector_path"].filter(pc.equal(kinds, "u").fill_null(False))
    _require(_are_names(pc.utf8_slice_codeunits(relative, -20).unique().to_pylist()))
    return _validated([*columns.values()], _VECTOR)


def stated(actions: Sequence[Mapping[str, Any]], names: Iterable[str] = tuple(_PLAIN)) -> dict[str, pa.Array]:
    """What actions of commits state, by these names of theirs, where any states anything. Raises Unusual."""
    held = set().union(*actions)
    found = {}
    for name in names:
        values = [action.get(name) for action in actions] if name in held else []
        types = {*map(type, values)} - {type(None)}
        if not types:
            continue
        kind = _KINDS[name]
        # Arrow takes true for 1 and 1.0 for 1, which damaged actions alone have.
        _require(types == {dict if pa.types.is_map(kind) else int if pa.types.is_integer(kind) else str})
        if pa.types.is_map(kind):
            inner = {type(item) for value in values if value for item in value.values()}
            _require(inner <= {str, type(None)})
            values = [value if value is None else [*value.items()] for value in values]
        try:
            found[name] = pa.array(values, kind)
        except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
            raise Unusual from error
    return found


def stated_vectors(actions: Sequence[Mapping[str, Any]]) -> pa.RecordBatch | None:
    """The vectors that actions of commits state, as ``plain_vectors``; None where none states any. Raises Unusual."""
    values = [action.get("deletionVector") for action in actions]
    types = {*map(type, values)} - {type(None)}
    if not types:
        return None
    _require(types == {dict})
    given = stated([value or {} for value in values], OF_A_VECTOR.values())
    return plain_vectors(given, pa.array([value is not None for value in values]))


def _validated(arrays: Sequence[pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
    try:
        batch.validate(full=True)
    except pa.ArrowException as error:
        raise Unusual from error
    return batch


def _typed(found: pa.Array | None, column: str, length: int) -> pa.Array:
    """What is given, in the type of our column."""
    kind = COLUMNS.field(column).type
    if found is None or pa.types.is_null(found.type):
        return pa.nulls(length, kind)
    alike = (
        (pa.types.is_map(kind) and pa.types.is_map(found.type))
        or (pa.types.is_integer(kind) and pa.types.is_integer(found.type))
        or (_is_text(kind) and _is_text(found.type))
    )
    _require(alike)
    try:
        return found.cast(kind)
    except pa.ArrowException as error:
        raise Unusual from error


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


_OF_85 = np.full(128, 2**33, np.int64)
_OF_85[np.frombuffer(Z85.encode("ascii"), np.uint8)] = np.arange(85)
_WORTHS = 85 ** np.arange(4, -1, -1)


def _are_names(texts: Sequence[str]) -> bool:
    """Whether each surely is the end of a relative path: Z85 of the sixteen bytes of a UUID."""
    together = "".join(texts)
    if not together.isascii() or any(len(text) != 20 for text in texts):
        return False
    digits = _OF_85[np.frombuffer(together.encode("ascii"), np.uint8)]
    return bool(((digits.reshape(-1, 5) * _WORTHS).sum(axis=1) < 2**32).all())


def _any(masks: Iterable[pa.Array]) -> bool:
    return any(bool(pc.any(mask).as_py()) for mask in masks)


def _require(as_usual: bool) -> None:
    if not as_usual:
        raise Unusual
