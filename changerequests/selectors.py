"""Questions about change requests; each name says the question. Nothing here writes."""

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db.models import (
    BooleanField,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    OuterRef,
    Prefetch,
    Q,
    QuerySet,
)
from django.utils import timezone

from audit.selectors import events_of
from changerequests.models import (
    ChangeRequest,
    Comment,
    ConflictResolution,
    ExpectationCheck,
    ExpectationOverride,
    MergeRun,
    PlanCheck,
    Review,
    Revision,
)
from changerequests.states import ACTIVE_RUN_STATUSES, OPEN_STATUSES, RunStatus, Status
from datasets.errors import NotFound
from datasets.models import Dataset
from datasets.roles import Role, datasets_with_role, holds_role, role_on


def visible_change_requests(user: User) -> QuerySet[ChangeRequest]:
    """Every change request to a dataset that the person may see, with what lists show of each."""
    return (
        ChangeRequest.objects.filter(dataset__in=datasets_with_role(user).values("pk"))
        .select_related("dataset__project", "dataset__meta", "author", "plan_check__revision")
        .prefetch_related(
            Prefetch(
                "revisions", queryset=Revision.objects.filter(is_current=True), to_attr="current_revisions"
            ),
            Prefetch("reviews", queryset=_reviews(), to_attr="reviews_given"),
            Prefetch(
                "runs",
                queryset=MergeRun.objects.filter(status__in=ACTIVE_RUN_STATUSES),
                to_attr="active_runs",
            ),
            Prefetch(
                "resolutions",
                queryset=ConflictResolution.objects.filter(is_current=True),
                to_attr="choices_made",
            ),
            Prefetch("expectation_checks", queryset=_counting_expectation_checks(), to_attr="suite_checks"),
            Prefetch(
                "expectation_overrides",
                queryset=ExpectationOverride.objects.select_related("given_by").filter(
                    _of_suite_that_holds()
                ),
                to_attr="suite_overrides",
            ),
        )
        .annotate(open_thread_count=_open_threads())
    )


def _of_suite_that_holds() -> Q:
    return Q(suite_version__number=F("change_request__dataset__suite_number"))


def _reviews() -> QuerySet[Review]:
    """Reviews with ``entitled``: whether the reviewer is still one of those who review."""
    entitled = holds_role(
        Role.CONTRIBUTOR,
        user="reviewer",
        dataset="change_request__dataset",
        project="change_request__dataset__project",
    )
    facts = {"entitled": ExpressionWrapper(entitled, BooleanField())}  # the model declares it
    return Review.objects.select_related("reviewer").annotate(**facts)


def _counting_expectation_checks() -> QuerySet[ExpectationCheck]:
    """Checks that can count, without their reports, which may be large."""
    return (
        ExpectationCheck.objects.filter(_of_suite_that_holds(), revision__is_current=True, counts=True)
        .defer("report")
        .select_related("suite_version")
    )


def _open_threads() -> Any:
    return Count("comments", filter=Q(comments__parent__isnull=True, comments__resolved_at__isnull=True))


def visible_change_request(user: User, cr_id: str) -> ChangeRequest:
    """The change request, if the person may see its dataset; else ``NotFound``, as if it were not there."""
    pk = ChangeRequest.pk_of(cr_id)
    found = (
        ChangeRequest.objects.select_related("dataset__project", "dataset__meta", "author", "plan_check")
        .filter(pk=pk or 0)
        .first()
    )
    if found is None or role_on(user, found.dataset) is None:
        raise NotFound(f"There is no change request {cr_id}, or you may not see it.")
    return found


def change_requests_awaiting_review(user: User) -> QuerySet[ChangeRequest]:
    """Pending requests of others, on datasets where the person may review, without a verdict of theirs on the
    current revision."""
    judged = Review.objects.filter(
        change_request=OuterRef("pk"),
        reviewer=user,
        change_request__revisions__is_current=True,
        change_request__revisions__digest=F("revision_digest"),
    ).exclude(verdict=Review.Verdict.COMMENT)
    return (
        visible_change_requests(user)
        .filter(
            status=Status.PENDING,
            dataset__in=datasets_with_role(user, Role.CONTRIBUTOR).values("pk"),
        )
        .exclude(author=user)
        .exclude(Exists(judged))
    )


def change_requests_of(user: User) -> QuerySet[ChangeRequest]:
    """What the person authored and is not finished."""
    return (
        visible_change_requests(user).filter(author=user).exclude(status__in=[Status.MERGED, Status.CLOSED])
    )


def change_requests_lately_merged(user: User) -> QuerySet[ChangeRequest]:
    """Merged requests, newest first."""
    return visible_change_requests(user).filter(status=Status.MERGED).order_by("-merged_at")


def change_requests_to(dataset: Dataset, user: User) -> QuerySet[ChangeRequest]:
    """Every change request to one dataset."""
    return visible_change_requests(user).filter(dataset=dataset)


def current_revision(change_request: ChangeRequest) -> Revision | None:
    """The content that would be merged now; None before the first upload."""
    loaded = getattr(change_request, "current_revisions", None)
    if loaded is not None:
        return loaded[0] if loaded else None
    return change_request.revisions.select_related("created_by").filter(is_current=True).first()


def current_resolutions(change_request: ChangeRequest) -> list[ConflictResolution]:
    """The choices that stand, in a fixed order."""
    loaded = getattr(change_request, "choices_made", None)
    if loaded is not None:
        return list(loaded)
    return list(change_request.resolutions.filter(is_current=True).select_related("chosen_by"))


def current_plan_check(change_request: ChangeRequest) -> PlanCheck | None:
    """The last plan in numbers, if it was made on the content and choices that stand now."""
    check = getattr(change_request, "plan_check", None)
    revision = current_revision(change_request)
    if check is None or revision is None or check.revision_id != revision.pk:
        return None
    return check if check.resolutions_digest == change_request.resolutions_digest else None


def current_expectation_check(change_request: ChangeRequest) -> ExpectationCheck | None:
    """What the suite that holds says of the content and choices as they stand; a full check before a quick one.

    None while nobody has checked, and where the dataset expects nothing.
    """
    revision, plan_check = current_revision(change_request), current_plan_check(change_request)
    if revision is None:
        return None
    loaded = getattr(change_request, "suite_checks", None)
    if loaded is None:
        loaded = list(_counting_expectation_checks().filter(change_request=change_request))
    digest = change_request.resolutions_digest
    counting = [
        check
        for check in loaded
        if check.revision_id == revision.pk
        and check.resolutions_digest == digest
        and check.suite_version.expectation_count
        and check.block_pre_existing == change_request.dataset.block_pre_existing
        and (not check.is_full or plan_check is None or plan_check.table_version == check.table_version)
    ]
    return max(counting, key=lambda check: (check.is_full, check.pk), default=None)


def standing_overrides(change_request: ChangeRequest) -> list[ExpectationOverride]:
    """What owners answer for with the suite, the content and the choices as they stand."""
    revision = current_revision(change_request)
    if revision is None:
        return []
    loaded = getattr(change_request, "suite_overrides", None)
    if loaded is None:
        loaded = list(
            change_request.expectation_overrides.filter(_of_suite_that_holds()).select_related("given_by")
        )
    digest = change_request.resolutions_digest
    return [
        one for one in loaded if one.revision_digest == revision.digest and one.resolutions_digest == digest
    ]


def overrides_in(run: MergeRun, validation: Mapping[str, Any]) -> list[ExpectationOverride]:
    """What owners answered for in a merge that stands, by the suite that judged it, whatever holds by now."""
    report = validation.get("expectations")
    if report is None:
        return []
    given = ExpectationOverride.objects.select_related("given_by").filter(
        change_request=run.change_request_id,
        suite_version__number=report["version"],
        revision_digest=run.revision_digest,
        resolutions_digest=run.resolutions_digest,
    )
    return list(given)


def unanswered_failures(change_request: ChangeRequest) -> list[dict[str, Any]]:
    """The expectations known to break (number, sentence, state) that no owner answers for."""
    check = current_expectation_check(change_request)
    if check is None or not check.failing:
        return []
    answered = {number for override in standing_overrides(change_request) for number in override.numbers}
    return [one for one in check.failing if one["number"] not in answered]


def expectation_check_to_show(change_request: ChangeRequest) -> ExpectationCheck | None:
    """The check that pages show: of the merge once it is merged, else what counts now."""
    if change_request.status == Status.MERGED:
        return (
            ExpectationCheck.objects.select_related("suite_version", "run")
            .filter(change_request=change_request, run__status=RunStatus.SUCCEEDED)
            .first()
        )
    return current_expectation_check(change_request)


def expectation_check_of_run(change_request: ChangeRequest, run_id: int) -> ExpectationCheck | None:
    """What the suite said of the merged result in one of the request's runs."""
    return (
        ExpectationCheck.objects.select_related("suite_version", "revision", "change_request__dataset__meta")
        .filter(change_request=change_request, run=run_id)
        .first()
    )


def active_run(change_request: ChangeRequest) -> MergeRun | None:
    """The queued or running merge of the request, if there is one."""
    loaded = getattr(change_request, "active_runs", None)
    if loaded is not None:
        return loaded[0] if loaded else None
    return change_request.runs.filter(status__in=ACTIVE_RUN_STATUSES).first()


def latest_run(change_request: ChangeRequest) -> MergeRun | None:
    """The newest merge run, whatever became of it."""
    return change_request.runs.order_by("-pk").first()


def queue_position(run: MergeRun) -> int:
    """How many runs of the dataset end before this one: 0 for the one that runs."""
    return MergeRun.objects.filter(
        dataset_id=run.dataset_id, status__in=ACTIVE_RUN_STATUSES, pk__lt=run.pk
    ).count()


def visible_run(user: User, run_id: int) -> MergeRun:
    """The run, if the person may see its dataset; else ``NotFound``."""
    run = (
        MergeRun.objects.select_related("change_request__dataset__project", "dataset", "requested_by")
        .filter(pk=run_id)
        .first()
    )
    if run is None or role_on(user, run.change_request.dataset) is None:
        raise NotFound("There is no such merge run, or you may not see it.")
    return run


def oldest_queued_run() -> MergeRun | None:
    """The run that has waited longest; None if nothing waits."""
    return MergeRun.objects.filter(status=RunStatus.QUEUED).order_by("queued_at").first()


def timeline_of(change_request: ChangeRequest) -> QuerySet[Any]:
    """Every event of the request, oldest first."""
    return events_of("change_request", change_request.cr_id)


def comments_on(change_request: ChangeRequest) -> QuerySet[Comment]:
    """All comments, threads first to last, with their authors."""
    return change_request.comments.select_related("author", "resolved_by", "parent")


def open_threads_on(change_request: ChangeRequest) -> int:
    """How many discussion threads nobody has resolved."""
    loaded = getattr(change_request, "open_thread_count", None)
    if loaded is not None:
        return int(loaded)
    return change_request.comments.filter(parent__isnull=True, resolved_at__isnull=True).count()


def latest_verdicts(change_request: ChangeRequest) -> list[Review]:
    """The newest verdict of each reviewer, comments apart, with whether each is ``entitled`` to it still."""
    given = getattr(change_request, "reviews_given", None)
    if given is None:
        given = _reviews().filter(change_request=change_request)
    latest: dict[int, Review] = {}
    for review in sorted(given, key=lambda review: review.pk):
        if review.verdict != Review.Verdict.COMMENT:
            latest[review.reviewer_id] = review
    return list(latest.values())


def counting_approvals(change_request: ChangeRequest) -> list[Review]:
    """Approvals that count: of this content and these choices, by somebody who may review and is neither its author
    nor its last editor."""
    revision = current_revision(change_request)
    if revision is None:
        return []
    digest = change_request.resolutions_digest
    editors = {change_request.author_id, revision.created_by_id} | {
        resolution.chosen_by_id for resolution in current_resolutions(change_request)
    }
    return [
        review
        for review in latest_verdicts(change_request)
        if review.verdict == Review.Verdict.APPROVE
        and review.entitled
        and review.revision_digest == revision.digest
        and review.resolutions_digest == digest
        and review.reviewer_id not in editors
    ]


def standing_objections(change_request: ChangeRequest) -> list[Review]:
    """Requests for changes that nobody has taken back, by people who may review."""
    return [
        review
        for review in latest_verdicts(change_request)
        if review.verdict == Review.Verdict.REQUEST_CHANGES and review.entitled
    ]


def open_revert_of(change_request: ChangeRequest) -> ChangeRequest | None:
    """The request that proposes to revert this one and is not finished, if there is one."""
    return change_request.reverted_by.filter(status__in=OPEN_STATUSES).first()


def runs_to_recover() -> QuerySet[MergeRun]:
    """Running merges whose lease nobody holds alive any more."""
    return MergeRun.objects.filter(status=RunStatus.RUNNING).filter(
        Q(dataset__lease__holder="") | Q(dataset__lease__expires_at__lte=timezone.now())
    )


def datasets_with_waiting_runs() -> QuerySet[Dataset]:
    """Datasets with queued runs and nobody at work on them."""
    waiting = MergeRun.objects.filter(dataset=OuterRef("pk"), status=RunStatus.QUEUED)
    running = MergeRun.objects.filter(dataset=OuterRef("pk"), status=RunStatus.RUNNING)
    return Dataset.objects.filter(Exists(waiting)).exclude(Exists(running))
