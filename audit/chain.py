"""How an entry's hash is made and checked. Pure: no database, no clock.

The hash is an HMAC-SHA256 over the canonical JSON (sorted keys, no spaces, UTF-8) of every field of the entry and the
hash of the entry before it in the same stream. No text of the actor, subject, data and rows is in it: each stands
there as a salted commitment (SHA-256 of a salt of its own and the text). Where a person is erased, the salts of the
texts that named them are destroyed and the texts replaced: the commitments stay, so the hash still proves everything
else in the entry, and nothing tells the old text any more.

Entries from before there was a key have a plain SHA-256 over the same fields.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from audit.keys import AuditKey

#: The fields of an entry from before there was a key, all of them in its hash.
PLAIN_FIELDS: Final = (
    "stream", "sequence", "occurred_at", "actor", "action", "subject_type", "subject_id", "data", "request_id",
    "previous_hash",
)  # fmt: skip
#: The fields that a hash covers.
SEALED_FIELDS: Final = (*PLAIN_FIELDS, "rows")
#: The fields in whose texts people may be named.
FIELDS_WITH_TEXTS: Final = ("actor", "subject_id", "data", "rows")


def canonical_json(value: Any) -> str:
    """One spelling for one value, so that equal content has equal hashes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True)
class Commitments:
    """What stands for each text of an entry, by its place (a JSON pointer, RFC 6901, from the entry's fields on).

    ``salt`` gives every text its own; once a text was erased there is none, and ``kept`` has the salts of the texts
    that stayed and ``erased`` the commitments of those that went.
    """

    salt: bytes
    kept: Mapping[str, str]
    erased: Mapping[str, str]

    def of(self, place: str, text: str) -> str:
        """The commitment that stands for a text at its place."""
        if place in self.erased:
            return self.erased[place]
        return hashlib.sha256(self.salt_of(place) + text.encode()).hexdigest()

    def salt_of(self, place: str) -> bytes:
        """The salt of the text at a place."""
        if self.salt:
            return hashlib.sha256(self.salt + place.encode()).digest()
        return bytes.fromhex(self.kept.get(place, ""))


def commitments_of(salt: str, redactions: Mapping[str, Any] | None) -> Commitments:
    """The commitments of a stored entry."""
    told = redactions or {}
    return Commitments(bytes.fromhex(salt), told.get("salts", {}), told.get("commitments", {}))


def plain_hash(content: Mapping[str, Any]) -> str:
    """The hex SHA-256 of an entry from before there was a key."""
    plain = {name: content[name] for name in PLAIN_FIELDS}
    return hashlib.sha256(canonical_json(_with_moment(plain)).encode()).hexdigest()


def event_hash(key: AuditKey, commitments: Commitments, content: Mapping[str, Any]) -> str:
    """The hex HMAC of one entry, whose ``content`` has ``SEALED_FIELDS`` as plain JSON values."""
    sealed = {name: content[name] for name in SEALED_FIELDS}
    for name in FIELDS_WITH_TEXTS:
        sealed[name] = _replaced(sealed[name], f"/{name}", commitments.of)
    return key.sign("entry", canonical_json({**_with_moment(sealed), "key": key.id}))


def texts_in(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every text of an entry that people may be named in, with its place."""
    found: list[tuple[str, str]] = []

    def note(place: str, text: str) -> str:
        found.append((place, text))
        return text

    for name in FIELDS_WITH_TEXTS:
        _replaced(content[name], f"/{name}", note)
    yield from found


def with_texts(content: Mapping[str, Any], replaced: Mapping[str, str]) -> dict[str, Any]:
    """The fields that hold texts, with other texts at some places."""
    return {
        name: _replaced(content[name], f"/{name}", lambda place, text: replaced.get(place, text))
        for name in FIELDS_WITH_TEXTS
    }


def head_text(stream: str, sequence: int, digest: str) -> str:
    """What is signed of the head of a chain."""
    return canonical_json([stream, sequence, digest])


def redaction_text(content: Mapping[str, Any], redactions: Mapping[str, Any], digest: str) -> str:
    """What is signed of an entry that named somebody who was erased: as it reads now, with the hash that it had."""
    signed = {name: redactions[name] for name in ("salts", "commitments", "erasures")}
    return canonical_json({**_with_moment(content), **signed, "hash": digest})


def _with_moment(content: Mapping[str, Any]) -> dict[str, Any]:
    occurred_at: datetime = content["occurred_at"]
    return {**content, "occurred_at": occurred_at.astimezone(UTC).isoformat(timespec="microseconds")}


def _replaced(value: Any, place: str, replace: Callable[[str, str], str]) -> Any:
    if isinstance(value, str):
        return replace(place, value)
    if isinstance(value, dict):
        return {
            name: _replaced(part, f"{place}/{name.replace('~', '~0').replace('/', '~1')}", replace)
            for name, part in value.items()
        }
    if isinstance(value, list):
        return [_replaced(part, f"{place}/{number}", replace) for number, part in enumerate(value)]
    return value
