"""Foreign Arrow types and layouts made plain: the types of a Delta table, fresh buffers, no offsets.

Arrow allows many layouts of the same values (slices, views, run ends, dictionaries, values under NULL parents), and
few readers take them all; what goes on from here has one. Formats: Apache Arrow, "Columnar Format" and "Canonical
Extension Types". Every value is taken exactly, at any depth, or refused with its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from merging.sql.parsing import FIRST_MOMENT, LAST_MOMENT, explain, shown
from merging.staging.sources.base import content_limits, most

_LARGEST_DECIMAL = 38
_PLAIN = frozenset(
    {
        pa.null(),
        pa.bool_(),
        pa.int8(),
        pa.int16(),
        pa.int32(),
        pa.int64(),
        pa.float32(),
        pa.float64(),
        pa.string(),
        pa.binary(),
        pa.date32(),
    }
)
_WIDENED = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
    pa.large_string(): pa.string(),
    pa.string_view(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.binary_view(): pa.binary(),
    pa.date64(): pa.date32(),
}
_READ_AS_STORED = frozenset({"arrow.uuid", "arrow.json", "arrow.bool8", "geoarrow.wkb", "geoarrow.wkt"})
_MEANING_LOST = {
    "arrow.fixed_shape_tensor": "write its values as lists",
    "arrow.variable_shape_tensor": "write its values as lists",
    "arrow.opaque": "write it as a type that others know, for example as text",
    "arrow.parquet.variant": "write it as text (JSON) or as columns of its own",
    "parquet.variant": "write it as text (JSON) or as columns of its own",
    "pandas.period": "write the first day or moment of the period",
    "pandas.interval": "write its two ends as columns of their own",
}
_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}


class Unsupported(ValueError):
    """A type has no counterpart in a Delta table; the message is the end of a sentence and says the way out."""


class TooManyItems(ValueError):
    """Rows hold more values in lists than may be held at once."""


@dataclass(frozen=True)
class Refusal:
    """Why one cell is not taken: a stable code, a full sentence, and the value as text."""

    code: str
    message: str
    value: str


Refusals = Mapping[int, Refusal]
_NONE: Refusals = {}


def extension_name(field: pa.Field) -> str | None:
    """The extension type of a field, whether this process knows it or the metadata alone names it."""
    if isinstance(field.type, pa.BaseExtensionType):
        return str(field.type.extension_name)
    named = (field.metadata or {}).get(b"ARROW:extension:name")
    return named.decode("utf-8", "replace") if named else None


def unknown_extensions(field: pa.Field) -> list[str]:
    """Names of the extension types in a field, at any depth, that are read as what they are stored as."""
    name = extension_name(field)
    found = [name] if name is not None and name not in _READ_AS_STORED else []
    for inner in _inner_fields(field.type):
        found += unknown_extensions(inner)
    return found


def _inner_fields(data_type: pa.DataType) -> list[pa.Field]:
    if isinstance(data_type, pa.BaseExtensionType):
        return _inner_fields(data_type.storage_type)
    if pa.types.is_dictionary(data_type) or pa.types.is_run_end_encoded(data_type):
        return [pa.field("values", data_type.value_type)]
    return [data_type.field(index) for index in range(data_type.num_fields)]


def plain_type(field: pa.Field, target: pa.DataType | None = None) -> pa.DataType:
    """The Delta type that holds every value of a foreign field; ``target`` is the table's type for the column.

    Raises Unsupported where there is none, at any depth.
    """
    return _plain_field(field, target, "", 0)


def _plain_field(field: pa.Field, target: pa.DataType | None, path: str, depth: int) -> pa.DataType:
    name = extension_name(field)
    if name in _MEANING_LOST:
        raise _unsupported(f"extension type {name}", path, _MEANING_LOST[name])
    if depth > content_limits().type_depth:
        deepest = most("type_depth")
        raise Unsupported(
            f"it is nested more than {deepest} levels deep (limit type_depth: {deepest}); write it flatter."
        )
    return _plain(field.type, target, path, depth)


def _unsupported(what: object, path: str, way_out: str) -> Unsupported:
    place = f" at {path.lstrip('.')}" if path else ""
    return Unsupported(f"a Delta table has no type for {what}{place}; {way_out}.")


def _plain(data_type: pa.DataType, target: pa.DataType | None, path: str, depth: int) -> pa.DataType:
    if isinstance(data_type, pa.UuidType):
        return pa.binary() if target == pa.binary() else pa.string()
    if isinstance(data_type, pa.Bool8Type):
        return pa.bool_()
    if isinstance(data_type, pa.BaseExtensionType):
        return _plain(data_type.storage_type, target, path, depth)
    if pa.types.is_dictionary(data_type) or pa.types.is_run_end_encoded(data_type):
        return _plain_field(pa.field("values", data_type.value_type), target, path, depth + 1)
    if data_type in _PLAIN:
        return data_type
    if data_type in _WIDENED:
        return _WIDENED[data_type]
    if pa.types.is_fixed_size_binary(data_type):
        return pa.binary()
    if pa.types.is_decimal(data_type):
        return _plain_decimal(data_type, target, path)
    if pa.types.is_timestamp(data_type):
        return pa.timestamp("us", tz="UTC") if data_type.tz else pa.timestamp("us")
    if pa.types.is_struct(data_type):
        return _plain_struct(data_type, target, path, depth)
    if pa.types.is_map(data_type):
        wanted = target if target is not None and pa.types.is_map(target) else None
        key = _plain_field(data_type.key_field, wanted and wanted.key_type, f"{path}.key", depth + 1)
        item = _plain_field(data_type.item_field, wanted and wanted.item_type, f"{path}.value", depth + 1)
        return pa.map_(pa.string() if pa.types.is_null(key) else key, item)
    if is_any_list(data_type):
        wanted = target.value_type if target is not None and is_any_list(target) else None
        return pa.list_(
            pa.field("element", _plain_field(data_type.value_field, wanted, f"{path}[]", depth + 1))
        )
    raise _unsupported(data_type, path, _way_out(data_type))


def _way_out(data_type: pa.DataType) -> str:
    if pa.types.is_time(data_type):
        return "write the time of day as text or as a number of seconds"
    if pa.types.is_duration(data_type):
        return "write the duration as a number, for example of seconds"
    if pa.types.is_interval(data_type):
        return "write the interval as numbers of months, days and seconds"
    if pa.types.is_union(data_type):
        return "write a column of its own for each of its types"
    return "write it as a number, text, date or timestamp"


def _plain_decimal(data_type: pa.DataType, target: pa.DataType | None, path: str) -> pa.DataType:
    precision, scale = data_type.precision, data_type.scale
    if scale < 0:
        precision, scale = precision - scale, 0
    precision = max(precision, scale)
    if precision <= _LARGEST_DECIMAL:
        return pa.decimal128(precision, scale)
    # More digits than any column has: the values that fit are taken at the scale of their column.
    if target is not None and pa.types.is_decimal(target):
        return pa.decimal128(_LARGEST_DECIMAL, target.scale)
    if target is not None and pa.types.is_integer(target):
        return pa.decimal128(_LARGEST_DECIMAL, 0)
    if scale > _LARGEST_DECIMAL:
        raise _unsupported(data_type, path, f"write a decimal of at most {_LARGEST_DECIMAL} digits")
    return pa.decimal128(_LARGEST_DECIMAL, scale)


def _plain_struct(data_type: pa.DataType, target: pa.DataType | None, path: str, depth: int) -> pa.DataType:
    names = [inner.name for inner in data_type]
    if not names:
        raise _unsupported("a struct without fields", path, "leave the column out")
    folded = [name.casefold() for name in names]
    for name in names:
        if not name:
            raise _unsupported("a struct whose field has no name", path, "name the field")
        if folded.count(name.casefold()) > 1:
            raise _unsupported(
                f"a struct with two fields named {shown(name)} (upper and lower case count as one)",
                path,
                "name them apart",
            )
    wanted = {inner.name: inner.type for inner in target} if target is not None and _is_struct(target) else {}
    return pa.struct(
        [
            pa.field(
                inner.name, _plain_field(inner, wanted.get(inner.name), f"{path}.{inner.name}", depth + 1)
            )
            for inner in data_type
        ]
    )


def _is_struct(data_type: pa.DataType) -> bool:
    return bool(pa.types.is_struct(data_type))


def is_any_list(data_type: pa.DataType) -> bool:
    """Whether a type is a list in one of Arrow's five layouts."""
    return bool(
        pa.types.is_list(data_type)
        or pa.types.is_large_list(data_type)
        or pa.types.is_fixed_size_list(data_type)
        or pa.types.is_list_view(data_type)
        or pa.types.is_large_list_view(data_type)
    )


def filled(data_type: pa.DataType) -> pa.DataType:
    """The type of a new column: parts of which nothing is known but that they are NULL become text."""
    if pa.types.is_null(data_type):
        return pa.string()
    if pa.types.is_struct(data_type):
        return pa.struct([pa.field(inner.name, filled(inner.type)) for inner in data_type])
    if pa.types.is_map(data_type):
        return pa.map_(filled(data_type.key_type), filled(data_type.item_type))
    if pa.types.is_list(data_type):
        return pa.list_(pa.field("element", filled(data_type.value_type)))
    return data_type


def make_plain(array: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, Refusals]:
    """A valid array of a foreign type as its plain type, and the rows that cannot be (which hold NULL)."""
    data_type = array.type
    if isinstance(data_type, pa.BaseExtensionType):
        return _extension(array, wanted)
    if pa.types.is_dictionary(data_type):
        return _gathered(array.dictionary, array.indices, wanted)
    if pa.types.is_run_end_encoded(data_type):
        return _gathered(array.values, _runs(array), wanted)
    if pa.types.is_null(data_type):
        return pa.nulls(len(array), wanted), _NONE
    if pa.types.is_struct(data_type):
        return _struct(array, wanted)
    if pa.types.is_map(data_type):
        return _map(array, wanted)
    if is_any_list(data_type):
        return _list(array, wanted)
    if pa.types.is_timestamp(data_type):
        return _timestamps(array, wanted)
    plain, refusals = (array, _NONE) if data_type == wanted else _cast(array, wanted)
    return _fresh(plain), refusals


def _fresh(array: pa.Array) -> pa.Array:
    """The array with buffers that begin where it does and stand where native readers expect them."""
    aligned = all(buffer is None or buffer.address % 8 == 0 for buffer in array.buffers())
    return array if array.offset == 0 and aligned else pa.concat_arrays([array, array.slice(0, 0)])


def _extension(array: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, Refusals]:
    storage = array.storage
    if isinstance(array.type, pa.UuidType) and pa.types.is_string(wanted):
        texts = [None if value is None else str(UUID(bytes=value)) for value in storage.to_pylist()]
        return pa.array(texts, pa.string()), _NONE
    if isinstance(array.type, pa.Bool8Type):
        return _fresh(pc.not_equal(storage, pa.scalar(0, pa.int8()))), _NONE
    return make_plain(storage, wanted)


def _runs(array: pa.Array) -> pa.Array:
    """For each row of a run-end encoded array the place of its value."""
    rows = pa.array(range(array.offset, array.offset + len(array)), pa.int64())
    return pc.search_sorted(array.run_ends.cast(pa.int64()), rows, side="right")


def _gathered(values: pa.Array, places: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, Refusals]:
    """The values that stand at places; values that no row uses are not looked at."""
    try:
        return make_plain(values.take(places), wanted)
    except pa.ArrowNotImplementedError:
        # Layouts that cannot be gathered (views) are made plain first.
        plain, refusals = make_plain(values, wanted)
    found = (
        {row: refusals[place] for row, place in enumerate(places.to_pylist()) if place in refusals}
        if refusals
        else _NONE
    )
    return plain.take(places), found


def _built(wanted: pa.DataType, array: pa.Array, buffers: list[Any], children: list[pa.Array]) -> pa.Array:
    """A nested array from its parts, with the NULLs of another one."""
    validity = array.is_valid().buffers()[1] if array.null_count else None
    return pa.Array.from_buffers(wanted, len(array), [validity, *buffers], children=children)


def _struct(array: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, Refusals]:
    # flatten() makes the fields of NULL structs NULL, which not every reader does on its own.
    parts = array.flatten() if array.null_count else [array.field(i) for i in range(array.type.num_fields)]
    children = []
    refusals: dict[int, Refusal] = {}
    for index, part in enumerate(parts):
        child, of_child = make_plain(part, wanted.field(index).type)
        children.append(child)
        for row, refusal in of_child.items():
            refusals.setdefault(row, _inside(refusal, wanted.field(index).name))
    return _built(wanted, array, [], children), refusals


def _inside(refusal: Refusal, place: str) -> Refusal:
    told = refusal.message
    start, _, rest = told.partition(" ")
    if start == "at":
        path, _, sentence = rest.partition(": ")
        return replace(refusal, message=f"at {place}{'' if path.startswith('[') else '.'}{path}: {sentence}")
    return replace(refusal, message=f"at {place}: {told}")


@dataclass(frozen=True)
class _Items:
    """What the rows of a list or map hold: an array, the places of the items in it (None: all), and row lengths."""

    values: pa.Array
    places: pa.Array | None
    lengths: pa.Array

    def plain(self, values: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, Refusals]:
        """``values``, or a part of them, made plain in the order of the rows."""
        return make_plain(values, wanted) if self.places is None else _gathered(values, self.places, wanted)

    @property
    def offsets(self) -> pa.Array:
        """Where each row's items begin and end."""
        return pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(self.lengths.cast(pa.int32()))])


def _items(array: pa.Array) -> _Items:
    """The items of lists in any layout and of maps, without those that stand under NULLs.

    By way of the offsets themselves: pyarrow's own flatten and casts mistake run ends inside slices.
    """
    starts, lengths = _extents(array)
    values = array.values
    if len(array) == 0:
        return _Items(values.slice(0, 0), None, lengths)
    before = pc.subtract(pc.cumulative_sum(lengths), lengths)
    first = pc.subtract(starts, before)
    used = pc.greater(lengths, 0)
    where = pc.min_max(first.filter(used))
    total = pc.sum(lengths).as_py()
    if total > content_limits().row_bytes // 8:
        raise TooManyItems(f"there are {total:,} values in a list or map")
    if where["min"] == where["max"]:
        return _Items(values.slice(where["min"].as_py() or 0, total), None, lengths)
    rows = _rows_of(lengths, total)
    places = pc.add(first.take(rows), pa.array(range(total), pa.int64()))
    return _Items(values, places, lengths)


def _rows_of(lengths: pa.Array, total: int) -> pa.Array:
    """For each item the row that it belongs to."""
    return pc.search_sorted(pc.cumulative_sum(lengths), pa.array(range(total), pa.int64()), side="right")


def _extents(array: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Where the items of each row begin, and how many there are: none in a row that is NULL."""
    data_type = array.type
    if pa.types.is_fixed_size_list(data_type):
        size = data_type.list_size
        starts = pc.multiply(
            pa.array(range(array.offset, array.offset + len(array)), pa.int64()), pa.scalar(size, pa.int64())
        )
        lengths = pa.array([size] * len(array), pa.int64())
    elif pa.types.is_list_view(data_type) or pa.types.is_large_list_view(data_type):
        starts, lengths = array.offsets.cast(pa.int64()), array.sizes.cast(pa.int64())
    else:
        offsets = array.offsets.cast(pa.int64())
        starts = offsets.slice(0, len(array))
        lengths = pc.subtract(offsets.slice(1), starts)
    return starts, pc.if_else(array.is_valid(), lengths, 0) if array.null_count else lengths


def _list(array: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, Refusals]:
    items = _items(array)
    plain, of_items = items.plain(items.values, wanted.value_type)
    built = _built(wanted, array, [items.offsets.buffers()[1]], [plain])
    return built, _of_rows(of_items, built, "[]")


def _of_rows(refusals: Refusals, lists: pa.Array, place: str) -> Refusals:
    if not refusals:
        return _NONE
    parents = pc.list_parent_indices(lists).to_pylist()
    found: dict[int, Refusal] = {}
    for item, refusal in refusals.items():
        found.setdefault(parents[item], _inside(refusal, place))
    return found


def _map(array: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, Refusals]:
    as_list = pa.list_(pa.struct([("key", wanted.key_type), ("value", wanted.item_type)]))
    items = _items(array)
    parts = [
        items.plain(items.values.field(index), kind)
        for index, kind in enumerate((wanted.key_type, wanted.item_type))
    ]
    entries = pa.StructArray.from_arrays([plain for plain, _ in parts], ["key", "value"])
    lists = _built(as_list, array, [items.offsets.buffers()[1]], [entries])
    refusals = _bad_keys(lists)
    for (_, of_part), name in zip(parts, ("key", "value"), strict=True):
        refusals |= _of_rows(of_part, lists, name)
    if refusals:
        # A map with a key that is missing or stands twice is no map: nothing may read it as one.
        whole = pa.array([row not in refusals for row in range(len(lists))])
        lists = _list(pc.if_else(whole, lists, pa.scalar(None, as_list)), as_list)[0]
    children = pa.StructArray.from_arrays(
        [lists.values.field(0), lists.values.field(1)],
        fields=[pa.field("key", wanted.key_type, nullable=False), pa.field("value", wanted.item_type)],
    )
    return _built(wanted, lists, [lists.buffers()[1]], [children]), refusals


def _bad_keys(lists: pa.Array) -> dict[int, Refusal]:
    """Rows of a list of entries in which a key is missing or stands twice."""
    parents = pc.list_parent_indices(lists)
    keys = lists.values.field(0)
    found: dict[int, Refusal] = {}
    if keys.null_count:
        for row in parents.filter(keys.is_null()).to_pylist():
            found[row] = Refusal("wrong_nested_value", "the map has an entry without a key.", "NULL")
    for row, name in _repeated(parents, keys):
        text = shown(str(name))
        found.setdefault(row, Refusal("wrong_nested_value", f"the map has the key {text} twice.", text))
    return found


def _repeated(parents: pa.Array, keys: pa.Array) -> Iterable[tuple[int, Any]]:
    if pa.types.is_nested(keys.type):
        seen: set[tuple[int, str]] = set()
        for row, key in zip(parents.to_pylist(), keys.to_pylist(), strict=True):
            if (row, repr(key)) in seen:
                yield row, key
            seen.add((row, repr(key)))
        return
    counted = pa.table({"row": parents, "key": keys}).group_by(["row", "key"]).aggregate([([], "count_all")])
    if len(counted) == len(keys):
        return
    twice = counted.filter(pc.greater(counted["count_all"], 1))
    yield from zip(twice["row"].to_pylist(), twice["key"].cast(pa.string()).to_pylist(), strict=True)


def _timestamps(array: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, Refusals]:
    """Timestamps of any unit in microseconds. They count from 1970 in UTC: the zone's name moves nothing."""
    unit = array.type.unit
    numbers = array.view(pa.int64())
    if unit == "ns":
        micros = pc.divide(numbers, 1000)
        unfit = pc.not_equal(pc.multiply(micros, 1000), numbers)
    else:
        factor = _MICROSECONDS[unit]
        unfit = _outside(numbers, FIRST_MOMENT // factor + (factor > 1), LAST_MOMENT // factor)
        micros = numbers if factor == 1 else pc.multiply(numbers, factor)
    if not pc.any(unfit).as_py():
        return _fresh(micros).view(wanted), _NONE
    rows = pc.indices_nonzero(unfit).to_pylist()
    unfitting = numbers.take(pa.array(rows))
    behind = f" {unit} since 1970"
    if unit == "ns":
        unfitting, behind = unfitting.view(pa.timestamp(unit)), "Z" if array.type.tz else ""
    texts = unfitting.cast(pa.string()).to_pylist()
    refusals = {row: _explained(f"{text}{behind}", wanted) for row, text in zip(rows, texts, strict=True)}
    return _without(micros, unfit).view(wanted), refusals


def _outside(numbers: pa.Array, first: int, last: int) -> pa.Array:
    return pc.or_(
        pc.less(numbers, pa.scalar(first, numbers.type)), pc.greater(numbers, pa.scalar(last, numbers.type))
    )


def _without(array: pa.Array, unfit: pa.Array) -> pa.Array:
    return _fresh(pc.if_else(unfit, pa.scalar(None, array.type), array))


def _explained(text: str, wanted: pa.DataType) -> Refusal:
    code, message = explain(text, wanted, None)
    return Refusal(code, message, text)


def _cast(array: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, Refusals]:
    """A checked cast; where it fails the cells that do not fit are found by halving."""
    try:
        return array.cast(wanted), _NONE
    except pa.ArrowInvalid:
        if len(array) == 1:
            text = str(array.cast(pa.string())[0].as_py())
            return pa.nulls(1, wanted), {0: _explained(text, wanted)}
    half = len(array) // 2
    first, of_first = _cast(array.slice(0, half), wanted)
    second, of_second = _cast(array.slice(half), wanted)
    refusals = {**of_first, **{row + half: refusal for row, refusal in of_second.items()}}
    return pa.concat_arrays([first, second]), refusals


def row_bytes(array: pa.Array) -> pa.Array | int:
    """How many bytes each row takes once it is plain; one number where all rows take the same."""
    data_type = array.type
    if isinstance(data_type, pa.BaseExtensionType):
        return row_bytes(array.storage)
    if pa.types.is_dictionary(data_type):
        return _gathered_bytes(array.dictionary, array.indices)
    if pa.types.is_run_end_encoded(data_type):
        return _gathered_bytes(array.values, _runs(array))
    if pa.types.is_string_view(data_type) or pa.types.is_binary_view(data_type):
        return _view_lengths(array)
    if _is_text_or_bytes(data_type):
        return pc.binary_length(array).fill_null(0).cast(pa.int64())
    if pa.types.is_struct(data_type):
        return _total([row_bytes(array.field(index)) for index in range(data_type.num_fields)])
    if is_any_list(data_type) or pa.types.is_map(data_type):
        return _list_bytes(array)
    if pa.types.is_fixed_size_binary(data_type):
        return int(data_type.byte_width)
    return 1 if pa.types.is_null(data_type) else 8


def _is_text_or_bytes(data_type: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(data_type)
        or pa.types.is_binary(data_type)
        or pa.types.is_large_string(data_type)
        or pa.types.is_large_binary(data_type)
    )


def _gathered_bytes(values: pa.Array, places: pa.Array) -> pa.Array | int:
    return _at_places(row_bytes(values), places)


def _at_places(of_values: pa.Array | int, places: pa.Array) -> pa.Array | int:
    return of_values if isinstance(of_values, int) else of_values.take(places).fill_null(0)


def _view_lengths(array: pa.Array) -> pa.Array:
    # Each view is four 32-bit numbers of which the first is the length ("Variable-size Binary View Layout").
    words = pa.Array.from_buffers(
        pa.int32(), len(array) * 4, [None, array.buffers()[1]], offset=array.offset * 4
    )
    views = pa.Array.from_buffers(pa.list_(pa.int32(), 4), len(array), [None], children=[words])
    lengths = pc.list_element(views, 0).cast(pa.int64())
    return pc.if_else(array.is_valid(), lengths, 0)


def _list_bytes(array: pa.Array) -> pa.Array:
    of_values = row_bytes(array.values)  # before the places of the items are found, which takes more
    items = _items(array)
    of_items = _at_places(of_values, items.places) if items.places is not None else row_bytes(items.values)
    if isinstance(of_items, int):
        return pc.add(pc.multiply(items.lengths, of_items), 4)
    sums = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(of_items)])
    at_ends = sums.take(items.offsets)
    return pc.add(pc.subtract(at_ends.slice(1), at_ends.slice(0, len(array))), 4)


def _total(parts: list[pa.Array | int]) -> pa.Array | int:
    fixed = sum(part for part in parts if isinstance(part, int))
    total: pa.Array | int = fixed
    for part in parts:
        if not isinstance(part, int):
            total = pc.add(part, total)
    return total


def batch_row_bytes(columns: list[pa.Array]) -> pa.Array | int:
    """``row_bytes`` of whole rows."""
    return _total([row_bytes(column) for column in columns])
