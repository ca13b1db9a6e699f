"""The active data files of a version as columns: a table may have a hundred thousand, of which few are looked into.

Files stand in blocks of columns that never change; a version is which rows of which blocks are active in it, so that
the versions of a table share what they have in common. A file comes as a value (``DataFile``) where it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from merging.delta.actions import DataFile, RemovedFile
from merging.delta.vectors import VectorDescriptor

_TEXTS = pa.map_(pa.string(), pa.string())
#: One row a file; whose ``vector_type`` is NULL has no vector.
COLUMNS = pa.schema(
    [
        ("path", pa.string()),
        ("size", pa.int64()),
        ("modified", pa.int64()),
        ("partition", _TEXTS),
        ("stats", pa.large_string()),
        ("records", pa.int64()),
        ("vector_type", pa.string()),
        ("vector_path", pa.string()),
        ("vector_offset", pa.int64()),
        ("vector_size", pa.int64()),
        ("dead", pa.int64()),
        ("first_row_id", pa.int64()),
        ("row_commit_version", pa.int64()),
        ("tags", _TEXTS),
        ("clustering", pa.string()),
    ]
)
#: Columns of what only some files have, by the name that an action has for it.
_EXTRA = {
    "baseRowId": "first_row_id",
    "defaultRowCommitVersion": "row_commit_version",
    "tags": "tags",
    "clusteringProvider": "clustering",
}
_AT_A_TIME = 1_024
#: What is derived from the columns of a block is kept for so many purposes.
_MOST_DERIVED = 8


@dataclass(eq=False)
class FileBlock:
    """Data files in columns (``COLUMNS``), active or not."""

    columns: pa.RecordBatch
    _derived: dict[object, Any] = field(default_factory=dict)

    def files(self, rows: np.ndarray) -> list[DataFile]:
        """The files that stand in these rows."""
        taken = self.columns.take(pa.array(rows))
        values = [column.to_pylist() for column in taken.columns]
        return [_file(*row) for row in zip(*values, strict=True)]

    def identities(self, rows: np.ndarray) -> list[tuple[str, str | None]]:
        """What the log knows the files in these rows by."""
        named = ("path", "vector_type", "vector_path", "vector_offset")
        values = [self.columns.column(name).take(pa.array(rows)).to_pylist() for name in named]
        return [
            (path, None if kind is None else VectorDescriptor(kind, stored, offset, 0, 0).unique_id)
            for path, kind, stored, offset in zip(*values, strict=True)
        ]

    def derived(self, key: object, derive: Callable[[pa.RecordBatch], Any]) -> Any:
        """What follows from the columns, made once for each purpose."""
        found = self._derived.get(key)
        if found is None:
            found = derive(self.columns)
            if len(self._derived) >= _MOST_DERIVED:
                self._derived.pop(next(iter(self._derived), None), None)
            self._derived[key] = found
        return found


@dataclass(frozen=True, eq=False)
class _Part:
    """Rows of a block, rising."""

    block: FileBlock
    rows: np.ndarray

    def column(self, name: str) -> pa.Array:
        column = self.block.columns.column(name)
        return column if len(self.rows) == len(column) else column.take(pa.array(self.rows))


class ActiveFiles(Sequence[DataFile]):
    """The files of a version: a sequence of them, and their columns."""

    def __init__(self, parts: Iterable[_Part] = ()) -> None:
        self._parts = tuple(part for part in parts if len(part.rows))
        lengths = [len(part.rows) for part in self._parts]
        self._starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    @classmethod
    def of(cls, files: Sequence[DataFile]) -> ActiveFiles:
        """These files."""
        return cls.in_blocks([block_of(files)] if files else [])

    @classmethod
    def in_blocks(cls, blocks: Iterable[pa.RecordBatch]) -> ActiveFiles:
        """All files of these columns."""
        return cls(_Part(FileBlock(one), np.arange(len(one))) for one in blocks)

    # as a sequence

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, index: int) -> DataFile: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[DataFile]: ...

    def __getitem__(self, index: int | slice) -> DataFile | Sequence[DataFile]:
        if isinstance(index, slice):
            return self.at(range(*index.indices(len(self))))
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(index)
        return self.at([place])[0]

    def __iter__(self) -> Iterator[DataFile]:
        for part in self._parts:
            for start in range(0, len(part.rows), _AT_A_TIME):
                yield from part.block.files(part.rows[start : start + _AT_A_TIME])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} files>"

    def at(self, indexes: Iterable[int]) -> list[DataFile]:
        """The files with these indexes, in this order."""
        asked = np.fromiter(indexes, np.int64)
        found: list[DataFile | None] = [None] * len(asked)
        numbers = np.searchsorted(self._starts, asked, side="right") - 1
        for number in np.unique(numbers):
            places = np.flatnonzero(numbers == number)
            part = self._parts[number]
            files = part.block.files(part.rows[asked[places] - self._starts[number]])
            for place, file in zip(places, files, strict=True):
                found[place] = file
        return [file for file in found if file is not None]

    # as columns

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of ``COLUMNS``, in the order of the files."""
        return pa.chunked_array([part.column(name) for part in self._parts], COLUMNS.field(name).type)

    def numbers(self, name: str, missing: int = 0) -> np.ndarray:
        """A column of numbers, with another in the place of NULL."""
        column = self.column(name)
        if column.null_count:
            column = column.fill_null(missing)
        found: np.ndarray = column.to_numpy()
        return found

    def having_vectors(self) -> np.ndarray:
        """Whether each file has a vector."""
        found: np.ndarray = self.column("vector_type").is_valid().to_numpy()
        return found

    def partition_texts(self, stored_name: str) -> pa.ChunkedArray:
        """What the log says of each file as its value of a partition column."""
        arrays = [
            pc.map_lookup(part.column("partition"), pa.scalar(stored_name), "last") for part in self._parts
        ]
        return pa.chunked_array(arrays, pa.string())

    def derived(self, key: object, derive: Callable[[pa.RecordBatch], pa.RecordBatch]) -> pa.Table:
        """What follows from the columns of each file, a row for each: made once for each purpose and block."""
        batches = [
            part.block.derived(key, derive).take(pa.array(part.rows))
            if len(part.rows) < len(part.block.columns)
            else part.block.derived(key, derive)
            for part in self._parts
        ]
        return pa.Table.from_batches(batches or [derive(_EMPTY)])

    def where(self, key: object, holds: Callable[[pa.RecordBatch], np.ndarray]) -> list[int]:
        """The indexes of the files of which something holds, looked at once for each purpose and block."""
        found: list[int] = []
        for part, start in zip(self._parts, self._starts, strict=False):
            rows = np.flatnonzero(
                np.isin(part.rows, part.block.derived(key, lambda one: np.flatnonzero(holds(one))))
            )
            found += (rows + start).tolist()
        return found

    # as sets

    @property
    def are_different(self) -> bool:
        """Whether no two have the same path."""
        return bool(len(self) == pc.count_distinct(self.column("path")).as_py())

    def after(self, changes: Iterable[DataFile | RemovedFile]) -> ActiveFiles:
        """The files after some were added and removed, in this order; the new ones stand last."""
        last: dict[tuple[str, str | None], DataFile | None] = {}
        for change in changes:
            last.pop(change.identity, None)
            last[change.identity] = change if isinstance(change, DataFile) else None
        if not last:
            return self
        parts = [part for part in (_without(part, last) for part in self._parts) if len(part.rows)]
        added = [file for file in last.values() if file is not None]
        if not added:
            return ActiveFiles(parts)
        newest = _Part(FileBlock(block_of(added)), np.arange(len(added)))
        # Blocks stay few: one is put together with what follows when that has grown to half of it.
        while parts and len(parts[-1].rows) < 2 * len(newest.rows):
            batches = [
                pa.RecordBatch.from_arrays([one.column(name) for name in COLUMNS.names], schema=COLUMNS)
                for one in (parts.pop(), newest)
            ]
            [together] = pa.Table.from_batches(batches).combine_chunks().to_batches()
            newest = _Part(FileBlock(together), np.arange(len(together)))
        return ActiveFiles([*parts, newest])

    def apart_from(
        self, other: ActiveFiles
    ) -> tuple[set[tuple[str, str | None]], set[tuple[str, str | None]]]:
        """The identities of the files that only this one has, and of those that only the other has."""
        mine, theirs = ({id(part.block): part for part in files._parts} for files in (self, other))
        sets: list[set[tuple[str, str | None]]] = []
        for one, two in ((mine, theirs), (theirs, mine)):
            found: set[tuple[str, str | None]] = set()
            for key, part in one.items():
                shared = two[key].rows if key in two else np.array([], np.int64)
                rows = np.setdiff1d(part.rows, shared, assume_unique=True)
                found.update(part.block.identities(rows))
            sets.append(found)
        return sets[0] - sets[1], sets[1] - sets[0]

    def twins_of(self, paths: pa.ChunkedArray) -> np.ndarray:
        """For each of the paths, as the log spells them, the index of the file that has it; -1 where none has."""
        found = pc.index_in(paths, value_set=self.column("path").combine_chunks())
        places: np.ndarray = found.fill_null(-1).to_numpy().astype(np.int64)
        return places

    def with_paths(self, paths: Iterable[str]) -> np.ndarray:
        """The indexes of the files that have one of the paths, as the log spells them."""
        found = pc.is_in(self.column("path"), value_set=pa.array([*paths], pa.string()))
        return np.flatnonzero(found.to_numpy())

    def vector_texts(self) -> pa.ChunkedArray:
        """The vector of each file as JSON, NULL where it has none: equal texts are equal vectors."""
        table = self.derived("vectors as texts", _vector_texts)
        return table.column("vector")

    @property
    def nbytes(self) -> int:
        """About how many bytes the blocks take, whoever else has them."""
        return sum(part.block.columns.nbytes for part in self._parts)


def differing(left: pa.ChunkedArray, right: pa.ChunkedArray) -> np.ndarray:
    """Where two columns of texts do not say the same."""
    same = pc.fill_null(pc.equal(left, right), False)
    both_null = pc.and_(pc.is_null(left), pc.is_null(right))
    agree: np.ndarray = pc.or_(same, both_null).to_numpy()
    return ~agree


def _without(part: _Part, gone: dict[tuple[str, str | None], Any]) -> _Part:
    """The part without the files of these identities."""
    paths = pa.array({path for path, _ in gone}, pa.string())
    named = pc.is_in(part.block.columns.column("path"), value_set=paths)
    rows = np.intersect1d(np.flatnonzero(named.to_numpy(zero_copy_only=False)), part.rows, assume_unique=True)
    leaving = [row for row, one in zip(rows, part.block.identities(rows), strict=True) if one in gone]
    if not leaving:
        return part
    return _Part(part.block, np.setdiff1d(part.rows, leaving, assume_unique=True))


def block_of(files: Sequence[DataFile]) -> pa.RecordBatch:
    """Files as columns."""
    vectors = [file.vector for file in files]
    columns: dict[str, list[Any]] = {
        "path": [file.logged_path for file in files],
        "size": [file.size for file in files],
        "modified": [file.modification_time for file in files],
        "partition": [[*file.partition_values.items()] for file in files],
        "stats": [file.stats_json for file in files],
        "records": [file.num_records for file in files],
        "vector_type": [None if one is None else one.storage_type for one in vectors],
        "vector_path": [None if one is None else one.path_or_inline for one in vectors],
        "vector_offset": [None if one is None else one.offset for one in vectors],
        "vector_size": [None if one is None else one.size for one in vectors],
        "dead": [None if one is None else one.cardinality for one in vectors],
    }
    for name, column in _EXTRA.items():
        stated = [file.extra.get(name) for file in files]
        columns[column] = [[*one.items()] if isinstance(one, dict) else one for one in stated]
    return pa.RecordBatch.from_pydict(columns, schema=COLUMNS)


def _file(
    path: str,
    size: int,
    modified: int,
    partition: list[tuple[str, str | None]] | None,
    stats: str | None,
    records: int | None,
    vector_type: str | None,
    vector_path: str,
    vector_offset: int | None,
    vector_size: int,
    dead: int,
    *extra: Any,
) -> DataFile:
    vector = None
    if vector_type is not None:
        vector = VectorDescriptor(vector_type, vector_path, vector_offset, vector_size, dead)
    named = {name: value for name, value in zip(_EXTRA, extra, strict=True) if value not in (None, [])}
    if "tags" in named:
        named["tags"] = dict(named["tags"])
    return DataFile(path, size, dict(partition or ()), modified, stats, records, vector, named)


def _vector_texts(columns: pa.RecordBatch) -> pa.RecordBatch:
    kinds = columns.column("vector_type")
    texts: list[str | None] = [None] * len(kinds)
    places = np.flatnonzero(kinds.is_valid().to_numpy(zero_copy_only=False))
    named = ("vector_type", "vector_path", "vector_offset", "vector_size", "dead")
    values = [columns.column(name).take(pa.array(places)).to_pylist() for name in named]
    for place, row in zip(places, zip(*values, strict=True), strict=True):
        texts[place] = json.dumps(VectorDescriptor(*row).to_log())
    return pa.RecordBatch.from_arrays([pa.array(texts, pa.string())], ["vector"])


_EMPTY = pa.RecordBatch.from_pydict({name: [] for name in COLUMNS.names}, schema=COLUMNS)
