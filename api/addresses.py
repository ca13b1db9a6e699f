"""Datasets as addresses, members and parameters name them: by number or as ``project/slug``."""

from typing import Any

import django_filters
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.forms import CharField
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from api.schema import DATASET_ADDRESS
from datasets.addressing import NAME_PATTERN, DatasetAddress, at_address, dataset_address
from datasets.errors import InvalidInput


class DatasetConverter:
    """A dataset in a path (Django, "Registering custom path converters")."""

    regex = f"[0-9]+|{NAME_PATTERN}"

    def to_python(self, text: str) -> DatasetAddress:
        return int(text) if text.isdecimal() else dataset_address(text)

    def to_url(self, address: DatasetAddress) -> str:
        return str(address)


@extend_schema_field(DATASET_ADDRESS)
class DatasetField(serializers.Field):
    """A dataset in a body: a number, or ``project/slug`` as text."""

    def to_internal_value(self, data: Any) -> DatasetAddress:
        if isinstance(data, bool) or not isinstance(data, int | str):
            raise serializers.ValidationError("Give the number, or project/slug.", code="type")
        try:
            return dataset_address(data)
        except InvalidInput as error:
            raise serializers.ValidationError(error.message) from error

    def to_representation(self, value: Any) -> Any:
        return value


class _AddressOfDataset(CharField):
    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        try:
            return dataset_address(text) if text else ""
        except InvalidInput as error:
            raise ValidationError(error.message) from error


@extend_schema_field({"type": "string", "description": "Number of the dataset, or `project/slug`."})
class OfDatasetFilter(django_filters.CharFilter):
    """Only what belongs to one dataset; ``field_name`` leads to it."""

    field_class = _AddressOfDataset

    def filter(self, qs: QuerySet[Any], value: Any) -> QuerySet[Any]:
        return qs if value == "" else qs.filter(at_address(value, f"{self.field_name}__"))
