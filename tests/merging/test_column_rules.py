"""What staging holds values to inside columns, how precise moments are, and wide tables (FD14, FD19, FP7, FP12)."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest

import merging
from merging import InvalidKeys, StagingRejected
from tests.merging.world import World

POINT = pa.struct([pa.field("x", pa.int64(), nullable=False), pa.field("y", pa.string())])
RULED = pa.schema(
    [
        ("id", pa.int64()),
        ("point", POINT),
        ("tags", pa.list_(pa.field("element", pa.string(), nullable=False))),
        ("code", pa.string()),
        ("name", pa.string()),
    ]
)
ROW: dict[str, Any] = {"id": 1, "point": {"x": 1, "y": "a"}, "tags": ["t"], "code": "ab   ", "name": "n"}
MOMENT = datetime.datetime(2024, 1, 1, 12, 0, 1, 123456, tzinfo=datetime.UTC)


@pytest.fixture(params=["merge-on-read", "copy-on-write"])
def ruled(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """A table as Spark declares it: char(5), varchar(3), parts that take no NULL."""
    world = World(tmp_path, request.param, RULED, [ROW])
    [log] = (Path(world.uri) / "_delta_log").glob("*.json")
    declared = {"code": "char(5)", "name": "varchar(3)", "point": "struct<x:bigint,y:varchar(2)>"}
    lines = []
    for line in log.read_text().splitlines():
        action = json.loads(line)
        if "metaData" in action:
            schema = json.loads(action["metaData"]["schemaString"])
            for field in schema["fields"]:
                if field["name"] in declared:
                    field["metadata"]["__CHAR_VARCHAR_TYPE_STRING"] = declared[field["name"]]
            action["metaData"]["schemaString"] = json.dumps(schema)
        lines.append(json.dumps(action))
    log.write_text("\n".join(lines) + "\n")
    return world


def refused(world: World, changes: Any) -> list[tuple[int | None, str | None, str]]:
    with pytest.raises(StagingRejected) as error:
        world.stage(changes)
    assert world.version == world.base_version
    return [(one.line, one.column, one.code) for one in error.value.problems]


def test_fp7_parts_that_take_no_null_and_lengths_are_refused_by_line_and_column(ruled: World) -> None:
    lines = [
        {"id": 1, "point": {"x": None, "y": "a"}},
        {"id": 2, "point": {"x": 1}, "tags": ["t", None]},
        {"id": 3, "point": {"x": 1, "y": "abc"}},
        {"id": 4, "point": {"x": 1}, "code": "abcdef"},
        {"id": 5, "point": {"x": 1}, "name": "four"},
        {"id": 6, "point": None, "tags": None, "code": None, "name": "äöü"},
    ]
    assert refused(ruled, ruled.file("x.jsonl", "\n".join(map(json.dumps, lines)))) == [
        (1, "point", "null_not_allowed"),
        (2, "tags", "null_not_allowed"),
        (3, "point", "text_too_long"),
        (4, "code", "text_too_long"),
        (5, "name", "text_too_long"),
        (6, "point", "null_not_allowed"),
    ]


def test_fp7_char_is_padded_and_compared_so(ruled: World) -> None:
    assert ruled.stage(ruled.file("x.csv", "id,code\n1,ab\n")).rows == 0
    ruled.merge(ruled.stage(ruled.file("x.csv", "id,code,name\n1,cd,m\n")))
    assert ruled.rows() == [{**ROW, "code": "cd   ", "name": "m"}]


def test_fp7_a_char_column_is_no_key_because_spark_pads_what_it_reads(ruled: World) -> None:
    """Spark stores 'ab' and shows 'ab   ': as keys the two would be two rows here and one key there."""
    for keys in (["code"], ["id", "code"]):
        with pytest.raises(InvalidKeys) as error:
            merging.check_keys(ruled.uri, keys)
        assert error.value.data == {"columns": ["code"]}
        with pytest.raises(InvalidKeys, match="char"):
            merging.stage(ruled.uri, ruled.file("x.csv", "id,code,name\n1,ab,m\n"), keys)
    assert ruled.version == ruled.base_version
    assert ruled.rows() == [ROW]


@pytest.mark.parametrize("strategy", ["merge-on-read", "copy-on-write"])
def test_fp12_append_only_tables_and_empty_partition_values_are_refused_when_staged(
    tmp_path: Path, strategy: str
) -> None:
    parted = World(tmp_path, strategy, partition_by=["b"], rows=[{"id": 1, "a": 1, "b": "x", "c": 1.0}])
    assert refused(parted, parted.file("x.csv", 'id,b\n1,""\n2,y\n')) == [(2, "b", "empty_partition_value")]
    world = World(tmp_path, strategy)
    deltalake.DeltaTable(world.uri).alter.set_table_properties({"delta.appendOnly": "true"})
    world.base_version = world.version
    content = "id,a,_op\n1,11,\n2,20,\n3,,delete\n9,90,\n"
    assert refused(world, world.file("x.csv", content)) == [
        (2, None, "append_only"),
        (4, None, "append_only"),
    ]
    world.merge(world.stage(world.file("x.csv", "id,a\n2,20\n9,90\n")))
    assert [row["id"] for row in world.rows()] == [1, 2, 3, 9]


@pytest.mark.parametrize("zone", ["UTC", None])
@pytest.mark.parametrize("others", ["12:00:05", "12:00:05.123456"])
def test_fd14_a_deliberate_change_is_a_change_whatever_the_other_rows(
    tmp_path: Path, zone: str | None, others: str
) -> None:
    schema = pa.schema([("id", pa.int64()), ("t", pa.timestamp("us", tz=zone))])
    moment = MOMENT if zone else MOMENT.replace(tzinfo=None)
    world = World(tmp_path, "merge-on-read", schema, [{"id": number, "t": moment} for number in (1, 2)])
    texts = ["2024-01-01T12:00:01", f"2024-01-01T{others}"]
    for name, content in {
        "x.csv": "id,t\n" + "".join(f"{number},{text}\n" for number, text in enumerate(texts, start=1)),
        "x.jsonl": "\n".join(json.dumps({"id": n, "t": text}) for n, text in enumerate(texts, start=1)),
    }.items():
        assert world.stage(world.file(name, content)).cells_updated == {"t": 2}
    whole = pa.table({"id": [1], "t": pa.array([moment.replace(microsecond=0)], pa.timestamp("us", tz=zone))})
    assert world.stage(whole).cells_updated == {"t": 1}
    for unit in ("s", "ms"):
        cut = pa.table({"id": [1], "t": pa.array([moment], pa.timestamp("us", tz=zone))})
        staged = world.stage(
            cut.cast(pa.schema([("id", pa.int64()), ("t", pa.timestamp(unit, tz=zone))]), safe=False)
        )
        assert staged.rows == 0
        assert "cut to whole seconds or milliseconds" in staged.warnings[0]


@pytest.mark.parametrize("strategy", ["merge-on-read", "copy-on-write"])
def test_fd19_one_row_of_a_wide_table(tmp_path: Path, strategy: str) -> None:
    names = [f"c{number}" for number in range(400)]
    schema = pa.schema([("id", pa.int64()), *((name, pa.string()) for name in names)])
    rows = [{"id": number, **{name: f"{name}-{number}" for name in names}} for number in range(3)]
    world = World(tmp_path, strategy, schema, rows)
    result = world.merge(world.stage([{**rows[1], "c7": "new"}]))
    assert dict(result.cells_updated) == {"c7": 1}
    assert world.rows() == [rows[0], {**rows[1], "c7": "new"}, rows[2]]
