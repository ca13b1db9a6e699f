"""Conflicts and their choices, merges and their runs."""

import builtins
from collections.abc import Mapping
from typing import Any

import django_filters
from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.viewsets import GenericViewSet, ViewSet

from accounts.scopes import Scope
from api.addresses import OfDatasetFilter
from api.connections import gone_event
from api.downloads import FORMAT, Download, format_of, pages_or_files, place_for_download
from api.filters import since, until
from api.pagination import EngineCursor, InChosenOrder, page_of
from api.parsers import CellJSONParser, ChoicesFile, CSVParser, ParquetParser
from api.preferences import PREFER, patience_of
from api.schema import CR_ID
from api.serializers.merges import (
    CONFLICT_KINDS,
    ChoicesSerializer,
    ChosenForManySerializer,
    ConflictsPageSerializer,
    ManyChoiceSerializer,
    MergeContractSerializer,
    MergedContractSerializer,
    MergeRunDetailSerializer,
    MergeRunSerializer,
    MergeWhenReadySerializer,
    RequestMergeSerializer,
    UndoneSerializer,
    UndoSerializer,
    UnresolvedSerializer,
)
from api.serializers.proposals import ChangeRequestDetailSerializer
from api.views.shared import Documented, actor_of, validated
from changerequests import selectors
from changerequests.facts import visible_facts
from changerequests.models import ChangeRequest, ConflictResolution, MergeRun, choices
from changerequests.services import conflicts, contract, plans, runs, waiting
from changerequests.states import RunStatus
from datasets.errors import InvalidInput
from datasets.roles import datasets_with_role
from datasets.rows import Conflict, ConflictFilter, Held

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, description="The same key answers the same run."
)
FOREVER = "forever"
WAIT = OpenApiParameter(
    "wait",
    str,
    enum=[FOREVER],
    description="Wait until the merge has ended, however long that takes, instead of answering 202 after "
    "`MERGE_WAIT_SECONDS`.",
)
RUN_ID = OpenApiParameter("run_id", int, OpenApiParameter.PATH)


class ConflictParameters(EngineCursor):
    """Which conflicts: all that fit. Values go with the column that they are of."""

    column = serializers.CharField(
        required=False, allow_blank=True, help_text="Those of a column; empty for whole rows."
    )
    kind = serializers.ChoiceField(CONFLICT_KINDS, required=False, help_text="First Current, then Proposed.")
    current = serializers.CharField(
        required=False, trim_whitespace=False, help_text="Current is this value, as the text of a cell."
    )
    current_null = serializers.BooleanField(required=False, help_text="Current is NULL.")
    proposed = serializers.CharField(
        required=False, trim_whitespace=False, help_text="Proposed is this value, as the text of a cell."
    )
    proposed_null = serializers.BooleanField(required=False, help_text="Proposed is NULL.")
    unresolved = serializers.BooleanField(required=False, help_text="Only those without a choice.")


def _filter_of(wanted: Mapping[str, Any]) -> ConflictFilter:
    """The filter in the parameters of an address."""

    def held(side: str) -> Held | None:
        if wanted.get(f"{side}_null"):
            return Held(None)
        return Held(wanted[side], as_text=True) if side in wanted else None

    return ConflictFilter(wanted.get("column"), wanted.get("kind"), held("current"), held("proposed"))


@extend_schema(tags=["conflicts"], parameters=[CR_ID])
class ConflictViewSet(Documented, ViewSet):
    """What Current and Proposed both changed, and what was chosen."""

    scopes = {
        "list": Scope.READ,
        "resolve": Scope.PROPOSE,
        "resolve_by_file": Scope.PROPOSE,
        "resolve_matching": Scope.PROPOSE,
        "undo": Scope.PROPOSE,
    }
    parser_classes = [CellJSONParser]
    body_limit = "LONG_LIST_LIMIT_BYTES"

    @extend_schema(
        parameters=[ConflictParameters, FORMAT],
        responses=pages_or_files(
            ConflictsPageSerializer,
            "A conflict in each row: the key columns, `column`, `kind`, `base`, `current`, `proposed`, `choice`, "
            "`value`, `inputs_digest`, `seen`; values as text.",
        ),
        operation_id="conflicts",
    )
    def list(self, request: Request, cr_id: str) -> Response | Download:
        """The conflicts with the table as it is now, resolved ones included."""
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        wanted = validated(ConflictParameters, request.query_params)
        file_format = format_of(request)
        if file_format is not None:
            with place_for_download() as place:
                stream = plans.all_conflicts(change_request, _filter_of(wanted))
                return Download(request, stream, file_format, f"{cr_id}-conflicts", place)
        page = plans.conflicts_page(
            change_request=change_request,
            wanted=_filter_of(wanted),
            unresolved_only=wanted.get("unresolved", False),
            after=wanted.get("cursor"),
            limit=wanted["limit"],
            by_column=True,
        )
        answer = page_of(
            request,
            page.conflicts,
            page.next,
            total=page.total,
            unresolved=page.unresolved,
            table_version=page.table_version,
            matching=page.matching,
            offered=page.offered,
            selection=page.selection,
            selections=page.selections,
            choices=[_standing(one, chosen) for one in page.conflicts if (chosen := page.chosen_for(one))],
        )
        return Response(ConflictsPageSerializer(answer).data)

    @extend_schema(request=ChoicesSerializer, responses=UnresolvedSerializer)
    def resolve(self, request: Request, cr_id: str) -> Response:
        """Store choices, all or none; `plan_changed` if the values of one moved since they were looked at, or if
        somebody else chose meanwhile: then `choices` tells who chose what, and when.
        """
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        wanted = validated(ChoicesSerializer, request.data)
        chosen = [conflicts.Choosing(**dict(choice)) for choice in wanted["resolutions"]]
        unresolved = conflicts.resolve(
            change_request_id=change_request.pk, actor=actor_of(request), choices=chosen
        )
        return Response(UnresolvedSerializer({"unresolved": unresolved}).data)

    @extend_schema(
        request={CSVParser.media_type: OpenApiTypes.BINARY, ParquetParser.media_type: OpenApiTypes.BINARY},
        responses=UnresolvedSerializer,
        operation_id="conflicts_update",
    )
    def resolve_by_file(self, request: Request, cr_id: str) -> Response:
        """Store the choices of a file, all or none: a download of the conflicts with `choice` and `value` filled in.

        Lines without a choice are left out. 422 `staging_rejected` tells every line that does not fit, 409
        `plan_changed` the lines whose values moved. A choice of somebody else is replaced where `seen` names it.
        """
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        received = request.data
        if not isinstance(received, ChoicesFile):  # a body of no bytes is never parsed
            sentence = "The body is empty: send the file with the choices."
            raise InvalidInput(sentence, errors={"file": [sentence]})
        unresolved = conflicts.resolve_by_file(
            change_request_id=change_request.pk,
            actor=actor_of(request),
            content=received.content,
            file_format=received.file_format,
        )
        return Response(UnresolvedSerializer({"unresolved": unresolved}).data)

    def get_parsers(self) -> "builtins.list[BaseParser]":
        """Files are put, choices in JSON are posted."""
        if getattr(self.request, "method", None) == "PUT":
            return [CSVParser(), ParquetParser()]
        return [*super().get_parsers()]

    @extend_schema(request=ManyChoiceSerializer, responses=ChosenForManySerializer)
    def resolve_matching(self, request: Request, cr_id: str) -> Response:
        """Make the same choice for every conflict that a filter finds (a column, a kind, a value of Current or
        Proposed), that has none yet and offers it. `undo` in the answer takes it back.
        """
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        wanted = validated(ManyChoiceSerializer, request.data)
        sides = {side: Held(wanted[side]) for side in ("current", "proposed") if side in wanted}
        done = conflicts.resolve_matching(
            change_request_id=change_request.pk,
            actor=actor_of(request),
            wanted=ConflictFilter(wanted.get("column"), wanted.get("kind"), **sides),
            choice=wanted["choice"],
            seen=wanted["seen"],
        )
        return Response(ChosenForManySerializer(done).data)

    @extend_schema(request=UndoSerializer, responses=UndoneSerializer)
    def undo(self, request: Request, cr_id: str) -> Response:
        """Let what stood before a choice of yours for many stand again, wherever nobody chose since."""
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        wanted = validated(UndoSerializer, request.data)
        done = conflicts.undo(
            change_request_id=change_request.pk, actor=actor_of(request), name=wanted["undo"]
        )
        return Response(UndoneSerializer(done).data)


def _standing(conflict: Conflict, chosen: ConflictResolution) -> dict[str, Any]:
    """The choice that stands for a conflict."""
    return {
        "key": conflict.key,
        "column": conflict.column,
        "choice": conflict.choice,
        "value": conflict.value,
        "chosen_by": chosen.chosen_by.get_username(),
        "chosen_at": chosen.chosen_at,
        "digest": plans.seen_choice(conflict),
    }


@extend_schema(tags=["merging"])
class MergeView(Documented):
    """Merging one change request. The run itself remembers the key."""

    remembers_answers = False

    scopes = {"post": Scope.MERGE}

    @extend_schema(
        parameters=[CR_ID, PREFER, IDEMPOTENCY_KEY],
        request=RequestMergeSerializer,
        responses={
            200: OpenApiResponse(MergeRunDetailSerializer, description="The merge stands."),
            202: OpenApiResponse(MergeRunDetailSerializer, description="Queued; `Location` is the run."),
        },
        operation_id="merge_change_request",
    )
    def post(self, request: Request, cr_id: str) -> Response:
        """Queue the merge of a pending request. Asking again answers the same run."""
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        wanted = validated(RequestMergeSerializer, request.data)
        run = runs.request_merge(
            change_request_id=change_request.pk,
            actor=actor_of(request),
            seen=runs.Seen(
                revision_digest=wanted["revision_digest"],
                plan_digest=wanted["plan_digest"],
                table_version=wanted.get("table_version"),
                suite_number=wanted.get("suite_version"),
            ),
            message=wanted["message"],
            idempotency_key=request.headers.get("Idempotency-Key", "").strip(),
            dataset_name_typed=wanted["dataset_name"],
            merge_schema=wanted["merge_schema"],
            skip_conflict_check=wanted["skip_conflict_check"],
            force_merge=wanted["force_merge"],
            override_reason=wanted["reason"],
            requested_for=wanted["requested_by"],
        )
        patience = patience_of(request, default=0)
        if patience.seconds:
            run = runs.wait_for_run(run.pk, patience.seconds)
        runs.raise_unless_merged(run)
        return _run_answer(request, run, patience.headers)


@extend_schema(tags=["merging"])
class MergeContractView(Documented):
    """``POST /delta/merge-cr``: the synchronous merge for existing clients. The run itself remembers the key."""

    remembers_answers = False

    scopes = {"post": Scope.MERGE}

    @extend_schema(
        parameters=[IDEMPOTENCY_KEY, WAIT],
        request=MergeContractSerializer,
        responses={
            200: OpenApiResponse(MergedContractSerializer, description="The merge stands."),
            202: OpenApiResponse(
                MergeRunDetailSerializer,
                description="It takes longer than the server waits; `Location` is the run.",
            ),
        },
        operation_id="merge_cr",
    )
    def post(self, request: Request) -> Response:
        """Merge a change request and wait for the end. Merging twice answers the first result again.

        With `?wait=forever` there is no 202: the answer comes when the merge has ended. Whoever leaves meanwhile ends
        the waiting, not the merge, and may ask again.
        """
        call = contract.MergeCall(**validated(MergeContractSerializer, request.data))
        run = contract.merge_and_wait(
            actor=actor_of(request),
            call=call,
            idempotency_key=request.headers.get("Idempotency-Key", "").strip(),
            for_ever=request.query_params.get("wait") == FOREVER,
            gone=gone_event(request),
        )
        if run.is_active:
            return _run_answer(request, run, {})
        answer = {"status": "ok", **(run.result or {}), "cleanup": contract.is_cleaned_up(run)}
        return Response(MergedContractSerializer(answer).data)


@extend_schema(tags=["merging"], parameters=[CR_ID])
class MergeWhenReadyView(Documented):
    """The wish to merge once nothing has to be waited for."""

    scopes = {"put": Scope.MERGE, "delete": Scope.MERGE}

    @extend_schema(request=MergeWhenReadySerializer, responses=ChangeRequestDetailSerializer)
    def put(self, request: Request, cr_id: str) -> Response:
        """Let the merge begin by itself once the last `wait` is over; at once where there is none.

        409 `blocked` with what somebody has to mend first. New content, choices of others, going back to draft and
        closing take the wish back.
        """
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        wanted = validated(MergeWhenReadySerializer, request.data)
        waiting.merge_when_ready(
            change_request_id=change_request.pk, actor=actor_of(request), message=wanted["message"]
        )
        return Response(ChangeRequestDetailSerializer.of(visible_facts(actor_of(request), cr_id)))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, cr_id: str) -> Response:
        """Take the wish back. For whoever may merge the request, and its author."""
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        waiting.stop_waiting(change_request_id=change_request.pk, actor=actor_of(request))
        return Response(status=204)


class MergeRunFilter(django_filters.FilterSet):
    """Which runs."""

    dataset = OfDatasetFilter(field_name="dataset")
    status = django_filters.MultipleChoiceFilter(choices=choices(RunStatus), help_text="One or several.")
    change_request = django_filters.CharFilter(method="of_change_request", help_text="For example CR-128.")
    requested_by = django_filters.CharFilter(field_name="requested_by__username", help_text="User name.")
    queued_since, queued_until = since("queued_at"), until("queued_at")

    class Meta:
        model = MergeRun
        fields: list[str] = []

    def of_change_request(self, found: QuerySet[MergeRun], _: str, cr_id: str) -> QuerySet[MergeRun]:
        return found.filter(change_request=ChangeRequest.pk_of(cr_id) or 0)


@extend_schema(tags=["merging"])
class MergeRunViewSet(Documented, GenericViewSet):
    """Merge runs of datasets that the caller may see."""

    tagged = ("retrieve",)
    scopes = {"list": Scope.READ, "retrieve": Scope.READ, "cancel": Scope.MERGE}
    queryset = MergeRun.objects.none()
    serializer_class = MergeRunSerializer
    pagination_class = InChosenOrder
    orders = {
        "-number": ("-pk",),
        "number": ("pk",),
        "-queued": ("-queued_at", "-pk"),
        "queued": ("queued_at", "pk"),
    }
    filterset_class = MergeRunFilter
    lookup_url_kwarg = "run_id"

    def get_queryset(self) -> QuerySet[MergeRun]:
        if getattr(self, "swagger_fake_view", False):
            return self.queryset
        return MergeRun.objects.filter(
            dataset__in=datasets_with_role(actor_of(self.request)).values("pk")
        ).select_related("change_request", "requested_by", "suite_version")

    @extend_schema(responses=MergeRunSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Runs, newest first unless asked otherwise."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(MergeRunSerializer(page, many=True).data)

    @extend_schema(parameters=[RUN_ID], responses=MergeRunDetailSerializer)
    def retrieve(self, request: Request, run_id: int) -> Response:
        """One run: where it stands, and how it ended."""
        run = selectors.visible_run(actor_of(request), run_id)
        return Response(MergeRunDetailSerializer(run).data)

    @extend_schema(parameters=[RUN_ID], request=None, responses=MergeRunDetailSerializer)
    def cancel(self, request: Request, run_id: int) -> Response:
        """Stop a queued run at once, or ask a running one to stop before it commits."""
        selectors.visible_run(actor_of(request), run_id)
        run = runs.cancel_run(run_id=run_id, actor=actor_of(request))
        return Response(MergeRunDetailSerializer(run).data)


def _run_answer(request: Request, run: MergeRun, headers: dict[str, str]) -> Response:
    """200 with a run that has ended, 202 and its address for one that has not."""
    if not run.is_active:
        return Response(MergeRunDetailSerializer(run).data, headers=headers)
    address: Any = reverse("api:run", args=[run.pk], request=request)
    return Response(MergeRunDetailSerializer(run).data, status=202, headers={**headers, "Location": address})
