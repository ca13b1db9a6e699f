"""Texts of a megabyte: tables of ours and of others that hold them are staged, shown and merged in bounded memory."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import deltalake
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import merging
from benchmarks.scale_tables import commit
from merging.errors import EngineFailed
from merging.sql.session import limits, set_limits
from merging.staging import workbench

SCHEMA = pa.schema([("id", pa.int64()), ("body", pa.string())])
ROWS = 100


def texts(rows: int) -> pa.Table:
    bodies = [os.urandom(500_000).hex() for _ in range(rows)]
    return pa.table({"id": range(rows), "body": bodies}, schema=SCHEMA)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """As much as a fifth of the content for staging, and less than all three images of it for all else."""
    before = limits()
    set_limits(replace(before, staging_memory="150MB", memory="400MB"))
    yield
    set_limits(before)


def foreign(folder: Path, content: pa.Table) -> str:
    """A table whose one file holds each column as one page: who looks at its size each thousand rows writes so."""
    merging.create_table(str(folder), SCHEMA.empty_table())
    path = folder / "part-0.parquet"
    pq.write_table(content, path, use_dictionary=False)
    last = content.num_rows - 1
    stats = {"numRecords": content.num_rows, "minValues": {"id": 0}, "maxValues": {"id": last}}
    add = {"path": path.name, "partitionValues": {}, "size": path.stat().st_size, "modificationTime": 1}
    commit(folder, 1, [{"add": {**add, "dataChange": True, "stats": json.dumps(stats)}}])
    return str(folder)


def test_row_groups_of_ours_are_bounded_in_bytes(tmp_path: Path) -> None:
    merging.create_table(str(tmp_path / "table"), texts(ROWS))
    [path] = (tmp_path / "table").glob("*.parquet")
    found = duckdb.execute(
        "SELECT DISTINCT row_group_id, row_group_num_rows, row_group_bytes "
        f"FROM parquet_metadata('{path}') ORDER BY 1"
    ).fetchall()
    assert sum(rows for _, rows, _ in found) == ROWS
    assert all(size < 36 << 20 for _, _, size in found)
    assert len(found) <= 5


def test_a_page_of_others_larger_than_staging_may_hold_is_read(tmp_path: Path, little_memory: None) -> None:
    content = texts(ROWS)
    table = foreign(tmp_path / "table", content)
    changed = pa.table({"id": [3, 99, 200], "body": ["short", "other", "new"]}, schema=SCHEMA)
    staged = merging.stage(table, changed, ["id"], destination=str(tmp_path / "staged"))
    assert dict(staged.counts) == {"insert": 1, "update": 2, "delete": 0}
    [first, second, _] = staged.page(limit=10).items
    assert [one.sides.base["body"] for one in (first, second)] == [  # type: ignore[index]
        content["body"][3].as_py(),
        content["body"][99].as_py(),
    ]
    assert merging.merge(merging.MergeRequest(table, "CR-1", ["id"], staged)).rows_affected == 3
    assert len(merging.preview(table, primary_keys=["id"], limit=5).rows) == 5


def test_a_page_of_others_beyond_all_memory_is_refused_by_name(tmp_path: Path) -> None:
    table = foreign(tmp_path / "table", texts(ROWS))
    before = limits()
    set_limits(replace(before, staging_memory="100MB", memory="150MB"))
    try:
        with pytest.raises(EngineFailed, match="HEADGATE_ENGINE_MEMORY"):
            merging.stage(table, pa.table({"id": [3], "body": ["short"]}, schema=SCHEMA), ["id"])
    finally:
        set_limits(before)


@pytest.mark.parametrize("deletion_vectors", [True, False])
def test_many_rows_of_a_megabyte_are_merged(
    tmp_path: Path, little_memory: None, deletion_vectors: bool
) -> None:
    table = str(tmp_path / "table")
    before, changed = texts(ROWS), texts(ROWS + 1).slice(20)
    merging.create_table(table, before, deletion_vectors=deletion_vectors)
    upload = tmp_path / "upload.parquet"
    pq.write_table(changed, upload, row_group_size=10)
    set_limits(replace(limits(), staging_memory="450MB"))
    staged = merging.stage(table, str(upload), ["id"], destination=str(tmp_path / "staged"))
    request = merging.MergeRequest(table, "CR-1", ["id"], staged, destination=str(tmp_path / "artefacts"))
    with merging.plan(request) as made:
        [first, second] = made.rows(limit=2).items
        assert made.rows_updated == ROWS - 20
    assert [one.merged["body"] for one in (first, second)] == changed["body"][:2].to_pylist()  # type: ignore[index]
    assert merging.merge(request).rows_affected == ROWS + 1 - 20
    found = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(table))
    rows = pa.table(found.execute("SELECT * FROM t ORDER BY id")).cast(SCHEMA)
    assert rows.equals(pa.concat_tables([before.slice(0, 20), changed]))
    [images] = (tmp_path / "artefacts").rglob("images.parquet")
    assert pq.read_metadata(images).num_rows == ROWS + 1 - 20


def test_wide_rows_are_staged_in_parts_with_the_digest_that_they_have_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = str(tmp_path / "table")
    merging.create_table(table, texts(ROWS))
    upload = tmp_path / "upload.parquet"
    pq.write_table(texts(ROWS + 1).slice(1), upload, row_group_size=10)
    parted = merging.stage(table, str(upload), ["id"], destination=str(tmp_path / "parted"))
    monkeypatch.setattr(workbench, "_BYTES_AT_ONCE", 1 << 40)
    whole = merging.stage(table, str(upload), ["id"], destination=str(tmp_path / "whole"))
    assert dict(parted.counts) == {"insert": 1, "update": ROWS - 1, "delete": 0}
    assert parted.digest == whole.digest
