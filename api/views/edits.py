"""The caller's edits of a dataset's rows: edited, undone, replaced, proposed, thrown away."""

from typing import Any

from django.conf import settings
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.scopes import Scope
from api.idempotency import call_of
from api.parsers import LongListJSONParser
from api.preferences import PREFER, patience_of
from api.schema import DATASET_ID
from api.serializers.edits import (
    AppliedSerializer,
    EditRowsOfTableSerializer,
    ProposeEditsSerializer,
    ReplacedSerializer,
    ReplaceSerializer,
    TraySerializer,
)
from api.serializers.proposing import ProposalSerializer
from api.views.proposing import answer
from api.views.rows import filter_of
from api.views.shared import Documented, actor_of, validated
from api.views.uploads import received_before
from changerequests.services import edits, replacing, uploads
from datasets.addressing import DatasetAddress
from datasets.models import Dataset
from datasets.roles import visible_dataset


@extend_schema(tags=["datasets"], parameters=[DATASET_ID])
class EditsView(Documented):
    """The tray: what the caller edited of a dataset and has not proposed. Nobody else sees it."""

    parser_classes = [LongListJSONParser]
    body_limit = "LONG_LIST_LIMIT_BYTES"
    further_problems = (("410", "Gone"),)
    scopes = {"get": Scope.PROPOSE, "patch": Scope.PROPOSE, "delete": Scope.PROPOSE}

    @extend_schema(responses=TraySerializer, operation_id="edits_retrieve")
    def get(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """The caller's edits of the dataset, with what is wrong with them and what others changed meanwhile."""
        dataset = visible_dataset(actor_of(request), dataset_id)
        found = edits.tray_of(dataset=dataset, person=actor_of(request))
        return Response(TraySerializer(tray_document(found)).data)

    @extend_schema(
        request=EditRowsOfTableSerializer, responses=AppliedSerializer, operation_id="edits_update"
    )
    def patch(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """Edit, add, delete and restore rows: all of it as one step. The answer has the rows that were touched.

        What does not fit is kept and told as the cell's `problem`. A cell that meanwhile holds something else than
        `seen` is set all the same, and told in `overwritten`.
        """
        dataset = visible_dataset(actor_of(request), dataset_id)
        wanted = validated(EditRowsOfTableSerializer, request.data)
        applied = edits.apply(
            dataset=dataset,
            actor=actor_of(request),
            changes=EditRowsOfTableSerializer.changes_in(wanted),
            version=wanted.get("version"),
        )
        return Response(_applied(request, dataset, applied))

    @extend_schema(
        request=None,
        responses={204: OpenApiResponse(description="They are gone.")},
        operation_id="edits_destroy",
    )
    def delete(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """Throw the edits away, for good."""
        dataset = visible_dataset(actor_of(request), dataset_id)
        edits.discard(dataset=dataset, actor=actor_of(request))
        return Response(status=204)


@extend_schema(tags=["datasets"], parameters=[DATASET_ID])
class UndoView(Documented):
    """The last step of the tray."""

    scopes = {"post": Scope.PROPOSE}

    @extend_schema(request=None, responses=AppliedSerializer, operation_id="edits_undo")
    def post(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """Take the last step back."""
        dataset = visible_dataset(actor_of(request), dataset_id)
        return Response(_applied(request, dataset, edits.undo(dataset=dataset, actor=actor_of(request))))


@extend_schema(tags=["datasets"], parameters=[DATASET_ID])
class RedoView(Documented):
    """The step of the tray that was undone last."""

    scopes = {"post": Scope.PROPOSE}

    @extend_schema(request=None, responses=AppliedSerializer, operation_id="edits_redo")
    def post(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """Do the step again that was taken back last."""
        dataset = visible_dataset(actor_of(request), dataset_id)
        return Response(_applied(request, dataset, edits.redo(dataset=dataset, actor=actor_of(request))))


@extend_schema(tags=["datasets"], parameters=[DATASET_ID])
class ReplaceView(Documented):
    """Find and replace."""

    further_problems = (("412", "Changed"),)
    scopes = {"post": Scope.PROPOSE}

    @extend_schema(request=ReplaceSerializer, responses=ReplacedSerializer, operation_id="edits_replace")
    def post(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """Find and replace in the rows that the filters let through, as one step; with `look` it is only counted."""
        dataset = visible_dataset(actor_of(request), dataset_id)
        wanted = validated(ReplaceSerializer, request.data)
        looked_for = replacing.Replacing(
            columns=tuple(wanted["columns"]),
            find=wanted["find"],
            replace=wanted["replace"],
            match_case=wanted["match_case"],
            whole_cell=wanted["whole_cell"],
            filters=tuple(filter_of(text) for text in wanted["filter"]),
        )
        found = replacing.find(dataset=dataset, actor=actor_of(request), replacing=looked_for)
        tray = None
        if not wanted["look"]:
            applied = replacing.replace(
                dataset=dataset,
                actor=actor_of(request),
                replacing=looked_for,
                counted=wanted.get("counted"),
            )
            tray = _applied(request, dataset, applied)
        shown = [
            {
                "key": cell.row.key,
                "row": cell.row.name,
                "column": cell.column,
                "before": cell.before,
                "after": cell.after,
            }
            for cell in found.cells[: replacing.SHOWN]
        ]
        told = {"cells": len(found.cells), "rows": found.rows, "shown": shown, "tray": tray}
        return Response(ReplacedSerializer(told).data)


@extend_schema(tags=["datasets"])
class ProposeEditsView(Documented):
    """A change request from the tray."""

    waits = True
    scopes = {"post": Scope.PROPOSE}

    @extend_schema(
        parameters=[DATASET_ID, PREFER],
        request=ProposeEditsSerializer,
        responses={
            201: OpenApiResponse(ProposalSerializer, description="Staged; `Location` is the change request."),
            202: OpenApiResponse(
                ProposalSerializer, description="Received, and not staged yet; `Location` is the upload."
            ),
        },
        operation_id="edits_propose",
    )
    def post(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """Make the edits a change request, on the version of the table that they were made on.

        They stand still until the upload ends and are gone once it is staged; where it is refused they are as before.
        """
        dataset = visible_dataset(actor_of(request), dataset_id)
        wanted = validated(ProposeEditsSerializer, request.data)
        upload = received_before(request) or edits.propose(
            dataset=dataset, actor=actor_of(request), call=call_of(request), **wanted
        )
        patience = patience_of(request, default=settings.UPLOAD_WAIT_SECONDS)
        return answer(request, uploads.wait_for_upload(upload.pk, patience.seconds), patience)


def tray_document(tray: edits.Tray) -> dict[str, Any]:
    """A tray as the serializers take it."""
    upload = tray.edits.upload if tray.edits is not None else None
    return {
        "version": tray.version,
        "counts": tray.counts,
        "rows": tray.rows,
        "problems": tray.problems,
        "moved": tray.moved,
        "kept_until": edits.kept_until(tray.edits) if tray.edits is not None and tray.counts.rows else None,
        "upload": upload.pk if upload is not None and upload.is_active else None,
        "failure": edits.failure_of(tray.edits),
    }


def _applied(request: Request, dataset: Dataset, applied: edits.Applied) -> dict[str, Any]:
    tray = edits.tray_of(dataset=dataset, person=actor_of(request), names=applied.touched)
    there = {row.name for row in tray.rows}
    told = {
        **tray_document(tray),
        "added": applied.added,
        "restored": [name for name in applied.touched if name not in there],
        "overwritten": applied.overwritten,
    }
    return dict(AppliedSerializer(told).data)
