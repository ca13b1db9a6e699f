"""Dagster: a resource that gives assets and ops a client. Needs ``dagster``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dagster import ConfigurableResource

from headgate.synchronous.client import Client


class HeadgateResource(ConfigurableResource):
    """A server and a token; ``address`` and ``token`` may be ``EnvVar``."""

    address: str
    token: str

    @contextmanager
    def client(self) -> Iterator[Client]:
        """The client, closed when the asset is made."""
        with Client(self.address, self.token, progress=False) as client:
            yield client
