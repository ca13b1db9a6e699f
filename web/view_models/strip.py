"""The strip that stays on top of a change request's pages: how it stands, what is in its way, the one next step."""

from dataclasses import dataclass
from typing import Literal

from django.urls import reverse

from changerequests import policies
from changerequests.facts import Facts
from changerequests.models import Review
from changerequests.states import OPEN_STATUSES, Action, Status
from web.view_models.requests import Obstacle, ReadinessChip, obstacles, readiness_chip
from web.wording import name_of


@dataclass(frozen=True)
class NextStep:
    """What the reader does next: a page to go to, the merge dialog, or a form that is sent as it is."""

    kind: Literal["page", "merge", "form"]
    words: str
    url: str
    icon: str


@dataclass(frozen=True)
class Strip:
    """How the request stands, what to fix and what to wait for, the next step of who looks at it."""

    chip: ReadinessChip
    obstacles: tuple[Obstacle, ...]
    sentence: str
    step: NextStep | None
    #: Whether it stands so only for a while, without anybody doing anything.
    passes: bool


def strip(facts: Facts, page: str) -> Strip:
    """The strip as the person sees it on one of the request's pages; asks the database nothing."""
    found = obstacles(facts) if facts.run is None else ()
    return Strip(
        chip=readiness_chip(facts),
        obstacles=found,
        sentence=_sentence(facts),
        step=_next_step(facts, page),
        passes=facts.run is not None or facts.status is Status.MERGING or _is_being_checked(facts),
    )


def _is_being_checked(facts: Facts) -> bool:
    """Whether a worker is about to plan the content, of drafts too."""
    unchecked = facts.plan_check is None and facts.revision is not None and facts.status in OPEN_STATUSES
    return unchecked or facts.plan_is_outdated


def _sentence(facts: Facts) -> str:
    change_request, run = facts.change_request, facts.run
    if facts.status is Status.MERGED:
        return f"{name_of(change_request.merged_by)} merged it." if change_request.merged_by else ""
    if facts.status is Status.CLOSED:
        return change_request.close_reason
    if run is not None:
        return "Waits for the store of the table." if run.waits_for_store else f"{run.phase.capitalize()} …"
    if facts.status is Status.DRAFT:
        return "Nobody is asked for a review yet." if facts.revision else "Nothing was uploaded yet."
    if change_request.merge_when_ready_by_id:
        return f"It merges by itself then: {name_of(change_request.merge_when_ready_by)} asked for it."
    return ""


def _next_step(facts: Facts, page: str) -> NextStep | None:
    """One button: what brings the request on and is in this person's hands."""
    change_request = facts.change_request
    own = [change_request.cr_id]

    def possible(action: Action) -> bool:
        return not policies.blockers(facts, action)

    if facts.status is Status.MERGED:
        dataset = facts.dataset
        table = [dataset.project.slug, dataset.slug, change_request.merged_version]
        return NextStep("page", "See the table", reverse("dataset_at_version", args=table), "table")
    if facts.status is Status.CLOSED:
        if not possible(Action.REOPEN):
            return None
        return NextStep("form", "Reopen", reverse("reopen", args=own), "undo")
    if facts.run is not None:
        return NextStep("page", "Watch the merge", reverse("merge_run", args=[facts.run.pk]), "merging")
    if facts.status is Status.DRAFT:
        if possible(Action.SUBMIT):
            return NextStep("form", "Ask for review", reverse("submit", args=own), "eye")
        return _upload(facts, page) if possible(Action.STAGE) else None
    return _step_of_pending(facts, page)


def _step_of_pending(facts: Facts, page: str) -> NextStep | None:
    own = [facts.change_request.cr_id]
    codes = {gate.code for gate in policies.merge_gates(facts)} - {"delete_guard"}
    if policies.CONFLICT_GATE in codes and not policies.blockers(facts, Action.RESOLVE):
        if page == "conflicts":
            return None
        return NextStep("page", "Choose values", reverse("conflicts", args=own), "conflict")
    if codes & _MENDED_BY_UPLOAD and facts.made_the_content and not policies.blockers(facts, Action.STAGE):
        return _upload(facts, page)
    if _owes_a_verdict(facts) and "approvals_missing" in codes:
        where = reverse("change_request", args=own) + "#composer"
        return NextStep(
            "page", "Review", reverse("changes", args=own) if page == "conversation" else where, "eye"
        )
    if not codes and policies.may(facts, Action.REQUEST_MERGE):
        return NextStep("merge", "Merge…", reverse("merge", args=own), "merged")
    return None


#: The gates that new content of its author passes.
_MENDED_BY_UPLOAD = frozenset({"nothing_staged", "changes_requested", policies.EXPECTATIONS_GATE})


def _upload(facts: Facts, page: str) -> NextStep | None:
    if page == "upload":
        return None
    words = "Replace the content" if facts.revision else "Upload changes"
    return NextStep("page", words, reverse("upload", args=[facts.change_request.cr_id]), "upload")


def _owes_a_verdict(facts: Facts) -> bool:
    """Whether the person could approve, and has not judged the content as it is now."""
    if facts.made_the_content or policies.blockers(facts, Action.REVIEW):
        return False
    judged = [one for one in facts.verdicts if facts.asker is not None and one.reviewer_id == facts.asker.pk]
    return not any(_counts_now(one, facts) for one in judged)


def _counts_now(review: Review, facts: Facts) -> bool:
    same = facts.revision is not None and review.revision_digest == facts.revision.digest
    return review.verdict == Review.Verdict.REQUEST_CHANGES or (
        same and review.resolutions_digest == facts.resolutions_digest
    )
