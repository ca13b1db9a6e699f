"""Files of choices for conflicts, as somebody sends them back: read by a confined process, a line for each choice.

The columns are those that a download of conflicts has, in any order: ``inputs_digest`` and ``choice`` must be there,
``column`` where cells are chosen for, ``value`` where a choice is custom. The key columns are compared where they are
there, ``seen`` (the digest of the choice that stood, empty for none) counts where it is. A line without a choice is
left out, and so is what else stands in the file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from merging.confinement import Bounds, run_confined
from merging.sql.session import Limits, limits, set_limits
from merging.sql.values import python_values, text_form
from merging.staging.sources import Problems, open_source
from merging.staging.sources.base import refuse

CHOICE_COLUMNS = ("column", "kind", "base", "current", "proposed", "choice", "value", "inputs_digest", "seen")
_NEEDED = ("choice", "inputs_digest")
_TEXTS = ("column", "choice", "value", "inputs_digest", "seen")
_CHILD = "merging.staging.choices:read_in_child"


@dataclass(frozen=True)
class ChoiceLine:
    """One choice of a file, with the line that it stands on. ``value`` is the text of a cell, or None for NULL; ``key``
    holds the key columns that the file has, as texts; ``seen`` is None where the file does not tell.
    """

    line: int
    key: Mapping[str, str | None]
    column: str | None
    choice: str
    value: str | None
    inputs_digest: str
    seen: str | None


def free_names(keys: Sequence[str]) -> dict[str, str]:
    """What the columns of a file of conflicts are called beside the key columns, which keep their names."""
    names: dict[str, str] = {}
    for name in CHOICE_COLUMNS:
        free = name
        while free in keys or free in names.values():
            free += "_"
        names[name] = free
    return names


def read_choices(
    path: str,
    file_format: str,
    primary_keys: Sequence[str],
    *,
    bounds: Bounds,
    scratch: str,
    most: int,
) -> list[ChoiceLine]:
    """The choices of a CSV or Parquet file. Raises StagingRejected with what is wrong, line by line, and ``Confined…``
    where the process that read it did not come to its end.
    """
    answer = run_confined(
        _CHILD,
        {
            "path": path,
            "file_format": file_format,
            "primary_keys": list(primary_keys),
            "scratch": scratch,
            "limits": vars(limits()),
            "most": most,
        },
        bounds,
    )
    return [ChoiceLine(**one) for one in answer["choices"]]


def read_in_child(argument: Mapping[str, Any], _: Any) -> dict[str, Any]:
    """What the child does: read the file, and tell its choices."""
    set_limits(Limits(**argument["limits"]))
    tempfile.tempdir = argument["scratch"]
    names = free_names(argument["primary_keys"])
    problems = Problems()
    source = open_source(argument["path"], {}, problems, file_format=argument["file_format"])
    missing = [names[name] for name in _NEEDED if names[name] not in source.columns]
    if missing:
        raise refuse("missing_column", f"the file has no column {missing[0]}.", line=source.header_line)
    found: list[dict[str, Any]] = []
    for batch in source.reader():
        found += _choices(batch, source.columns, names, argument["primary_keys"])
        if len(found) > argument["most"]:
            raise refuse("too_many", f"the file has more than {argument['most']:,} choices.")
    lines = source.lines({one["line"] for one in found} | problems.ordinals())
    if problems.total:
        raise problems.rejection(lines, source.columns)
    return {"choices": [{**one, "line": lines[one["line"]]} for one in found]}


def _choices(
    batch: pa.RecordBatch, columns: Sequence[str], names: Mapping[str, str], keys: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The rows of a batch that choose, their lines given by their numbers."""
    wanted = [*keys, *(names[name] for name in _TEXTS)]
    cells = {
        name: [_text(value) for value in python_values(batch.column(f"f{place}"))]
        for place, name in enumerate(columns)
        if name in wanted
    }
    nothing = [None] * batch.num_rows
    texts = {name: cells.get(names[name], nothing) for name in _TEXTS}
    for row, ordinal in enumerate(batch.column("ordinal").to_pylist()):
        if not texts["choice"][row]:
            continue
        yield {
            "line": ordinal,
            "key": {name: cells[name][row] for name in keys if name in cells},
            "column": texts["column"][row] or None,
            "choice": texts["choice"][row],
            "value": texts["value"][row],
            "inputs_digest": texts["inputs_digest"][row] or "",
            "seen": (texts["seen"][row] or "") if names["seen"] in cells else None,
        }


def _text(value: Any) -> str | None:
    return None if value is None else text_form(value)
