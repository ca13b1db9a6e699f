"""An OpenID Connect provider on this machine (oidc-provider-mock), which can be told to lie."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import jwt
import oidc_provider_mock
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from werkzeug.test import run_wsgi_app

from tests.served import served

Claims = dict[str, Any]


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class LyingProvider:
    """The mock, whose answers pass through here: each of them may be changed on its way."""

    address: str = ""
    published: rsa.RSAPrivateKey = field(default_factory=_key)
    sign_with: rsa.RSAPrivateKey | None = None
    discovery: Claims = field(default_factory=dict)
    id_token: Callable[[Claims], Claims | str] = dict
    user_info: Claims = field(default_factory=dict)
    #: What is answered at a path, as it is: headers and body.
    instead: dict[str, tuple[dict[str, str], bytes]] = field(default_factory=dict)
    is_down: bool = False
    #: A path at which the answer never ends: a byte a second.
    drips_at: str = ""

    def knows(self, subject: str, **claims: Any) -> None:
        """Let a person be there, with these claims."""
        answer = requests.put(f"{self.address}/users/{quote(subject, safe='')}", json=claims, timeout=10)
        assert answer.status_code == 204

    def be_honest(self) -> None:
        """End every lie."""
        self.sign_with, self.discovery, self.user_info, self.is_down = None, {}, {}, False
        self.drips_at = ""
        self.instead = {}
        self.id_token = dict

    def wrapped(self, mock: Any) -> Callable[..., Iterable[bytes]]:
        """The mock as a WSGI application, lying as told."""

        def application(environ: Any, start_response: Any) -> Iterable[bytes]:
            path = environ["PATH_INFO"]
            if self.is_down:
                start_response("503 Down", [])
                return [b""]
            if path == self.drips_at:
                start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "600")])
                return self._dripping()
            if path in self.instead:
                given, content = self.instead[path]
                start_response("200 OK", [*given.items()])
                return [content]
            body, status, headers = run_wsgi_app(mock, environ, buffered=True)
            content = b"".join(body)
            if status.startswith("200") and path in self._changes:
                content = json.dumps(self._changes[path](json.loads(content))).encode()
                headers["Content-Length"] = str(len(content))
            start_response(status, list(headers))
            return [content]

        return application

    def _dripping(self) -> Iterator[bytes]:
        for _ in range(600):
            yield b" "
            time.sleep(1)

    @property
    def _changes(self) -> dict[str, Callable[[Claims], Claims]]:
        return {
            "/.well-known/openid-configuration": lambda found: {**found, **self.discovery},
            "/jwks": lambda _: {"keys": [self._public()]},
            "/oauth2/token": self._signed_anew,
            "/userinfo": lambda found: {**found, **self.user_info},
        }

    def _public(self) -> Claims:
        return {
            **jwt.algorithms.RSAAlgorithm.to_jwk(self.published.public_key(), as_dict=True),
            "kid": "first",
        }

    def _signed_anew(self, answer: Claims) -> Claims:
        told = self.id_token(jwt.decode(answer["id_token"], options={"verify_signature": False}))
        if isinstance(told, dict):
            told = jwt.encode(
                told, self.sign_with or self.published, algorithm="RS256", headers={"kid": "first"}
            )
        return {**answer, "id_token": told}


@contextmanager
def lying_provider() -> Iterator[LyingProvider]:
    """A provider that runs until the end of the block."""
    provider = LyingProvider()
    with served(provider.wrapped(oidc_provider_mock.app())) as provider.address:
        yield provider
