"""What every view needs: who calls, what came in, which page is wanted."""

import re
from typing import Any, cast

from django.contrib.auth.models import User
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.serializers import Serializer
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from api.conditional import NotModified, is_known, tag_of, unmodified, without_what_is_known
from api.idempotency import once
from api.operations import AsDocumented, asked_of
from api.pagination import links_of
from api.throttling import limits_told
from datasets.errors import InvalidInput

_ENTITY_TAGS = re.compile(r'(?:W/)?"[^"]*"(?:\s*,\s*(?:W/)?"[^"]*")*')


class Documented(APIView):
    """An operation that takes what the document says: its query parameters and no others, each media type it names."""

    content_negotiation_class = AsDocumented
    #: Whether a POST with an ``Idempotency-Key`` is performed once. Never where an answer holds a secret.
    remembers_answers = True
    #: Whether performing one waits for another process.
    waits = False

    #: Actions whose answers get an ``ETag`` by their content (of views without actions: their methods).
    tagged: tuple[str, ...] = ()
    _tag = ""

    def known(self, request: Request, *facts: Any) -> None:
        """Say what the answer depends on, before it is made: ends with 304 where the caller has it."""
        self._tag = tag_of(*facts)
        if is_known(request, self._tag):
            raise NotModified(self._tag)

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, NotModified):
            return unmodified(exc.tag)
        return super().handle_exception(exc)

    def get_throttles(self) -> list[BaseThrottle]:
        self._throttles: list[BaseThrottle] = super().get_throttles()
        return self._throttles

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        if self._tag and response.status_code == 200:
            response.headers.setdefault("ETag", f'"{self._tag}"')
        if self._performed(request) in self.tagged and isinstance(response, Response):
            response = without_what_is_known(request, response)
        if isinstance(response, Response) and (links := links_of(response.data)):
            response["Link"] = links
        for name, told in limits_told(getattr(self, "_throttles", ())).items():
            response.headers[name] = told
        return super().finalize_response(request, response, *args, **kwargs)

    def _performed(self, request: Request) -> str | None:
        method = "get" if request.method == "HEAD" else str(request.method).lower()
        name: str | None = getattr(self, "action", method)
        return name

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        operation = asked_of(request)
        if operation is not None:
            operation.require(request.query_params)
        handler = getattr(self, "post", None)
        if request.method == "POST" and handler is not None and self.remembers_answers:
            vars(self)["post"] = once(handler, waits=self.waits)  # what dispatch() calls next

    def options(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:
        """The methods of the address, in ``Allow``."""
        return Response(status=204)


def actor_of(request: Request) -> User:
    """Who calls; every view but the signing in is behind ``IsAuthenticated``."""
    return cast(User, request.user)


def created(data: Any, name: str, *args: Any, request: Request, **headers: str) -> Response:
    """201 with the address of what was made: the operation ``name`` of the API with ``args``."""
    address = reverse(f"api:{name}", args=args, request=request)
    return Response(data, status=201, headers={"Location": str(address), **headers})


def versions_matched(request: Request) -> tuple[str, ...]:
    """What ``If-Match`` names of what is edited, without quotes; empty where any version will do."""
    header = request.headers.get("If-Match", "").strip()
    if header in ("", "*"):
        return ()
    found = _ENTITY_TAGS.fullmatch(header)
    if found is None:
        sentence = 'If-Match names versions as ETag told them, in quotes, for example "3".'
        raise InvalidInput(sentence, errors={"If-Match": [sentence]})
    return tuple(tag.partition(".")[0] for tag in re.findall(r'"([^"]*)"', header))


def validated(serializer: type[Serializer], data: Any, **options: Any) -> dict[str, Any]:
    """What came in, checked. Raises DRF's ``ValidationError``."""
    checked = serializer(data=data, **options)
    checked.is_valid(raise_exception=True)
    return dict(checked.validated_data)
