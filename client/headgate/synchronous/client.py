"""The client: a server, and what is found on it."""
# Written by client/write-sync from the module of the same name; not edited by hand.

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any

from headgate import models
from headgate.content.sent import Content
from headgate.progress import ProgressFactory, Silence, automatic
from headgate.protocol import API, Answer, Call, Parameters, Retries, change_request_path, new_key
from headgate.settings import find_settings
from headgate.synchronous.change_requests import ChangeRequest
from headgate.synchronous.datasets import Dataset
from headgate.synchronous.places import Project
from headgate.synchronous.running import HttpClient
from headgate.synchronous.transport import Transport
from headgate.synchronous.webhooks import Webhook


class Client:
    """A Headgate, spoken to as one person.

    ``address`` and ``token`` are taken from ``HEADGATE_URL`` and ``HEADGATE_TOKEN``, or from `headgate login`, where
    they are not given. ``timeout`` is for one call, in seconds. ``progress`` false shows no bars; unless given, they
    are shown in terminals and notebooks. To be closed, or used in ``with``.

    Raises ``NotSignedIn`` where there is no token.
    """

    def __init__(
        self,
        address: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 60,
        retries: Retries | None = None,
        progress: bool | ProgressFactory | None = None,
        agent: str = "",
        http: HttpClient | None = None,
    ) -> None:
        if progress is None or progress is True:
            progress = automatic()
        elif progress is False:
            progress = Silence
        self._transport = Transport(
            find_settings(address, token),
            timeout=timeout,
            retries=retries or Retries(),
            progress=progress,
            agent=agent,
            http=http,
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address}>"

    @property
    def address(self) -> str:
        """The server's address."""
        return self._transport.settings.address

    def close(self) -> None:
        """Close every connection."""
        self._transport.close()

    def dataset(self, name: str | int) -> Dataset:
        """A dataset by ``project/slug`` or number. Nothing is asked yet: ``details()`` says whether it is there."""
        return Dataset(self._transport, name)

    def project(self, slug: str) -> Project:
        """A project. Nothing is asked yet: ``details()`` says whether it is there."""
        return Project(self._transport, slug)

    def datasets(self, *, project: str | None = None, search: str | None = None) -> Iterator[models.Dataset]:
        """The datasets that you have a role on."""
        call = Call("GET", f"{API}/datasets", {"project": project, "search": search})
        for page in self._transport.pages(call):
            for found in page["results"]:
                yield found

    def projects(self) -> Iterator[models.Project]:
        """The projects that you have a role in."""
        for page in self._transport.pages(Call("GET", f"{API}/projects")):
            for found in page["results"]:
                yield found

    def change_request(self, cr_id: str) -> ChangeRequest:
        """A change request by its public id, for example ``CR-7``. Raises ``NotFound``."""
        answer = self._transport.send(Call("GET", change_request_path(cr_id)))
        return ChangeRequest(self._transport, answer.json())

    def change_requests(
        self,
        *,
        dataset: str | int | None = None,
        project: str | None = None,
        status: Iterable[str] = (),
        author: str | None = None,
        mine: bool | None = None,
        needs_review: bool | None = None,
        search: str | None = None,
    ) -> Iterator[ChangeRequest]:
        """Change requests, newest first, as lists show them: ``refresh()`` one for its blockers."""
        parameters: Parameters = {
            "dataset": dataset,
            "project": project,
            "status": list(status),
            "author": author,
            "mine": mine,
            "needs_review": needs_review,
            "search": search,
        }
        for page in self._transport.pages(Call("GET", f"{API}/change_requests", parameters)):
            for found in page["results"]:
                yield ChangeRequest(self._transport, found)

    def webhook(self, number: int) -> Webhook:
        """A webhook by its number. Raises ``NotFound`` for those who do not own what it is told of."""
        answer = self._transport.send(Call("GET", f"{API}/webhooks/{number}"))
        return Webhook(self._transport, answer.json())

    def notifications(self, *, unread: bool | None = None) -> Iterator[models.Notification]:
        """What you were told, newest first: all, only what you have not read (``unread=True``), or what you have."""
        for page in self._transport.pages(Call("GET", f"{API}/notifications", {"unread": unread})):
            for found in page["results"]:
                yield found

    def mark_read(self, notifications: Iterable[int] | None = None) -> models.MarkedRead:
        """Mark notifications as read, by their numbers; without them all."""
        members = {} if notifications is None else {"notifications": list(notifications)}
        call = Call("POST", f"{API}/notifications/read", json=members, headers={"Idempotency-Key": new_key()})
        marked: models.MarkedRead = (self._transport.send(call)).json()
        return marked

    def notification_settings(self) -> models.NotificationSettings:
        """How you are told of each kind."""
        call = Call("GET", f"{API}/notification_settings")
        found: models.NotificationSettings = (self._transport.send(call)).json()
        return found

    def choose_notifications(self, **ways: models.NotificationWay) -> models.NotificationSettings:
        """Choose how to be told of some kinds: ``inbox``, ``email`` at once, ``digest`` once a day, or ``off``."""
        call = Call("PUT", f"{API}/notification_settings", json=ways)
        found: models.NotificationSettings = (self._transport.send(call)).json()
        return found

    def saved_views(self, *, dataset: int | None = None) -> list[models.SavedView]:
        """Filters that you keep under a name: of change requests, or of the rows of a dataset by its number."""
        call = Call("GET", f"{API}/saved_views", {"dataset": dataset})
        found: list[models.SavedView] = (self._transport.send(call)).json()
        return found

    def keep_view(
        self, name: str, filters: Mapping[str, str], *, dataset: int | None = None
    ) -> models.SavedView:
        """Keep filters under a name, as parameters of the page that shows them; one of the same name is replaced.

        Of change requests these are ``q``, ``state``, ``stands``, ``dataset`` and ``group``, of rows ``column`` with
        ``value``, and ``sort``. Raises ``Invalid`` for others.
        """
        members: dict[str, Any] = {"name": name, "filters": dict(filters)}
        if dataset is not None:
            members["dataset"] = dataset
        call = Call("POST", f"{API}/saved_views", json=members, headers={"Idempotency-Key": new_key()})
        kept: models.SavedView = (self._transport.send(call)).json()
        return kept

    def forget_view(self, number: int) -> None:
        """Forget a view by its number. Raises ``NotFound`` for one that is not yours."""
        self._transport.send(Call("DELETE", f"{API}/saved_views/{number}"))

    def run(self, number: int) -> models.MergeRunDetail:
        """A merge run by its number."""
        found: models.MergeRunDetail = (self._transport.send(Call("GET", f"{API}/runs/{number}"))).json()
        return found

    def cancel_run(self, number: int) -> models.MergeRunDetail:
        """Stop a queued run at once, or ask a running one to stop before it commits."""
        call = Call("POST", f"{API}/runs/{number}/cancel", headers={"Idempotency-Key": new_key()})
        ended: models.MergeRunDetail = (self._transport.send(call)).json()
        return ended

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        parameters: Parameters | None = None,
        content: Content | None = None,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Answer:
        """Any operation of the API, by method and path (``/api/v1/…`` or what follows it).

        For what has no method of its own: signed, sent again where that is safe, errors as classes. A POST that comes
        without a key gets one.
        """
        if not path.startswith(("/api/", "/delta/")):
            path = f"{API}/{path.lstrip('/')}"
        sent = dict(headers or {})
        if method.upper() == "POST":
            sent.setdefault("Idempotency-Key", idempotency_key or new_key())
        return self._transport.send(
            Call(method.upper(), path, parameters or {}, json=json, content=content, headers=sent)
        )
