"""How a web process works on a request: from the first middleware to the last in one thread."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase


class HandlerInOneThread(ASGIHandler):
    """Django's handler for an application all of whose middleware and views are synchronous.

    Django's own goes back to the event loop between the last middleware and the view, and from there to a thread
    again, which takes a quarter of the CPU of a short page. A view that is a coroutine works here, too: it is waited
    for in the thread.
    """

    def load_middleware(self, is_async: bool = False) -> None:
        """Make the chain of functions that it is without an event loop, whatever is asked for."""
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """What ``get_response`` answers, in the thread of this request."""
        return await sync_to_async(self.get_response, thread_sensitive=True)(request)
