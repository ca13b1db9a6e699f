"""Reviewing where the data is: ticking groups off, and leaving a part out."""

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.scopes import Scope
from api.parsers import CellJSONParser
from api.schema import CR_ID
from api.serializers.reviewing import (
    LeaveOutSerializer,
    MarkViewedSerializer,
    SplitCountsSerializer,
    SplitSerializer,
    ViewedGroupsSerializer,
)
from api.views.shared import Documented, actor_of, created, validated
from changerequests import selectors
from changerequests.services import splitting, viewing


@extend_schema(tags=["change requests"], parameters=[CR_ID])
class ViewedGroupsView(Documented):
    """Which groups of the changes the caller has looked at."""

    scopes = {"get": Scope.READ, "post": Scope.REVIEW}

    @extend_schema(responses=ViewedGroupsSerializer, operation_id="viewed_groups_retrieve")
    def get(self, request: Request, cr_id: str) -> Response:
        """The groups of the content that stands, each with whether the caller has viewed it."""
        return self._answer(request, cr_id)

    @extend_schema(
        request=MarkViewedSerializer,
        responses={200: ViewedGroupsSerializer},
        operation_id="viewed_groups_mark",
    )
    def post(self, request: Request, cr_id: str) -> Response:
        """Tick a group off, or take that back. It counts for the caller, and for this content alone."""
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        wanted = validated(MarkViewedSerializer, request.data)
        viewing.mark_viewed(change_request=change_request, person=actor_of(request), **wanted)
        return self._answer(request, cr_id)

    def _answer(self, request: Request, cr_id: str) -> Response:
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        found = viewing.change_groups(change_request=change_request, person=actor_of(request))
        return Response(ViewedGroupsSerializer(found).data)


@extend_schema(tags=["change requests"], parameters=[CR_ID])
class SplitView(Documented):
    """Partial acceptance."""

    parser_classes = [CellJSONParser]
    scopes = {"post": Scope.REVIEW}

    @extend_schema(
        request=LeaveOutSerializer,
        responses={
            200: OpenApiResponse(SplitCountsSerializer, description="With `dry_run`: what it would do."),
            201: OpenApiResponse(SplitSerializer, description="Done; `Location` is the new draft."),
        },
        operation_id="change_requests_split",
    )
    def post(self, request: Request, cr_id: str) -> Response:
        """Leave out rows, groups of rows or columns of a pending request, with a reason.

        What is left out becomes a draft of its author on the same base, the rest a new revision, which needs approvals
        of its own. Together both are what was there. For whoever may review it.
        """
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        wanted = validated(LeaveOutSerializer, request.data)
        dry_run = wanted.pop("dry_run")
        reason, digest = wanted.pop("reason"), wanted.pop("revision_digest")
        leaving = splitting.left_out(change_request, **wanted)
        if dry_run:
            counts = splitting.preview(change_request=change_request, leaving=leaving)
            return Response(SplitCountsSerializer(counts).data)
        done = splitting.leave_out(
            change_request_id=change_request.pk,
            actor=actor_of(request),
            leaving=leaving,
            reason=reason,
            revision_digest=digest,
        )
        return created(SplitSerializer(done).data, "change-request", done.follow_up.cr_id, request=request)
