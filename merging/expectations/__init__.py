"""Great Expectations suites, checked on the merged result by DuckDB.

``parse_suite`` and ``validate_suite`` read suites strictly, ``explain`` says an expectation in words,
``check_expectations`` judges a merged result, ``propose_suite`` writes a first suite from a table's own data.
"""

from __future__ import annotations

from merging.expectations.catalogue import CATALOGUE, REFUSED
from merging.expectations.checking import check_expectations
from merging.expectations.expectation import Expectation
from merging.expectations.explaining import explain
from merging.expectations.findings import Counts
from merging.expectations.profiling import propose_suite
from merging.expectations.report import ExpectationReport, ExpectationResult, FailingRow
from merging.expectations.suites import (
    Suite,
    SuiteProblem,
    SuiteRejected,
    parse_suite,
    validate_suite,
)
from merging.sql.locking import lock

__all__ = [
    "CATALOGUE",
    "REFUSED",
    "Counts",
    "Expectation",
    "ExpectationReport",
    "ExpectationResult",
    "FailingRow",
    "Suite",
    "SuiteProblem",
    "SuiteRejected",
    "check_expectations",
    "explain",
    "lock",
    "parse_suite",
    "propose_suite",
    "validate_suite",
]
