"""What is known of a change request when somebody asks what may happen to it: loaded once, passed down.

Gates, pages and the API look at ``Facts`` and ask the database nothing more. What is stored is loaded as it is; what
follows from it (which check still holds, whose approval counts) is derived here, without the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Count, Exists, FilteredRelation, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from changerequests import selectors
from changerequests.models import (
    ChangeRequest,
    Comment,
    ExpectationCheck,
    ExpectationOverride,
    MergeRun,
    PlanCheck,
    Review,
    ReviewRequest,
    Revision,
)
from changerequests.states import OPEN_STATUSES, Status
from datasets.errors import NotFound
from datasets.models import Dataset
from datasets.querysets import built_once
from datasets.roles import CONTRIBUTING, Role, roles_of


@dataclass(frozen=True)
class Facts:
    """A change request as it stood when it was looked at, and who asks.

    ``asker`` is None where the system asks; ``role`` is theirs on the dataset. ``reviews`` are all verdicts, oldest
    first, comments apart. ``last_plan_check``, ``suite_checks`` and ``suite_overrides`` may be of earlier content;
    ``plan_check``, ``expectation_check`` and ``overrides`` are what of them holds. ``other_revert`` is the open request
    that reverts the same merge as this closed one.
    """

    change_request: ChangeRequest
    asker: User | None = None
    role: Role | None = None
    revision: Revision | None = None
    reviews: tuple[Review, ...] = ()
    review_requests: tuple[ReviewRequest, ...] = ()
    latest_run: MergeRun | None = None
    last_plan_check: PlanCheck | None = None
    suite_checks: tuple[ExpectationCheck, ...] = ()
    suite_overrides: tuple[ExpectationOverride, ...] = ()
    open_threads: int = 0
    other_revert: ChangeRequest | None = None

    @property
    def dataset(self) -> Dataset:
        """The dataset that the request is for."""
        return self.change_request.dataset

    @property
    def status(self) -> Status:
        """The stored status."""
        return Status(self.change_request.status)

    @property
    def resolutions_digest(self) -> str:
        """The digest of the choices that stand; empty where there are none."""
        return self.change_request.resolutions_digest

    @property
    def contributes(self) -> bool:
        """Whether the asker may propose, comment and review."""
        return self.role in CONTRIBUTING

    @property
    def owns(self) -> bool:
        """Whether the asker manages the dataset."""
        return self.role is Role.OWNER

    @property
    def is_author(self) -> bool:
        """Whether the asker opened the request."""
        return self.asker is not None and self.asker.pk == self.change_request.author_id

    @property
    def made_the_content(self) -> bool:
        """Whether the asker is its author or last editor, who cannot approve it."""
        if self.asker is None:
            return False
        edited = self.revision is not None and self.revision.created_by_id == self.asker.pk
        return edited or self.is_author

    @property
    def approved_what_they_chose(self) -> bool:
        """Whether the asker approved and chose values for conflicts: that approval does not count."""
        asker = self.asker
        return asker is not None and any(
            review.chose and review.verdict == Review.Verdict.APPROVE and review.reviewer_id == asker.pk
            for review in self.verdicts
        )

    @property
    def run(self) -> MergeRun | None:
        """The queued or running merge, if there is one: no run begins while another is active."""
        return self.latest_run if self.latest_run is not None and self.latest_run.is_active else None

    @property
    def plan_check(self) -> PlanCheck | None:
        """The last plan in numbers, if it was made on the content and choices that stand."""
        check, revision = self.last_plan_check, self.revision
        if check is None or revision is None or check.revision_id != revision.pk:
            return None
        return check if check.resolutions_digest == self.resolutions_digest else None

    @property
    def plan_is_outdated(self) -> bool:
        """Whether the table moved since ``plan_check`` was made: its numbers are of an earlier version."""
        check = self.plan_check
        return (
            check is not None
            and self.status in OPEN_STATUSES
            and check.table_version < self.dataset.meta.delta_version
        )

    @property
    def expectation_check(self) -> ExpectationCheck | None:
        """What the suite that holds says of the content and choices as they stand; a full check before a quick one.

        None while nobody has checked, and where the dataset expects nothing.
        """
        revision, planned = self.revision, self.plan_check
        if revision is None:
            return None
        counting = [
            check
            for check in self.suite_checks
            if check.revision_id == revision.pk
            and check.resolutions_digest == self.resolutions_digest
            and check.suite_version.expectation_count
            and check.block_pre_existing == self.dataset.block_pre_existing
            and (not check.is_full or planned is None or planned.table_version == check.table_version)
        ]
        return max(counting, key=lambda check: (check.is_full, check.pk), default=None)

    @property
    def overrides(self) -> tuple[ExpectationOverride, ...]:
        """What owners answer for with the suite, the content and the choices as they stand."""
        revision = self.revision
        return tuple(
            one
            for one in self.suite_overrides
            if revision is not None
            and one.revision_digest == revision.digest
            and one.resolutions_digest == self.resolutions_digest
        )

    @property
    def answered(self) -> frozenset[int]:
        """The numbers of the expectations that an owner answers for."""
        return frozenset(number for override in self.overrides for number in override.numbers)

    @property
    def unanswered_failures(self) -> list[dict[str, Any]]:
        """The expectations known to break (number, sentence, state) that no owner answers for."""
        check, answered = self.expectation_check, self.answered
        return [one for one in check.failing if one["number"] not in answered] if check is not None else []

    @property
    def verdicts(self) -> tuple[Review, ...]:
        """The newest verdict of each reviewer."""
        return tuple({review.reviewer_id: review for review in self.reviews}.values())

    @property
    def approvals(self) -> tuple[Review, ...]:
        """Approvals that count: of this content and these choices, by somebody who may review and is neither its author
        nor its last editor, nor chose values, nor has held a key of a service account that did; by service accounts
        where the dataset lets them count."""
        revision = self.revision
        return tuple(
            review
            for review in self.verdicts
            if revision is not None
            and review.verdict == Review.Verdict.APPROVE
            and review.entitled
            and not review.chose
            and not review.same_hands
            and (self.dataset.service_approvals_count or not review.by_service)
            and review.revision_digest == revision.digest
            and review.resolutions_digest == self.resolutions_digest
            and review.reviewer_id not in (self.change_request.author_id, revision.created_by_id)
        )

    @property
    def owed_reviews(self) -> tuple[ReviewRequest, ...]:
        """Who was asked for a review and has not judged the current content, while it can be judged."""
        if self.status is not Status.PENDING:
            return ()
        return tuple(one for one in self.review_requests if not one.answered)

    @property
    def objections(self) -> tuple[Review, ...]:
        """Requests for changes that nobody has taken back, by people who may review."""
        return tuple(
            review
            for review in self.verdicts
            if review.verdict == Review.Verdict.REQUEST_CHANGES and review.entitled
        )


def facts_of(change_request: ChangeRequest, asker: User | None = None) -> Facts:
    """The facts of one request as the database has them now, for who asks."""
    return facts_of_many([change_request], asker)[0]


def facts_of_many(change_requests: Iterable[ChangeRequest], asker: User | None = None) -> list[Facts]:
    """The facts of each request, in this order, in a number of statements that does not grow with them.

    The requests come with their datasets; how they themselves were loaded makes no difference.
    """
    requests = list(change_requests)
    pks = [one.pk for one in requests]
    expecting = [one.pk for one in requests if one.dataset.suite_number]
    beside = {one.pk: one for one in _beside().filter(pk__in=pks)}
    closed_reverts = [one.reverts_id for one in requests if one.reverts_id and one.status == Status.CLOSED]
    verdicts = selectors.verdicts_on(pks)
    # Reviewers first: who is one, and asks, is known as they are now, not as they were when they were loaded.
    people = dict.fromkeys([*(one.reviewer for one in verdicts), *([asker] if asker is not None else [])])
    roles = roles_of(people, {one.dataset for one in requests})
    dataset_of = {one.pk: one.dataset for one in requests}
    for verdict in verdicts:
        verdict.entitled = roles[verdict.reviewer][dataset_of[verdict.change_request_id]] in CONTRIBUTING
    reviews = _by_request(verdicts)
    review_requests = _by_request(selectors.review_requests_of(pks))
    runs = _by_request(selectors.latest_runs_of(pks))
    suite_checks = _by_request(selectors.counting_expectation_checks(expecting))
    overrides = _by_request(
        selectors.counting_overrides([pk for pk in expecting if getattr(beside.get(pk), "overridden", False)])
    )
    others = {
        one.reverts_id: one
        for one in ChangeRequest.objects.filter(reverts__in=closed_reverts, status__in=OPEN_STATUSES)
    }
    return [
        Facts(
            change_request=one,
            asker=asker,
            role=roles[asker][one.dataset] if asker is not None else None,
            revision=getattr(beside.get(one.pk), "current_revision", None),
            reviews=tuple(reviews.get(one.pk, ())),
            review_requests=tuple(review_requests.get(one.pk, ())),
            latest_run=next(iter(runs.get(one.pk, ())), None),
            last_plan_check=getattr(beside.get(one.pk), "plan_check", None),
            suite_checks=tuple(suite_checks.get(one.pk, ())),
            suite_overrides=tuple(overrides.get(one.pk, ())),
            open_threads=getattr(beside.get(one.pk), "open_threads", 0),
            other_revert=others.get(one.reverts_id) if one.status == Status.CLOSED else None,
        )
        for one in requests
    ]


def judged_facts(change_request: ChangeRequest) -> Facts:
    """The facts of a request that tell by what it was judged: its content, its last plan in numbers and the verdicts.
    Nothing of what people may do with it.
    """
    beside = _beside().get(pk=change_request.pk)
    return Facts(
        change_request=change_request,
        revision=getattr(beside, "current_revision", None),
        reviews=tuple(selectors.verdicts_on([change_request.pk])),
        last_plan_check=getattr(beside, "plan_check", None),
    )


def facts_listed(pks: Sequence[int], asker: User) -> list[Facts]:
    """The facts of the requests of a list, in its order."""
    return facts_of_many(selectors.change_requests_listed(pks), asker)


def _by_request(found: Iterable[Any]) -> dict[int, list[Any]]:
    rows: dict[int, list[Any]] = {}
    for row in found:
        rows.setdefault(row.change_request_id, []).append(row)
    return rows


@built_once
def _beside() -> QuerySet[ChangeRequest]:
    """Requests with their current revision, their last plan in numbers, how many threads are open, and whether somebody
    answers for expectations: one statement.
    """
    threads = Comment.objects.filter(
        change_request=OuterRef("pk"), parent__isnull=True, resolved_at__isnull=True
    )
    counted = threads.order_by().values("change_request").annotate(number=Count("pk")).values("number")
    current = FilteredRelation("revisions", condition=Q(revisions__is_current=True))
    requests = ChangeRequest.objects.annotate(current_revision=current).order_by()
    # The plugin of the type checker does not know the names that a FilteredRelation gives.
    return requests.select_related("plan_check", "current_revision").annotate(  # type: ignore[misc]
        open_threads=Coalesce(Subquery(counted), 0),
        overridden=Exists(ExpectationOverride.objects.filter(change_request=OuterRef("pk")).order_by()),
    )


def visible_facts(asker: User, cr_id: str) -> Facts:
    """The facts of a change request, if the person may see its dataset; else ``NotFound``, as if it were not there."""
    found = selectors.change_request_called(cr_id)
    facts = facts_of(found, asker) if found is not None else None
    if facts is None or facts.role is None:
        raise NotFound(f"There is no change request {cr_id}, or you may not see it.")
    return facts


def expectation_check_to_show(facts: Facts) -> ExpectationCheck | None:
    """The check that pages show: of the merge once it is merged, else what counts now."""
    if facts.status == Status.MERGED:
        return selectors.expectation_check_of_merge(facts.change_request)
    return facts.expectation_check
