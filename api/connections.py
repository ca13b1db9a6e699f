"""Whether a caller is still there, for operations that wait for long."""

from threading import Event

from rest_framework.request import Request

#: In the scope of a request (ASGI): an event that is set once nobody hears the answer any more.
GONE = "headgate.gone"


def gone_event(request: Request) -> Event | None:
    """What is set once the caller has left or the server gives the request up; None where the server cannot tell."""
    return getattr(request._request, "scope", {}).get(GONE)
