"""Rules as their editor shows them, and what a trial of them on the table found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from changerequests.services.expectations import FailingRows
from datasets import suites
from datasets.models import Dataset, SuiteTrial
from web.rule_forms import has_form
from web.view_models.expectations import RowsTable, rows_table
from web.wording import counted


@dataclass(frozen=True)
class ShownRule:
    """A rule of the suite that is being edited; ``has_form``: it can be edited without JSON."""

    said: suites.ReadExpectation
    has_form: bool


@dataclass(frozen=True)
class TriedRule:
    """What a trial says of one rule, with the first rows that break it."""

    sentence: str
    verdict: str
    tone: Literal["good", "bad", "warn"]
    rows: RowsTable | None

    @property
    def icon(self) -> str:
        """The verdict as an icon."""
        return {"good": "check-circle", "bad": "x-circle", "warn": "alert"}[self.tone]


@dataclass(frozen=True)
class ShownTrial:
    """A trial: that it waits, why it found nothing, or what it found, broken rules first."""

    trial: SuiteTrial
    broken: tuple[TriedRule, ...] = ()
    holding: tuple[TriedRule, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to wait for."""
        return self.trial.finished_at is not None

    @property
    def is_one(self) -> bool:
        """Whether a single rule was tried."""
        return self.trial.rule is not None

    @property
    def summary(self) -> str:
        """What was found, in one sentence."""
        version = (self.trial.report or {}).get("table_version")
        if not self.broken:
            return (
                f"The table satisfies {'it' if self.is_one else 'every rule'} as it is, at version {version}."
            )
        if self.is_one:
            return f"The table as it is, at version {version}, does not satisfy it."
        broken = counted(len(self.broken), "rule")
        return f"The table as it is, at version {version}, does not satisfy {broken}."


def shown_rules(dataset: Dataset, document: str, reading: suites.SuiteReading) -> tuple[ShownRule, ...]:
    """The rules of a suite, each with whether a form says all of it."""
    shapes = suites.shapes_for(dataset)
    given = suites.rules_as_given(document)
    return tuple(ShownRule(one, has_form(shapes, given[one.number])) for one in reading.expectations)


def shown_trial(dataset: Dataset, trial: SuiteTrial) -> ShownTrial:
    """A trial as the editor shows it."""
    results = (trial.report or {}).get("results", ())
    tried = [_tried(dataset, one) for one in results]
    return ShownTrial(
        trial,
        tuple(one for one in tried if one.tone != "good"),
        tuple(one for one in tried if one.tone == "good"),
    )


def _tried(dataset: Dataset, result: Mapping[str, Any]) -> TriedRule:
    kept = result["failing_rows"]
    page = FailingRows(tuple(kept), 0, None, len(kept), result["failing_rows_total"])
    table = rows_table(dataset, page, result["columns"], tells_since=False) if kept else None
    if result["error"] is not None:
        verdict = f"This could not be checked: {result['error']}"
        return TriedRule(result["explanation"], verdict, "warn", None)
    tone: Literal["good", "bad"] = "good" if result["ok"] else "bad"
    return TriedRule(result["explanation"], _verdict(result), tone, table)


def _verdict(result: Mapping[str, Any]) -> str:
    counts, ok = result["counts"], result["ok"]
    if counts is None:
        observed = result["observed"]
        found = f" It is {_in_words(observed)}." if observed is not None else ""
        return ("Holds." if ok else "Does not hold.") + found
    failing, rows = counts["unexpected_count"], counted(counts["element_count"], "row")
    if not ok:
        return f"Fails for {failing:,} of {rows}."
    return f"Holds: {failing:,} of {rows} fail, which is few enough." if failing else f"Holds for all {rows}."


def _in_words(observed: Any) -> str:
    if isinstance(observed, list):
        return ", ".join(map(str, observed[:10])) + (" …" if len(observed) > 10 else "")
    return f"{observed:,}" if isinstance(observed, int) else str(observed)
