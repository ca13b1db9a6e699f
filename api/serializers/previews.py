"""Content that is looked at before it is proposed."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.reverse import reverse

from api.schema import EMPTY_CELLS, UPLOAD_KINDS
from api.serializers.proposals import (
    FILLED,
    CellSerializer,
    ColumnActionSerializer,
    UnknownColumnSerializer,
    UploadProblemSerializer,
    UploadSerializer,
)
from api.serializers.shared import AnyValue, StrictSerializer, TableWorkSerializer
from changerequests.models import Preview
from changerequests.services import previews


class AskSerializer(StrictSerializer):
    """A statement to try."""

    sql = serializers.CharField(
        trim_whitespace=False,
        help_text="A SELECT of the keys and new values over the dataset, which it calls `dataset`; or one UPDATE, "
        "DELETE or INSERT.",
    )
    merge_schema = serializers.BooleanField(
        default=True, help_text="Whether columns that the table lacks are new ones."
    )


class LookFields(StrictSerializer):
    """What the content is meant for."""

    change_request = serializers.CharField(
        required=False,
        help_text="A draft or pending request that it is meant as new content of, for example CR-128.",
    )


class FormLookSerializer(LookFields, UploadSerializer):
    """Fields of a form, with the file."""


class ContentLookSerializer(LookFields):
    """Parameters of an address, where the content is the body."""

    file_name = serializers.CharField(
        required=False, max_length=255, help_text="What people call the content."
    )
    file_format = UploadSerializer().fields["file_format"]
    null_token = UploadSerializer().fields["null_token"]
    column_types = UploadSerializer().fields["column_types"]
    columns = UploadSerializer().fields["columns"]
    empty_cells = UploadSerializer().fields["empty_cells"]


class LookSerializer(LookFields):
    """What to look at, in JSON: exactly one of `rows`, `sql` and `preview`."""

    rows = serializers.ListField(
        child=serializers.DictField(child=AnyValue(allow_null=True)),
        required=False,
        help_text="Objects with the key columns, any of the other columns, and optionally `_op`.",
    )
    sql = serializers.CharField(
        required=False,
        trim_whitespace=False,
        help_text="A SELECT of the keys and new values over the dataset, which it calls `dataset`; or one UPDATE, "
        "DELETE or INSERT.",
    )
    preview = serializers.IntegerField(
        required=False, help_text="A look of yours whose content is looked at again, read in another way."
    )
    null_token = serializers.CharField(
        required=False, allow_blank=True, trim_whitespace=False, help_text="With `preview`."
    )
    column_types = serializers.DictField(
        child=serializers.CharField(), required=False, help_text="Types of new columns by their names."
    )
    columns = serializers.DictField(
        child=ColumnActionSerializer(),
        required=False,
        help_text="What is to become of columns, by their names in the content.",
    )
    empty_cells = serializers.ChoiceField(
        EMPTY_CELLS,
        required=False,
        help_text="With `preview`: what an empty cell of a CSV file or a workbook means.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = [name for name in ("rows", "sql", "preview") if name in attrs]
        if len(given) != 1:
            told = "Give one of rows, sql and preview" + (", not several." if given else ".")
            raise serializers.ValidationError(dict.fromkeys(given or ["rows"], told))
        meant = {"null_token", "empty_cells"} if given != ["preview"] else {"change_request"}
        wrong = {name: f"It says nothing of {given[0]}." for name in meant if name in attrs}
        if wrong:
            raise serializers.ValidationError(wrong)
        return attrs


class FoundRowSerializer(serializers.Serializer):
    """One row that would change: its key and the cells that do."""

    key = serializers.DictField(child=AnyValue(allow_null=True))
    operation = serializers.ChoiceField([(name, name) for name in ("insert", "update", "delete")])
    cells = CellSerializer(many=True)
    filled = serializers.SerializerMethodField(help_text=FILLED)

    def get_filled(self, row: Mapping[str, Any]) -> list[str]:
        return list(row.get("filled", ()))  # rows that were found by an earlier release say nothing of it


class FoundSerializer(serializers.Serializer):
    """What the content would change, proposed as it is."""

    version = serializers.IntegerField(help_text="Version of the table that it was compared with.")
    rows_inserted = serializers.IntegerField()
    rows_updated = serializers.IntegerField()
    rows_deleted = serializers.IntegerField()
    noop_rows = serializers.IntegerField(help_text="Rows that equal the table: they are left out.")
    cells_updated = serializers.DictField(
        child=serializers.IntegerField(), help_text="Changed cells of updated rows, by column."
    )
    columns = serializers.ListField(child=serializers.CharField())
    new_columns = serializers.DictField(
        child=serializers.CharField(), help_text="Their types by their names."
    )
    warnings = serializers.ListField(child=serializers.CharField())
    rows = FoundRowSerializer(many=True, help_text="The first rows that would change, in key order.")


class LookedAtSerializer(FoundSerializer):
    """The same, with what a person decides by."""

    duplicate_rows = serializers.IntegerField(default=0, help_text="Rows that repeat another one exactly.")
    cells_becoming_null = serializers.DictField(
        child=serializers.IntegerField(), default=dict, help_text="Cells that would become NULL, by column."
    )
    unknown_columns: Any = UnknownColumnSerializer(
        many=True,
        default=list,
        help_text="Columns that the table lacks and nobody has decided about: they are left alone, and nothing can be "
        "proposed until `columns` says what is to become of them.",
    )


class QuerySerializer(TableWorkSerializer):
    """A statement that is tried: where that stands, and what was found."""

    status = serializers.ChoiceField(Preview.Status.choices)
    dataset = serializers.IntegerField(source="dataset_id")
    sql: Any = serializers.CharField(source="source")
    found: Any = serializers.SerializerMethodField(help_text="Null while it has not succeeded.")
    problem: Any = serializers.SerializerMethodField(help_text="Why it failed; null where it did not.")
    asked_at = serializers.DateTimeField(source="queued_at")
    url: Any = serializers.SerializerMethodField()

    class Meta:
        model = Preview
        fields = [
            "id",
            "status",
            "dataset",
            "sql",
            "merge_schema",
            "rows_read",
            "waits_for_store",
            "found",
            "problem",
            "asked_at",
            "finished_at",
            "url",
        ]

    @extend_schema_field(FoundSerializer(allow_null=True))
    def get_found(self, query: Preview) -> Any:
        if query.status != Preview.Status.SUCCEEDED:
            return None
        return FoundSerializer(previews.found_by(query)).data

    @extend_schema_field(UploadProblemSerializer(allow_null=True))
    def get_problem(self, query: Preview) -> Any:
        if query.is_active or not query.error_code:
            return None
        return {**query.error_data, "code": query.error_code, "message": query.error_message}

    @extend_schema_field({"type": "string", "format": "uri"})
    def get_url(self, query: Preview) -> str:
        return str(reverse("api:query", args=[query.pk], request=self.context["request"]))


class PreviewSerializer(TableWorkSerializer):
    """A look at content before it is proposed: where that stands, how it is read, and what was found."""

    status = serializers.ChoiceField(Preview.Status.choices)
    dataset = serializers.IntegerField(source="dataset_id")
    kind = serializers.ChoiceField(UPLOAD_KINDS)
    sql: Any = serializers.CharField(source="source", help_text="The statement; else empty.")
    change_request: Any = serializers.SerializerMethodField(
        help_text="The request that it is meant as new content of; null for that of a new one."
    )
    columns: Any = serializers.DictField(source="column_actions", child=ColumnActionSerializer())
    empty_cells = serializers.ChoiceField(EMPTY_CELLS, allow_blank=True)
    found: Any = serializers.SerializerMethodField(help_text="Null while it has not succeeded.")
    problem: Any = serializers.SerializerMethodField(help_text="Why it failed; null where it did not.")
    asked_at = serializers.DateTimeField(source="queued_at")
    url: Any = serializers.SerializerMethodField()

    class Meta:
        model = Preview
        fields = [
            "id",
            "status",
            "dataset",
            "change_request",
            "kind",
            "sql",
            "file_name",
            "size_bytes",
            "columns",
            "empty_cells",
            "rows_read",
            "waits_for_store",
            "found",
            "problem",
            "asked_at",
            "finished_at",
            "url",
        ]

    @extend_schema_field({"type": ["string", "null"]})
    def get_change_request(self, preview: Preview) -> str | None:
        return preview.change_request.cr_id if preview.change_request else None

    @extend_schema_field(LookedAtSerializer(allow_null=True))
    def get_found(self, preview: Preview) -> Any:
        if preview.status != Preview.Status.SUCCEEDED:
            return None
        return LookedAtSerializer(previews.found_by(preview)).data

    @extend_schema_field(UploadProblemSerializer(allow_null=True))
    def get_problem(self, preview: Preview) -> Any:
        if preview.is_active or not preview.error_code:
            return None
        return {**preview.error_data, "code": preview.error_code, "message": preview.error_message}

    @extend_schema_field({"type": "string", "format": "uri"})
    def get_url(self, preview: Preview) -> str:
        return str(reverse("api:preview", args=[preview.pk], request=self.context["request"]))
