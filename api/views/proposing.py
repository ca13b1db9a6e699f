"""Proposals in one call: content in any shape becomes a request, submitted and merged where that was asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from accounts.scopes import Scope
from api.authentication import require_scope
from api.idempotency import call_of
from api.parsers import CONTENT_TYPES, ContentParser, LongListJSONParser, content_type_of
from api.preferences import PREFER, Patience, patience_of
from api.schema import DATASET_ID
from api.serializers.proposals import ChangeRequestDetailSerializer, ReceivedUploadSerializer
from api.serializers.proposing import (
    ContentProposalSerializer,
    FormProposalSerializer,
    ProposalSerializer,
    RowsProposalSerializer,
)
from api.views.shared import Documented, actor_of, validated
from api.views.uploads import received_before
from changerequests import selectors
from changerequests.errors import NothingToChange
from changerequests.facts import visible_facts
from changerequests.models import Upload
from changerequests.services import previews, uploads
from changerequests.states import FollowUp, Outcome, UploadKind
from datasets.addressing import DatasetAddress
from datasets.errors import InvalidInput, NotFound
from datasets.models import Dataset
from datasets.roles import visible_dataset
from datasets.rows import column_actions, write_json


@extend_schema(tags=["change requests"])
class ProposalView(Documented):
    """Content comes in a form, as the body itself, or as JSON."""

    parser_classes = [MultiPartParser, LongListJSONParser, ContentParser]
    body_limit = "UPLOAD_LIMIT_BYTES"
    waits = True
    scopes = {"post": Scope.PROPOSE}

    @extend_schema(
        parameters=[DATASET_ID, ContentProposalSerializer, PREFER],
        request={
            "application/json": RowsProposalSerializer,
            "multipart/form-data": FormProposalSerializer,
            **dict.fromkeys(CONTENT_TYPES, OpenApiTypes.BINARY),
        },
        responses={
            200: OpenApiResponse(
                ProposalSerializer,
                description="There is nothing to change, which was to be ignored: no new request is left.",
            ),
            201: OpenApiResponse(ProposalSerializer, description="Staged; `Location` is the change request."),
            202: OpenApiResponse(
                ProposalSerializer,
                description="Received, and not all is done that was asked for; `Location` is the upload.",
            ),
        },
        operation_id="proposals_create",
    )
    def post(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """Propose changes in one call.

        The content is a file in a form, the body itself by its media type (`Content-Encoding: gzip` may pack it; what
        is asked for stands in the address then), or JSON with `rows`, `sql` or `from_table`. A draft is made with the
        call and named by the answer; where its content is not staged, it is removed again, and 422 lists every problem
        by line and column. The answer waits up to 20 seconds, or as `Prefer` says; then it is 202, and the upload tells
        how it goes on. What shall follow is done as the caller with the rights of then; where it is not possible the
        request stays what it got to, and `upload.followed_up` says why.
        """
        dataset = visible_dataset(actor_of(request), dataset_id)
        wanted = _wanted(request)
        if wanted["merge_when_ready"]:
            require_scope(request, Scope.MERGE)
        ignoring = wanted["on_nothing_to_change"] == "ignore"
        if wanted.get("rows") == []:
            return _nothing(request, None, NothingToChange("There are no rows."), ignoring, Patience(0, ""))
        upload = received_before(request) or _received(request, dataset, wanted)
        patience = patience_of(request, default=settings.UPLOAD_WAIT_SECONDS)
        return answer(
            request, uploads.wait_for_upload(upload.pk, patience.seconds), patience, ignoring=ignoring
        )


def _wanted(request: Request) -> dict[str, Any]:
    """What is asked for, wherever the shape of the body has it."""
    sent: Any = request.data or {}  # nothing of an empty body
    kind = content_type_of(request.content_type)
    if kind in CONTENT_TYPES:
        return of_content(request, ContentProposalSerializer, kind)
    if request.query_params:
        sentence = "Parameters in the address are for content that is the body itself. Give it in the body."
        raise InvalidInput(sentence, errors={name: [sentence] for name in request.query_params})
    shape = FormProposalSerializer if kind == "multipart/form-data" else RowsProposalSerializer
    return validated(shape, sent)


def of_content(request: Request, shape: type[serializers.Serializer], kind: str) -> dict[str, Any]:
    """What is asked for in the address, where the body is the content itself, of the media type ``kind``."""
    sent: Any = request.data or {}  # nothing of an empty body
    file, file_format = sent.get("file"), CONTENT_TYPES[kind]
    wanted = validated(shape, request.query_params)
    if file is None:
        raise InvalidInput("The body is empty. Send the content as the body.")
    named = wanted.setdefault("file_format", file_format)
    if not named:
        sentence = "The media type names no format: say csv, parquet, jsonl, arrow or xlsx."
        raise InvalidInput(sentence, errors={"file_format": [sentence]})
    if file_format and named != file_format:
        sentence = f"The body is {file_format} by its media type, not {named}."
        raise InvalidInput(sentence, errors={"file_format": [sentence]})
    return {**wanted, "file": file, "file_name": wanted.get("file_name", "")}


def _received(request: Request, dataset: Dataset, wanted: dict[str, Any]) -> Upload:
    actor, call = actor_of(request), call_of(request)
    then = uploads.Then(_follow_up(wanted), wanted["message"])
    with received_content(wanted, actor) as content:
        if "change_request" not in wanted:
            return uploads.receive_draft(
                dataset=dataset,
                author=actor,
                title=wanted["title"],
                description=wanted.get("description", ""),
                merge_schema=wanted.get("merge_schema", True),
                content=content,
                then=then,
                call=call,
            )
        change_request = selectors.visible_change_request(actor, wanted["change_request"])
        if change_request.dataset_id != dataset.pk:
            raise NotFound(f"{dataset.name} has no change request {change_request.cr_id}.")
        return uploads.receive(
            change_request_id=change_request.pk, actor=actor, content=content, then=then, call=call
        )


def _follow_up(wanted: dict[str, Any]) -> FollowUp:
    if wanted["merge_when_ready"]:
        return FollowUp.MERGE_WHEN_READY
    if wanted["message"]:
        sentence = "It is that of the merge: ask for merge_when_ready, too."
        raise InvalidInput(sentence, errors={"message": [sentence]})
    return FollowUp.SUBMIT if wanted["submit"] else FollowUp.NOTHING


@contextmanager
def received_content(wanted: dict[str, Any], actor: User) -> Iterator[uploads.Content]:
    """What came, for the service; a file that was written here is gone afterwards."""
    decided = column_actions(wanted.get("columns", {}))
    if "preview" in wanted:
        yield previews.visible_preview(actor, wanted["preview"])
    elif "sql" in wanted:
        yield uploads.NamedSource(UploadKind.SQL, wanted["sql"], column_actions=decided)
    elif "from_table" in wanted:
        yield uploads.NamedSource(UploadKind.TABLE, wanted["from_table"], wanted.get("base_version"))
    elif "rows" in wanted:
        # With all digits of their numbers.
        with uploads.written_down(f"{write_json(row)}\n" for row in wanted["rows"]) as path:
            yield uploads.ReceivedFile(
                path,
                file_name="rows",
                file_format="jsonl",
                column_types=wanted.get("column_types") or {},
                column_actions=decided,
                kind=UploadKind.ROWS,
            )
    else:
        file = wanted["file"]
        yield uploads.ReceivedFile(
            Path(file.temporary_file_path()),
            file_name=wanted.get("file_name") or file.name,
            file_format=wanted.get("file_format"),
            null_token=wanted["null_token"],
            column_types=wanted.get("column_types") or {},
            column_actions=decided,
            empty_cells=wanted.get("empty_cells"),
        )


def _nothing(
    request: Request, upload: Upload | None, refusal: NothingToChange, ignoring: bool, patience: Patience
) -> Response:
    if not ignoring:
        raise refusal
    return Response(_document(request, upload, Outcome.NOTHING_TO_CHANGE), headers=patience.headers)


def answer(request: Request, upload: Upload, patience: Patience, *, ignoring: bool = False) -> Response:
    """The answer to a proposal: 202 while something is left to do, 201 once all that is possible was done, 200 where
    nothing is to change and that is ``ignoring``.

    Raises what ended the upload.
    """
    try:
        return _answer(request, upload, patience, ignoring=ignoring)
    except NotFound:
        now = uploads.wait_for_upload(upload.pk, 0)
        if upload.is_settled or not now.is_settled:
            raise
        # It ended, and the draft that was made for it was removed, while this was answered.
        return _answer(request, now, patience, ignoring=ignoring)


def _answer(request: Request, upload: Upload, patience: Patience, *, ignoring: bool) -> Response:
    if upload.error_code == NothingToChange.code:
        refusal = NothingToChange(upload.error_message, **upload.error_data)
        return _nothing(request, upload, refusal, ignoring, patience)
    if not upload.is_settled:
        outcome, status = Outcome.STAGED if upload.revision else Outcome.READING, 202
        location = reverse("api:received-upload", args=[upload.pk], request=request)
    else:
        revision = uploads.revision_of(upload)
        outcome, status = Outcome(upload.followed_up.get("outcome", Outcome.STAGED)), 201
        location = reverse("api:change-request", args=[revision.change_request.cr_id], request=request)
    headers = {**patience.headers, "Location": str(location)}
    return Response(_document(request, upload, outcome), status=status, headers=headers)


def _document(request: Request, upload: Upload | None, outcome: Outcome) -> dict[str, Any]:
    change_request = upload.change_request if upload is not None else None
    facts = visible_facts(actor_of(request), change_request.cr_id) if change_request is not None else None
    return {
        "upload": ReceivedUploadSerializer(upload, context={"request": request}).data if upload else None,
        "change_request": ChangeRequestDetailSerializer.of(facts) if facts is not None else None,
        "outcome": outcome,
    }
