"""What several serializers need."""

from typing import Any

from rest_framework import serializers

from datasets.rows import json_value, kept


class StrictSerializer(serializers.Serializer):
    """Input in which a misspelt member is an error, not silence."""

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
