"""Projects, their members, and the groups that may become members."""

from typing import Any

import django_filters
from django.contrib.auth.models import Group
from django.db.models import Count, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.scopes import Scope
from api.pagination import NewestFirst
from api.schema import IF_MATCH
from api.serializers.members import (
    ChangeProjectSerializer,
    CreateProjectSerializer,
    GroupSerializer,
    MemberSerializer,
    ProjectDetailSerializer,
    ProjectSerializer,
    SetMemberSerializer,
)
from api.views.members import MEMBER, members_answer, remove_member, set_member
from api.views.shared import Documented, actor_of, created, validated, versions_matched
from datasets import services
from datasets.errors import Forbidden
from datasets.models import Project
from datasets.roles import manages_members, project_to_manage, projects_to_list, role_on


class ProjectFilter(django_filters.FilterSet):
    """Which projects."""

    search = django_filters.CharFilter(
        field_name="name", lookup_expr="icontains", help_text="Part of the name."
    )

    class Meta:
        model = Project
        fields: list[str] = []


@extend_schema(tags=["projects"])
class ProjectViewSet(Documented, GenericViewSet):
    """Projects that the caller may see; operators see all of them, and nothing of what is in them."""

    tagged = ("retrieve", "members")
    scopes = {
        "list": Scope.READ,
        "create": Scope.ADMIN,
        "retrieve": Scope.READ,
        "partial_update": Scope.ADMIN,
        "destroy": Scope.ADMIN,
        "members": Scope.READ,
        "set_member": Scope.ADMIN,
        "remove_member": Scope.ADMIN,
    }
    queryset = Project.objects.none()
    serializer_class = ProjectSerializer
    pagination_class = NewestFirst
    filterset_class = ProjectFilter
    lookup_field = "slug"

    @extend_schema(responses=ProjectSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Projects with a role of the caller, or with a dataset that they may see."""
        page = self.paginate_queryset(self.filter_queryset(projects_to_list(actor_of(request))))
        return self.get_paginated_response(ProjectSerializer(page, many=True).data)

    @extend_schema(request=CreateProjectSerializer, responses={201: ProjectDetailSerializer})
    def create(self, request: Request) -> Response:
        """Make a project. For operators; then give somebody the role of its owner."""
        wanted = validated(CreateProjectSerializer, request.data)
        project = services.create_project(actor=actor_of(request), **wanted)
        detail = self._detail(request, project)
        return created(detail.data, "project", project.slug, request=request, **dict(detail.headers))

    @extend_schema(responses=ProjectDetailSerializer)
    def retrieve(self, request: Request, slug: str) -> Response:
        """One project."""
        return self._detail(request, project_to_manage(actor_of(request), slug))

    @extend_schema(parameters=[IF_MATCH], request=ChangeProjectSerializer, responses=ProjectDetailSerializer)
    def partial_update(self, request: Request, slug: str) -> Response:
        """Change its name or description. For owners of the project and operators.

        With `If-Match`, only if they are still as `ETag` told; else 412 `settings_changed`.
        """
        project = project_to_manage(actor_of(request), slug)
        changes = validated(ChangeProjectSerializer, request.data, partial=True)
        changed = services.change_project(
            project_id=project.pk, actor=actor_of(request), changes=changes, edited=versions_matched(request)
        )
        return self._detail(request, changed)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, slug: str) -> Response:
        """Delete a project without datasets, with the roles on it. For its owners and operators."""
        project = project_to_manage(actor_of(request), slug)
        services.delete_project(project_id=project.pk, actor=actor_of(request))
        return Response(status=204)

    @extend_schema(responses=MemberSerializer(many=True))
    def members(self, request: Request, slug: str) -> Response:
        """Users and groups with a role on the project; it holds for all of its datasets."""
        return members_answer(project_to_manage(actor_of(request), slug))

    @extend_schema(parameters=[IF_MATCH], request=SetMemberSerializer, responses=MemberSerializer(many=True))
    def set_member(self, request: Request, slug: str) -> Response:
        """Give a user or group exactly this role on the project, or none. For its owners and operators.

        With `If-Match`, only if its members are still as `ETag` told; else 412 `settings_changed`.
        """
        return set_member(request, project_to_manage(actor_of(request), slug))

    @extend_schema(parameters=[*MEMBER, IF_MATCH], responses={204: None})
    def remove_member(self, request: Request, slug: str, kind: str, member: str) -> Response:
        """Take a member's role on the project away; 409 `last_owner` for the last of its owners."""
        return remove_member(request, project_to_manage(actor_of(request), slug), kind, member)

    def _detail(self, request: Request, project: Project) -> Response:
        role = role_on(actor_of(request), project) or "none"
        return Response(
            ProjectDetailSerializer(project, context={"role": role}).data,
            headers={"ETag": f'"{services.project_digest(project)}"'},
        )


class GroupFilter(django_filters.FilterSet):
    """Which groups."""

    search = django_filters.CharFilter(
        field_name="name", lookup_expr="icontains", help_text="Part of the name."
    )

    class Meta:
        model = Group
        fields: list[str] = []


@extend_schema(tags=["projects"])
class GroupViewSet(Documented, GenericViewSet):
    """Groups of people, which get roles as people do. Operators make them, in the admin."""

    scopes = {"list": Scope.ADMIN}
    queryset = Group.objects.none()
    serializer_class = GroupSerializer
    pagination_class = NewestFirst
    filterset_class = GroupFilter

    def get_queryset(self) -> QuerySet[Any]:
        if getattr(self, "swagger_fake_view", False):
            return self.queryset
        return Group.objects.annotate(people=Count("user"))

    @extend_schema(responses=GroupSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Every group. For those who give roles: owners of a dataset or project, and operators."""
        if not manages_members(actor_of(request)):
            raise Forbidden("Only owners of a dataset or project and operators look at groups.")
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(GroupSerializer(page, many=True).data)
