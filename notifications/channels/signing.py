"""Signatures of webhooks: who has the secret can tell that Headgate sent a request, and when, and that it is whole."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

#: How a secret begins, so that scanners for leaked ones know it.
PREFIX: Final = "hgws_"


def new_secret() -> str:
    """A secret of 256 bits, as its receiver configures it."""
    return PREFIX + secrets.token_hex(32)


def signature(keys: Sequence[str], *, timestamp: int, body: bytes) -> str:
    """The header ``Headgate-Signature``: one value for each secret that is honoured, the newest first.

    Each is ``v1=`` and the HMAC-SHA256 (RFC 2104), in hexadecimal, of the timestamp, a full stop and the body.
    """
    signed = b"%d.%b" % (timestamp, body)
    return ",".join(f"v1={hmac.new(key.encode(), signed, hashlib.sha256).hexdigest()}" for key in keys)
