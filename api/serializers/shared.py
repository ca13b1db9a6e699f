"""What several serializers need."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import Direction, extend_schema_field
from rest_framework import serializers

from datasets.durable_work import TableWork
from datasets.rows import json_value, kept


class TypedSerializer(serializers.Serializer):
    """Input whose JSON has the types of its document: ``"yes"`` is no boolean, ``"7"`` no number, 7 no text."""

    def to_internal_value(self, data: Any) -> Any:
        # What comes in forms is text throughout.
        if isinstance(data, Mapping) and not hasattr(data, "getlist"):
            wrong = {
                name: serializers.ErrorDetail(sentence, code="type")
                for name, field in self.fields.items()
                if name in data and (sentence := _type_problem(field, data[name]))
            }
            if wrong:
                raise serializers.ValidationError(wrong)
        return super().to_internal_value(data)


class StrictSerializer(TypedSerializer):
    """The same, in which a misspelt member is an error, not silence."""

    def to_internal_value(self, data: Any) -> Any:
        unknown = sorted(set(data) - set(self.fields)) if hasattr(data, "keys") else []
        if unknown:
            raise serializers.ValidationError(
                {
                    name: serializers.ErrorDetail("There is no such member.", code="unknown")
                    for name in unknown
                }
            )
        return super().to_internal_value(data)


class StrictSerializerSchema(OpenApiSerializerExtension):
    """Says in the OpenAPI document that there are no other members."""

    target_class = StrictSerializer
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        found = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        return {**found, "additionalProperties": False} if direction == "request" else dict(found)


def _type_problem(field: serializers.Field, value: Any) -> str:
    if value is None:
        return ""  # the field itself says whether it may be
    if isinstance(field, serializers.BooleanField):
        return "" if isinstance(value, bool) else "Write true or false, without quotes."
    if isinstance(field, serializers.IntegerField | serializers.FloatField):
        whole = isinstance(field, serializers.IntegerField)
        fits = isinstance(value, float | int) and not isinstance(value, bool)
        kind = "a whole number" if whole else "a number"
        return "" if fits and (not whole or value == int(value)) else f"Write {kind}, without quotes."
    if isinstance(field, serializers.CharField | serializers.ChoiceField | serializers.DecimalField):
        return "" if isinstance(value, str) else "Write a text, in quotes."
    if isinstance(field, serializers.ListField) and isinstance(value, list):
        return next((sentence for one in value if (sentence := _type_problem(field.child, one))), "")
    return ""


class UserField(serializers.CharField):
    """A person by user name."""

    def to_representation(self, value: Any) -> str:
        return str(value.get_username())


class AnyValue(serializers.JSONField):
    """A cell value in JSON; see "Values" in docs/api.md. Cells come as the engine gives them, or as JSON already."""

    def to_representation(self, value: Any) -> Any:
        return json_value(value)


class KeyField(serializers.DictField):
    """The key of a row as the database keeps it, by column."""

    child = AnyValue(allow_null=True)

    def to_representation(self, value: Any) -> Any:
        return super().to_representation(kept(value))


class StoreWaitSerializer(serializers.Serializer):
    """Why work waits: the store of the table does not answer. It is tried again by itself, and given up after hours."""

    reason: Any = serializers.CharField(source="error_message", help_text="What the store said last.")
    next_try: Any = serializers.DateTimeField(source="not_before")
    tries = serializers.IntegerField(source="waits", help_text="How often it was tried in vain.")


class TableWorkSerializer(serializers.ModelSerializer):
    """What all work on tables tells that workers do."""

    waits_for_store: Any = serializers.SerializerMethodField(
        help_text="Why it is not tried now and when it is; null where the store of the table answers."
    )

    @extend_schema_field(StoreWaitSerializer(allow_null=True))
    def get_waits_for_store(self, work: TableWork) -> Any:
        return StoreWaitSerializer(work).data if work.waits_for_store else None


ENGINES = [("duckdb", "duckdb"), ("spark", "spark")]


class EngineReadSerializer(serializers.Serializer):
    """What looked for rows in the table: in how many ``files``, of how many ``bytes`` as a whole, and what it found."""

    engine = serializers.ChoiceField(ENGINES)
    files = serializers.IntegerField()
    bytes = serializers.IntegerField()
    rows = serializers.IntegerField()
    seconds = serializers.FloatField()
