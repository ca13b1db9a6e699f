"""What a check of expectations found: frozen values, ready to be stored as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from merging.engines import EngineRead
from merging.errors import MergeError
from merging.expectations.expectation import Severity
from merging.expectations.findings import Counts
from merging.model import Check
from merging.sql.values import json_form

State = Literal["passed", "new", "pre_existing", "error", "deferred"]
"""``new``: the change brings the failure; ``pre_existing``: the table had it before; ``error``: it could not be
checked, which counts as a new failure; ``deferred``: it needs the whole table, and only rows were asked for."""

Scope = Literal["changes", "table"]
"""What the counts are of: the changed rows, or the whole merged table."""


@dataclass(frozen=True)
class FailingRow:
    """A row that fails: its key, what was judged, and whether the change brought it.

    ``before`` are the judged values as the table has them now where the change replaces the row; None where the row
    is new or untouched.
    """

    key: Mapping[str, Any]
    values: Mapping[str, Any]
    new: bool
    before: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ExpectationResult:
    """The verdict on one expectation.

    ``ok`` is Great Expectations' verdict on the rows of ``scope``. ``failing_rows`` are capped;
    ``failing_rows_total`` is exact, as are ``new_failures`` and ``pre_existing_failures``. ``overridden``: it would
    block, and the caller's rules let it pass.
    """

    number: int
    type: str
    kwargs: Mapping[str, Any]
    columns: tuple[str, ...]
    explanation: str
    severity: Severity
    scope: Scope
    state: State
    blocking: bool
    ok: bool
    observed: Any = None
    before: Any = None
    counts: Counts | None = None
    counts_before: Counts | None = None
    failing_rows: tuple[FailingRow, ...] = ()
    failing_rows_total: int = 0
    new_failures: int = 0
    pre_existing_failures: int = 0
    checked_by: Literal["sql", "python", "great_expectations"] = "sql"
    error: str | None = None
    overridden: bool = False

    @property
    def message(self) -> str:
        """The verdict as one sentence that an author can act on."""
        if self.state == "error":
            return f"{self.explanation} This could not be checked: {self.error}"
        if self.state == "deferred":
            return f"{self.explanation} This is checked when the change is merged."
        if self.state == "passed":
            return self.explanation
        ending = " It was so before this change." if self.state == "pre_existing" else ""
        if self.counts is not None:
            rows = self.new_failures or self.counts.unexpected_count
            return (
                f"{rows:,} {'row does' if rows == 1 else 'rows do'} not satisfy: {self.explanation}{ending}"
            )
        was = f", before the change {_shown(self.before)}" if self.before is not None else ""
        return f"Not satisfied: {self.explanation} It would be {_shown(self.observed)}{was}.{ending}"


@dataclass(frozen=True)
class ExpectationReport:
    """All verdicts of a suite, in the suite's order.

    ``version`` is the caller's own name for this state of the suite, ``table_version`` the table's before the merge.
    ``reads`` tells which engine counted rows of the whole table.
    """

    suite: str
    results: tuple[ExpectationResult, ...]
    scope: Scope
    seconds: float = 0.0
    meta: Mapping[str, Any] = field(default_factory=dict)
    version: int | None = None
    table_version: int | None = None
    block_pre_existing: bool = False
    reads: tuple[EngineRead, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing blocks."""
        return not self.blocking

    @property
    def blocking(self) -> tuple[ExpectationResult, ...]:
        """What stops the merge."""
        return tuple(one for one in self.results if one.blocking)

    @property
    def warnings(self) -> tuple[ExpectationResult, ...]:
        """What fails newly and does not stop the merge."""
        return tuple(
            one
            for one in self.results
            if one.state in ("new", "error") and not one.blocking and not one.overridden
        )

    @property
    def overridden(self) -> tuple[ExpectationResult, ...]:
        """What would stop the merge, had the rules not let it pass."""
        return tuple(one for one in self.results if one.overridden)

    @property
    def deferred(self) -> tuple[ExpectationResult, ...]:
        """What was not looked at yet, since only rows were asked for."""
        return tuple(one for one in self.results if one.state == "deferred")

    @property
    def pre_existing(self) -> tuple[ExpectationResult, ...]:
        """What failed before too."""
        return tuple(one for one in self.results if one.state == "pre_existing")

    def checks(self) -> tuple[Check, ...]:
        """The verdicts in the form of the engine's built-in checks; only blocking ones are not ok."""
        return tuple(
            Check(
                name=f"expectation:{one.number}:{one.type}",
                ok=not one.blocking,
                message=one.message,
                failures=one.failing_rows_total or (0 if one.ok else 1),
                examples=tuple(dict(row.key) for row in one.failing_rows[:20]),
                overridable=True,
            )
            for one in self.results
        )

    def summary(self, rows: int = 20) -> list[dict[str, Any]]:
        """What blocks, in JSON's types, with some failing rows each: what an author needs to mend it."""
        return [
            {
                "number": one.number,
                "type": one.type,
                "columns": list(one.columns),
                "message": one.message,
                "observed": json_form(one.observed),
                "before": json_form(one.before),
                "failing_rows": [_row_json(row) for row in one.failing_rows[:rows]],
                "failing_rows_total": one.failing_rows_total,
            }
            for one in self.blocking
        ]

    def as_json(self) -> dict[str, Any]:
        """The report in JSON's types, for ``validation.json`` and the API."""
        return {
            "suite": self.suite,
            "version": self.version,
            "table_version": self.table_version,
            "block_pre_existing": self.block_pre_existing,
            "ok": self.ok,
            "scope": self.scope,
            "seconds": round(self.seconds, 3),
            "blocking": len(self.blocking),
            "warnings": len(self.warnings),
            "overridden": len(self.overridden),
            "pre_existing": len(self.pre_existing),
            "deferred": len(self.deferred),
            "results": [_result_json(one) for one in self.results],
        }


@dataclass(frozen=True)
class ValidationReport:
    """All checks of a merged result; ``expectations`` is the full report where the request carries a suite.

    A result that was rebuilt from the table's log has the built-in checks and the expectations that did not hold.
    """

    checks: tuple[Check, ...] = ()
    expectations: ExpectationReport | None = None

    @property
    def reads(self) -> tuple[EngineRead, ...]:
        """Which engine counted rows of the whole table, and in how much of it."""
        return () if self.expectations is None else self.expectations.reads

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)

    @property
    def can_be_forced(self) -> bool:
        """Whether nothing but expectations failed."""
        return all(check.ok for check in self.checks if not check.overridable)


class ValidationFailed(MergeError):
    """The merged result would break a rule (keys, NOT NULL, expectations). Nothing was written."""

    code: ClassVar[str] = "validation_failed"

    def __init__(self, report: ValidationReport) -> None:
        self.report = report
        failed = [check for check in report.checks if not check.ok]
        first = failed[0].message if failed else "a check failed"
        more = f" {len(failed) - 1} more failed." if len(failed) > 1 else ""
        super().__init__(
            f"The merged result does not pass its checks: {first}{more}",
            data={
                "failed": [check.name for check in failed],
                "expectations": report.expectations.summary() if report.expectations is not None else [],
            },
        )


def _result_json(result: ExpectationResult) -> dict[str, Any]:
    return {
        "number": result.number,
        "type": result.type,
        "kwargs": json_form(result.kwargs),
        "columns": list(result.columns),
        "explanation": result.explanation,
        "message": result.message,
        "severity": result.severity,
        "scope": result.scope,
        "state": result.state,
        "ok": result.ok,
        "blocking": result.blocking,
        "overridden": result.overridden,
        "observed": json_form(result.observed),
        "before": json_form(result.before),
        "counts": _counts_json(result.counts),
        "counts_before": _counts_json(result.counts_before),
        "failing_rows": [_row_json(row) for row in result.failing_rows],
        "failing_rows_total": result.failing_rows_total,
        "new_failures": result.new_failures,
        "pre_existing_failures": result.pre_existing_failures,
        "checked_by": result.checked_by,
        "error": result.error,
    }


def _row_json(row: FailingRow) -> dict[str, Any]:
    return {
        "key": json_form(row.key),
        "values": json_form(row.values),
        "before": json_form(row.before),
        "new": row.new,
    }


def _counts_json(counts: Counts | None) -> dict[str, Any] | None:
    if counts is None:
        return None
    return {
        "element_count": counts.element_count,
        "missing_count": counts.missing_count,
        "missing_percent": counts.missing_percent,
        "unexpected_count": counts.unexpected_count,
        "unexpected_percent": counts.unexpected_percent,
        "unexpected_percent_total": counts.unexpected_percent_total,
    }


def _shown(value: Any) -> str:
    ready = json_form(value)
    if isinstance(ready, list):
        return ", ".join(str(one) for one in ready[:10]) + (" …" if len(ready) > 10 else "")
    return "nothing" if ready is None else f"{ready:,}" if isinstance(ready, int) else str(ready)
