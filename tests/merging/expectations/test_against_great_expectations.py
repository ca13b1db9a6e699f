"""Verdicts and counts equal those of Great Expectations itself on the same rows as a pandas DataFrame.

The oracle is Great Expectations 1.24 on ``pyarrow.Table.to_pandas()``. Where it cannot judge what we can (decimals with
missing values, dates as texts) there is no oracle, and ``test_checking`` asserts what is meant.
"""

from __future__ import annotations

import datetime as dt
import math
import random
import warnings
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merging.expectations import CATALOGUE, ExpectationResult, check_expectations, parse_suite
from merging.expectations.border import _context, _exception_of
from merging.expectations.values import columns_of
from merging.sql.session import Session
from tests.merging.expectations.conftest import labelled
from tests.merging.expectations.support import compare, counted, expect, null

pytestmark = pytest.mark.slow

SCHEMA = pa.schema(
    [
        ("k", pa.int64()),
        ("i", pa.int64()),
        ("j", pa.int32()),
        ("f", pa.float64()),
        ("g", pa.float32()),
        ("m", pa.decimal128(9, 2)),
        ("s", pa.string()),
        ("t", pa.string()),
        ("d", pa.date32()),
        ("ts", pa.timestamp("us", "UTC")),
        ("n", pa.timestamp("us")),
        ("b", pa.bool_()),
    ]
)
TEXTS = ["a1", "bb", "c٣", "x\n", "", "N12AB", "é", "2013-01-05", "{}", "1.5"]
VALUES: dict[str, list[Any]] = {
    "i": list(range(-3, 9)),
    "j": list(range(-3, 9)),
    "f": [0.25, 1.5, -2.0, math.nan, 3.75, 0.0],
    "g": [0.25, 1.5, -2.0, math.nan],
    "m": [Decimal("0.25"), Decimal("1.50"), Decimal("-2.00"), Decimal("3.75")],
    "s": TEXTS,
    "t": TEXTS[:4],
    "d": [dt.date(2020, 1, day) for day in range(1, 6)],
    "ts": [dt.datetime(2020, 1, day, tzinfo=dt.UTC) for day in range(1, 6)],
    "n": [dt.datetime(2020, 1, day) for day in range(1, 6)],  # noqa: DTZ001 - a column without zone
    "b": [True, False],
}


def random_table(count: int, seed: int, missing: float) -> pa.Table:
    chance = random.Random(seed)  # noqa: S311 - no secret
    columns: dict[str, list[Any]] = {"k": list(range(count))}
    for name, values in VALUES.items():
        columns[name] = [None if chance.random() < missing else chance.choice(values) for _ in range(count)]
    return pa.table(columns, schema=SCHEMA)


def _of_numbers(name: str) -> Iterator[dict[str, Any]]:
    between: dict[str, Any] = {"min_value": 0, "max_value": 3.5, "strict_max": True}
    few = [0.25, 1.5, 2, 3]
    yield expect("column_values_to_be_between", column=name, **between)
    yield expect("column_values_to_be_between", column=name, min_value=0.25, mostly=0.6)
    yield expect("column_values_to_be_in_set", column=name, value_set=few)
    yield expect("column_values_to_not_be_in_set", column=name, value_set=few)
    yield expect("column_distinct_values_to_be_in_set", column=name, value_set=[*few, -2])
    yield expect("column_distinct_values_to_contain_set", column=name, value_set=few[:3])
    yield expect("column_distinct_values_to_equal_set", column=name, value_set=[0.25, 1.5, -2, 3.75])
    yield expect("column_most_common_value_to_be_in_set", column=name, value_set=few)
    yield expect("column_most_common_value_to_be_in_set", column=name, value_set=few, ties_okay=True)
    yield expect("column_value_z_scores_to_be_less_than", column=name, threshold=1.2, double_sided=True)
    yield expect(
        "column_value_z_scores_to_be_less_than", column=name, threshold=1.2, double_sided=False, mostly=0.7
    )
    yield expect("column_values_to_be_increasing", column=name)
    yield expect("column_values_to_be_decreasing", column=name, strictly=True, mostly=0.3)
    yield expect("column_values_to_not_be_outliers", column=name)
    for metric in ("min", "max", "mean", "median", "sum", "stdev"):
        yield expect(f"column_{metric}_to_be_between", column=name, min_value=-1, max_value=4)
    ranges = {
        "quantiles": [0, 0.1, 0.25, 0.5, 0.9, 1],
        "value_ranges": [[None, None], [-2, 3], [0, 2], [None, 1.5], [0, None], [0, 4]],
    }
    for how in (False, "linear", "lower", "higher", "midpoint"):
        yield expect(
            "column_quantile_values_to_be_between",
            column=name,
            quantile_ranges=ranges,
            allow_relative_error=how,
        )
    for kind in ("int64", "int32", "float64", "float32", "int", "Decimal", "object"):
        yield expect("column_values_to_be_of_type", column=name, type_=kind)
    yield expect("column_values_to_be_in_type_list", column=name, type_list=["int64", "float32"])


def _of_texts(name: str) -> Iterator[dict[str, Any]]:
    for kind in ("in_set", "not_be_in_set"):
        full = f"column_values_to_{'be_' if kind == 'in_set' else ''}{kind}"
        yield expect(full, column=name, value_set=["a1", "bb"])
    yield expect("column_value_lengths_to_be_between", column=name, min_value=1, max_value=2)
    yield expect("column_value_lengths_to_be_between", column=name, min_value=1, strict_min=True)
    yield expect("column_value_lengths_to_equal", column=name, value=2)
    for pattern in (r"\d", r"[a-z]$", r"^[a-z]\d?$", r"(?i)^n", r"(?<=a)1", r"^\w+$", "", r"^(a|b)"):
        yield expect("column_values_to_match_regex", column=name, regex=pattern)
        yield expect("column_values_to_not_match_regex", column=name, regex=pattern, mostly=0.5)
    two = [r"\d", r"^b"]
    yield expect("column_values_to_match_regex_list", column=name, regex_list=two)
    yield expect("column_values_to_match_regex_list", column=name, regex_list=two, match_on="all")
    yield expect("column_values_to_not_match_regex_list", column=name, regex_list=two)
    yield expect("column_values_to_match_strftime_format", column=name, strftime_format="%Y-%m-%d")
    yield expect("column_values_to_be_json_parseable", column=name)
    yield expect("column_values_to_be_dateutil_parseable", column=name)
    yield expect("column_distinct_values_to_equal_set", column=name, value_set=TEXTS[:4])
    yield expect("column_most_common_value_to_be_in_set", column=name, value_set=["a1"], ties_okay=True)
    yield expect("column_values_to_be_of_type", column=name, type_="str")


def _of_moments() -> Iterator[dict[str, Any]]:
    for name, low, high in (
        ("d", "2020-01-02", "2020-01-04"),
        ("ts", "2020-01-02T00:00:00Z", "2020-01-04T00:00:00Z"),
        ("n", "2020-01-02T00:00:00", "2020-01-04T00:00:00"),
    ):
        yield expect("column_values_to_be_between", column=name, min_value=low, max_value=high)
        yield expect("column_min_to_be_between", column=name, min_value=low)
        yield expect("column_max_to_be_between", column=name, max_value=high, strict_max=True)
    for name in ("d", "n"):
        listed = ["2020-01-02", "2020-01-04"]
        yield expect("column_distinct_values_to_be_in_set", column=name, value_set=listed)
        yield expect("column_distinct_values_to_contain_set", column=name, value_set=listed)
    yield expect("column_values_to_not_be_in_set", column="n", value_set=["2020-01-02"])
    yield expect("column_values_to_be_increasing", column="n")
    yield expect("column_values_to_be_increasing", column="ts", strictly=True)


def _of_several() -> Iterator[dict[str, Any]]:
    for ignore in ("both_values_are_missing", "either_value_is_missing", "neither"):
        pair = {"ignore_row_if": ignore}
        greater = "column_pair_values_a_to_be_greater_than_b"
        yield expect(greater, column_A="i", column_B="j", **pair)
        yield expect(greater, column_A="f", column_B="g", or_equal=True, **pair)
        yield expect("column_pair_values_to_be_equal", column_A="i", column_B="f", **pair)
        yield expect("column_pair_values_to_be_equal", column_A="s", column_B="t", mostly=0.2, **pair)
        yield expect(
            "column_pair_values_to_be_in_set",
            column_A="i",
            column_B="s",
            value_pairs_set=[[1, "a1"], [None, "bb"], [2, None], [None, None]],
            **pair,
        )
    for ignore in ("all_values_are_missing", "any_value_is_missing", "never"):
        several = {"ignore_row_if": ignore}
        yield expect("compound_columns_to_be_unique", column_list=["i", "s"], **several)
        yield expect("compound_columns_to_be_unique", column_list=["f", "b"], **several)
        yield expect("multicolumn_sum_to_equal", column_list=["i", "j"], sum_total=5, **several)
        yield expect("multicolumn_sum_to_equal", column_list=["i", "f"], sum_total=1.5, **several)
        yield expect("multicolumn_values_to_be_equal", column_list=["i", "j", "f"], **several)
        for columns in (["i", "j", "f"], ["s", "t"]):
            yield expect("select_column_values_to_be_unique_within_record", column_list=columns, **several)


def _of_table() -> Iterator[dict[str, Any]]:
    yield expect("table_row_count_to_be_between", min_value=1, max_value=30)
    yield expect("table_row_count_to_equal", value=20)
    yield expect("table_column_count_to_equal", value=12)
    yield expect("table_column_count_to_be_between", min_value=3, max_value=11)
    yield expect("table_columns_to_match_set", column_set=["k", "i"], exact_match=False)
    yield expect("table_columns_to_match_set", column_set=["k", "i"])
    yield expect("table_columns_to_match_ordered_list", column_list=SCHEMA.names)
    yield expect("column_to_exist", column="zz")
    yield expect("column_to_exist", column="i", column_index=1)
    yield expect("column_to_exist", column="i", column_index=2)


def _with_conditions() -> Iterator[dict[str, Any]]:
    for condition in (
        compare("i", ">", 2),
        compare("i", "!=", 2),
        compare("f", "<=", 1.5),
        compare("s", "==", "a1"),
        compare("i", "IN", [1, 2]),
        compare("i", "NOT_IN", [1, 2]),
        null("f", True),
        null("s", False),
        {"type": "and", "conditions": [compare("i", ">", 0), null("s", False)]},
        {"type": "or", "conditions": [compare("i", ">", 4), compare("s", "!=", "bb")]},
    ):
        where: dict[str, Any] = {"row_condition": condition}
        yield expect("column_values_to_be_between", column="j", min_value=0, **where)
        yield expect("column_values_to_be_unique", column="s", **where)
        yield expect("column_mean_to_be_between", column="f", min_value=0, **where)
        yield expect("table_row_count_to_be_between", min_value=2, **where)
        yield expect("column_values_to_not_be_null", column="s", mostly=0.7, **where)
        yield expect("column_distinct_values_to_be_in_set", column="s", value_set=["a1", "bb"], **where)


def expectations() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name in VALUES:
        found += [
            expect("column_values_to_not_be_null", column=name),
            expect("column_values_to_be_null", column=name, mostly=0.5),
            expect("column_values_to_be_unique", column=name),
            expect("column_unique_value_count_to_be_between", column=name, min_value=2, max_value=5),
            expect("column_proportion_of_unique_values_to_be_between", column=name, min_value=0.2),
            expect("column_proportion_of_non_null_values_to_be_between", column=name, min_value=0.8),
        ]
    for name in ("i", "j", "f", "g", "m"):
        found += _of_numbers(name)
    for name in ("s", "t"):
        found += _of_texts(name)
    return [*found, *_of_moments(), *_of_several(), *_of_table(), *_with_conditions()]


def great_expectations_results(table: pa.Table, given: list[dict[str, Any]]) -> list[Any]:
    """Its own results, in the suite's order; None where it raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from great_expectations.core.expectation_suite import ExpectationSuite, expectationSuiteSchema

        marked = [{**one, "meta": {"number": number}} for number, one in enumerate(given)]
        suite = ExpectationSuite(**expectationSuiteSchema.load({"name": "s", "expectations": marked}))
        batch = _context().data_sources.pandas_default.read_dataframe(table.to_pandas())
        outcome = batch.validate(suite, result_format="BASIC")
    found: list[Any] = [None] * len(given)
    assert len(outcome.results) == len(given)
    for one in outcome.results:
        if _exception_of(one.exception_info) is None:
            found[one.expectation_config.meta["number"]] = one
    return found


def our_results(table: pa.Table, given: list[dict[str, Any]]) -> tuple[ExpectationResult, ...]:
    opened = Session(memory_limit="500MB")
    try:
        opened.connection.register("given", labelled(table))
        opened.execute("CREATE TEMP TABLE merged_rows AS SELECT * FROM given")
        suite = parse_suite(
            {"name": "s", "expectations": given}, columns_of(opened.connection, "merged_rows")
        )
        return check_expectations(opened, suite, merged="merged_rows", keys=["k"]).results
    finally:
        opened.close()


def _comparable(value: Any) -> Any:
    """Observed values without the difference of numpy, pandas, order and the last bits."""
    if isinstance(value, dict):
        return {key: _comparable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return sorted((_comparable(item) for item in value), key=str)
    if hasattr(value, "item"):
        value = value.item()
    if value is None or str(value) == "NaT" or value != value:
        return None
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return float(f"{float(value):.6g}") + 0.0
    return str(value).replace("T", " ")[:19]


def assert_equal(ours: ExpectationResult, theirs: Any, given: dict[str, Any]) -> None:
    assert ours.error is None, (given, ours.error)
    assert ours.ok == bool(theirs.success), (given, theirs.result)
    result = theirs.result
    if "element_count" in result:
        counts = ours.counts
        assert counts is not None
        assert (counts.element_count, counts.unexpected_count) == (
            result["element_count"],
            result["unexpected_count"],
        ), given
        if "missing_count" in result:
            assert counts.missing_count == result["missing_count"], given
            assert counts.missing_percent == result["missing_percent"], given
        assert counts.unexpected_percent == result["unexpected_percent"], given
    elif result.get("observed_value") is not None:
        assert _comparable(ours.observed) == _comparable(result["observed_value"]), given
    elif "_distinct_values_" in given["type"]:
        for name in ("unexpected_count", "missing_count"):
            if name in result:
                assert ours.observed[name] == result[name], given


def compare_all(table: pa.Table, given: list[dict[str, Any]]) -> int:
    theirs = great_expectations_results(table, given)
    compared = 0
    for ours, other, one in zip(our_results(table, given), theirs, given, strict=True):
        if other is not None:
            assert_equal(ours, other, one)
            compared += 1
    return compared


def test_all_supported_expectations_are_compared() -> None:
    compared = {one["type"] for one in expectations()}
    without_oracle = {
        # Great Expectations has like patterns for SQL only; test_checking asserts ours.
        "expect_column_values_to_match_like_pattern",
        "expect_column_values_to_not_match_like_pattern",
        "expect_column_values_to_match_like_pattern_list",
        "expect_column_values_to_not_match_like_pattern_list",
        # Judged by Great Expectations itself; asserted below.
        "expect_column_values_to_match_json_schema",
        "expect_column_kl_divergence_to_be_less_than",
    }
    assert compared | without_oracle == set(CATALOGUE)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("count", "seed", "missing", "step"),
    [
        (0, 0, 0.2, 2),
        (1, 1, 0.0, 3),
        (1, 2, 1.0, 3),
        (5, 3, 0.5, 2),
        (20, 4, 0.2, 1),
        (20, 5, 0.0, 2),
        (9, 7, 1.0, 3),
    ],
)
def test_verdicts_and_counts_are_those_of_great_expectations(
    count: int, seed: int, missing: float, step: int, capfd: pytest.CaptureFixture[str]
) -> None:
    # All expectations on one table with and without missing values; every second or third on the others.
    given = expectations()[seed % step :: step]
    assert compare_all(random_table(count, seed, missing), given) > 0.9 * len(given)
    assert "Calculating Metrics" not in capfd.readouterr().err


CELLS = st.fixed_dictionaries(
    {name: st.one_of(st.none(), st.sampled_from(values)) for name, values in VALUES.items()}
)


@settings(max_examples=8)
@given(st.lists(CELLS, max_size=12), st.data())
def test_random_tables_and_expectations(cells: list[dict[str, Any]], data: st.DataObject) -> None:
    table = pa.Table.from_pylist([{"k": n, **row} for n, row in enumerate(cells)], schema=SCHEMA)
    every = expectations()
    chosen = data.draw(st.lists(st.integers(0, len(every) - 1), min_size=25, max_size=25, unique=True))
    compare_all(table, [every[place] for place in chosen])


def test_what_we_do_not_judge_is_judged_by_great_expectations_itself() -> None:
    table = pa.table({"k": [1, 2, 3], "s": ['{"a": 1}', '{"a": "x"}', None], "f": [1.0, 2.0, 2.0]})
    given = [
        expect(
            "column_values_to_match_json_schema",
            column="s",
            json_schema={"type": "object", "properties": {"a": {"type": "integer"}}},
        ),
        expect(
            "column_kl_divergence_to_be_less_than",
            column="s",
            partition_object={"values": ['{"a": 1}', '{"a": "x"}'], "weights": [0.5, 0.5]},
            threshold=0.1,
        ),
    ]
    assert compare_all(table, given) == 2
    first, second = our_results(table, given)
    assert (first.checked_by, counted(first).unexpected_count, dict(first.failing_rows[0].key)) == (
        "python",
        1,
        {"k": 2},
    )
    assert (second.checked_by, second.ok, second.observed) == ("great_expectations", True, 0.0)


def test_changed_rows_alone_are_judged_like_a_frame_of_them() -> None:
    table, changed = random_table(40, 11, 0.2), random_table(12, 12, 0.2)
    given = [one for one in expectations() if CATALOGUE[one["type"]].level == "row"]
    given = [one for one in given if one["kwargs"].get("mostly", 1) == 1]
    opened = Session(memory_limit="500MB")
    try:
        for name, rows in (("all_rows", table), ("changed_rows", changed)):
            opened.connection.register(f"given_{name}", labelled(rows))
            opened.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM given_{name}")
        suite = parse_suite({"name": "s", "expectations": given}, columns_of(opened.connection, "all_rows"))
        report = check_expectations(
            opened, suite, merged="all_rows", changed="changed_rows", before="all_rows", keys=["k"]
        )
    finally:
        opened.close()
    theirs = great_expectations_results(changed, given)
    assert {one.scope for one in report.results} == {"changes"}
    for ours, other, one in zip(report.results, theirs, given, strict=True):
        if other is not None:
            assert_equal(ours, other, one)
