"""Expectations as pages show them: a suite in words, and what a check found, worst first."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from django.urls import reverse
from django.utils.safestring import SafeString

from changerequests import selectors
from changerequests.facts import Facts, expectation_check_to_show
from changerequests.models import ChangeRequest, ExpectationCheck, ExpectationOverride
from changerequests.services.expectations import FailingRows, failing_rows
from changerequests.states import Status
from datasets.models import Dataset
from datasets.rows import typed_row
from datasets.suites import active_suite
from web.cells import cell_html, difference_html
from web.view_models.datasets import is_numeric, types_of
from web.wording import counted, listed, name_of

#: Failing rows that stand right below their expectation; the rest has a page.
FIRST_ROWS = 10

Verdict = Literal["failed", "answered", "warning", "pre_existing", "deferred", "passed"]
_LOOKS: Mapping[Verdict, tuple[str, str, str]] = {
    "failed": ("Failed", "x-circle", "bad"),
    "answered": ("Overridden", "alert", "warn"),
    "warning": ("Warning", "alert", "warn"),
    "pre_existing": ("Was so before", "info", "muted"),
    "deferred": ("In the merge", "clock", "muted"),
    "passed": ("Passed", "check-circle", "good"),
}
_ORDER = tuple(_LOOKS)


@dataclass(frozen=True)
class RowCell:
    """A cell of a failing row; where the change replaced a value, both."""

    html: SafeString
    is_key: bool
    is_numeric: bool


@dataclass(frozen=True)
class ShownFailingRow:
    """One failing row: its cells, and whether the change brings the failure."""

    cells: tuple[RowCell, ...]
    is_new: bool


@dataclass(frozen=True)
class RowsTable:
    """Failing rows: the columns that were judged first, since they are what somebody has to mend, then the key."""

    columns: tuple[tuple[str, bool, bool], ...]
    rows: tuple[ShownFailingRow, ...]
    page: FailingRows
    tells_since: bool = True


@dataclass(frozen=True)
class ShownResult:
    """The verdict on one expectation."""

    number: int
    type: str
    severity: str
    verdict: Verdict
    sentence: str
    note: str
    rows: RowsTable | None
    rows_url: str

    @property
    def word(self) -> str:
        """The verdict as a word."""
        return _LOOKS[self.verdict][0]

    @property
    def icon(self) -> str:
        """The verdict as an icon."""
        return _LOOKS[self.verdict][1]

    @property
    def tone(self) -> str:
        """The verdict as a colour."""
        return _LOOKS[self.verdict][2]


@dataclass(frozen=True)
class ShownOverride:
    """Who answers for what, and why."""

    who: str
    override: ExpectationOverride


@dataclass(frozen=True)
class ShownCheck:
    """A check as the checks page tells it: what needs somebody first, what passed last and folded."""

    check: ExpectationCheck
    summary: str
    tone: Literal["bad", "warn", "good"]
    results: tuple[ShownResult, ...]
    passed: tuple[ShownResult, ...]
    overrides: tuple[ShownOverride, ...]
    may_override: bool
    unanswered: int


@dataclass(frozen=True)
class ExpectationSummary:
    """What the merge dialog says: in one sentence, and what is broken in words."""

    sentence: str
    broken: tuple[str, ...]
    answered: tuple[str, ...]
    suite_number: int
    has_check: bool


def shown_check(facts: Facts) -> ShownCheck | None:
    """The check that counts now, or that of the merge; None where there is none."""
    check = expectation_check_to_show(facts)
    if check is None:
        return None
    change_request, merged = facts.change_request, facts.status == Status.MERGED
    overrides = (
        selectors.overrides_in(check.run, {"expectations": check.report})
        if merged and check.run is not None
        else facts.overrides
    )
    answered = {number for override in overrides for number in override.numbers}
    results = sorted(
        (_shown(change_request, check, one, answered) for one in check.report["results"]),
        key=lambda one: (_ORDER.index(one.verdict), one.number),
    )
    summary, tone = _summary(results, check)
    unanswered = 0 if merged else len(facts.unanswered_failures)
    return ShownCheck(
        check=check,
        summary=summary,
        tone=tone,
        results=tuple(one for one in results if one.verdict != "passed"),
        passed=tuple(one for one in results if one.verdict == "passed"),
        overrides=tuple(ShownOverride(name_of(one.given_by), one) for one in overrides),
        may_override=facts.owns and unanswered > 0 and facts.status in (Status.DRAFT, Status.PENDING),
        unanswered=unanswered,
    )


def rows_of_expectation(
    facts: Facts, check: ExpectationCheck, number: int, *, start: int
) -> tuple[ShownResult, RowsTable]:
    """One expectation with a page of its failing rows. Raises ``NotFound``."""
    page = failing_rows(check, number, start=start)
    change_request = facts.change_request
    result = next(one for one in check.report["results"] if one["number"] == number)
    shown = _shown(change_request, check, result, facts.answered)
    return shown, rows_table(change_request.dataset, page, result["columns"])


def _shown(
    change_request: ChangeRequest,
    check: ExpectationCheck,
    result: Mapping[str, Any],
    answered: Collection[int],
) -> ShownResult:
    number = result["number"]
    table, url = None, ""
    if result["failing_rows"]:
        page = failing_rows(check, number, limit=FIRST_ROWS)
        table = rows_table(change_request.dataset, page, result["columns"])
        url = reverse("expectation_rows", args=[change_request.cr_id, number])
    verdict = _verdict(result, answered)
    return ShownResult(
        number=number,
        type=result["type"],
        severity=result["severity"],
        verdict=verdict,
        sentence=result["explanation"] if verdict == "deferred" else result["message"],
        note=_note(result),
        rows=table,
        rows_url=url,
    )


def _verdict(result: Mapping[str, Any], answered: Collection[int]) -> Verdict:
    if result["overridden"] or (result["blocking"] and result["number"] in answered):
        return "answered"
    if result["blocking"]:
        return "failed"
    states: Mapping[str, Verdict] = {"new": "warning", "error": "warning"}
    return states.get(result["state"], result["state"])


def _note(result: Mapping[str, Any]) -> str:
    """What was counted, where rows were."""
    counts = result["counts"]
    if counts is None or result["state"] in ("passed", "deferred", "error"):
        return ""
    where = "changed rows" if result["scope"] == "changes" else "rows of the table as it would be"
    said = f"{counts['unexpected_count']:,} of {counts['element_count']:,} {where} fail."
    if result["scope"] == "table" and result["counts_before"] is not None:
        said += f" Before the change {result['counts_before']['unexpected_count']:,} did."
    if result["pre_existing_failures"] and result["new_failures"]:
        said += (
            f" {result['new_failures']:,} newly, {result['pre_existing_failures']:,} failed before as well."
        )
    return said


def rows_table(
    dataset: Dataset, page: FailingRows, judged: Sequence[str], *, tells_since: bool = True
) -> RowsTable:
    """Failing rows as a table; ``tells_since`` says whether a change or what stood before it made them fail."""
    types = types_of(dataset)
    keys = list(dataset.primary_keys)
    values = [name for name in (page.rows[0]["values"] if page.rows else judged) if name not in keys]
    columns = tuple((name, name in keys, is_numeric(types.get(name, ""))) for name in [*values, *keys])
    rows = []
    for row in page.rows:
        key, after = typed_row(row["key"], types), typed_row(row["values"], types)
        before = None if row["before"] is None else typed_row(row["before"], types)
        cells = []
        for name, is_key, numeric in columns:
            if is_key:
                html = cell_html(key.get(name))
            elif before is not None and before[name] != after[name]:
                html = difference_html(before[name], after[name])
            else:
                html = cell_html(after[name])
            cells.append(RowCell(html, is_key, numeric))
        rows.append(ShownFailingRow(tuple(cells), row["new"]))
    return RowsTable(columns, tuple(rows), page, tells_since)


def _summary(
    results: Sequence[ShownResult], check: ExpectationCheck
) -> tuple[str, Literal["bad", "warn", "good"]]:
    counts = {verdict: sum(one.verdict == verdict for one in results) for verdict in _ORDER}
    words = {
        "failed": "broken",
        "answered": "overridden",
        "warning": "warning" if counts["warning"] == 1 else "warnings",
        "pre_existing": "broken before already",
        "deferred": "left to the merge",
        "passed": "passed",
    }
    said = listed(f"{counts[verdict]:,} {words[verdict]}" for verdict in _ORDER if counts[verdict])
    where = "the whole result" if check.is_full else "the changed rows"
    tone: Literal["bad", "warn", "good"] = (
        "bad" if counts["failed"] else "warn" if counts["warning"] or counts["answered"] else "good"
    )
    return f"Judged on {where}: {said}.", tone


def expectation_summary(facts: Facts) -> ExpectationSummary | None:
    """What is known of the expectations before a merge; None where the dataset expects nothing."""
    suite = active_suite(facts.dataset)
    if suite is None:
        return None
    check = facts.expectation_check
    total = counted(suite.expectation_count, "expectation")
    if check is None:
        return ExpectationSummary(
            f"The {total} of version {suite.number} were not checked yet; the merge checks them before it writes.",
            (),
            (),
            suite.number,
            has_check=False,
        )
    unanswered = facts.unanswered_failures
    open_numbers = {one["number"] for one in unanswered}
    parts = [f"{len(check.failing):,} broken"] if check.failing else []
    parts.append(f"{check.passed:,} passed")
    if check.warnings:
        parts.append(counted(check.warnings, "warning"))
    if check.pre_existing:
        parts.append(f"{check.pre_existing:,} broken before already")
    if check.deferred:
        parts.append(f"{check.deferred:,} left to the merge")
    where = "the whole result" if check.is_full else "the changed rows"
    return ExpectationSummary(
        f"{total[0].upper()}{total[1:]} (version {suite.number}), judged on {where}: {listed(parts)}. "
        "The merge judges all of them on the whole result before it writes.",
        tuple(one["message"] for one in unanswered),
        tuple(one["message"] for one in check.failing if one["number"] not in open_numbers),
        suite.number,
        has_check=True,
    )
