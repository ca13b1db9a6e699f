"""Which of the rows that are proposed differ from the table's: found here, so that only those are sent.

A row equals the table where its key and all the values that it brings stand there already. Rows are compared by 128-bit
digests of their exact values under the table's types, keyed anew for each comparison: NULL equals NULL, NaN equals NaN,
-0.0 does not equal 0.0, a decimal is its digits, a timestamp its moment. Whatever cannot be compared exactly counts as
different and is sent: the server judges it. Sixteen bytes a proposed row are kept, and a batch of the table.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headgate.errors import ContentUnusable

Words = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

#: The column that says what becomes of a row, and what it says where equal rows need nothing.
OPERATION = "_op"
WITHOUT_EFFECT_WHERE_EQUAL = ("", "update", "upsert")
#: Values that are longer are digested one by one.
LONGEST_IN_WORDS = 256


@dataclass(frozen=True)
class Comparison:
    """Rows that are proposed against rows of a table with the columns ``table``, of which ``keys`` are the key."""

    table: pa.Schema
    keys: Sequence[str]
    secret: int = field(default_factory=lambda: secrets.randbits(64))

    def differing(
        self, proposed: Callable[[], Iterable[pa.RecordBatch]], current: Iterable[pa.RecordBatch]
    ) -> Mask:
        """For each proposed row, in order, whether it differs. ``current`` has the columns of ``table``.

        Rows that share a key are kept or dropped together: what contradicts itself stays so.
        """
        rows, names, is_surely_different = self._digests_of_proposed(proposed())
        order = np.argsort(rows["a"])
        ordered, found = rows[order], np.zeros(len(rows), bool)
        for batch in current:
            digests = _digests([batch.column(name) for name in self.table.names], self.secret)
            _mark(ordered, digests, found)
        differs = np.empty(len(rows), bool)
        differs[order] = ~found
        differs |= is_surely_different
        kept: Mask = differs | np.isin(names, names[differs])
        return kept

    def _digests_of_proposed(self, batches: Iterable[pa.RecordBatch]) -> tuple[npt.NDArray[Any], Words, Mask]:
        """Of each row the digest of what is compared, that of its key, and whether it need not be compared."""
        rows, keys, surely = [_NO_ROWS], [np.empty(0, np.uint64)], [np.empty(0, bool)]
        for batch in batches:
            different = _has_other_effect(batch) | _has_new_values(batch, self.table)
            columns = []
            for name in self.table.names:
                column, is_unlike = fitted(batch.column(name), self.table.field(name).type)
                different |= is_unlike
                columns.append(column)
            rows.append(_digests(columns, self.secret))
            keys.append(_digests([batch.column(name) for name in self.keys], self.secret)["a"])
            surely.append(different)
        return np.concatenate(rows), np.concatenate(keys), np.concatenate(surely)


_DIGEST = np.dtype([("a", np.uint64), ("b", np.uint64)])
_NO_ROWS = np.empty(0, _DIGEST)


def _mark(ordered: npt.NDArray[Any], digests: npt.NDArray[Any], found: Mask) -> None:
    """Mark those of the ordered digests that are among others."""
    if not len(ordered):
        return
    first = np.searchsorted(ordered["a"], digests["a"], "left")
    last = np.searchsorted(ordered["a"], digests["a"], "right")
    # Nearly always there is one candidate; the second half decides.
    single = last - first == 1
    at = first[single]
    found[at[ordered["b"][at] == digests["b"][single]]] = True
    several = last - first > 1
    for start, end, second in zip(first[several], last[several], digests["b"][several], strict=True):
        found[start:end] |= ordered["b"][start:end] == second


def columns_to_compare(proposed: pa.Schema, table: Iterable[str], keys: Sequence[str]) -> list[str]:
    """The columns of the table that are needed: the key and what is proposed of the others.

    Raises ``ContentUnusable`` where a key column is missing.
    """
    missing = [name for name in keys if name not in proposed.names]
    if missing:
        raise ContentUnusable(f"The key column {', '.join(missing)} is missing.")
    known = set(table)
    return [*keys, *(name for name in proposed.names if name in known and name not in keys)]


def _has_other_effect(batch: pa.RecordBatch) -> Mask:
    """Rows that are to be inserted or deleted."""
    if OPERATION not in batch.schema.names:
        return np.zeros(batch.num_rows, bool)
    named = batch.column(OPERATION).cast(pa.string()).fill_null("")
    return ~_as_mask(pc.is_in(named, pa.array(WITHOUT_EFFECT_WHERE_EQUAL)))


def _has_new_values(batch: pa.RecordBatch, table: pa.Schema) -> Mask:
    """Rows with values in columns that the table does not have."""
    new = np.zeros(batch.num_rows, bool)
    for name in batch.schema.names:
        if name != OPERATION and name not in table.names:
            new |= _as_mask(pc.is_valid(batch.column(name)))
    return new


def _as_mask(values: pa.Array) -> Mask:
    mask: Mask = values.to_numpy(zero_copy_only=False)
    return mask


# --- Under the table's types --------------------------------------------------------------------------------


def fitted(column: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask]:
    """A proposed column under the table's type, and where it may not be the same value there."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    unlike = np.zeros(len(column), bool)
    if column.type.equals(target):
        return column, unlike
    if _kind(column.type) != _kind(target) and not pa.types.is_null(column.type):
        return pa.nulls(len(column), target), ~unlike
    try:
        cast = column.cast(target)
        if pa.types.is_floating(column.type):
            back = cast.cast(column.type)
            same = pc.or_kleene(pc.equal(back, column), pc.and_(pc.is_nan(back), pc.is_nan(column)))
            unlike |= ~_as_mask(pc.or_kleene(same, pc.is_null(column)).fill_null(False))
        elif pa.types.is_decimal(column.type) and pa.types.is_floating(target):
            # More digits may be those of its neighbour; Arrow's way back is no witness, since it rounds, too.
            digits = 6 if pa.types.is_float32(target) else 15
            beyond = 10.0 ** (digits - column.type.scale)
            unlike |= _as_mask(pc.greater_equal(pc.abs(cast), beyond).fill_null(False))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.nulls(len(column), target), ~unlike
    return cast, unlike


def _kind(of: pa.DataType) -> str:
    """Types between which a cast keeps the meaning of a value, or fails."""
    if pa.types.is_integer(of) or pa.types.is_floating(of) or pa.types.is_decimal(of):
        return "number"
    if _is_text(of):
        return "text"
    if _is_binary(of):
        return "binary"
    if pa.types.is_timestamp(of):
        return "moment" if of.tz is not None else "wall clock"
    return str(of)


def _is_text(of: pa.DataType) -> bool:
    return pa.types.is_string(of) or pa.types.is_large_string(of) or str(of) == "string_view"


def _is_binary(of: pa.DataType) -> bool:
    return (
        pa.types.is_binary(of)
        or pa.types.is_large_binary(of)
        or pa.types.is_fixed_size_binary(of)
        or str(of) == "binary_view"
    )


# --- Digests --------------------------------------------------------------------------------------------------


def _digests(columns: Sequence[pa.Array], secret: int) -> npt.NDArray[Any]:
    """A digest of 128 bits for each row of columns that all are under the table's types."""
    digests = np.zeros(len(columns[0]) if columns else 0, _DIGEST)
    for half, name in enumerate(("a", "b")):
        words = np.full(len(digests), np.uint64(secret), np.uint64)
        for place, column in enumerate(columns):
            seed = np.uint64((secret + 2 * place + half + 1) * 0x9E3779B97F4A7C15 % 2**64)
            words = _mixed(words ^ _column_words(column, seed))
        digests[name] = words
    return digests


def _mixed(words: Words) -> Words:
    """The finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Words = words ^ (words >> np.uint64(31))
    return mixed


def _column_words(column: pa.Array, seed: np.uint64) -> Words:
    """A word for each value of a column; the same for all that are NULL."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    of = column.type
    if pa.types.is_null(of):
        words = np.zeros(len(column), np.uint64)
    elif _is_text(of):
        words = _words_of_bytes(column.cast(pa.large_string()), seed)
    elif _is_binary(of):
        words = _words_of_bytes(column.cast(pa.large_binary()), seed)
    elif pa.types.is_nested(of):
        words = _words_of_bytes(_as_text(column), seed)
    else:
        words = _words_of_fixed(column, seed)
    if column.null_count:
        words = np.where(_as_mask(pc.is_valid(column)), words, ~seed)
    return _mixed(words ^ seed)


def _words_of_fixed(column: pa.Array, seed: np.uint64) -> Words:
    """Of values with a fixed width: their bits."""
    of = column.type
    if pa.types.is_boolean(of):
        return _as_mask(column.fill_null(False)).astype(np.uint64)
    if pa.types.is_floating(of):
        values = column.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False).copy()
        values[np.isnan(values)] = np.nan
        words: Words = values.view(np.uint64)
        return words
    width = of.bit_width // 8
    raw = np.frombuffer(column.buffers()[1], np.uint8)[
        column.offset * width : (column.offset + len(column)) * width
    ]
    if width < 8:
        widened = np.zeros((len(column), 8), np.uint8)
        widened[:, :width] = raw.reshape(-1, width)
        return widened.view(np.uint64).ravel()
    words = np.full(len(column), seed, np.uint64)
    for part in raw.view(np.uint64).reshape(-1, width // 8).T:
        words = _mixed(words ^ part)
    return words


def _words_of_bytes(column: pa.Array, seed: np.uint64) -> Words:
    """Of texts and bytes: their length and then eight bytes at a time; long ones by themselves."""
    _, offsets_buffer, data = column.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[column.offset : column.offset + len(column) + 1]
    starts, lengths = offsets[:-1], np.diff(offsets)
    raw = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    words = _mixed(lengths.astype(np.uint64) ^ seed)
    longest = int(min(lengths.max(initial=0), LONGEST_IN_WORDS))
    if longest:
        begin, end = int(offsets[0]), int(offsets[-1])
        # Seven bytes more, so that the last word of the last value may be read whole.
        padded = np.concatenate([raw[begin:end], np.zeros(8, np.uint8)])
        windows = np.ndarray((end - begin + 1,), "<u8", padded, strides=(1,))
        for done in range(0, longest, 8):
            left = lengths - done
            rows = np.flatnonzero((left > 0) & (lengths <= LONGEST_IN_WORDS))
            part = windows[starts[rows] - begin + done]
            bits = (np.minimum(left[rows], 8) * 8).astype(np.uint64)
            part = part & (~np.uint64(0) >> (np.uint64(64) - bits))
            words[rows] = _mixed(words[rows] ^ part)
    key = int(seed).to_bytes(8, "little")
    for row in np.flatnonzero(lengths > LONGEST_IN_WORDS):
        value = raw[starts[row] : starts[row] + lengths[row]].tobytes()
        words[row] = np.frombuffer(hashlib.blake2b(value, digest_size=8, key=key).digest(), np.uint64)[0]
    return words


def _as_text(column: pa.Array) -> pa.Array:
    """Nested values as texts that are equal where the values are."""
    texts = (json.dumps(_plain(value)) for value in column.to_pylist())
    return pa.array(texts, pa.large_string())


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, (str, int, bool)) or value is None else repr(value)


# --- Which rows of the table may be the same --------------------------------------------------------------------


def key_range(batches: Iterable[pa.RecordBatch], keys: Sequence[str]) -> list[str]:
    """Filters that let every row of the table through that a proposed one may equal, and leave out others.

    Only for a key of one column of whole numbers or dates: others are not bounded.
    """
    if len(keys) != 1 or ":" in keys[0]:
        return []
    lowest = highest = None
    for batch in batches:
        column = batch.column(keys[0])
        if not (pa.types.is_integer(column.type) or pa.types.is_date32(column.type)):
            return []
        bounds = pc.min_max(column).as_py()
        if bounds["min"] is not None:
            lowest = bounds["min"] if lowest is None else min(lowest, bounds["min"])
            highest = bounds["max"] if highest is None else max(highest, bounds["max"])
    if lowest is None:
        return []
    return [f"{keys[0]}:>=:{lowest}", f"{keys[0]}:<=:{highest}"]


def kept_rows(batches: Iterable[pa.RecordBatch], kept: Mask) -> Iterator[pa.RecordBatch]:
    """The rows of a mask, batch by batch."""
    at = 0
    for batch in batches:
        mask = kept[at : at + batch.num_rows]
        at += batch.num_rows
        if mask.any():
            yield batch.filter(pa.array(mask))
