"""Datasets."""

import django_filters
from django.db.models import Q, QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.scopes import Scope
from api.filters import since, until
from api.pagination import InChosenOrder, page_of
from api.schema import DATASET_ID, IF_MATCH
from api.serializers.catalogue import (
    DatasetDetailSerializer,
    DatasetSerializer,
    DatasetSettingsSerializer,
    HistoryPageSerializer,
    MetaWithSchemaSerializer,
    RegisterDatasetSerializer,
    TableSerializer,
)
from api.serializers.members import ROLES, MemberSerializer, SetMemberSerializer
from api.views.members import MEMBER, members_answer, remove_member, set_member
from api.views.shared import Documented, actor_of, created, validated, versions_matched
from changerequests.services.known_history import known_versions
from datasets import services
from datasets.addressing import DatasetAddress
from datasets.errors import InvalidInput
from datasets.models import Dataset, Project
from datasets.operators import is_operator
from datasets.roles import (
    Role,
    datasets_with_role,
    role_on,
    visible_dataset,
    visible_project,
)
from datasets.rows import TableUnreachable

VERSION = OpenApiParameter("version", int, description="A table version; the newest unless given.")


class DatasetFilter(django_filters.FilterSet):
    """Which datasets."""

    project = django_filters.CharFilter(field_name="project__slug", help_text="Slug of the project.")
    slug = django_filters.CharFilter()
    search = django_filters.CharFilter(
        method="only_telling", help_text="Part of the name, the slug or the description."
    )
    role = django_filters.ChoiceFilter(
        choices=ROLES, method="only_with_role", help_text="Those on which the caller has at least this role."
    )
    created_since, created_until = since("created_at"), until("created_at")

    class Meta:
        model = Dataset
        fields: list[str] = []

    def only_telling(self, found: QuerySet[Dataset], _: str, text: str) -> QuerySet[Dataset]:
        told = Q(name__icontains=text) | Q(slug__icontains=text) | Q(description__icontains=text)
        return found.filter(told)

    def only_with_role(self, found: QuerySet[Dataset], _: str, role: str) -> QuerySet[Dataset]:
        return found.filter(pk__in=datasets_with_role(self.request.user, Role(role)).values("pk"))


class VersionParameters(serializers.Serializer):
    """Which version of the table."""

    version = serializers.IntegerField(min_value=0, required=False)


class HistoryParameters(serializers.Serializer):
    """Which versions."""

    before = serializers.IntegerField(min_value=0, required=False, help_text="Only versions below this one.")
    limit = serializers.IntegerField(min_value=1, max_value=200, default=50)


@extend_schema(tags=["datasets"])
@extend_schema_view(list=extend_schema(responses=DatasetSerializer(many=True)))
class DatasetViewSet(Documented, GenericViewSet):
    """Datasets that the caller may see."""

    tagged = ("retrieve", "members")
    scopes = {
        "list": Scope.READ,
        "create": Scope.ADMIN,
        "retrieve": Scope.READ,
        "partial_update": Scope.ADMIN,
        "table": Scope.READ,
        "history": Scope.READ,
        "reconcile": Scope.ADMIN,
        "members": Scope.READ,
        "set_member": Scope.ADMIN,
        "remove_member": Scope.ADMIN,
    }
    queryset = Dataset.objects.none()
    serializer_class = DatasetSerializer
    pagination_class = InChosenOrder
    orders = {
        "-number": ("-pk",),
        "number": ("pk",),
        "name": ("name", "pk"),
        "-name": ("-name", "-pk"),
        "-created": ("-created_at", "-pk"),
        "created": ("created_at", "pk"),
    }
    filterset_class = DatasetFilter
    lookup_url_kwarg = "dataset_id"

    def get_queryset(self) -> QuerySet[Dataset]:
        if getattr(self, "swagger_fake_view", False):
            return self.queryset
        return Dataset.objects.filter(
            pk__in=datasets_with_role(actor_of(self.request)).values("pk")
        ).select_related("project", "meta")

    def list(self, request: Request) -> Response:
        """Datasets with a role of the caller, their project's included."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(DatasetSerializer(page, many=True).data)

    @extend_schema(request=RegisterDatasetSerializer, responses={201: DatasetDetailSerializer})
    def create(self, request: Request) -> Response:
        """Register an existing Delta table, or make one with a `schema`. For owners of the project and operators.

        422 names the feature that cannot be written, the rows whose keys are NULL or not unique, or what of the schema
        is not possible. The first content of a new table comes with a change request, as every other.
        """
        wanted = validated(RegisterDatasetSerializer, request.data)
        actor, slug = actor_of(request), wanted.pop("project")
        project = (
            Project.objects.filter(slug=slug).first() if is_operator(actor) else visible_project(actor, slug)
        )
        if project is None:
            raise InvalidInput("There is no such project.", errors={"project": ["There is no such project."]})
        made = wanted.pop("schema", None)
        if made is None:
            dataset = services.register_dataset(project=project, actor=actor, **wanted)
        else:
            columns = [services.NewColumn(comment="", **column) for column in made.pop("columns")]
            table = services.NewTable(columns=columns, **made)
            dataset = services.create_dataset(project=project, actor=actor, table=table, **wanted)
        detail = self._detail(dataset, role_on(actor, dataset))
        return created(detail.data, "dataset", dataset.pk, request=request, **dict(detail.headers))

    @extend_schema(parameters=[DATASET_ID], responses=DatasetDetailSerializer)
    def retrieve(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """A dataset with its rules, what is known of its table, and the caller's role."""
        dataset = visible_dataset(actor_of(request), dataset_id)
        return self._detail(dataset, role_on(actor_of(request), dataset))

    @extend_schema(
        parameters=[DATASET_ID, IF_MATCH],
        request=DatasetSettingsSerializer,
        responses=DatasetDetailSerializer,
    )
    def partial_update(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """Change the rules of a dataset. For owners; recorded with the values before and after.

        With `If-Match`, only if they are still as `ETag` told; else 412 `settings_changed`.
        """
        dataset = visible_dataset(actor_of(request), dataset_id)
        changes = validated(DatasetSettingsSerializer, request.data, partial=True)
        services.change_settings(
            dataset_id=dataset.pk, actor=actor_of(request), changes=changes, edited=versions_matched(request)
        )
        dataset = visible_dataset(actor_of(request), dataset_id)
        return self._detail(dataset, role_on(actor_of(request), dataset))

    @extend_schema(parameters=[DATASET_ID, VERSION], responses=TableSerializer)
    def table(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """The table's columns, constraints and properties at a version, from its log.

        While the store of the table does not answer, what is known of its last version, and `is_current` is false.
        """
        dataset = visible_dataset(actor_of(request), dataset_id)
        version = validated(VersionParameters, request.query_params).get("version")
        try:
            found = {**vars(services.table_at(dataset=dataset, version=version)), "is_current": True}
        except TableUnreachable:
            if version not in (None, dataset.meta.delta_version):
                raise
            found = {**vars(services.known_table(dataset)), "is_current": False}
        return Response(TableSerializer(found).data)

    @extend_schema(parameters=[DATASET_ID, HistoryParameters], responses=HistoryPageSerializer)
    def history(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """The table's versions, newest first: which change request or which foreign job wrote each.

        While the store of the table does not answer, those that change requests made, and `is_complete` is false.
        """
        dataset = visible_dataset(actor_of(request), dataset_id)
        wanted = validated(HistoryParameters, request.query_params)
        asked = {"dataset": dataset, "limit": wanted["limit"], "before": wanted.get("before")}
        try:
            versions, is_complete = services.history(**asked), True
        except TableUnreachable:
            versions, is_complete = known_versions(**asked), False
        more = len(versions) == wanted["limit"] and versions[-1].version > 0
        following = str(versions[-1].version) if more else None
        answer = page_of(request, versions, following, parameter="before", is_complete=is_complete)
        return Response(HistoryPageSerializer(answer).data)

    @extend_schema(parameters=[DATASET_ID], request=None, responses=MetaWithSchemaSerializer)
    def reconcile(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """Read the table's log again and bring what is known of the table up to it."""
        dataset = visible_dataset(actor_of(request), dataset_id)
        meta = services.reconcile(dataset_id=dataset.pk, actor=actor_of(request))
        return Response(MetaWithSchemaSerializer(meta).data)

    @extend_schema(parameters=[DATASET_ID], responses=MemberSerializer(many=True))
    def members(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """Users and groups with a role on the dataset or its project; `ETag` stands for what the dataset gives."""
        return members_answer(visible_dataset(actor_of(request), dataset_id))

    @extend_schema(
        parameters=[DATASET_ID, IF_MATCH],
        request=SetMemberSerializer,
        responses=MemberSerializer(many=True),
    )
    def set_member(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """Give a user or group exactly this role on the dataset, or none. For owners.

        With `If-Match`, only if its members are still as `ETag` told; else 412 `settings_changed`.
        """
        return set_member(request, visible_dataset(actor_of(request), dataset_id))

    @extend_schema(parameters=[DATASET_ID, *MEMBER, IF_MATCH], responses={204: None})
    def remove_member(self, request: Request, dataset_id: DatasetAddress, kind: str, member: str) -> Response:
        """Take a member's own role on the dataset away. For owners; 409 `last_owner` for the last of them."""
        return remove_member(request, visible_dataset(actor_of(request), dataset_id), kind, member)

    def _detail(self, dataset: Dataset, role: Role | None) -> Response:
        return Response(
            DatasetDetailSerializer(dataset, context={"role": role or "none"}).data,
            headers={"ETag": f'"{services.settings_digest(dataset)}"'},
        )
