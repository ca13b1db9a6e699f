"""The keys of the trail: secrets that are not in the database, so that whoever rewrites it cannot make its hashes.

The first of the configured keys writes; the others verify what was written before the keys were changed.
"""

import hashlib
import hmac
from dataclasses import dataclass, field

from django.conf import settings


@dataclass(frozen=True)
class AuditKey:
    """One key: the id that entries name it by, and its secret."""

    id: str
    secret: bytes = field(repr=False)

    def sign(self, purpose: str, text: str) -> str:
        """The hex HMAC-SHA256 (RFC 2104) of a text; what is signed for one purpose says nothing for another."""
        return hmac.new(self.secret, f"{purpose}\n{text}".encode(), hashlib.sha256).hexdigest()

    def has_signed(self, purpose: str, text: str, signature: str) -> bool:
        """Whether ``sign`` gave the signature."""
        return hmac.compare_digest(self.sign(purpose, text).encode(), signature.encode())


def current_key() -> AuditKey:
    """The key that new entries are written with."""
    return _keys()[0]


def key_called(key_id: str) -> AuditKey | None:
    """The configured key of an id; None where it is not known here."""
    return next((key for key in _keys() if key.id == key_id), None)


def _keys() -> list[AuditKey]:
    return [AuditKey(key_id, secret.encode()) for key_id, secret in settings.AUDIT_KEYS]
