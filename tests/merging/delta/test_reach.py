"""Logs that name files outside of the table's folder: refused by name, at every opening, where the table may not."""

from __future__ import annotations

import json
import shutil
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

import merging
from merging import FilesElsewhere
from merging.delta import reach
from merging.delta.reach import leaves
from merging.store.stores import LocalStore
from tests.merging.stores import memory_store

ROWS = pa.table({"id": pa.array([1, 2], pa.int64()), "secret": ["a", "b"]})
LOCAL = LocalStore(Path("/data/tables/mine"))
BUCKET = memory_store("s3://bucket/tables/mine")

#: Paths as a log spells them: URL-encoded once.
OUTSIDE = [
    "/data/tables/others/a.parquet",
    "//data/tables/others/a.parquet",
    "/data/tables/mine/../others/a.parquet",
    "/data/tables/mine2/a.parquet",
    "/data/tables/mine",
    "../others/a.parquet",
    "a/../../others/a.parquet",
    "a/b/../../../others/a.parquet",
    "a/..",
    "..",
    "%2e%2e/others/a.parquet",
    "%2E./others/a.parquet",
    "..%2Fothers%2Fa.parquet",
    "a%2F..%2F..%2Fothers/a.parquet",
    "%2Fdata%2Ftables%2Fothers/a.parquet",
    "%252e%252e/others/a.parquet",
    "%252Fetc/passwd",
    "..\\others\\a.parquet",
    "~/a.parquet",
    "file:///data/tables/others/a.parquet",
    "file:/data/tables/others/a.parquet",
    "FILE:///data/tables/others/a.parquet",
    "file:///data/tables/mine/../others/a.parquet",
    "file:///data/tables/mine/%2e%2e/others/a.parquet",
    "file%3A%2F%2F%2Fdata/tables/others/a.parquet",
    "file://localhost/data/tables/others/a.parquet",
    "s3://other/a.parquet",
    "s3a://other/a.parquet",
    "S3://bucket/tables/others/a.parquet",
    "s3%3A//other/a.parquet",
    "abfss://c@a.dfs.core.windows.net/a.parquet",
    "gs://other/a.parquet",
    "http://x.test/a.parquet",
    "dbfs:/others/a.parquet",
    "s3://bucket/tables/mine/../others/a.parquet",
    "s3://bucket/tables/mine2/a.parquet",
]
INSIDE = [
    "a.parquet",
    "part-00000-1c.snappy.parquet",
    "year=2020/a.parquet",
    "day=2020-01-01%2010%253A00%253A00/a.parquet",
    "name=..%252Fx/a.parquet",
    "name=a%252F..%252Fb/a.parquet",
    "a..b.parquet",
    "...parquet",
    "x:y.parquet",
    "x%3Ay.parquet",
    "100%25.parquet",
    "é/%C3%A9.parquet",
]


def decoded(path: str) -> str:
    return urllib.parse.unquote(path)


@pytest.mark.parametrize("path", OUTSIDE)
def test_fs6_paths_that_lead_out_are_known_in_every_spelling(path: str) -> None:
    assert leaves(LOCAL, decoded(path))
    assert leaves(BUCKET, decoded(path))


@pytest.mark.parametrize("path", INSIDE)
def test_paths_that_stay_are_known(path: str) -> None:
    assert not leaves(LOCAL, decoded(path))
    assert not leaves(BUCKET, decoded(path))


def test_a_tables_own_folder_may_be_spelled_out() -> None:
    for path in ("/data/tables/mine/a.parquet", "file:///data/tables/mine/a/b", "file:/data/tables/mine/a"):
        assert not leaves(LOCAL, path)
    assert not leaves(BUCKET, "s3://bucket/tables/mine/a.parquet")


@given(
    st.lists(st.sampled_from(["..", ".", "a", "", "%2e%2e", "mine", "x=1"]), min_size=1, max_size=6),
    st.booleans(),
)
def test_fs6_whatever_is_not_refused_resolves_below_the_root(parts: list[str], absolute: bool) -> None:
    path = ("/" if absolute else "") + "/".join(parts)
    if not leaves(LOCAL, path):
        resolved = (LOCAL.root / LOCAL.relative(path)).resolve()
        assert resolved.is_relative_to(LOCAL.root)


# ---- whole tables ----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in which no table may leave its own."""
    reach.set_reach(lambda uri: not Path(uri).is_relative_to(tmp_path))
    yield tmp_path
    reach.set_reach(_BEFORE)


_BEFORE = reach._decides


def tables(folder: Path) -> tuple[Path, Path]:
    """A table of others, and one of our own."""
    found = folder / "others", folder / "mine"
    for one in found:
        merging.create_table(str(one), ROWS)
    return found


def log_of(table: Path) -> Path:
    return table / "_delta_log" / f"{0:020d}.json"


def first_add(table: Path) -> dict[str, Any]:
    actions = [json.loads(line) for line in log_of(table).read_text().splitlines()]
    [add] = [action["add"] for action in actions if "add" in action]
    return dict(add)


def commit(table: Path, *actions: dict[str, Any]) -> None:
    log_of(table).with_name(f"{1:020d}.json").write_text("".join(json.dumps(one) + "\n" for one in actions))


def by_data_file(others: Path, mine: Path) -> str:
    add = first_add(others)
    add["path"] = f"../others/{add['path']}"
    commit(mine, {"add": add})
    return str(add["path"])


def by_absolute_path(others: Path, mine: Path) -> str:
    add = first_add(others)
    add["path"] = f"{others}/{add['path']}"
    commit(mine, {"add": add})
    return str(add["path"])


def by_vector(others: Path, mine: Path) -> str:
    path = f"{others}/deletion_vector.bin"
    vector = {"storageType": "p", "pathOrInlineDv": path, "offset": 1, "sizeInBytes": 40, "cardinality": 1}
    commit(
        mine,
        {"remove": {"path": first_add(mine)["path"]}},
        {"add": {**first_add(mine), "deletionVector": vector}},
    )
    return path


def by_vector_prefix(others: Path, mine: Path) -> str:
    path = "../others/" + "0" * 20
    vector = {"storageType": "u", "pathOrInlineDv": path, "offset": 1, "sizeInBytes": 40, "cardinality": 1}
    commit(
        mine,
        {"remove": {"path": first_add(mine)["path"]}},
        {"add": {**first_add(mine), "deletionVector": vector}},
    )
    return path


def by_checkpoint(others: Path, mine: Path) -> str:
    path = by_data_file(others, mine)
    DeltaTable(mine).create_checkpoint()
    for version in (0, 1):
        log_of(mine).with_name(f"{version:020d}.json").unlink()
    return path


def by_sidecar(others: Path, mine: Path) -> str:
    path = f"{others}/_delta_log/_sidecars/s.parquet"
    Path(path).parent.mkdir()
    add = {name: value for name, value in first_add(others).items() if name != "partitionValues"}
    pq.write_table(pa.table({"add": pa.array([add])}), path)
    actions = [json.loads(line) for line in log_of(mine).read_text().splitlines()]
    kept = [one for one in actions if "metaData" in one or "protocol" in one]
    for one in kept:
        if "protocol" in one:
            one["protocol"]["readerFeatures"] = [*one["protocol"].get("readerFeatures", []), "v2Checkpoint"]
            one["protocol"]["writerFeatures"] = [*one["protocol"].get("writerFeatures", []), "v2Checkpoint"]
    lines = [{"checkpointMetadata": {"version": 0}}, *kept]
    lines.append({"sidecar": {"path": path, "sizeInBytes": 1, "modificationTime": 0}})
    name = f"{0:020d}.checkpoint.{uuid.uuid4()}.json"
    log_of(mine).with_name(name).write_text("".join(json.dumps(one) + "\n" for one in lines))
    log_of(mine).unlink()
    return path


WAYS = [by_data_file, by_absolute_path, by_vector, by_vector_prefix, by_checkpoint, by_sidecar]
OPENINGS: dict[str, Callable[[str], object]] = {
    "inspect": merging.inspect_table,
    "preview": lambda uri: merging.preview(uri, primary_keys=("id",)),
    "keys": lambda uri: merging.check_keys(uri, ["id"]),
    "stage": lambda uri: merging.stage(uri, ROWS, ("id",), destination=f"{uri}-staged"),
    "condition": merging.table_condition,
    "profile": merging.propose_expectations,
    "check": lambda uri: merging.check_table(uri, {"name": "s", "expectations": []}, ["id"]),
}


@pytest.mark.parametrize("way", WAYS)
def test_fs6_a_log_that_climbs_out_is_refused_by_name_at_every_opening(
    folder: Path, way: Callable[[Path, Path], str]
) -> None:
    others, mine = tables(folder)
    staged = merging.stage(str(mine), ROWS, ("id",), destination=str(folder / "staged"))
    path = way(others, mine)
    before = sorted(str(one) for one in folder.rglob("*"))

    for name, opening in OPENINGS.items():
        with pytest.raises(FilesElsewhere, match="shallow clones") as caught:
            opening(str(mine))
        assert caught.value.paths == (path,), name
    request = merging.MergeRequest(str(mine), "CR-1", ("id",), staged)
    for call in (merging.plan, merging.merge):
        with pytest.raises(FilesElsewhere):
            call(request)
    assert sorted(str(one) for one in folder.rglob("*")) == before


def test_a_table_that_may_leave_is_read_and_says_so(folder: Path) -> None:
    others, mine = tables(folder)
    path = by_data_file(others, mine)
    reach.set_reach(lambda uri: uri == str(mine))

    info = merging.inspect_table(str(mine))

    assert info.files_elsewhere == (path,)
    assert [one for one in info.warnings if "1 of the table's 2 files lie outside of its folder" in one]
    assert len(merging.preview(str(mine), primary_keys=("id",)).rows) == 4


def test_fs6_sidecars_lie_in_the_log_of_clones_too(folder: Path) -> None:
    others, mine = tables(folder)
    by_sidecar(others, mine)
    reach.set_reach(lambda _: True)

    with pytest.raises(FilesElsewhere):
        merging.inspect_table(str(mine))


def test_whether_a_table_may_leave_is_asked_only_where_it_does(folder: Path) -> None:
    _, mine = tables(folder)
    reach.set_reach(lambda _: pytest.fail("it was asked"))

    assert merging.inspect_table(str(mine)).files_elsewhere == ()
    shutil.rmtree(mine)


def test_a_path_is_told_to_its_end() -> None:
    path = f"file:///{'folder/' * 60}part-1.parquet"
    assert merging.FilesElsewhere("t", [path]).data["paths"] == [path]
    assert path in merging.FilesElsewhere("t", [path]).message
