"""Bodies of requests, looked at before Django does: how large they may be, and how long they are where nobody says so.

Django reads a whole body to the disk before anything looks at it, and takes one without ``Content-Length`` (chunked)
for none: its form parser, Django REST framework's ``Request._load_stream`` and the WSGI handler all ask that header.
So this stands around the ASGI application: too large a body is refused before it is read, or as soon as it is, and a
chunked one gets the length that it turned out to have, which Django reads after the body.
"""

import asyncio
import io
import itertools
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import structlog
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.asgi import ASGIRequest
from django.db import InterfaceError, OperationalError, connections
from django.http import HttpResponse
from django.urls import Resolver404, resolve
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.settings import api_settings

from accounts.guard import is_known_browser
from config.handling import NoRoomForBody
from config.problems import NO_ROOM, TooLarge

logger = structlog.get_logger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[..., Awaitable[None]]

#: In the scope of a request whose body was refused: the error that says why. Most bodies that are too large are not
#: read; forms of our pages are, up to what long lists may have, so that what somebody typed is in the answer.
REFUSED = "headgate.body_refused"
#: What a form adds to the file in it: borders, names, the other fields.
FORM_BYTES = 64 * 1024


class BoundedBodies:
    """An ASGI application whose requests have bodies of a known length, within the bounds of their operation.

    An operation names the setting that bounds its bodies in ``body_limit`` (on the class or function of the view);
    else it is ``BODY_LIMIT_BYTES``. Bodies above that are taken from callers that are known, and from nobody else: by
    their token or session, and on pages by their browser, for a session may have ended while somebody typed.
    """

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.application(scope, receive, send)
        try:
            await self._pass_on(scope, receive, send)
        except NoRoomForBody as error:
            logger.error("body_not_read", exc_info=error)
            await self._refuse(scope, send, NO_ROOM)
        return None

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        chunked = b"transfer-encoding" in headers
        declared = int(headers.get(b"content-length", 0))
        if not declared and not chunked:
            return await self.application(scope, receive, send)
        view = _view_at(scope)
        limit, is_page = _limit_of(view), _is_page(view)
        read = max(limit, settings.LONG_LIST_LIMIT_BYTES) if is_page and not chunked else limit
        if read > settings.BODY_LIMIT_BYTES and (chunked or declared > settings.BODY_LIMIT_BYTES):
            try:
                async with ThreadSensitiveContext():
                    known = await sync_to_async(_is_known)(scope, by_browser=is_page)
            except (OperationalError, InterfaceError) as error:  # nobody knows
                return await self._refuse(scope, send, error)
            if not known:
                limit = read = settings.BODY_LIMIT_BYTES
        limit, read = limit + FORM_BYTES, read + FORM_BYTES
        if declared > read:
            return await self._refuse(scope, send, TooLarge.beyond(limit))
        if not chunked:
            beyond = {REFUSED: TooLarge.beyond(limit)} if declared > limit else {}
            return await self.application({**scope, **beyond}, receive, send)
        headers.pop(b"content-length", None)
        counted = {**scope, "headers": list(headers.items())}
        body = _CountedBody(receive, counted["headers"], limit)
        await self.application(counted, body.receive, send)
        if body.exceeded:
            await self._refuse(scope, send, TooLarge.beyond(limit))
        return None

    async def _refuse(self, scope: Scope, send: Send, why: Exception) -> None:
        """Let the application say so, to a request without the body. The server throws away what is still sent."""
        hidden = (b"content-length", b"transfer-encoding", b"content-type", b"expect")
        headers = [pair for pair in scope["headers"] if pair[0] not in hidden]
        messages = itertools.chain([_no_body], itertools.repeat(_never))
        await self.application({**scope, "headers": headers, REFUSED: why}, lambda: next(messages)(), send)


class _CountedBody:
    """A chunked body: it ends where the limit does, as if the client had gone, and its length joins the headers."""

    def __init__(self, receive: Receive, headers: list[tuple[bytes, bytes]], limit: int) -> None:
        self._receive, self._headers, self._limit = receive, headers, limit
        self._bytes = 0
        self.exceeded = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._bytes += len(message.get("body", b""))
            if self._bytes > self._limit:
                self.exceeded = True
                return {"type": "http.disconnect"}
            if not message.get("more_body", False):
                self._headers.append((b"content-length", str(self._bytes).encode()))
        return message


def _view_at(scope: Scope) -> Any:
    try:
        return resolve(scope["path"].removeprefix(scope.get("root_path", ""))).func
    except Resolver404:
        return None


def _is_page(view: Any) -> bool:
    return str(getattr(view, "__module__", "")).startswith("web.")


def _limit_of(view: Any) -> int:
    named = getattr(view, "body_limit", None) or getattr(getattr(view, "cls", None), "body_limit", None)
    return int(getattr(settings, named or "BODY_LIMIT_BYTES"))


def _is_known(scope: Scope, *, by_browser: bool) -> bool:
    """Whether the headers carry a token or a session that holds, or (``by_browser``) are of a browser in which somebody
    signed in lately. What it may do is asked later, where it always is.
    """
    request = ASGIRequest(scope, io.BytesIO())
    if by_browser and is_known_browser(request):
        return True
    classes: Any = api_settings.DEFAULT_AUTHENTICATION_CLASSES
    authenticators = [
        authenticator()
        for authenticator in classes
        if not issubclass(authenticator, SessionAuthentication)  # which reads the body, for its CSRF token
    ]
    try:
        SessionMiddleware(lambda _: HttpResponse()).process_request(request)
        if get_user(request).is_authenticated:
            return True
        return bool(Request(request, authenticators=authenticators).user.is_authenticated)
    except APIException:
        return False
    finally:
        connections.close_all()


async def _no_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _never() -> Message:
    return await asyncio.get_running_loop().create_future()


def with_lengths(application: Callable[..., Any]) -> Callable[..., Any]:
    """A WSGI application that refuses bodies without a length (411): WSGI has no way to read them to their end."""

    def answer(environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Any:
        if "HTTP_TRANSFER_ENCODING" in environ and not environ.get("CONTENT_LENGTH"):
            start_response("411 Length Required", [("Content-Type", "text/plain"), ("Content-Length", "0")])
            return [b""]
        return application(environ, start_response)

    return answer
