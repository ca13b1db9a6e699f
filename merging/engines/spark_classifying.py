"""Which of very many rows changed since they were staged, told by Spark: only those that did leave the cluster whole.

Their images are laid beside the table as Parquet, where executors can read them, and are joined there with the rows of
today. A row is the same where every cell is, to the sign of a zero: of it comes where it stands. What came to it, went
from it or is in conflict is decided here, of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from merging.delta import Snapshot, TableField
from merging.engines.protocol import Images, NotSaid
from merging.engines.spark_sql import require_told_apart


class Classifying:
    """Rows beside their images, as a question for a session. Raises NotSaid where Spark would not tell values apart as
    DuckDB does. ``fields`` are the columns of the images.
    """

    def __init__(self, snapshot: Snapshot, images: Images) -> None:
        self._images = images
        self._schema = pa.schema([snapshot.schema.field(name) for name in images.columns])
        for field in self._schema:
            require_told_apart(field.type)
            if field.name in snapshot.rules.compared_otherwise:
                raise NotSaid(f"the column {field.name}, which is compared otherwise")
        cells = [TableField(f"v{at}", f"v{at}", None, field.type) for at, field in enumerate(self._schema)]
        number, known = (TableField(*2 * (name,), None, kind) for name, kind in _OWN.items())
        self.fields = [number, known, *cells]

    def rows(self, placed: Any, images: Any) -> Any:
        """Of placed rows those that have a key of the images, as ``f`` and ``r``: with ``n`` where they are the same,
        else with one entry in ``cells``.
        """
        places = [self._images.columns.index(name) for name in self._images.keys]
        beside = placed.join(images, [placed[f"c{at}"] == images[f"v{at}"] for at in places], "inner")
        same = " AND ".join(["known", *(_same(at, field.type) for at, field in enumerate(self._schema))])
        cells = ", ".join(f"c{at}" for at in range(len(self._schema)))
        return beside.selectExpr("*", f"({same}) AS same").selectExpr(
            "f",
            "r",
            "CASE WHEN same THEN n END AS n",
            f"filter(array(struct({cells})), one -> NOT same) AS cells",
        )

    def apart(
        self, answers: Iterator[pa.Table], take_same: Callable[[pa.Table], object]
    ) -> Iterator[pa.Table]:
        """The rows that are not the same, with their cells as ``c0`` …; the others are given away."""
        for answer in answers:
            is_same = pc.is_valid(answer.column("n"))
            take_same(answer.filter(is_same).select(["f", "r", "n"]))
            others = answer.filter(pc.invert(is_same))
            cells = others.column("cells").combine_chunks().flatten()
            named = {f"c{at}": cell for at, cell in enumerate(cells.flatten())}
            yield pa.table({"f": others.column("f"), "r": others.column("r"), **named})


_OWN = {"n": pa.int64(), "known": pa.bool_()}


def _same(place: int, data_type: pa.DataType) -> str:
    if pa.types.is_floating(data_type):  # zeros have a sign as texts
        return f"CAST(c{place} AS STRING) <=> CAST(v{place} AS STRING)"
    return f"c{place} <=> v{place}"
