"""Callers who leave, told to what works for them in a thread: Django cancels a request whose client has gone, but a
thread hears nothing of that.
"""

from threading import Event

from api.connections import GONE
from config.bodies import Application, Message, Receive, Scope, Send


class WatchedConnections:
    """Puts an event into the scope of each request that is set once the client has left or the request is over."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.application(scope, receive, send)
        gone = Event()

        async def watched() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                gone.set()
            return message

        try:
            await self.application({**scope, GONE: gone}, watched, send)
        finally:  # cancelled too, where the server is told to end
            gone.set()
        return None
