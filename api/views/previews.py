"""Content looked at before it is proposed: a worker tells what it would change, and nothing but that content stays."""

from django.conf import settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from accounts.scopes import Scope
from api.parsers import CONTENT_TYPES, ContentParser, LongListJSONParser, content_type_of
from api.preferences import PREFER, patience_of
from api.schema import DATASET_ID
from api.serializers.previews import (
    AskSerializer,
    ContentLookSerializer,
    FormLookSerializer,
    LookSerializer,
    PreviewSerializer,
    QuerySerializer,
)
from api.views.proposing import of_content, received_content
from api.views.shared import Documented, actor_of, validated
from changerequests import selectors
from changerequests.models import ChangeRequest, Preview
from changerequests.services import previews, uploads
from changerequests.states import EmptyCells, UploadKind
from datasets.addressing import DatasetAddress
from datasets.errors import NotFound
from datasets.models import Dataset
from datasets.roles import visible_dataset
from datasets.rows import column_actions

QUERY_ID = OpenApiParameter("query_id", int, OpenApiParameter.PATH)
PREVIEW_ID = OpenApiParameter("preview_id", int, OpenApiParameter.PATH)


@extend_schema(tags=["change requests"])
class PreviewsView(Documented):
    """Content comes in a form with a file, as the body itself, or as JSON."""

    parser_classes = [MultiPartParser, LongListJSONParser, ContentParser]
    body_limit = "UPLOAD_LIMIT_BYTES"
    waits = True
    scopes = {"post": Scope.PROPOSE}

    @extend_schema(
        parameters=[DATASET_ID, ContentLookSerializer, PREFER],
        request={
            "application/json": LookSerializer,
            "multipart/form-data": FormLookSerializer,
            **dict.fromkeys(CONTENT_TYPES, OpenApiTypes.BINARY),
        },
        responses={
            200: OpenApiResponse(
                PreviewSerializer, description="What it would change; `Location` is the look."
            ),
            202: OpenApiResponse(PreviewSerializer, description="Not known yet; `Location` is the look."),
        },
        operation_id="preview_create",
    )
    def post(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """Look what content would change, before it is proposed: counts, columns, warnings and the first rows.

        A worker reads it as it would for a proposal. Columns that the table lacks are told in `unknown_columns`, left
        alone until `columns` says what is to become of each. The answer waits up to 20 seconds, or as `Prefer` says,
        then it is 202. 422 `staging_rejected` lists every problem by line and column. What was sent is kept for a day:
        `preview` looks at it again, and a proposal takes it by its number, exactly as it was looked at.
        """
        dataset = visible_dataset(actor_of(request), dataset_id)
        preview = _looked_at(request, dataset)
        patience = patience_of(request, default=settings.UPLOAD_WAIT_SECONDS)
        preview = previews.wait_for_preview(preview.pk, patience.seconds)
        document = dict(PreviewSerializer(preview, context={"request": request}).data)
        headers = {**patience.headers, "Location": document["url"]}
        if preview.is_active:
            return Response(document, status=202, headers=headers)
        previews.found_by(preview)  # or what ended it
        return Response(document, headers=headers)


def _looked_at(request: Request, dataset: Dataset) -> Preview:
    kind = content_type_of(request.content_type)
    if kind in CONTENT_TYPES:
        wanted = of_content(request, ContentLookSerializer, kind)
    else:
        is_form = kind == "multipart/form-data"
        wanted = validated(FormLookSerializer if is_form else LookSerializer, request.data)
    if "preview" in wanted:
        before = previews.visible_preview(actor_of(request), wanted["preview"])
        if before.dataset_id != dataset.pk:
            raise NotFound(f"It is no look at {dataset.name}.")
        meant = wanted.get("empty_cells", before.empty_cells)
        choices = previews.Choices(
            null_token=wanted.get("null_token", before.null_token),
            column_types=wanted.get("column_types", before.column_types),
            column_actions=column_actions(wanted.get("columns", before.column_actions)),
            empty_cells=EmptyCells(meant) if meant else None,
        )
        return previews.look_again(preview_id=before.pk, actor=actor_of(request), choices=choices)
    with received_content(wanted, actor_of(request)) as content:
        return previews.look(
            dataset=dataset,
            actor=actor_of(request),
            content=content,
            change_request=_meant_for(request, dataset, wanted.get("change_request")),
        )


def _meant_for(request: Request, dataset: Dataset, cr_id: str | None) -> ChangeRequest | None:
    if cr_id is None:
        return None
    change_request = selectors.visible_change_request(actor_of(request), cr_id)
    if change_request.dataset_id != dataset.pk:
        raise NotFound(f"{dataset.name} has no change request {change_request.cr_id}.")
    return change_request


@extend_schema(tags=["change requests"], parameters=[PREVIEW_ID])
class PreviewView(Documented):
    """One look of the caller."""

    scopes = {"get": Scope.READ, "delete": Scope.PROPOSE}

    @extend_schema(responses=PreviewSerializer, operation_id="preview_retrieve")
    def get(self, request: Request, preview_id: int) -> Response:
        """What content would change, as far as that is known."""
        preview = previews.visible_preview(actor_of(request), preview_id)
        return Response(PreviewSerializer(preview, context={"request": request}).data)

    @extend_schema(
        request=None,
        responses={204: OpenApiResponse(description="It is gone.")},
        operation_id="preview_destroy",
    )
    def delete(self, request: Request, preview_id: int) -> Response:
        """Forget a look and what was sent for it; one that goes on is stopped."""
        previews.forget_preview(preview_id=preview_id, actor=actor_of(request))
        return Response(status=204)


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
        query = previews.look(
            dataset=visible_dataset(actor_of(request), dataset_id),
            actor=actor_of(request),
            content=uploads.NamedSource(UploadKind.SQL, wanted["sql"]),
            merge_schema=wanted["merge_schema"],
            asks_about_columns=False,
        )
        patience = patience_of(request, default=settings.UPLOAD_WAIT_SECONDS)
        query = previews.wait_for_preview(query.pk, patience.seconds)
        address = str(reverse("api:query", args=[query.pk], request=request))
        headers = {**patience.headers, "Location": address}
        if query.is_active:
            return Response(_document(request, query), status=202, headers=headers)
        previews.found_by(query)  # or what ended it
        return Response(_document(request, query), headers=headers)


@extend_schema(tags=["change requests"], parameters=[QUERY_ID])
class QueryView(Documented):
    """One query of the caller."""

    scopes = {"get": Scope.READ}

    @extend_schema(responses=QuerySerializer, operation_id="query_retrieve")
    def get(self, request: Request, query_id: int) -> Response:
        """What a statement would change, as far as that is known."""
        query = previews.visible_preview(actor_of(request), query_id)
        if query.kind != UploadKind.SQL:
            raise NotFound("There is no such query. It is a look at other content.")
        return Response(_document(request, query))


def _document(request: Request, query: Preview) -> dict[str, object]:
    return dict(QuerySerializer(query, context={"request": request}).data)
