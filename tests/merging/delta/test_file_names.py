"""How paths of ours are spelled in the log."""

from __future__ import annotations

import json
import urllib.parse
from pathlib import Path

import deltalake
import polars
import pyarrow as pa
import pytest

import merging
from merging.delta.writing import builder
from merging.delta.writing.file_names import log_path

#: What Spark makes of these (``test_spark_vacuum`` asks it).
SPELLED = {
    "p=a/x-1_2.parquet": "p=a/x-1_2.parquet",
    "p=ä%2Fö%3D%25/x": "p=ä%252Fö%253D%2525/x",
    "p=(a)+,;@&$ ~!*'/x": "p=(a)+,;@&$%20~!*'/x",
    "p=[b]^{c}#?/x": "p=%5Bb%5D%5E%7Bc%7D%23%3F/x",
    "p=\u00a0\u3000\u2028😀/x": "p=%C2%A0%E3%80%80%E2%80%A8😀/x",
    "p=\x07\x7f\x85/x": "p=%07%7F%C2%85/x",
}


@pytest.mark.parametrize(("path", "spelled"), SPELLED.items())
def test_a_path_is_spelled_as_spark_spells_it(path: str, spelled: str) -> None:
    assert log_path(path) == spelled
    assert urllib.parse.unquote(spelled) == path


def written(folder: Path, values: list[str | None]) -> str:
    """A table of ours with these partitions, a row in each."""
    table = str(folder / "table")
    content = pa.table({"id": range(len(values)), "p": pa.array(values, pa.string())})
    merging.create_table(table, content, partition_by=["p"])
    return table


def by_delta_rs(table: str) -> list[str | None]:
    found = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(table))
    values: list[str | None] = pa.table(found.execute("SELECT p FROM t ORDER BY id").read_all())[
        "p"
    ].to_pylist()
    return values


#: With every byte outside of ASCII spelled by three letters the first three would be too long for a folder.
LONG = ["ä" * 120, "😀 #%/=?*[a]\\" + "ö" * 100, " x" * 63 + "\u3000" * 30, "a" * 253]


def test_polars_finds_long_values_of_partitions_in_the_names_of_folders(tmp_path: Path) -> None:
    values = [*LONG, None]
    table = written(tmp_path, values)
    assert polars.read_delta(table).sort("id")["p"].to_list() == values
    assert by_delta_rs(table) == values
    assert [row["p"] for row in merging.preview(table, primary_keys=["id"]).rows] == values


@pytest.mark.parametrize("others", [[], ["b"], [None]])
def test_a_value_longer_than_a_folder_may_be_is_read_or_refused_and_is_nobodys_null(
    tmp_path: Path, others: list[str | None]
) -> None:
    values = ["a" * 254, "ä" * 128, *others]
    table = written(tmp_path, values)
    assert by_delta_rs(table) == values
    assert [row["p"] for row in merging.preview(table, primary_keys=["id"]).rows] == values
    with pytest.raises(polars.exceptions.PolarsError, match="headgate-partition"):
        polars.read_delta(table)


def as_before(path: str) -> str:
    """How an earlier version of the engine spelled paths in the log."""
    return urllib.parse.quote(path, safe="/=-_.")


def test_files_that_the_log_spells_otherwise_than_spark_are_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To Spark's VACUUM they are nobody's (``test_spark_vacuum`` asks it)."""
    table = str(tmp_path / "table")
    with monkeypatch.context() as earlier:
        earlier.setattr(builder, "log_path", as_before)
        merging.create_table(table, pa.table({"id": range(20), "ä": ["x", "y"] * 10}), partition_by=["ä"])
    found = merging.table_condition(table)
    assert (found.files, found.small_files, found.misspelt_files) == (2, 0, 2)

    done = merging.compact(table, attempt_id="c1", application_id="c1", generation=1)
    assert (done.files_removed, done.files_added, done.row_count) == (2, 2, 20)
    assert merging.table_condition(table).misspelt_files == 0
    assert [row["id"] for row in merging.preview(table, primary_keys=["id"]).rows] == list(range(20))
    lines = Path(table, "_delta_log", f"{done.version:020d}.json").read_text(encoding="utf-8").splitlines()
    added = [action["add"]["path"] for action in map(json.loads, lines) if "add" in action]
    assert sorted(path.split("/")[0] for path in added) == ["ä=x", "ä=y"]
    assert merging.compact(table, attempt_id="c2", application_id="c2", generation=1).version is None
