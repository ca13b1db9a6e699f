"""Suites in plans and merges: write skew is blocked on the merged result, and a refused merge changes nothing.

The case numbers are those of the reference cases of three-way merging (constraints and validation).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import merging
from merging import ExpectationReport, ExpectationRules, Staged, ValidationFailed
from merging.delta import Snapshot
from merging.engines import DuckDBEngine
from tests.merging.expectations.support import expect
from tests.merging.world import World, with_rows

MakeWorld = Callable[..., World]
XY = pa.schema([("id", pa.int64()), ("x", pa.int64()), ("y", pa.int64()), ("s", pa.string())])
ROWS = (
    {"id": 1, "x": 5, "y": 3, "s": "parent"},
    {"id": 2, "x": 6, "y": 3, "s": "parent"},
    {"id": 3, "x": 7, "y": 3, "s": "child"},
)


def suite(*expectations: dict[str, Any]) -> dict[str, Any]:
    return {"name": "rules", "expectations": list(expectations)}


def report_of(plan_or_result: Any) -> ExpectationReport:
    report = plan_or_result.validation.expectations
    assert isinstance(report, ExpectationReport)
    return report


def refused(world: World, staged: Staged, *expectations: dict[str, Any], **options: Any) -> ExpectationReport:
    """Merge, be refused by the expectations, and find everything as it was."""
    version, rows = world.version, world.rows()
    files = sorted(path.name for path in Path(world.uri).rglob("*"))
    request = world.request(staged, expectations=suite(*expectations), **options)
    with merging.plan(request) as plan:
        assert not plan.validation.ok
        planned = report_of(plan)
    phases: list[str] = []
    with pytest.raises(ValidationFailed) as caught:
        merging.merge(request, lambda phase, **facts: phases.append(phase))
    assert phases == ["checking", "validating"]
    assert (world.version, world.rows()) == (version, rows)
    assert sorted(path.name for path in Path(world.uri).rglob("*")) == files
    assert merging.open_staged(staged.location).digest == staged.digest
    assert merging.find_merge(world.uri, request.cr_id) is None
    report = caught.value.report.expectations
    assert report is not None
    assert [one.state for one in report.results] == [one.state for one in planned.results]
    assert caught.value.code == "validation_failed"
    return report


def keys_of(report: ExpectationReport, number: int = 0) -> list[int]:
    return [dict(row.key)["id"] for row in report.results[number].failing_rows]


UNIQUE_X = expect("column_values_to_be_unique", column="x")
DIFFERENT = expect("select_column_values_to_be_unique_within_record", column_list=["x", "y"])
X_ABOVE_Y = expect("column_pair_values_a_to_be_greater_than_b", column_A="x", column_B="y", or_equal=True)


def test_e01_both_sides_add_the_same_unique_value(make_world: MakeWorld) -> None:
    world = make_world(schema=XY, rows=ROWS)
    staged = world.stage([{"id": 5, "x": 1, "y": 0, "s": "b"}])
    world.set_current(with_rows(ROWS, {"id": 4, "x": 1, "y": 0, "s": "a"}))
    report = refused(world, staged, UNIQUE_X)
    assert keys_of(report) == [4, 5]
    assert (report.results[0].state, report.results[0].new_failures) == ("new", 2)


def test_e02_both_sides_add_a_missing_value(world: World, tmp_path: Path) -> None:
    world = World(tmp_path, "merge-on-read", schema=XY, rows=ROWS)
    staged = world.stage([{"id": 5, "x": None, "y": 0, "s": "b"}])
    world.set_current(with_rows(ROWS, {"id": 4, "x": None, "y": 0, "s": "a"}))
    result = merging.merge(world.request(staged, expectations=suite(UNIQUE_X)))
    assert result.validation.ok
    assert [row["id"] for row in world.rows()] == [1, 2, 3, 4, 5]


def test_e04_each_side_is_valid_and_the_merged_row_is_not(make_world: MakeWorld) -> None:
    world = make_world(schema=XY, rows=[{"id": 1, "x": 2, "y": 3, "s": None}])
    staged = world.stage([{"id": 1, "y": 4}])
    world.set_current([{"id": 1, "x": 4, "y": 3, "s": None}])
    report = refused(world, staged, DIFFERENT)
    [row] = report.results[0].failing_rows
    assert (dict(row.key), dict(row.values), row.new) == ({"id": 1}, {"x": 4, "y": 4}, True)


# A foreign key in the strict sense reads another row for each row, in another table: no expectation of a suite over one
# table says that, and those that read other tables are refused. What one table can say is that the set stays whole.
@pytest.mark.parametrize("swapped", [False, True])
def test_e05_e06_the_last_row_that_others_need_is_deleted_between_both(tmp_path: Path, swapped: bool) -> None:
    world = World(tmp_path, "merge-on-read", schema=XY, rows=ROWS)
    mine, others = (2, 1) if swapped else (1, 2)
    staged = world.stage(pa.table({"id": pa.array([mine], pa.int64()), "_op": ["delete"]}))
    world.set_current(with_rows(ROWS, delete=[others]))
    report = refused(
        world, staged, expect("column_distinct_values_to_contain_set", column="s", value_set=["parent"])
    )
    [found] = report.results
    assert (found.observed, found.state) == ({"missing_count": 1, "missing": ["parent"]}, "new")


def test_e07_two_missing_values_of_one_row_are_both_told(tmp_path: Path) -> None:
    world = World(tmp_path, "merge-on-read", schema=XY, rows=ROWS)
    staged = world.stage([{"id": 1, "x": None}])
    world.set_current(with_rows(ROWS, {"id": 1, "y": None}))
    report = refused(
        world,
        staged,
        expect("column_values_to_not_be_null", column="x"),
        expect("column_values_to_not_be_null", column="y"),
    )
    assert [(one.columns, one.state) for one in report.results] == [(("x",), "new"), (("y",), "pre_existing")]
    assert [keys_of(report, number) for number in (0, 1)] == [[1], [1]]


def test_e08_all_failures_are_listed_with_their_counts(tmp_path: Path) -> None:
    world = World(tmp_path, "merge-on-read", schema=XY, rows=ROWS)
    staged = world.stage(
        [
            {"id": 1, "x": -1, "y": 9, "s": "q"},
            {"id": 2, "x": -2, "y": 9, "s": "r"},
            {"id": 7, "x": 1, "y": 0, "s": "a"},
        ]
    )
    report = refused(
        world,
        staged,
        expect("column_values_to_be_between", column="x", min_value=0),
        X_ABOVE_Y,
        expect("column_values_to_be_in_set", column="s", value_set=["parent", "child"]),
        expect("table_row_count_to_be_between", max_value=3),
        expect("column_values_to_not_be_null", column="x"),
    )
    assert [(one.state, one.failing_rows_total) for one in report.results] == [
        ("new", 2),
        ("new", 2),
        ("new", 3),
        ("new", 0),
        ("passed", 0),
    ]
    assert len(report.blocking) == 4


def test_e09_a_suite_that_holds_for_base_and_proposed_fails_on_the_merged_result(
    make_world: MakeWorld,
) -> None:
    world = make_world(schema=XY, rows=ROWS)
    staged = world.stage([{"id": 1, "x": 4}])
    rules = suite(X_ABOVE_Y)
    with merging.plan(world.request(staged, expectations=rules)) as plan:
        assert plan.validation.ok
    world.set_current(with_rows(ROWS, {"id": 1, "y": 5}))
    assert merging.check_table(world.uri, rules, ["id"]).ok
    assert keys_of(refused(world, staged, X_ABOVE_Y)) == [1]


@pytest.mark.parametrize(
    ("given", "observed"),
    [
        (expect("table_row_count_to_be_between", max_value=4), 5),
        (expect("column_sum_to_be_between", column="x", max_value=50), 58),
        (expect("column_unique_value_count_to_be_between", column="x", max_value=4), 5),
    ],
)
def test_e09_a_number_of_the_table_is_that_of_the_merged_result(
    tmp_path: Path, given: dict[str, Any], observed: int
) -> None:
    world = World(tmp_path, "merge-on-read", schema=XY, rows=ROWS)
    staged = world.stage([{"id": 5, "x": 20, "y": 0, "s": "b"}])
    with merging.plan(world.request(staged, expectations=suite(given))) as plan:
        assert plan.validation.ok
    world.set_current(with_rows(ROWS, {"id": 4, "x": 20 if "sum" in given["type"] else 21, "y": 0, "s": "a"}))
    [found] = refused(world, staged, given).results
    assert found.observed == observed


def test_e10_failures_that_the_table_had_are_told_and_block_only_if_asked(tmp_path: Path) -> None:
    rows = with_rows(ROWS, {"id": 3, "x": -7})
    world = World(tmp_path, "merge-on-read", schema=XY, rows=rows)
    positive = expect("column_values_to_be_between", column="x", min_value=0)
    staged = world.stage([{"id": 3, "x": -7, "s": "other"}, {"id": 1, "x": 8, "s": "parent"}])
    strict = ExpectationRules(suite(positive), block_pre_existing=True)
    with pytest.raises(ValidationFailed) as caught:
        merging.merge(world.request(staged, expectations=strict))
    report = caught.value.report.expectations
    assert report is not None
    assert [one.state for one in report.results] == ["pre_existing"]
    assert world.rows() == rows
    result = merging.merge(world.request(staged, expectations=suite(positive)))
    [found] = report_of(result).results
    assert (found.state, found.pre_existing_failures, keys_of(report_of(result))) == ("pre_existing", 1, [3])
    assert [row["x"] for row in world.rows()] == [8, 6, -7]


def test_e11_what_is_unknown_is_no_violation(tmp_path: Path) -> None:
    world = World(tmp_path, "merge-on-read", schema=XY, rows=ROWS)
    staged = world.stage([{"id": 1, "x": None, "s": None}])
    lenient = expect(
        "column_pair_values_a_to_be_greater_than_b",
        column_A="x",
        column_B="y",
        ignore_row_if="either_value_is_missing",
    )
    rules = suite(
        lenient,
        expect("column_values_to_be_between", column="x", min_value=0),
        expect("column_values_to_be_in_set", column="s", value_set=["parent", "child"]),
    )
    assert merging.merge(world.request(staged, expectations=rules)).validation.ok


def test_e12_deleting_the_row_that_violates_is_no_violation(make_world: MakeWorld) -> None:
    world = make_world(schema=XY, rows=with_rows(ROWS, {"id": 3, "x": -7}))
    staged = world.stage(pa.table({"id": pa.array([3], pa.int64()), "_op": ["delete"]}))
    rules = suite(
        expect("column_values_to_be_between", column="x", min_value=0),
        expect("column_min_to_be_between", column="x", min_value=0),
    )
    assert merging.merge(world.request(staged, expectations=rules)).validation.ok
    assert [row["id"] for row in world.rows()] == [1, 2]


def test_the_whole_report_is_stored_beside_the_merge(tmp_path: Path) -> None:
    world = World(tmp_path, "merge-on-read", schema=XY, rows=ROWS)
    staged = world.stage([{"id": 1, "x": 9}])
    soft = expect("column_max_to_be_between", "warning", column="x", max_value=8)
    result = merging.merge(world.request(staged, expectations=suite(soft)))
    stored = json.loads((Path(result.artefacts or "") / "validation.json").read_text())
    assert (stored["ok"], [one["name"] for one in stored["checks"]]) == (
        True,
        ["unique_key", "expectation:0:expect_column_max_to_be_between"],
    )
    [found] = stored["expectations"]["results"]
    assert (found["state"], found["observed"], found["severity"]) == ("new", 9, "warning")


def test_force_merge_overrides_expectations_and_says_so(tmp_path: Path) -> None:
    world = World(tmp_path, "merge-on-read", schema=XY, rows=ROWS)
    staged = world.stage([{"id": 1, "x": -1}])
    rules = suite(expect("column_values_to_be_between", column="x", min_value=0))
    result = merging.merge(world.request(staged, expectations=rules, force_merge=True))
    assert not result.validation.ok
    assert [one.blocking for one in report_of(result).results] == [True]
    assert world.rows()[0]["x"] == -1


def test_a_suite_that_no_longer_fits_the_table_stops_the_merge(tmp_path: Path) -> None:
    world = World(tmp_path, "merge-on-read", schema=XY, rows=ROWS)
    staged = world.stage([{"id": 1, "x": 9}])
    rules = suite(expect("column_values_to_not_be_null", column="gone"))
    with pytest.raises(merging.SuiteRejected) as caught:
        merging.merge(world.request(staged, expectations=rules))
    assert [one.code for one in caught.value.problems] == ["unknown_column"]
    assert world.version == world.base_version


def test_a_column_that_the_change_adds_can_be_judged(tmp_path: Path) -> None:
    world = World(tmp_path, "merge-on-read", schema=XY, rows=ROWS)
    staged = world.stage([{"id": 1, "extra": "no"}])
    report = refused(
        world,
        staged,
        expect("column_values_to_be_in_set", column="extra", value_set=["yes"]),
        expect("table_column_count_to_equal", value=4),
        expect("column_proportion_of_non_null_values_to_be_between", column="extra", min_value=0.5),
    )
    assert [(one.state, one.observed) for one in report.results[1:]] == [
        ("new", 5),
        ("new", 1 / 3),
    ]


def test_rows_alone_are_a_quick_answer_that_says_what_is_left(tmp_path: Path) -> None:
    world = World(tmp_path, "merge-on-read", schema=XY, rows=ROWS)
    staged = world.stage([{"id": 1, "x": -1}])
    rules = suite(
        expect("column_values_to_be_between", column="x", min_value=0),
        UNIQUE_X,
        expect("column_values_to_not_be_null", column="x", mostly=0.5),
        expect("column_values_to_be_dateutil_parseable", column="s"),  # needs Great Expectations itself
    )
    with merging.plan(world.request(staged, expectations=rules)) as plan:
        report = plan.check_expectations(rows_only=True)
    assert report is not None
    assert [one.state for one in report.results] == ["new", "deferred", "deferred", "deferred"]


@pytest.mark.parametrize("where", ["plan", "suite"])
def test_data_files_are_opened_when_something_is_read_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Who judges what changes needs none of a table's files; neither does a table whose rows a cluster counts."""
    opened: list[str] = []
    before = DuckDBEngine.all_rows_sql

    def told(self: DuckDBEngine, snapshot: Snapshot, *rest: Any) -> str:
        opened.append(snapshot.uri)
        return before(self, snapshot, *rest)

    monkeypatch.setattr(DuckDBEngine, "all_rows_sql", told)
    world = World(tmp_path, "merge-on-read", schema=XY, rows=ROWS)
    columns = suite(expect("column_to_exist", column="x"), expect("table_column_count_to_equal", value=4))
    if where == "suite":
        assert merging.check_table(world.uri, columns, ["id"]).ok
        assert not opened
        merging.check_table(world.uri, suite(expect("table_row_count_to_equal", value=1)), ["id"])
        assert opened == [world.uri]
        return
    rules = suite(expect("column_values_to_be_between", column="x", min_value=0), *columns["expectations"])
    with merging.plan(world.request(world.stage([{"id": 1, "x": -1}]), expectations=rules)) as plan:
        report = plan.check_expectations()
    assert report is not None
    assert [one.state for one in report.results] == ["new", "passed", "passed"]
    assert [row.key for row in report.results[0].failing_rows] == [{"id": 1}]
    assert not opened


def test_who_answers_for_one_expectation_answers_for_no_other(tmp_path: Path) -> None:
    world = World(tmp_path, "merge-on-read", schema=XY, rows=ROWS)
    staged = world.stage([{"id": 1, "x": -1}])
    rules = suite(expect("column_values_to_be_between", column="x", min_value=0), X_ABOVE_Y)

    with pytest.raises(ValidationFailed) as caught:
        merging.merge(
            world.request(staged, expectations=ExpectationRules(rules, overridden=frozenset({0}), version=3))
        )
    report = caught.value.report.expectations
    assert report is not None
    assert [(one.blocking, one.overridden) for one in report.results] == [(False, True), (True, False)]
    assert world.rows() == list(ROWS)

    answered = ExpectationRules(rules, overridden=frozenset({0, 1}), version=3)
    result = merging.merge(world.request(staged, expectations=answered))
    assert result.validation.ok
    assert (report_of(result).version, report_of(result).table_version) == (3, world.base_version)
    assert [one.overridden for one in report_of(result).results] == [True, True]
    assert world.rows()[0]["x"] == -1


def test_a_suite_is_proposed_from_a_table_and_holds_for_it(tmp_path: Path) -> None:
    world = World(tmp_path, "merge-on-read", schema=XY, rows=ROWS)
    proposed = merging.propose_expectations(world.uri, ["id"], name="first")
    report = merging.check_table(world.uri, proposed, ["id"])
    assert (report.ok, report.scope, len(report.results)) == (True, "table", len(proposed["expectations"]))
    assert {one.state for one in report.results} == {"passed"}
