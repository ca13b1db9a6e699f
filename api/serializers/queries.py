"""Statements tried before they are proposed."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.reverse import reverse

from api.serializers.proposals import CellSerializer, UploadProblemSerializer
from api.serializers.shared import AnyValue, StrictSerializer
from changerequests.models import Query
from changerequests.services import queries


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


class FoundRowSerializer(serializers.Serializer):
    """One row that would change: its key and the cells that do."""

    key = serializers.DictField(child=AnyValue(allow_null=True))
    operation = serializers.ChoiceField([(name, name) for name in ("insert", "update", "delete")])
    cells = CellSerializer(many=True)


class FoundSerializer(serializers.Serializer):
    """What the statement would change, proposed as it is."""

    version = serializers.IntegerField(help_text="Version of the table that it was run over.")
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


class QuerySerializer(serializers.ModelSerializer):
    """A statement that is tried: where that stands, and what was found."""

    status = serializers.ChoiceField(Query.Status.choices)
    dataset = serializers.IntegerField(source="dataset_id")
    sql: Any = serializers.CharField(source="statement")
    found: Any = serializers.SerializerMethodField(help_text="Null while it has not succeeded.")
    problem: Any = serializers.SerializerMethodField(help_text="Why it failed; null where it did not.")
    asked_at = serializers.DateTimeField(source="queued_at")
    url: Any = serializers.SerializerMethodField()

    class Meta:
        model = Query
        fields = [
            "id",
            "status",
            "dataset",
            "sql",
            "merge_schema",
            "rows_read",
            "found",
            "problem",
            "asked_at",
            "finished_at",
            "url",
        ]

    @extend_schema_field(FoundSerializer(allow_null=True))
    def get_found(self, query: Query) -> Any:
        return queries.found_by(query) if query.status == Query.Status.SUCCEEDED else None

    @extend_schema_field(UploadProblemSerializer(allow_null=True))
    def get_problem(self, query: Query) -> Any:
        if not query.error_code:
            return None
        return {**query.error_data, "code": query.error_code, "message": query.error_message}

    @extend_schema_field({"type": "string", "format": "uri"})
    def get_url(self, query: Query) -> str:
        return str(reverse("api:query", args=[query.pk], request=self.context["request"]))
