"""How an event's hash is made and checked. Pure: no database, no clock.

The hash is SHA-256 over the canonical JSON (sorted keys, no spaces, UTF-8) of every field of the event and the
hash of the event before it in the same stream.
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any


def canonical_json(value: Any) -> str:
    """One spelling for one value, so that equal content has equal hashes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def event_hash(
    *,
    stream: str,
    sequence: int,
    occurred_at: datetime,
    actor: str,
    action: str,
    subject_type: str,
    subject_id: str,
    data: Any,
    request_id: str,
    previous_hash: str,
) -> str:
    """The hex SHA-256 of one event. ``data`` must be plain JSON values already."""
    content = {
        "stream": stream,
        "sequence": sequence,
        "occurred_at": occurred_at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor": actor,
        "action": action,
        "subject_type": subject_type,
        "subject_id": subject_id,
        "data": data,
        "request_id": request_id,
        "previous_hash": previous_hash,
    }
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()
