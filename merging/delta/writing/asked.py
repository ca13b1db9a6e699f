"""What is asked of whoever writes data files: the same whether DuckDB does or a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from merging.delta.fields import TableField
from merging.delta.snapshot import Snapshot
from merging.delta.writing.data_files import ROWS_PER_GROUP, WrittenFile


@dataclass(frozen=True, eq=False)
class Rewrite:
    """Files of one partition, by their indexes, to be written again as one, at `path`: their live rows but those that
    are `removed`, `rows` of them.

    `removed` are the numbers of rows of the one file that it then is; None where all live rows stay. These are written
    in their order, and every one of them is compared.
    """

    files: tuple[int, ...]
    path: str
    rows: int
    removed: np.ndarray | None = None


@dataclass(frozen=True)
class NewFile:
    """Rows that come, to be written at `path`: what a query of the session gives, columns by label, and how many."""

    rows: str
    number: int
    path: str
    rows_per_group: int = ROWS_PER_GROUP


class FileWriter(Protocol):
    """Writes Parquet files under names that nobody knows yet. It decides nothing, and it commits nothing."""

    def rewrite(
        self, snapshot: Snapshot, fields: Sequence[TableField], rewrites: Sequence[Rewrite]
    ) -> list[WrittenFile]:
        """What each rewrite became, in their order; `fields` are the columns that the files hold, beside them what rows
        keep their ids in. Raises MergeFailed where a file is not what it was made from; it must not be committed then.
        """

    def write(
        self,
        snapshot: Snapshot,
        fields: Sequence[TableField],
        files: Iterable[NewFile],
        further: Sequence[str] = (),
    ) -> Iterator[WrittenFile]:
        """The files, in their order. All may be asked for before the first is written, so that what their queries read
        must be there, and the same, until the last is. `further` are columns of the queries that are none of the
        table's.
        """
