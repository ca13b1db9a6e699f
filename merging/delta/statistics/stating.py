"""What we state of the files that we write; a bound that cannot be stated exactly is left out."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from merging.delta.actions import DataFile
from merging.sql.quoting import quote


def written_stats(
    columns: Mapping[tuple[str, ...], pa.DataType], returned: Mapping[str, Mapping[str, str]], rows: int
) -> str:
    """The stats text for a file that DuckDB wrote: `returned` is the column_statistics of COPY's RETURN_STATS.

    `columns` are told by the stored names that lead to them from the top: several where they lie in structs, whose
    statistics lie in objects likewise. Nested ones themselves have none.
    """
    lows: dict[str, Any] = {}
    highs: dict[str, Any] = {}
    nulls: dict[str, Any] = {}
    for path, data_type in columns.items():
        column = returned.get(".".join(quote(name) for name in path))
        if column is None or pa.types.is_nested(data_type):
            continue
        if "null_count" in column:
            _place(nulls, path, int(column["null_count"]))
        if column.get("min_is_exact") != "true" or column.get("max_is_exact") != "true":
            continue
        if column.get("has_nan") == "true":
            continue
        low, high = _stat_value(data_type, column["min"]), _stat_value(data_type, column["max"])
        if low is not None and high is not None:
            if pa.types.is_floating(data_type):
                # -0.0 and 0.0 are one value to some readers and two to others: both lie within.
                low, high = (-0.0 if low == 0 else low), (0.0 if high == 0 else high)
            _place(lows, path, low)
            _place(highs, path, high)
    return _dump({"numRecords": rows, "minValues": lows, "maxValues": highs, "nullCount": nulls})


def _place(stated: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        stated = stated.setdefault(name, {})
    stated[path[-1]] = value


def loose_stats(file: DataFile, physical: int) -> str:
    """The stats text of a file with a vector: bounds may be wider than the live rows, and the count is `physical`.

    The text's members are taken over as they stand, so that bounds keep every digit they had; what is no statistics
    is left out.
    """
    members = _members(file.stats_json or "") if file.stats() else {}
    members["numRecords"], members["tightBounds"] = str(physical), "false"
    return _joined(members)


def fewer_rows(file: DataFile, rows: int, nulls: Mapping[tuple[str, ...], int]) -> str:
    """The stats text of a file with fewer rows and the same bounds, which are taken over as they stand: `nulls` went
    from its columns, by the stored names that lead to them. Raises LookupError for counts of columns that it lacks.
    """
    stated = file.stats()
    members = _members(file.stats_json or "") if stated else {}
    kept: dict[str, str] = {name: members[name] for name in ("minValues", "maxValues") if name in members}
    counts = stated.get("nullCount")
    if isinstance(counts, dict):
        kept["nullCount"] = _dump(_less(counts, nulls, ()))
    return _joined({"numRecords": str(rows), **kept})


def _less(
    counts: Mapping[str, Any], nulls: Mapping[tuple[str, ...], int], path: tuple[str, ...]
) -> dict[str, Any]:
    left: dict[str, Any] = {}
    for name, count in counts.items():
        here = (*path, name)
        left[name] = _less(count, nulls, here) if isinstance(count, dict) else int(count) - nulls[here]
    return left


def _joined(members: Mapping[str, str]) -> str:
    return (
        "{"
        + ",".join(f"{json.dumps(name, ensure_ascii=False)}:{text}" for name, text in members.items())
        + "}"
    )


_BLANK = re.compile(r"[ \t\n\r]*")


def _members(text: str) -> dict[str, str]:
    """The members of a JSON object (known to be one), each value as its text."""
    scan = json.JSONDecoder().raw_decode
    members = {}
    position = _after_blank(text, text.index("{") + 1)
    while text[position] != "}":
        name, position = scan(text, position)
        start = _after_blank(text, _after_blank(text, position) + 1)
        _, position = scan(text, start)
        members[name] = text[start:position]
        position = _after_blank(text, position)
        if text[position] == ",":
            position = _after_blank(text, position + 1)
    return members


def _after_blank(text: str, position: int) -> int:
    found = _BLANK.match(text, position)
    return found.end() if found else position


def _dump(stats: Mapping[str, Any]) -> str:
    return json.dumps(stats, separators=(",", ":"), ensure_ascii=False)


def _stat_value(data_type: pa.DataType, text: str) -> Any:
    """A bound as the log states it, None for types whose bounds we leave out."""
    if pa.types.is_integer(data_type):
        return int(text)
    if pa.types.is_floating(data_type):
        # A single is stated by the double that it is, not by the shorter text that DuckDB prints for it.
        value = float(np.float32(text)) if pa.types.is_float32(data_type) else float(text)
        return None if math.isinf(value) else value
    if pa.types.is_decimal(data_type):
        return _decimal_number(text)
    if pa.types.is_date(data_type):
        return text if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) else None
    if pa.types.is_timestamp(data_type):
        return _timestamp_bound(data_type, text)
    if pa.types.is_string(data_type):
        return text if len(text) <= 256 else None
    return None


def _decimal_number(text: str) -> Any:
    """Decimals go through doubles in most readers: stated only where a double holds them exactly enough."""
    digits = text.lstrip("-").replace(".", "").lstrip("0")
    if len(digits) > 15:
        return None
    return float(text) if "." in text else int(text)


def _timestamp_bound(data_type: pa.DataType, text: str) -> str | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    plain = moment.replace(tzinfo=None).isoformat(timespec="microseconds")
    return plain + "Z" if data_type.tz else plain
