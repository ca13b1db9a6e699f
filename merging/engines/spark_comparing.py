"""What two versions of a table show alone, by Spark: only what differs leaves the cluster.

Spark reads the very files that the versions do not share, as plain Parquet, without the rows that vectors hide, and of
files that both hold the rows that one of them hides. Equal rows of the two cancel there: what is counted is how many
more one version has of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa

from merging.delta import ShownApart
from merging.delta.vectors import read_vector
from merging.engines.protocol import NotSaid
from merging.engines.spark_files import BROADCAST_UP_TO, MOST_POSITIONS, PlainFiles
from merging.engines.spark_sql import require_told_apart
from merging.sql.session import Session

_PACKED = 3  # how much larger rows are than in their files


class Comparing:
    """Rows that either of two versions shows alone, as a question for a session. Raises NotSaid where Spark would not
    read a file, or tell rows apart, as DuckDB does.
    """

    def __init__(
        self,
        opened: Session,
        gone: ShownApart,
        come: ShownApart,
        schema: pa.Schema,
        root_of: Callable[[ShownApart], str],
    ) -> None:
        self._floating = []
        for place, field in enumerate(schema):
            require_told_apart(field.type)
            if pa.types.is_floating(field.type):
                self._floating.append(place)
        self._width = len(schema)
        #: About how many bytes of rows differ at most.
        self.size = _PACKED * (gone.bytes + come.bytes)
        self._sides = [
            (sign, _Side(opened, one, schema, root_of(one)))
            for sign, one in ((-1, gone), (1, come))
            if one.files
        ]

    def rows(self, session: Any, functions: Any, typed: Callable[[dict[str, Any]], Any]) -> Any:
        """The rows as ``c0`` …, with ``n``: how many more the later version has of them, below zero for how many
        fewer.
        """
        sides = [
            side.rows(session, functions, typed).select("*", functions.lit(sign).cast("long").alias("n"))
            for sign, side in self._sides
        ]
        frame = reduce(lambda left, right: left.unionAll(right), sides)
        names = [f"c{place}" for place in range(self._width)]
        # What is grouped by loses the sign of a zero; either row may be shown.
        as_stored = {f"c{place}": functions.first(f"c{place}").alias(f"v{place}") for place in self._floating}
        counted = frame.groupBy(*names).agg(functions.sum("n").alias("n"), *as_stored.values())
        shown = [f"v{name[1:]}" if name in as_stored else name for name in names]
        return counted.filter(functions.col("n") != 0).select(
            *(functions.col(one).alias(name) for one, name in zip(shown, names, strict=True)), "n"
        )


class _Side:
    """The rows of one version."""

    def __init__(self, opened: Session, standing: ShownApart, schema: pa.Schema, root: str) -> None:
        snapshot = standing.snapshot
        files = snapshot.files.at(standing.files)
        self._stored = PlainFiles(opened, snapshot, files, schema, root)
        self._number = len(files)
        self._whole = len(standing.whole)
        dead = [(place, file.vector) for place, file in enumerate(files[: self._whole]) if file.vector]
        if sum(file.dead_rows for file in files[: self._whole]) > MOST_POSITIONS:
            raise NotSaid("so many rows that are gone")
        self._gone = _positions(
            [(place, np.fromiter(read_vector(snapshot.store, vector), np.int64)) for place, vector in dead]
        )
        self._kept = _positions([(self._whole + nth, rows) for nth, (_, rows) in enumerate(standing.partly)])

    def rows(self, session: Any, functions: Any, typed: Callable[[dict[str, Any]], Any]) -> Any:
        """Its rows with the cells ``c0`` …."""
        wanted = [
            (slice(0, self._whole), self._gone, "left_anti"),
            (slice(self._whole, self._number), self._kept, "left_semi"),
        ]
        read = [self._read(session, functions, typed, *one) for one in wanted if one[0].start < one[0].stop]
        return reduce(lambda left, right: left.unionAll(right), read)

    def _read(
        self,
        session: Any,
        functions: Any,
        typed: Callable[[dict[str, Any]], Any],
        places: slice,
        positions: pa.Table,
        how: str,
    ) -> Any:
        rows = self._stored.rows(session, functions, typed, places)
        if how == "left_semi" or len(positions):
            marked = session.createDataFrame(positions)
            held_by_all = positions.nbytes <= BROADCAST_UP_TO
            same = [rows["f"] == marked["file"], rows["r"] == marked["number"]]
            rows = rows.join(functions.broadcast(marked) if held_by_all else marked, same, how)
        return rows.drop("f", "r")


def _positions(found: list[tuple[int, np.ndarray]]) -> pa.Table:
    """Rows by the number of their file within the work, and their own."""
    files = np.repeat(np.array([place for place, _ in found], np.int32), [len(rows) for _, rows in found])
    rows = np.concatenate([np.array([], np.int64), *(rows for _, rows in found)])
    return pa.table({"file": pa.array(files, pa.int32()), "number": pa.array(rows, pa.int64())})
