"""Secrets that must be read again, of connections and webhooks: encrypted wherever they are kept.

Fernet of ``cryptography`` (AES-128-CBC with HMAC-SHA256), with a key that is not in the database. Several keys may be
named: the first encrypts, all of them decrypt.
"""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings


class SecretUnreadable(Exception):
    """A secret was encrypted with a key that is not among those of today, or was changed."""


def encrypted(secret: str) -> str:
    """A secret as it is kept."""
    return _fernet().encrypt(secret.encode()).decode()


def decrypted(kept: str) -> str:
    """The secret that is kept. Raises ``SecretUnreadable``."""
    try:
        return _fernet().decrypt(kept).decode()
    except InvalidToken as error:
        raise SecretUnreadable from error


def encrypted_anew(kept: str) -> str:
    """The same under the key that encrypts now. Raises ``SecretUnreadable``."""
    try:
        return _fernet().rotate(kept).decode()
    except InvalidToken as error:
        raise SecretUnreadable from error


def _fernet() -> MultiFernet:
    """What was encrypted before there were keys of its own was encrypted with one of ``SECRET_KEY``."""
    of_settings = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return MultiFernet([Fernet(_derived(secret)) for secret in (*settings.ENCRYPTION_KEYS, *of_settings)])


def _derived(secret: str) -> bytes:
    kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"headgate: secrets at rest")
    return base64.urlsafe_b64encode(kdf.derive(secret.encode()))
