"""Rows that one version shows and another does not, made changed rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import duckdb
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from merging import delta

KEYS = st.sampled_from([1, 2, None])
NUMBERS = st.sampled_from([0.0, -0.0, float("nan"), 1.5, None])
ROWS = st.lists(st.tuples(KEYS, NUMBERS, st.sampled_from([None, "", "a"])), max_size=6)


@given(before=ROWS, after=ROWS)
def test_rows_of_one_key_cancel_and_are_paired_as_far_as_there_are_as_many(
    before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]
) -> None:
    """Nobody but we holds keys of a table of others to be unique."""
    schema = pa.schema([("v", pa.float64()), ("id", pa.int64()), ("text", pa.string())])
    with duckdb.connect() as connection:
        for name, rows in (("old", before), ("new", after)):
            connection.execute(f"CREATE TABLE {name}(u_id BIGINT, u_v DOUBLE, u_text VARCHAR)")
            if rows:
                connection.executemany(f"INSERT INTO {name} VALUES (?, ?, ?)", rows)
        delta.pair(connection, "FROM old", "FROM new", schema, ["id"], "found")
        found = connection.execute("SELECT n, op, k0, b0, b2, a0, a2 FROM found ORDER BY n").fetchall()

    def counted(rows: list[tuple[Any, ...]]) -> Counter[tuple[Any, ...]]:
        return Counter((key, "NaN" if v != v else v, text) for key, v, text in rows)

    gone, come = counted(before) - counted(after), counted(after) - counted(before)
    assert counted([(key, *b) for _, op, key, *b, _, _ in found if op != "insert"]) == gone
    assert counted([(key, *a) for _, op, key, _, _, *a in found if op != "delete"]) == come
    assert [n for n, *_ in found] == list(range(len(found)))
    keys = [key for _, _, key, *_ in found]
    assert keys == sorted(keys, key=lambda key: (key is None, key or 0))
    for key in set(keys):
        many = [sum(rows[one] for one in rows if one[0] == key) for rows in (gone, come)]
        assert keys.count(key) == max(many)
