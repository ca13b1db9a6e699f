"""A table with every type at its borders: out → in → no change, filtered, paged, chosen, merged, blamed, profiled."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest

import merging
from merging.sql.equality import same_value
from merging.sql.types import is_nested
from merging.sql.values import arrow_values, json_form, text_form
from tests.merging.border_values import BORDERS, NAMES
from tests.merging.world import Row, World

ROWS = max(len(BORDERS[name].values) for name in NAMES)
SCHEMA = pa.schema([pa.field("id", pa.int64()), *(pa.field(name, BORDERS[name].type) for name in NAMES)])
KEYS = [name for name in NAMES if name not in ("float", "double") and not is_nested(BORDERS[name].type)]


def value_at(name: str, number: int) -> Any:
    values = BORDERS[name].values
    return values[number % len(values)]


def border_rows() -> list[Row]:
    """Every value of every type, and a row of NULLs."""
    rows = [{"id": n, **{name: value_at(name, n) for name in NAMES}} for n in range(ROWS)]
    return [*rows, {"id": ROWS, **dict.fromkeys(NAMES)}]


def table_of(rows: list[Row], schema: pa.Schema = SCHEMA) -> pa.Table:
    columns = [arrow_values([row[field.name] for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


class BorderWorld(World):
    """The table of all borders, made by us or by delta-rs."""

    def __init__(
        self, folder: Path, strategy: str, rows: list[Row], schema: pa.Schema, key: str = "id"
    ) -> None:
        super().__init__(folder, "merge-on-read", schema.empty_table().schema, (), (key,))
        self.strategy = strategy
        self.uri = str(folder / "borders")
        if strategy == "delta-rs":
            # Its statistics end at the year 262143.
            unstated = {"delta.dataSkippingNumIndexedCols": "0"}
            deltalake.write_deltalake(self.uri, table_of(rows, schema), configuration=unstated)
        else:
            merging.create_table(
                self.uri, table_of(rows, schema), deletion_vectors=strategy == "merge-on-read"
            )
        self.base_version = 0


@pytest.fixture
def borders(tmp_path: Path) -> BorderWorld:
    """The table as we make it."""
    return BorderWorld(tmp_path, "merge-on-read", border_rows(), SCHEMA)


@pytest.fixture(params=["merge-on-read", "copy-on-write", "delta-rs"])
def make_borders(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., BorderWorld]:
    def make(rows: list[Row] | None = None, schema: pa.Schema = SCHEMA, key: str = "id") -> BorderWorld:
        return BorderWorld(tmp_path, request.param, rows or border_rows(), schema, key)

    return make


def all_rows(world: World, **options: Any) -> list[Row]:
    """Every row, read page by page."""
    found: list[Row] = []
    after = None
    while True:
        page = merging.preview(world.uri, primary_keys=world.keys, after=after, limit=4, **options)
        found += page.rows
        after = page.next
        if after is None:
            return found


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def assert_same(found: list[Row], expected: list[Row]) -> None:
    assert len(found) == len(expected)
    for row, wanted in zip(found, expected, strict=True):
        different = {n: (row[n], wanted[n]) for n in wanted if not same_value(row[n], wanted[n])}
        assert different == {}


def test_fd12_fd15_every_value_goes_out_and_comes_back(make_borders: Callable[..., BorderWorld]) -> None:
    world = make_borders()
    rows = all_rows(world)
    assert_same(rows, border_rows())

    lines = "".join(json.dumps(json_form(row), allow_nan=False) + "\n" for row in rows)
    staged = world.stage(world.file("back.jsonl", lines))
    assert (staged.rows, staged.noop_rows) == (0, ROWS + 1)

    arrow = world.stage(table_of(rows))
    assert (arrow.rows, arrow.noop_rows, arrow.digest) == (0, ROWS + 1, staged.digest)


def test_fd15_every_value_comes_back_in_csv(borders: BorderWorld) -> None:
    world = borders
    lines = [",".join(SCHEMA.names)]
    lines += [
        ",".join("" if row[n] is None else _quoted(text_form(row[n])) for n in SCHEMA.names)
        for row in all_rows(world)
    ]
    staged = world.stage(world.file("back.csv", "\n".join(lines) + "\n"))
    assert (staged.rows, staged.noop_rows) == (0, ROWS + 1)


def test_fd15_fd23_every_value_is_filtered(borders: BorderWorld) -> None:
    def found(*filters: tuple[str, str, Any]) -> list[int]:
        page = merging.preview(borders.uri, primary_keys=["id"], columns=["id"], filters=filters)
        return [row["id"] for row in page.rows]

    rows = border_rows()
    for row in rows[:-1]:
        assert found(*((name, "=", text_form(row[name])) for name in NAMES)) == [row["id"]]
    for name in NAMES:
        value = BORDERS[name].values[-1]
        others = [row["id"] for row in rows[:-1] if not same_value(row[name], value)]
        assert found((name, "!=", value)) == others, name


@pytest.mark.parametrize("descending", [False, True])
def test_fd23_every_type_is_paged(borders: BorderWorld, descending: bool) -> None:
    for name in NAMES[descending::2]:
        ordered = all_rows(borders, order_by=name, descending=descending, columns=["id", name])
        assert sorted(row["id"] for row in ordered) == list(range(ROWS + 1)), name
        assert ordered[-1][name] is None


@pytest.mark.sample(6)
@pytest.mark.parametrize("name", KEYS)
def test_fd12_fd23_keys_of_every_type(make_borders: Callable[..., BorderWorld], name: str) -> None:
    values = BORDERS[name].values
    schema = pa.schema([pa.field("k", BORDERS[name].type), pa.field("v", pa.int64())])
    before = [{"k": value, "v": place} for place, value in enumerate(values)]
    world = make_borders(before, schema, "k")
    assert sorted(row["v"] for row in all_rows(world)) == list(range(len(values)))

    changed = "".join(
        json.dumps({"k": json_form(row["k"]), "v": row["v"] + 100}) + "\n" for row in before[1:]
    )
    staged = world.stage(world.file("changed.jsonl", changed))
    assert staged.counts == {"insert": 0, "update": len(values) - 1, "delete": 0}
    result = world.merge(staged)
    after = sorted(all_rows(world), key=lambda row: row["v"])
    assert_same(after, [before[0], *({**row, "v": row["v"] + 100} for row in before[1:])])

    [(_, kept)] = merging.key_filters([str(result.artefacts)])
    assert kept is not None
    for row in before:
        [traced] = merging.trace_row([str(result.artefacts)], {"k": json_form(row["k"])})
        passes = merging.merges_that_may_hold([(name, kept)], {"k": json_form(row["k"])})
        assert passes == ([] if row["v"] == 0 else [name])
        images = None if traced.row is None else (traced.row.current, traced.row.merged)
        assert images == (None if row["v"] == 0 else (row, {**row, "v": row["v"] + 100}))


PARTITIONS = [
    name for name in NAMES if not is_nested(BORDERS[name].type) and not pa.types.is_binary(BORDERS[name].type)
]


@pytest.mark.parametrize("strategy", ["merge-on-read", "copy-on-write"])
@pytest.mark.parametrize("name", PARTITIONS)
def test_every_value_is_one_of_a_partition(tmp_path: Path, name: str, strategy: str) -> None:
    """Created, moved by a merge, compacted and filtered; an empty text is what Delta has no partition for."""
    values = [*(value for value in BORDERS[name].values if value != ""), None]
    count = len(values)
    schema = pa.schema([("id", pa.int64()), (name, BORDERS[name].type), ("w", pa.int64())])
    rows = [{"id": n, name: value, "w": 0} for n, value in enumerate(values)]
    world = BorderWorld(tmp_path, "merge-on-read", [], schema)
    world.uri = str(tmp_path / "partitioned")
    vectors = strategy == "merge-on-read"
    merging.create_table(world.uri, table_of(rows, schema), partition_by=[name], deletion_vectors=vectors)
    assert_same(all_rows(world), rows)

    moved = [{**row, name: values[(n + 1) % count]} for n, row in enumerate(rows)]
    new = [{**row, "id": row["id"] + count} for row in rows]
    world.merge(world.stage(table_of([*moved, *new], schema), base_version=0))
    assert_same(all_rows(world), [*moved, *new])
    merging.compact(world.uri, attempt_id="compaction", application_id="compaction", generation=1)
    assert_same(all_rows(world), [*moved, *new])
    for value in values[:-1]:
        page = merging.preview(world.uri, primary_keys=["id"], filters=[(name, "=", text_form(value))])
        assert_same([*page.rows], [row for row in [*moved, *new] if same_value(row[name], value)])


#: How Spark writes them; DuckDB has infinities in the place of three and reads none of the texts.
LAST_TEXTS = {
    "date": {"+5881580-07-11": 2**31 - 1, "-5877641-06-24": -(2**31) + 1, "-5877641-06-23": -(2**31)},
    "timestamp": {"+294247-01-10T04:00:54.775807Z": 2**63 - 1},
    "timestamp_ntz": {"+294247-01-10 04:00:54.775807": 2**63 - 1},
}


@pytest.mark.parametrize("name", LAST_TEXTS)
def test_the_last_days_and_moments_stand_in_the_log_as_spark_writes_them(tmp_path: Path, name: str) -> None:
    kind, texts = BORDERS[name].type, LAST_TEXTS[name]
    numbers = pa.array([*texts.values()], pa.int32() if name == "date" else pa.int64())
    table = str(tmp_path / "table")
    content = pa.table({"id": range(len(texts)), "p": numbers.cast(kind)})
    merging.create_table(table, content, partition_by=["p"])
    files = merging.delta.open_snapshot(table).files
    assert {file.partition_values["p"] for file in files} == texts.keys()


def test_fd12_fd15_fd16_every_value_is_chosen_and_merged(make_borders: Callable[..., BorderWorld]) -> None:
    """Each cell is in conflict, and what is chosen for it is given in its exchange form."""
    world = make_borders()
    rows = border_rows()

    def moved(by: int) -> list[Row]:
        return [{"id": n, **{name: value_at(name, n + by) for name in NAMES}} for n in range(ROWS)]

    staged = world.stage(table_of(moved(1)))
    world.merge(world.stage(table_of([{"id": n, **dict.fromkeys(NAMES)} for n in range(ROWS)])), "CR-2")
    with world.plan(staged) as plan:
        conflicts = list(plan.conflicts)
        chosen = [
            merging.Resolution(
                {"id": str(conflict.key["id"])},
                conflict.column,
                "custom",
                plan.value_of(
                    str(conflict.column),
                    text_form(value_at(str(conflict.column), conflict.key["id"] + 2)),
                    as_text=True,
                ),
                conflict.inputs_digest,
            )
            for conflict in conflicts
        ]
    assert {conflict.column for conflict in conflicts} == {n for n in NAMES if len(BORDERS[n].values) > 1}
    result = world.merge(staged, resolutions=chosen)
    decided = {(conflict.key["id"], conflict.column) for conflict in conflicts}
    expected = [
        {"id": n, **{k: value_at(k, n + 2) if (n, k) in decided else None for k in NAMES}}
        for n in range(ROWS)
    ]
    assert_same(all_rows(world), [*expected, rows[-1]])

    diff = merging.read_diff(str(result.artefacts), limit=ROWS)
    for row in diff.items:
        assert_same([dict(row.merged or {})], [expected[row.key["id"]]])
    assert_same(
        [dict(row.proposed or {}) for row in merging.open_staged(staged.location).page().items],
        moved(1),
    )


def test_fd12_every_value_is_profiled(borders: BorderWorld) -> None:
    world = borders
    suite = merging.propose_expectations(world.uri, primary_keys=["id"])
    json.dumps(suite, allow_nan=False)
    staged = world.stage([{"id": 0, "long": 7}])
    with world.plan(staged, expectations=suite) as plan:
        report = plan.validation.expectations
    assert report is not None
    failed = [(one.type, one.kwargs, one.message) for one in report.results if one.state != "passed"]
    assert failed == []
