"""Tables of many columns: what is asked of the engine for them, and what it plans, grows as they do, and no faster."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

import merging
from merging.sql.quoting import literal
from merging.sql.session import Session
from tests.merging.world import STRATEGIES, World

FEW, MANY = 100, 400
#: As many times as many columns, and a little for what is longer in the names of many.
MOST = MANY / FEW * 1.15
#: What is planned for its rows; the plan of anything else has no text.
_ROWS = re.compile(
    r"(?:INSERT INTO \w+ |COPY \()?((?:SELECT|FROM|WITH)\b.*?)(?:\) TO '[^']*' \([^']*\))?", re.DOTALL
)


class Noted:
    """A connection that counts its statements, their letters, and those of their plans."""

    def __init__(self, connection: Any, counted: Counter[str]) -> None:
        self._connection, self._counted = connection, counted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def __enter__(self) -> Noted:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def cursor(self) -> Noted:
        return Noted(self._connection.cursor(), self._counted)

    def execute(self, statement: str, parameters: Any = None) -> Any:
        self._note(statement)
        return self._connection.execute(statement, parameters)

    def sql(self, statement: str) -> Any:
        self._note(statement)
        return self._connection.sql(statement)

    def _note(self, statement: str) -> None:
        self._counted["statements"] += 1
        self._counted["letters"] += len(statement)
        if joins := statement.count(" JOIN "):
            self._counted["joins"] += joins
        if found := _ROWS.fullmatch(statement):
            told = self._connection.execute(f"SELECT json_serialize_plan({literal(found[1])})").fetchall()
            self._counted["letters of plans"] += len(told[0][0])


def counted(act: Callable[[], None]) -> Counter[str]:
    """What is asked of the engine meanwhile."""
    found: Counter[str] = Counter()
    begin = Session.__init__

    def begun(opened: Session, **given: Any) -> None:
        begin(opened, **given)
        opened.connection = Noted(opened.connection, found)  # type: ignore[assignment]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Session, "__init__", begun)
        act()
    return found


KINDS: tuple[tuple[pa.DataType, Any, Any, Any], ...] = (
    (pa.string(), "a", "b", "c"),
    (pa.int64(), 1, 2, 3),
    (pa.float64(), 0.5, 1.5, 2.5),
    (pa.decimal128(20, 3), Decimal("1.500"), Decimal("2.500"), Decimal("3.500")),
    (pa.timestamp("us", tz="UTC"), *(datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2, 3))),
)


def wide(columns: int, state: int) -> pa.Table:
    """Three rows of columns of all kinds; half of them take no NULL."""
    fields = [pa.field("id", pa.int64())]
    cells = [pa.array([1, 2, 3], pa.int64())]
    for place in range(columns):
        kind = KINDS[place % len(KINDS)]
        fields.append(pa.field(f"c{place}", kind[0], nullable=place % 2 == 0))
        cells.append(pa.array([kind[1 + state]] * 3, kind[0]))
    return pa.table(cells, schema=pa.schema(fields))


def assert_grows_as_columns(measured: Callable[[int], Counter[str]]) -> None:
    few, many = measured(FEW), measured(MANY)
    # Of each session some where there are many columns, and none for each of these.
    assert many["statements"] < few["statements"] + FEW // 10
    grown = {what: round(many[what] / few[what], 2) for what in few}
    assert max(grown.values()) <= MOST, grown


@pytest.mark.parametrize("what", ["plan", "page", "versions"])
def test_pages_grow_as_columns(tmp_path: Path, what: str) -> None:
    def measured(columns: int) -> Counter[str]:
        before, after = wide(columns, 0), wide(columns, 1)
        world = World(tmp_path / str(columns), STRATEGIES[0], schema=before.schema, rows=before.to_pylist())
        staged = world.stage(after.to_pylist())
        version = staged.base_version

        def plan() -> None:
            with world.plan(staged) as plan:
                assert len(plan.rows(limit=10).items) == 3

        def page() -> None:
            assert len(merging.preview(world.uri, primary_keys=["id"]).rows) == 3

        def versions() -> None:
            world.merge(staged)
            with closing(
                merging.compare_versions(world.uri, primary_keys=["id"], before=version, after=version + 1)
            ) as compared:
                assert compared.page().total == 3

        return counted({"plan": plan, "page": page, "versions": versions}[what])

    assert_grows_as_columns(measured)


@pytest.mark.parametrize("what", ["merge", "revert"])
def test_merging_grows_as_columns(tmp_path: Path, what: str) -> None:
    def measured(columns: int) -> Counter[str]:
        before, after = wide(columns, 0), wide(columns, 1)
        world = World(tmp_path / str(columns), STRATEGIES[0], schema=before.schema, rows=before.to_pylist())
        staged = world.stage(after.to_pylist())

        def merge() -> None:
            assert len(world.merge(staged).cells_updated) == columns

        def revert() -> None:
            back = merging.invert(world.uri, str(done.artefacts), ["id"], str(world.folder / "back"))
            assert len(world.merge(back, "CR-2").cells_updated) == columns

        if what == "merge":
            return counted(merge)
        done = world.merge(staged)
        return counted(revert)

    assert_grows_as_columns(measured)


def test_conflicts_are_found_and_joined_with_what_was_chosen_once_however_many_columns_are_in_conflict(
    tmp_path: Path,
) -> None:
    def measured(columns: int) -> Counter[str]:
        before, proposed, current = (wide(columns, state) for state in (0, 1, 2))
        world = World(tmp_path / str(columns), STRATEGIES[0], schema=before.schema, rows=before.to_pylist())
        staged = world.stage(proposed.to_pylist())
        world.set_current(current.to_pylist())
        conflicts = list(world.plan(staged).conflicts)
        assert len(conflicts) == 3 * columns
        wanted: dict[Any, tuple[merging.Choice, Any]] = {
            (1, "c0"): ("custom", "x"),
            (2, "c1"): ("base", None),
            (3, "c1"): ("current", None),
        }
        choices = []
        for one in conflicts:
            choice, value = wanted.get((one.key["id"], one.column), ("proposed", None))
            choices.append(merging.Resolution(one.key, one.column, choice, value, one.inputs_digest))
        expected = proposed.to_pylist()
        expected[0]["c0"], expected[1]["c1"], expected[2]["c1"] = "x", 1, 3

        def merge() -> None:
            world.merge(staged, resolutions=choices)

        found = counted(merge)
        assert world.rows() == expected
        return found

    few, many = measured(FEW // 10), measured(MANY // 10)
    assert (many["joins"], many["statements"]) == (few["joins"], few["statements"])


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_staging_grows_as_columns(tmp_path: Path, kind: str) -> None:
    def measured(columns: int) -> Counter[str]:
        before, after = wide(columns, 0), wide(columns, 1)
        world = World(tmp_path / str(columns), STRATEGIES[0], schema=before.schema, rows=before.to_pylist())
        # As an upload has them whose tool has rounded nothing, and which could lack any cell.
        path = tmp_path / f"{columns}.{kind}"
        if kind == "csv":
            pa_csv.write_csv(after, path)
        else:
            pq.write_table(after, path)

        def stage() -> None:
            assert world.stage(str(path)).counts["update"] == 3

        return counted(stage)

    assert_grows_as_columns(measured)


def test_no_column_of_a_star_is_replaced() -> None:
    """DuckDB plans ``* REPLACE`` in the square of the columns that it replaces: see ``Session.with_cells``."""
    found = [
        str(path)
        for path in Path(merging.__file__).parent.rglob("*.py")
        if re.search(r"\* REPLACE \(", path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize("columns", [FEW, MANY])
def test_a_schema_is_not_read_for_each_column(tmp_path: Path, columns: int) -> None:
    before, after = wide(columns, 0), wide(columns, 1)
    world = World(tmp_path, STRATEGIES[0], schema=before.schema, rows=before.to_pylist())
    read, loads = [], json.loads

    def noted(text: Any, **options: Any) -> Any:
        if '"fields"' in str(text):
            read.append(text)
        return loads(text, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json, "loads", noted)
        world.stage(after)
    assert len(read) < 20
