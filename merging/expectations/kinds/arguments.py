"""Arguments that expectations of several kinds take, by their names in Great Expectations."""

from __future__ import annotations

from merging.expectations.expectation import Argument

COLUMN = {"column": Argument("column", required=True)}
MOSTLY = {"mostly": Argument("share", default=1, least=0, most=1)}
STRICT = {"strict_min": Argument("flag", default=False), "strict_max": Argument("flag", default=False)}
BOUNDS = {"min_value": Argument("bound"), "max_value": Argument("bound"), **STRICT}
NUMBERS = {"min_value": Argument("number"), "max_value": Argument("number"), **STRICT}
COUNTS = {"min_value": Argument("count", least=0), "max_value": Argument("count", least=0)}
COUNT = {"value": Argument("count", required=True, least=0)}
SET = {"value_set": Argument("values", required=True)}
ANY_OR_ALL = {"match_on": Argument("choice", default="any", choices=("any", "all"))}
SEVERAL = {
    "column_list": Argument("columns", required=True),
    "ignore_row_if": Argument(
        "choice",
        default="all_values_are_missing",
        choices=("all_values_are_missing", "any_value_is_missing", "never"),
    ),
}
