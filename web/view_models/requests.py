"""Change requests as lists show them, and where each stands: its chip, and in short what is in its way."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from django.db.models import prefetch_related_objects
from django.urls import reverse

from changerequests import policies
from changerequests.blockers import Blocker, Place
from changerequests.facts import Facts
from changerequests.models import ChangeRequest, MergeRun
from changerequests.states import Readiness, Status
from datasets.operators import is_operator
from web.wording import counted, name_of, ordinal


@dataclass(frozen=True)
class ReadinessChip:
    """Where a request stands as a word, a colour and an icon."""

    word: str
    colour: str
    icon: str


#: What is not on its way to a merge.
_STATUSES = {
    Status.DRAFT: ReadinessChip("Draft", "draft", "draft"),
    Status.CLOSED: ReadinessChip("Closed", "closed", "closed"),
}
READINESS = {
    Readiness.READY: ReadinessChip("Ready", "good", "check-circle"),
    Readiness.NEEDS_REVIEW: ReadinessChip("Needs review", "pending", "eye"),
    Readiness.CHANGES_REQUESTED: ReadinessChip("Changes requested", "bad", "x-circle"),
    Readiness.CONFLICTS: ReadinessChip("Conflicts", "bad", "conflict"),
    Readiness.BLOCKED: ReadinessChip("Blocked", "bad", "alert"),
    Readiness.CHECKING: ReadinessChip("Checking", "warn", "refresh"),
    Readiness.QUEUED: ReadinessChip("Queued", "warn", "clock"),
    Readiness.MERGING: ReadinessChip("Merging", "warn", "merging"),
}


def readiness_chip(facts: Facts) -> ReadinessChip:
    """The chip of a change request; a merged one names its version, a queued one its place."""
    stands = policies.readiness(facts)
    if stands is Readiness.QUEUED and facts.run is not None and facts.run.ahead:
        return replace(READINESS[stands], word=f"Queued {ordinal(facts.run.ahead + 1)}")
    if stands is not None:
        return READINESS[stands]
    if facts.status is Status.MERGED:
        return ReadinessChip(f"Merged as v{facts.change_request.merged_version}", "merged", "merged")
    return _STATUSES[facts.status]


@dataclass(frozen=True)
class Obstacle:
    """What keeps a request from its merge, in a few words: to fix or to wait for, and where."""

    kind: Literal["fix", "wait"]
    words: str
    url: str


def obstacles(facts: Facts) -> tuple[Obstacle, ...]:
    """What is in the way of a pending request, what somebody can mend first, each in a few words."""
    gates = policies.merge_gates(facts) if facts.status is Status.PENDING else []
    found = [
        Obstacle(gate.kind, _in_short(gate, facts), where_mended(facts, gate).url)
        for gate in gates
        if gate.code != "run_active"
    ]
    return tuple(sorted(found, key=lambda obstacle: obstacle.kind != "fix"))


def _in_short(gate: Blocker, facts: Facts) -> str:
    check = facts.plan_check
    if gate.code == "approvals_missing":
        missing = facts.dataset.required_approvals - len(facts.approvals)
        return f"Needs {counted(missing, 'approval')}"
    if gate.code == policies.CONFLICT_GATE and check is not None:
        return counted(check.unresolved, "conflict")
    if gate.code == "delete_guard" and check is not None:
        return f"Deletes {check.deleted_share:.1%} of the table"
    if gate.code == policies.EXPECTATIONS_GATE:
        return counted(len(facts.unanswered_failures), "broken expectation")
    if gate.code == "threads_open":
        return counted(facts.open_threads, "open discussion")
    return _SHORT.get(gate.code, gate.sentence.rstrip("."))


#: The gates whose words hold no number. ``changes_requested`` names a person, and is short already.
_SHORT = {
    "nothing_staged": "No row changes yet",
    "not_checked": "Being checked",
    "check_given_up": "Could not be checked",
    "table_not_writable": "The table cannot be used",
    "table_elsewhere": "The table cannot be used",
    "commit_differs": "An operator has to look at the table",
}


@dataclass(frozen=True)
class WhereMended:
    """Where somebody mends what is in the way, and what the link there is called."""

    url: str
    words: str


def where_mended(facts: Facts, blocker: Blocker) -> WhereMended:
    """Where a blocker is mended by whoever looks at it; by somebody who cannot, where it is told best."""
    own = [facts.change_request.cr_id]
    if blocker.code == "approvals_missing" and facts.contributes:
        if facts.made_the_content or facts.approved_what_they_chose:
            return WhereMended(reverse("ask_for_review", args=own), "Ask somebody for a review")
        return WhereMended(reverse("change_request", args=own) + "#composer", "Give your verdict")
    if blocker.code == "commit_differs" and facts.asker is not None and is_operator(facts.asker):
        return WhereMended(reverse("operations"), "Open the operations")
    if blocker.link == "dataset":
        dataset = facts.dataset
        return WhereMended(reverse("dataset", args=[dataset.project.slug, dataset.slug]), "Open the dataset")
    if blocker.link == "conversation":
        return WhereMended(reverse("change_request", args=own) + "#timeline-title", "Read the conversation")
    return WhereMended(reverse(blocker.link, args=own), LINK_TEXTS[blocker.link])


#: What links to the pages of a request are called.
LINK_TEXTS: dict[Place, str] = {
    "changes": "See the changes",
    "conflicts": "Choose values",
    "checks": "See the check",
    "merge": "Open the merge",
    "upload": "Upload changes",
}


@dataclass(frozen=True)
class Tally:
    """How many rows are added, changed and removed."""

    added: int
    altered: int
    removed: int

    @property
    def rows(self) -> int:
        """All of them together."""
        return self.added + self.altered + self.removed


@dataclass(frozen=True)
class RequestRow:
    """One change request in a list."""

    cr_id: str
    title: str
    url: str
    dataset: str
    dataset_url: str
    author: str
    chip: ReadinessChip
    change_request: ChangeRequest
    tally: Tally | None
    run: MergeRun | None
    obstacles: tuple[Obstacle, ...]


def request_row(facts: Facts) -> RequestRow:
    """A row of a list."""
    change_request, revision, dataset = facts.change_request, facts.revision, facts.dataset
    return RequestRow(
        cr_id=change_request.cr_id,
        title=change_request.title,
        url=reverse("change_request", args=[change_request.cr_id]),
        dataset=dataset.name,
        dataset_url=reverse("dataset", args=[dataset.project.slug, dataset.slug]),
        author=name_of(change_request.author),
        chip=readiness_chip(facts),
        change_request=change_request,
        tally=Tally(revision.rows_inserted, revision.rows_updated, revision.rows_deleted)
        if revision
        else None,
        run=facts.run,
        obstacles=obstacles(facts),
    )


def request_rows(found: Iterable[Facts]) -> list[RequestRow]:
    """Rows of a list, in its order, in one statement for the names of their authors."""
    listed = list(found)
    prefetch_related_objects([facts.change_request for facts in listed], "author")
    return [request_row(facts) for facts in listed]
