"""Tokens that a cluster's provider gives to this installation: OAuth 2.0 between machines, as Databricks has it for
service principals (RFC 6749, 4.4; "OAuth machine-to-machine", scope ``all-apis``).

A token is kept in this process until shortly before it expires. Nothing that is raised or written has a secret.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import requests

from datasets.endpoints import vouches_for_machines
from merging import ClusterFailed

_SCOPE: Final = "all-apis"
_STEP_SECONDS: Final = 5.0
_SECONDS: Final = 15.0
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
            status, body = self._answer()
        except requests.RequestException as error:
            raise self._failure("it cannot be reached", retriable=True) from error
        answer: Any = None
        with contextlib.suppress(ValueError, RecursionError):
            answer = json.loads(body)
        if not isinstance(answer, dict):
            answer = {}
        if status != 200:
            said = answer.get("error")
            reason = f" ({said[:80]})" if isinstance(said, str) and said.isprintable() else ""
            raise self._failure(f"it answers {status}{reason}", retriable=status >= 500 or status == 429)
        token, lives = answer.get("access_token"), answer.get("expires_in", 0)
        if not isinstance(token, str) or not token or not isinstance(lives, (int, float)):
            raise self._failure("what it answers is no token", retriable=False)
        return token, float(max(lives, 0))

    def _answer(self) -> tuple[int, bytes]:
        """Status and content, whose parts come within a time: whoever sends a byte a second is not waited for."""
        ends = time.monotonic() + _SECONDS
        with requests.post(
            self.endpoint,
            data={"grant_type": "client_credentials", "scope": _SCOPE},
            auth=(self.client_id, self.secret),
            timeout=_STEP_SECONDS,
            allow_redirects=False,
            stream=True,
        ) as response:
            content = b""
            for part in response.iter_content(1024):
                content += part
                if len(content) > _LONGEST or time.monotonic() > ends:
                    raise requests.ConnectionError("It sends too much, or too slowly.")
            return response.status_code, content

    def _failure(self, reason: str, *, retriable: bool) -> ClusterFailed:
        place = urlsplit(self.endpoint).netloc
        return ClusterFailed(self.cluster, f"{place} gives no token for it: {reason}.", retriable=retriable)


_kept: dict[ClientCredentials, tuple[str, float]] = {}
_lock = threading.Lock()
