"""Connections to stores. Their secrets come in and never go out."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from api.serializers.shared import StrictSerializer
from datasets.models import Connection, ConnectionPrefix
from datasets.storage_kinds import KINDS

CONNECTION_KINDS = [(one.value, one.value) for one in KINDS.values()]


class PrefixSerializer(serializers.ModelSerializer):
    """A folder below which the owners of a project add tables."""

    project: Any = serializers.SlugRelatedField("slug", read_only=True)
    address = serializers.CharField(help_text="The folder, whole.")

    class Meta:
        model = ConnectionPrefix
        fields = ["id", "project", "path", "address"]


class ConnectionSerializer(serializers.ModelSerializer):
    """A store that tables lie in. What is for operators alone is null for others."""

    kind = serializers.ChoiceField(CONNECTION_KINDS)
    prefixes = PrefixSerializer(many=True, help_text="Operators see all, owners those of their projects.")
    options = serializers.SerializerMethodField(help_text="By name, none of them a secret. For operators.")
    secrets = serializers.SerializerMethodField(
        help_text="Names of the sealed secrets, never the secrets. For operators."
    )
    references = serializers.SerializerMethodField(
        help_text="Where secrets stand instead, by name. For operators."
    )

    class Meta:
        model = Connection
        fields = ["name", "kind", "root", "options", "secrets", "references", "prefixes", "created_at"]

    @extend_schema_field(serializers.DictField(child=serializers.CharField(), allow_null=True))
    def get_options(self, connection: Connection) -> Mapping[str, str] | None:
        return connection.options if self.context["by_operator"] else None

    @extend_schema_field(serializers.ListField(child=serializers.CharField(), allow_null=True))
    def get_secrets(self, connection: Connection) -> list[str] | None:
        return sorted(connection.sealed) if self.context["by_operator"] else None

    @extend_schema_field(serializers.DictField(child=serializers.CharField(), allow_null=True))
    def get_references(self, connection: Connection) -> Mapping[str, str] | None:
        return connection.references if self.context["by_operator"] else None


class CreateConnectionSerializer(StrictSerializer):
    """A new connection."""

    name = serializers.CharField(max_length=64)
    root: Any = serializers.CharField(
        max_length=1000, help_text="Where it begins, such as `s3://lake/tables`; its kind follows from it."
    )
    options = serializers.DictField(
        child=serializers.CharField(max_length=1000),
        default=dict,
        help_text="By name, none of them a secret.",
    )
    secrets = serializers.DictField(
        child=serializers.CharField(max_length=20_000, trim_whitespace=False),
        default=dict,
        help_text="By name. Kept sealed, and told to nobody again.",
    )
    references = serializers.DictField(
        child=serializers.CharField(max_length=1000),
        default=dict,
        help_text="Where secrets stand instead: `env:CONNECTION_…`, or `file:` and a file called `connection…` below "
        "`CONNECTION_SECRETS_FOLDER`.",
    )


class ChangeConnectionSerializer(CreateConnectionSerializer):
    """What may be changed of a connection: options and references as a whole, secrets one by one."""

    secrets = serializers.DictField(
        child=serializers.CharField(max_length=20_000, trim_whitespace=False, allow_null=True),
        help_text="Those that are named are replaced, or removed by null; the others stay.",
    )


class AllowPrefixSerializer(StrictSerializer):
    """Whose owners may add tables below which folder."""

    project = serializers.CharField(help_text="Slug of the project.")
    path = serializers.CharField(
        max_length=1000, default="", allow_blank=True, help_text="Below the root; empty for all of it."
    )


class TrialStepSerializer(serializers.Serializer):
    """One thing that tables need of a store."""

    attempt = serializers.ChoiceField(
        [(one, one) for one in ("name", "list", "write", "read", "once", "delete")]
    )
    works = serializers.BooleanField(allow_null=True, help_text="Null where it was not tried.")
    said = serializers.CharField(help_text="In words, with what is missing.")


class TrialSerializer(serializers.Serializer):
    """What became of trying a connection."""

    is_usable = serializers.BooleanField(help_text="Whether tables there can be read and merged into.")
    steps = TrialStepSerializer(many=True)


class AdoptedSerializer(serializers.Serializer):
    """Tables that are opened with the connection from now on."""

    datasets = serializers.ListField(child=serializers.CharField(), help_text="Each as `project/slug`.")
