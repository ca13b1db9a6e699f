"""Tables that are no datasets yet, and people who have no account yet."""

from typing import Any

from django.contrib.auth.models import User
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.models import Invitation
from api.serializers.catalogue import ColumnSerializer
from api.serializers.members import ROLES
from api.serializers.shared import AnyValue, StrictSerializer
from datasets.rows import json_value
from datasets.services import TableLook

PLACE_KINDS = [(kind, kind) for kind in ("folder", "table", "dataset")]


class PlaceSerializer(serializers.Serializer):
    """A folder, a Delta table, or one that is a dataset already."""

    name = serializers.CharField()
    address = serializers.CharField()
    kind = serializers.ChoiceField(PLACE_KINDS)


class FolderSerializer(serializers.Serializer):
    """What lies in a folder, by name."""

    address = serializers.CharField()
    above = serializers.CharField(allow_null=True, help_text="The folder it lies in; null at the top.")
    places = PlaceSerializer(many=True)
    has_more = serializers.BooleanField(help_text="Whether only the first places are told.")


class PlacesSerializer(serializers.Serializer):
    """Where tables may lie that the caller may register, and one folder of it."""

    roots = serializers.ListField(child=serializers.CharField(), help_text="The folders at the top.")
    folder = FolderSerializer()


class PlacesParameters(serializers.Serializer):
    """Which folder."""

    place = serializers.CharField(
        required=False,
        max_length=1000,
        help_text="A folder at or below one of the `roots`; the first unless given.",
    )


class LookAtTableSerializer(StrictSerializer):
    """Which table, and which of its columns shall be the key."""

    table_uri = serializers.CharField(
        max_length=1000,
        help_text="Path or URI of the Delta table, or `uc://catalog.schema.table` where a connection has a Unity "
        "Catalog.",
    )
    primary_keys = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        default=list,
        help_text="Columns to try as a key: every row is looked at. Without them only the log is read.",
    )


class KeyLookSerializer(serializers.Serializer):
    """How columns do as a key."""

    is_key = serializers.BooleanField(help_text="Whether every row has a complete key of its own.")
    null_rows = serializers.IntegerField(help_text="Rows with NULL in one of the columns.")
    duplicate_keys = serializers.IntegerField(help_text="Keys that occur more than once.")
    examples = serializers.ListField(
        child=serializers.DictField(child=AnyValue(allow_null=True)),
        help_text="The first rows with NULL, and the first keys that occur more than once.",
    )


class TableLookSerializer(serializers.Serializer):
    """A table that may become a dataset."""

    table_uri = serializers.CharField(
        source="address", help_text="Its address in the one spelling that is kept."
    )
    catalog_table = serializers.CharField(
        allow_blank=True, help_text="Its name in Unity Catalog, where it was asked for by that."
    )
    name = serializers.CharField(source="info.name", allow_blank=True)
    version = serializers.IntegerField(source="info.version")
    row_count = serializers.IntegerField(source="info.row_count")
    size_bytes = serializers.IntegerField(source="info.size_bytes")
    file_count = serializers.IntegerField(source="info.file_count")
    columns = ColumnSerializer(source="info.columns", many=True)
    partition_columns = serializers.ListField(source="info.partition_columns", child=serializers.CharField())
    strategy = serializers.CharField(source="info.strategy", help_text="How merges would be written to it.")
    features = serializers.ListField(source="info.features", child=serializers.CharField())
    warnings = serializers.ListField(
        source="info.warnings",
        child=serializers.CharField(),
        help_text="What its owners should know beforehand, in sentences.",
    )
    shares_identity = serializers.BooleanField(
        help_text="Whether a dataset's table has the same identity: then this is that table at another address, or a "
        "copy of it, which an operator registers with `is_copy`."
    )
    key = serializers.SerializerMethodField(help_text="Null where no columns were named.")

    @extend_schema_field(KeyLookSerializer(allow_null=True))
    def get_key(self, look: TableLook) -> Any:
        if look.key is None:
            return None
        return {
            "is_key": look.key.ok,
            "null_rows": look.key.null_rows,
            "duplicate_keys": look.key.duplicate_keys,
            "examples": [json_value(dict(row)) for row in look.key.examples],
        }


class PersonSerializer(serializers.ModelSerializer):
    """Somebody with an account."""

    name = serializers.CharField(source="get_full_name", help_text="As they call themselves; may be empty.")

    class Meta:
        model = User
        fields = ["username", "name"]


class PeopleParameters(serializers.Serializer):
    """Which people."""

    search = serializers.CharField(
        required=False, default="", max_length=200, help_text="Parts of the name or user name."
    )
    limit = serializers.IntegerField(min_value=1, max_value=50, default=20)


class InvitationSerializer(serializers.ModelSerializer):
    """Somebody who was asked in and has no account yet."""

    project: Any = serializers.SlugRelatedField("slug", read_only=True, allow_null=True)
    invited_by: Any = serializers.SlugRelatedField("username", read_only=True)

    class Meta:
        model = Invitation
        fields = [
            "id", "email", "first_name", "last_name", "project", "role", "invited_by", "created_at", "expires_at",
        ]  # fmt: skip
        extra_kwargs: dict[str, Any] = {"role": {"help_text": "The role on the project; empty for none."}}


class NewInvitationSerializer(InvitationSerializer):
    """An invitation and, this once, the address that opens an account."""

    address = serializers.CharField(read_only=True)
    mailed = serializers.BooleanField(read_only=True, help_text="Whether the mail server took it.")

    class Meta(InvitationSerializer.Meta):
        fields = [*InvitationSerializer.Meta.fields, "address", "mailed"]


class InviteSerializer(StrictSerializer):
    """Whom to ask in, and with which role on which project."""

    email = serializers.EmailField()
    first_name = serializers.CharField(max_length=150, required=False, default="", allow_blank=True)
    last_name = serializers.CharField(max_length=150, required=False, default="", allow_blank=True)
    project = serializers.CharField(
        required=False, default="", allow_blank=True, help_text="Slug of the project."
    )
    role = serializers.ChoiceField(ROLES, required=False, allow_null=True, default=None)
