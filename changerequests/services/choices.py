"""The choices that stand for a request's conflicts, in one digest that is kept with the request.

Every gate and page compares it; a request may have ten thousand choices, and only who writes or merges them reads them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from changerequests.models import ChangeRequest, ConflictResolution


def digest_of(choices: Iterable[ConflictResolution]) -> str:
    """SHA-256 over choices, in whatever order they come; empty where there are none."""
    content = sorted(
        [one.key_digest, one.column, one.choice, one.value, one.inputs_digest] for one in choices
    )
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest() if content else ""


def resolutions_moved(change_request: ChangeRequest) -> None:
    """Keep the digest of the choices that stand now with a locked request. Call it whenever choices were written, in
    the same transaction and before anything is planned with them.
    """
    standing = change_request.resolutions.filter(is_current=True)
    digested = standing.only("key_digest", "column", "choice", "value", "inputs_digest").order_by()
    change_request.resolutions_digest = digest_of(digested.iterator())
    ChangeRequest.objects.filter(pk=change_request.pk).update(
        resolutions_digest=change_request.resolutions_digest
    )
