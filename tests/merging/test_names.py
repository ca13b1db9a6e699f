"""No name of a user's column meets a name of the engine's, in any statement, in any case."""

from __future__ import annotations

import ast
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import merging
from merging.sql.quoting import column_label, column_named
from tests.merging.world import Row, World, resolve, same_rows

ENGINE = Path(merging.__file__).parent
COLUMNS_A_TABLE = 70
# What DuckDB's reader of Parquet files, Delta's readers and SQL itself call their own; with labels of other names.
SPECIAL = [
    *("row_number", "file_row_number", "file_index", "filename", "file_size", "file_last_modified", "rowid"),
    *(
        "headgate_nth",
        "nth",
        "n",
        "op",
        "absent",
        "ordinal",
        "here",
        "action",
        "is_new",
        "previous",
        "touched",
    ),
    *(
        "k0",
        "b1",
        "p1",
        "c1",
        "m1",
        "u1",
        "a1",
        "x1",
        "v0",
        "f0",
        "base_file",
        "base_row",
        "rekeyed",
        "label",
    ),
    *(
        "u_id",
        "u_u_id",
        "u_~69d",
        "~",
        "select",
        "from",
        "order",
        "rows",
        "value",
        "values",
        "item0",
        "k",
        "v",
    ),
]


def identifiers() -> list[str]:
    """Every word that stands in a text of the engine's code, so every identifier of its SQL, and the special ones."""
    found = dict.fromkeys(SPECIAL)
    for path in sorted(ENGINE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.update(dict.fromkeys(re.findall(r"[A-Za-z_][A-Za-z0-9_]{0,40}", node.value)))
    # Uploads name the operation of a row so, and Delta's change data feed its own columns.
    reserved = {"_op", "_change_type", "_commit_version", "_commit_timestamp", "id"}
    distinct = {word.casefold(): word for word in reversed(found) if word.casefold() not in reserved}
    return list(distinct.values())[::-1]


def cased(place: int, word: str) -> str:
    return (word, word.upper(), word.lower().capitalize())[place % 3]


WORDS = [cased(place, word) for place, word in enumerate(identifiers())]
CHUNKS = [WORDS[start : start + COLUMNS_A_TABLE] for start in range(0, len(WORDS), COLUMNS_A_TABLE)]


def value(row: int, column: int) -> int:
    """A value of its own for every cell, so that a cell from elsewhere is seen."""
    return 1_000_000 + row * 10_000 + column


def table_of(names: list[str], rows: int, keys: list[str]) -> list[Row]:
    return [
        {name: row if name in keys else value(row, place) for place, name in enumerate(names)}
        for row in range(rows)
    ]


def test_every_word_of_the_engine_is_tried() -> None:
    assert len(WORDS) > 1_000
    assert {"row_number", "file_index", "is_new", "base_file"} <= {word.casefold() for word in WORDS}


@given(st.text(), st.text())
def test_labels_are_names_of_their_own(one: str, other: str) -> None:
    assert column_named(column_label(one)) == one
    assert (column_label(one).casefold() == column_label(other).casefold()) == (one == other)
    assert re.fullmatch(r"u_[a-z0-9_~]*", column_label(one))


def test_no_label_is_a_word_of_sql() -> None:
    with duckdb.connect() as connection:
        words = {
            word for (word,) in connection.execute("SELECT keyword_name FROM duckdb_keywords()").fetchall()
        }
    assert not [word for word in words if word.casefold().startswith("u_")]


def tables() -> Iterator[Any]:
    for number, names in enumerate(CHUNKS):
        strategy = ("merge-on-read", "copy-on-write")[number % 2]
        yield pytest.param(["id", *names], ["id"], [], strategy, id=f"values-{number}")
    for strategy in ("merge-on-read", "copy-on-write"):
        for word in ("file_row_number", "ROW_NUMBER", "File_Index", "filename", "u_id", "n"):
            yield pytest.param([word, "op", "x"], [word], [], strategy, id=f"key-{word}-{strategy}")
            yield pytest.param(["id", word, "x"], ["id"], [word], strategy, id=f"partition-{word}-{strategy}")
            yield pytest.param(
                [word, "id", "x"], ["id", word], [word], strategy, id=f"both-{word}-{strategy}"
            )


@pytest.mark.sample(12)
@pytest.mark.parametrize(("names", "keys", "partition", "strategy"), list(tables()))
def test_fd1_columns_may_have_any_name_of_the_engines(
    names: list[str], keys: list[str], partition: list[str], strategy: str, tmp_path: Path
) -> None:
    rows = table_of(names, 6, keys)
    if partition and partition[0] not in keys:
        rows = [{**row, partition[0]: place % 2} for place, row in enumerate(rows)]
    schema = pa.schema([(name, pa.int64()) for name in names])
    world = World(
        tmp_path,
        strategy,
        schema,
        rows,
        keys,
        partition_by=partition,
        change_data_feed=strategy != "merge-on-read",
    )
    edited = next(name for name in reversed(names) if name not in keys and name not in partition)
    key_of = {place: {key: row[key] for key in keys} for place, row in enumerate(rows)}

    # It is shown as it is, and unchanged content changes nothing.
    page = merging.preview(world.uri, primary_keys=keys, order_by=edited, filters=[(edited, ">", 0)])
    assert list(page.rows) == rows
    assert merging.check_keys(world.uri, keys).duplicate_keys == 0
    changes = [dict(row) for row in rows]
    changes[2][edited] = -2
    staged = world.stage(changes)
    assert (staged.rows, staged.cells_updated) == (1, {edited: 1})
    [seen] = staged.page().items
    assert (seen.base, seen.proposed) == (rows[2], changes[2])

    # Somebody else's change of the same cell is a conflict; the choice is merged, and every other row is as it was.
    theirs = [dict(row) for row in rows]
    theirs[2][edited] = -3
    world.set_current(theirs)
    plan = world.plan(staged)
    [conflict] = list(plan.conflicts)
    assert (conflict.key, conflict.column) == (key_of[2], edited)
    assert (conflict.base, conflict.current, conflict.proposed) == (rows[2][edited], -3, -2)
    plan.close()
    suite = {
        "name": "suite",
        "expectations": [
            {"type": "expect_column_values_to_be_between", "kwargs": {"column": edited, "min_value": -2}},
            {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": [*keys, edited]}}
            if len(keys) > 1
            else {"type": "expect_column_values_to_be_unique", "kwargs": {"column": keys[0]}},
        ],
    }
    assert not merging.check_table(world.uri, suite, keys).ok
    chosen = resolve([conflict], "proposed")
    result = world.merge(staged, resolutions=chosen, expectations=suite)
    assert (result.rows_affected, result.cells_updated) == (1, {edited: 1})
    assert same_rows(world.rows(), changes, keys)

    # Rows come and go, the merge is traced, compacted, compared and taken back.
    fresh = {**{name: value(9, place) for place, name in enumerate(names)}, **dict.fromkeys(keys, 9)}
    if partition and partition[0] not in keys:
        fresh[partition[0]] = 1
    proposal = pa.Table.from_pylist(
        [{**fresh, "_op": "insert"}, {**changes[4], "_op": "delete"}],
        schema.append(pa.field("_op", pa.string())),
    )
    second = world.stage(proposal, base_version=world.version)
    merged = world.merge(second, "CR-2")
    expected = [*changes[:4], changes[5], fresh]
    assert same_rows(world.rows(), expected, keys)
    assert merged.artefacts is not None
    [traced] = merging.trace_row([merged.artefacts], key_of[4])
    assert traced.row is not None
    assert traced.row.current == changes[4]
    merging.compact(world.uri, attempt_id=uuid.uuid4().hex, application_id="test/compact", generation=1)
    assert same_rows(world.rows(), expected, keys)
    assert list(merging.preview(world.uri, primary_keys=keys).rows) == expected
    inverse = merging.invert(world.uri, merged.artefacts, keys, destination=str(tmp_path / "inverse"))
    world.merge(inverse, "CR-3")
    assert same_rows(world.rows(), changes, keys)
    assert merging.propose_expectations(world.uri, keys)["expectations"]
