"""Streams on the wire: an ASGI application that goes on where Django has ended.

Django answers the request for a stream as any other, with all that stands around it (sign-in, limits, the log), and its
answer has no body. By then its thread and its connection to the database are given back; what follows is sent from the
event loop, for as long as it takes.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

from django.http import HttpRequest, HttpResponse

from datasets.errors import DomainError
from notifications.streams.hub import End, Hub, Listener

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MEDIA_TYPE: Final = "text/event-stream"
#: How long nothing is sent before a comment is: proxies close what is silent for a minute, and so dead listeners show.
HEARTBEAT_SECONDS: Final = 15.0
#: After how many milliseconds a listener connects again.
RETRY: Final = 3000
#: In the scope of a request: where its view leaves the stream that it opened.
_DESK: Final = "headgate.streams"
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class CannotStream(DomainError):
    """This server answers each request at once; it speaks no ASGI."""

    code = "streams_unavailable"


@dataclass
class _Desk:
    """Where a view and the application around it meet."""

    hub: Hub
    opened: Listener | None = None

    def open(self, listener: Listener) -> None:
        """Take a stream on. Raises ``TooManyStreams``."""
        self.hub.admit(listener.caller.person)
        self.opened = listener

    def close(self) -> None:
        """Give its place to another one, if there is a stream."""
        if self.opened is not None:
            self.hub.dismiss(self.opened.caller.person)
            self.opened = None


def open_stream(request: HttpRequest, listener: Listener) -> HttpResponse:
    """The answer to a request for a stream, which begins once it is sent.

    Raises ``CannotStream`` under WSGI and ``TooManyStreams``.
    """
    desk: _Desk | None = getattr(request, "scope", {}).get(_DESK)
    if desk is None:
        raise CannotStream(
            "This server cannot stream. Ask for the events page by page, or have the operator serve Headgate by ASGI."
        )
    if request.method != "HEAD":
        desk.open(listener)
    response = HttpResponse(content_type=MEDIA_TYPE)
    response["X-Accel-Buffering"] = "no"  # nginx would hold back what is sent
    return response


class EventStreams:
    """An ASGI application that sends what views open with ``open_stream``, around Django's."""

    def __init__(self, application: Callable[..., Awaitable[None]]) -> None:
        self.application = application
        self.hub = Hub()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._live(receive, send)
        if scope["type"] != "http":
            return await self.application(scope, receive, send)
        desk = _Desk(self.hub)
        try:
            await self.application({**scope, _DESK: desk}, receive, _unended(send, desk))
            if desk.opened is not None:
                await _tell(desk.opened, self.hub, receive, send)
        finally:
            desk.close()
        return None

    async def _live(self, receive: Receive, send: Send) -> None:
        """The life of the server's process. Servers wait for open connections before they say here that they stop, so
        the signal that stops them is heard beside them.
        """
        await receive()
        restore = _hear_signals(self.hub, asyncio.get_running_loop())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        restore()
        self.hub.stop()
        await send({"type": "lifespan.shutdown.complete"})


def _hear_signals(hub: Hub, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """Have the signals that stop the server stop its streams first; returns how to leave that again."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def heard(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(hub.stop)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    ours = {number for number, handler in before.items() if callable(handler)}
    for number in ours:
        signal.signal(number, heard)

    def restore() -> None:
        for number in ours:
            if signal.getsignal(number) is heard:
                signal.signal(number, before[number])

    return restore


def _unended(send: Send, desk: _Desk) -> Send:
    """``send`` that keeps an answer open where a stream follows it."""

    async def sent(message: Message) -> None:
        if desk.opened is not None and message.get("status", 200) != 200:
            desk.close()  # something around the view refused it
        if desk.opened is None:
            await send(message)
        elif message["type"] == "http.response.start":
            headers = [pair for pair in message["headers"] if pair[0].lower() != b"content-length"]
            await send({**message, "headers": headers})

    return sent


async def _tell(listener: Listener, hub: Hub, receive: Receive, send: Send) -> None:
    """Send what comes for a listener until it leaves or its stream ends."""
    gone = asyncio.ensure_future(_gone(receive))
    try:
        hub.join(listener)
        content: bytes | End = b"retry: %d\n\n" % RETRY
        while not gone.done():
            if isinstance(content, End):
                await _send(send, f'event: end\ndata: {{"reason":"{content.value}"}}\n\n'.encode(), last=True)
                return
            await _send(send, content)
            content = await _next(listener, gone)
    finally:
        hub.leave(listener)
        gone.cancel()


async def _next(listener: Listener, gone: asyncio.Future[None]) -> bytes | End:
    """What is to be sent next: a heartbeat where nothing else is."""
    waiting = asyncio.ensure_future(listener.waiting.get())
    either: set[asyncio.Future[Any]] = {waiting, gone}
    await asyncio.wait(either, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    if waiting.done():
        return waiting.result()
    waiting.cancel()
    return b": still here\n\n"


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, content: bytes, *, last: bool = False) -> None:
    await send({"type": "http.response.body", "body": content, "more_body": not last})
