"""Questions about change requests; each name says the question. Nothing here writes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from django.contrib.auth.models import User
from django.db.models import (
    BigIntegerField,
    BooleanField,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    IntegerField,
    Max,
    OuterRef,
    Prefetch,
    Q,
    QuerySet,
    Subquery,
    Value,
)
from django.db.models.functions import Coalesce

from audit.selectors import events_of
from changerequests.models import (
    ChangeRequest,
    Comment,
    ConflictResolution,
    ExpectationCheck,
    ExpectationOverride,
    MergeRun,
    Review,
    ReviewRequest,
    Revision,
)
from changerequests.states import ACTIVE_RUN_STATUSES, OPEN_STATUSES, RunStatus, Status
from datasets.errors import NotFound
from datasets.models import Dataset
from datasets.querysets import built_once
from datasets.roles import Role, datasets_with_role, holds_role, role_on


def visible_change_requests(user: User) -> QuerySet[ChangeRequest]:
    """Every change request to a dataset that the person may see. Lists choose a page of them by primary key, and load
    that with ``change_requests_listed``: rows that no page shows are neither joined nor sorted with all that they hold.
    """
    return ChangeRequest.objects.filter(dataset__in=datasets_with_role(user).values("pk"))


def change_requests_listed(pks: Sequence[int]) -> list[ChangeRequest]:
    """These requests in this order, with what their gates look at; each dataset is loaded once."""
    datasets = Dataset.objects.select_related("project", "meta").defer("meta__schema_json")
    found = ChangeRequest.objects.filter(pk__in=pks).defer("merge_record")
    rows = {one.pk: one for one in found.prefetch_related(Prefetch("dataset", queryset=datasets))}
    return [rows[pk] for pk in pks if pk in rows]


def titles_of_visible(user: User, cr_ids: Iterable[str]) -> dict[str, str]:
    """The titles of those of some requests, by public id, that the person may see."""
    pks = [pk for pk in map(ChangeRequest.pk_of, cr_ids) if pk is not None]
    found = visible_change_requests(user).filter(pk__in=pks)
    return {one.cr_id: one.title for one in found.only("pk", "title")}


def people_called(
    names: Collection[str], dataset: Dataset, *, or_seeing_it: Collection[str] = ()
) -> QuerySet[User]:
    """The people with these user names; and those with the other names as far as they may see the dataset."""
    named = User.objects.filter(username__in=set(names) - {""})
    if not or_seeing_it:
        return named
    places = {
        "asked_dataset": Value(dataset.pk, output_field=BigIntegerField()),
        "asked_project": Value(dataset.project_id, output_field=BigIntegerField()),
    }
    sees = holds_role(Role.VIEWER, user="pk", dataset="asked_dataset", project="asked_project")
    return User.objects.annotate(**places).filter(
        Q(username__in=set(names) - {""}) | Q(sees, username__in=set(or_seeing_it))
    )


def change_request_called(cr_id: str) -> ChangeRequest | None:
    """The change request with this public id, whoever may see it, with what each of its pages names.

    Who merged it, who wishes it merged and what it reverts are asked for where there are any: with them in one
    statement, the database plans that for longer than it takes for all others of a page.
    """
    found = ChangeRequest.objects.select_related("dataset__project", "dataset__meta", "author")
    return found.filter(pk=ChangeRequest.pk_of(cr_id) or 0).first()


def visible_change_request(user: User, cr_id: str) -> ChangeRequest:
    """The change request, if the person may see its dataset; else ``NotFound``, as if it were not there."""
    found = change_request_called(cr_id)
    if found is None or role_on(user, found.dataset) is None:
        raise NotFound(f"There is no change request {cr_id}, or you may not see it.")
    return found


def _of_suite_that_holds() -> Q:
    return Q(suite_version__number=F("change_request__dataset__suite_number"))


def verdicts_on(change_requests: Collection[int]) -> list[Review]:
    """Verdicts on these requests, oldest first, comments apart; each with whether its reviewer is a service account
    (``by_service``), ``chose`` values for conflicts, and is one pair of hands with whoever made or approved the same
    (``same_hands``), and the number of its revision.

    One statement, and another where a reviewer is a service account or has held a key of one.
    """
    found = list(_verdicts().filter(change_request__in=change_requests))
    keyed = [one.pk for one in found if one.keyed]
    same_hands = (
        frozenset(Review.objects.filter(BY_SAME_HANDS, pk__in=keyed).values_list("pk", flat=True))
        if keyed
        else ()
    )
    for one in found:
        one.same_hands = one.pk in same_hands
    return found


#: The condition that a verdict is a service account's.
BY_SERVICE = Q(reviewer__service_account__isnull=False)
#: The condition that a verdict is a service account's, or of somebody who has held a key of one: few are.
_KEYED = BY_SERVICE | Q(Exists(User.objects.filter(pk=OuterRef("reviewer"), service_keys__isnull=False)))


def _one_hand_with(person: str) -> Q:
    """The condition that a person, and the reviewer of the verdict outside, are one pair of hands.

    Either is a service account of which the other has held a key, or somebody has held keys of both.
    """
    keys_of_it, keys_it_has = f"{person}__service_account__key_holders", f"{person}__service_keys"
    return (
        Q(**{keys_of_it: OuterRef("reviewer")})
        | Q(**{f"{keys_it_has}__user": OuterRef("reviewer")})
        | Q(**{f"{keys_of_it}__service_keys__user": OuterRef("reviewer")})
    )


def _by_same_hands() -> Q:
    own = {"change_request": OuterRef("change_request")}
    beside = Review.objects.filter(
        _one_hand_with("reviewer"),
        Q(reviewer__service_account=None) | Q(pk__lt=OuterRef("pk")),
        **own,
        verdict=Review.Verdict.APPROVE,
        revision_digest=OuterRef("revision_digest"),
        resolutions_digest=OuterRef("resolutions_digest"),
    ).exclude(reviewer=OuterRef("reviewer"))
    return _KEYED & (
        Q(Exists(ChangeRequest.objects.filter(_one_hand_with("author"), pk=OuterRef("change_request"))))
        | Q(Exists(Revision.objects.filter(_one_hand_with("created_by"), **own, is_current=True)))
        | Q(Exists(ConflictResolution.objects.filter(_one_hand_with("chosen_by"), **own, is_current=True)))
        | (BY_SERVICE & Q(Exists(beside)))
    )


#: The condition that a verdict and what it is about, or another approval, are of one person: of a service account and
#: of somebody who has held a key of it. Of several approvals the person's own counts, else the first.
BY_SAME_HANDS = _by_same_hands()


@built_once
def _verdicts() -> QuerySet[Review]:
    chosen = ConflictResolution.objects.filter(
        change_request=OuterRef("change_request"), chosen_by=OuterRef("reviewer"), is_current=True
    )
    facts = {
        "chose": Exists(chosen),
        "by_service": ExpressionWrapper(BY_SERVICE, BooleanField()),
        "keyed": ExpressionWrapper(_KEYED, BooleanField()),
        "revision_number": F("revision__number"),
    }
    return (
        Review.objects.exclude(verdict=Review.Verdict.COMMENT)
        .select_related("reviewer")
        .annotate(**facts)  # the model declares them
        .order_by("pk")
    )


def review_requests_of(change_requests: Collection[int]) -> QuerySet[ReviewRequest]:
    """Who was asked to review these requests, in the order in which they were; each with whether it was ``answered``
    by a verdict on the current content."""
    return _review_requests().filter(change_request__in=change_requests)


@built_once
def _review_requests() -> QuerySet[ReviewRequest]:
    judged = Review.objects.filter(
        change_request=OuterRef("change_request"),
        change_request__revisions__is_current=True,
        change_request__revisions__digest=F("revision_digest"),
    ).exclude(verdict=Review.Verdict.COMMENT)
    theirs = Q(reviewer=OuterRef("reviewer")) | Q(reviewer__groups=OuterRef("group"))
    facts = {"answered": Exists(judged.filter(theirs))}
    return (
        ReviewRequest.objects.select_related("reviewer", "group")
        .annotate(**facts)  # the model declares it
        .order_by("pk")
    )


def latest_runs_of(change_requests: Collection[int]) -> QuerySet[MergeRun]:
    """The newest merge run of each of these requests, without its result and errors, which may be large; each with how
    many of its dataset's runs end before it (``ahead``).
    """
    return _latest_runs().filter(change_request__in=change_requests)


@built_once
def _latest_runs() -> QuerySet[MergeRun]:
    newest = MergeRun.objects.filter(change_request=OuterRef("change_request")).order_by("-pk").values("pk")
    found = MergeRun.objects.filter(pk=Subquery(newest[:1]))
    before = MergeRun.objects.filter(
        dataset=OuterRef("dataset"), status__in=ACTIVE_RUN_STATUSES, pk__lt=OuterRef("pk")
    )
    number = before.order_by().values("dataset").annotate(number=Count("pk")).values("number")
    ahead = {"ahead": Coalesce(Subquery(number, output_field=IntegerField()), 0)}
    return found.defer("result", "error_data").annotate(**ahead)


def counting_expectation_checks(
    change_requests: Collection[int] | QuerySet[Any, Any],
) -> QuerySet[ExpectationCheck]:
    """Checks of current content by the suite that holds, without their reports, which may be large."""
    return (
        ExpectationCheck.objects.filter(
            _of_suite_that_holds(), change_request__in=change_requests, revision__is_current=True, counts=True
        )
        .defer("report")
        .select_related("suite_version", "revision")
    )


def counting_overrides(change_requests: Collection[int]) -> QuerySet[ExpectationOverride]:
    """What owners answer for with the suite that holds, oldest first."""
    found = ExpectationOverride.objects.filter(_of_suite_that_holds(), change_request__in=change_requests)
    return found.select_related("given_by", "suite_version")


def change_requests_awaiting_review(
    user: User, datasets: Iterable[int] | None = None
) -> QuerySet[ChangeRequest]:
    """Pending requests of others, on datasets where the person may review, without a verdict of theirs on the
    current revision. ``datasets`` are the primary keys of these datasets, for whoever knows them already."""
    judged = Review.objects.filter(
        change_request__status=Status.PENDING,
        reviewer=user,
        change_request__revisions__is_current=True,
        change_request__revisions__digest=F("revision_digest"),
    ).exclude(verdict=Review.Verdict.COMMENT)
    if datasets is None:
        datasets = datasets_with_role(user, Role.CONTRIBUTOR).values_list("pk", flat=True)
    waiting = ChangeRequest.objects.filter(status=Status.PENDING, dataset__in=datasets)
    return waiting.exclude(author=user).exclude(pk__in=judged.values("change_request"))


def change_requests_to(dataset: Dataset, user: User) -> QuerySet[ChangeRequest]:
    """Every change request to one dataset."""
    return visible_change_requests(user).filter(dataset=dataset)


def current_revision(change_request: ChangeRequest) -> Revision | None:
    """The content that would be merged now; None before the first upload."""
    return change_request.revisions.select_related("created_by").filter(is_current=True).first()


def current_resolutions(change_request: ChangeRequest) -> list[ConflictResolution]:
    """The choices that stand, in a fixed order. There may be many: gates look at their digest alone."""
    return list(change_request.resolutions.filter(is_current=True).select_related("chosen_by"))


def choices_for(
    change_request: ChangeRequest, key_digests: Collection[str]
) -> dict[tuple[str, str], ConflictResolution]:
    """The choices that stand for some rows, by key digest and column."""
    found = change_request.resolutions.filter(is_current=True, key_digest__in=key_digests)
    return {(one.key_digest, one.column): one for one in found.select_related("chosen_by")}


def standing_choices(change_request: ChangeRequest) -> list[tuple[str, str, str, Any]]:
    """Input digest, column, choice and value of every choice that stands: what conflicts are read with."""
    found = change_request.resolutions.filter(is_current=True).order_by("pk")
    return list(found.values_list("inputs_digest", "column", "choice", "value"))


def schema_choices(change_request: ChangeRequest, key_digest: str) -> list[ConflictResolution]:
    """The choices that stand for conflicts of the schema, whose key is empty."""
    return list(change_request.resolutions.filter(is_current=True, key_digest=key_digest))


def newest_choice(change_request: ChangeRequest) -> int:
    """The id of the choice that was made last; 0 where there is none."""
    if not change_request.resolutions_digest:
        return 0
    newest: int | None = change_request.resolutions.aggregate(newest=Max("pk"))["newest"]
    return newest or 0


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


def expectation_check_of_merge(change_request: ChangeRequest) -> ExpectationCheck | None:
    """What the suite said of the result that was merged."""
    return (
        ExpectationCheck.objects.select_related("suite_version", "run")
        .filter(change_request=change_request, run__status=RunStatus.SUCCEEDED)
        .first()
    )


def expectation_check_of_run(change_request: ChangeRequest, run_id: int) -> ExpectationCheck | None:
    """What the suite said of the merged result in one of the request's runs."""
    return (
        ExpectationCheck.objects.select_related("suite_version", "revision", "change_request__dataset__meta")
        .filter(change_request=change_request, run=run_id)
        .first()
    )


def active_run(change_request: ChangeRequest) -> MergeRun | None:
    """The queued or running merge of the request, if there is one."""
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


def timeline_of(change_request: ChangeRequest) -> QuerySet[Any]:
    """Every event of the request, oldest first."""
    return events_of("change_request", change_request.cr_id)


def comments_on(change_request: ChangeRequest) -> QuerySet[Comment]:
    """All comments, threads first to last, with their authors."""
    return change_request.comments.select_related("author", "resolved_by", "parent", "revision", "taken")


def open_revert_of(change_request: ChangeRequest) -> ChangeRequest | None:
    """The request that proposes to revert this one and is not finished, if there is one."""
    return change_request.reverted_by.filter(status__in=OPEN_STATUSES).first()
