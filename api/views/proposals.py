"""Change requests: propose, upload, look, review, discuss."""

import hashlib
from typing import Any

import django_filters
from django.db.models import Q, QuerySet
from django.http import FileResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.viewsets import GenericViewSet

from accounts.scopes import Scope
from api.addresses import OfDatasetFilter
from api.filters import since, until
from api.pagination import InChosenOrder, InOrder
from api.parsers import CellJSONParser
from api.schema import CR_ID, IF_MATCH
from api.serializers.proposals import (
    AuditFileSerializer,
    ChangeRequestDetailSerializer,
    ChangeRequestSerializer,
    CloseSerializer,
    CommentSerializer,
    CreateChangeRequestSerializer,
    EditChangeRequestSerializer,
    EventSerializer,
    GroupedChangeSerializer,
    MovedSerializer,
    PlanSerializer,
    ReviewSerializer,
    RevisionSerializer,
    SettleThreadSerializer,
    WriteCommentSerializer,
    WriteReviewSerializer,
)
from api.views.shared import Documented, actor_of, created, validated, versions_matched
from changerequests import selectors
from changerequests.facts import facts_listed, visible_facts
from changerequests.models import ChangeRequest, choices
from changerequests.services import plans, proposals, rebasing, reverts, reviews, storage
from changerequests.services.readiness import having_readiness
from changerequests.states import Readiness, Status
from datasets.errors import NotFound
from datasets.roles import visible_dataset


class ChangeRequestFilter(django_filters.FilterSet):
    """Which change requests."""

    dataset = OfDatasetFilter(field_name="dataset")
    project = django_filters.CharFilter(field_name="dataset__project__slug", help_text="Slug of the project.")
    status = django_filters.MultipleChoiceFilter(choices=choices(Status), help_text="One or several.")
    author = django_filters.CharFilter(field_name="author__username", help_text="User name.")
    mine = django_filters.BooleanFilter(method="only_mine", help_text="Those of the caller.")
    needs_review = django_filters.BooleanFilter(
        method="only_awaiting_review", help_text="Those that await a verdict of the caller."
    )
    readiness = django_filters.MultipleChoiceFilter(
        choices=choices(Readiness),
        method="only_standing_so",
        help_text="One or several. Where a submitted request stands: the first of these words that holds.",
    )
    created_since, created_until = since("created_at"), until("created_at")
    updated_since, updated_until = since("updated_at"), until("updated_at")
    search = django_filters.CharFilter(
        method="only_telling", help_text="Part of the title or the description, or a public id."
    )

    class Meta:
        model = ChangeRequest
        fields: list[str] = []

    def only_standing_so(
        self, found: QuerySet[ChangeRequest], _: str, wanted: list[str]
    ) -> QuerySet[ChangeRequest]:
        return having_readiness(found, [Readiness(one) for one in wanted]) if wanted else found

    def only_telling(self, found: QuerySet[ChangeRequest], _: str, text: str) -> QuerySet[ChangeRequest]:
        told = Q(title__icontains=text) | Q(description__icontains=text)
        return found.filter(told | Q(pk=ChangeRequest.pk_of(text.strip().upper()) or 0))

    def only_mine(self, found: QuerySet[ChangeRequest], _: str, wanted: bool) -> QuerySet[ChangeRequest]:
        return found.filter(author=self.request.user) if wanted else found.exclude(author=self.request.user)

    def only_awaiting_review(
        self, found: QuerySet[ChangeRequest], _: str, wanted: bool
    ) -> QuerySet[ChangeRequest]:
        awaiting = selectors.change_requests_awaiting_review(self.request.user).order_by().values("pk")
        return found.filter(pk__in=awaiting) if wanted else found.exclude(pk__in=awaiting)


class GroupParameters(serializers.Serializer):
    """How many groups."""

    limit = serializers.IntegerField(min_value=1, max_value=500, default=50)


class MovedParameters(serializers.Serializer):
    """How many rows."""

    limit = serializers.IntegerField(min_value=0, max_value=1000, default=100)


@extend_schema(tags=["change requests"])
class ChangeRequestViewSet(Documented, GenericViewSet):
    """Change requests to datasets that the caller may see."""

    tagged = ("retrieve",)
    scopes = {
        "list": Scope.READ,
        "create": Scope.PROPOSE,
        "retrieve": Scope.READ,
        "partial_update": Scope.PROPOSE,
        "destroy": Scope.PROPOSE,
        "diff_groups": Scope.READ,
        "plan": Scope.READ,
        "check": Scope.PROPOSE,
        "moved": Scope.READ,
        "submit": Scope.PROPOSE,
        "return_to_draft": Scope.PROPOSE,
        "rebase": Scope.PROPOSE,
        "revert": Scope.PROPOSE,
        "close": Scope.PROPOSE,
        "reopen": Scope.PROPOSE,
        "settle_thread": Scope.REVIEW,
        "audit_files": Scope.READ,
        "audit_file": Scope.READ,
    }
    queryset = ChangeRequest.objects.none()
    serializer_class = ChangeRequestSerializer
    pagination_class = InChosenOrder
    orders = {
        "-number": ("-pk",),
        "number": ("pk",),
        "-created": ("-created_at", "-pk"),
        "created": ("created_at", "pk"),
        "-updated": ("-updated_at", "-pk"),
        "updated": ("updated_at", "pk"),
    }
    filterset_class = ChangeRequestFilter
    lookup_url_kwarg = "cr_id"

    def get_queryset(self) -> QuerySet[ChangeRequest]:
        if getattr(self, "swagger_fake_view", False):
            return self.queryset
        return selectors.visible_change_requests(actor_of(self.request))

    @extend_schema(responses=ChangeRequestSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Change requests, newest first unless asked otherwise."""
        chosen = (
            self.paginate_queryset(
                self.filter_queryset(self.get_queryset()).values("pk", "created_at", "updated_at")
            )
            or []
        )
        found = facts_listed([one["pk"] for one in chosen], actor_of(request))
        return self.get_paginated_response(ChangeRequestSerializer.of_many(found))

    @extend_schema(request=CreateChangeRequestSerializer, responses={201: ChangeRequestDetailSerializer})
    def create(self, request: Request) -> Response:
        """Begin a draft; upload its content next. For contributors."""
        wanted = validated(CreateChangeRequestSerializer, request.data)
        dataset = visible_dataset(actor_of(request), wanted.pop("dataset"))
        made = proposals.create_change_request(dataset=dataset, author=actor_of(request), **wanted)
        return created(self._detail(request, made.cr_id).data, "change-request", made.cr_id, request=request)

    @extend_schema(parameters=[CR_ID], responses=ChangeRequestDetailSerializer)
    def retrieve(self, request: Request, cr_id: str) -> Response:
        """A change request with the blockers of every action for the caller."""
        return self._detail(request, cr_id)

    @extend_schema(
        parameters=[CR_ID, IF_MATCH],
        request=EditChangeRequestSerializer,
        responses=ChangeRequestDetailSerializer,
    )
    def partial_update(self, request: Request, cr_id: str) -> Response:
        """Change the title or description of a draft or pending request. For its author and owners.

        With `If-Match`, only if both are still as they were when `ETag` was told; else 412 `request_changed`. The
        timeline has them as they were before.
        """
        pk = self._pk(request, cr_id)
        wanted = validated(EditChangeRequestSerializer, request.data)
        edited = [tag.partition(".")[0] for tag in versions_matched(request)]
        proposals.edit(change_request_id=pk, actor=actor_of(request), edited=edited, **wanted)
        return self._detail(request, cr_id)

    @extend_schema(
        parameters=[CR_ID], request=None, responses={204: OpenApiResponse(description="It is gone.")}
    )
    def destroy(self, request: Request, cr_id: str) -> Response:
        """Remove a draft that never had content, for good; 409 `blocked` where it had some, or comments."""
        proposals.remove_draft(change_request_id=self._pk(request, cr_id), actor=actor_of(request))
        return Response(status=204)

    @extend_schema(
        parameters=[CR_ID, GroupParameters], responses=GroupedChangeSerializer(many=True), filters=False
    )
    def diff_groups(self, request: Request, cr_id: str) -> Response:
        """The most frequent equal edits of an open request: ``column: old -> new, rows``."""
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        wanted = validated(GroupParameters, request.query_params)
        groups = plans.grouped_changes(change_request=change_request, limit=wanted["limit"])
        return Response(GroupedChangeSerializer(groups, many=True).data)

    @extend_schema(parameters=[CR_ID], responses=PlanSerializer)
    def plan(self, request: Request, cr_id: str) -> Response:
        """What a merge would do on the table as it is now; for a merged or closed request, what was last planned."""
        facts = visible_facts(actor_of(request), cr_id)
        check = plans.fresh_check(facts) or facts.plan_check
        if check is None:
            raise NotFound(f"Nothing was uploaded to {cr_id} yet, so there is nothing to plan.")
        return Response(PlanSerializer(check).data)

    @extend_schema(parameters=[CR_ID], request=None, responses=PlanSerializer)
    def check(self, request: Request, cr_id: str) -> Response:
        """Plan anew on the table as it is now, and try again what could not be checked. For contributors."""
        pk = self._pk(request, cr_id)
        check = plans.check_again(change_request_id=pk, actor=actor_of(request))
        if check is None:
            raise NotFound(
                f"There is nothing to check: {cr_id} is finished, or nothing was uploaded to it yet."
            )
        return Response(PlanSerializer(check).data)

    @extend_schema(parameters=[CR_ID, MovedParameters], responses=MovedSerializer)
    def moved(self, request: Request, cr_id: str) -> Response:
        """What moved in the table under the rows of an open request; 404 for one without content, or finished."""
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        wanted = validated(MovedParameters, request.query_params)
        found = rebasing.what_moved(change_request=change_request, rows=wanted["limit"], versions=0)
        return Response(MovedSerializer(found).data)

    @extend_schema(parameters=[CR_ID], request=None, responses=ChangeRequestDetailSerializer)
    def submit(self, request: Request, cr_id: str) -> Response:
        """Ask for review: draft to pending."""
        proposals.submit(change_request_id=self._pk(request, cr_id), actor=actor_of(request))
        return self._detail(request, cr_id)

    @extend_schema(parameters=[CR_ID], request=None, responses=ChangeRequestDetailSerializer)
    def return_to_draft(self, request: Request, cr_id: str) -> Response:
        """Take a pending request back to work on it."""
        proposals.return_to_draft(change_request_id=self._pk(request, cr_id), actor=actor_of(request))
        return self._detail(request, cr_id)

    @extend_schema(parameters=[CR_ID], request=None, responses=RevisionSerializer)
    def rebase(self, request: Request, cr_id: str) -> Response:
        """Let the base follow the table: what the request does not edit is as it is there now."""
        revision = rebasing.rebase(change_request_id=self._pk(request, cr_id), actor=actor_of(request))
        return Response(RevisionSerializer(revision).data)

    @extend_schema(parameters=[CR_ID], request=None, responses={201: ChangeRequestDetailSerializer})
    def revert(self, request: Request, cr_id: str) -> Response:
        """Begin a draft that proposes what was there before the merge. For owners of the dataset."""
        opened = reverts.revert_merge(change_request_id=self._pk(request, cr_id), actor=actor_of(request))
        return created(
            self._detail(request, opened.cr_id).data, "change-request", opened.cr_id, request=request
        )

    @extend_schema(parameters=[CR_ID], request=CloseSerializer, responses=ChangeRequestDetailSerializer)
    def close(self, request: Request, cr_id: str) -> Response:
        """Withdraw one's own request, or reject another's with a reason."""
        pk = self._pk(request, cr_id)
        wanted = validated(CloseSerializer, request.data)
        proposals.close(change_request_id=pk, actor=actor_of(request), reason=wanted["reason"])
        return self._detail(request, cr_id)

    @extend_schema(parameters=[CR_ID], request=None, responses=ChangeRequestDetailSerializer)
    def reopen(self, request: Request, cr_id: str) -> Response:
        """Take a closed request up again as a draft."""
        proposals.reopen(change_request_id=self._pk(request, cr_id), actor=actor_of(request))
        return self._detail(request, cr_id)

    @extend_schema(
        parameters=[CR_ID, OpenApiParameter("comment_id", int, OpenApiParameter.PATH)],
        request=SettleThreadSerializer,
        responses=CommentSerializer,
    )
    def settle_thread(self, request: Request, cr_id: str, comment_id: int) -> Response:
        """Mark a discussion as resolved, or open it again."""
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        if not selectors.comments_on(change_request).filter(pk=comment_id).exists():
            raise NotFound("There is no such discussion.")
        wanted = validated(SettleThreadSerializer, request.data)
        thread = reviews.settle_thread(
            comment_id=comment_id, actor=actor_of(request), resolved=wanted["resolved"]
        )
        return Response(CommentSerializer(thread).data)

    @extend_schema(parameters=[CR_ID], responses=AuditFileSerializer(many=True), filters=False)
    def audit_files(self, request: Request, cr_id: str) -> Response:
        """The audit files of a merged request, with the hashes that the trail recorded."""
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        recorded = (change_request.merge_record or {}).get("audit_files", {})
        files = [
            {
                "name": name,
                "sha256": digest,
                "url": reverse("api:audit-file", args=[cr_id, name], request=request),
            }
            for name, digest in sorted(recorded.items())
        ]
        return Response(AuditFileSerializer(files, many=True).data)

    @extend_schema(
        parameters=[CR_ID, OpenApiParameter("name", str, OpenApiParameter.PATH)],
        responses={
            (200, "application/octet-stream"): OpenApiResponse(OpenApiTypes.BINARY, description="The file.")
        },
    )
    def audit_file(self, request: Request, cr_id: str, name: str) -> FileResponse:
        """One audit file, byte for byte."""
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        return FileResponse(
            storage.open_audit_file(change_request, name),
            as_attachment=True,
            filename=f"{cr_id}-{name}",
            content_type="application/octet-stream",
        )

    def _pk(self, request: Request, cr_id: str) -> int:
        return selectors.visible_change_request(actor_of(request), cr_id).pk

    def _detail(self, request: Request, cr_id: str) -> Response:
        facts = visible_facts(actor_of(request), cr_id)
        data = ChangeRequestDetailSerializer.of(facts)
        # Two parts: what If-Match guards is the words alone, and the whole is what a reader may have already.
        content = hashlib.sha256(JSONRenderer().render(data)).hexdigest()[:32]
        tag = f'"{proposals.words_digest(facts.change_request)}.{content}"'
        return Response(data, headers={"ETag": tag})


class OfChangeRequest(Documented, GenericViewSet):
    """A list that belongs to one change request, and what is in it, by the parameter of the address."""

    scopes = {"list": Scope.READ, "retrieve": Scope.READ, "create": Scope.REVIEW}
    pagination_class = InOrder
    lookup_field = "pk"
    filter_backends: list[Any] = []

    def list(self, request: Request, cr_id: str) -> Response:
        found = self.rows(selectors.visible_change_request(actor_of(request), cr_id))
        page = self.paginate_queryset(found)
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def retrieve(self, request: Request, cr_id: str, **place: int) -> Response:
        found = self.rows(selectors.visible_change_request(actor_of(request), cr_id))
        [number] = place.values()
        one = found.filter(**{self.lookup_field: number}).first()
        if one is None:
            raise NotFound(f"{cr_id} has no such thing.")
        return Response(self.get_serializer(one).data)

    def rows(self, change_request: ChangeRequest) -> Any:
        raise NotImplementedError


@extend_schema(tags=["change requests"], parameters=[CR_ID])
class EventViewSet(OfChangeRequest):
    """The timeline: every event of the request, oldest first."""

    serializer_class = EventSerializer

    def rows(self, change_request: ChangeRequest) -> Any:
        return selectors.timeline_of(change_request)


@extend_schema(tags=["change requests"], parameters=[CR_ID])
class ReviewViewSet(OfChangeRequest):
    """Verdicts, oldest first."""

    serializer_class = ReviewSerializer

    def rows(self, change_request: ChangeRequest) -> Any:
        return change_request.reviews.select_related("reviewer", "revision")

    @extend_schema(request=WriteReviewSerializer, responses={201: ReviewSerializer})
    def create(self, request: Request, cr_id: str) -> Response:
        """Approve, ask for changes or comment on what the request holds now."""
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        wanted = validated(WriteReviewSerializer, request.data)
        given = reviews.review(change_request_id=change_request.pk, actor=actor_of(request), **wanted)
        return created(ReviewSerializer(given).data, "review", cr_id, given.pk, request=request)


@extend_schema(tags=["change requests"], parameters=[CR_ID])
class CommentViewSet(OfChangeRequest):
    """Comments, oldest first; answers name their thread."""

    serializer_class = CommentSerializer
    parser_classes = [CellJSONParser]

    def rows(self, change_request: ChangeRequest) -> Any:
        return selectors.comments_on(change_request)

    @extend_schema(request=WriteCommentSerializer, responses={201: CommentSerializer})
    def create(self, request: Request, cr_id: str) -> Response:
        """Say something about the request, a row or a cell, or answer a thread."""
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        wanted = validated(WriteCommentSerializer, request.data)
        parent_id, offered = wanted.pop("thread", None), wanted.pop("suggestion", None)
        written = reviews.comment(
            change_request_id=change_request.pk,
            actor=actor_of(request),
            parent_id=parent_id,
            suggestion=reviews.Suggestion(offered["value"]) if offered else None,
            **wanted,
        )
        return created(CommentSerializer(written).data, "comment", cr_id, written.pk, request=request)


@extend_schema(tags=["change requests"], parameters=[CR_ID])
class RevisionViewSet(OfChangeRequest):
    """Every content that was staged, oldest first."""

    serializer_class = RevisionSerializer
    lookup_field = "number"

    def rows(self, change_request: ChangeRequest) -> Any:
        return change_request.revisions.select_related("created_by")
