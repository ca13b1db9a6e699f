"""Projects, members and groups: what gathers datasets and people."""

from typing import Any

from django.contrib.auth.models import Group
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from api.serializers.shared import StrictSerializer
from datasets.models import Project
from datasets.roles import Role
from datasets.services import EDITABLE_OF_PROJECT

ROLES = [(role.value, role.value) for role in Role]
#: Of a project that operators manage without a role of their own on it.
ROLES_OR_NONE = [*ROLES, ("none", "none")]
KINDS = [("user", "user"), ("group", "group")]


class ProjectSerializer(serializers.ModelSerializer):
    """A group of datasets."""

    class Meta:
        model = Project
        fields = ["id", "slug", "name", "description", "created_at"]


class ProjectDetailSerializer(ProjectSerializer):
    """A project with the caller's role."""

    role = serializers.SerializerMethodField(
        help_text="The caller's role on the project; `none` for those who see it otherwise."
    )

    class Meta(ProjectSerializer.Meta):
        fields = [*ProjectSerializer.Meta.fields, "role"]

    @extend_schema_field(serializers.ChoiceField(ROLES_OR_NONE))
    def get_role(self, _: Project) -> Any:
        return str(self.context["role"])


class CreateProjectSerializer(StrictSerializer, serializers.ModelSerializer):
    """A new project."""

    class Meta:
        model = Project
        fields = ["slug", "name", "description"]
        extra_kwargs: dict[str, Any] = {"slug": {"validators": []}}  # the service tells what is wrong with it


class ChangeProjectSerializer(StrictSerializer, serializers.ModelSerializer):
    """What may be changed of a project."""

    class Meta:
        model = Project
        fields = [*EDITABLE_OF_PROJECT]


class MemberSerializer(serializers.Serializer):
    """Who has which role on the dataset or project, and whether the dataset's project gives it."""

    kind = serializers.ChoiceField(KINDS)
    name = serializers.CharField()
    role = serializers.ChoiceField(ROLES)
    inherited = serializers.BooleanField(help_text="Whether the role comes from the project.")


class SetMemberSerializer(StrictSerializer):
    """A member's own role; null takes it away."""

    kind = serializers.ChoiceField(KINDS, default="user")
    name = serializers.CharField()
    role = serializers.ChoiceField(ROLES, allow_null=True)


class GroupSerializer(serializers.ModelSerializer):
    """People who get roles together."""

    members = serializers.IntegerField(
        source="people", read_only=True, help_text="How many people are in it."
    )

    class Meta:
        model = Group
        fields = ["id", "name", "members"]
