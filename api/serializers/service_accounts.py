"""Service accounts of pipelines."""

from rest_framework import serializers

from accounts.models import ServiceAccount
from api.serializers.members import ROLES
from api.serializers.shared import StrictSerializer


class ServiceAccountSerializer(serializers.ModelSerializer):
    """What a pipeline is here."""

    username = serializers.CharField(source="user.username", help_text="Ends with `@service`.")
    is_active = serializers.BooleanField(source="user.is_active")
    project = serializers.CharField(
        source="project.slug",
        default=None,
        allow_null=True,
        help_text="Whose owners manage it; null: operators.",
    )
    made_by = serializers.CharField(source="made_by.username", default=None, allow_null=True)

    class Meta:
        model = ServiceAccount
        fields = ["id", "username", "purpose", "project", "made_by", "created_at", "is_active"]


class CreateServiceAccountSerializer(StrictSerializer):
    """Another service account."""

    name = serializers.CharField(max_length=60, help_text="Small letters, digits and `. _ -`.")
    purpose = serializers.CharField(max_length=200, required=False, default="", allow_blank=True)
    project = serializers.SlugField(
        required=False,
        default="",
        allow_blank=True,
        help_text="Whose owners manage it; empty for operators alone.",
    )
    role = serializers.ChoiceField(
        ROLES, required=False, allow_null=True, default=None, help_text="On the project, from the beginning."
    )


class DeactivateSerializer(StrictSerializer):
    """Why something ends."""

    reason = serializers.CharField(max_length=500)
