"""How a web process works on a request: from the first middleware to the last in one thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase

import merging


class NoRoomForBody(Exception):
    """The disk that keeps bodies while they are read is full."""


class HandlerInOneThread(ASGIHandler):
    """Django's handler for an application all of whose middleware and views are synchronous.

    Django's own goes back to the event loop between the last middleware and the view, and from there to a thread
    again, which takes a quarter of the CPU of a short page. A view that is a coroutine works here, too: it is waited
    for in the thread.
    """

    def load_middleware(self, is_async: bool = False) -> None:
        """Make the chain of functions that it is without an event loop, whatever is asked for."""
        super().load_middleware(is_async=False)

    async def read_body(self, receive: Callable[[], Awaitable[Mapping[str, Any]]]) -> IO[bytes]:
        """The body, on the disk where it is long. Raises ``NoRoomForBody``."""
        body = SpooledTemporaryFile(max_size=settings.FILE_UPLOAD_MAX_MEMORY_SIZE)  # noqa: SIM115  (read later)
        try:
            has_more = True
            while has_more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RequestAborted
                body.write(message.get("body", b""))
                has_more = message.get("more_body", False)
        except BaseException as error:
            with suppress(OSError):
                body.close()
            if isinstance(error, OSError) and merging.says_disk_is_full(error):
                raise NoRoomForBody from error
            raise
        body.seek(0)
        return body

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """What ``get_response`` answers, in the thread of this request."""
        return await sync_to_async(self.get_response, thread_sensitive=True)(request)
