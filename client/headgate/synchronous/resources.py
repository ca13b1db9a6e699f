"""Calls to what is beneath one address: what datasets, projects, change requests and webhooks have in common."""
# Written by client/write-sync from the module of the same name; not edited by hand.

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from headgate import models
from headgate.protocol import Answer, Call, Parameters, new_key, path_to
from headgate.synchronous.transport import Transport

Level = Literal["watch", "participating", "mute"]


class Resource:
    """Something of the server that has an address of its own."""

    def __init__(self, transport: Transport, address: str) -> None:
        self._transport = transport
        self._address = address

    def _send(
        self, method: str, *rest: str | int, json: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        call = Call(method, path_to(self._address, *rest), json=json, headers=headers or {})
        return self._transport.send(call)

    def _get(self, *rest: str | int, parameters: Parameters | None = None) -> Any:
        call = Call("GET", path_to(self._address, *rest), parameters or {})
        return (self._transport.send(call)).json()

    def _post(self, *rest: str | int, json: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        sent = {"Idempotency-Key": new_key(), **(headers or {})}
        answer = self._send("POST", *rest, json={} if json is None else json, headers=sent)
        return answer.json()

    def _results(self, *rest: str | int, parameters: Parameters | None = None) -> Iterator[Any]:
        for page in self._transport.pages(Call("GET", path_to(self._address, *rest), parameters or {})):
            for found in page["results"]:
                yield found


class Followed(Resource):
    """Something that one may watch or mute."""

    def subscription(self) -> models.Subscription:
        """Whether you watch it, hear of what you take part in (the default), or muted it."""
        found: models.Subscription = self._get("subscription")
        return found

    def subscribe(self, level: Level = "watch") -> models.Subscription:
        """Watch it, hear of what you take part in, or mute it: then you hear of what you are asked yourself alone."""
        answer = self._send("PUT", "subscription", json={"level": level})
        chosen: models.Subscription = answer.json()
        return chosen

    def unsubscribe(self) -> None:
        """Go back to the default."""
        self._send("DELETE", "subscription")
