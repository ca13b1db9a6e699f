"""Sessions of browsers (Django's ``SESSION_ENGINE``): they end when idle, and at the latest after a while.

What a session holds decides: when it began, and when its person last did something. The row's columns repeat it, so
that a person's sessions can be listed and ended.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from accounts.addresses import address_of
from accounts.models import BrowserSession

_STARTED, _SEEN, _ADDRESS, _BROWSER = "_started", "_seen", "_address", "_browser"
#: Activity is written down once in this time.
SEEN_EVERY = timedelta(minutes=1)


class SessionStore(DatabaseStore):
    """Database sessions with an idle and an absolute limit for whoever is signed in."""

    @classmethod
    def get_model_class(cls) -> type[BrowserSession]:
        return BrowserSession

    def load(self) -> dict[str, Any]:
        return self._unless_over(super().load())

    async def aload(self) -> dict[str, Any]:
        return self._unless_over(await super().aload())

    def save(self, must_create: bool = False) -> None:
        if not must_create and SESSION_KEY in self and _STARTED not in self:
            self[_STARTED] = self[_SEEN] = timezone.now().timestamp()
        super().save(must_create)

    def create_model_instance(self, data: Mapping[str, Any]) -> BrowserSession:
        row: BrowserSession = super().create_model_instance(data)  # type: ignore[assignment, arg-type]  # of our model
        if SESSION_KEY in data:
            row.user_id = int(data[SESSION_KEY])
            row.started_at, row.last_seen_at = _moment(data, _STARTED), _moment(data, _SEEN)
            row.address, row.browser = data.get(_ADDRESS, ""), data.get(_BROWSER, "")
            row.expire_date = _end_of(data)
        return row

    def _unless_over(self, data: dict[str, Any]) -> dict[str, Any]:
        if SESSION_KEY in data and _end_of(data) <= timezone.now():
            self._session_key = None
            return {}
        return data


def _moment(data: Mapping[str, Any], name: str) -> datetime:
    return datetime.fromtimestamp(data.get(name, 0), UTC)


def _end_of(data: Mapping[str, Any]) -> datetime:
    """When the session ends unless its person does something before."""
    idle = _moment(data, _SEEN) + timedelta(minutes=settings.SESSION_IDLE_MINUTES)
    return min(idle, _moment(data, _STARTED) + timedelta(seconds=settings.SESSION_COOKIE_AGE))


#: The header of what an open page asks for by itself, where that is a whole page.
BY_ITSELF = "X-Headgate-By-Itself"


def note_activity(request: HttpRequest) -> None:
    """Write down where a session was begun and that its person did something.

    Parts that a page fetches by itself are no activity: a page that is left open does not keep a session alive.
    """
    session = request.session
    if SESSION_KEY not in session:
        return
    now = timezone.now()
    if _ADDRESS not in session:
        session[_ADDRESS] = address_of(request)
        session[_BROWSER] = request.headers.get("User-Agent", "")[:200]
    by_itself = request.method == "GET" and (
        request.headers.get("HX-Request") == "true"
        or BY_ITSELF in request.headers
        or "text/event-stream" in request.headers.get("Accept", "")
    )
    if not by_itself and now - _moment(session, _SEEN) >= SEEN_EVERY:
        session[_SEEN] = now.timestamp()
        session.setdefault(_STARTED, now.timestamp())


def sessions_of(user: User) -> QuerySet[BrowserSession]:
    """The person's browsers that are signed in, the one used last first."""
    found: QuerySet[BrowserSession] = BrowserSession.objects.filter(user=user, expire_date__gt=timezone.now())
    return found.order_by("-last_seen_at")
