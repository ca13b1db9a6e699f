"""The active data files of a version as columns: a table may have a hundred thousand, of which few are looked into.

Files stand in blocks of columns that never change; a version is which rows of which blocks are active in it, so that
the versions of a table share what they have in common. A file comes as a value (``DataFile``) where it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from merging.delta.actions import DataFile, RemovedFile
from merging.delta.packed_texts import PackedTexts
from merging.delta.vectors import VectorDescriptor

#: What the log knows a file by: its path, and what tells its vector from others.
Identity = tuple[str, str | None]

_TEXTS = pa.map_(pa.string(), pa.string())
#: One row a file; whose ``vector_type`` is NULL has no vector. Blocks hold the statistics apart.
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
_STATS = COLUMNS.get_field_index("stats")
_AT_A_TIME = 1_024
#: Blocks of more files than this are not put together.
MOST_TOGETHER = 4_096
#: What is derived from the columns of a block is kept for so many purposes.
_MOST_DERIVED = 8


#: As many files are told at a time to whoever goes through all: the texts of all at once are most of what they take.
_TOLD_AT_A_TIME = 8_192
#: A text that stands in JSON as it is.
_PLAIN = r"^[ !#-\[\]-~]*$"


@dataclass(frozen=True, eq=False)
class Twins:
    """Files of somewhere else beside those of a version.

    ``places`` holds, for each of them, the index of the file with its path, -1 where none has it or not one alone;
    ``changed`` which of those have another vector now, and ``vectors`` what was told of theirs.
    """

    places: np.ndarray
    changed: np.ndarray
    vectors: Sequence[str | None]


@dataclass(eq=False)
class FileBlock:
    """Data files in columns (``COLUMNS``, and their statistics packed), active or not."""

    columns: pa.RecordBatch
    stats: PackedTexts
    _derived: dict[object, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, files: pa.RecordBatch) -> FileBlock:
        """Files as ``block_of`` gives them."""
        return cls(files.remove_column(_STATS), PackedTexts(files.column(_STATS)))

    def files(self, rows: np.ndarray) -> list[DataFile]:
        """The files that stand in these rows."""
        values = [column.to_pylist() for column in self.columns.take(pa.array(rows)).columns]
        values.insert(_STATS, self.stats.take(rows))
        return [_file(*row) for row in zip(*values, strict=True)]

    def together(self, rows: np.ndarray) -> pa.RecordBatch:
        """These rows, with their statistics, as ``block_of`` gives them."""
        arrays = self.columns.take(pa.array(rows)).columns
        arrays.insert(_STATS, pa.array(self.stats.take(rows), COLUMNS.field(_STATS).type))
        return pa.RecordBatch.from_arrays(arrays, schema=COLUMNS)

    def identities(self, rows: np.ndarray) -> list[Identity]:
        """What the log knows the files in these rows by."""
        named = ("path", "vector_type", "vector_path", "vector_offset")
        values = [self.columns.column(name).take(pa.array(rows)).to_pylist() for name in named]
        return identities_of(*values)

    def derived(self, key: object, derive: Callable[[FileBlock], Any]) -> Any:
        """What follows from the files, made once for each purpose."""
        found = self._derived.get(key)
        if found is None:
            found = derive(self)
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
        return cls.in_blocks([FileBlock.of(block_of(files))] if files else [])

    @classmethod
    def in_blocks(cls, blocks: Iterable[FileBlock]) -> ActiveFiles:
        """All files of these blocks."""
        return cls(_Part(one, np.arange(len(one.columns))) for one in blocks)

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
        """A column of ``COLUMNS`` but the statistics, in the order of the files."""
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

    def partition_names(self) -> set[str]:
        """The names under which the log has values of partition columns."""
        found: set[str] = set()
        for values in self.column("partition").chunks:
            first, last = (values.offsets[end].as_py() for end in (0, -1))
            found.update(pc.unique(values.keys[first:last]).to_pylist())
        return found

    def derived(self, key: object, derive: Callable[[FileBlock], pa.RecordBatch]) -> pa.Table:
        """What follows from what the log says of each file, a row for each: made once for each purpose and block."""
        batches = [
            part.block.derived(key, derive).take(pa.array(part.rows))
            if len(part.rows) < len(part.block.columns)
            else part.block.derived(key, derive)
            for part in self._parts
        ]
        return pa.Table.from_batches(batches or [derive(FileBlock.of(block_of([])))])

    def where(self, key: object, holds: Callable[[pa.RecordBatch], np.ndarray]) -> list[int]:
        """The indexes of the files of which something holds, looked at once for each purpose and block."""
        found: list[int] = []
        for part, start in zip(self._parts, self._starts, strict=False):
            rows = np.flatnonzero(
                np.isin(part.rows, part.block.derived(key, lambda one: np.flatnonzero(holds(one.columns))))
            )
            found += (rows + start).tolist()
        return found

    # as sets

    @property
    def are_different(self) -> bool:
        """Whether surely no two have the same path."""
        return len(np.unique(self._path_hashes())) == len(self)

    def after(self, changes: Iterable[DataFile | RemovedFile]) -> ActiveFiles:
        """The files after some were added and removed, in this order; the new ones stand last."""
        last: dict[Identity, int | None] = {}
        added: list[DataFile] = []
        for change in changes:
            last.pop(change.identity, None)
            last[change.identity] = len(added) if isinstance(change, DataFile) else None
            if isinstance(change, DataFile):
                added.append(change)
        return self.following(last, block_of(added))

    def following(self, last: Mapping[Identity, int | None], added: pa.RecordBatch) -> ActiveFiles:
        """The same, by the last that was said of each file: the row of `added` where it stands, None where it went."""
        if not last:
            return self
        parts = [*_without(self._parts, last)]
        rows = np.array([row for row in last.values() if row is not None], np.int64)
        if not len(rows):
            return ActiveFiles(parts)
        if len(rows) < len(added):
            added = added.take(pa.array(rows))
        # Blocks stay few: one is put together with what follows when that has grown to half of it.
        before = []
        count = len(rows)
        while parts and len(parts[-1].rows) < min(2 * count, MOST_TOGETHER - count + 1):
            before.append(parts.pop())
            count += len(before[-1].rows)
        if before:
            batches = [part.block.together(part.rows) for part in reversed(before)]
            [added] = pa.Table.from_batches([*batches, added]).combine_chunks().to_batches()
        return ActiveFiles([*parts, _Part(FileBlock.of(added), np.arange(count))])

    def apart_from(self, other: ActiveFiles) -> tuple[set[Identity], set[Identity]]:
        """The identities of the files that only this one has, and of those that only the other has."""
        mine, theirs = ({id(part.block): part for part in files._parts} for files in (self, other))
        sets: list[set[Identity]] = []
        for one, two in ((mine, theirs), (theirs, mine)):
            found: set[Identity] = set()
            for key, part in one.items():
                shared = two[key].rows if key in two else np.array([], np.int64)
                rows = np.setdiff1d(part.rows, shared, assume_unique=True)
                found.update(part.block.identities(rows))
            sets.append(found)
        return sets[0] - sets[1], sets[1] - sets[0]

    def told(self) -> Iterator[pa.RecordBatch]:
        """The ``path`` of each file as the log spells it, and its ``vector`` as JSON, NULL where it has none: equal
        texts are equal vectors. Some thousands at a time.
        """
        for part in self._parts:
            for start in range(0, len(part.rows), _TOLD_AT_A_TIME):
                rows = pa.array(part.rows[start : start + _TOLD_AT_A_TIME])
                paths = part.block.columns.column("path").take(rows)
                yield pa.RecordBatch.from_arrays([paths, _vector_texts(part.block, rows)], ["path", "vector"])

    def twins_of(self, told: Iterable[pa.RecordBatch]) -> Twins:
        """These files beside those of which somebody else ``told``."""
        hashes = self._path_hashes()
        order = np.argsort(hashes)
        hashes = hashes[order]
        places, changed, vectors = [np.array([], np.int64)], [np.array([], np.int64)], list[str | None]()
        seen = 0
        for batch in told:
            found = self._places_of(batch.column("path"), hashes, order)
            there = np.flatnonzero(found >= 0)
            before = batch.column("vector").take(pa.array(there))
            differ = _differing(before, self._gathered(_vector_texts, found[there]))
            vectors += before.filter(pa.array(differ)).to_pylist()
            differ = there[differ]
            changed.append(differ + seen)
            places.append(found)
            seen += len(batch)
        if seen > _TOLD_AT_A_TIME:
            pa.default_memory_pool().release_unused()
        found = _of_one_each(np.concatenate(places), self._named_twice(order[_repeated(hashes)]))
        compared = np.concatenate(changed)
        still = np.flatnonzero(found[compared] >= 0)
        return Twins(found, compared[still], [vectors[place] for place in still])

    def _gathered(self, told: Callable[[FileBlock, pa.Array], pa.Array], indexes: np.ndarray) -> pa.Array:
        """Texts of the files with these indexes, in this order."""
        numbers = np.searchsorted(self._starts, indexes, side="right") - 1
        order = np.argsort(numbers, kind="stable")
        ends = np.flatnonzero(np.diff(numbers[order])) + 1
        found = [pa.array([], pa.string())]
        for places in np.split(order, ends) if len(order) else ():
            part, start = self._parts[numbers[places[0]]], self._starts[numbers[places[0]]]
            found.append(told(part.block, pa.array(part.rows[indexes[places] - start])))
        return pa.concat_arrays(found).take(pa.array(np.argsort(order)))

    def _named_twice(self, alike: np.ndarray) -> np.ndarray:
        """Which of these files, those with the same hash among them, have the path of another one."""
        paths = self._gathered(lambda block, rows: block.columns.column("path").take(rows), alike)
        numbers = paths.dictionary_encode().indices.to_numpy()
        order = np.argsort(numbers)
        named: np.ndarray = alike[order[_repeated(numbers[order])]]
        return named

    def _path_hashes(self) -> np.ndarray:
        # Arrow's own ways to look for texts take more memory than all that is known of the files.
        hashes = [part.block.derived("hashes of paths", _hashes)[part.rows] for part in self._parts]
        return np.concatenate(hashes) if hashes else np.array([], np.int64)

    def _places_of(self, paths: pa.Array, hashes: np.ndarray, order: np.ndarray) -> np.ndarray:
        """The index of the file that has each of the paths, -1 where none has, by the sorted hashes of all."""
        if not len(hashes):
            return np.full(len(paths), -1, np.int64)
        asked = _hashes_of(paths)
        nearest = np.minimum(np.searchsorted(hashes, asked), len(hashes) - 1)
        places: np.ndarray = np.where(hashes[nearest] == asked, order[nearest], -1)
        alike = np.flatnonzero(places >= 0)
        named = self._gathered(lambda block, rows: block.columns.column("path").take(rows), places[alike])
        others = alike[_differing(paths.take(pa.array(alike)), named)]
        if len(others):  # two paths of one hash
            column = self.column("path").combine_chunks()
            found = pc.index_in(paths.take(pa.array(others)), value_set=column)
            places[others] = found.fill_null(-1).to_numpy()
        return places

    def with_paths(self, paths: Iterable[str]) -> np.ndarray:
        """The indexes of the files that have one of the paths, as the log spells them."""
        found = pc.is_in(self.column("path"), value_set=pa.array([*paths], pa.string()))
        return np.flatnonzero(found.to_numpy())

    @property
    def nbytes(self) -> int:
        """About how many bytes the blocks take, whoever else has them."""
        return sum(part.block.columns.nbytes + part.block.stats.nbytes for part in self._parts)


def _differing(left: pa.Array, right: pa.Array) -> np.ndarray:
    """Where two columns of texts do not say the same."""
    same = pc.fill_null(pc.equal(left, right), False)
    both_null = pc.and_(pc.is_null(left), pc.is_null(right))
    agree: np.ndarray = pc.or_(same, both_null).to_numpy(zero_copy_only=False)
    return ~agree


def _repeated(values: np.ndarray) -> np.ndarray:
    """Where sorted values stand that are there more than once."""
    again = np.flatnonzero(values[1:] == values[:-1])
    return np.union1d(again, again + 1)


def _of_one_each(places: np.ndarray, doubled: np.ndarray) -> np.ndarray:
    """The same without files that several have for theirs, or whose path is ``doubled``: a log may name one twice, with
    two vectors, and which of them another's is nobody knows.
    """
    order = np.argsort(places)
    alone = places.copy()
    alone[order[_repeated(places[order])]] = -1
    alone[np.isin(places, doubled)] = -1
    return alone


def _hashes(block: FileBlock) -> np.ndarray:
    return _hashes_of(block.columns.column("path"))


def _hashes_of(texts: pa.Array) -> np.ndarray:
    return np.fromiter(map(hash, texts.to_pylist()), np.int64, len(texts))


def identities_of(
    paths: Sequence[str],
    kinds: Sequence[str | None],
    vectors: Sequence[str | None],
    offsets: Sequence[int | None],
) -> list[Identity]:
    """What the log knows files by, of which it says this (see ``VectorDescriptor.unique_id``)."""
    return [
        (path, None if kind is None else f"{kind}{vector}" if offset is None else f"{kind}{vector}@{offset}")
        for path, kind, vector, offset in zip(paths, kinds, vectors, offsets, strict=True)
    ]


def _without(parts: Sequence[_Part], gone: Mapping[Identity, Any]) -> Iterator[_Part]:
    """The parts without the files of these identities."""
    paths = pa.array({path for path, _ in gone}, pa.string())
    columns = pa.chunked_array([part.block.columns.column("path") for part in parts], pa.string())
    named = pc.is_in(columns, value_set=paths).to_numpy()
    starts = np.cumsum([0, *(len(part.block.columns) for part in parts)])
    for part, start in zip(parts, starts, strict=False):
        rows = part.rows[named[start + part.rows]]
        if not len(rows):
            yield part
            continue
        leaving = [
            row for row, one in zip(rows.tolist(), part.block.identities(rows), strict=True) if one in gone
        ]
        if not leaving:
            yield part
        elif len(leaving) < len(part.rows):
            yield _Part(part.block, np.setdiff1d(part.rows, leaving, assume_unique=True))


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


def _vector_texts(block: FileBlock, rows: pa.Array) -> pa.Array:
    """The vectors of the files in these rows as an action has them, in JSON, NULL where there is none."""
    kind, path, offset, size, dead = (
        block.columns.column(name).take(rows)
        for name in ("vector_type", "vector_path", "vector_offset", "vector_size", "dead")
    )
    begins = pc.binary_join_element_wise('", "offset": ', offset.cast(pa.string()), "").fill_null('"')
    texts = pc.binary_join_element_wise(
        '{"storageType": "', kind, '", "pathOrInlineDv": "', path, begins, ', "sizeInBytes": ', size.cast(pa.string()),
        ', "cardinality": ', dead.cast(pa.string()), "}", "",
    )  # fmt: skip
    odd = pc.invert(pc.match_substring_regex(path, _PLAIN)).fill_null(False)
    if not pc.any(odd).as_py():
        return texts
    places = np.flatnonzero(odd.to_numpy(zero_copy_only=False))
    values = [one.take(pa.array(places)).to_pylist() for one in (kind, path, offset, size, dead)]
    written = [json.dumps(VectorDescriptor(*row).to_log()) for row in zip(*values, strict=True)]
    return pc.replace_with_mask(texts, odd, pa.array(written, pa.string()))
