"""Addresses of the API that do not exist."""

from typing import NoReturn

from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from datasets.errors import NotFound


@extend_schema(exclude=True)
class UnknownView(APIView):
    """Says so as problem+json, whatever the method."""

    permission_classes = [AllowAny]

    def initial(self, request: Request, *args: object, **kwargs: object) -> NoReturn:
        raise NotFound("The API has no such address; /api/v1/docs/ lists them.")
