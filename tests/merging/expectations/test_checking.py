"""What is new, what was there before, what blocks, and which rows are named."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from merging.expectations import (
    check_expectations,
    lock,
    parse_suite,
    propose_suite,
)
from merging.expectations.judged_rows import JudgedRows
from merging.expectations.values import columns_of
from merging.sql.session import Session
from tests.merging.expectations.conftest import Check, labelled
from tests.merging.expectations.support import compare, counted, expect, rows

SCHEMA = pa.schema([("id", pa.int64()), ("n", pa.int64()), ("f", pa.float64()), ("s", pa.string())])
BEFORE = rows(
    SCHEMA,
    {"id": 1, "n": 1, "f": 0.5, "s": "a"},
    {"id": 2, "n": 99, "f": math.nan, "s": "b"},
    {"id": 3, "n": 3, "f": None, "s": None},
    {"id": 4, "n": 98, "f": 1.5, "s": "a"},
)
IN_RANGE = expect("column_values_to_be_between", column="n", min_value=0, max_value=10)


def merged_of(changed: pa.Table, removed: set[int]) -> pa.Table:
    kept = [row for row in BEFORE.to_pylist() if row["id"] not in removed]
    return rows(SCHEMA, *kept, *changed.to_pylist())


def replaced_of(removed: set[int]) -> pa.Table:
    return rows(SCHEMA, *[row for row in BEFORE.to_pylist() if row["id"] in removed])


def test_only_changed_rows_are_judged_and_old_failures_elsewhere_do_not_matter(check: Check) -> None:
    changed = rows(SCHEMA, {"id": 1, "n": 5, "f": 1.0, "s": "a"})
    report = check(
        IN_RANGE, merged=merged_of(changed, {1}), changed=changed, replaced=replaced_of({1}), before=BEFORE
    )
    [found] = report.results
    assert (found.state, found.scope, counted(found).element_count) == ("passed", "changes", 1)
    assert report.ok


def test_a_row_that_failed_before_with_the_same_value_is_reported_apart(check: Check) -> None:
    changed = rows(SCHEMA, {"id": 2, "n": 99, "f": 2.0, "s": "new text"})
    report = check(
        IN_RANGE, merged=merged_of(changed, {2}), changed=changed, replaced=replaced_of({2}), before=BEFORE
    )
    [found] = report.results
    assert (found.state, found.ok, found.blocking) == ("pre_existing", False, False)
    assert (found.new_failures, found.pre_existing_failures, found.failing_rows_total) == (0, 1, 1)
    assert report.ok
    assert report.pre_existing == (found,)


def test_another_bad_value_in_a_row_that_failed_before_is_new(check: Check) -> None:
    changed = rows(SCHEMA, {"id": 2, "n": 77, "f": 2.0, "s": "b"}, {"id": 4, "n": 98, "f": 1.5, "s": "z"})
    report = check(
        IN_RANGE,
        merged=merged_of(changed, {2, 4}),
        changed=changed,
        replaced=replaced_of({2, 4}),
        before=BEFORE,
    )
    [found] = report.results
    assert (found.state, found.blocking) == ("new", True)
    assert (found.new_failures, found.pre_existing_failures) == (1, 1)
    assert [(dict(row.key), dict(row.values), row.new) for row in found.failing_rows] == [
        ({"id": 2}, {"n": 77}, True),
        ({"id": 4}, {"n": 98}, False),
    ]
    assert found.message == "1 row does not satisfy: Each n is between 0 and 10."


def test_failing_rows_tell_what_stood_there_before(check: Check) -> None:
    changed = rows(SCHEMA, {"id": 1, "n": 77, "f": 0.5, "s": "a"}, {"id": 5, "n": 88, "f": 0.5, "s": "a"})
    relations = {
        "merged": merged_of(changed, {1}),
        "changed": changed,
        "replaced": replaced_of({1}),
        "before": BEFORE,
    }
    [found] = check(IN_RANGE, **relations).results
    assert [(row.key["id"], row.values, row.before) for row in found.failing_rows] == [
        (1, {"n": 77}, {"n": 1}),
        (5, {"n": 88}, None),
    ]
    unique = expect("column_values_to_be_unique", column="s", row_condition=None)
    [found] = check(unique, **relations).results
    assert {row.key["id"]: row.before for row in found.failing_rows} == {1: {"s": "a"}, 4: None, 5: None}


def test_an_overridden_expectation_is_reported_and_does_not_block(check: Check) -> None:
    changed = rows(SCHEMA, {"id": 5, "n": 50, "f": None, "s": "a"})
    short = expect("column_value_lengths_to_equal", column="s", value=2)
    report = check(IN_RANGE, short, merged=merged_of(changed, set()), changed=changed, overridden={0})
    assert [(one.state, one.blocking, one.overridden) for one in report.results] == [
        ("new", False, True),
        ("new", True, False),
    ]
    assert not report.ok
    assert [one.number for one in report.overridden] == [0]
    assert report.warnings == ()
    stored = report.as_json()
    assert (stored["overridden"], stored["blocking"]) == (1, 1)
    assert [one["overridden"] for one in stored["results"]] == [True, False]


def test_a_dataset_may_block_what_the_table_already_had(check: Check) -> None:
    changed = rows(SCHEMA, {"id": 1, "n": 5, "f": 1.0, "s": "a"})
    report = check(
        IN_RANGE,
        merged=merged_of(changed, {1}),
        changed=changed,
        replaced=replaced_of({1}),
        before=BEFORE,
        block_pre_existing=True,
    )
    [found] = report.results
    assert (found.state, found.scope, found.blocking) == ("pre_existing", "table", True)
    assert (counted(found).element_count, counted(found).unexpected_count, found.new_failures) == (4, 2, 0)
    assert not report.ok


def test_a_share_is_judged_on_the_whole_table(check: Check) -> None:
    half = expect("column_values_to_be_between", column="n", min_value=0, max_value=10, mostly=0.5)
    changed = rows(SCHEMA, {"id": 5, "n": 50, "f": 1.0, "s": "a"})
    report = check(
        half, merged=merged_of(changed, set()), changed=changed, replaced=replaced_of(set()), before=BEFORE
    )
    [found] = report.results
    assert (found.scope, found.ok, found.state, found.blocking) == ("table", False, "new", True)
    assert (counted(found).element_count, counted(found).unexpected_count) == (5, 3)
    assert found.counts_before is not None
    assert (found.counts_before.element_count, found.counts_before.unexpected_count) == (4, 2)
    assert [dict(row.key) for row in found.failing_rows if row.new] == [{"id": 5}]


def test_warnings_show_and_do_not_block(check: Check) -> None:
    changed = rows(SCHEMA, {"id": 5, "n": 50, "f": 1.0, "s": "a"})
    soft = {**IN_RANGE, "severity": "warning"}
    report = check(soft, merged=merged_of(changed, set()), changed=changed, before=BEFORE)
    assert report.ok
    assert [one.state for one in report.warnings] == ["new"]


def test_a_deleted_row_cannot_fail(check: Check) -> None:
    changed = rows(SCHEMA)
    report = check(
        IN_RANGE,
        merged=merged_of(changed, {2, 4}),
        changed=changed,
        replaced=replaced_of({2, 4}),
        before=BEFORE,
    )
    assert [one.state for one in report.results] == ["passed"]
    assert counted(report.results[0]).element_count == 0


def test_a_duplicate_names_both_rows_and_old_ones_elsewhere_are_left_alone(check: Check) -> None:
    unique = expect("column_values_to_be_unique", column="s")
    changed = rows(SCHEMA, {"id": 5, "n": 1, "f": 1.0, "s": "b"}, {"id": 6, "n": 1, "f": 1.0, "s": None})
    report = check(unique, merged=merged_of(changed, set()), changed=changed, before=BEFORE)
    [found] = report.results
    assert (found.state, counted(found).unexpected_count, found.failing_rows_total) == ("new", 1, 2)
    assert [dict(row.key)["id"] for row in found.failing_rows] == [2, 5]


def test_a_duplicate_that_only_stays_is_not_new(check: Check) -> None:
    unique = expect("column_values_to_be_unique", column="s")
    changed = rows(SCHEMA, {"id": 1, "n": 7, "f": 1.0, "s": "a"})
    report = check(
        unique, merged=merged_of(changed, {1}), changed=changed, replaced=replaced_of({1}), before=BEFORE
    )
    [found] = report.results
    assert (found.state, found.new_failures, found.pre_existing_failures) == ("pre_existing", 0, 2)


def test_missing_values_of_two_columns_together_count_as_equal(check: Check) -> None:
    together = expect("compound_columns_to_be_unique", column_list=["f", "s"])
    changed = rows(
        SCHEMA,
        {"id": 5, "n": 1, "f": math.nan, "s": "b"},
        {"id": 6, "n": 1, "f": None, "s": None},
    )
    report = check(together, merged=merged_of(changed, set()), changed=changed, before=BEFORE)
    [found] = report.results
    assert [dict(row.key)["id"] for row in found.failing_rows] == [2, 5]


@pytest.mark.parametrize(
    ("given", "observed"),
    [
        (expect("table_row_count_to_be_between", max_value=4), 5),
        (expect("column_sum_to_be_between", column="n", max_value=205), 206),
        (expect("column_max_to_be_between", column="f", max_value=2), 9.0),
    ],
)
def test_a_number_of_the_table_that_the_change_breaks_is_new(
    check: Check, given: dict[str, object], observed: object
) -> None:
    changed = rows(SCHEMA, {"id": 5, "n": 5, "f": 9.0, "s": "a"})
    report = check(given, merged=merged_of(changed, set()), changed=changed, before=BEFORE)
    [found] = report.results
    assert (found.state, found.observed, found.blocking) == ("new", observed, True)


def test_a_number_of_the_table_that_was_wrong_before_is_told_with_both(check: Check) -> None:
    changed = rows(SCHEMA, {"id": 5, "n": 5, "f": 9.0, "s": "a"})
    given = expect("table_row_count_to_equal", value=100)
    report = check(given, merged=merged_of(changed, set()), changed=changed, before=BEFORE)
    [found] = report.results
    assert (found.state, found.observed, found.before, found.blocking) == ("pre_existing", 5, 4, False)
    assert found.message == (
        "Not satisfied: The table has 100 rows. It would be 5, before the change 4. It was so before this change."
    )


def test_a_new_value_outside_a_set_that_already_had_others_is_new(check: Check) -> None:
    given = expect("column_distinct_values_to_be_in_set", column="s", value_set=["a"])
    changed = rows(SCHEMA, {"id": 5, "n": 5, "f": 9.0, "s": "zz"})
    [found] = check(given, merged=merged_of(changed, set()), changed=changed, before=BEFORE).results
    assert (found.state, found.observed) == ("new", {"unexpected_count": 2, "unexpected": ["b", "zz"]})
    changed = rows(SCHEMA, {"id": 5, "n": 5, "f": 9.0, "s": "b"})
    [found] = check(given, merged=merged_of(changed, set()), changed=changed, before=BEFORE).results
    assert found.state == "pre_existing"


def test_order_is_that_of_the_key(check: Check) -> None:
    given = expect("column_values_to_be_increasing", column="n", mostly=0.6)
    [found] = check(given, merged=BEFORE).results
    assert (found.state, counted(found).unexpected_count) == ("passed", 1)
    assert [one.error for one in check(given, merged=BEFORE, keys=()).results] == [
        "rows have an order only by a key, and none is known"
    ]


def test_what_cannot_be_checked_blocks_and_spares_the_others(check: Check) -> None:
    schema = pa.schema([("id", pa.int64()), ("d", pa.decimal128(38, 0)), ("e", pa.decimal128(38, 0))])
    big = 10**37 * 9
    table = pa.Table.from_pylist([{"id": 1, "d": big, "e": big}], schema=schema)
    report = check(
        expect("column_values_to_not_be_null", column="d"),
        expect("multicolumn_sum_to_equal", column_list=["d", "e"], sum_total=1),
        merged=table,
    )
    first, second = report.results
    assert (first.state, second.state, second.blocking) == ("passed", "error", True)
    assert second.error
    assert "could not be checked" in second.message


@pytest.mark.parametrize("name", ["9999-12-31", "no_type", ">2m8,)", "(2", "é"])
def test_a_type_that_nobody_knows_is_that_of_no_column(check: Check, name: str) -> None:
    table = pa.table({"id": pa.array([1], pa.int64())})
    report = check(
        expect("column_values_to_be_of_type", column="id", type_=name),
        expect("column_values_to_be_in_type_list", column="id", type_list=[name, "int64"]),
        merged=table,
    )
    assert [(one.ok, one.error) for one in report.results] == [(False, None), (True, None)]


def test_missing_extra_is_an_error_and_never_a_pass(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    from merging.expectations import border

    border._context.cache_clear()
    monkeypatch.setitem(sys.modules, "great_expectations", None)
    given = expect("column_values_to_be_dateutil_parseable", column="s")
    [found] = check(given, merged=BEFORE).results
    border._context.cache_clear()
    assert (found.state, found.blocking, found.checked_by) == ("error", True, "great_expectations")
    assert "not installed" in (found.error or "")


def test_failing_rows_are_capped_and_totals_exact(check: Check) -> None:
    many = pa.table(
        {
            "id": range(5_000),
            "n": [50] * 5_000,
            "f": [1.0] * 5_000,
            "s": ["a"] * 5_000,
        },
        schema=SCHEMA,
    )
    [found] = check(IN_RANGE, merged=many, changed=many, before=rows(SCHEMA), examples=3).results
    assert [dict(row.key)["id"] for row in found.failing_rows] == [0, 1, 2]
    assert (found.failing_rows_total, found.new_failures) == (5_000, 5_000)


def test_a_decimal_bound_means_what_is_written(check: Check) -> None:
    from decimal import Decimal

    schema = pa.schema([("id", pa.int64()), ("price", pa.decimal128(15, 2))])
    table = pa.Table.from_pylist([{"id": 1, "price": Decimal("0.10")}], schema=schema)
    given = [
        expect("column_values_to_be_between", column="price", min_value=0.1, max_value=0.1),
        expect("column_values_to_be_in_set", column="price", value_set=[0.1]),
        expect("column_min_to_be_between", column="price", min_value=0.1),
    ]
    assert [one.ok for one in check(*given, merged=table).results] == [True, True, True]


def test_names_and_values_are_never_sql(check: Check) -> None:
    odd = 'a"b; DROP TABLE merged_rows; --'
    schema = pa.schema([("id", pa.int64()), (odd, pa.string())])
    text = "'; DROP TABLE merged_rows; --"
    table = pa.Table.from_pylist([{"id": 1, odd: text}, {"id": 2, odd: "x"}], schema=schema)
    given = [
        expect("column_values_to_be_in_set", column=odd, value_set=[text, "x"]),
        expect("column_values_to_match_like_pattern", column=odd, like_pattern="%';%", mostly=0.5),
        expect("column_values_to_match_regex", column=odd, regex="';|x"),
        expect("column_values_to_not_be_null", column="id", row_condition=compare(odd, "==", text), mostly=1),
    ]
    report = check(*given, merged=table)
    assert [(one.state, one.error) for one in report.results] == [("passed", None)] * 4
    assert counted(report.results[3]).element_count == 1


def test_like_patterns_follow_sql(check: Check) -> None:
    schema = pa.schema([("id", pa.int64()), ("s", pa.string())])
    texts = ["a%", "ab", "b", None, "A%"]
    table = pa.Table.from_pylist([{"id": n, "s": one} for n, one in enumerate(texts)], schema=schema)
    given = [
        expect("column_values_to_match_like_pattern", column="s", like_pattern="a%", mostly=0),
        expect("column_values_to_match_like_pattern", column="s", like_pattern="a!%", escape="!", mostly=0),
        expect("column_values_to_not_match_like_pattern", column="s", like_pattern="_b", mostly=0),
        expect(
            "column_values_to_match_like_pattern_list", column="s", like_pattern_list=["a%", "_"], mostly=0
        ),
        expect(
            "column_values_to_match_like_pattern_list",
            column="s",
            like_pattern_list=["a%", "__"],
            match_on="all",
            mostly=0,
        ),
        expect(
            "column_values_to_not_match_like_pattern_list",
            column="s",
            like_pattern_list=["a%", "_"],
            mostly=0,
        ),
    ]
    counts = [counted(one) for one in check(*given, merged=table).results]
    assert [(one.missing_count, one.unexpected_count) for one in counts] == [
        (1, 2),
        (1, 3),
        (1, 1),
        (1, 1),
        (1, 2),
        (1, 3),
    ]


def test_great_expectations_is_not_loaded_with_the_engine() -> None:
    found = subprocess.run(
        [sys.executable, "-c", "import merging, sys; print('great_expectations' in sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout == "False\n"


def test_the_report_is_json(check: Check) -> None:
    changed = rows(SCHEMA, {"id": 5, "n": 50, "f": math.nan, "s": "a"})
    report = check(
        IN_RANGE,
        expect("column_mean_to_be_between", column="f", min_value=100),
        merged=merged_of(changed, set()),
        changed=changed,
        before=BEFORE,
    )
    stored = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert (stored["ok"], stored["blocking"], len(stored["results"])) == (False, 1, 2)
    assert stored["results"][0]["failing_rows"] == [
        {"key": {"id": 5}, "values": {"n": 50}, "before": None, "new": True}
    ]
    assert [(one.name, one.ok, one.failures) for one in report.checks()] == [
        ("expectation:0:expect_column_values_to_be_between", False, 1),
        ("expectation:1:expect_column_mean_to_be_between", True, 1),
    ]


def test_a_locked_session_checks_and_can_read_nothing_else(tmp_path: Path) -> None:
    inside, outside = tmp_path / "table", tmp_path / "other"
    inside.mkdir()
    outside.mkdir()
    pq.write_table(labelled(BEFORE), inside / "part.parquet")
    pq.write_table(labelled(BEFORE), outside / "part.parquet")
    opened = Session()
    try:
        lock(opened, [str(inside)])
        source = f"SELECT * FROM read_parquet('{inside}/part.parquet')"
        suite = parse_suite(
            {"expectations": [IN_RANGE, expect("column_values_to_be_unique", column="s")]},
            columns_of(opened.connection, f"({source})"),
        )
        report = check_expectations(opened, suite, merged=source, keys=["id"])
        assert [counted(one).unexpected_count for one in report.results] == [2, 2]
        with pytest.raises(duckdb.Error):
            opened.execute(f"SELECT * FROM read_parquet('{outside}/part.parquet')")
        with pytest.raises(duckdb.Error, match="locked"):
            opened.execute("SET enable_external_access = true")
    finally:
        opened.close()


def test_a_proposed_suite_fits_its_own_table(opened: Session) -> None:
    from datetime import UTC, date, datetime
    from decimal import Decimal

    table = pa.table(
        {
            "id": pa.array(range(200), pa.int64()),
            "carrier": pa.array([["AA", "UA", "DL"][n % 3] for n in range(200)]),
            "tail": pa.array([f"N{n}" for n in range(200)]),
            "delay": pa.array([None if n % 50 == 0 else n - 10.5 for n in range(200)], pa.float64()),
            "fare": pa.array([Decimal(n) / 100 for n in range(200)], pa.decimal128(9, 2)),
            "day": pa.array([date(2013, 1, 1 + n % 28) for n in range(200)]),
            "at": pa.array(
                [datetime(2013, 1, 1, n % 24, tzinfo=UTC) for n in range(200)], pa.timestamp("us", "UTC")
            ),
            "note": pa.array([None] * 200, pa.string()),
            "tags": pa.array([["x"]] * 200, pa.list_(pa.string())),
        }
    )
    opened.connection.register("t", labelled(table))
    proposed = propose_suite(
        opened,
        JudgedRows("SELECT * FROM t"),
        columns_of(opened.connection, "t"),
        keys=["id"],
        name="flights",
    )
    columns = columns_of(opened.connection, "t")
    report = check_expectations(opened, parse_suite(json.dumps(proposed), columns), merged="t", keys=["id"])
    assert [one.type for one in report.results if one.state != "passed"] == []
    found = {(one["type"], one["kwargs"].get("column")): one for one in proposed["expectations"]}
    carriers = found[("expect_column_values_to_be_in_set", "carrier")]
    assert (carriers["kwargs"]["value_set"], carriers["severity"]) == (["AA", "DL", "UA"], "critical")
    assert found[("expect_column_values_to_be_between", "fare")]["kwargs"] == {
        "column": "fare",
        "min_value": 0,
        "max_value": 1.99,
    }
    assert found[("expect_column_values_to_not_be_null", "delay")]["kwargs"]["mostly"] == 0.98
    assert ("expect_column_values_to_be_unique", "id") in found
    assert ("expect_column_value_lengths_to_be_between", "tail") in found
    assert ("expect_column_values_to_not_be_null", "note") not in found


def test_a_suite_can_be_proposed_for_an_empty_table(opened: Session) -> None:
    opened.connection.register("t", labelled(rows(SCHEMA)))
    proposed = propose_suite(opened, JudgedRows("t"), columns_of(opened.connection, "t"), keys=["id", "n"])
    assert [one["type"] for one in proposed["expectations"]] == [
        "expect_table_columns_to_match_set",
        "expect_compound_columns_to_be_unique",
    ]
