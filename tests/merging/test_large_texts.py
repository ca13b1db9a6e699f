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
from tests.merging.delta.delta_tables import own_rows
from tests.merging.test_filled_columns import filling, identity

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


def content_of(table: str) -> pa.Table:
    """All rows, as delta-rs reads them."""
    found = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(table))
    return pa.table(found.execute("SELECT * FROM t ORDER BY id"))


def merge(
    table: str, folder: Path, name: str, staged: merging.Staged, **options: object
) -> merging.MergeResult:
    destination = str(folder / f"artefacts-{name}")
    return merging.merge(
        merging.MergeRequest(table, name, ["id"], staged, destination=destination, **options)  # type: ignore[arg-type]
    )


@pytest.fixture
def enough_memory(little_memory: None) -> None:
    """Enough for staging some dozens of changed rows; all else has as little."""
    set_limits(replace(limits(), staging_memory="450MB"))


@pytest.mark.parametrize("deletion_vectors", [True, False])
def test_rows_of_a_megabyte_that_moved_since_the_base(
    tmp_path: Path, enough_memory: None, deletion_vectors: bool
) -> None:
    """Somebody changed other rows of the file, and put what was left together with another one."""
    table = str(tmp_path / "table")
    before, more = texts(60), texts(80).slice(60)
    merging.create_table(table, before, deletion_vectors=deletion_vectors)
    deltalake.write_deltalake(table, more, mode="append")
    changed = pa.concat_tables([texts(4), texts(72).slice(66)])
    upload = tmp_path / "upload.parquet"
    pq.write_table(changed, upload, row_group_size=5)
    staged = merging.stage(table, str(upload), ["id"], destination=str(tmp_path / "staged"))
    others = texts(12).slice(8)
    merge(table, tmp_path, "CR-1", merging.stage(table, others, ["id"], destination=str(tmp_path / "other")))
    done = merging.compact(table, attempt_id="c", application_id="c", generation=1)
    assert done.files_removed > done.files_added
    request = merging.MergeRequest(table, "CR-2", ["id"], staged, destination=str(tmp_path / "artefacts"))
    with merging.plan(request) as made:
        assert (made.rows_updated, len(made.conflicts)) == (10, 0)
    result = merging.merge(request)
    assert result.rows_affected == 10
    expected = pa.concat_tables(
        [
            changed.slice(0, 4),
            before.slice(4, 4),
            others,
            before.slice(12),
            more.slice(0, 6),
            changed.slice(4),
        ]
    )
    expected = pa.concat_tables([expected, more.slice(12)])
    assert content_of(table).cast(SCHEMA).equals(expected)
    [traced] = merging.trace_row([str(result.artefacts)], {"id": 2})
    assert traced.row is not None
    assert traced.row.current == {"id": 2, "body": before["body"][2].as_py()}
    assert traced.row.merged == {"id": 2, "body": changed["body"][2].as_py()}
    reverse = merging.invert(table, str(result.artefacts), ["id"], str(tmp_path / "reverse"))
    merge(table, tmp_path, "CR-3", reverse)
    again = pa.concat_tables([before.slice(0, 8), others, before.slice(12), more])
    assert content_of(table).cast(SCHEMA).equals(again)


@pytest.mark.parametrize("deletion_vectors", [True, False])
def test_conflicts_of_cells_of_a_megabyte(
    tmp_path: Path, enough_memory: None, deletion_vectors: bool
) -> None:
    table = str(tmp_path / "table")
    base, current, proposed = texts(40), texts(30), texts(30)
    merging.create_table(table, base, deletion_vectors=deletion_vectors)
    staged = merging.stage(table, proposed, ["id"], destination=str(tmp_path / "staged"))
    merge(table, tmp_path, "CR-1", merging.stage(table, current, ["id"], destination=str(tmp_path / "other")))
    request = merging.MergeRequest(table, "CR-2", ["id"], staged, destination=str(tmp_path / "artefacts"))
    with merging.plan(request) as made:
        assert len(made.conflicts) == 30
        conflicts = list(made.conflicts)
    choices: list[merging.Choice] = ["current", "proposed", "base"]
    chosen = [
        merging.Resolution(one.key, one.column, choices[place % 3], None, one.inputs_digest)
        for place, one in enumerate(conflicts)
    ]
    for place, one in enumerate(conflicts):
        assert one.key == {"id": place}
        sides = (base, current, proposed)
        assert (one.base, one.current, one.proposed) == tuple(side["body"][place].as_py() for side in sides)
    merge(table, tmp_path, "CR-2", staged, resolutions=tuple(chosen))
    taken = [(current, proposed, base)[place % 3]["body"][place].as_py() for place in range(30)]
    bodies = [*taken, *base["body"][30:].to_pylist()]
    assert content_of(table)["body"].to_pylist() == bodies


@pytest.mark.parametrize("strategy", ["merge-on-read", "copy-on-write"])
def test_tables_that_fill_columns_beside_texts_of_a_megabyte(
    tmp_path: Path, enough_memory: None, strategy: str
) -> None:
    schema = pa.schema([*SCHEMA, ("length", pa.int32()), ("number", pa.int64()), ("code", pa.string())])
    content = texts(40)
    rows = [
        {**row, "length": 1_000_000, "number": place, "code": "ab"}
        for place, row in enumerate(content.to_pylist())
    ]
    world = filling(
        tmp_path,
        strategy,
        {
            "length": {"delta.generationExpression": "length(body)"},
            "number": identity(0, 1, 39),
            "code": {"__CHAR_VARCHAR_TYPE_STRING": "char(3)"},
        },
        schema=schema,
        rows=rows,
    )
    changed = texts(50).slice(20)
    upload = tmp_path / "upload.parquet"
    codes = pa.array(["x"] * changed.num_rows)
    pq.write_table(changed.append_column("code", codes), upload, row_group_size=5)
    staged = merging.stage(world.uri, str(upload), ["id"], destination=str(tmp_path / "filled"))
    assert merge(world.uri, tmp_path, "CR-1", staged).rows_affected == 30
    found = [dict(zip(schema.names, row, strict=True)) for row in own_rows(world.uri)]
    found.sort(key=lambda row: int(row["id"]))
    bodies = [*content["body"][:20].to_pylist(), *changed["body"].to_pylist()]
    assert [row["body"] for row in found] == bodies
    assert {row["length"] for row in found} == {1_000_000}
    assert [row["number"] for row in found] == [*range(50)]
    assert [row["code"].rstrip() for row in found] == ["ab"] * 20 + ["x"] * 30
