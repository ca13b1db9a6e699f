"""What every view needs: who calls, what came in, which page is wanted."""

from typing import Any, cast

import django_filters
from django.contrib.auth.models import User
from rest_framework.request import Request
from rest_framework.serializers import Serializer


class IdFilter(django_filters.NumberFilter):
    """The id of something: a whole number that a database can hold; another is refused."""

    def __init__(self, **options: Any) -> None:
        super().__init__(min_value=1, max_value=2**63 - 1, decimal_places=0, **options)


def actor_of(request: Request) -> User:
    """Who calls; every view but the signing in is behind ``IsAuthenticated``."""
    return cast(User, request.user)


def validated(serializer: type[Serializer], data: Any, **options: Any) -> dict[str, Any]:
    """What came in, checked. Raises DRF's ``ValidationError``."""
    checked = serializer(data=data, **options)
    checked.is_valid(raise_exception=True)
    return dict(checked.validated_data)
