"""The same values in any legal Arrow layout: padded slices, views, run ends, dictionaries, junk under NULLs.

Format: Apache Arrow, "Columnar Format". What is built here is valid; a reader must see the values and nothing else.
"""

from __future__ import annotations

import datetime
from decimal import Decimal
from random import Random
from typing import Any

import pyarrow as pa

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

LEAVES: dict[str, tuple[pa.DataType, ...]] = {
    "boolean": (pa.bool_(),),
    "byte": (pa.int8(), pa.int16(), pa.uint8(), pa.int64(), pa.float16(), pa.decimal256(60, 3)),
    "long": (pa.int64(), pa.uint64(), pa.decimal128(30, 2), pa.decimal256(38, 0)),
    "double": (pa.float64(),),
    "decimal": (pa.decimal32(9, 2), pa.decimal64(18, 4), pa.decimal128(12, 2), pa.decimal256(70, 5)),
    "text": (pa.string(), pa.large_string(), pa.string_view()),
    "bytes": (pa.binary(), pa.large_binary(), pa.binary_view()),
    "fixed": (pa.binary(3), pa.binary()),
    "date": (pa.date32(), pa.date64()),
    "timestamp": tuple(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")),
    "zoned": tuple(pa.timestamp(unit, "America/New_York") for unit in ("s", "ms", "us", "ns")),
    "null": (pa.null(),),
}


def logical_type(random: Random, depth: int = 0) -> Any:
    """A leaf's name, ``["list", T]``, ``["map", K, V]`` or ``["struct", {name: T}]``."""
    kinds = ["leaf"] * 2 + ["list", "struct", "struct", "map"]
    kind = random.choice(kinds) if depth < 3 else "leaf"
    if kind == "list":
        return ["list", logical_type(random, depth + 1)]
    if kind == "struct":
        names = random.sample(["a", "b c", "ü", "x.y"], random.randint(1, 3))
        return ["struct", {name: logical_type(random, depth + 1) for name in names}]
    if kind == "map":
        return ["map", random.choice(["text", "long", "date"]), logical_type(random, depth + 1)]
    return random.choice(list(LEAVES))


def value(random: Random, kind: Any, nullable: bool = True) -> Any:
    """A value of a logical type as Python has it (maps as lists of pairs)."""
    if nullable and random.random() < 0.25:
        return None
    if isinstance(kind, str):
        return _leaf(random, kind)
    if kind[0] == "list":
        return [value(random, kind[1]) for _ in range(random.randint(0, 3))]
    if kind[0] == "map":
        keys = {value(random, kind[1], nullable=False) for _ in range(random.randint(0, 3))}
        return [(key, value(random, kind[2])) for key in sorted(keys)]
    return {name: value(random, inner) for name, inner in kind[1].items()}


def _leaf(random: Random, kind: str) -> Any:
    number = random.randint(0, 100)
    moment = _EPOCH + datetime.timedelta(seconds=random.randint(-(10**9), 10**9))
    return {
        "boolean": number % 2 == 0,
        "byte": number,
        "long": random.choice([0, number, 2**62]),
        "double": random.choice([0.5, -1e300, float(number)]),
        "decimal": Decimal(number).scaleb(-2),
        "text": random.choice(["", "é" * (number % 30), "x" * number]),
        "bytes": random.choice([b"", b"\x00\xff" * (number % 20)]),
        "fixed": bytes([number, 0, 255]),
        "date": moment.date(),
        "timestamp": moment.replace(tzinfo=None),
        "zoned": moment,
        "null": None,
    }[kind]


def built(random: Random, values: list[Any], kind: Any) -> pa.Array:
    """The values as an array of a random physical type and layout."""
    before, after = random.randint(0, 3), random.randint(0, 2)
    junk = [value(random, kind) for _ in range(before + after)]
    padded = [*junk[:before], *values, *junk[before:]]
    wrapped = random.random()
    if wrapped < 0.15 and _gathers(kind):
        whole = _dictionary(random, padded, kind)
    elif wrapped < 0.3 and kind != "null":
        whole = _run_ends(random, padded, kind)
    else:
        whole = _bare(random, padded, kind)
    return whole.slice(before, len(values))


def _gathers(kind: Any) -> bool:
    return kind not in ("null",)


def _dictionary(random: Random, values: list[Any], kind: Any) -> pa.Array:
    unused = [value(random, kind) for _ in range(2)]
    entries = built(random, [*unused, *values, None], kind)
    places = [
        random.choice([None, len(values) + 2]) if one is None else place + 2
        for place, one in enumerate(values)
    ]
    index = random.choice([pa.int16(), pa.uint16(), pa.int32(), pa.int64()])
    return pa.DictionaryArray.from_arrays(pa.array(places, index), entries)


def _run_ends(random: Random, values: list[Any], kind: Any) -> pa.Array:
    runs: list[Any] = []
    ends: list[int] = []
    for place, one in enumerate(values):
        if runs and repr(runs[-1]) == repr(one):
            ends[-1] = place + 1
        else:
            runs.append(one)
            ends.append(place + 1)
    index = random.choice([pa.int16(), pa.int32(), pa.int64()])
    return pa.RunEndEncodedArray.from_arrays(pa.array(ends, index), _bare(random, runs, kind))


def _bare(random: Random, values: list[Any], kind: Any) -> pa.Array:
    if isinstance(kind, str):
        return pa.array(values, random.choice(LEAVES[kind]))
    missing = pa.array([one is None for one in values], pa.bool_())
    if kind[0] == "struct":
        parts = [
            built(random, [value(random, inner) if one is None else one[name] for one in values], inner)
            for name, inner in kind[1].items()
        ]
        return pa.StructArray.from_arrays(parts, list(kind[1]), mask=missing)
    # Lists that are NULL may span values all the same.
    hidden = [value(random, kind, nullable=False) if one is None else one for one in values]
    flat = [item for one in hidden for item in one]
    ends = [0]
    for one in hidden:
        ends.append(ends[-1] + len(one))
    if kind[0] == "map":
        keys = _bare(random, [key for key, _ in flat], kind[1])
        items = built(random, [item for _, item in flat], kind[2])
        shaped = pa.map_(keys.type, items.type)
        entries = pa.StructArray.from_arrays(
            [keys, items], fields=[pa.field("key", keys.type, nullable=False), pa.field("value", items.type)]
        )
        validity = pa.array([one is not None for one in values], pa.bool_()).buffers()[1]
        offsets = pa.array(ends, pa.int32()).buffers()[1]
        return pa.Array.from_buffers(shaped, len(values), [validity, offsets], children=[entries])
    items = built(random, flat, kind[1])
    layout = random.choice(["list", "large_list", "view", "large_view"])
    if layout == "list":
        return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), items, mask=missing)
    if layout == "large_list":
        return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), items, mask=missing)
    sizes = [len(one) for one in hidden]
    if layout == "view":
        return pa.ListViewArray.from_arrays(
            pa.array(ends[:-1], pa.int32()), pa.array(sizes, pa.int32()), items, mask=missing
        )
    return pa.LargeListViewArray.from_arrays(
        pa.array(ends[:-1], pa.int64()), pa.array(sizes, pa.int64()), items, mask=missing
    )
