"""Why an action is not possible now: blockers, each with a code, *fix* or *wait*, a sentence and a link.

Pages grey the button with them, the API returns them, services raise them: one list for all three.
"""

from collections.abc import Collection, Iterable

from changerequests.blockers import Blocker
from changerequests.errors import Blocked, ExpectationsFailed, InvalidTransition
from changerequests.facts import Facts
from changerequests.models import MergeRun
from changerequests.states import Action, Readiness, RunStatus, Status, sources_of, target_of
from datasets.errors import Forbidden
from datasets.models import Dataset
from datasets.table_work import STORE_SILENT

#: The gates that an owner may override with a reason; conflicts only by forcing the merge.
OVERRIDABLE_GATES = frozenset(
    {"approvals_missing", "changes_requested", "threads_open", "delete_guard", "expectations_failed"}
)
CONFLICT_GATE = "conflicts_unresolved"
EXPECTATIONS_GATE = "expectations_failed"

_VERBS = {
    Action.EDIT: "change the title and description of",
    Action.REMOVE: "remove",
    Action.STAGE: "change the content of",
    Action.REBASE: "rebase",
    Action.SUBMIT: "submit",
    Action.RETURN_TO_DRAFT: "take back to draft",
    Action.REVIEW: "review",
    Action.SPLIT: "leave out a part of",
    Action.RESOLVE: "choose conflicting values of",
    Action.REQUEST_MERGE: "merge",
    Action.CLOSE: "close",
    Action.REOPEN: "reopen",
    Action.REVERT: "revert",
}


def may(facts: Facts, action: Action) -> bool:
    """Whether the asker is one of those who do this, apart from what the request's state allows."""
    if action in (Action.REVIEW, Action.SPLIT):
        return facts.contributes
    if action is Action.REQUEST_MERGE:
        return facts.owns or (facts.contributes and facts.dataset.contributors_may_merge)
    if action is Action.RETURN_TO_DRAFT:
        return facts.contributes and facts.is_author
    if action is Action.REVERT:
        return facts.owns
    return facts.owns or (facts.contributes and facts.is_author)


def blockers(facts: Facts, action: Action, *, dataset_name_typed: str = "") -> list[Blocker]:
    """Everything that stands between the asker and the action, what they can mend first. Asks the database nothing."""
    found: list[Blocker] = []
    if target_of(facts.status, action) is None:
        allowed = " or ".join(sources_of(action))
        found.append(
            Blocker(
                "invalid_transition",
                "wait" if facts.status == Status.MERGING else "fix",
                f"The change request is {facts.status}; only a {allowed} one can be {_PARTICIPLES[action]}.",
                "conversation",
            )
        )
    if not may(facts, action):
        found.append(
            Blocker("forbidden", "wait", f"You may not {_VERBS[action]} this change request.", "dataset")
        )
    if action is Action.SUBMIT:
        found += _nothing_staged(facts)
    if action is Action.REMOVE and facts.revision is not None:
        found.append(Blocker("has_content", "fix", "It has content. Close it instead.", "conversation"))
    if action is Action.REOPEN:
        found += _other_revert_open(facts)
    if action is Action.REBASE and facts.revision is None:
        found.append(Blocker("nothing_staged", "fix", "No changes were uploaded yet.", "upload"))
    if action is Action.SPLIT:
        found += _nothing_staged(facts)
    if action in _HELD_BY_MERGES:
        found += _active_run(facts) + _unsettled(facts)
    if action is Action.REQUEST_MERGE and facts.status == Status.PENDING:
        found += merge_gates(facts, dataset_name_typed=dataset_name_typed)
    return sorted(found, key=lambda blocker: blocker.kind != "fix")


#: What cannot be done while a merge of the request is active, or may have landed.
_HELD_BY_MERGES = (
    Action.STAGE,
    Action.REBASE,
    Action.RETURN_TO_DRAFT,
    Action.CLOSE,
    Action.RESOLVE,
    Action.SPLIT,
)

_PARTICIPLES = {
    Action.EDIT: "edited",
    Action.REMOVE: "removed",
    Action.STAGE: "changed",
    Action.REBASE: "rebased",
    Action.SUBMIT: "submitted",
    Action.RETURN_TO_DRAFT: "taken back to draft",
    Action.REVIEW: "reviewed",
    Action.SPLIT: "parted",
    Action.RESOLVE: "given choices for its conflicts",
    Action.REQUEST_MERGE: "merged",
    Action.CLOSE: "closed",
    Action.REOPEN: "reopened",
    Action.REVERT: "reverted",
}


def merge_gates(facts: Facts, *, dataset_name_typed: str = "") -> list[Blocker]:
    """The gates before a merge that do not hold, whoever asks."""
    dataset, check = facts.dataset, facts.plan_check
    found = _nothing_staged(facts) + _active_run(facts)
    if dataset.meta.problem:
        found.append(Blocker("table_not_writable", "fix", dataset.meta.problem, "dataset"))
    found += _commit_differs(dataset) + _people_gates(facts)
    if check is None:
        if facts.revision is not None:
            found.append(
                Blocker("not_checked", "wait", "The content is being checked against the table.", "checks")
            )
    elif check.problem:
        passes = check.problem_code == STORE_SILENT and not dataset.meta.unreachable_for_good
        found.append(Blocker(check.problem_code, "wait" if passes else "fix", check.problem, "checks"))
    else:
        if check.unresolved:
            noun = "conflict needs" if check.unresolved == 1 else "conflicts need"
            found.append(
                Blocker(
                    CONFLICT_GATE,
                    "fix",
                    f"{check.unresolved:,} {noun} a choice.",
                    "conflicts",
                    overridable=True,
                )
            )
        if dataset_name_typed != dataset.name:
            found += _delete_guard(dataset, check.rows_deleted, check.deleted_share)
        found += _broken_expectations(facts)
    return found


def readiness(facts: Facts) -> Readiness | None:
    """Where a pending or merging request stands, in one word; None for drafts and for what is finished.

    The same as ``services.readiness`` says in SQL.
    """
    if facts.status not in (Status.PENDING, Status.MERGING):
        return None
    if facts.status == Status.MERGING or (facts.run is not None and facts.run.status == RunStatus.RUNNING):
        return Readiness.MERGING
    if facts.run is not None:
        return Readiness.QUEUED
    codes = {blocker.code for blocker in merge_gates(facts)}
    for code, word in _WORDS.items():
        if code in codes:
            return word
    if codes - {"approvals_missing"}:
        return Readiness.BLOCKED
    return Readiness.NEEDS_REVIEW if codes else Readiness.READY


#: What one gate makes of a request, whatever else stands in the way of it.
_WORDS = {
    "not_checked": Readiness.CHECKING,
    CONFLICT_GATE: Readiness.CONFLICTS,
    "changes_requested": Readiness.CHANGES_REQUESTED,
}


def gates_fallen(
    facts: Facts, run: MergeRun, *, rows_deleted: int = 0, deleted_share: float = 0
) -> list[Blocker]:
    """What came in the way of a merge after it was asked for, apart from what the engine judges itself.

    The asker is who asked for the run. ``rows_deleted`` and ``deleted_share`` are what the merge is about to delete,
    once that is known. What was overridden when the merge was asked for stays overridden.
    """
    found: list[Blocker] = []
    if not may(facts, Action.REQUEST_MERGE):
        found.append(Blocker("forbidden", "wait", f"{facts.asker} may not merge it any more.", "dataset"))
    found += _commit_differs(facts.dataset) + _people_gates(facts)
    if not run.large_delete_confirmed:
        found += _delete_guard(facts.dataset, rows_deleted, deleted_share)
    overridden = {blocker["code"] for blocker in run.overridden_blockers}
    return [blocker for blocker in found if blocker.code not in overridden]


def _people_gates(facts: Facts) -> list[Blocker]:
    """Approvals, objections and open discussions."""
    dataset = facts.dataset
    found: list[Blocker] = []
    missing = dataset.required_approvals - len(facts.approvals)
    if missing > 0:
        noun = "approval" if missing == 1 else "approvals"
        found.append(
            Blocker(
                "approvals_missing",
                "wait",
                f"{missing} more {noun} of this content needed, from somebody who did not edit it.",
                "conversation",
                overridable=True,
            )
        )
    found += [
        Blocker(
            "changes_requested",
            "fix",
            f"{review.reviewer.get_full_name() or review.reviewer} asked for changes.",
            "conversation",
            overridable=True,
        )
        for review in facts.objections
    ]
    if dataset.threads_must_be_resolved and (threads := facts.open_threads):
        noun = "discussion is" if threads == 1 else "discussions are"
        found.append(
            Blocker("threads_open", "fix", f"{threads} {noun} still open.", "conversation", overridable=True)
        )
    return found


def _commit_differs(dataset: Dataset) -> list[Blocker]:
    if not dataset.meta.difference:
        return []
    sentence = f"An operator has to look at the table of {dataset.name} first. {dataset.meta.difference}"
    return [Blocker("commit_differs", "wait", sentence, "dataset")]


def _delete_guard(dataset: Dataset, rows: int, share: float) -> list[Blocker]:
    if share <= float(dataset.delete_limit):
        return []
    noun = "row" if rows == 1 else "rows"
    return [
        Blocker(
            "delete_guard",
            "fix",
            f"It deletes {rows:,} {noun}, {share:.1%} of the table and above the limit of "
            f"{dataset.delete_limit:.1%}: type the dataset's name, {dataset.name}, to go on.",
            "merge",
            overridable=True,
        )
    ]


def _broken_expectations(facts: Facts) -> list[Blocker]:
    failing = facts.unanswered_failures
    if not failing:
        return []
    count = (
        "An expectation would be broken."
        if len(failing) == 1
        else f"{len(failing)} expectations would be broken; the first:"
    )
    return [Blocker(EXPECTATIONS_GATE, "fix", f"{count} {failing[0]['message']}", "checks", overridable=True)]


def _nothing_staged(facts: Facts) -> list[Blocker]:
    if facts.revision is None:
        return [Blocker("nothing_staged", "fix", "No changes were uploaded yet.", "upload")]
    if facts.revision.rows == 0:
        return [
            Blocker(
                "nothing_staged",
                "fix",
                "The uploaded rows equal the table: there is nothing to merge.",
                "upload",
            )
        ]
    return []


def _other_revert_open(facts: Facts) -> list[Blocker]:
    other = facts.other_revert
    if other is None:
        return []
    return [Blocker("revert_open", "wait", f"{other.cr_id} is a revert of the same request.", "conversation")]


def _active_run(facts: Facts) -> list[Blocker]:
    if facts.run is None:
        return []
    return [Blocker("run_active", "wait", f"A merge of this request is {facts.run.status}.", "merge")]


def _unsettled(facts: Facts) -> list[Blocker]:
    if facts.change_request.unsettled_version is None or facts.run is not None:
        return []  # an active run is in the way itself, and settles it
    return [
        Blocker(
            "outcome_unknown",
            "wait",
            "The last merge may have been committed: the store of the table did not answer. It is asked again by "
            "itself; until it does, the request stays as it is.",
            "merge",
        )
    ]


def require(
    facts: Facts,
    action: Action,
    *,
    dataset_name_typed: str = "",
    overriding: Collection[str] = (),
) -> list[Blocker]:
    """Raise what stands in the way of the asker; return the gates that they overrode.

    Raises ``Forbidden``, ``InvalidTransition`` or ``Blocked``, in this order; ``ExpectationsFailed`` where nothing but
    expectations stands in the way. Gates whose codes are in ``overriding`` do not raise.
    """
    found = blockers(facts, action, dataset_name_typed=dataset_name_typed)
    raise_first(found, Forbidden, "forbidden")
    raise_first(found, InvalidTransition, "invalid_transition")
    overridden = [blocker for blocker in found if blocker.overridable and blocker.code in overriding]
    standing = [blocker for blocker in found if blocker not in overridden]
    if {blocker.code for blocker in standing} == {EXPECTATIONS_GATE}:
        check = facts.expectation_check
        if check is not None:
            raise ExpectationsFailed(standing[0].sentence, check.suite_version.number, check.report)
    if standing:
        raise Blocked(" ".join(blocker.sentence for blocker in standing), standing)
    return overridden


def raise_first(
    found: Iterable[Blocker], error: type[Forbidden] | type[InvalidTransition], code: str
) -> None:
    """Raise the error with the sentence of the first blocker of this code, if there is one."""
    for blocker in found:
        if blocker.code == code:
            raise error(blocker.sentence)
