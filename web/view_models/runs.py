"""A merge run as its progress panel shows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from django.urls import reverse

from changerequests import selectors
from changerequests.models import MergeRun
from changerequests.states import RunPhase, RunStatus
from web.cells import cell_text
from web.wording import counted, name_of, store_wait

#: So many keys of rows that break a rule stand on the page.
EXAMPLE_ROWS = 5

_STEPS = (
    (RunPhase.QUEUED, "Queued", "Merges of one dataset run one after the other."),
    (RunPhase.CHECKING, "Checking", "The changes are compared with the table as it is now."),
    (RunPhase.VALIDATING, "Validating", "The merged result is checked against the rules of the table."),
    (RunPhase.WRITING, "Writing", "The changed rows are written beside the table; nobody sees them yet."),
    (RunPhase.COMMITTING, "Committing", "One commit makes all of them visible at once."),
    (RunPhase.RECORDING, "Recording", "The audit files are written."),
)


@dataclass(frozen=True)
class Step:
    """One phase of the run."""

    title: str
    note: str
    state: Literal["done", "now", "next", "failed"]


@dataclass(frozen=True)
class RunPanel:
    """Everything the progress panel says."""

    run: MergeRun
    title: str
    steps: tuple[Step, ...]
    is_active: bool
    may_cancel: bool
    outcome: Literal["", "success", "error", "warning"]
    sentence: str
    next_sentence: str
    next_url: str
    next_text: str
    who: str
    seconds: float | None


def run_panel(run: MergeRun, *, may_cancel: bool) -> RunPanel:
    """The panel of a run as it stands in the database now."""
    change_request = run.change_request
    position = selectors.queue_position(run) if run.status == RunStatus.QUEUED else 0
    outcome, sentence, next_sentence, next_url, next_text = _end(run)
    seconds = (run.finished_at - run.queued_at).total_seconds() if run.finished_at else None
    return RunPanel(
        run=run,
        title=_title(run),
        steps=_steps(run, position),
        is_active=run.is_active,
        may_cancel=may_cancel
        and run.is_active
        and run.phase not in (RunPhase.COMMITTING, RunPhase.RECORDING)
        and run.cancel_requested_by_id is None,
        outcome=outcome,
        sentence=sentence,
        next_sentence=next_sentence,
        next_url=next_url or reverse("change_request", args=[change_request.cr_id]),
        next_text=next_text or f"Back to {change_request.cr_id}",
        who=name_of(run.requested_by),
        seconds=seconds,
    )


def _title(run: MergeRun) -> str:
    name, dataset = run.change_request.cr_id, run.change_request.dataset.name
    if run.status == RunStatus.SUCCEEDED:
        return f"{name} is merged into {dataset}"
    if run.status == RunStatus.CANCELLED:
        return f"The merge of {name} was cancelled"
    if not run.is_active:
        return f"{name} was not merged"
    return f"Merging {name} into {dataset}"


def _steps(run: MergeRun, position: int) -> tuple[Step, ...]:
    if run.status == RunStatus.SUCCEEDED:
        return tuple(Step(title, "", "done") for _, title, _ in _STEPS)
    phases = [phase for phase, _, _ in _STEPS]
    at = phases.index(RunPhase(run.phase)) if run.phase in phases else 0
    steps = []
    for number, (phase, title, note) in enumerate(_STEPS):
        if number < at:
            steps.append(Step(title, "", "done"))
        elif number > at:
            steps.append(Step(title, "", "next"))
        elif not run.is_active:
            steps.append(Step(title, "Stopped here.", "failed"))
        elif phase is RunPhase.QUEUED and run.waits_for_store:
            steps.append(Step(title, store_wait(run), "now"))
        elif phase is RunPhase.QUEUED and position:
            behind = "merge is" if position == 1 else "merges are"
            steps.append(Step(title, f"{position} {behind} before it. {note}", "now"))
        else:
            steps.append(Step(title, note, "now"))
    return tuple(steps)


def _end(run: MergeRun) -> tuple[Literal["", "success", "error", "warning"], str, str, str, str]:
    """Outcome, what happened, what to do next, and the link for it."""
    change_request = run.change_request
    dataset = change_request.dataset
    if run.is_active:
        return "", "", "", "", ""
    if run.status == RunStatus.SUCCEEDED:
        table = reverse("dataset_at_version", args=[dataset.project.slug, dataset.slug, run.merged_version])
        rows = counted(run.rows_affected, "row")
        sentence = f"Merged as v{run.merged_version}: {rows} changed in {dataset.name}."
        if run.rows_affected == 0:
            sentence = (
                f"Merged as v{run.merged_version}: {dataset.name} already had every value, so no row changed."
            )
        if run.error_code:
            next_sentence = (
                f"{run.error_message} Nothing more is merged until an operator has looked at the table."
            )
            return "warning", sentence, next_sentence, table, "See the table"
        return "success", sentence, "", table, "See the table"
    if run.status == RunStatus.CONFLICTED:
        next_sentence = "Choose a value for each conflict, then merge again."
        return (
            "error",
            run.error_message,
            next_sentence,
            reverse("conflicts", args=[change_request.cr_id]),
            ("Choose values"),
        )
    if run.status == RunStatus.INVALID:
        next_sentence = (
            "The table is as it was. The checks name the rows: correct them and upload them again."
        )
        return (
            "error",
            run.error_message,
            next_sentence,
            reverse("checks", args=[change_request.cr_id]),
            ("See the checks"),
        )
    if run.status == RunStatus.CANCELLED:
        return (
            "warning",
            run.error_message,
            "The table is as it was. You can ask for the merge again.",
            "",
            "",
        )
    next_sentence = "The table is as it was. You can ask for the merge again; nothing is merged twice."
    return "error", run.error_message, next_sentence, "", ""


@dataclass(frozen=True)
class RuleChecked:
    """One of the table's own rules as a run found it, and which rows break it, in words."""

    name: str
    ok: bool
    message: str
    rows: str


def checks_of(run: MergeRun | None) -> list[RuleChecked]:
    """The table's own rules as the run found them; its expectations stand in a report of their own."""
    if run is None:
        return []
    found = (run.result or {}).get("validation") or run.error_data.get("checks", [])
    return [
        RuleChecked(check["name"], check["ok"], check["message"], _rows_of(check))
        for check in found
        if not check["name"].startswith("expectation:")
    ]


def _rows_of(check: Mapping[str, Any]) -> str:
    """The keys that a check gives as examples, and how many more there are."""
    keys = [
        ", ".join(f"{name} = {cell_text(value)}" for name, value in key.items())
        for key in check.get("examples", [])[:EXAMPLE_ROWS]
    ]
    more = check.get("failures", 0) - len(keys)
    if not keys:
        return ""
    return f"{'Rows' if len(keys) > 1 else 'Row'} {'; '.join(keys)}" + (
        f"; and {more:,} more" if more > 0 else ""
    )
