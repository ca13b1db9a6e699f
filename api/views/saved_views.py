"""Filters that the caller keeps under names, as the pages show them."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.scopes import Scope
from api.serializers.saved_views import KeepViewSerializer, SavedViewParameters, SavedViewSerializer
from api.views.shared import Documented, actor_of, created, validated
from changerequests.services import saved_views
from datasets.errors import NotFound
from datasets.models import Dataset
from datasets.roles import visible_dataset


def _dataset(request: Request, wanted: dict[str, Any]) -> Dataset | None:
    number = wanted.get("dataset")
    return visible_dataset(actor_of(request), number) if number is not None else None


@extend_schema(tags=["saved views"])
class SavedViewsView(Documented):
    """The caller's own. Not paged: there are at most fifty of a place."""

    scopes = {"get": Scope.READ, "post": Scope.REVIEW}

    @extend_schema(
        parameters=[SavedViewParameters],
        responses=SavedViewSerializer(many=True),
        operation_id="saved_views_list",
    )
    def get(self, request: Request) -> Response:
        """The caller's views of one place, by name; none of a dataset that is not there for them."""
        try:
            dataset = _dataset(request, validated(SavedViewParameters, request.query_params))
        except NotFound:
            return Response([])
        found = saved_views.views_of(person=actor_of(request), dataset=dataset)
        return Response(SavedViewSerializer(found, many=True).data)

    @extend_schema(
        request=KeepViewSerializer, responses={201: SavedViewSerializer}, operation_id="saved_views_keep"
    )
    def post(self, request: Request) -> Response:
        """Keep filters under a name; a view of the same name and place is replaced."""
        wanted = validated(KeepViewSerializer, request.data)
        kept = saved_views.keep_view(
            person=actor_of(request),
            name=wanted["name"],
            filters=wanted["filters"],
            dataset=_dataset(request, wanted),
        )
        return created(SavedViewSerializer(kept).data, "saved-view", kept.pk, request=request)


@extend_schema(tags=["saved views"], parameters=[OpenApiParameter("view_id", int, OpenApiParameter.PATH)])
class SavedViewView(Documented):
    """One view of the caller's own."""

    scopes = {"delete": Scope.REVIEW}

    @extend_schema(responses={204: None}, operation_id="saved_views_remove")
    def delete(self, request: Request, view_id: int) -> Response:
        """Forget it."""
        saved_views.remove_view(person=actor_of(request), view_id=view_id)
        return Response(status=204)
