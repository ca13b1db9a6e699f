"""The one module that talks to Great Expectations: for what has no counterpart here, in workers, loaded when needed.

The library takes seconds and some 250 MB to load. Conditions are applied before, in SQL, so that none reaches it. Its
results hide errors in several shapes; here they are errors.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from merging.expectations.expectation import Expectation
from merging.expectations.findings import NotChecked

if TYPE_CHECKING:
    import pandas as pd

_NOT_ARGUMENTS = ("row_condition", "condition_parser", "batch_id", "result_format", "catch_exceptions")


@cache
def _context() -> Any:
    try:
        import great_expectations
    except ImportError as error:
        raise NotChecked(
            "it needs the package great_expectations, which is not installed here (extra: expectations)"
        ) from error
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = great_expectations.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    return context


def validate(expectation: Expectation, frame: pd.DataFrame, *, complete: bool = False) -> dict[str, Any]:
    """Great Expectations' verdict on a frame: ``success`` and ``result``. Raises NotChecked."""
    kwargs = {name: value for name, value in expectation.kwargs.items() if name not in _NOT_ARGUMENTS}
    with warnings.catch_warnings():
        # Its own deprecations and those of what it calls are nothing that a merge could mend.
        warnings.simplefilter("ignore")
        context = _context()
        from great_expectations.core.expectation_suite import ExpectationSuite, expectationSuiteSchema

        document = {"name": "one", "expectations": [{"type": expectation.type, "kwargs": kwargs}]}
        try:
            suite = ExpectationSuite(**expectationSuiteSchema.load(document))
            batch = context.data_sources.pandas_default.read_dataframe(frame)
            outcome = batch.validate(suite, result_format="COMPLETE" if complete else "BASIC")
        except Exception as error:
            raise NotChecked(f"Great Expectations failed: {error}") from error
    if len(outcome.results) != 1:
        raise NotChecked("Great Expectations does not know it")
    [found] = outcome.results
    trouble = _exception_of(found.exception_info)
    if trouble is not None:
        raise NotChecked(f"Great Expectations failed: {trouble}")
    return {"success": bool(found.success), "result": dict(found.result)}


def _exception_of(info: Any) -> str | None:
    """The error in a result, which is told flat or by metric."""
    if not info:
        return None
    if "raised_exception" in info:
        return str(info["exception_message"]) if info["raised_exception"] else None
    for one in info.values():
        if isinstance(one, dict) and one.get("raised_exception"):
            return str(one["exception_message"])
    return None


def failing_texts(expectation: Expectation, texts: Sequence[str]) -> list[str]:
    """Which of some distinct texts fail a row-level expectation."""
    import pandas as pd

    [name] = expectation.columns
    found = validate(expectation, pd.DataFrame({name: pd.Series(list(texts), dtype="str")}), complete=True)
    return [str(text) for text in found["result"].get("unexpected_list", ())]
