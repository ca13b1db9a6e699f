"""Questions to services of others (providers of tokens, catalogues): bounded in time and size, and led nowhere else."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import requests
import urllib3

from datasets.conversing import bounded_session, within

SECONDS: Final = 15.0
_LONGEST_CODE: Final = 80


@dataclass(frozen=True)
class ServiceAnswer:
    """What a service answered: its status, and the JSON object; an empty one where it is none."""

    status: int
    document: Mapping[str, Any]

    @property
    def may_pass(self) -> bool:
        """Whether the same question may be answered otherwise later, without anybody's doing."""
        return self.status >= 500 or self.status == 429

    def in_words(self, code: str) -> str:
        """The status, with the short name that the service has for it in the member ``code``; no text of its own."""
        said: Any = self.document.get(code)
        is_name = isinstance(said, str) and said.isprintable()
        return f"it answers {self.status}{f' ({said[:_LONGEST_CODE]})' if is_name else ''}"


def ask(method: str, url: str, *, most_bytes: int, **asked: Any) -> ServiceAnswer:
    """Ask, as ``requests.request`` does. Raises ``requests.RequestException`` where no whole answer comes in time.

    Nobody is followed elsewhere: a secret may go along.
    """
    try:
        with (
            within(SECONDS),
            bounded_session() as session,
            session.request(method, url, allow_redirects=False, stream=True, **asked) as answer,
        ):
            content = answer.raw.read(most_bytes + 1, decode_content=True)
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError("It does not end its answer.") from error
    if len(content) > most_bytes:
        raise requests.ConnectionError("It sends too much.")
    document: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        document = json.loads(content)
    return ServiceAnswer(answer.status_code, document if isinstance(document, dict) else {})
