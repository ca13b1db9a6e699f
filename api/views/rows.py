"""Rows of tables and what differs between them: pages in JSON, or all of them as a file."""

from contextlib import closing
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from accounts.scopes import Scope
from api.conditional import address_facts
from api.downloads import FORMAT, Download, format_of, pages_or_files, place_for_download
from api.pagination import EngineCursor, page_both_ways
from api.schema import CR_ID, DATASET_ID, NO_TEXT
from api.serializers.catalogue import RowPageSerializer
from api.serializers.proposals import DiffPageSerializer
from api.serializers.tables import ComparisonPageSerializer
from api.views.shared import Documented, actor_of, validated
from changerequests import selectors
from changerequests.models import ChangeRequest
from changerequests.services import plans
from datasets import services
from datasets.addressing import DatasetAddress
from datasets.roles import visible_dataset
from datasets.rows import Differences, changes_filter

ROWS = OpenApiParameter(
    "filter",
    str,
    many=True,
    description=(
        "`column:operator:value`, repeatable; operators `=`, `!=`, `<`, `<=`, `>`, `>=`, `contains`, "
        "`is null`, `is not null`."
    ),
)
COLUMNS = OpenApiParameter(
    "columns", str, many=True, description="Only these columns, in the order of the table; repeatable."
)
CHANGES = (
    "The changed rows: `_op`, the key columns, and of each column that changes somewhere `NAME.base` and "
    "`NAME.proposed`."
)
COMPARED = (
    "The differing rows: `_op`, the key columns, and of each column that differs somewhere "
    "`NAME.from` and `NAME.to`."
)


class RowParameters(EngineCursor):
    """Which rows of the table, in which order."""

    version = serializers.IntegerField(min_value=0, required=False)
    order_by = serializers.CharField(required=False)
    descending = serializers.BooleanField(default=False)


class ChangeParameters(EngineCursor):
    """Which changed rows."""

    operation = serializers.ChoiceField(
        [(name, name) for name in ("insert", "update", "delete")], required=False
    )
    column = serializers.CharField(
        required=False,
        help_text="Only rows in which this column changes; with what is asked of values, those of this column.",
    )
    key = serializers.CharField(
        required=False, trim_whitespace=False, help_text="Part of a key column's value, in any case."
    )
    old = serializers.CharField(required=False, trim_whitespace=False, help_text="The value before.")
    old_is = serializers.ChoiceField(
        NO_TEXT, required=False, help_text="The same where no text stands for it."
    )
    new = serializers.CharField(required=False, trim_whitespace=False, help_text="The value after.")
    new_is = serializers.ChoiceField(
        NO_TEXT, required=False, help_text="The same where no text stands for it."
    )
    became_null = serializers.BooleanField(
        default=False, help_text="Only rows with a value that becomes NULL."
    )


class DiffParameters(ChangeParameters):
    """Which changed rows of which content."""

    revision = serializers.IntegerField(
        min_value=1, required=False, help_text="Number of a revision; what would be merged unless given."
    )
    unusual = serializers.BooleanField(
        default=False,
        help_text="Only rows with a new value below the least or above the greatest that its column had at the base, "
        "by the statistics of the table's files.",
    )


class VersionsCompared(ChangeParameters):
    """Which two versions of the table."""

    def get_fields(self) -> dict[str, Any]:
        return {**_from_and_to("A version of the table", least=0), **super().get_fields()}


class RevisionsCompared(ChangeParameters):
    """Which two revisions."""

    def get_fields(self) -> dict[str, Any]:
        return {**_from_and_to("Number of a revision", least=1), **super().get_fields()}


def _from_and_to(said: str, *, least: int) -> dict[str, Any]:
    """``from`` is a word of Python's, so the fields are made by name."""
    return {
        name: serializers.IntegerField(min_value=least, max_value=2**53, help_text=f"{said}.")
        for name in ("from", "to")
    }


@extend_schema(tags=["datasets"])
class RowsViewSet(Documented, ViewSet):
    """Rows of datasets that the caller may see."""

    scopes = {"rows": Scope.READ, "compare": Scope.READ}

    @extend_schema(
        parameters=[DATASET_ID, RowParameters, COLUMNS, ROWS, FORMAT],
        responses=pages_or_files(
            RowPageSerializer, "The rows with the table's types, in the order of its files."
        ),
        operation_id="datasets_rows_retrieve",
    )
    def rows(self, request: Request, dataset_id: DatasetAddress) -> Response | Download:
        """Rows of the table in key order, or sorted and filtered, on any version that is still there.

        As a file all of them, in the order of the table's files unless sorted.
        """
        dataset = visible_dataset(actor_of(request), dataset_id)
        wanted = validated(RowParameters, request.query_params)
        file_format = format_of(request)
        asked: dict[str, Any] = {
            "dataset": dataset,
            "version": wanted.get("version", services.newest_version(dataset)),
            "order_by": wanted.get("order_by"),
            "descending": wanted["descending"],
            "columns": request.query_params.getlist("columns") or None,
            "filters": [filter_of(text) for text in request.query_params.getlist("filter")],
        }
        self.known(request, dataset.meta.table_id, asked["version"], *address_facts(request))
        if file_format is None:
            page = services.preview(**asked, after=wanted.get("cursor"), limit=wanted["limit"])
            facts = {"version": page.version, "columns": page.columns, "reads": page.reads}
            answer = page_both_ways(request, page.rows, page, **facts)
            return Response(RowPageSerializer(answer).data)
        with place_for_download() as place:
            stream = services.stream_rows(**asked)
            return Download(request, stream, file_format, f"{dataset.slug}-v{stream.version}", place)

    @extend_schema(
        parameters=[DATASET_ID, VersionsCompared, FORMAT],
        responses=pages_or_files(ComparisonPageSerializer, COMPARED),
        operation_id="datasets_compare_retrieve",
    )
    def compare(self, request: Request, dataset_id: DatasetAddress) -> Response | Download:
        """What differs between two versions of the table, in either order; files that both have are not read."""
        dataset = visible_dataset(actor_of(request), dataset_id)
        wanted = validated(VersionsCompared, request.query_params)
        file_format = format_of(request)
        before, after = wanted["from"], wanted["to"]
        self.known(request, dataset.meta.table_id, *address_facts(request))
        if file_format is None:
            with closing(services.compare_versions(dataset=dataset, before=before, after=after)) as found:
                return _comparison_page(request, found, wanted)
        with place_for_download() as place:
            found = services.compare_versions(dataset=dataset, before=before, after=after)
            stream = found.stream(("from", "to"), changes_filter(wanted))
            name = f"{dataset.slug}-v{before}-v{after}"
            return Download(request, stream, file_format, name, place)


@extend_schema(tags=["change requests"])
class DifferenceViewSet(Documented, ViewSet):
    """Changes of requests that the caller may see."""

    scopes = {"diff": Scope.READ, "compare": Scope.READ}

    @extend_schema(
        parameters=[CR_ID, DiffParameters, FORMAT],
        responses=pages_or_files(DiffPageSerializer, CHANGES),
        operation_id="change_requests_diff_retrieve",
    )
    def diff(self, request: Request, cr_id: str) -> Response | Download:
        """What the request changes, cell by cell: Base against Proposed; once merged, what the merge changed."""
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        wanted = validated(DiffParameters, request.query_params)
        file_format = format_of(request)
        number = wanted.get("revision")
        self.known(request, *_content_facts(change_request, number), *address_facts(request))
        if file_format is None:
            page = plans.changes_page(
                change_request=change_request,
                number=number,
                wanted=changes_filter(wanted),
                after=wanted.get("cursor"),
                limit=wanted["limit"],
            )
            return Response(
                DiffPageSerializer(page_both_ways(request, page.items, page, total=page.total)).data
            )
        with place_for_download() as place:
            found = plans.all_changes(change_request, number)
            stream = found.stream(("base", "proposed"), changes_filter(wanted))
            return Download(request, stream, file_format, f"{cr_id}-diff", place)

    @extend_schema(
        parameters=[CR_ID, RevisionsCompared, FORMAT],
        responses=pages_or_files(
            ComparisonPageSerializer, f"{COMPARED} `_op.from` and `_op.to` tell what each proposes to do."
        ),
        operation_id="change_requests_revisions_compare_retrieve",
    )
    def compare(self, request: Request, cr_id: str) -> Response | Download:
        """What two revisions of the request propose differently. `insert` are rows that only `to` is about, `delete`
        those that only `from` is about; `_op` stands for a column that tells what each proposes to do.
        """
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        wanted = validated(RevisionsCompared, request.query_params)
        file_format = format_of(request)
        before, after = wanted["from"], wanted["to"]
        facts = [plans.revision_called(change_request, number).digest for number in (before, after)]
        self.known(request, *facts, *address_facts(request))
        if file_format is None:
            with closing(plans.compare_revisions(change_request, before, after)) as found:
                return _comparison_page(request, found, wanted)
        with place_for_download() as place:
            stream = plans.compare_revisions(change_request, before, after).stream(
                ("from", "to"), changes_filter(wanted)
            )
            return Download(request, stream, file_format, f"{cr_id}-revisions-{before}-{after}", place)


def _comparison_page(request: Request, found: Differences, wanted: dict[str, Any]) -> Response:
    page = found.page(changes_filter(wanted), after=wanted.get("cursor"), limit=wanted["limit"])
    return Response(
        ComparisonPageSerializer(
            page_both_ways(request, page.items, page, total=page.total, reads=found.reads)
        ).data
    )


def _content_facts(change_request: ChangeRequest, number: int | None) -> list[Any]:
    """What the changes of a request depend on: its content, and whether they are what was merged."""
    if number is not None:
        revision = plans.revision_called(change_request, number)
    else:
        found = selectors.current_revision(change_request)
        if found is None:
            return [change_request.identity]
        revision = found
    return [change_request.identity, change_request.status, revision.digest]


def filter_of(text: str) -> tuple[str, str, str]:
    """The column, operator and value of a filter as addresses write it."""
    column, _, rest = text.partition(":")
    operator, _, value = rest.partition(":")
    return column, operator, value
