"""Statements tried before they are proposed: a worker looks what they would change, nothing stays."""

from django.conf import settings
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from accounts.scopes import Scope
from api.preferences import PREFER, patience_of
from api.schema import DATASET_ID
from api.serializers.queries import AskSerializer, QuerySerializer
from api.views.shared import Documented, actor_of, validated
from changerequests.models import Query
from changerequests.services import queries
from datasets.addressing import DatasetAddress
from datasets.roles import visible_dataset

QUERY_ID = OpenApiParameter("query_id", int, OpenApiParameter.PATH)


@extend_schema(tags=["change requests"])
class QueriesView(Documented):
    """Statements over one dataset."""

    waits = True
    scopes = {"post": Scope.PROPOSE}

    @extend_schema(
        parameters=[DATASET_ID, PREFER],
        request=AskSerializer,
        responses={
            200: OpenApiResponse(
                QuerySerializer, description="What it would change; `Location` is the query."
            ),
            202: OpenApiResponse(QuerySerializer, description="Not known yet; `Location` is the query."),
        },
        operation_id="query_create",
    )
    def post(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """Look what a statement would change, before it is proposed: counts, columns, warnings and the first rows.

        A worker runs it as it would for a proposal. The answer waits for it up to 20 seconds, or as `Prefer` says, then
        it is 202. 422 `staging_rejected` says what is wrong with the statement (`code` begins with `sql_`; `line` and
        `column` are its line and the character in it), or with its rows. What was found is kept for a day.
        """
        wanted = validated(AskSerializer, request.data)
        query = queries.ask(
            dataset=visible_dataset(actor_of(request), dataset_id),
            actor=actor_of(request),
            statement=wanted["sql"],
            merge_schema=wanted["merge_schema"],
        )
        patience = patience_of(request, default=settings.UPLOAD_WAIT_SECONDS)
        query = queries.wait_for_query(query.pk, patience.seconds)
        address = str(reverse("api:query", args=[query.pk], request=request))
        headers = {**patience.headers, "Location": address}
        if query.is_active:
            return Response(_document(request, query), status=202, headers=headers)
        queries.found_by(query)  # or what ended it
        return Response(_document(request, query), headers=headers)


@extend_schema(tags=["change requests"], parameters=[QUERY_ID])
class QueryView(Documented):
    """One query of the caller."""

    scopes = {"get": Scope.READ}

    @extend_schema(responses=QuerySerializer, operation_id="query_retrieve")
    def get(self, request: Request, query_id: int) -> Response:
        """What a statement would change, as far as that is known."""
        return Response(_document(request, queries.visible_query(actor_of(request), query_id)))


def _document(request: Request, query: Query) -> dict[str, object]:
    return dict(QuerySerializer(query, context={"request": request}).data)
