"""Conflicts that are kept beside the content: the same as the plan's, read by page, by filter and with any choices."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import merging
from merging import ConflictFilter, Held, StandingChoice
from merging.threeway import kept_conflicts
from merging.threeway import plan as plans_of_engine
from tests.merging.world import B, World, with_rows

pytestmark = pytest.mark.any_store

CHANGES = pa.table(
    {
        "id": [1, 2, 3, 9],
        "a": pa.array([12, 22, None, 90], pa.int32()),
        "b": ["mine", "y", None, "new"],
        "_op": ["update", "update", "delete", "insert"],
    }
)


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """Conflicts of cells (N1: a, and b not), of rows (2 was deleted, 3 changed) and of an added row."""
    made = make_world()
    made.staged = made.stage(CHANGES)  # type: ignore[attr-defined]
    made.set_current(
        with_rows(B, {"id": 1, "a": 11}, {"id": 3, "b": "edited"}, {"id": 9, "a": 91, "b": "new"}, delete=[2])
    )
    return made


def opened(world: World, choices: tuple[StandingChoice, ...] = (), **options: Any) -> Any:
    request = world.request(world.staged, **options)  # type: ignore[attr-defined]
    return merging.open_conflicts(request, str(world.folder / "kept"), choices)


def test_they_are_those_of_the_plan(world: World) -> None:
    with world.plan(world.staged) as plan, opened(world) as found:  # type: ignore[attr-defined]
        assert [replace(one, beside=0) for one in found] == list(plan.conflicts)
        assert (len(found), found.unresolved) == (len(plan.conflicts), plan.unresolved) == (4, 4)
        assert (found.version, found.staged_digest) == (plan.version, plan.staged.digest)
        counted = [(one.column, one.kind, one.total, one.unresolved) for one in found.columns()]
    assert counted == [
        ("", "delete/modify", 1, 1),
        ("", "modify/delete", 1, 1),
        ("a", "add/add", 1, 1),
        ("a", "modify/modify", 1, 1),
    ]


def test_what_else_of_a_row_merges_is_counted(world: World) -> None:
    with opened(world) as found:
        assert [(one.key["id"], one.column, one.beside) for one in found] == [
            (1, "a", 1),
            (2, None, 0),
            (3, None, 0),
            (9, "a", 0),
        ]
        assert {type(one.beside) for one in found} == {int}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (ConflictFilter(column="a"), [1, 9]),
        (ConflictFilter(column=""), [2, 3]),
        (ConflictFilter(column="no such"), []),
        (ConflictFilter(kind="add/add"), [9]),
        (ConflictFilter(column="a", current=Held(11)), [1]),
        (ConflictFilter(column="a", current=Held("91", as_text=True)), [9]),
        (ConflictFilter(column="a", proposed=Held(12), current=Held(91)), []),
        (ConflictFilter(column="a", proposed=Held(None)), []),
    ],
)
def test_a_filter_finds_counts_and_pages(world: World, wanted: ConflictFilter, expected: list[int]) -> None:
    with opened(world) as found:
        assert [one.key["id"] for one in found.matching(wanted)] == expected
        assert found.count(wanted) == len(expected)
        first = found.page(wanted, limit=1)
        rest = found.page(wanted, after=first.next, limit=5).items if first.next else ()
    assert [one.key["id"] for one in (*first.items, *rest)] == expected


@pytest.mark.parametrize(
    "wanted",
    [
        ConflictFilter(current=Held(1)),
        ConflictFilter(column="", proposed=Held(1)),
        ConflictFilter(column="a", proposed=Held("many", as_text=True)),
    ],
)
def test_a_value_without_its_column_or_that_does_not_fit_is_refused(
    world: World, wanted: ConflictFilter
) -> None:
    with opened(world) as found, pytest.raises(merging.InvalidFilter):
        found.count(wanted)


@pytest.mark.parametrize(
    "wanted", [ConflictFilter(column="a", current=Held(11), proposed=Held("12", as_text=True))]
)
def test_where_nothing_conflicts_no_value_is_found(
    make_world: Callable[..., World], wanted: ConflictFilter
) -> None:
    world = make_world()
    world.staged = world.stage(CHANGES)  # type: ignore[attr-defined]
    with opened(world) as found:
        assert (found.count(wanted), found.page(wanted).items, list(found.matching(wanted))) == (0, (), [])
        assert found.offered(wanted) is not None


def test_choices_are_laid_over_them(world: World) -> None:
    with opened(world) as found:
        first, *_ = found
        before = found.selection()
        stale = StandingChoice("of other values", "a", "current")
        found.choose([StandingChoice(first.inputs_digest, "a", "custom", 7), stale])
        assert (found.unresolved, found.offered()) == (
            3,
            {"current": 3, "proposed": 3, "custom": 1, "keep": 2, "delete": 2},
        )
        assert [one.key["id"] for one in found.page(unresolved_only=True).items] == [2, 3, 9]
        [chosen] = found.at([first.inputs_digest]).values()
        assert (chosen.choice, chosen.value) == ("custom", 7)
        assert found.selection() != before
        assert found.selection(ConflictFilter(column="")) == found.selection(ConflictFilter(column=""))
        found.choose([])
        assert (found.unresolved, found.selection()) == (4, before)


def test_they_are_planned_once_for_a_version_and_again_where_the_folder_is_damaged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    plan_on = plans_of_engine.plan_on

    def counted(*asked: Any) -> Any:
        made.append(1)
        return plan_on(*asked)

    monkeypatch.setattr(kept_conflicts, "plan_on", counted)
    numbers = []
    for _ in range(2):
        with opened(world) as found:
            numbers.append(len(found))
    [folder] = (world.folder / "kept").iterdir()
    (folder / "conflicts.parquet").write_bytes(b"no Parquet")
    with opened(world) as found:
        numbers.append(len(found))
    shutil.rmtree(folder)
    with opened(world) as found:
        numbers.append(len(found))
    with opened(world, conflict_policy="row") as found:
        numbers.append(len(found))
    assert (numbers, len(made)) == ([4, 4, 4, 4, 4], 4)
    assert not list((world.folder / "kept").glob(".*"))


@pytest.mark.in_folder
def test_they_are_not_those_of_a_version_that_had_the_number_before_a_backup_was_put_back(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    world = make_world()
    world.staged = world.stage(CHANGES)  # type: ignore[attr-defined]
    shutil.copytree(world.uri, tmp_path / "backup")
    for value in (11, 12, 13):
        shutil.rmtree(world.uri)
        shutil.copytree(tmp_path / "backup", world.uri)
        world.set_current(with_rows(B, {"id": 1, "a": value}))
        with world.plan(world.staged) as plan, opened(world) as found:  # type: ignore[attr-defined]
            assert [replace(one, beside=0) for one in found] == list(plan.conflicts)
            assert len(found) == (value != 12)  # which is what is proposed


def test_conflicts_of_the_schema_come_first_and_alone(world: World, tmp_path: Path) -> None:
    staged = world.stage([{"id": 1, "extra": "x", "a": 12}])
    request = world.request(staged, merge_schema=False)
    with merging.open_conflicts(request, str(tmp_path), ()) as found:
        [conflict] = found
        assert (conflict.kind, conflict.column, conflict.key) == ("schema", "extra", {})
        assert (len(found), found.unresolved, found.offered()) == (1, 1, {"current": 1})
        assert list(found.at([conflict.inputs_digest])) == [(conflict.inputs_digest, "extra")]
    chosen = merging.Resolution({}, "extra", "current", inputs_digest=conflict.inputs_digest)
    with merging.open_conflicts(replace(request, resolutions=[chosen]), str(tmp_path), ()) as found:
        assert {one.column for one in found} == {"a"}


def test_nothing_in_conflict_is_kept_too(make_world: Callable[..., World]) -> None:
    world = make_world()
    world.staged = world.stage([{"id": 1, "a": 12}])  # type: ignore[attr-defined]
    for _ in range(2):
        with opened(world) as found:
            assert (len(found), list(found), found.page().next) == (0, [], None)
