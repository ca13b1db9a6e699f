"""What is looked at, as rows: the table's, a diff's, conflicts. Each turns into pandas, Polars or Arrow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import pyarrow as pa

from headgate import display, models
from headgate.downloads import Download

if TYPE_CHECKING:
    import pandas
    import polars


class Tabular:
    """Something that is a table: ``to_arrow()`` is its own, the others follow from it."""

    def to_arrow(self) -> pa.Table:
        """As a table of pyarrow."""
        raise NotImplementedError

    def to_pandas(self) -> pandas.DataFrame:
        """As a frame of pandas, with the types of Arrow: no integer turns into a float beside missing values."""
        import pandas

        return self.to_arrow().to_pandas(types_mapper=pandas.ArrowDtype)

    def to_polars(self) -> polars.DataFrame:
        """As a frame of Polars."""
        import polars

        frame = polars.from_arrow(self.to_arrow())
        assert isinstance(frame, polars.DataFrame)  # noqa: S101  (a table never is a series)
        return frame


class Conflicts(Tabular, Sequence[models.Conflict]):
    """Cells or rows that Current and Proposed both changed, those with a choice included."""

    def __init__(self, cr_id: str, pages: Sequence[models.ConflictsPage]) -> None:
        self.cr_id = cr_id
        self._conflicts = [conflict for page in pages for conflict in page["results"]]
        self.table_version = pages[-1]["table_version"]
        self.unresolved = pages[-1]["unresolved"]
        #: What stands for each column with conflicts: to be sent back as ``seen`` with a choice for the column.
        self.selections: Mapping[str, str] = pages[-1]["selections"]
        self._standing = {
            conflict_id(choice): choice["digest"] for page in pages for choice in page["choices"]
        }

    @overload
    def __getitem__(self, index: int) -> models.Conflict: ...
    @overload
    def __getitem__(self, index: slice) -> list[models.Conflict]: ...
    def __getitem__(self, index: int | slice) -> models.Conflict | list[models.Conflict]:
        return self._conflicts[index]

    def __len__(self) -> int:
        return len(self._conflicts)

    def __iter__(self) -> Iterator[models.Conflict]:
        return iter(self._conflicts)

    def __repr__(self) -> str:
        return f"<Conflicts of {self.cr_id}: {len(self)}, {self.unresolved} without a choice>"

    def _repr_html_(self) -> str:
        return display.conflicts_html(self.cr_id, self._conflicts)

    def seen_for(self, conflict: Mapping[str, Any]) -> str:
        """The digest of the choice that stands for a conflict; empty where none does."""
        return self._standing.get(conflict_id(conflict), "")

    def to_arrow(self) -> pa.Table:
        """One row a conflict: its key, ``column``, ``kind``, the values, ``choice``, ``value``, ``inputs_digest``.

        Values of all columns stand beneath each other, so they are JSON text; ``choice`` and ``value`` may be filled in
        and given to ``resolve``.
        """
        keys = list(self._conflicts[0]["key"]) if self._conflicts else []
        rows = [
            {
                **{name: _key_cell(value) for name, value in one["key"].items()},
                "column": one["column"],
                "kind": one["kind"],
                **{name: json.dumps(one[name]) for name in ("base", "current", "proposed")},
                "choice": one["choice"],
                "value": json.dumps(one["value"]) if one["choice"] == "custom" else None,
                "inputs_digest": one["inputs_digest"],
            }
            for one in self._conflicts
        ]
        columns = [*keys, "column", "kind", "base", "current", "proposed", "choice", "value", "inputs_digest"]
        text = [pa.field(name, pa.string()) for name in columns[len(keys) :]]
        typed = [pa.field(name, _key_type([row[name] for row in rows])) for name in keys]
        return pa.Table.from_pylist(rows, schema=pa.schema([*typed, *text]))


def conflict_id(named: Mapping[str, Any]) -> str:
    """What tells a conflict or a choice for it from others: its key and column."""
    return json.dumps([named["key"], named["column"]], sort_keys=True)


def _key_cell(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool)) or value is None else json.dumps(value)


def _key_type(values: Sequence[Any]) -> pa.DataType:
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return pa.int64()
    return pa.infer_type(values) if values else pa.string()


class Rows(Tabular):
    """Rows of a table, of one version."""

    def __init__(self, name: str, found: Download) -> None:
        self.name = name
        self._found = found

    def __repr__(self) -> str:
        return f"<Rows of {self.name}, version {self.version}>"

    @property
    def version(self) -> int | None:
        """The version of the table that they are read from."""
        return self._found.version

    @property
    def schema(self) -> pa.Schema:
        """Their columns."""
        return self._found.schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows batch by batch, for those who cannot hold all of them."""
        return self._found.batches()

    def to_arrow(self) -> pa.Table:
        """As a table of pyarrow."""
        return self._found.table()


class Diff(Tabular):
    """What a change request changes, or two versions or revisions differ in: one row for each row changed.

    As a table: ``_op``, the key, then for each column that differs somewhere its two values, called by its name and,
    behind a dot, the side. Iterated over: one by one, with the cells that differ.
    """

    def __init__(self, title: str, found: Download) -> None:
        self.title = title
        self._found = found
        self._operation, *names = found.schema.names
        self._pairs = _pairs_at_the_end(names)
        self._keys = names[: len(names) - 2 * len(self._pairs)]

    def __len__(self) -> int:
        return sum(batch.num_rows for batch in self._found.batches())

    def __iter__(self) -> Iterator[models.RowChange]:
        for batch in self._found.batches():
            for row in batch.to_pylist():
                yield self._change(row)

    def __repr__(self) -> str:
        return f"<Diff of {self.title}: {len(self)} rows>"

    def _repr_html_(self) -> str:
        return display.diff_html(self.title, iter(self), len(self))

    def _change(self, row: Mapping[str, Any]) -> models.RowChange:
        operation = row[self._operation]
        cells: list[models.Cell] = [
            {"column": before.rpartition(".")[0], "base": row[before], "proposed": row[after]}
            for before, after in self._pairs
            if operation != "update" or not _same(row[before], row[after])
        ]
        return {"operation": operation, "key": {name: row[name] for name in self._keys}, "cells": cells}

    def to_arrow(self) -> pa.Table:
        """As a table of pyarrow."""
        return self._found.table()


def _pairs_at_the_end(names: Sequence[str]) -> list[tuple[str, str]]:
    """The columns that are two values of one column, from the end as long as they are."""
    pairs: list[tuple[str, str]] = []
    while len(names) >= 2:
        before, after = names[-2:]
        if "." not in before or before.rpartition(".")[0] != after.rpartition(".")[0]:
            break
        pairs.insert(0, (before, after))
        names = names[:-2]
    return pairs


def _same(one: Any, other: Any) -> bool:
    """Whether two values are one; NaN is itself."""
    return bool(one == other or (one != one and other != other))
