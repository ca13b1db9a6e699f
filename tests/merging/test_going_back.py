"""Going back to a version whose columns are others by now: by value where the table takes it, else refused whole."""

from __future__ import annotations

from pathlib import Path

import deltalake
import pyarrow as pa
import pytest

import merging
from merging import InvalidKeys, TableChanged

IDS = pa.array([1, 2, 3], pa.int64())
TEXTS = pa.array(["1", "2", "x"])
PAIRS = pa.array([{"x": 1, "y": 2}, None, None], pa.struct([("x", pa.int64()), ("y", pa.int64())]))
SINGLES = pa.array([{"x": 1}, None, None], pa.struct([("x", pa.int64())]))


def overwritten(folder: Path, *states: dict[str, pa.Array]) -> str:
    """A table of which each state took the place of the one before, columns and all."""
    for state in states:
        deltalake.write_deltalake(folder, pa.table(state), mode="overwrite", schema_mode="overwrite")
    return str(folder)


@pytest.mark.parametrize(
    ("then", "now", "named"),
    [
        (
            {"id": IDS, "a": IDS},
            {"id": IDS, "a": TEXTS},
            "column a: the content has it as int64, the table as string",
        ),
        ({"id": IDS, "a": TEXTS}, {"id": IDS, "a": IDS}, 'column a: found "x"'),
        ({"id": IDS, "it.s": TEXTS}, {"id": IDS}, "column it.s: a new column cannot be named so"),
        ({"id": IDS, "_op": TEXTS}, {"id": IDS}, "column _op: _op names the operation of a row"),
        (
            {"id": IDS, "a": SINGLES},
            {"id": IDS, "a": PAIRS},
            'column a: the content\'s struct has no field "y"',
        ),
        ({"id": TEXTS}, {"id": IDS}, "column id: the key column is a string there and a long in the table"),
        ({"key": IDS}, {"id": IDS}, "column id: the key column is missing"),
    ],
)
def test_what_the_columns_of_today_do_not_take_is_named(
    then: dict[str, pa.Array], now: dict[str, pa.Array], named: str, tmp_path: Path
) -> None:
    uri = overwritten(tmp_path / "table", then, now)
    with pytest.raises(TableChanged) as raised:
        merging.stage_version(uri, 0, ["id"], str(tmp_path / "back"))
    message = str(raised.value).replace("line 3, ", "")
    assert message.startswith(f"The table has columns now that do not take the rows of version 0: {named}")
    assert "RESTORE in Spark" in message
    assert not [*tmp_path.glob("back/*")]


def test_a_key_that_the_table_itself_has_not_is_named(tmp_path: Path) -> None:
    uri = overwritten(tmp_path / "table", {"id": IDS}, {"key": IDS})
    with pytest.raises(InvalidKeys, match="The table has no column id; its columns are key"):
        merging.stage_version(uri, 0, ["id"], str(tmp_path / "back"))


def test_values_that_fit_are_put_back_though_their_type_is_another(tmp_path: Path) -> None:
    """Keys too: whole numbers are compared as numbers, however wide."""
    narrow, digits = pa.array([1, 2, 3], pa.int32()), pa.array(["7", "8", None])
    uri = overwritten(tmp_path / "table", {"id": narrow, "a": digits}, {"id": IDS, "a": IDS})
    back = merging.stage_version(uri, 0, ["id"], str(tmp_path / "back"))
    values = [
        (row.before["a"], row.proposed["a"]) for row in back.page().items if row.before and row.proposed
    ]
    assert values == [(1, 7), (2, 8), (3, None)]
