"""Filters of the keys that merges changed: they deny no key that was changed, and let few others pass."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import merging
from merging.sql import bloom


def artefacts(folder: Path, types: dict[str, str], columns: dict[str, pa.Array]) -> str:
    """The folder of a merge that changed rows with these keys, as far as a filter reads it."""
    folder.mkdir()
    fields = [{"name": name, "type": kind, "nullable": True, "metadata": {}} for name, kind in types.items()]
    summary = {"format": 1, "primary_keys": list(types), "fields": fields}
    (folder / "summary.json").write_text(json.dumps(summary))
    table = pa.table({f"k{place}": values for place, values in enumerate(columns.values())})
    pq.write_table(table, folder / "images.parquet")
    return str(folder)


def made(folder: str) -> bytes:
    [(location, content)] = merging.key_filters([folder])
    assert location == folder
    assert content is not None
    return content


def whole_numbers(folder: Path, numbers: range, kind: str = "long") -> bytes:
    arrow = {"long": pa.int64(), "integer": pa.int32()}[kind]
    return made(artefacts(folder, {"id": kind}, {"id": pa.array(numbers, arrow)}))


def passing(content: bytes, *keys_asked: Any, name: str = "id") -> list[Any]:
    return [key for key in keys_asked if merging.merges_that_may_hold([("it", content)], {name: key})]


def test_every_key_passes_and_one_other_in_a_hundred(tmp_path: Path) -> None:
    content = whole_numbers(tmp_path / "merge", range(2_000))
    assert len(content.partition(b"\n")[2]) == 2_500
    assert passing(content, *range(0, 2_000, 100)) == list(range(0, 2_000, 100))
    assert passing(content, *range(10_560, 10_640)) == [10_569, 10_635]  # of 20,000 others, 154


def test_a_merge_of_very_many_keys_lets_all_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bloom, "MOST_KEYS", 10)
    within, beyond = whole_numbers(tmp_path / "10", range(10)), whole_numbers(tmp_path / "11", range(11))
    assert passing(within, 3, 12_345) == [3]
    assert beyond == b'{"columns":{"id":"long"},"hashes":7}\n'
    assert passing(beyond, 3, 12_345) == [3, 12_345]


def test_a_merge_that_changed_no_row_lets_none_pass(tmp_path: Path) -> None:
    content = whole_numbers(tmp_path / "merge", range(0))
    assert content.partition(b"\n")[2] == bytes(64)
    assert passing(content, 0, 1) == []


def test_the_names_come_back_in_their_order(tmp_path: Path) -> None:
    one, other = whole_numbers(tmp_path / "a", range(5)), whole_numbers(tmp_path / "b", range(5, 9))
    filters = [(30, one), (10, other), (20, one)]
    assert merging.merges_that_may_hold(filters, {"id": 4}) == [30, 20]
    assert merging.merges_that_may_hold(filters, {"id": "4"}) == [30, 20]
    assert merging.merges_that_may_hold([], {"id": 4}) == []


def test_a_key_column_that_was_widened_since(tmp_path: Path) -> None:
    narrow, wide = (
        whole_numbers(tmp_path / "a", range(5), "integer"),
        whole_numbers(tmp_path / "b", range(2**40, 2**40 + 3)),
    )
    filters = [("narrow", narrow), ("wide", wide)]
    assert merging.merges_that_may_hold(filters, {"id": 4}) == ["narrow"]
    assert merging.merges_that_may_hold(filters, {"id": 2**40}) == ["wide"]  # no integer, so not in the first


def test_keys_of_several_columns_are_told_apart(tmp_path: Path) -> None:
    types = {"a": "string", "b": "string"}
    content = made(
        artefacts(tmp_path / "merge", types, {"a": pa.array(["x", "x|"]), "b": pa.array(["|y", "z"])})
    )

    def may_hold(a: str, b: str) -> bool:
        return bool(merging.merges_that_may_hold([("it", content)], {"b": b, "a": a}))

    assert may_hold("x", "|y")
    assert may_hold("x|", "z")
    assert not may_hold("x|", "y")
    assert not may_hold("x", "z")


def test_both_zeros_are_one_key(tmp_path: Path) -> None:
    content = made(artefacts(tmp_path / "merge", {"id": "double"}, {"id": pa.array([-0.0, float("nan")])}))
    assert passing(content, 0.0, "NaN", 1.0) == [0.0, "NaN"]


def test_another_key_column_is_refused(tmp_path: Path) -> None:
    content = whole_numbers(tmp_path / "merge", range(5))
    with pytest.raises(merging.InvalidKeys, match="a key has a value for each of id"):
        passing(content, 4, name="number")


def test_images_that_are_gone_have_no_filter(tmp_path: Path) -> None:
    there = artefacts(tmp_path / "there", {"id": "long"}, {"id": pa.array([1])})
    gone = str(tmp_path / "gone")
    assert [content is None for _, content in merging.key_filters([gone, there, gone])] == [True, False, True]


def test_the_filter_of_a_merge_is_made_of_its_images(tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    merging.create_table(uri, pa.table({"id": [1, 2, 3], "v": [0, 0, 0]}))
    changes = pa.table({"_op": ["upsert", "delete", "insert"], "id": [1, 2, 9], "v": [5, None, 9]})
    staged = merging.stage(uri, changes, ("id",))
    merged = merging.merge(
        merging.MergeRequest(uri, "CR-1", ("id",), staged, destination=str(tmp_path / "artefacts"))
    )
    folder = Path(str(merged.artefacts))
    assert passing(made(str(folder)), *range(20)) == [1, 2, 9]
