"""Anchors: what the heads of the chains were, in files outside the database.

Whoever can rewrite the database can rewrite a whole chain with fitting hashes, or cut its end off; a chain alone
cannot tell. Each anchor file holds the heads that moved since the one before, and names that one with its hash, so
that anchors are themselves a chain; each is signed with the key of the trail. Send them to a place that the database's
keepers cannot write (``datasets.anchoring``), or copy ``audit/anchors/`` there.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from audit.chain import canonical_json
from audit.files import KeptAuditFile, audit_files_in
from audit.keys import current_key, key_called

#: The folder of the anchor files below the audit root.
ANCHORS_FOLDER: Final = "anchors"
FORMAT_VERSION: Final = 1
_NO_SEQUENCE: Final = 2**63


class Signature(StrEnum):
    """Whether a holder of the key made an anchor."""

    RIGHT = "right"
    WRONG = "wrong"
    NONE = "none"  # from before there was a key


@dataclass(frozen=True)
class ChainHead:
    """Where a chain stood: its newest entry then."""

    sequence: int
    hash: str


@dataclass(frozen=True)
class Anchor:
    """One anchor file that was read: the heads in it, and the anchor before it."""

    path: KeptAuditFile
    heads: Mapping[str, ChainHead]
    previous: str
    previous_sha256: str
    signature: Signature


class AnchorDamaged(Exception):
    """An anchor file cannot be read for what it was."""

    def __init__(self, path: KeptAuditFile) -> None:
        self.path = path
        super().__init__(f"{path} is damaged.")


def anchor_paths() -> list[KeptAuditFile]:
    """Every anchor file, oldest first: their names begin with the time they were made."""
    return [one for one in audit_files_in(ANCHORS_FOLDER) if one.name.endswith(".json")]


def read_anchor(path: KeptAuditFile) -> Anchor:
    """One anchor. Raises ``AnchorDamaged``."""
    try:
        return parsed_anchor(path, path.text())
    except (OSError, UnicodeDecodeError) as error:
        raise AnchorDamaged(path) from error


def parsed_anchor(path: KeptAuditFile, text: str) -> Anchor:
    """One anchor from its text, wherever that was kept. Raises ``AnchorDamaged``."""
    try:
        content: Any = json.loads(text)
        heads = {
            stream: parsed_head(head["sequence"], head["hash"]) for stream, head in content["heads"].items()
        }
        previous, digest = str(content["previous"]), str(content["previous_sha256"])
        return Anchor(path, heads, previous, digest, _signature_of(content))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise AnchorDamaged(path) from error


def parsed_head(sequence: Any, digest: Any) -> ChainHead:
    """A head as a document tells it. Raises ``ValueError`` for what is none."""
    if type(sequence) is not int or not 0 < sequence < _NO_SEQUENCE:
        raise ValueError("the head of a chain has a sequence")
    return ChainHead(sequence, str(digest))


def is_unsigned(path: KeptAuditFile) -> bool:
    """Whether the file is from before there was a key, or made to look so."""
    try:
        return read_anchor(path).signature is Signature.NONE
    except AnchorDamaged:
        return False  # ``broken_links`` names it


def _signature_of(content: Mapping[str, Any]) -> Signature:
    signature = content.get("signature")
    if signature is None:
        return Signature.NONE
    key = key_called(str(content.get("key")))
    signed = canonical_json({name: value for name, value in content.items() if name != "signature"})
    right = key is not None and key.has_signed("anchor", signed, str(signature))
    return Signature.RIGHT if right else Signature.WRONG


def document(heads: Mapping[str, ChainHead], *, made_at: str) -> dict[str, Any]:
    """The content of the next anchor file."""
    paths, key = anchor_paths(), current_key()
    content = {
        "format": FORMAT_VERSION,
        "made_at": made_at,
        "heads": {stream: {"sequence": head.sequence, "hash": head.hash} for stream, head in heads.items()},
        "previous": paths[-1].name if paths else "",
        "previous_sha256": paths[-1].digest() if paths else "",
        "key": key.id,
    }
    return {**content, "signature": key.sign("anchor", canonical_json(content))}


def anchored_heads() -> dict[str, ChainHead]:
    """The newest anchored head of every chain. Files that are damaged are left to the verification."""
    known: dict[str, ChainHead] = {}
    for path in anchor_paths():
        try:
            known.update(read_anchor(path).heads)
        except AnchorDamaged:
            continue
    return known


def broken_links() -> Iterator[tuple[KeptAuditFile, str]]:
    """Anchor files that are damaged, or changed or missing as told by the anchor after them, with the reason."""
    last = ""
    for path in anchor_paths():
        before_it, last = last, path.name
        try:
            anchor = read_anchor(path)
        except AnchorDamaged:
            yield path, "the anchor cannot be read"
            continue
        if anchor.signature is Signature.WRONG:
            yield path, "the anchor is not as somebody with the key signed it"
        before = KeptAuditFile(ANCHORS_FOLDER, anchor.previous)
        digest = before.digest() if anchor.previous else ""
        if anchor.previous and not digest:
            yield before, f"the anchor is missing; {path.name} follows it"
        elif anchor.previous and digest != anchor.previous_sha256:
            yield before, f"the anchor was changed after {path.name} was made"
        elif anchor.previous != before_it:
            told = f"it follows {anchor.previous}" if anchor.previous else "it follows none"
            yield path, f"the anchor stands where it was not made: {told}, and {before_it} is before it"
