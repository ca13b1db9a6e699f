"""Sending calls, again where that is safe, and reading answers."""
# Written by client/write-sync from the module of the same name; not edited by hand.

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from headgate.errors import ConnectionFailed, HeadgateError, NotHeadgate
from headgate.progress import ProgressFactory
from headgate.protocol import API, Answer, Call, Retries, problem_in
from headgate.settings import Settings
from headgate.synchronous.running import HttpClient, pause, pieces_of
from headgate.version import VERSION


class Transport:
    """One server, as one person: every call of a client goes through here."""

    def __init__(
        self,
        settings: Settings,
        *,
        timeout: float,
        retries: Retries,
        progress: ProgressFactory,
        agent: str = "",
        http: HttpClient | None = None,
    ) -> None:
        self.settings = settings
        self.retries = retries
        self.progress = progress
        self.agent = agent
        self._http = http or HttpClient(timeout=httpx.Timeout(timeout, connect=min(timeout, 10)))

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def send(self, call: Call, *, sent: Callable[[int], None] = lambda size: None) -> Answer:
        """Send a call, again where it failed in passing, and give its answer.

        ``sent`` hears of every piece of the content that went out. Raises ``HeadgateError``.
        """
        attempt = 0
        while True:
            attempt += 1
            headers: Mapping[str, str] = {}
            failure: HeadgateError
            try:
                with ExitStack() as opened:
                    response = self._http.send(self._request(call, sent, opened))
            except httpx.UnsupportedProtocol as error:
                raise NotHeadgate(f"{self.settings.address}: {error}.") from error
            except httpx.TransportError as error:
                failure = self._not_connected(error)
                safe = call.is_repeatable or isinstance(error, httpx.ConnectError)
            else:
                headers = response.headers
                if response.is_success or response.status_code == httpx.codes.NOT_MODIFIED:
                    return Answer(response.status_code, headers, response.content)
                failure = problem_in(response.status_code, headers, response.content)
                safe = call.is_repeatable
            self._before_again(attempt, failure, headers, safe=safe)

    def download(self, call: Call, target: Path, *, received: Callable[[int], None]) -> Mapping[str, str]:
        """The answer of a call as a file, from the beginning again where the connection broke; gives its headers.

        Raises ``HeadgateError``.
        """
        attempt = 0
        while True:
            attempt += 1
            headers: Mapping[str, str] = {}
            failure: HeadgateError
            try:
                with self._http.stream(**self._parts(call)) as response:
                    headers = response.headers
                    if response.is_success:
                        with target.open("wb") as file:
                            for piece in response.iter_bytes():
                                file.write(piece)
                                received(len(piece))
                        return headers
                    failure = problem_in(response.status_code, headers, response.read())
            except httpx.TransportError as error:
                failure = self._not_connected(error)
            self._before_again(attempt, failure, headers, safe=True)

    def pages(self, call: Call) -> Iterator[dict[str, Any]]:
        """The pages of a list, following ``next`` until there is none."""
        while True:
            page = (self.send(call)).json()
            # Lists without pages are one.
            yield page if isinstance(page, dict) else {"next": None, "results": page}
            following = page.get("next") if isinstance(page, dict) else None
            if not following:
                return
            call = Call("GET", self.path_of(following), headers=call.headers)

    def path_of(self, address: str) -> str:
        """What an address that the server gave is below the address by which we know it."""
        at = address.find(f"{API}/")
        return address[at:] if at >= 0 else address

    def _before_again(
        self, attempt: int, failure: HeadgateError, headers: Mapping[str, str], *, safe: bool
    ) -> None:
        """Wait as long as there is to wait before a call is sent again, or raise what it failed of."""
        seconds = self.retries.pause(attempt, failure, headers) if safe else None
        if seconds is None:
            raise failure
        pause(seconds)

    def _not_connected(self, error: httpx.TransportError) -> ConnectionFailed:
        kind = type(error).__name__
        return ConnectionFailed(
            f"{self.settings.address} does not answer ({kind}: {error}).".replace(": )", ")")
        )

    def _request(self, call: Call, sent: Callable[[int], None], opened: ExitStack) -> httpx.Request:
        parts = self._parts(call)
        content = call.content
        if content is not None and call.form is None:
            parts["content"] = pieces_of(content, sent)
            parts["headers"]["Content-Type"] = content.media_type
            parts["headers"]["Content-Length"] = str(content.size)
            if content.encoding is not None:
                parts["headers"]["Content-Encoding"] = content.encoding
        elif content is not None:
            file = opened.enter_context(content.path.open("rb"))
            parts["files"] = {"file": (content.name, file, content.media_type)}
            parts["data"] = dict(call.form or {})
        return self._http.build_request(**parts)

    def _parts(self, call: Call) -> dict[str, Any]:
        headers = {
            "Authorization": f"Token {self.settings.token}",
            "User-Agent": " ".join(filter(None, [f"headgate-python/{VERSION}", self.agent])),
            "Accept": "application/json",
            **call.headers,
        }
        parts: dict[str, Any] = {
            "method": call.method,
            "url": self.settings.address + call.path,
            "headers": headers,
        }
        if call.query:
            parts["params"] = call.query
        if call.json is not None:
            parts["json"] = call.json
        return parts
