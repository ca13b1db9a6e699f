"""Rows, cells, values, keys and resolutions beyond the reference's own cases (groups A, B, C, G, H, K)."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import merging
from merging import InvalidResolution, MergeConflict, Resolution
from merging.sql.session import Session
from tests.merging.sites import Site
from tests.merging.world import B, Row, World, arrow, resolve, same_rows, with_rows

pytestmark = pytest.mark.any_store

UTC = datetime.UTC


def conflict_places(
    world: World, staged: merging.Staged, **options: Any
) -> list[tuple[Any, str | None, str]]:
    with world.plan(staged, **options) as plan:
        return [(one.key["id"], one.column, one.kind) for one in plan.conflicts]


def test_different_cells_of_one_row_merge(make_world: Callable[..., World]) -> None:
    """A05, A08."""
    world = make_world()
    staged = world.stage([{"id": 1, "a": 11, "c": 9.9}])
    world.set_current(with_rows(B, {"id": 1, "a": 11, "b": "o"}))
    result = world.merge(staged)
    assert world.rows()[0] == {"id": 1, "a": 11, "b": "o", "c": 9.9}
    assert (result.rows_affected, dict(result.cells_updated)) == (1, {"c": 1})


def test_nothing_staged_is_a_commit_with_the_marker_alone(make_world: Callable[..., World]) -> None:
    """A01, A02, F09: content that the table has already."""
    world = make_world()
    staged = world.stage([{"id": 1, "a": 11}, {"id": 9, "a": 1}])
    world.set_current(with_rows(B, {"id": 1, "a": 11}, {"id": 9, "a": 1, "b": None, "c": None}))
    before = world.rows()
    result = world.merge(staged)
    assert result.marker_only
    assert (result.rows_affected, result.rows_agreed) == (0, 2)
    assert world.rows() == before
    found = merging.find_merge(world.uri, "CR-1")
    assert found is not None
    assert found.version == result.merged_version


@pytest.mark.parametrize(
    ("coming", "moved", "read"),
    [
        ([], False, []),
        ([{"id": 9, "a": 9, "b": "n", "c": 9.5}], False, ["p2", "p3"]),
        ([], True, ["p2", "p3"]),
    ],
)
def test_what_is_proposed_of_columns_that_stay_alike_is_read_for_new_rows_alone(
    make_world: Callable[..., World],
    monkeypatch: pytest.MonkeyPatch,
    coming: list[Row],
    moved: bool,
    read: list[str],
) -> None:
    """A merge holds the rows that it changes in one statement, and to read and hold values is what it costs."""
    world = make_world()
    going = {"id": 2, "_op": "delete"}
    staged = world.stage([{"id": 1, "a": 11, "b": "x", "c": 1.5}, going, *coming])
    current = with_rows(B, {"id": 1, "b": "moved"}) if moved else B
    if moved:
        world.set_current(current)
    asked: list[str] = []
    hold = Session.hold

    def noted(opened: Session, name: str, query: str, **how: Any) -> None:
        asked.append(query)
        hold(opened, name, query, **how)

    monkeypatch.setattr(Session, "hold", noted)
    world.merge(staged)
    [query] = asked
    assert [cell for cell in ("p2", "p3") if cell in query.split(" FROM (SELECT s.n")[0]] == read
    expected = with_rows(current, {"id": 1, "a": 11}, delete=[2])
    assert same_rows(world.rows(), [*expected, *coming], ["id"])


def test_only_what_is_in_conflict_is_asked_for_digests(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement for each column of a wide table took longer than all else of its plan."""
    asked: list[str] = []
    execute = Session.execute

    def noted(opened: Session, statement: str, parameters: list[Any] | None = None) -> None:
        asked.append(statement)
        execute(opened, statement, parameters)

    monkeypatch.setattr(Session, "execute", noted)
    for current, places in (({"a": 10}, []), ({"a": 12}, [(1, "a", "modify/modify")])):
        world = make_world()
        staged = world.stage([{"id": 1, "a": 11, "b": "p", "c": 9.9}])
        world.set_current(with_rows(B, {"id": 1, **current}))
        asked.clear()
        assert conflict_places(world, staged) == places
        assert sum(one.startswith("INSERT INTO conflicts") for one in asked) == len(places)


def test_four_kinds_of_conflict_at_once(make_world: Callable[..., World]) -> None:
    """A29, A23."""
    base = [*B, {"id": 4, "a": 0, "b": None, "c": None}]
    world = make_world(rows=base)
    delete = pa.table({"id": [3], "_op": ["delete"]})
    changes = pa.concat_tables(
        [
            arrow(world.schema, [{"id": 1, "a": 3}, {"id": 2, "a": 0}, {"id": 5, "a": -4}])
            .select(["id", "a"])
            .append_column("_op", pa.array(["upsert"] * 3)),
            delete,
        ],
        promote_options="default",
    )
    staged = world.stage(changes)
    world.set_current(
        with_rows(
            base, {"id": 1, "a": 2}, {"id": 3, "a": 0}, {"id": 5, "a": 4, "b": None, "c": None}, delete=[2]
        )
    )
    before, version = world.rows(), world.version
    assert conflict_places(world, staged) == [
        (1, "a", "modify/modify"),
        (2, None, "delete/modify"),
        (3, None, "modify/delete"),
        (5, "a", "add/add"),
    ]
    with pytest.raises(MergeConflict) as refused:
        world.merge(staged)
    assert refused.value.total == 4
    assert (world.rows(), world.version) == (before, version)


RESOLVED: list[tuple[str, Any, Row | None]] = [
    ("current", None, {"id": 1, "a": 11, "b": "o", "c": 9.9}),
    ("proposed", None, {"id": 1, "a": 12, "b": "o", "c": 9.9}),
    ("base", None, {"id": 1, "a": 10, "b": "o", "c": 9.9}),
    ("custom", 99, {"id": 1, "a": 99, "b": "o", "c": 9.9}),
    ("custom", "99", {"id": 1, "a": 99, "b": "o", "c": 9.9}),
    ("custom", None, {"id": 1, "a": None, "b": "o", "c": 9.9}),
]


@pytest.mark.parametrize(("choice", "value", "expected"), RESOLVED)
def test_the_other_cells_merge_whatever_is_chosen(
    world: World, choice: Any, value: Any, expected: Row
) -> None:
    """A09, G01 to G04."""
    staged = world.stage([{"id": 1, "a": 12, "c": 9.9}])
    world.set_current(with_rows(B, {"id": 1, "a": 11, "b": "o"}))
    with world.plan(staged) as plan:
        [conflict] = plan.conflicts
    assert (conflict.base, conflict.current, conflict.proposed) == (10, 11, 12)
    assert conflict.legal_choices == ("current", "proposed", "base", "custom")
    world.merge(staged, resolutions=resolve([conflict], choice, value))
    assert world.rows()[0] == expected


@pytest.mark.parametrize(
    ("choice", "stays"), [("current", False), ("delete", False), ("proposed", True), ("keep", True)]
)
def test_a_deleted_row_that_is_edited(make_world: Callable[..., World], choice: Any, stays: bool) -> None:
    """A16, G05, G06."""
    world = make_world()
    staged = world.stage([{"id": 1, "a": 11}])
    world.set_current(with_rows(B, delete=[1]))
    with world.plan(staged) as plan:
        [conflict] = plan.conflicts
    assert (conflict.kind, conflict.column, conflict.current) == ("delete/modify", None, None)
    assert conflict.base == B[0]
    result = world.merge(staged, resolutions=resolve([conflict], choice))
    assert world.rows() == ([{**B[0], "a": 11}] if stays else []) + B[1:]
    assert result.diff.rows_added == int(stays)
    assert result.marker_only is not stays


@pytest.mark.parametrize(
    ("choice", "stays"), [("current", True), ("keep", True), ("proposed", False), ("delete", False)]
)
def test_an_edited_row_that_is_deleted(make_world: Callable[..., World], choice: Any, stays: bool) -> None:
    """A17, B09, G07."""
    world = make_world()
    staged = world.stage(pa.table({"id": [1], "_op": ["delete"]}))
    edited = {"id": 1, "a": None, "b": None, "c": None}
    world.set_current(with_rows(B, edited))
    with world.plan(staged) as plan:
        [conflict] = plan.conflicts
    assert (conflict.kind, conflict.column, conflict.current, conflict.proposed) == (
        "modify/delete",
        None,
        edited,
        None,
    )
    world.merge(staged, resolutions=resolve([conflict], choice))
    assert world.rows() == ([edited] if stays else []) + B[1:]


def test_added_twice(world: World) -> None:
    """A12, A13, A14, G08: conflicts per cell; a cell that was not given takes the current value."""
    staged = world.stage(world.file("x.jsonl", '{"id": 4, "a": 41, "b": null}\n{"id": 5, "c": 2}'))
    world.set_current(
        with_rows(B, {"id": 4, "a": 40, "b": "o", "c": 1.0}, {"id": 5, "a": 5, "b": "q", "c": 2.0})
    )
    with world.plan(staged) as plan:
        found = list(plan.conflicts)
    assert [(one.key["id"], one.column, one.base, one.current, one.proposed) for one in found] == [
        (4, "a", None, 40, 41),
        (4, "b", None, "o", None),
    ]
    assert found[0].legal_choices == ("current", "proposed", "custom")
    world.merge(staged, resolutions=[*resolve(found[:1], "proposed"), *resolve(found[1:], "current")])
    assert world.rows()[3:] == [
        {"id": 4, "a": 41, "b": "o", "c": 1.0},
        {"id": 5, "a": 5, "b": "q", "c": 2.0},
    ]


def test_five_thousand_conflicts_are_counted_and_paged(site: Site) -> None:
    """A28, G11: exact counts, stable pages, choices in bulk without a gap."""
    base: list[Row] = [{"id": n, "a": 0, "b": "x", "c": None} for n in range(6000)]
    world = World(site, "merge-on-read", rows=base)
    staged = world.stage([{"id": n, "a": 1, "b": "y" if n < 100 else "x"} for n in range(5000)])
    world.set_current([{**row, "a": 2, "b": "z" if row["id"] < 50 else "x"} for row in base])
    with world.plan(staged) as plan:
        assert (len(plan.conflicts), plan.unresolved) == (5050, 5050)
        pages, after = [], None
        while True:
            page = plan.conflicts.page(after=after, limit=999)
            pages.append(page.items)
            after = page.next
            if after is None:
                break
        found = [one for items in pages for one in items]
        assert [len(items) for items in pages] == [999, 999, 999, 999, 999, 55]
        assert len({(one.key["id"], one.column) for one in found}) == 5050
    chosen = resolve((one for one in found if one.column == "a"), "proposed")
    with pytest.raises(MergeConflict) as refused:
        world.merge(staged, resolutions=chosen)
    assert refused.value.total == 50
    assert {one.column for one in refused.value.conflicts} == {"b"}
    chosen += resolve((one for one in found if one.column == "b"), "current")
    result = world.merge(staged, resolutions=chosen)
    assert dict(result.cells_updated) == {"a": 5000, "b": 50}
    assert result.rows_affected == 5000


VALUES: list[tuple[pa.DataType, Any, Any, Any]] = [
    (pa.float64(), float("nan"), float("nan"), float("nan")),
    (pa.float64(), 1.0, float("inf"), float("inf")),
    (pa.float64(), 1.0, 0.0, -0.0),
    (pa.float32(), None, float("nan"), float("nan")),
    (pa.decimal128(10, 2), Decimal("1.00"), Decimal("100.00"), Decimal("1E+2")),
    (pa.string(), "x", "e\u0301", "e\u0301"),
    (pa.binary(), b"\x00", b"\x00\x01", b"\x00\x01"),
    (pa.date32(), None, datetime.date(1600, 2, 29), datetime.date(1600, 2, 29)),
    (
        pa.timestamp("us", tz="UTC"),
        None,
        datetime.datetime(2024, 1, 1, tzinfo=UTC),
        datetime.datetime(2024, 1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
    ),
    (pa.bool_(), None, False, False),
    (pa.list_(pa.int64()), [1], [1, None], [1, None]),
    (pa.map_(pa.string(), pa.int64()), None, [("a", 1), ("b", 2)], [("b", 2), ("a", 1)]),
    (pa.struct([("x", pa.int64())]), None, {"x": None}, {"x": None}),
    (
        pa.list_(pa.struct([("m", pa.map_(pa.string(), pa.float64()))])),
        None,
        [{"m": [("a", float("nan")), ("b", 0.0)]}],
        [{"m": [("b", -0.0), ("a", float("nan"))]}],
    ),
]


@pytest.mark.sample(5)
@pytest.mark.parametrize("strategy", ["merge-on-read", "copy-on-write"])
@pytest.mark.parametrize(("kind", "base", "current", "proposed"), VALUES, ids=lambda value: str(value)[:24])
def test_equal_values_agree(
    tmp_path: Path, strategy: str, kind: pa.DataType, base: Any, current: Any, proposed: Any
) -> None:
    """B04, B12 to B16, B21, B24, B32, B35: what is the same value is no conflict and no phantom change."""
    schema = pa.schema([("id", pa.int64()), ("v", kind), ("w", pa.int64())])
    world = World(tmp_path, strategy, schema, [{"id": 1, "v": base, "w": 0}])
    staged = world.stage(arrow(schema, [{"id": 1, "v": proposed, "w": 1}]))
    world.set_current([{"id": 1, "v": current, "w": 0}])
    result = world.merge(staged)
    assert dict(result.cells_updated) == {"w": 1}
    untouched = world.stage(arrow(schema, [{"id": 1, "v": current, "w": 1}]), base_version=None)
    assert untouched.noop_rows == 1


CLASHES: list[tuple[pa.DataType, Any, Any, Any]] = [
    (pa.int64(), 1, 9007199254740993, 9007199254740992),
    (pa.float64(), 1.0, 0.1 + 0.2, 0.3),
    (pa.string(), "x", "ABC", "abc"),
    (pa.string(), "x", "abc", "abc "),
    (pa.string(), None, "", "x"),
    (pa.string(), "x", "2024-01-01T00:00:00Z", "2024-01-01T01:00:00+01:00"),
    (pa.string(), "x", "\u00e9", "e\u0301"),
    (pa.binary(), b"", b"\x00", b"\x00\x00"),
    (pa.list_(pa.int64()), [1, 1], [2, 1], [1, 2]),
    (pa.struct([("x", pa.int64()), ("y", pa.int64())]), {"x": 0, "y": 0}, {"x": 1, "y": 0}, {"x": 0, "y": 1}),
    (pa.map_(pa.string(), pa.int64()), [("a", 1)], [("a", 2)], [("a", 1), ("b", 1)]),
    (
        pa.timestamp("us"),
        None,
        datetime.datetime(1900, 1, 1, tzinfo=UTC).replace(tzinfo=None),
        datetime.datetime(1901, 1, 1, tzinfo=UTC).replace(tzinfo=None),
    ),
]


@pytest.mark.sample(5)
@pytest.mark.parametrize(("kind", "base", "current", "proposed"), CLASHES, ids=lambda value: str(value)[:24])
def test_different_values_conflict(
    tmp_path: Path, kind: pa.DataType, base: Any, current: Any, proposed: Any
) -> None:
    """B07, B10, B17, B18, B20, B23, B29, B35: and each choice is written as it is."""
    schema = pa.schema([("id", pa.int64()), ("v", kind)])
    for choice, expected in (
        ("current", current),
        ("proposed", proposed),
        ("base", base),
        ("custom", proposed),
    ):
        world = World(tmp_path, "merge-on-read", schema, [{"id": 1, "v": base}])
        staged = world.stage(arrow(schema, [{"id": 1, "v": proposed}]))
        world.set_current([{"id": 1, "v": current}])
        with world.plan(staged) as plan:
            [conflict] = plan.conflicts
        assert (conflict.column, conflict.kind) == ("v", "modify/modify")
        world.merge(staged, resolutions=resolve([conflict], choice, conflict.proposed))
        assert same_rows(world.rows(), arrow(schema, [{"id": 1, "v": expected}]).to_pylist(), ["id"])


def test_rekeyed_rows_are_noticed(world: World) -> None:
    """C01, C02, C06: the delete and the insert of one content belong together."""
    staged = world.stage(
        pa.table(
            {
                "id": [1, 9],
                "a": pa.array([None, 10], pa.int32()),
                "b": [None, "x"],
                "c": [None, 1.5],
                "_op": ["delete", "insert"],
            }
        )
    )
    assert staged.rekeyed_rows == 1
    assert "another key" in staged.warnings[0]
    with world.plan(staged) as plan:
        [pair] = plan.rekeyed()
        assert (pair.old_key, pair.new_key) == ({"id": 1}, {"id": 9})
    world.set_current(with_rows(B, {"id": 1, "a": 11}))
    with world.plan(staged) as plan:
        [conflict] = plan.conflicts
    assert (conflict.kind, conflict.rekeyed_to) == ("modify/delete", {"id": 9})
    swapped = World(world.site, "merge-on-read")
    both = swapped.stage([{"id": 1, "a": 20, "b": "y", "c": 2.5}, {"id": 2, "a": 10, "b": "x", "c": 1.5}])
    assert (both.counts["update"], both.rekeyed_rows) == (2, 0)


def test_composite_keys(make_world: Callable[..., World]) -> None:
    """C08: with odd column names."""
    schema = pa.schema([("k 1", pa.int64()), ('k"2.é', pa.string()), ("v", pa.int64())])
    rows = [{"k 1": 1, 'k"2.é': "a", "v": 1}, {"k 1": 1, 'k"2.é': "b", "v": 2}]
    world = make_world(schema=schema, rows=rows, keys=["k 1", 'k"2.é'])
    staged = world.stage([{"k 1": 1, 'k"2.é': "a", "v": 12}, {"k 1": 1, 'k"2.é': "b", "v": 22}])
    world.set_current([{**rows[0], "v": 11}, rows[1]])
    with world.plan(staged) as plan:
        [conflict] = plan.conflicts
    assert conflict.key == {"k 1": 1, 'k"2.é': "a"}
    world.merge(staged, resolutions=resolve([conflict], "proposed"))
    assert [row["v"] for row in world.rows()] == [12, 22]


def test_the_table_may_grow_duplicate_keys(make_world: Callable[..., World]) -> None:
    """C12 at merge time: refused, the table untouched."""
    world = make_world()
    staged = world.stage([{"id": 1, "a": 11}])
    world.set_current([*B, B[0]])
    version = world.version
    with pytest.raises(merging.DuplicateKeys):
        world.merge(staged)
    assert world.version == version


def test_choices_hold_only_while_their_values_stand(world: World) -> None:
    """G09, G10, G12, G13, G14."""
    staged = world.stage([{"id": 1, "a": 12}])
    world.set_current(with_rows(B, {"id": 1, "a": 11}))
    with world.plan(staged) as plan:
        [conflict] = plan.conflicts
    chosen = resolve([conflict], "proposed")
    world.set_current(with_rows(B, {"id": 1, "a": 11, "b": "other"}, {"id": 2, "a": 77}))
    with world.plan(staged, resolutions=chosen) as plan:
        assert (plan.unresolved, plan.conflicts.page().items[0].choice) == (0, "proposed")
    with world.plan(staged, resolutions=[*chosen, *resolve([conflict], "base")]) as plan:
        assert plan.conflicts.page().items[0].choice == "base"
    world.set_current(with_rows(B, {"id": 1, "a": 13}))
    with world.plan(staged, resolutions=chosen) as plan:
        assert plan.unresolved == 1
    with pytest.raises(MergeConflict):
        world.merge(staged, resolutions=chosen)
    world.set_current(with_rows(B, {"id": 1, "a": 12}))
    with world.plan(staged, resolutions=chosen) as plan:
        assert (len(plan.conflicts), plan.rows_agreed) == (0, 1)
    assert world.merge(staged, resolutions=chosen).marker_only


def test_a_plan_with_another_value_is_another_plan(world: World) -> None:
    """What was looked at is what is merged: the digest tells one chosen value from another, and from NULL."""
    staged = world.stage([{"id": 1, "a": 12}])
    world.set_current(with_rows(B, {"id": 1, "a": 11}))
    with world.plan(staged) as plan:
        [conflict] = plan.conflicts
    digests = []
    for value in (7, 8, None, 7):
        with world.plan(staged, resolutions=resolve([conflict], "custom", value)) as plan:
            [chosen] = plan.conflicts
            assert (chosen.choice, chosen.value, plan.unresolved) == ("custom", value, 0)
            digests.append(plan.digest)
    assert digests[3] == digests[0]
    assert len(set(digests)) == 3


@pytest.mark.parametrize(
    ("choice", "agreed", "updated"), [(None, 1, 0), ("current", 1, 0), ("proposed", 1, 1)]
)
def test_rows_in_conflict_are_not_counted_as_agreed(
    world: World, choice: str | None, agreed: int, updated: int
) -> None:
    """Row 1 is in conflict in two cells, row 2 is in the table as proposed already, row 9 is new."""
    staged = world.stage([{"id": 1, "a": 12, "b": "p"}, {"id": 2, "a": 77, "b": "y"}, {"id": 9, "a": 9}])
    world.set_current(with_rows(B, {"id": 1, "a": 11, "b": "c"}, {"id": 2, "a": 77, "b": "y"}))
    with world.plan(staged) as plan:
        conflicts = list(plan.conflicts)
    assert [(one.key, one.column) for one in conflicts] == [({"id": 1}, "a"), ({"id": 1}, "b")]
    chosen = resolve(conflicts, choice) if choice else []
    with world.plan(staged, resolutions=chosen) as plan:
        assert (plan.rows_added, plan.rows_updated, plan.rows_deleted, plan.rows_agreed) == (
            1,
            updated,
            0,
            agreed,
        )


def test_illegal_choices_are_named(world: World) -> None:
    staged = world.stage([{"id": 1, "a": 12}, {"id": 2, "b": "z"}])
    world.set_current(with_rows(B, {"id": 1, "a": 11}, delete=[2]))
    version = world.version
    with world.plan(staged) as plan:
        cell, row = plan.conflicts
    for wrong in (
        resolve([cell], "keep"),
        resolve([row], "base"),
        resolve([cell], "custom", "many"),
        resolve([cell], "custom", 2**40),
        [Resolution({"id": "x"}, "a", "current", None, cell.inputs_digest)],
        [Resolution({"nope": 1}, "a", "current", None, cell.inputs_digest)],
    ):
        with pytest.raises(InvalidResolution):
            world.merge(staged, resolutions=wrong)
    assert world.version == version


def test_a_choice_may_break_a_rule(site: Site) -> None:
    """E07, G17, D39: the merged row is what is checked, every column and row is listed."""
    schema = pa.schema([("id", pa.int64()), pa.field("a", pa.int32(), nullable=False), ("b", pa.string())])
    world = World(site, "merge-on-read", schema, [{"id": 1, "a": 1, "b": "x"}])
    staged = world.stage([{"id": 1, "a": 3}])
    world.set_current([{"id": 1, "a": 2, "b": "x"}])
    version = world.version
    with world.plan(staged) as plan:
        chosen = resolve(plan.conflicts, "custom", None)
    with pytest.raises(merging.ValidationFailed) as refused:
        world.merge(staged, resolutions=chosen)
    [failed] = [check for check in refused.value.report.checks if not check.ok]
    assert (failed.name, failed.failures, failed.examples) == ("not_null:a", 1, ({"id": 1},))
    assert world.version == version


def test_the_row_policy(make_world: Callable[..., World]) -> None:
    """Any concurrent change of a staged row is a conflict of the row."""
    world = make_world()
    lines = '{"id": 1, "c": 9.9}\n{"id": 2, "a": 22}\n{"id": 3, "b": "same"}'
    staged = world.stage(world.file("x.jsonl", lines))
    world.set_current(with_rows(B, {"id": 1, "b": "o"}, {"id": 3, "b": "same"}))
    assert conflict_places(world, staged) == []
    assert conflict_places(world, staged, conflict_policy="row") == [(1, None, "modify/modify")]
    with world.plan(staged, conflict_policy="row") as plan:
        [conflict] = plan.conflicts
    assert conflict.legal_choices == ("current", "proposed")
    with pytest.raises(MergeConflict):
        world.merge(staged, conflict_policy="row")
    world.merge(staged, conflict_policy="row", resolutions=resolve([conflict], "current"))
    assert world.rows()[0] == {"id": 1, "a": 10, "b": "o", "c": 1.5}
    assert world.rows()[1]["a"] == 22


def test_the_row_policy_merges_what_is_proposed(world: World) -> None:
    staged = world.stage([{"id": 1, "c": 9.9}])
    world.set_current(with_rows(B, {"id": 1, "b": "o"}))
    with world.plan(staged, conflict_policy="row") as plan:
        chosen = resolve(plan.conflicts, "proposed")
    world.merge(staged, conflict_policy="row", resolutions=chosen)
    assert world.rows()[0] == {"id": 1, "a": 10, "b": "o", "c": 9.9}


@pytest.mark.parametrize("option", ["skip_conflict_check", "force_merge"])
def test_proposed_wins_when_told_to(make_world: Callable[..., World], option: str) -> None:
    """H11: in every staged cell; what was not staged stays as it is now."""
    world = make_world()
    changes = pa.table(
        {"id": [1, 2, 3], "a": pa.array([12, 22, None], pa.int32()), "_op": ["update", "update", "delete"]}
    )
    staged = world.stage(changes)
    world.set_current(with_rows(B, {"id": 1, "a": 11, "b": "o"}, {"id": 3, "b": "edited"}, delete=[2]))
    forced: dict[str, Any] = {option: True}
    with world.plan(staged, **forced) as plan:
        assert len(plan.conflicts) == (3 if option == "force_merge" else 0)
        assert len(tuple(plan.conflicts)) == len(tuple(plan.conflicts.choices())) == len(plan.conflicts)
    result = world.merge(staged, **forced)
    assert result.conflicts_overridden == (3 if option == "force_merge" else 0)
    assert world.rows() == [
        {"id": 1, "a": 12, "b": "o", "c": 1.5},
        {"id": 2, "a": 22, "b": "y", "c": 2.5},
    ]


def test_plan_and_merge_say_the_same(make_world: Callable[..., World]) -> None:
    """H12, K01, K02: counts, images and digest; a plan writes nothing."""
    world = make_world()
    staged = world.stage([{"id": 1, "a": 12}, {"id": 8, "a": 8}])
    world.set_current(with_rows(B, {"id": 1, "b": "o"}))
    before = world.paths()
    with world.plan(staged) as plan:
        rows = plan.rows()
        digest = plan.digest
        assert (plan.rows_added, plan.rows_updated, plan.rows_deleted) == (1, 1, 0)
        assert (plan.row_count_before, plan.row_count_after, plan.deleted_share) == (3, 4, 0.0)
        assert plan.strategy == world.strategy
    assert world.paths() == before
    [updated, inserted] = rows.items
    assert updated.base == B[0]
    assert updated.current == {**B[0], "b": "o"}
    assert updated.proposed == {**B[0], "a": 12}
    assert updated.merged == {**B[0], "a": 12, "b": "o"}
    assert updated.changed == ("a",)
    assert (inserted.operation, inserted.current, inserted.base) == ("insert", None, None)
    world.set_current(with_rows(B, {"id": 1, "b": "o"}, {"id": 2, "a": 0}))
    with world.plan(staged) as again:
        assert again.digest == digest
        assert again.rows(operation="insert").items[0].key == {"id": 8}
        assert again.rows(column="a", limit=1).next is not None
    result = world.merge(staged)
    assert (result.diff.rows_added, result.diff.rows_updated, dict(result.cells_updated)) == (1, 1, {"a": 1})
    assert result.strategy == world.strategy


def test_the_order_of_rows_is_no_change(world: World) -> None:
    """K04, A19, A21: the net effect counts."""
    staged = world.stage([{"id": 1, "a": 12}])
    world.set_current(with_rows(B, {"id": 1, "a": 99}))
    world.set_current(B[::-1])
    assert world.merge(staged).rows_affected == 1
    assert world.rows()[0]["a"] == 12


@pytest.mark.parametrize("strategy", ["merge-on-read", "copy-on-write"])
def test_partitioned_tables(site: Site, strategy: str) -> None:
    """Rows move between partitions, values need escaping in folders."""
    schema = pa.schema([("id", pa.int64()), ("p", pa.string()), ("v", pa.int64())])
    rows = [{"id": n, "p": ("a/b c", "x=1", None)[n % 3], "v": n} for n in range(9)]
    world = World(site, strategy, schema, rows, partition_by=["p"])
    staged = world.stage(
        [{"id": 0, "p": "x=1", "v": 100}, {"id": 1, "p": None, "v": 1}, {"id": 50, "p": "ü%", "v": 5}]
    )
    result = world.merge(staged)
    assert (result.diff.rows_added, result.diff.rows_updated) == (1, 2)
    expected = with_rows(
        rows, {"id": 0, "p": "x=1", "v": 100}, {"id": 1, "p": None}, {"id": 50, "p": "ü%", "v": 5}
    )
    assert same_rows(world.rows(), expected, ["id"])
