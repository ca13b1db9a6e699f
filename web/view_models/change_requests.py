"""What stands above and beside every page of a change request."""

from dataclasses import dataclass

from django.urls import reverse

from changerequests import policies
from changerequests.facts import Facts
from changerequests.models import ChangeRequest, MergeRun, Review, ReviewRequest, Revision
from changerequests.states import Action, Status
from web.view_models.datasets import Tab
from web.view_models.requests import Tally
from web.view_models.strip import Strip, strip
from web.wording import name_of


@dataclass(frozen=True)
class PageHead:
    """Title, where the request stands, tabs."""

    strip: Strip
    #: Where an open page asks for the strip and the tabs alone.
    standing_url: str
    author: str
    dataset_url: str
    project_url: str
    tabs: tuple[Tab, ...]
    tally: Tally | None
    revision: Revision | None
    run: MergeRun | None


@dataclass(frozen=True)
class Reviewer:
    """One reviewer's newest verdict."""

    name: str
    icon: str
    tone: str
    sentence: str


@dataclass(frozen=True)
class Side:
    """The column beside the conversation."""

    reviewers: tuple[Reviewer, ...]
    asked: tuple[ReviewRequest, ...]
    may_ask: bool
    may_upload: bool
    may_submit: bool
    may_return_to_draft: bool
    may_edit: bool
    may_remove: bool
    may_close: bool
    may_reopen: bool
    is_author: bool
    reverts: ChangeRequest | None


#: The pages of a request: title, address and icon of each.
TABS = {
    "conversation": ("Conversation", "change_request", "comment"),
    "changes": ("Changes", "changes", "table"),
    "conflicts": ("Conflicts", "conflicts", "conflict"),
    "checks": ("Checks", "checks", "shield"),
}


def head(facts: Facts, current: str) -> PageHead:
    """The head of a change request's page."""
    change_request, dataset, revision = facts.change_request, facts.dataset, facts.revision
    check, run = facts.plan_check, facts.run
    is_open = change_request.status in (Status.DRAFT, Status.PENDING)
    conflicts = check.conflicts if check is not None and is_open and not facts.plan_is_outdated else None
    counts = {"changes": revision.rows if revision else None, "conflicts": conflicts}
    return PageHead(
        strip=strip(facts, current),
        standing_url=reverse("standing", args=[change_request.cr_id]) + f"?page={current}",
        author=name_of(change_request.author),
        dataset_url=reverse("dataset", args=[dataset.project.slug, dataset.slug]),
        project_url=reverse("project", args=[dataset.project.slug]),
        tabs=tuple(
            Tab(title, reverse(url, args=[change_request.cr_id]), icon, name == current, counts.get(name))
            for name, (title, url, icon) in TABS.items()
            if name != "conflicts" or is_open
        ),
        tally=Tally(revision.rows_inserted, revision.rows_updated, revision.rows_deleted)
        if revision
        else None,
        revision=revision,
        run=run,
    )


_VERDICTS = {
    Review.Verdict.APPROVE.value: ("check-circle", "good", "approved"),
    Review.Verdict.REQUEST_CHANGES.value: ("x-circle", "bad", "asks for changes"),
}


def _why_lapsed(facts: Facts, review: Review) -> str:
    """Why an approval does not count."""
    if review.chose:
        return "approved, and chose values: somebody else has to approve them"
    if not review.entitled:
        return "approved, but may not review any more"
    if review.by_service and not facts.dataset.service_approvals_count:
        return "approved; a service account’s approval does not count here"
    if review.same_hands:
        return "approved; it takes another person: whoever holds a service account’s key is one with it"
    return "approved earlier content"


def side(facts: Facts) -> Side:
    """The side column as the person sees it."""
    counting = {review.pk for review in facts.approvals}
    reviewers = []
    for review in facts.verdicts:
        icon, tone, sentence = _VERDICTS[review.verdict]
        lapsed = review.verdict == Review.Verdict.APPROVE and review.pk not in counting
        if lapsed and facts.status == Status.PENDING:
            why = _why_lapsed(facts, review)
            icon, tone, sentence = "clock", "warn", why
        reviewers.append(Reviewer(name_of(review.reviewer), icon, tone, sentence))

    def possible(action: Action) -> bool:
        return not policies.blockers(facts, action)

    return Side(
        reviewers=tuple(reviewers),
        asked=tuple(one for one in facts.review_requests if not one.answered),
        may_ask=facts.contributes and facts.status in (Status.DRAFT, Status.PENDING),
        may_upload=possible(Action.STAGE),
        may_submit=possible(Action.SUBMIT),
        may_return_to_draft=possible(Action.RETURN_TO_DRAFT),
        may_edit=possible(Action.EDIT),
        may_remove=possible(Action.REMOVE),
        may_close=possible(Action.CLOSE),
        may_reopen=possible(Action.REOPEN),
        is_author=facts.is_author,
        reverts=facts.change_request.reverts,
    )


def may_review(facts: Facts) -> bool:
    """Whether the person can give a verdict now."""
    return facts.revision is not None and not policies.blockers(facts, Action.REVIEW)


def may_approve(facts: Facts) -> bool:
    """Whether an approval of the person would be accepted: not of one's own changes."""
    return facts.revision is not None and not facts.made_the_content
