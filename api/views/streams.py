"""Server-sent events: news while one listens."""

from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request

from accounts.models import Token
from accounts.scopes import Scope
from api.schema import CR_ID
from api.views.shared import Documented, actor_of
from changerequests import selectors
from datasets.errors import InvalidInput
from notifications.last_read import LastRead
from notifications.streams.callers import Caller, SessionCaller, TokenCaller
from notifications.streams.hub import Listener
from notifications.streams.news import InboxNews, RequestNews
from notifications.streams.serving import MEDIA_TYPE, open_stream

_LAST_EVENT = "Last-Event-ID"
RESUMING = [
    OpenApiParameter(
        _LAST_EVENT,
        str,
        OpenApiParameter.HEADER,
        description="The `id` of the last event that was read, as browsers send it by themselves: what came since is "
        "told first.",
    ),
    OpenApiParameter("after", str, description="The same, for a first connection."),
]


def _answers(description: str) -> dict[Any, Any]:
    return {
        (200, MEDIA_TYPE): OpenApiResponse(
            OpenApiTypes.STR,
            description=f"{description} Comments come as heartbeats. An event `end` with a `reason` is the last: "
            "`not_allowed`, `too_slow` or `stopping`.",
        ),
        501: OpenApiResponse(description="`streams_unavailable`: the server speaks no ASGI."),
    }


@extend_schema(tags=["events"])
class RequestStreamView(Documented):
    """What happens to a change request."""

    scopes = {"get": Scope.READ}

    @extend_schema(
        parameters=[CR_ID, *RESUMING],
        responses=_answers(
            "One event `change_request` for each entry of its timeline: `change_request`, `sequence`, "
            "`occurred_at`, `actor`, `action` and `data`."
        ),
        operation_id="stream_change_request",
    )
    def get(self, request: Request, cr_id: str) -> HttpResponse:
        """Listen to a change request. The stream ends when the caller may not see it any more."""
        found = selectors.visible_change_request(actor_of(request), cr_id)
        return _stream(request, RequestNews(found.dataset_id, found.cr_id))


@extend_schema(tags=["notifications"])
class InboxStreamView(Documented):
    """What the caller is told."""

    scopes = {"get": Scope.READ}

    @extend_schema(
        parameters=RESUMING,
        responses=_answers(
            "One event `notification` for each that comes into the caller's inbox: its fields as in the list of "
            "notifications, and `unread`, how many the caller has not read now. Its `id` begins with that of the "
            "notification."
        ),
        operation_id="stream_notifications",
    )
    def get(self, request: Request) -> HttpResponse:
        """Listen to what comes into the caller's inbox. The stream ends when the token or the session does."""
        return _stream(request, InboxNews(actor_of(request).pk))


def _stream(request: Request, news: RequestNews | InboxNews) -> HttpResponse:
    newest = news.newest()
    last = _last_read(request)
    told = newest if last is None else min(news.heard_until(last), newest)
    return open_stream(request._request, Listener(_caller(request), {news: told}))


def _caller(request: Request) -> Caller:
    person = actor_of(request).pk
    if isinstance(request.auth, Token):
        return TokenCaller(person, request.auth.pk)
    return SessionCaller(person, str(request._request.session.session_key))


def _last_read(request: Request) -> LastRead | None:
    """After which event the caller goes on; None for what is new from now on. Raises ``InvalidInput``."""
    header = request.headers.get(_LAST_EVENT, "").strip()
    given, field = (header, _LAST_EVENT) if header else (request.query_params.get("after"), "after")
    if given is None:
        return None
    last = LastRead.named(given)
    if last is None:
        sentence = "It is the id of an event of this stream, such as 57-1764345600123, or its number alone."
        raise InvalidInput(sentence, errors={field: [sentence]})
    return last
