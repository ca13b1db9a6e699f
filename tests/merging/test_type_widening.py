"""Tables whose columns were widened (PROTOCOL.md, "Type Widening"): old files read as the table has them now.

Who widens here writes the metaData that the protocol asks for; Spark does it in `interoperability`.
"""

from __future__ import annotations

import datetime
import json
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import merging
from merging.sql.types import can_widen, delta_type
from tests.merging.delta.delta_tables import own_rows, sorted_rows
from tests.merging.test_rules import FULL, commit_by_hand
from tests.merging.world import World, arrow

STRATEGIES = pytest.mark.parametrize("strategy", ["merge-on-read", "copy-on-write"])
WIDENING = {
    **FULL,
    "readerFeatures": [*FULL["readerFeatures"], "typeWidening"],  # type: ignore[misc]
    "writerFeatures": [*FULL["writerFeatures"], "typeWidening"],  # type: ignore[misc]
}
NTZ = pa.timestamp("us")

#: By its name: from which type to which, a value of the old type in each of three rows, a new one that only the new
#: type can hold.
CHANGES: dict[str, tuple[pa.DataType, pa.DataType, list[Any], Any]] = {
    "byte to short": (pa.int8(), pa.int16(), [1, -128, None], 300),
    "byte to long": (pa.int8(), pa.int64(), [1, -128, None], 2**40),
    "byte to double": (pa.int8(), pa.float64(), [1, -128, None], 0.5),
    "short to integer": (pa.int16(), pa.int32(), [1, -32768, None], 2**20),
    "short to decimal": (pa.int16(), pa.decimal128(10, 0), [1, -32768, None], Decimal(10**9)),
    "integer to long": (pa.int32(), pa.int64(), [1, -(2**31), None], 2**60),
    "integer to double": (pa.int32(), pa.float64(), [1, -(2**31), None], 1e300),
    "integer to decimal": (pa.int32(), pa.decimal128(12, 2), [1, -(2**31), None], Decimal("0.25")),
    "long to decimal": (pa.int64(), pa.decimal128(22, 2), [1, -(2**63), None], Decimal("0.25")),
    "float to double": (pa.float32(), pa.float64(), [1.5, pa.scalar(0.1, pa.float32()).as_py(), None], 0.1),
    "decimal to decimal": (
        pa.decimal128(4, 2),
        pa.decimal128(30, 6),
        [Decimal("1.25"), Decimal("-99.99"), None],
        Decimal("123456789012345678.123456"),
    ),
    "date to timestamp_ntz": (
        pa.date32(),
        NTZ,
        [datetime.date(2024, 2, 29), datetime.date(1, 1, 1), None],
        datetime.datetime.fromisoformat("2024-02-29T12:00:00.000001"),
    ),
}
#: Those of tables with a change data feed.
FED = ("integer to long", "date to timestamp_ntz")


def widen(world: World, columns: dict[str, pa.DataType], **metadata_of: list[dict[str, str]]) -> None:
    """Somebody widens columns of a table; `metadata_of` is what is written of each in place of the plain change."""

    def change(metadata: dict[str, Any], fields: dict[str, Any]) -> None:
        for name, wider in columns.items():
            item = fields[name]
            plain = {"fromType": item["type"], "toType": delta_type(wider)}
            changes = item["metadata"].setdefault("delta.typeChanges", [])
            changes += metadata_of.get(name, [plain])
            item["type"] = delta_type(wider)

    commit_by_hand(world.uri, change, WIDENING)


def wider(value: Any, data_type: pa.DataType) -> Any:
    """A value of an old type as one of a new type."""
    if value is None:
        return None
    if pa.types.is_decimal(data_type):
        return Decimal(value).quantize(Decimal(1).scaleb(-data_type.scale))
    if data_type == NTZ:
        return datetime.datetime.combine(value, datetime.time())
    return float(value) if pa.types.is_floating(data_type) else value


@STRATEGIES
@pytest.mark.parametrize("name", CHANGES)
def test_a_widened_column_is_read_right_and_written_in_its_new_type(
    tmp_path: Path, strategy: str, name: str
) -> None:
    old, new, values, further = CHANGES[name]
    schema = pa.schema([("id", pa.int64()), ("v", old), ("s", pa.string())])
    rows = [{"id": n, "v": value, "s": "t"} for n, value in enumerate(values)]
    world = World(tmp_path, strategy, schema, rows, change_data_feed=name in FED)
    before = world.stage(arrow(pa.schema(list(schema)[:2]), [{"id": 1, "v": values[0]}]))
    widen(world, {"v": new})
    info = merging.inspect_table(world.uri)
    assert (info.strategy, "typeWidening" in info.features) == (strategy, True)

    def now(*row: Any) -> tuple[Any, ...]:
        number, value, text = row
        return (number, wider(value, new), text)

    assert own_rows(world.uri) == [now(n, value, "t") for n, value in enumerate(values)]
    wide = pa.schema([("id", pa.int64()), ("v", new)])
    changes = arrow(wide, [{"id": 0, "v": further}, {"id": 7, "v": further}])
    world.merge(world.stage(changes, base_version=1), "CR-2")
    held = [(0, further, "t"), now(1, values[1], "t"), now(2, None, "t"), (7, further, None)]
    assert own_rows(world.uri) == held
    assert type_of_newest(world.uri, "v") == new

    # What was staged before the column was widened merges into it.
    result = world.merge(before, "CR-3")
    assert (result.diff.rows_updated, result.cells_updated) == (1, {"v": 1})
    held[1] = now(1, values[0], "t")
    assert own_rows(world.uri) == held


def type_of_newest(uri: str, column: str) -> pa.DataType:
    """The type of a column in the data file that was written last."""
    files = [path for path in Path(uri).rglob("*.parquet") if "_change_data" not in path.parts]
    return pq.read_schema(max(files, key=lambda path: path.stat().st_mtime_ns)).field(column).type


@STRATEGIES
@pytest.mark.parametrize("name", [name for name in CHANGES if not name.endswith("double")])
def test_a_widened_key_finds_its_rows_in_old_files_and_new_ones(
    tmp_path: Path, strategy: str, name: str
) -> None:
    old, new, [first, second, _], further = CHANGES[name]
    schema = pa.schema([("k", old), ("a", pa.int32())])
    world = World(tmp_path, strategy, schema, [{"k": first, "a": 1}, {"k": second, "a": 2}], keys=["k"])
    before = world.stage(arrow(schema, [{"k": second, "a": 20}]))
    widen(world, {"k": new})
    wide = pa.schema([("k", new), ("a", pa.int32())])
    changes = arrow(wide, [{"k": wider(first, new), "a": 10}, {"k": further, "a": 3}])
    result = world.merge(world.stage(changes, base_version=1), "CR-2")
    assert (result.diff.rows_updated, result.diff.rows_added) == (1, 1)
    again = world.stage(arrow(wide, [{"k": further, "a": 30}]), base_version=2)
    assert world.merge(again, "CR-3").diff.rows_updated == 1

    # And so does what was staged under the old type, where it stood and where others moved it.
    assert world.merge(before, "CR-4").diff.rows_updated == 1
    found = sorted(own_rows(world.uri), key=lambda row: row[1])
    assert found == [(wider(first, new), 10), (wider(second, new), 20), (further, 30)]


@STRATEGIES
def test_parts_of_nested_columns_are_widened_too(tmp_path: Path, strategy: str) -> None:
    schema = pa.schema(
        [
            ("id", pa.int64()),
            ("l", pa.list_(pa.int16())),
            ("s", pa.struct([("x", pa.int32()), ("y", pa.string())])),
            ("m", pa.map_(pa.string(), pa.float32())),
        ]
    )
    row = {"l": [1, None], "s": {"x": 1, "y": "y"}, "m": [("k", 0.5)]}
    world = World(tmp_path, strategy, schema, [{"id": n, **row} for n in range(3)])
    edit = {"id": 1, "l": [9], "s": {"x": 9, "y": None}, "m": [("z", 1.5)]}
    before = world.stage(arrow(schema, [edit]))
    columns = {
        "l": pa.list_(pa.int64()),
        "s": pa.struct([("x", pa.int64()), ("y", pa.string())]),
        "m": pa.map_(pa.string(), pa.float64()),
    }
    stated = {
        "l": [{"fromType": "short", "toType": "long", "fieldPath": "element"}],
        "s": [],
        "m": [{"fromType": "float", "toType": "double", "fieldPath": "value"}],
    }
    widen(world, columns, **stated)
    wide = pa.schema([("id", pa.int64()), *columns.items()])
    new = {"id": 2, "l": [2**40], "s": {"x": 2**40, "y": "y"}, "m": [("k", 0.1)]}
    world.merge(world.stage(arrow(wide, [new]), base_version=1), "CR-2")
    world.merge(before, "CR-3")
    assert own_rows(world.uri) == sorted_rows(arrow(wide, [{"id": 0, **row}, edit, new]), wide.names)


@STRATEGIES
def test_partitions_of_a_widened_column_keep_their_values(tmp_path: Path, strategy: str) -> None:
    schema = pa.schema([("id", pa.int64()), ("p", pa.int16()), ("a", pa.int32())])
    rows = [{"id": n, "p": n, "a": n} for n in range(3)]
    world = World(tmp_path, strategy, schema, rows, partition_by=["p"])
    widen(world, {"p": pa.int64()})
    wide = pa.schema([("id", pa.int64()), ("p", pa.int64()), ("a", pa.int32())])
    changes = arrow(wide, [{"id": 1, "p": 2**40, "a": 1}, {"id": 2, "p": 2, "a": 9}])
    world.merge(world.stage(changes, base_version=1))
    assert own_rows(world.uri) == [(0, 0, 0), (1, 2**40, 1), (2, 2, 9)]


@STRATEGIES
def test_a_merge_before_a_column_was_widened_can_be_taken_back_after_it(
    tmp_path: Path, strategy: str
) -> None:
    schema = pa.schema([("id", pa.int64()), ("v", pa.int16())])
    world = World(tmp_path, strategy, schema, [{"id": n, "v": n} for n in range(3)])
    result = world.merge(world.stage([{"id": 1, "v": 10}, {"id": 9, "v": 9}]))
    widen(world, {"v": pa.int32()})
    assert result.artefacts is not None
    reverse = merging.invert(world.uri, result.artefacts, ["id"], str(tmp_path / "reverse"))
    world.merge(reverse, "CR-2")
    assert own_rows(world.uri) == [(0, 0), (1, 1), (2, 2)]


@STRATEGIES
def test_versions_before_and_after_are_compared_and_gone_back_to(tmp_path: Path, strategy: str) -> None:
    schema = pa.schema([("id", pa.int16()), ("v", pa.int16())])
    world = World(tmp_path, strategy, schema, [{"id": n, "v": n} for n in range(3)])
    widen(world, {"id": pa.int64(), "v": pa.decimal128(12, 2)})
    wide = pa.schema([("id", pa.int64()), ("v", pa.decimal128(12, 2))])
    changes = [{"id": 1, "v": Decimal("0.25")}, {"id": 2**40, "v": Decimal(9)}]
    world.merge(world.stage(arrow(wide, changes), base_version=1))
    found = {}
    for before, after in ((0, 2), (2, 0)):
        with closing(
            merging.compare_versions(world.uri, primary_keys=["id"], before=before, after=after)
        ) as differences:
            rows = differences.page().items
            found[before] = [(row.key["id"], row.operation, row.before, row.after) for row in rows]
            assert differences.stream(("from", "to")).schema.field("v.from").type == pa.decimal128(12, 2)
    old, new = ({"id": 1, "v": Decimal(value)} for value in ("1.00", "0.25"))
    further = {"id": 2**40, "v": Decimal("9.00")}
    assert found == {
        0: [(1, "update", old, new), (2**40, "insert", None, further)],
        2: [(1, "update", new, old), (2**40, "delete", further, None)],
    }
    back = merging.stage_version(world.uri, 0, ["id"], str(tmp_path / "back"))
    world.merge(back, "CR-2")
    assert own_rows(world.uri) == [(n, Decimal(n)) for n in range(3)]


@STRATEGIES
def test_content_is_rebased_over_a_widened_key(tmp_path: Path, strategy: str) -> None:
    schema = pa.schema([("id", pa.int16()), ("a", pa.int32()), ("b", pa.int32())])
    world = World(tmp_path, strategy, schema, [{"id": n, "a": n, "b": n} for n in range(3)])
    staged = world.stage([{"id": 1, "a": 10}, {"id": 7, "a": 7}])
    widen(world, {"id": pa.int64(), "b": pa.int64()})
    wide = pa.schema([("id", pa.int64()), ("b", pa.int64())])
    world.merge(world.stage(arrow(wide, [{"id": 1, "b": 2**40}]), base_version=1), "CR-2")
    rebased = merging.rebase(world.request(staged), str(tmp_path / "rebased"))
    assert rebased.rows_moved == 1
    assert rebased.staged.schema.field("id").type == pa.int64()
    world.merge(rebased.staged)
    assert own_rows(world.uri) == [(0, 0, 0), (1, 10, 2**40), (2, 2, 2), (7, 7, None)]


@pytest.mark.parametrize(
    "change",
    [
        {"fromType": "string", "toType": "integer"},
        {"fromType": "long", "toType": "double"},
        {"fromType": "integer", "toType": "short"},
        {"fromType": "decimal(10,2)", "toType": "decimal(11,4)"},
        {"fromType": "date", "toType": "timestamp"},
        {"fromType": "something"},
        "nothing of the kind",
    ],
    ids=json.dumps,
)
def test_other_changes_of_a_type_are_refused_by_name(tmp_path: Path, change: Any) -> None:
    schema = pa.schema([("id", pa.int64()), ("v", pa.int32())])
    world = World(tmp_path, "merge-on-read", schema, [{"id": 1, "v": 1}])
    widen(world, {"v": pa.int32()}, v=[change])
    before = sorted(Path(world.uri).rglob("*"))
    with pytest.raises(merging.UnsupportedTable) as refused:
        merging.inspect_table(world.uri)
    assert refused.value.features == (f"typeWidening of v by {json.dumps(change)}",)
    assert sorted(Path(world.uri).rglob("*")) == before


def test_types_widen_part_by_part_where_they_are_nested_alike() -> None:
    pair = pa.struct([("x", pa.int8()), ("y", pa.string())])
    assert can_widen(pair, pa.struct([("x", pa.int64()), ("y", pa.string())]))
    assert not can_widen(pair, pa.struct([("y", pa.string()), ("x", pa.int64())]))
    assert not can_widen(pair, pa.struct([("x", pa.int64())]))
    assert can_widen(pa.map_(pa.int8(), pa.date32()), pa.map_(pa.int16(), NTZ))
    assert not can_widen(pa.map_(pa.int8(), pa.date32()), pa.list_(NTZ))
    assert not can_widen(pa.list_(pa.int16()), pa.int32())
    assert not can_widen(pa.list_(pa.int16()), pa.list_(pa.int8()))
