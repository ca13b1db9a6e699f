"""Tokens that a cluster's provider gives to this installation: OAuth 2.0 between machines, as Databricks has it for
service principals (RFC 6749, 4.4; "OAuth machine-to-machine", scope ``all-apis``).

A token is kept in this process until shortly before it expires. Nothing that is raised or written has a secret.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import requests

from datasets.asking import ask
from datasets.endpoints import vouches_for_machines
from merging import ClusterFailed

_SCOPE: Final = "all-apis"
_LONGEST: Final = 1 << 16
#: How long before its end a token is not given out any more, at most half of its life.
_BEFORE_END: Final = 300.0


@dataclass(frozen=True)
class ClientCredentials:
    """Who this installation is to a provider, which gives tokens for the host ``cluster`` at an ``endpoint``."""

    cluster: str
    endpoint: str
    client_id: str
    secret: str = field(repr=False)

    def token(self) -> str:
        """A token that is good for some minutes more. Raises ClusterFailed where none is to be had."""
        with _lock:
            kept = _kept.get(self)
            if kept is not None and time.monotonic() < kept[1]:
                return kept[0]
        asked = time.monotonic()
        token, lives = self._asked()
        with _lock:
            _kept[self] = (token, asked + lives - min(_BEFORE_END, lives / 2))
        return token

    def _asked(self) -> tuple[str, float]:
        if vouches_for_machines(urlsplit(self.endpoint).hostname or ""):
            raise self._failure("it leads to where a cloud tells machines who they are", retriable=False)
        try:
            answer = ask(
                "POST",
                self.endpoint,
                data={"grant_type": "client_credentials", "scope": _SCOPE},
                auth=(self.client_id, self.secret),
                most_bytes=_LONGEST,
            )
        except requests.RequestException as error:
            raise self._failure("it cannot be reached", retriable=True) from error
        if answer.status != 200:
            raise self._failure(answer.in_words("error"), retriable=answer.may_pass)
        token, lives = answer.document.get("access_token"), answer.document.get("expires_in", 0)
        if not isinstance(token, str) or not token or not isinstance(lives, (int, float)):
            raise self._failure("what it answers is no token", retriable=False)
        return token, float(max(lives, 0))

    def _failure(self, reason: str, *, retriable: bool) -> ClusterFailed:
        place = urlsplit(self.endpoint).netloc
        return ClusterFailed(self.cluster, f"{place} gives no token for it: {reason}.", retriable=retriable)


_kept: dict[ClientCredentials, tuple[str, float]] = {}
_lock = threading.Lock()
