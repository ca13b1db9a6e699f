"""Projects, and what they have in common with datasets: members, and webhooks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from headgate import models
from headgate.asynchronous.resources import AsyncResource
from headgate.asynchronous.transport import AsyncTransport
from headgate.asynchronous.webhooks import AsyncWebhook
from headgate.protocol import API, path_to

Role = Literal["viewer", "contributor", "owner"]
Kind = Literal["user", "group"]
WebhookFormat = Literal["json", "slack", "teams"]


class AsyncPlace(AsyncResource):
    """A project or a dataset: people have roles on it, and webhooks are told what happens in it."""

    async def members(self) -> list[models.Member]:
        """Who has which role."""
        found: list[models.Member] = await self._get("members")
        return found

    async def set_member(self, name: str, role: Role, *, kind: Kind = "user") -> list[models.Member]:
        """Give a person or group exactly this role of its own; gives all members. For owners."""
        members = {"kind": kind, "name": name, "role": role}
        found: list[models.Member] = (await self._send("PUT", "members", json=members)).json()
        return found

    async def remove_member(self, name: str, *, kind: Kind = "user") -> None:
        """Take a role of its own away. For owners. Raises ``LastOwner`` for the last of them, ``NotFound``."""
        await self._send("DELETE", "members", kind, name)

    async def webhooks(self) -> list[AsyncWebhook]:
        """Whom it tells what happens, oldest first. For owners."""
        found: list[models.Webhook] = await self._get("webhooks")
        return [AsyncWebhook(self._transport, one) for one in found]

    async def make_webhook(
        self, url: str, *, name: str, actions: Iterable[str] = (), format: WebhookFormat = "json"
    ) -> AsyncWebhook:
        """Tell an address what happens in it. For owners. Its ``secret`` is known this once.

        ``actions`` are single ones (``change_request.merged``) or groups (``merge.*``), none for all. Where the answer
        is lost the call is not sent again: look whether it is among ``webhooks()``, and ``rotate_secret()``.
        """
        members = {"url": url, "name": name, "actions": list(actions), "format": format}
        made: models.NewWebhook = (await self._send("POST", "webhooks", json=members)).json()
        return AsyncWebhook(self._transport, made, secret=made["secret"])


class AsyncProject(AsyncPlace):
    """What gathers datasets."""

    def __init__(self, transport: AsyncTransport, slug: str) -> None:
        super().__init__(transport, path_to(f"{API}/projects", slug))
        self.slug = slug

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.slug}>"

    async def details(self) -> models.ProjectDetail:
        """Its name, and your role. Raises ``NotFound``."""
        found: models.ProjectDetail = await self._get()
        return found
