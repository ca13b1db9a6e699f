"""A webhook: an address that is told what happens in a dataset or project."""
# Written by client/write-sync from the module of the same name; not edited by hand.

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from headgate import models
from headgate.protocol import API, Call, new_key, path_to
from headgate.synchronous.resources import Resource
from headgate.synchronous.transport import Transport


class Webhook(Resource):
    """One webhook. ``data`` is what the server said last; ``secret`` is known of one that was made just now, or whose
    secret was replaced just now.
    """

    def __init__(self, transport: Transport, data: Mapping[str, Any], *, secret: str | None = None) -> None:
        super().__init__(transport, path_to(f"{API}/webhooks", data["id"]))
        self.data = cast("models.Webhook", data)
        self.secret = secret

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number} {self.data['name']} to {self.data['host']}>"

    @property
    def number(self) -> int:
        """Its number."""
        return self.data["id"]

    def refresh(self) -> Webhook:
        """Ask the server again."""
        self.data = self._get()
        return self

    def change(self, **members: Any) -> Webhook:
        """Change ``name``, ``url``, ``format``, ``actions`` or ``is_active``. For owners."""
        self.data = (self._send("PATCH", json=members)).json()
        return self

    def remove(self) -> None:
        """Take it away; what waits for it is given up. For owners."""
        self._send("DELETE")

    def ping(self) -> models.Delivery:
        """Try it out: a message of the kind ``ping`` is sent at once, and is among ``deliveries()``."""
        sent: models.Delivery = self._post("ping")
        return sent

    def rotate_secret(self, overlap_hours: int | None = None) -> str:
        """Another secret; the old one signs as well for a day, or as many hours as you say."""
        members = {} if overlap_hours is None else {"overlap_hours": overlap_hours}
        made: models.NewWebhook = (self._send("POST", "rotate_secret", json=members)).json()
        self.data = made
        self.secret = made["secret"]
        return self.secret

    def deliveries(self) -> Iterator[models.Delivery]:
        """What was sent to it, what was answered, and what waits, newest first."""
        for found in self._results("deliveries"):
            yield found

    def repeat(self, delivery: int) -> models.Delivery:
        """Send a delivery, by its number, once more, behind what waits. ``DatasetBusy`` while it is still tried."""
        path = path_to(f"{API}/deliveries", delivery, "repeat")
        call = Call("POST", path, headers={"Idempotency-Key": new_key()})
        again: models.Delivery = (self._transport.send(call)).json()
        return again
