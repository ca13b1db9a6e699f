"""Small filters of keys: whether a key can be among those that a filter was made of.

A filter is bytes: a line of JSON (the key columns with their types, and how the bits were set) and the bits of a Bloom
filter. It denies no key that it was made of and lets about one in a hundred others pass; one of very many keys lets all
pass, and has no bits.

Source: B. H. Bloom, "Space/Time Trade-offs in Hash Coding with Allowable Errors", 1970; the several hashes are made
from two as in A. Kirsch, M. Mitzenmacher, "Less Hashing, Same Performance", 2006.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import pyarrow as pa

from merging.errors import InvalidKeys
from merging.sql.equality import fingerprint
from merging.sql.parsing import Refused, cell_value
from merging.sql.session import Session
from merging.sql.types import simple_type, type_name
from merging.sql.values import sql_form

BITS_A_KEY = 10
HASHES = 7
LEAST_BITS = 512
#: A filter of more keys would be larger than it is worth: 128 kB.
MOST_KEYS = 100_000

Name = TypeVar("Name")


def make_filter(opened: Session, relation: str, types: Mapping[str, pa.DataType]) -> bytes:
    """The filter of the keys in a relation, whose columns ``k0``, ``k1``, … are the key columns of these names."""
    keys = opened.number(f"SELECT count(*) FROM {relation}")
    size = -(-max(keys * BITS_A_KEY, LEAST_BITS) // 8) * 8 if keys <= MOST_KEYS else 0
    bits = bytes(size // 8)
    if keys and size:
        prints = [fingerprint(f"k{place}", kind) for place, kind in enumerate(types.values())]
        [bits] = opened.row(
            f"SELECT bitstring_agg(((one + step * other) % {size})::INTEGER, 0, {size - 1})::BLOB "
            f"FROM (SELECT {_two_hashes(prints, size)} FROM {relation}), range({HASHES}) steps (step)"
        )
    header = {"columns": {name: type_name(kind) for name, kind in types.items()}, "hashes": HASHES}
    return json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" + bits


def passing(opened: Session, filters: Iterable[tuple[Name, bytes]], key: Mapping[str, Any]) -> Iterator[Name]:
    """The names of the filters that let the key pass, in the order given.

    ``key`` holds values of the key columns' types, or text for them; columns that could not hold them did not. Raises
    InvalidKeys where a key column has no value.
    """
    places: dict[tuple[bytes, int], list[int] | None] = {}
    for name, content in filters:
        header, _, bits = content.partition(b"\n")
        kind = (header, len(bits) * 8)
        if kind not in places:
            places[kind] = _places(opened, json.loads(header), kind[1], key)
        wanted = places[kind]
        if wanted is not None and all(bits[place >> 3] & 0x80 >> (place & 7) for place in wanted):
            yield name


def _places(
    opened: Session, header: Mapping[str, Any], size: int, key: Mapping[str, Any]
) -> list[int] | None:
    """Which bits the key sets in a filter of this kind: none where it has no bits and every key passes. None where the
    key does not fit the types.
    """
    columns: dict[str, str] = header["columns"]
    if set(key) != set(columns):
        raise InvalidKeys(
            f"{dict(key)} is no key: a key has a value for each of {', '.join(columns)}.",
            data={"key_columns": list(columns)},
        )
    types = {name: simple_type(kind) for name, kind in columns.items()}
    try:
        prints = [
            fingerprint(sql_form(cell_value(key[name], kind), kind), kind) for name, kind in types.items()
        ]
    except Refused:
        return None
    if not size:
        return []
    one, other = opened.row(f"SELECT {_two_hashes(prints, size)}")
    return [(one + step * other) % size for step in range(header["hashes"])]


def _two_hashes(prints: list[str], size: int) -> str:
    """SQL of two numbers below the filter's size; the second is odd, lest it be 0 and all hashes the same."""
    text = f"concat_ws('|', {', '.join(prints)})"
    return (
        f"(md5_number_lower({text}) % {size})::BIGINT AS one, "
        f"((md5_number_upper({text}) % {size})::BIGINT | 1) AS other"
    )
