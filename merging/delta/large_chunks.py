"""Room for large column chunks: DuckDB holds whole pages of others' files, and those of thousands of rows at a time.

What we write has row groups bounded in bytes. Others write a row group of any size, and some a whole column of it as
one page: what a scan has to hold of it follows from the footer. So much memory is granted to its session, up to what
an operation may take; a chunk that needs more ends in an error that says what to set.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import duckdb

from merging.confinement.bounds import bytes_of
from merging.delta.actions import DataFile
from merging.delta.column_chunks import Chunk, RowGroup, row_groups_in
from merging.delta.fields import TableField
from merging.delta.footers import Footer, footer_bytes
from merging.delta.snapshot import Snapshot
from merging.delta.thrift import BadThrift
from merging.sql.session import grant_memory, limits

_LARGE = 64 << 20
_ROWS_AT_ONCE = 2_048  # of a vector, all of whose pages are held
#: Writers end a page once it is as large, at the latest; but for those that look at it once in a thousand rows.
_PAGE = 128 << 20


def make_room(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    files: Iterable[tuple[DataFile, Footer]],
    wanted: Sequence[TableField],
) -> None:
    """Prepare a session for a scan of these columns of the files.

    Raises MergeFailed and FileNotFoundError as reading their footers does.
    """
    large = [file for file, footer in files if footer.largest_group > _LARGE]
    needed = max((_needed(snapshot, file, wanted) for file in large), default=0)
    if needed <= _LARGE:
        return
    grant_memory(connection, min(needed + _LARGE, bytes_of(limits().memory)))


def _needed(snapshot: Snapshot, file: DataFile, wanted: Sequence[TableField]) -> int:
    footer = footer_bytes(snapshot.store, snapshot.store.relative(file.path))
    try:
        groups = row_groups_in(footer[len(b"PAR1") :])
    except BadThrift:
        return 0  # who reads the file says what is wrong with it
    named = None if snapshot.mapping_mode == "id" else {one.stored_name.casefold() for one in wanted}
    return max((_of_group(group, named) for group in groups), default=0)


def _of_group(group: RowGroup, named: set[str] | None) -> int:
    """What a scan holds of a row group: of each column the pages of a vector of rows, and the one that it unpacks."""
    chunks = [one for one in group.chunks if named is None or one.path.split(".")[0].casefold() in named]
    return sum(2 * _rounded(_held(one, group.rows)) for one in chunks)


def _held(chunk: Chunk, rows: int) -> int:
    whole = chunk.unpacked
    if chunk.dictionary is not None or rows <= _ROWS_AT_ONCE:
        return whole
    return min(whole, max(_PAGE, whole * _ROWS_AT_ONCE // rows))


def _rounded(size: int) -> int:
    """The next power of two: what DuckDB makes room for."""
    return 1 << max(0, size - 1).bit_length()
