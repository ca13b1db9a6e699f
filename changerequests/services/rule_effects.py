"""What the rules of a dataset mean for its requests under review, in numbers, for owners who change one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.db.models import Count, Max

from changerequests.models import ChangeRequest, Comment, PlanCheck
from changerequests.services.readiness import approvals_that_count
from changerequests.states import Status
from datasets.models import Dataset


@dataclass(frozen=True)
class RuleEffects:
    """How many requests are under review, and how they stand by what rules ask for.

    ``approvals``: how many of them have how many approvals that count. ``with_discussions``: how many have an open one.
    ``with_conflicts``: how many have conflicts that nobody has resolved. ``largest_deletion``: the largest share of the
    table's rows that one of them deletes.
    """

    under_review: int
    approvals: Mapping[int, int]
    with_discussions: int
    with_conflicts: int
    largest_deletion: float


def effects_of_rules(dataset: Dataset) -> RuleEffects:
    """The effect of a dataset's rules on its requests under review, as far as it is known without a new check."""
    pending = ChangeRequest.objects.filter(dataset=dataset, status=Status.PENDING)
    counted = pending.annotate(given=approvals_that_count()).values_list("given", flat=True)
    approvals: dict[int, int] = {}
    for given in counted:
        approvals[given] = approvals.get(given, 0) + 1
    threads = Comment.objects.filter(
        change_request__in=pending, parent__isnull=True, resolved_at__isnull=True
    ).aggregate(requests=Count("change_request", distinct=True))
    checks = PlanCheck.objects.filter(change_request__in=pending, revision__is_current=True)
    return RuleEffects(
        under_review=sum(approvals.values()),
        approvals=approvals,
        with_discussions=threads["requests"],
        with_conflicts=checks.filter(unresolved__gt=0).count(),
        largest_deletion=checks.aggregate(most=Max("deleted_share"))["most"] or 0.0,
    )
