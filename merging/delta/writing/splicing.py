"""A file again without some of its rows, from its own bytes: pages that keep all their rows stay as they are.

Decoding and encoding is what a rewrite costs. Where few rows go most pages are taken over, with their encoding, Bloom
filters and bounds; pages that lose rows are written anew, and everything that tells where they stand and what they hold
(footer, page indexes, statistics) follows. What is stated of a file stays as exact as it was: where a bound might be
loose afterwards, or a file holds what is not understood here, nothing is written and the file is rewritten whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from merging.delta.actions import DataFile
from merging.delta.fields import TableField
from merging.delta.footers import footer_bytes
from merging.delta.pages import MAGIC, DamagedPage, NotTaken
from merging.delta.snapshot import Snapshot
from merging.delta.statistics import fewer_rows
from merging.delta.writing.data_files import WrittenFile
from merging.delta.writing.splicer import Cut, Left, splice_file
from merging.errors import MergeFailed
from merging.store.stores import LocalStore

#: Where a page ends at the latest, as most write it: smaller files have one of each column, and keep none.
_ROWS_OF_A_PAGE = 20_000
#: What a splice takes, in parts of the processor's time that DuckDB takes to write the file whole: to copy it, to write
#: all its pages anew, and to take a row out of each (TPC-H lineitem).
_COPYING, _PACKING, _TAKING_OUT = 0.15, 0.55, 26
_BOUNDS = ("minValues", "maxValues")


def splicing_takes(snapshot: Snapshot, file: DataFile, removed: np.ndarray) -> float:
    """How much of the processor's time that DuckDB takes to write the file whole a splice takes, by what is known
    before it is read: about, and without end where it cannot be."""
    rows = snapshot.stored_records(file)
    if rows <= _ROWS_OF_A_PAGE or not _may_be_spliced(snapshot, file):
        return math.inf
    hit = len(np.unique(removed // _ROWS_OF_A_PAGE)) / math.ceil(rows / _ROWS_OF_A_PAGE)
    return _COPYING + _PACKING * hit + _TAKING_OUT * len(removed) / rows


def splice(
    snapshot: Snapshot, file: DataFile, fields: Sequence[TableField], removed: np.ndarray, path: str
) -> WrittenFile | None:
    """The file without the rows of these numbers, under a new path; None where it is to be rewritten in another way:
    nothing is left behind then.

    Raises FileNotFoundError, MergeFailed where the file is missing, no Parquet, or has a page that its checksum does
    not fit.
    """
    if not _may_be_spliced(snapshot, file):
        return None
    store = snapshot.store
    old = store.relative(file.path)
    try:
        with store.opened(old) as source:
            cut = cut_of(snapshot, file, removed)
            with store.writing(path) as place, place.open("xb") as target:
                return as_written(file, fields, path, splice_file(source, target, cut))
    except DamagedPage as error:
        raise MergeFailed(
            f"The data file {old} of {store.uri} is damaged: a page is not what its checksum says. Restore the file, "
            "or the table to a version without it.",
            data={"table_uri": store.uri, "path": old},
        ) from error
    except (NotTaken, MemoryError):
        return None


def cut_of(snapshot: Snapshot, file: DataFile, removed: np.ndarray) -> Cut:
    """What is asked of a file that loses the rows of these numbers. Raises FileNotFoundError, MergeFailed where it is
    missing or no Parquet."""
    store, stated = snapshot.store, file.stats()
    bounded = {path for name in _BOUNDS for path in _paths(stated.get(name), ())}
    footer = footer_bytes(store, store.relative(file.path))[len(MAGIC) :]
    return Cut(footer, np.unique(removed), bounded)


def as_written(file: DataFile, fields: Sequence[TableField], path: str, left: Left) -> WrittenFile:
    """What is left of a file, at its new path. Raises NotTaken where the log counts other columns than it has."""
    try:
        stated = fewer_rows(file, left.rows, left.nulls)
    except (LookupError, ValueError, TypeError, OverflowError) as error:
        raise NotTaken("the log counts other columns") from error
    return WrittenFile(path, left.rows, left.size, fields, {}, stated=stated)


def _paths(stated: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Where something is stated, and where something is below it."""
    if stated is not None and path:
        yield path
    if isinstance(stated, dict):
        for name, within in stated.items():
            yield from _paths(within, (*path, name))


def _may_be_spliced(snapshot: Snapshot, file: DataFile) -> bool:
    # Rows that keep ids have them in a column of their own once they are written again; rows are dead by other means.
    apart = snapshot.row_tracking is not None or file.vector is not None
    return (
        isinstance(snapshot.store, LocalStore) and not apart and file.stats().get("tightBounds") is not False
    )
