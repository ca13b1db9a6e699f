"""Short spellings of expectations and conditions."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from merging.expectations.findings import Counts
from merging.expectations.report import ExpectationResult

Row = dict[str, Any]


def expect(kind: str, severity: str = "critical", **kwargs: Any) -> dict[str, Any]:
    """An expectation in JSON; the type without ``expect_``."""
    return {"type": f"expect_{kind}", "kwargs": kwargs, "severity": severity}


def compare(column: str, operator: str, parameter: Any) -> dict[str, Any]:
    """A comparison for ``row_condition``."""
    return {
        "type": "comparison",
        "column": {"name": column},
        "operator": operator,
        "parameter": parameter,
    }


def null(column: str, is_null: bool) -> dict[str, Any]:
    """A question for missing values for ``row_condition``."""
    return {"type": "nullity", "column": {"name": column}, "is_null": is_null}


def rows(schema: pa.Schema, *values: Row) -> pa.Table:
    """A table of some rows."""
    return pa.Table.from_pylist([dict(one) for one in values], schema=schema)


def counted(result: ExpectationResult) -> Counts:
    """The counts of a result that must have them."""
    assert result.counts is not None
    return result.counts
