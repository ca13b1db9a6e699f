"""Calls to what is beneath one address: what datasets, projects, change requests and webhooks have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

from headgate import models
from headgate.asynchronous.transport import AsyncTransport
from headgate.protocol import Answer, Call, Parameters, new_key, path_to

Level = Literal["watch", "participating", "mute"]


class AsyncResource:
    """Something of the server that has an address of its own."""

    def __init__(self, transport: AsyncTransport, address: str) -> None:
        self._transport = transport
        self._address = address

    async def _send(
        self, method: str, *rest: str | int, json: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        call = Call(method, path_to(self._address, *rest), json=json, headers=headers or {})
        return await self._transport.send(call)

    async def _get(self, *rest: str | int, parameters: Parameters | None = None) -> Any:
        call = Call("GET", path_to(self._address, *rest), parameters or {})
        return (await self._transport.send(call)).json()

    async def _post(
        self, *rest: str | int, json: Any = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        sent = {"Idempotency-Key": new_key(), **(headers or {})}
        answer = await self._send("POST", *rest, json={} if json is None else json, headers=sent)
        return answer.json()

    async def _results(self, *rest: str | int, parameters: Parameters | None = None) -> AsyncIterator[Any]:
        async for page in self._transport.pages(Call("GET", path_to(self._address, *rest), parameters or {})):
            for found in page["results"]:
                yield found


class AsyncFollowed(AsyncResource):
    """Something that one may watch or mute."""

    async def subscription(self) -> models.Subscription:
        """Whether you watch it, hear of what you take part in (the default), or muted it."""
        found: models.Subscription = await self._get("subscription")
        return found

    async def subscribe(self, level: Level = "watch") -> models.Subscription:
        """Watch it, hear of what you take part in, or mute it: then you hear of what you are asked yourself alone."""
        answer = await self._send("PUT", "subscription", json={"level": level})
        chosen: models.Subscription = answer.json()
        return chosen

    async def unsubscribe(self) -> None:
        """Go back to the default."""
        await self._send("DELETE", "subscription")
