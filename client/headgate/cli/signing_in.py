"""Getting a token: pasted from the account page, or by letting this program in from a browser (RFC 8628)."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

import httpx

from headgate.errors import ConnectionFailed, SignInExpired
from headgate.protocol import API, problem_in

#: Seconds that one question may take.
TIMEOUT = 30


@dataclass(frozen=True)
class Waiting:
    """What the person has to do so that this program is let in."""

    page: str
    code: str


def by_device(
    address: str,
    *,
    scopes: list[str],
    days: int | None,
    agent: str,
    tell: Callable[[Waiting], None],
    pause: Callable[[float], None] = sleep,
) -> str:
    """A token of the person who lets this program in; ``tell`` shows where. Raises ``HeadgateError``."""
    wanted: dict[str, Any] = {"name": f"headgate on {platform.node()}"[:100], "agent": agent}
    wanted |= {"scopes": scopes} if scopes else {}
    wanted |= {"days": days} if days else {}
    with httpx.Client(base_url=f"{address}{API}/auth", timeout=TIMEOUT) as http:
        begun = _post(http, "device", wanted).json()
        tell(Waiting(begun["verification_uri_complete"], begun["user_code"]))
        deadline = monotonic() + begun["expires_in"]
        while monotonic() < deadline:
            pause(begun["interval"])
            answer = _post(http, "device/token", {"device_code": begun["device_code"]})
            if answer.status_code == httpx.codes.OK:
                return str(answer.json()["token"])
    raise SignInExpired("Nobody let this program in within the time.")


def whose(address: str, token: str) -> dict[str, Any]:
    """Whose token it is, and what it may be used for. Raises ``NotAuthenticated`` for one that opens nothing."""
    headers = {"Authorization": f"Token {token}"}
    with httpx.Client(base_url=f"{address}{API}/auth", timeout=TIMEOUT, headers=headers) as http:
        return dict(_sent(address, lambda: http.get("/own_token")).json())


def _post(http: httpx.Client, path: str, body: dict[str, Any]) -> httpx.Response:
    return _sent(str(http.base_url), lambda: http.post(f"/{path}", json=body))


def _sent(address: str, send: Callable[[], httpx.Response]) -> httpx.Response:
    try:
        answer = send()
    except httpx.TransportError as error:
        raise ConnectionFailed(f"{address} does not answer ({error}).") from error
    if not answer.is_success:
        raise problem_in(answer.status_code, answer.headers, answer.content)
    return answer
