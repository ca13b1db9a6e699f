"""Datasets."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from api.serializers.members import ROLES_OR_NONE
from api.serializers.shared import AnyValue, EngineReadSerializer, StrictSerializer
from datasets.models import Dataset, DatasetMeta
from datasets.services import EDITABLE_SETTINGS


class MetaSerializer(serializers.ModelSerializer):
    """What is known of the table: right after every merge, reconciled when others write."""

    class Meta:
        model = DatasetMeta
        fields = [
            "table_id",
            "delta_version",
            "row_count",
            "size_bytes",
            "file_count",
            "partition_columns",
            "strategy",
            "problem",
            "difference",
            "unreachable_since",
            "unreachable_reason",
            "unreachable_for_good",
            "version_timestamp",
            "checked_at",
        ]


class MetaWithSchemaSerializer(MetaSerializer):
    """The same, with the table's schema in Delta's own JSON."""

    class Meta(MetaSerializer.Meta):
        fields = [*MetaSerializer.Meta.fields, "schema_json"]


@extend_schema_field({"type": "array", "items": {"type": "string"}})
class ColumnNames(serializers.JSONField):
    """Names of columns, in order."""


class DatasetSerializer(serializers.ModelSerializer):
    """One Delta table with primary key columns."""

    project: Any = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    primary_keys = ColumnNames(read_only=True)
    meta = MetaSerializer(read_only=True)

    class Meta:
        model = Dataset
        fields = [
            "id",
            "project",
            "slug",
            "name",
            "description",
            "table_uri",
            "catalog_table",
            "primary_keys",
            "meta",
            "created_at",
        ]


class DatasetDetailSerializer(DatasetSerializer):
    """A dataset with its rules and the caller's role."""

    meta = MetaWithSchemaSerializer(read_only=True)
    role = serializers.SerializerMethodField(help_text="The caller's role on the dataset.")

    class Meta(DatasetSerializer.Meta):
        fields = [
            *DatasetSerializer.Meta.fields,
            "role",
            *(name for name in EDITABLE_SETTINGS if name not in DatasetSerializer.Meta.fields),
        ]

    @extend_schema_field(serializers.ChoiceField(ROLES_OR_NONE))
    def get_role(self, dataset: Dataset) -> str:
        return str(self.context["role"])


class DatasetSettingsSerializer(StrictSerializer, serializers.ModelSerializer):
    """The rules of a dataset that its owners change."""

    class Meta:
        model = Dataset
        fields = [*EDITABLE_SETTINGS]


class NewColumnOfTableSerializer(StrictSerializer):
    """A column of a new table."""

    name = serializers.CharField(max_length=255, trim_whitespace=False)
    type = serializers.CharField(
        max_length=40,
        help_text="As Delta names it: string, long, integer, short, byte, float, double, boolean, binary, date, "
        "timestamp, timestamp_ntz, decimal(10,2).",
    )
    nullable = serializers.BooleanField(default=True, help_text="Key columns never are.")


class NewTableSerializer(StrictSerializer):
    """The table that is made for a dataset, without rows."""

    columns: Any = NewColumnOfTableSerializer(many=True)
    partition_by = serializers.ListField(
        child=serializers.CharField(), default=list, help_text="Names of columns."
    )
    deletion_vectors = serializers.BooleanField(
        default=True, help_text="Whether merges mark rows instead of writing their files again."
    )
    change_data_feed = serializers.BooleanField(default=False)


class RegisterDatasetSerializer(StrictSerializer, serializers.ModelSerializer):
    """A Delta table that becomes a dataset: one that exists (``table_uri``), or one that is made (``schema``)."""

    project = serializers.CharField(help_text="Slug of the project.")
    table_uri = serializers.CharField(
        max_length=1000,
        required=False,
        help_text="Path or URI of the Delta table, or `uc://catalog.schema.table` where a connection has a Unity "
        "Catalog. Of a table that is made: where it shall lie; below "
        "`DELTA_DATA_ROOT` unless given.",
    )
    schema = NewTableSerializer(
        required=False, help_text="What is made where no table exists; leave it out for one that does."
    )
    primary_keys = serializers.ListField(child=serializers.CharField(), allow_empty=False)
    is_copy = serializers.BooleanField(
        default=False,
        help_text="That the table is a copy of another dataset's, whose identity its log has kept, and not that table "
        "at another address. For operators.",
    )

    class Meta:
        model = Dataset
        fields = ["project", "slug", "table_uri", "schema", "primary_keys", "is_copy", *EDITABLE_SETTINGS]
        validators: list[object] = []  # a taken slug is told by the service, which every face calls

    def validate(self, attrs: Any) -> Any:
        if "table_uri" not in attrs and "schema" not in attrs:
            raise serializers.ValidationError(
                {"table_uri": "Name a table that exists, or give the schema of one that is to be made."}
            )
        if "schema" in attrs and attrs.pop("is_copy"):
            raise serializers.ValidationError({"is_copy": "A table that is made is no copy of another one."})
        return attrs


class ColumnSerializer(serializers.Serializer):
    """A column of the table."""

    name = serializers.CharField()
    type = serializers.CharField(help_text="Delta's name of the type.")
    nullable = serializers.BooleanField()
    comment = serializers.CharField(allow_blank=True)


class TableSerializer(serializers.Serializer):
    """Schema and properties of the table at one version, from its log."""

    is_current = serializers.BooleanField(
        help_text="Whether the table's log was read; else this is what was known of it last, and null what was not."
    )
    version = serializers.IntegerField()
    table_id = serializers.CharField()
    columns = ColumnSerializer(many=True)
    partition_columns = serializers.ListField(child=serializers.CharField())
    row_count = serializers.IntegerField(allow_null=True)
    size_bytes = serializers.IntegerField()
    file_count = serializers.IntegerField()
    strategy = serializers.CharField(help_text="How merges are written to this table.")
    features = serializers.ListField(child=serializers.CharField(), allow_null=True)
    constraints = serializers.DictField(child=serializers.CharField(), allow_null=True)
    properties = serializers.DictField(child=serializers.CharField(), allow_null=True)
    warnings = serializers.ListField(
        child=serializers.CharField(), help_text="What owners should know before they rely on the table."
    )
    timestamp = serializers.DateTimeField(allow_null=True)


class RowPageSerializer(serializers.Serializer):
    """Rows of the table in a stable order."""

    next = serializers.URLField(allow_null=True, help_text="Address of the following page.")
    previous = serializers.URLField(allow_null=True, help_text="Address of the page before.")
    version = serializers.IntegerField(help_text="The table version that the rows are read from.")
    columns = ColumnSerializer(many=True)
    reads = EngineReadSerializer(many=True, help_text="What was looked into for these rows.")
    results = serializers.ListField(child=serializers.DictField(child=AnyValue(allow_null=True)))


class TableVersionSerializer(serializers.Serializer):
    """One commit of the table: which change request or which foreign job wrote it."""

    version = serializers.IntegerField()
    timestamp = serializers.DateTimeField(allow_null=True)
    operation = serializers.CharField()
    user = serializers.CharField(allow_blank=True)
    engine = serializers.CharField(allow_blank=True)
    change_request = serializers.CharField(source="cr_id", allow_null=True)
    rows_added = serializers.IntegerField(allow_null=True)
    rows_updated = serializers.IntegerField(allow_null=True)
    rows_deleted = serializers.IntegerField(allow_null=True)


class HistoryPageSerializer(serializers.Serializer):
    """Versions of the table, newest first."""

    next = serializers.URLField(allow_null=True)
    is_complete = serializers.BooleanField(
        help_text="Whether the table's log was read; else these are the versions that change requests made, as known."
    )
    results = TableVersionSerializer(many=True)
