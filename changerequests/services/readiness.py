"""Which requests are ready, await review, conflict …: what ``policies.readiness`` says of one, for lists in SQL.

All but broken expectations is one expression. Those are told by JSON that an owner may have answered for, so the few
requests with a failing check are looked at as gates look at them, in a number of statements that does not grow.
"""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import (
    Case,
    CharField,
    Count,
    Exists,
    F,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Coalesce

from changerequests import selectors
from changerequests.facts import facts_of_many
from changerequests.models import (
    ChangeRequest,
    Comment,
    ConflictResolution,
    MergeRun,
    PlanCheck,
    Review,
    Revision,
)
from changerequests.states import Readiness, RunStatus, Status
from datasets.roles import Role, holds_role


def having_readiness(
    found: QuerySet[ChangeRequest], wanted: Collection[Readiness]
) -> QuerySet[ChangeRequest]:
    """Those of the requests that stand so."""
    submitted = found.filter(status__in=[Status.PENDING, Status.MERGING])
    told = _readiness(_with_broken_expectations(submitted))
    return submitted.annotate(stands=told).filter(stands__in=[one.value for one in wanted])


def _readiness(broken: Collection[int]) -> Case:
    own = {"change_request": OuterRef("pk")}
    runs = MergeRun.objects.filter(**own)
    revision = Revision.objects.filter(**own, is_current=True)
    check = PlanCheck.objects.filter(
        pk=OuterRef("pk"), revision__is_current=True, resolutions_digest=OuterRef("resolutions_digest")
    )
    planned = check.filter(problem="")
    deletes_much = planned.filter(deleted_share__gt=OuterRef("dataset__delete_limit"))
    threads = Comment.objects.filter(**own, parent__isnull=True, resolved_at__isnull=True)
    blocked = (
        Q(pk__in=list(broken))
        | ~Q(dataset__meta__problem="")
        | ~Q(dataset__meta__difference="")
        | ~Exists(revision.filter(rows__gt=0))
        | Exists(check.exclude(problem=""))
        | Exists(deletes_much)
        | (Q(dataset__threads_must_be_resolved=True) & Exists(threads))
    )
    stands = (
        (Q(status=Status.MERGING) | Exists(runs.filter(status=RunStatus.RUNNING)), Readiness.MERGING),
        (Exists(runs.filter(status=RunStatus.QUEUED)), Readiness.QUEUED),
        (Exists(revision) & ~Exists(check), Readiness.CHECKING),
        (Exists(planned.filter(unresolved__gt=0)), Readiness.CONFLICTS),
        (Exists(_objections()), Readiness.CHANGES_REQUESTED),
        (blocked, Readiness.BLOCKED),
        (Q(dataset__required_approvals__gt=approvals_that_count()), Readiness.NEEDS_REVIEW),
    )
    return Case(
        *(When(Q(holds), then=Value(word.value)) for holds, word in stands),
        default=Value(Readiness.READY.value),
        output_field=CharField(),
    )


def _standing(verdict: str) -> QuerySet[Review]:
    """The newest verdicts of reviewers on a request, where they are this one and their reviewers still review."""
    later = Review.objects.filter(
        change_request=OuterRef("change_request"), reviewer=OuterRef("reviewer"), pk__gt=OuterRef("pk")
    ).exclude(verdict=Review.Verdict.COMMENT)
    entitled = holds_role(
        Role.CONTRIBUTOR,
        user="reviewer",
        dataset="change_request__dataset",
        project="change_request__dataset__project",
    )
    given = Review.objects.filter(change_request=OuterRef("pk"), verdict=verdict)
    return given.filter(~Exists(later), entitled)


def _objections() -> QuerySet[Review]:
    return _standing(Review.Verdict.REQUEST_CHANGES)


def approvals_that_count() -> Coalesce:
    """How many approvals count: of the content and choices that stand, by others than those who made them."""
    chosen = ConflictResolution.objects.filter(
        change_request=OuterRef("change_request"), chosen_by=OuterRef("reviewer"), is_current=True
    )
    content = Revision.objects.filter(
        change_request=OuterRef("change_request"), is_current=True, digest=OuterRef("revision_digest")
    ).exclude(created_by=OuterRef("reviewer"))
    counting = (
        _standing(Review.Verdict.APPROVE)
        .filter(Q(change_request__dataset__service_approvals_count=True) | ~selectors.BY_SERVICE)
        .filter(~selectors.BY_SAME_HANDS)
        .filter(~Exists(chosen), Exists(content), resolutions_digest=F("change_request__resolutions_digest"))
        .exclude(reviewer=F("change_request__author"))
    )
    number = counting.order_by().values("change_request").annotate(number=Count("pk")).values("number")
    return Coalesce(Subquery(number, output_field=IntegerField()), 0)


def _with_broken_expectations(submitted: QuerySet[ChangeRequest]) -> list[int]:
    """Those whose content is known to break expectations that no owner answers for."""
    failing = selectors.counting_expectation_checks(submitted.order_by().values("pk")).exclude(failing=[])
    pks = sorted(set(failing.values_list("change_request", flat=True)))
    if not pks:
        return []
    found = facts_of_many(selectors.change_requests_listed(pks))
    return [facts.change_request.pk for facts in found if facts.unanswered_failures]
