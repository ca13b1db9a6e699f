"""What is told of a table beyond its rows: who made a row what it is, how worn the table is, the trail."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.viewsets import ViewSet

from accounts.scopes import Scope
from api.downloads import TrailDownload, place_for_download
from api.pagination import page_of
from api.schema import DATASET_ID
from api.serializers.proposals import ChangeRequestDetailSerializer
from api.serializers.tables import (
    ColumnHistoryParameters,
    ColumnHistorySerializer,
    GoBackSerializer,
    MaintenanceRunSerializer,
    MaintenanceSerializer,
    RequestMaintenanceSerializer,
    RowHistorySerializer,
    RowKeyParameters,
    TrailParameters,
    WholeTrailParameters,
)
from api.views.shared import Documented, actor_of, created, validated
from audit.export import ExportFilter
from changerequests.facts import visible_facts
from changerequests.services import blame, column_blame, going_back, maintenance
from datasets.addressing import DatasetAddress
from datasets.maintenance import latest_runs
from datasets.models import Dataset
from datasets.roles import visible_dataset
from datasets.rows import TableUnreachable
from datasets.trail import export_trail

RUNS = 20
LINES = {
    (200, "application/x-ndjson"): OpenApiResponse(
        OpenApiTypes.STR, description="One entry of the trail in each line, chain by chain, oldest first."
    )
}


@extend_schema(tags=["datasets"])
class TableViewSet(Documented, ViewSet):
    """Datasets that the caller may see."""

    scopes = {
        "row_history": Scope.READ,
        "column_history": Scope.READ,
        "go_back": Scope.PROPOSE,
        "maintenance": Scope.READ,
        "request_maintenance": Scope.ADMIN,
        "audit": Scope.ADMIN,
    }

    @extend_schema(parameters=[DATASET_ID, RowKeyParameters], responses=RowHistorySerializer)
    def row_history(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """Blame: which change requests changed which cell of a row, when, by whom, approved by whom and why.

        Reverts are followed: a value that one brought back names who made it first. While the store of the table does
        not answer, the changes alone, and `is_complete` is false.
        """
        dataset = visible_dataset(actor_of(request), dataset_id)
        wanted = validated(RowKeyParameters, request.query_params)
        return Response(RowHistorySerializer(blame.row_history(dataset=dataset, key=wanted["key"])).data)

    @extend_schema(parameters=[DATASET_ID, ColumnHistoryParameters], responses=ColumnHistorySerializer)
    def column_history(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """Blame of a column: which merged change requests changed cells of it, how often and whose they were.

        Newest first. What jobs outside of Headgate wrote is not known here.
        """
        dataset = visible_dataset(actor_of(request), dataset_id)
        wanted = validated(ColumnHistoryParameters, request.query_params)
        found = column_blame.column_history(dataset=dataset, **wanted)
        facts = {name: getattr(found, name) for name in ("column", "is_there", "times", "people")}
        following = None if found.before is None else str(found.before)
        answer = page_of(request, found.changes, following, parameter="before", **facts)
        return Response(ColumnHistorySerializer(answer).data)

    @extend_schema(
        parameters=[DATASET_ID], request=GoBackSerializer, responses={201: ChangeRequestDetailSerializer}
    )
    def go_back(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """Begin a draft that proposes the table as it was in a version: the inverse of everything since.

        It takes the same gates as any other; columns that came since stay. 422 `nothing_to_change` where the table is
        so already, 410 `version_gone` where the files of the version were cleaned up.
        """
        dataset = visible_dataset(actor_of(request), dataset_id)
        wanted = validated(GoBackSerializer, request.data)
        made = going_back.propose_version(dataset_id=dataset.pk, actor=actor_of(request), **wanted)
        answer = ChangeRequestDetailSerializer.of(visible_facts(actor_of(request), made.cr_id))
        return created(answer, "change-request", made.cr_id, request=request)

    @extend_schema(parameters=[DATASET_ID], responses=MaintenanceSerializer)
    def maintenance(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """How worn the table is, what looking after it would do now, and the last visits. Writes nothing.

        While the store of the table does not answer, the visits alone.
        """
        dataset = visible_dataset(actor_of(request), dataset_id)
        try:
            survey = vars(maintenance.survey(dataset))
        except TableUnreachable:
            survey = {"condition": None, "due": [], "unneeded": None, "orphaned": None}
        found = {**survey, "runs": latest_runs(dataset, limit=RUNS)}
        return Response(MaintenanceSerializer(found).data)

    @extend_schema(
        parameters=[DATASET_ID],
        request=RequestMaintenanceSerializer,
        responses={202: MaintenanceRunSerializer},
    )
    def request_maintenance(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """Have the table looked after once no merge is running. For owners and operators; no row changes."""
        dataset = visible_dataset(actor_of(request), dataset_id)
        wanted = validated(RequestMaintenanceSerializer, request.data)
        run = maintenance.request_maintenance(dataset_id=dataset.pk, actor=actor_of(request), **wanted)
        address: Any = reverse("api:dataset-maintenance", args=[dataset.pk], request=request)
        return Response(MaintenanceRunSerializer(run).data, status=202, headers={"Location": address})

    @extend_schema(parameters=[DATASET_ID, TrailParameters], responses=LINES)
    def audit(self, request: Request, dataset_id: DatasetAddress) -> TrailDownload:
        """The dataset's audit trail as JSON lines that can be verified alone. For owners and operators."""
        dataset = visible_dataset(actor_of(request), dataset_id)
        wanted = ExportFilter(**validated(TrailParameters, request.query_params))
        return _lines(request, dataset, wanted)


@extend_schema(tags=["audit"])
class TrailViewSet(Documented, ViewSet):
    """The audit trail of the whole installation."""

    scopes = {"audit": Scope.ADMIN}

    @extend_schema(parameters=[WholeTrailParameters], responses=LINES)
    def audit(self, request: Request) -> TrailDownload:
        """The audit trail as JSON lines that can be verified without the database. For operators."""
        wanted = ExportFilter(**validated(WholeTrailParameters, request.query_params))
        return _lines(request, None, wanted)


def _lines(request: Request, dataset: Dataset | None, wanted: ExportFilter) -> TrailDownload:
    lines = export_trail(actor=actor_of(request), dataset=dataset, wanted=wanted)
    with place_for_download() as place:
        return TrailDownload(iter(()) if request.method == "HEAD" else lines, place)
