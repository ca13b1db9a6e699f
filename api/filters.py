"""Filters of lists."""

from datetime import UTC, datetime
from typing import Any

import django_filters
from django.core.exceptions import ValidationError
from django_filters.fields import IsoDateTimeField


class _Moment(IsoDateTimeField):
    def clean(self, value: Any) -> Any:
        moment = super().clean(value)
        try:
            return moment.astimezone(UTC) if isinstance(moment, datetime) else moment
        except (OverflowError, ValueError) as error:
            raise ValidationError("Give a moment between the years 1 and 9999 in UTC.") from error


class MomentFilter(django_filters.IsoDateTimeFilter):
    """A moment as ISO 8601 has it; UTC where it names no zone."""

    field_class = _Moment


def since(field: str) -> MomentFilter:
    """Not before a moment."""
    return MomentFilter(field_name=field, lookup_expr="gte", help_text="First moment, included.")


def until(field: str) -> MomentFilter:
    """Before a moment."""
    return MomentFilter(field_name=field, lookup_expr="lt", help_text="The moment before which it ends.")
