"""The OpenAPI document itself."""

from typing import Any

from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from api.operations import DESCRIBING, Operation, Parameter

_TAKEN = Operation(
    parameters={
        "format": Parameter.of({"type": "string", "enum": ["yaml", "json"]}),
        "lang": Parameter.of({"type": "string"}),
    },
    media_types=frozenset(),
)


@extend_schema(exclude=True)
class DocumentView(SpectacularAPIView):
    """In YAML or JSON, by ``Accept`` or ``format``."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        _TAKEN.require(request.query_params)
        super().initial(request, *args, **kwargs)

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The document."""
        with DESCRIBING:
            return super().get(request, *args, **kwargs)
