"""What an engine is asked, and what it answers: the same whoever reads the files."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import pyarrow as pa

from merging.delta import FileWriter, ShownApart, Snapshot
from merging.sql.paging import ROW_BYTES, bytes_sql
from merging.sql.quoting import column_sql
from merging.sql.session import Session
from merging.sql.types import duckdb_type

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
    were asked for, under their labels and in the table's exact types. They are a table of the session, or lie in a
    ``file``. ``looked`` are the files that were read for them, None for those that were named.
    """

    sql: str
    number: int
    file: str = ""
    looked: Sequence[int] | None = None

    def remove(self, opened: Session) -> None:
        """Remove them: nobody reads the rows again."""
        if self.file:
            os.unlink(self.file)
        else:
            opened.execute(f"DROP TABLE {self.sql}")


@dataclass(frozen=True)
class Images:
    """Rows as they were, ``number`` of them: ``sql`` stands behind FROM in the session and has their numbers as ``n``,
    whether there was such a row (``known``), and as ``v0`` … the ``columns`` that the table has today, in its exact
    types, the ``keys`` among them.
    """

    sql: str
    number: int
    columns: Sequence[str]
    keys: Sequence[str]

    @property
    def sought(self) -> Keys:
        """Their keys."""
        cells = (f"v{self.columns.index(name)} AS {column_sql(name)}" for name in self.keys)
        return Keys(f"(SELECT {', '.join(cells)} FROM {self.sql})", self.keys)


@dataclass(frozen=True)
class Classified:
    """The live rows that have a key of images: in ``others`` with all columns those that differ from theirs, or that
    had none; of those that have the very cells of theirs only where they stand, in the relation ``same`` of the session
    (n, file_index, row_number).
    """

    others: Rows
    same: str


@dataclass(frozen=True)
class Changes:
    """How a table differs from its version, as a merge would leave it.

    ``gone`` are rows of the version that it has no more: keys, beside them ``file_index`` and ``row_number``. ``added``
    stands behind FROM in the session: the rows that come, with all columns under their labels, None where there are
    none. ``types`` are those of its columns; what the version lacks is NULL in its rows, and what it has in another
    type is widened.
    """

    gone: Keys | None
    added: str | None
    types: Mapping[str, pa.DataType]

    def of_none(self) -> Changes:
        """The same columns with the version's own rows."""
        return Changes(None, None, self.types)


@dataclass(frozen=True)
class Aggregates:
    """What is asked of all rows of a table: ``expressions`` in DuckDB's SQL, each an aggregate of the rows ``where`` a
    condition holds, or of each group of them that agrees in the columns ``by``.

    ``columns`` are those that all of it reads, under their labels. ``having`` is a condition on groups, by the names of
    the expressions: ``a0`` is the first. Of groups the ``first`` in the order of ``by`` are told, None for all.
    """

    expressions: Sequence[str]
    columns: Sequence[str]
    where: str = "true"
    by: Sequence[str] = ()
    having: str = "true"
    first: int | None = None


@dataclass(frozen=True)
class Aggregated:
    """What was found, where the session reads it: ``sql`` stands behind FROM and has the columns of ``by``, under their
    labels, and the expressions as ``a0``, ``a1`` … ``number`` is how many groups there are, told or not.
    """

    sql: str
    number: int


@dataclass(frozen=True)
class FirstRows:
    """The first ``number`` rows, in an order, of those where a condition holds: with ``columns``, under their labels.

    ``where`` is DuckDB's SQL and reads the columns ``judged``. ``order`` has columns and whether they fall; NULLs come
    last, or first. With ``widest`` each row tells its ``paging.ROW_BYTES``, and of one that takes more than so many the
    engine may leave out cells, but for those of the order.
    """

    where: str
    judged: Sequence[str]
    order: Sequence[tuple[str, bool]]
    nulls_first: bool
    number: int
    columns: Sequence[str]
    widest: int | None = None

    def told(self, relation: str, schema: pa.Schema) -> str:
        """SQL that stands behind FROM: found rows with all their cells, as they are to be told."""
        if self.widest is None:
            return relation
        types = {column_sql(name): duckdb_type(schema.field(name).type) for name in self.columns}
        return f"(SELECT *, {bytes_sql(types)} AS {ROW_BYTES} FROM {relation})"

    @property
    def order_sql(self) -> str:
        """For ORDER BY of DuckDB."""
        nulls = "FIRST" if self.nulls_first else "LAST"
        return ", ".join(
            f"{column_sql(name)} {'DESC' if falls else 'ASC'} NULLS {nulls}" for name, falls in self.order
        )


class Engine(FileWriter, Protocol):
    """Reads the data files of a table, and writes others. It decides nothing, and it commits nothing.

    ``rewrite`` raises NotSaid, before anything is written, with the places of what the engine would read otherwise.
    """

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

    def classify(self, snapshot: Snapshot, images: Images, files: Collection[int]) -> Classified:
        """The live rows in these files that have a key of the images, told apart by whether they changed. Raises
        NotSaid, before anything is read, where the engine does not tell that apart as DuckDB would.
        """

    def aggregate(self, snapshot: Snapshot, changes: Changes | None, asked: Aggregates) -> Aggregated:
        """Numbers of all live rows, with the changes where there are some. Raises NotSaid, before anything is read,
        where the engine would compute one otherwise than DuckDB.
        """

    def first_rows(self, snapshot: Snapshot, asked: FirstRows, files: Sequence[int] | None) -> Rows:
        """The first live rows, in no order; of these ``files`` alone, None for all. Where they stand is not told.
        Raises NotSaid as ``aggregate`` does.
        """

    def apart(self, gone: ShownApart, come: ShownApart, schema: pa.Schema) -> tuple[str, str]:
        """The rows that each of two versions shows alone, with the columns of a schema: a SELECT for the session for
        either, in which rows may be that both have. Raises NotSaid as ``aggregate`` does.
        """


class NotSaid(Exception):
    """Something that an engine would not compute as DuckDB does, or that nobody proved of it. ``places`` are those of
    the expressions, or of the rewrites, that it is about, where the others can be asked.
    """

    def __init__(self, what: str, places: Sequence[int] = ()) -> None:
        super().__init__(what)
        self.places = tuple(places)
