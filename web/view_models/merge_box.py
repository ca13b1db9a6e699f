"""The merge box: every gate of a change request, failed first, each with its sentence and a link."""

from dataclasses import dataclass
from typing import Literal

from django.urls import reverse

from changerequests import policies
from changerequests.blockers import Blocker
from changerequests.facts import Facts
from changerequests.models import MergeRun, PlanCheck, Review
from changerequests.states import Action, RunStatus, Status
from web.view_models.requests import LINK_TEXTS, where_mended
from web.wording import counted, listed, name_of

State = Literal["fix", "wait", "confirm", "ok"]

_ICONS = {
    "fix": ("x-circle", "bad"),
    "wait": ("clock", "warn"),
    "confirm": ("alert", "warn"),
    "ok": ("check-circle", "good"),
}
_WORDS = {"fix": "To fix", "wait": "Waiting", "confirm": "To confirm", "ok": "Done"}


@dataclass(frozen=True)
class Gate:
    """One condition of a merge: to fix, to wait for, or done."""

    state: State
    sentence: str
    link: str = ""
    link_text: str = ""

    @property
    def word(self) -> str:
        """The state as a word."""
        return _WORDS[self.state]

    @property
    def icon(self) -> str:
        """The state as an icon."""
        return _ICONS[self.state][0]

    @property
    def tone(self) -> str:
        """The state as a colour."""
        return _ICONS[self.state][1]


@dataclass(frozen=True)
class MergeBox:
    """What stands between a change request and its merge, and what the reader may do about it."""

    state: Literal["ready", "blocked", "waiting", "running", "merged", "closed", "draft"]
    title: str
    failed: tuple[Gate, ...]
    held: tuple[Gate, ...]
    run: MergeRun | None
    last_run: MergeRun | None
    last_run_title: str
    may_merge: bool
    is_owner: bool
    may_submit: bool
    can_override: bool
    may_revert: bool
    waits_for: str
    check: PlanCheck | None


def merge_box(facts: Facts) -> MergeBox:
    """The box as this person sees it."""
    change_request, last_run = facts.change_request, facts.latest_run
    failed = _without_run(policies.merge_gates(facts)) if facts.status in _OPEN else []
    gates = _failed_gates(facts, failed + _unsettled(facts)) + _held_gates(facts, failed)
    standing = [blocker for blocker in failed if blocker.code != "delete_guard"]
    state, title = _state(facts, standing)
    return MergeBox(
        state=state,
        title=title,
        failed=tuple(gate for gate in gates if gate.state != "ok"),
        held=tuple(gate for gate in gates if gate.state == "ok"),
        run=facts.run,
        last_run=last_run if last_run is not None and _is_told(last_run) else None,
        last_run_title="The merge stands, and the table is not what was planned."
        if change_request.status == Status.MERGED
        else "The last merge did not go through.",
        may_merge=policies.may(facts, Action.REQUEST_MERGE),
        is_owner=facts.owns,
        may_submit=not policies.blockers(facts, Action.SUBMIT),
        may_revert=not policies.blockers(facts, Action.REVERT),
        waits_for=name_of(change_request.merge_when_ready_by)
        if change_request.merge_when_ready_by_id
        else "",
        can_override=facts.owns and bool(standing) and all(blocker.overridable for blocker in standing),
        check=facts.plan_check,
    )


_OPEN = (Status.DRAFT, Status.PENDING)
_QUIET_RUNS = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.SUCCEEDED)


def _is_told(run: MergeRun) -> bool:
    return run.status not in _QUIET_RUNS or (bool(run.error_code) and not run.waits_for_store)


def _without_run(found: list[Blocker]) -> list[Blocker]:
    return [blocker for blocker in found if blocker.code != "run_active"]


def _unsettled(facts: Facts) -> list[Blocker]:
    """Why nothing of the request can be changed, where its last merge may still have landed; merging settles it."""
    return [
        blocker for blocker in policies.blockers(facts, Action.RESOLVE) if blocker.code == "outcome_unknown"
    ]


def _state(
    facts: Facts, standing: list[Blocker]
) -> tuple[Literal["ready", "blocked", "waiting", "running", "merged", "closed", "draft"], str]:
    if facts.status == Status.MERGED:
        return "merged", f"Merged as version {facts.change_request.merged_version}"
    if facts.status == Status.CLOSED:
        return "closed", "Closed without a merge"
    if facts.run is not None:
        return "running", (
            "The merge waits for its table" if facts.run.waits_for_store else "The merge is under way"
        )
    if facts.status == Status.DRAFT:
        return "draft", "This is a draft"
    if not standing:
        return "ready", "Ready to merge"
    fixes = sum(blocker.kind == "fix" for blocker in standing)
    if fixes:
        return "blocked", f"Not ready: {counted(fixes, 'thing')} to fix"
    return "waiting", "Not ready: waiting for others"


def _failed_gates(facts: Facts, failed: list[Blocker]) -> list[Gate]:
    """The gates that do not hold: what can be mended, what must be waited for, what the dialog will ask."""
    gates = []
    for blocker in failed:
        state: State = "confirm" if blocker.code == "delete_guard" else blocker.kind
        mended = where_mended(facts, blocker)
        gates.append(Gate(state, blocker.sentence, mended.url, mended.words))
    return sorted(gates, key=lambda gate: ("fix", "wait", "confirm").index(gate.state))


def _held_gates(facts: Facts, failed: list[Blocker]) -> list[Gate]:
    """The gates that hold, in words."""
    codes = {blocker.code for blocker in failed}
    dataset, check = facts.dataset, facts.plan_check
    held: list[Gate] = []
    if facts.status not in _OPEN or "nothing_staged" in codes:
        return held
    if "approvals_missing" not in codes:
        approvers = [name_of(review.reviewer) for review in facts.approvals]
        if approvers:
            held.append(Gate("ok", f"Approved by {listed(approvers)}."))
        elif dataset.required_approvals == 0:
            held.append(Gate("ok", "This dataset asks for no approval."))
    if "changes_requested" not in codes and any(
        review.verdict != Review.Verdict.REQUEST_CHANGES for review in facts.verdicts
    ):
        held.append(Gate("ok", "Nobody asks for changes."))
    if check is not None and facts.plan_is_outdated:
        held.append(
            Gate(
                "wait",
                f"Checked against version {check.table_version} of the table, which is at version "
                f"{dataset.meta.delta_version} now: it is looked at again.",
            )
        )
    elif check is not None and not check.problem:
        held.append(Gate("ok", f"Checked against version {check.table_version} of the table."))
        if "conflicts_unresolved" not in codes:
            sentence = (
                f"{counted(check.conflicts, 'conflict')}, all with a choice."
                if check.conflicts
                else "No conflict with the table as it is now."
            )
            held.append(Gate("ok", sentence))
        if check.rows_deleted and "delete_guard" not in codes:
            held.append(
                Gate("ok", f"Deletes {counted(check.rows_deleted, 'row')}, within the limit of the dataset.")
            )
    if policies.EXPECTATIONS_GATE not in codes:
        held += _held_expectations(facts)
    if dataset.threads_must_be_resolved and "threads_open" not in codes:
        held.append(Gate("ok", "Every discussion is resolved."))
    return held


def _held_expectations(facts: Facts) -> list[Gate]:
    change_request, check = facts.change_request, facts.expectation_check
    if check is None:
        return []
    held = []
    if check.failing:
        people = {name_of(override.given_by) for override in facts.overrides}
        broken = counted(len(check.failing), "broken expectation")
        held.append(
            Gate(
                "confirm",
                f"{listed(sorted(people))} {'answers' if len(people) == 1 else 'answer'} for {broken}.",
                reverse("checks", args=[change_request.cr_id]),
                "See why",
            )
        )
    if check.passed:
        held.append(
            Gate(
                "ok",
                f"{counted(check.passed, 'expectation')} of the data {'holds' if check.passed == 1 else 'hold'}.",
            )
        )
    if check.warnings:
        held.append(
            Gate(
                "confirm",
                f"{counted(check.warnings, 'expectation')} only {'warns' if check.warnings == 1 else 'warn'}.",
                reverse("checks", args=[change_request.cr_id]),
                LINK_TEXTS["checks"],
            )
        )
    if check.deferred:
        held.append(
            Gate(
                "ok",
                f"{counted(check.deferred, 'expectation')} of the whole table "
                f"{'is' if check.deferred == 1 else 'are'} judged in the merge.",
            )
        )
    return held
