"""Suites are read strictly: every problem is named with its place, and nothing that runs code gets in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from merging.expectations import SuiteRejected, explain, parse_suite, validate_suite
from merging.model import Column
from tests.merging.expectations.support import compare, expect, null

COLUMNS = (
    Column("id", "long"),
    Column("price", "decimal(9,2)"),
    Column("name", "string"),
    Column("day", "date"),
    Column("at", "timestamp"),
    Column("local", "timestamp_ntz"),
    Column("ok", "boolean"),
    Column("score", "double"),
    Column("tags", "array<string>"),
)


def problems(*expectations: Any, **suite: Any) -> list[tuple[str, str]]:
    found = validate_suite({"name": "s", "expectations": list(expectations), **suite}, COLUMNS)
    return [(one.place, one.code) for one in found]


def test_a_good_suite_is_read_with_typed_values_and_defaults() -> None:
    suite = parse_suite(
        json.dumps(
            {
                "name": "flights",
                "expectations": [
                    expect("column_values_to_be_between", "warning", column="day", min_value="2013-01-01"),
                    expect("column_values_to_not_be_null", column="id", mostly=0.9),
                ],
                "meta": {"great_expectations_version": "1.24.1"},
            }
        ),
        COLUMNS,
    )
    first, second = suite.expectations
    assert (suite.name, first.severity, first.arguments["min_value"].isoformat()) == (
        "flights",
        "warning",
        "2013-01-01",
    )
    assert (second.severity, second.mostly, second.columns) == ("critical", 0.9, ("id",))


@pytest.mark.parametrize(
    ("given", "place", "code"),
    [
        (expect("column_values_to_be_nul", column="id"), "expectations[0].type", "unknown_expectation"),
        (expect("column_values_to_be_null", column="nam"), "expectations[0].kwargs.column", "unknown_column"),
        (expect("column_values_to_be_null"), "expectations[0].kwargs.column", "missing_kwarg"),
        (
            expect("column_values_to_be_null", column="id", min=3),
            "expectations[0].kwargs.min",
            "unknown_kwarg",
        ),
        (
            expect("column_values_to_be_null", column="id", mostly=1.5),
            "expectations[0].kwargs.mostly",
            "wrong_value",
        ),
        (expect("column_values_to_be_between", column="id"), "expectations[0].kwargs", "missing_kwarg"),
        (
            expect("column_values_to_be_between", column="id", min_value="three"),
            "expectations[0].kwargs.min_value",
            "wrong_value",
        ),
        (
            expect("column_values_to_be_between", column="id", min_value=3, max_value=2),
            "expectations[0].kwargs.min_value",
            "wrong_value",
        ),
        (
            expect("column_values_to_be_between", column="day", min_value="31.1.2013"),
            "expectations[0].kwargs.min_value",
            "wrong_value",
        ),
        (
            expect("column_values_to_be_between", column="local", min_value="2013-01-31T00:00:00Z"),
            "expectations[0].kwargs.min_value",
            "wrong_value",
        ),
        (
            expect("column_values_to_be_between", column="name", min_value=1),
            "expectations[0].kwargs.column",
            "wrong_column_type",
        ),
        (
            expect("column_values_to_be_in_set", column="id", value_set=[1, "b"]),
            "expectations[0].kwargs.value_set",
            "wrong_value",
        ),
        (
            expect("column_values_to_match_regex", column="name", regex="("),
            "expectations[0].kwargs.regex",
            "wrong_value",
        ),
        (
            expect("column_pair_values_to_be_equal", column_A="id", column_B="name"),
            "expectations[0].kwargs",
            "wrong_column_type",
        ),
        (
            expect("compound_columns_to_be_unique", column_list=["id"]),
            "expectations[0].kwargs.column_list",
            "wrong_value",
        ),
        (
            expect("column_values_to_be_unique", column="tags"),
            "expectations[0].kwargs.column",
            "wrong_column_type",
        ),
        (
            expect("column_values_to_match_strftime_format", column="name", strftime_format="%Q"),
            "expectations[0].kwargs.strftime_format",
            "wrong_value",
        ),
        (
            expect("column_quantile_values_to_be_between", column="id", quantile_ranges={"quantiles": [2]}),
            "expectations[0].kwargs.quantile_ranges",
            "wrong_value",
        ),
        (
            expect("table_row_count_to_be_between", min_value={"$PARAMETER": "n"}),
            "expectations[0].kwargs.min_value",
            "unsupported",
        ),
        (
            {**expect("column_values_to_be_null", column="id"), "severity": "fatal"},
            "expectations[0].severity",
            "wrong_value",
        ),
        (
            {"expectation_type": "expect_column_to_exist", "kwargs": {}},
            "expectations[0].expectation_type",
            "unknown_key",
        ),
        (
            expect("column_values_to_be_null", column="id", windows=[]),
            "expectations[0].kwargs.windows",
            "unknown_kwarg",
        ),
        (
            expect(
                "column_values_to_match_json_schema", column="name", json_schema={"$ref": "http://x.test/s"}
            ),
            "expectations[0].kwargs.json_schema",
            "wrong_value",
        ),
        *(
            (one, "expectations[0].kwargs.value", "wrong_value")
            for one in (
                expect("table_row_count_to_equal", value=10**400),
                expect("table_row_count_to_equal", value=-(10**40)),
            )
        ),
        (
            expect("column_mean_to_be_between", column="id", max_value=10**400),
            "expectations[0].kwargs.max_value",
            "wrong_value",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(given: dict[str, Any], place: str, code: str) -> None:
    assert (place, code) in problems(given)


@pytest.mark.parametrize(
    "given",
    [
        expect("column_values_to_be_in_set", column="name", value_set=["\ud800"]),
        expect("column_values_to_match_regex", column="name", regex="\udfff"),
        expect("column_values_to_be_of_type", column="name", type_="\ud800"),
        expect("column_values_to_match_json_schema", column="name", json_schema={"\ud800": 1}),
        expect("column_values_to_be_null", column="id", row_condition=compare("name", "==", "a\ud800")),
    ],
)
def test_half_a_character_is_refused_wherever_it_stands(given: dict[str, Any]) -> None:
    assert problems(given) == [("expectations[0].kwargs", "wrong_value")]


@pytest.mark.parametrize(
    "kind",
    [
        "unexpected_rows_expectation",
        "expect_query_results_to_match_comparison",
        "expect_table_row_count_to_equal_other_table",
        "expect_multicolumn_values_to_be_unique",
    ],
)
def test_what_runs_sql_or_reads_elsewhere_is_refused_by_name(kind: str) -> None:
    [found] = validate_suite({"name": "s", "expectations": [{"type": kind, "kwargs": {}}]}, COLUMNS)
    assert (found.code, found.expectation) == ("unsupported_expectation", kind)
    assert kind in found.message


@pytest.mark.parametrize(
    "condition",
    [
        "@__import__('os').system('touch /tmp/x')",
        'col("id") > 3',
        {"type": "pass_through", "pass_through_filter": "@__import__('os').system('x')"},
        {"type": "and", "conditions": [{"type": "pass_through", "pass_through_filter": "id > 1"}]},
    ],
)
def test_conditions_that_would_run_as_code_are_refused(condition: Any) -> None:
    given = expect(
        "column_values_to_be_null", column="id", row_condition=condition, condition_parser="pandas"
    )
    assert [code for _, code in problems(given)] == ["string_condition"]


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        (compare("nam", "==", "x"), "unknown_column"),
        (compare("id", "==", "x"), "wrong_value"),
        (compare("id", "LIKE", "x"), "wrong_value"),
        (compare("id", "==", None), "wrong_value"),
        (compare("id", "IN", 3), "wrong_value"),
        (compare("ok", "<", True), "wrong_column_type"),
        ({"type": "xor", "conditions": []}, "wrong_value"),
        ({"type": "and", "conditions": [{"type": "or", "conditions": [null("id", True)]}]}, "wrong_value"),
        (3, "wrong_value"),
    ],
)
def test_structured_conditions_are_checked_too(condition: Any, code: str) -> None:
    given = expect("column_values_to_be_null", column="id", row_condition=condition)
    assert [found for _, found in problems(given)] == [code]


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(SuiteRejected) as caught:
        parse_suite(
            {
                "expectations": [
                    expect("column_values_to_be_null", column="nope"),
                    expect("nothing_of_the_kind"),
                    3,
                ],
                "suite_parameters": {"a": 1},
            },
            COLUMNS,
        )
    assert caught.value.code == "suite_rejected"
    assert [one["place"] for one in caught.value.data["problems"]] == [
        "suite_parameters",
        "expectations[0].kwargs.column",
        "expectations[1].type",
        "expectations[2]",
    ]
    assert "Did you mean" not in caught.value.problems[2].message


@pytest.mark.parametrize("text", ["{", '{"expectations": [NaN]}', "[]", '{"expectations": {}}'])
def test_what_is_no_suite_is_refused(text: str) -> None:
    assert validate_suite(text, COLUMNS)


def test_expectations_are_said_in_english() -> None:
    suite = parse_suite(
        {
            "name": "s",
            "expectations": [
                expect(
                    "column_values_to_be_between",
                    column="price",
                    min_value=0,
                    max_value=9.5,
                    strict_max=True,
                    row_condition={"type": "and", "conditions": [compare("id", ">", 3), null("name", False)]},
                ),
                expect("column_values_to_be_in_set", column="name", value_set=["a", "b", "c"], mostly=0.95),
                expect("compound_columns_to_be_unique", column_list=["id", "day"]),
                expect("column_pair_values_a_to_be_greater_than_b", column_A="at", column_B="at"),
            ],
        },
        COLUMNS,
    )
    assert [explain(one) for one in suite.expectations] == [
        "Each price is at least 0 and less than 9.5, looking only at rows where id is greater than 3 and name is "
        "not missing.",
        "In at least 95 % of the rows, each name is a, b or c.",
        "No two rows have the same id and day together.",
        "at is greater than at.",
    ]
