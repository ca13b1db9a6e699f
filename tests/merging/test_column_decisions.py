"""What somebody decides about a file's columns and its empty cells, before anything is proposed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest

import merging
from merging import ColumnAction, StagingRejected, UnknownColumn
from merging.staging.decisions import suggestions
from tests.merging.world import Row, World

S = pa.schema([("id", pa.int64()), ("name", pa.string()), ("seats", pa.int64())])
ROWS: list[Row] = [
    {"id": 1, "name": "Ann", "seats": 4},
    {"id": 2, "name": "", "seats": None},
    {"id": 3, "name": None, "seats": 6},
]


@pytest.fixture
def table(tmp_path: Path) -> World:
    return World(tmp_path, "merge-on-read", S, ROWS)


def changes(staged: merging.Staged) -> list[tuple[Any, str, dict[str, Any]]]:
    """Of each changed row its key, operation and the new values of what changes."""
    return [
        (row.key["id"], row.operation, {name: (row.after or {})[name] for name in row.changed})
        for row in staged.page().items
    ]


def refused(world: World, changed: Any, **options: Any) -> StagingRejected:
    with pytest.raises(StagingRejected) as refusal:
        world.stage(changed, **options)
    return refusal.value


def test_a_misspelt_column_is_asked_about_and_then_renamed(table: World) -> None:
    file = table.file("x.csv", "id,nmae,note,seats\n1,Anna,7,5\n3,Cid,8,6\n")
    looked = table.stage(file, asks_about_columns=True)
    assert looked.unknown_columns == (
        UnknownColumn("nmae", "name", "string"),
        UnknownColumn("note", "", "long"),
    )
    assert changes(looked) == [(1, "update", {"seats": 5})]
    assert looked.new_columns == ()
    assert merging.open_staged(looked.location).unknown_columns == looked.unknown_columns

    decided = {"nmae": ColumnAction("rename", "name"), "note": ColumnAction("leave_out")}
    staged = table.stage(file, asks_about_columns=True, column_actions=decided)
    assert staged.unknown_columns == ()
    assert changes(staged) == [(1, "update", {"name": "Anna", "seats": 5}), (3, "update", {"name": "Cid"})]

    added = table.stage(file, column_actions={**decided, "note": ColumnAction("add", type="string")})
    assert added.new_column_types == {"note": "string"}
    guessed = table.stage(file, column_actions={**decided, "note": ColumnAction("add")})
    assert guessed.new_column_types == {"note": "long"}


def test_of_names_that_are_equally_alike_one_is_meant() -> None:
    assert suggestions(["atl", "Seats ", "xyzzy"], ["lat", "alt", "seats"]) == {
        "atl": "alt",
        "Seats ": "seats",
    }


def test_without_decisions_all_stays_as_it_was(table: World) -> None:
    file = table.file("x.csv", "id,note\n1,7\n")
    assert table.stage(file).new_column_types == {"note": "long"}
    assert refused(table, file, merge_schema=False).problems[0].code == "unknown_column"


def test_a_misspelt_key_is_a_question_too(table: World) -> None:
    file = table.file("x.csv", "Id,seats\n1,5\n")
    refusal = refused(table, file, asks_about_columns=True)
    assert [(one.code, one.column) for one in refusal.problems] == [("missing_key_column", "id")]
    assert refusal.unknown_columns == (UnknownColumn("Id", "id"),)
    staged = table.stage(file, column_actions={"Id": ColumnAction("rename", "id")})
    assert changes(staged) == [(1, "update", {"seats": 5})]


def test_the_operation_is_no_column_to_add(table: World) -> None:
    file = table.file("x.csv", "id,_op\n1,delete\n")
    refusal = refused(table, file, column_actions={"_op": ColumnAction("add")})
    assert [(one.code, one.line, one.column) for one in refusal.problems] == [("reserved_name", 1, "_op")]


def test_problems_and_questions_come_together(table: World) -> None:
    file = table.file("x.csv", "id,nmae,seats\n1,Ann,many\n")
    refusal = refused(table, file, asks_about_columns=True)
    assert [(one.code, one.line, one.column) for one in refusal.problems] == [("not_number", 2, "seats")]
    assert [one.name for one in refusal.unknown_columns] == ["nmae"]


def test_parquet_has_columns_to_decide_about(table: World) -> None:
    rows = pa.table({"id": [1], "nmae": ["Anna"], "when": pa.array([7], pa.int16())})
    looked = table.stage(rows, asks_about_columns=True)
    assert looked.unknown_columns == (
        UnknownColumn("nmae", "name", "string"),
        UnknownColumn("when", "", "short"),
    )
    decided = {"nmae": ColumnAction("rename", "name"), "when": ColumnAction("leave_out")}
    assert changes(table.stage(rows, column_actions=decided)) == [(1, "update", {"name": "Anna"})]


def test_a_column_of_the_table_can_be_left_out_and_what_cannot_be_read_in_it_does_not_matter(
    table: World,
) -> None:
    file = table.file("x.csv", "id,name,seats\n1,Anna,many\n")
    staged = table.stage(file, column_actions={"seats": ColumnAction("leave_out")})
    assert changes(staged) == [(1, "update", {"name": "Anna"})]


def test_an_operation_column_can_be_meant(table: World) -> None:
    file = table.file("x.csv", "id, _OP\n1,delete\n")
    assert table.stage(file, asks_about_columns=True).unknown_columns[0].suggestion == "_op"
    staged = table.stage(file, column_actions={" _OP": ColumnAction("rename", "_op")})
    assert dict(staged.counts) == {"insert": 0, "update": 0, "delete": 1}


@pytest.mark.parametrize(
    ("decided", "code", "column"),
    [
        ({"gone": ColumnAction("leave_out")}, "no_such_column", "gone"),
        ({"nmae": ColumnAction("rename", "title")}, "unknown_column", "nmae"),
        ({"seats": ColumnAction("add")}, "known_column", "seats"),
        ({"nmae": ColumnAction("rename", "seats")}, "repeated_column", "seats"),
        ({"nmae": ColumnAction("add", type="tree")}, "unknown_type", "nmae"),
    ],
)
def test_decisions_that_cannot_be_followed(
    table: World, decided: dict[str, ColumnAction], code: str, column: str
) -> None:
    file = table.file("x.csv", "id,nmae,seats\n1,Anna,5\n")
    refusal = refused(table, file, column_actions=decided)
    assert [(one.code, one.column) for one in refusal.problems] == [(code, column)]


CSV = 'id,name,seats\n1,,\n2,"",7\n3,x,\n'
KEPT: list[tuple[Any, str, dict[str, Any]]] = [
    (2, "update", {"seats": 7}),
    (3, "update", {"name": "x"}),
]
NULLED: list[tuple[Any, str, dict[str, Any]]] = [
    (1, "update", {"name": None, "seats": None}),
    (2, "update", {"seats": 7}),
    (3, "update", {"name": "x", "seats": None}),
]
TEXTS: list[tuple[Any, str, dict[str, Any]]] = [
    (1, "update", {"name": "", "seats": None}),
    (2, "update", {"seats": 7}),
    (3, "update", {"name": "x", "seats": None}),
]


@pytest.mark.parametrize(
    ("meaning", "expected"), [(None, NULLED), ("keep", KEPT), ("null", NULLED), ("text", TEXTS)]
)
def test_what_an_empty_cell_means(table: World, meaning: Any, expected: Any) -> None:
    staged = table.stage(table.file("x.csv", CSV), empty_cells=meaning)
    assert changes(staged) == expected
    nulled = {"name": 1, "seats": 2} if expected is NULLED else {"seats": 2} if expected is TEXTS else {}
    assert staged.cells_becoming_null() == nulled

    book = openpyxl.Workbook()
    for row in (["id", "name", "seats"], [1, None, None], [2, None, 7], [3, "x", None]):
        book.active.append(row)
    path = table.file("x.xlsx", b"")
    book.save(path)
    assert changes(table.stage(path, empty_cells=meaning)) == expected


def test_a_word_for_null_beside_empty_cells(table: World) -> None:
    file = table.file("x.csv", 'id,name,seats\n1,,-\n2,-,7\n3,"-",\n')
    kept = table.stage(file, null_token="-", empty_cells="keep")
    assert changes(kept) == [
        (1, "update", {"seats": None}),
        (2, "update", {"name": None, "seats": 7}),
        (3, "update", {"name": "-"}),
    ]
    texts = table.stage(file, null_token="-", empty_cells="text")
    assert changes(texts)[0] == (1, "update", {"name": "", "seats": None})


def test_an_empty_key_is_a_mistake_whatever_cells_mean(table: World) -> None:
    for meaning in ("keep", "null", "text"):
        refusal = refused(table, table.file("x.csv", "id,name\n,x\n"), empty_cells=meaning)
        assert [one.code for one in refusal.problems] == ["null_key"]


def test_a_new_row_with_empty_cells_that_are_kept_has_none(table: World) -> None:
    staged = table.stage(table.file("x.csv", "id,name,seats\n9,,3\n"), empty_cells="keep")
    [row] = staged.page().items
    assert (row.operation, row.after) == ("insert", {"id": 9, "name": None, "seats": 3})
