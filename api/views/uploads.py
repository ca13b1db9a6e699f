"""Uploads: content is received here and read by a worker; this waits, tells where it stands, and cancels."""

from pathlib import Path

from django.conf import settings
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from accounts.scopes import Scope
from api.idempotency import call_of
from api.pagination import EngineCursor, page_both_ways
from api.parsers import LongListJSONParser
from api.preferences import PREFER, patience_of
from api.schema import CR_ID, IF_MATCH
from api.serializers.proposals import (
    EditRowsSerializer,
    ReceivedUploadSerializer,
    RevisionSerializer,
    StagedRowsSerializer,
    UploadSerializer,
)
from api.views.shared import Documented, actor_of, validated, versions_matched
from changerequests import selectors
from changerequests.models import Upload
from changerequests.services import plans, staged_rows, suggestions, uploads
from datasets.errors import NotFound
from datasets.rows import column_actions

UPLOAD_ID = OpenApiParameter("upload_id", int, OpenApiParameter.PATH)


@extend_schema(tags=["change requests"])
class UploadView(Documented):
    """Uploads come as forms with a file."""

    parser_classes = [MultiPartParser]
    body_limit = "UPLOAD_LIMIT_BYTES"
    waits = True
    scopes = {"post": Scope.PROPOSE}

    @extend_schema(
        parameters=[CR_ID, PREFER],
        request={"multipart/form-data": UploadSerializer},
        responses={
            201: OpenApiResponse(RevisionSerializer, description="Staged; `Location` is the upload."),
            202: OpenApiResponse(
                ReceivedUploadSerializer, description="Received and not staged yet; `Location` is the upload."
            ),
        },
        operation_id="change_requests_upload_create",
    )
    def post(self, request: Request, cr_id: str) -> Response:
        """Make a file's rows the content of the request: CSV, Parquet, JSON lines, Arrow or XLSX.

        A worker reads the file. The answer waits for it up to 20 seconds, or as `Prefer` says, then it is 202 and the
        upload tells how it goes on. 422 `staging_rejected` lists every problem by line and column, 422
        `nothing_to_change` says that the rows equal the table (or that there are none) where the request has no content
        yet; then nothing was staged.
        """
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        wanted = validated(UploadSerializer, request.data)
        file = wanted["file"]
        upload = received_before(request) or uploads.receive(
            change_request_id=change_request.pk,
            actor=actor_of(request),
            content=uploads.ReceivedFile(
                Path(file.temporary_file_path()),
                file_name=file.name,
                file_format=wanted.get("file_format"),
                null_token=wanted["null_token"],
                column_types=wanted.get("column_types") or {},
                column_actions=column_actions(wanted.get("columns", {})),
                empty_cells=wanted.get("empty_cells"),
            ),
            call=call_of(request),
        )
        return _answer(request, upload)


@extend_schema(tags=["change requests"], parameters=[CR_ID])
class StagedRowsView(Documented):
    """The rows of a request's content, one by one."""

    parser_classes = [LongListJSONParser]
    body_limit = "LONG_LIST_LIMIT_BYTES"
    scopes = {"get": Scope.READ, "patch": Scope.PROPOSE}

    @extend_schema(parameters=[EngineCursor], responses=StagedRowsSerializer, operation_id="staged_rows_list")
    def get(self, request: Request, cr_id: str) -> Response:
        """The staged rows of an open request in key order, as they can be sent again: `_op`, the key, the values given.

        `ETag` is the digest of the content.
        """
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        wanted = validated(EngineCursor, request.query_params)
        revision = staged_rows.content_of(change_request)
        page = plans.changes_page(
            change_request=change_request, after=wanted.get("cursor"), limit=wanted["limit"]
        )
        found = page_both_ways(request, map(staged_rows.row_as_sent, page.items), page)
        return Response(StagedRowsSerializer(found).data, headers={"ETag": f'"{revision.digest}"'})

    @extend_schema(
        parameters=[IF_MATCH, PREFER],
        request=EditRowsSerializer,
        responses={
            201: OpenApiResponse(RevisionSerializer, description="Staged; `Location` is the upload."),
            202: OpenApiResponse(
                ReceivedUploadSerializer, description="Received and not staged yet; `Location` is the upload."
            ),
        },
        operation_id="staged_rows_edit",
    )
    def patch(self, request: Request, cr_id: str) -> Response:
        """Edit, add and take out single rows of the content: a new revision on the same base.

        A row that is there keeps the values that its edit leaves out, unless `_op` says another operation. With
        `If-Match`, only while the content is the one that `ETag` told of; else 412 `request_changed`. For content of up
        to 50,000 rows that was not rebased; other content is sent whole.
        """
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        wanted = validated(EditRowsSerializer, request.data)
        upload = staged_rows.edit_rows(
            change_request_id=change_request.pk,
            actor=actor_of(request),
            seen=versions_matched(request),
            **wanted,
        )
        return _answer(request, upload)


@extend_schema(
    tags=["change requests"],
    parameters=[CR_ID, OpenApiParameter("comment_id", int, OpenApiParameter.PATH)],
)
class TakeSuggestionView(Documented):
    """Another value that somebody suggested for a cell."""

    waits = True
    scopes = {"post": Scope.PROPOSE}

    @extend_schema(
        parameters=[PREFER],
        request=None,
        responses={
            201: OpenApiResponse(RevisionSerializer, description="Staged; `Location` is the upload."),
            202: OpenApiResponse(
                ReceivedUploadSerializer, description="Not staged yet; `Location` is the upload."
            ),
        },
        operation_id="suggestion_take",
    )
    def post(self, request: Request, cr_id: str, comment_id: int) -> Response:
        """Take a suggestion over: a new revision that proposes the value. For the author and owners, once.

        409 `plan_changed` where the content proposes another value by now than the one that it was suggested for.
        """
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        if not selectors.comments_on(change_request).filter(pk=comment_id).exists():
            raise NotFound("There is no such comment.")
        upload = received_before(request) or suggestions.take(
            comment_id=comment_id, actor=actor_of(request), call=call_of(request)
        )
        return _answer(request, upload)


def received_before(request: Request) -> Upload | None:
    """The upload that the same call brought before, where its answer did not get through: the process that was to give
    it ended, or its caller went.
    """
    return uploads.received_by(call_of(request), sender=actor_of(request))


def _answer(request: Request, upload: Upload) -> Response:
    """The revision that an upload became, or the upload where that takes longer than the caller waits."""
    patience = patience_of(request, default=settings.UPLOAD_WAIT_SECONDS)
    upload = uploads.wait_for_upload(upload.pk, patience.seconds)
    headers = {
        **patience.headers,
        "Location": reverse("api:received-upload", args=[upload.pk], request=request),
    }
    if upload.is_active:
        return Response(_document(request, upload), status=202, headers=headers)
    return Response(RevisionSerializer(uploads.revision_of(upload)).data, status=201, headers=headers)


@extend_schema(tags=["change requests"], parameters=[UPLOAD_ID])
class ReceivedUploadView(Documented):
    """One upload of the caller, or to a dataset that the caller owns."""

    tagged = ("get",)
    scopes = {"get": Scope.READ, "delete": Scope.PROPOSE}

    @extend_schema(responses=ReceivedUploadSerializer, operation_id="upload_retrieve")
    def get(self, request: Request, upload_id: int) -> Response:
        """Where an upload stands: received, reading, checking, then staged, refused, failed or cancelled."""
        return Response(_document(request, uploads.visible_upload(actor_of(request), upload_id)))

    @extend_schema(request=None, responses={200: ReceivedUploadSerializer}, operation_id="upload_destroy")
    def delete(self, request: Request, upload_id: int) -> Response:
        """Cancel an upload: at once where it waits, as soon as the worker looks where it is being read."""
        return Response(
            _document(request, uploads.cancel_upload(upload_id=upload_id, actor=actor_of(request)))
        )


def _document(request: Request, upload: Upload) -> dict[str, object]:
    return dict(ReceivedUploadSerializer(upload, context={"request": request}).data)
