"""Between which bounds a column lies in each file of a version, as columns, made once for each block of files.

What most statistics state (numbers of up to fifteen digits, plain texts) is taken from their JSON by DuckDB, many files
at once. Whatever else they say is read value by value, by the same rules (``bounds``).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from merging.delta.actions import no_number, read_stats
from merging.delta.active_files import FileBlock
from merging.delta.partitions import ZONE_PROPERTY, in_zone, is_instant
from merging.delta.snapshot import Snapshot
from merging.delta.statistics.bounds import Bounds, partition_reader_of, reader_of
from merging.sql.quoting import literal
from merging.sql.session import Session, session
from merging.sql.types import is_text

#: Of fewer files the statistics are read one by one: a session costs more.
_MANY = 200
_PLAIN_NUMBER = "^-?[0-9]{1,15}$"
#: A text of ASCII without escapes that does not end as one does that was cut (see ``bounds``).
_PLAIN_TEXT = r'^"([ !#-\[\]-}]*[ !#->@-\[\]-}])"$'


def bounds_of(snapshot: Snapshot, name: str) -> pa.Table:
    """``low`` and ``high`` of the column's type in each file, NULL where there is no bound; ``nulls``, how many NULLs
    it has where that is stated; and ``never``: that all its rows are NULL there, in a partition of NULLs.
    """
    data_type, stored = snapshot.schema.field(name).type, snapshot.physical_names[name]
    is_partition = name in snapshot.partition_columns
    zone = snapshot.properties.get(ZONE_PROPERTY)
    with _Texts(stored) as texts:
        derive: Callable[[FileBlock], pa.RecordBatch]
        if is_partition:
            derive = functools.partial(_of_partitions, snapshot.properties, name, stored, data_type)
        else:
            derive = functools.partial(_of_statistics, texts, data_type)
        return snapshot.files.derived(("bounds", stored, is_partition, data_type, zone), derive)


def _of_partitions(
    properties: Mapping[str, str], name: str, stored: str, data_type: pa.DataType, block: FileBlock
) -> pa.RecordBatch:
    texts = pc.map_lookup(block.columns.column("partition"), pa.scalar(stored), "last").dictionary_encode()
    read = partition_reader_of(data_type)
    bounds: list[Bounds] = []
    for value in texts.dictionary.to_pylist():
        zoned = in_zone(properties, name, value) if value and is_instant(data_type) else value
        bounds.append(read(zoned, zoned) if zoned or (zoned == "" and is_text(data_type)) else (None, None))
    lows, highs = (bound_array(data_type, [one[side] for one in bounds]) for side in (0, 1))
    never = pc.is_null(texts)
    if not is_text(data_type):
        never = pc.or_kleene(never, pc.equal(texts.cast(pa.string()), "")).fill_null(True)
    return _batch(
        lows.take(texts.indices), highs.take(texts.indices), pa.nulls(len(texts), pa.int64()), never
    )


def _of_statistics(texts: _Texts, data_type: pa.DataType, block: FileBlock) -> pa.RecordBatch:
    found = [_of_run(texts, data_type, stats) for stats in block.stats.runs()]
    if len(found[0]) >= _MANY:
        # What the allocator keeps of memory that nobody has any more is several times what the bounds take.
        pa.default_memory_pool().release_unused()
    [together] = pa.Table.from_batches(found).combine_chunks().to_batches() or found
    return together


def _of_run(stating: _Texts, data_type: pa.DataType, stats: pa.Array) -> pa.RecordBatch:
    read, stored = reader_of(data_type), stating.stored
    never = pa.array(np.zeros(len(stats), bool))
    if len(stats) < _MANY:
        low, high, nulls = _one_by_one(stats.to_pylist(), stored, data_type)
        return _batch(low, high, nulls, never)
    texts = stating.taken(stats)
    low, high, plain = _plain(data_type, texts.column("low"), texts.column("high"))
    left = np.flatnonzero(~plain)
    if len(left):
        known: dict[tuple[str | None, str | None], Bounds] = {}
        bounds: list[Bounds] = []
        taken = texts.take(pa.array(left))
        pairs = zip(taken.column("low").to_pylist(), taken.column("high").to_pylist(), strict=True)
        for row, pair in zip(left.tolist(), pairs, strict=True):
            if pair not in known:
                stated = [_value(text) for text in pair]
                if (
                    _UNCLEAR in stated
                ):  # a number that DuckDB wrote anew: its digits stand in the statistics alone
                    bounds.append(read(*_stated(stats[row].as_py(), stored)[:2]))
                    continue
                known[pair] = read(*stated)
            bounds.append(known[pair])
        low, high = (
            _put(array, left, bound_array(data_type, [one[side] for one in bounds]))
            for array, side in ((low, 0), (high, 1))
        )
    counts = texts.column("nulls")
    whole = pc.match_substring_regex(counts, "^[0-9]{1,15}$").fill_null(False)
    nulls = pc.if_else(whole, counts, pa.scalar(None, pa.string())).cast(pa.int64())
    return _batch(low, high, nulls, never)


def _batch(low: pa.Array, high: pa.Array, nulls: pa.Array, never: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([low, high, nulls, never], ["low", "high", "nulls", "never"])


def _one_by_one(
    stats: Sequence[str | None], stored: str, data_type: pa.DataType
) -> tuple[pa.Array, pa.Array, pa.Array]:
    read = reader_of(data_type)
    stated = [_stated(text, stored) for text in stats]
    bounds = [read(low, high) for low, high, _ in stated]
    lows, highs = (bound_array(data_type, [one[side] for one in bounds]) for side in (0, 1))
    counts = [nulls if type(nulls) is int and 0 <= nulls < 10**15 else None for _, _, nulls in stated]
    return lows, highs, pa.array(counts, pa.int64())


def _stated(stats_json: str | None, stored: str) -> tuple[Any, Any, Any]:
    """What statistics say of a column: its least and its greatest value, and how many NULLs it has."""
    stats = read_stats(stats_json)
    found = (stats.get(kind) for kind in ("minValues", "maxValues", "nullCount"))
    low, high, nulls = (one.get(stored) if isinstance(one, dict) else None for one in found)
    return low, high, nulls


class _Texts:
    """The JSON texts of what statistics say of a column, in one session for all files, which is opened when needed."""

    def __init__(self, stored: str) -> None:
        self.stored = stored
        pointer = stored.replace("~", "~0").replace("/", "~1")
        places = ", ".join(literal(f"/{kind}/{pointer}") for kind in ("minValues", "maxValues", "nullCount"))
        self._query = (
            "SELECT x[1]::VARCHAR AS low, x[2]::VARCHAR AS high, x[3]::VARCHAR AS nulls FROM (SELECT CASE WHEN "
            f"json_valid(stats) THEN json_extract(stats, [{places}]) END AS x FROM headgate_statistics)"
        )
        self._ends = ExitStack()
        self._session: Session | None = None

    def __enter__(self) -> _Texts:
        return self

    def __exit__(self, *raised: Any) -> None:
        self._ends.__exit__(*raised)

    def taken(self, stats: pa.Array) -> pa.RecordBatch:
        """``low``, ``high``, ``nulls`` in each of the statistics, NULL where they say nothing."""
        if self._session is None:
            self._session = self._ends.enter_context(session())
        opened = self._session
        opened.connection.register("headgate_statistics", pa.table({"stats": stats}))
        try:
            found = opened.table(self._query)
        finally:
            opened.connection.unregister("headgate_statistics")
        arrays = [found.column(name).combine_chunks() for name in ("low", "high", "nulls")]
        return pa.RecordBatch.from_arrays(arrays, ["low", "high", "nulls"])


def _plain(data_type: pa.DataType, low: pa.Array, high: pa.Array) -> tuple[pa.Array, pa.Array, np.ndarray]:
    """The bounds of the files in which both are stated plainly, and which those are."""
    if pa.types.is_integer(data_type):
        plain = _both(_PLAIN_NUMBER, low, high)
        limit = 1 << (data_type.bit_width - 1)
        numbers = [
            np.clip(pc.if_else(plain, text, "0").cast(pa.int64()).to_numpy(), -limit, limit - 1)
            for text in (low, high)
        ]
        known = plain.to_numpy(zero_copy_only=False) & (numbers[0] <= numbers[1])
        lowest, highest = (pa.array(one, data_type, mask=~known) for one in numbers)
        return lowest, highest, known
    if pa.types.is_string(data_type):
        plain = _both(_PLAIN_TEXT, low, high)
        least, most = (pc.utf8_slice_codeunits(pc.if_else(plain, one, '" "'), 1, -1) for one in (low, high))
        last = pc.index_in(pc.utf8_slice_codeunits(most, -1), value_set=_ascii())
        after = pc.binary_join_element_wise(
            pc.utf8_slice_codeunits(most, 0, -1), _ascii().take(pc.add(last, 1)), ""
        )
        known = pc.and_(plain, pc.less_equal(least, after)).to_numpy(zero_copy_only=False)
        nothing, kept = pa.scalar(None, pa.string()), pa.array(known)
        return pc.if_else(kept, least, nothing), pc.if_else(kept, after, nothing), known
    empty = bound_array(data_type, [None] * len(low))
    return empty, empty, np.zeros(len(low), bool)


@functools.cache
def _ascii() -> pa.Array:
    return pa.array([chr(code) for code in range(0x20, 0x80)], pa.string())


def _both(pattern: str, low: pa.Array, high: pa.Array) -> pa.Array:
    fits = [pc.match_substring_regex(one, pattern).fill_null(False) for one in (low, high)]
    return pc.and_(*fits)


_UNCLEAR = object()


def _value(text: str | None) -> Any:
    """What a JSON text is, as statistics are read; ``_UNCLEAR`` for numbers that may have lost digits."""
    if text is None:
        return None
    found = json.loads(text, parse_float=Decimal, parse_constant=no_number)
    is_number = isinstance(found, int | Decimal) and not isinstance(found, bool)
    return _UNCLEAR if is_number and (isinstance(found, Decimal) or len(text) > 15) else found


def _put(array: pa.Array, places: np.ndarray, values: pa.Array) -> pa.Array:
    """The array with other values at these places."""
    order = np.arange(len(array))
    order[places] = len(array) + np.arange(len(places))
    return pa.concat_arrays([array, values]).take(pa.array(order))


def bound_array(data_type: pa.DataType, values: Sequence[Any]) -> pa.Array:
    """Bounds as ``bounds`` has them, in the type of their column."""
    if pa.types.is_timestamp(data_type):
        return pa.array(values, pa.int64()).cast(data_type)
    if pa.types.is_date(data_type):
        return pa.array(values, pa.int32()).cast(data_type)
    return pa.array(values, data_type)
