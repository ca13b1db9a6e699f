"""Proposals in one call: what may be asked for in each shape of body, and the answer."""

from typing import Any

from rest_framework import serializers

from api.schema import OUTCOMES
from api.serializers.proposals import (
    ChangeRequestDetailSerializer,
    ColumnActionSerializer,
    ColumnTypesField,
    ReceivedUploadSerializer,
    UploadSerializer,
)
from api.serializers.shared import AnyValue, StrictSerializer

#: What is said of a request that exists already is not said again with its new content.
_OF_NEW_REQUESTS = ("title", "description", "merge_schema")


class ProposalFields(StrictSerializer):
    """What is proposed, and what shall follow."""

    title = serializers.CharField(
        required=False,
        max_length=200,
        help_text="Of the new request; needed unless `change_request` is given.",
    )
    description = serializers.CharField(required=False, allow_blank=True)
    merge_schema = serializers.BooleanField(
        required=False,
        help_text="Whether new columns in the content are added to the table. True unless given.",
    )
    change_request = serializers.CharField(
        required=False,
        help_text="A draft or pending request that the content is new content of, for example CR-128.",
    )
    submit = serializers.BooleanField(default=False, help_text="Ask for review once the content is staged.")
    merge_when_ready = serializers.BooleanField(
        default=False,
        help_text="Submit it, and let the merge begin by itself once nothing stands in its way. A token needs the "
        "scope `merge`, too.",
    )
    message = serializers.CharField(
        allow_blank=True, default="", help_text="Of the merge; with `merge_when_ready`."
    )
    on_nothing_to_change = serializers.ChoiceField(
        [("error", "error"), ("ignore", "ignore")],
        default="error",
        help_text="What is answered where the content leaves the table as it is: 422 `nothing_to_change`, or 200 with "
        "that outcome. No new request is left either way.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "change_request" not in attrs:
            if "title" not in attrs:
                raise serializers.ValidationError(
                    {"title": "Give the new change request a title, or name one in change_request."}
                )
            return attrs
        told = "The request has its own; change it there."
        given = {name: told for name in _OF_NEW_REQUESTS if name in attrs and name in self.initial_data}
        if given:
            raise serializers.ValidationError(given)
        return attrs


class FormProposalSerializer(ProposalFields, UploadSerializer):
    """Fields of a form, with the file."""


class ContentProposalSerializer(ProposalFields):
    """Parameters of an address, where the content is the body."""

    file_name = serializers.CharField(
        required=False, max_length=255, help_text="What people call the content."
    )
    file_format = UploadSerializer().fields["file_format"]
    null_token = UploadSerializer().fields["null_token"]
    column_types = ColumnTypesField(
        required=False,
        help_text='Types of new columns by their names, as JSON: `{"price": "decimal(10,2)"}`.',
    )
    columns = UploadSerializer().fields["columns"]
    empty_cells = UploadSerializer().fields["empty_cells"]


class RowsProposalSerializer(ProposalFields):
    """A proposal in JSON: exactly one of `rows`, `sql`, `from_table` and `preview`."""

    rows = serializers.ListField(
        child=serializers.DictField(child=AnyValue(allow_null=True)),
        required=False,
        help_text="Objects with the key columns, any of the other columns, and optionally `_op`. Numbers keep all of "
        "their digits; what a row leaves out stays as it is.",
    )
    sql = serializers.CharField(
        required=False,
        trim_whitespace=False,
        help_text="A SELECT of the keys and new values over the dataset, which it calls `dataset`; or one UPDATE, "
        "DELETE or INSERT.",
    )
    from_table = serializers.CharField(
        required=False,
        help_text="The path of a clone or copy of the dataset's table, absolute or below the data folder.",
    )
    preview = serializers.IntegerField(
        required=False,
        help_text="A look of yours: its content is proposed as it was looked at, without being sent again.",
    )
    base_version = serializers.IntegerField(
        required=False,
        min_value=0,
        help_text="The version that the copy was made from, where its log does not say.",
    )
    column_types = serializers.DictField(
        child=serializers.CharField(), required=False, help_text="Types of new columns by their names."
    )
    columns = serializers.DictField(
        child=ColumnActionSerializer(),
        required=False,
        help_text="What is to become of columns, by their names in the content. With `rows` or `sql`.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = [name for name in ("rows", "sql", "from_table", "preview") if name in attrs]
        if len(given) != 1:
            told = "Give one of rows, sql, from_table and preview" + (", not several." if given else ".")
            raise serializers.ValidationError(dict.fromkeys(given or ["rows"], told))
        if "base_version" in attrs and given != ["from_table"]:
            raise serializers.ValidationError({"base_version": "Only from_table has it: all else is new."})
        if "column_types" in attrs and given != ["rows"]:
            raise serializers.ValidationError({"column_types": "Only rows need it: the others have types."})
        if "columns" in attrs and given[0] not in ("rows", "sql"):
            raise serializers.ValidationError({"columns": "Only rows and sql have columns to decide about."})
        if "merge_schema" in attrs and given == ["preview"]:
            raise serializers.ValidationError({"merge_schema": "It was decided when it was looked at."})
        return super().validate(attrs)


class ProposalSerializer(serializers.Serializer):
    """What became of a proposal so far."""

    upload = ReceivedUploadSerializer(allow_null=True, help_text="Null where there was nothing to read.")
    change_request = ChangeRequestDetailSerializer(
        allow_null=True, help_text="Null where the content changed nothing and no new request is left."
    )
    outcome = serializers.ChoiceField(OUTCOMES)
