"""Filters that the caller keeps under names."""

from typing import Any

from rest_framework import serializers

from api.serializers.shared import StrictSerializer
from changerequests.models import SavedView
from changerequests.services.saved_views import LONGEST_NAME


class SavedViewSerializer(serializers.ModelSerializer):
    """A view: what it is of, and what it filters by."""

    dataset = serializers.IntegerField(
        source="dataset_id",
        allow_null=True,
        help_text="Whose rows it filters; null for one of change requests.",
    )
    filters: Any = serializers.DictField(
        child=serializers.CharField(), help_text="Parameters of the page that shows it."
    )

    class Meta:
        model = SavedView
        fields = ["id", "name", "dataset", "filters", "updated_at"]


class KeepViewSerializer(StrictSerializer):
    """A view to be kept; one of the same name and place is replaced."""

    name = serializers.CharField(max_length=LONGEST_NAME)
    dataset = serializers.IntegerField(
        required=False, allow_null=True, help_text="Whose rows it filters; without it, change requests."
    )
    filters = serializers.DictField(
        child=serializers.CharField(allow_blank=True, trim_whitespace=False),
        help_text="Of change requests `q`, `state`, `stands`, `dataset` and `group`; of rows `column` with `value`, "
        "and `sort`.",
    )


class SavedViewParameters(serializers.Serializer):
    """Whose views."""

    dataset = serializers.IntegerField(
        required=False,
        min_value=1,
        help_text="Those of the rows of a dataset; without it, those of change requests.",
    )
