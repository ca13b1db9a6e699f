"""The one module that talks to Great Expectations: for what has no counterpart here, in confined processes alone.

The library takes seconds and some 250 MB to load: once for all confined processes of a worker. Conditions are applied
before, in SQL, so that none reaches it. Its results hide errors in several shapes; here they are errors. Its functions
answer like all those of the cage (``cage``).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    import pandas as pd

_NOT_ARGUMENTS = ("row_condition", "condition_parser", "batch_id", "result_format", "catch_exceptions")


class _Failed(Exception):
    """Great Expectations could not judge."""


def before_confinement() -> None:
    """Load the library, which takes too long for each process anew."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _context()


@cache
def _context() -> Any:
    import great_expectations
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = great_expectations.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    return context


def _validate(
    type_name: str, given: Mapping[str, Any], frame: pd.DataFrame, *, complete: bool = False
) -> dict[str, Any]:
    """Great Expectations' verdict on a frame: ``success`` and ``result``. Raises _Failed."""
    kwargs = {name: value for name, value in given.items() if name not in _NOT_ARGUMENTS}
    with warnings.catch_warnings():
        # Its own deprecations and those of what it calls are nothing that a merge could mend.
        warnings.simplefilter("ignore")
        context = _context()
        from great_expectations.core.expectation_suite import ExpectationSuite, expectationSuiteSchema

        document = {"name": "one", "expectations": [{"type": type_name, "kwargs": kwargs}]}
        try:
            suite = ExpectationSuite(**expectationSuiteSchema.load(document))
            batch = context.data_sources.pandas_default.read_dataframe(frame)
            outcome = batch.validate(suite, result_format="COMPLETE" if complete else "BASIC")
        except Exception as error:
            raise _Failed(f"Great Expectations failed: {error}") from error
    if len(outcome.results) != 1:
        raise _Failed("Great Expectations does not know it")
    [found] = outcome.results
    trouble = _exception_of(found.exception_info)
    if trouble is not None:
        raise _Failed(f"Great Expectations failed: {trouble}")
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


def failing_texts(argument: Mapping[str, Any], _: object) -> dict[str, Any]:
    """The places of those of the distinct ``texts`` that fail the expectation of this ``type``, with its ``kwargs``."""
    import pandas as pd

    texts, kwargs = argument["texts"], argument["kwargs"]
    frame = pd.DataFrame({kwargs["column"]: pd.Series(texts, dtype="str")})
    try:
        found = _validate(argument["type"], kwargs, frame, complete=True)
    except _Failed as error:
        return {"unable": str(error)}
    failing = {str(text) for text in found["result"].get("unexpected_list", ())}
    return {"answer": [place for place, text in enumerate(texts) if text in failing]}


def verdict(argument: Mapping[str, Any], _: object) -> dict[str, Any]:
    """The verdict on the table in the Arrow ``file``: ``ok``, ``observed`` and, where it counts rows, ``counts``."""
    with pa.ipc.open_file(argument["file"]) as opened:
        frame = opened.read_all().to_pandas()
    try:
        found = _validate(argument["type"], argument["kwargs"], frame)
    except _Failed as error:
        return {"unable": str(error)}
    result = found["result"]
    counts = None
    if "element_count" in result:
        counts = [
            None if result.get(name) is None else int(result[name])
            for name in ("element_count", "unexpected_count", "missing_count")
        ]
    return {
        "answer": {"ok": found["success"], "observed": _plain(result.get("observed_value")), "counts": counts}
    }


def _plain(value: Any) -> Any:
    """A value of numpy as one of Python."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.item() if hasattr(value, "item") else value
