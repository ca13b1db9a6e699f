"""What an engine is asked, and what it answers: the same whoever reads the files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from merging.delta import Snapshot

EngineName = Literal["duckdb", "spark"]


@dataclass(frozen=True)
class Keys:
    """Keys that are looked for: ``sql`` stands behind FROM in the session and has the ``columns`` (under their labels)
    in the table's exact types.
    """

    sql: str
    columns: Sequence[str]


@dataclass(frozen=True)
class Rows:
    """Rows of one version of a table, ``number`` of them, where the session reads them: ``sql`` stands behind FROM.

    The columns are ``file_index`` and ``row_number``, as ``Snapshot.files`` and deletion vectors count, and those that
    were asked for, under their labels and in the table's exact types.
    """

    sql: str
    number: int


class Engine(Protocol):
    """Reads the data files of a table. It decides nothing, and it commits nothing."""

    @property
    def name(self) -> EngineName:
        """What plans and results call it."""

    def rows_of(
        self, snapshot: Snapshot, keys: Keys, columns: Sequence[str], files: Collection[int] | None
    ) -> Rows:
        """The live rows that have one of the keys, with these columns; ``files`` are the indexes of those to look into,
        None for all.
        """

    def rows_at(self, snapshot: Snapshot, positions: str, columns: Sequence[str]) -> Rows:
        """The rows at ``positions``, a relation of ``file_index`` and ``row_number``, with these columns."""
