"""The one writer of the audit trail: events in the database and files beside the tables."""

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, transaction
from django.db.models import Q, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from audit import anchors, outbox
from audit.chain import (
    PLAIN_FIELDS,
    SEALED_FIELDS,
    commitments_of,
    event_hash,
    head_text,
    plain_hash,
    redaction_text,
)
from audit.files import KeptAuditFile, write_audit_files
from audit.keys import current_key, key_called
from audit.models import Chain, Event
from audit.row_locks import locked
from audit.triggers import missing_triggers

#: The chain of everything that belongs to no single dataset.
INSTALLATION_STREAM = "installation"
#: What the event of a new anchor file is called.
ANCHORED = "audit.anchored"
#: What the event is called that tells of anchored entries which a restore of the database lost.
HEADS_LOST = "audit.heads_lost"
#: What the event is called that seals all that was written before a key, and retires the keys before it.
KEY_INTRODUCED = "audit.key_introduced"
#: What the event is called that tells whose names were replaced, by what.
PERSON_ERASED = "audit.person_erased"


def dataset_stream(dataset_id: int) -> str:
    """The chain in which the events of one dataset stand."""
    return f"dataset:{dataset_id}"


def record(
    *,
    stream: str,
    action: str,
    subject_type: str,
    subject_id: str,
    actor: str = "",
    data: Mapping[str, Any] | None = None,
    rows: Mapping[str, str] | None = None,
) -> Event:
    """Append one event. Call it inside the transaction of the change that it tells of; whoever should know is told
    once that is committed (``audit.outbox``).

    ``actor`` is a user name, empty for the system. ``data`` holds JSON values (dates and decimals are
    converted), never row values; the name of an agent that acts in the actor's name comes with it (``agent``). ``rows``
    are the seals (``audit.rows``) of the database rows that were written with it.

    Raises ``TransactionManagementError`` outside a transaction.
    """
    chain, _ = locked(Chain.objects.all()).get_or_create(stream=stream)
    event = keyed_event(
        stream=stream,
        sequence=chain.last_sequence + 1,
        occurred_at=timezone.now(),
        actor=actor,
        action=action,
        subject_type=subject_type,
        subject_id=subject_id,
        data=json.loads(json.dumps({**(data or {}), **_of_agent()}, cls=DjangoJSONEncoder)),
        request_id=str(structlog.contextvars.get_contextvars().get("request_id", ""))[:64],
        previous_hash=chain.last_hash,
        rows=dict(rows or {}),
    )
    event.save(force_insert=True)
    Chain.objects.filter(pk=stream).update(
        last_sequence=event.sequence,
        last_hash=event.hash,
        seal=sealed_head(stream, event.sequence, event.hash),
    )
    outbox.put(event)
    return event


def acting_agent() -> str:
    """The agent that acts now in its person's name; empty where people act themselves."""
    return str(structlog.contextvars.get_contextvars().get("agent", ""))


def acting_as(agent: str) -> AbstractContextManager[None]:
    """Let events that are recorded within say that it was this agent; for what is done later for it."""
    return structlog.contextvars.bound_contextvars(agent=agent)


def _of_agent() -> dict[str, str]:
    agent = acting_agent()
    return {"agent": agent} if agent else {}


def keyed_event(**content: Any) -> Event:
    """An event with its salt and hash, not stored; its ``data`` holds plain JSON values. For ``record``, and for
    trails that are made up.
    """
    key, salt = current_key(), secrets.token_hex(16)
    digest = event_hash(key, commitments_of(salt, None), content)
    return Event(**content, key_id=key.id, salt=salt, hash=digest)


def sealed_head(stream: str, sequence: int, digest: str) -> str:
    """What only a holder of the key can say of the head of a chain."""
    key = current_key()
    return f"{key.id}:{key.sign('head', head_text(stream, sequence, digest))}"


@dataclass(frozen=True)
class Introduction:
    """What an event says that introduced a key: where each chain stood, and which keys write no entry after that."""

    heads: Mapping[str, anchors.ChainHead]
    retired: frozenset[str]

    def forbids(self, event: Event) -> bool:
        """Whether an entry was written with a key that was retired before."""
        head = self.heads.get(event.stream)
        return event.key_id in self.retired and event.sequence > (head.sequence if head else 0)


def introductions() -> list[Introduction]:
    """Every introduction of a key, oldest first."""
    return [
        Introduction(
            {stream: anchors.ChainHead(*head) for stream, head in event.data["heads"].items()},
            frozenset(event.data["retired"]),
        )
        for event in Event.objects.filter(stream=INSTALLATION_STREAM, action=KEY_INTRODUCED).order_by(
            "sequence"
        )
    ]


def introduce_key() -> Event | None:
    """Seal all that was written before the current key under it, and let no other key write from now on.

    For the release that brings keys, and after each change of the key. None where nothing was written otherwise since.
    What is sealed is what stands there: verify first.
    """
    with transaction.atomic():
        # The installation's chain first, as its lock is what a second call waits for.
        Chain.objects.get_or_create(stream=INSTALLATION_STREAM)
        heads = {one.stream: one for one in locked(Chain.objects.order_by("stream"))}
        told = {key for one in introductions() for key in one.retired}
        others = set(Event.objects.order_by().values_list("key_id", flat=True).distinct()) - {
            current_key().id
        }
        if not others - told:
            return None
        return record(
            stream=INSTALLATION_STREAM,
            action=KEY_INTRODUCED,
            subject_type="audit",
            subject_id=current_key().id,
            data={
                "retired": sorted(others | told),
                "heads": {
                    stream: [head.last_sequence, head.last_hash]
                    for stream, head in heads.items()
                    if head.last_sequence
                },
            },
        )


def unsealed_entries() -> bool:
    """Whether entries from before there was a key wait to be sealed by ``introduce_key``."""
    return Event.objects.filter(key_id="").exists() and not introductions()


def anchor_chains() -> KeptAuditFile | None:
    """Write the heads that moved since the last anchor to a new file; None if none did.

    An event in the installation's chain names the file with its hash. That event alone is no reason for another
    anchor.
    """
    known = anchors.anchored_heads()
    moved = {
        chain.stream: anchors.ChainHead(chain.last_sequence, chain.last_hash)
        for chain in Chain.objects.order_by("stream")
        if chain.last_sequence
        and known.get(chain.stream) != anchors.ChainHead(chain.last_sequence, chain.last_hash)
    }
    if not moved or (set(moved) == {INSTALLATION_STREAM} and _only_anchored_since(known)):
        return None
    now = timezone.now()
    name = f"{now:%Y%m%dT%H%M%S.%fZ}.json"
    content = anchors.document(moved, made_at=now.isoformat())
    hashes = write_audit_files(anchors.ANCHORS_FOLDER, documents={name: content}, copies={})
    with transaction.atomic():
        record(
            stream=INSTALLATION_STREAM,
            action=ANCHORED,
            subject_type="audit",
            subject_id=name,
            data={"audit_folder": anchors.ANCHORS_FOLDER, "audit_files": hashes, "chains": len(moved)},
        )
    return KeptAuditFile(anchors.ANCHORS_FOLDER, name)


def unanchored_since() -> datetime | None:
    """When the oldest entry was made that no anchor holds yet; None where all are held."""
    anchored = Event.objects.filter(stream=INSTALLATION_STREAM, action=ANCHORED).order_by("-sequence")
    later = Event.objects.exclude(action=ANCHORED).filter(
        pk__gt=Coalesce(Subquery(anchored.values("pk")[:1]), 0)
    )
    return later.order_by("pk").values_list("occurred_at", flat=True).first()


def _only_anchored_since(known: Mapping[str, anchors.ChainHead]) -> bool:
    head = known.get(INSTALLATION_STREAM)
    since = Event.objects.filter(stream=INSTALLATION_STREAM, sequence__gt=head.sequence if head else 0)
    return not since.exclude(action=ANCHORED).exists()


@dataclass(frozen=True)
class Break:
    """A place where the trail is not what was written: an entry of a chain, or (``file``) an audit file."""

    stream: str
    sequence: int
    reason: str
    file: str = ""

    @property
    def place(self) -> str:
        """The entry or file in words."""
        return self.file or f"{self.stream} entry {self.sequence}"


def verify() -> Iterator[Break]:
    """Everything that is wrong with the trail: its chains, the anchors, the audit files that its events name."""
    yield from verify_chains()
    yield from verify_anchors()
    yield from verify_files()


def verify_triggers() -> Iterator[Break]:
    """The triggers that keep the trail append-only, as the database has them now."""
    for name, reason in missing_triggers(connection):
        yield Break("", 0, f"{reason}; the database does not refuse to change the trail", file=name)


def verify_chains() -> Iterator[Break]:
    """Walk every chain and yield each entry that was changed, is missing or stands out of order.

    Takes no lock: what is appended meanwhile is verified or left to the next time.
    """
    introduced = introductions()
    erasures = frozenset(
        Event.objects.filter(stream=INSTALLATION_STREAM, action=PERSON_ERASED).values_list(
            "subject_id", flat=True
        )
    )
    for chain in Chain.objects.order_by("stream"):
        yield from _verify_chain(chain, introduced, erasures)
    orphans = Event.objects.exclude(stream__in=Chain.objects.values("stream"))
    for stream, sequence in orphans.values_list("stream", "sequence"):
        yield Break(stream, sequence, "its chain has no head")
    there = set(Chain.objects.values_list("stream", flat=True))
    for stream in sorted({stream for one in introduced for stream in one.heads} - there):
        yield Break(stream, 1, "its chain is missing; an introduction of a key sealed it")


def _verify_chain(
    chain: Chain, introduced: Sequence[Introduction], erasures: frozenset[str]
) -> Iterator[Break]:
    previous_hash, expected = "", 1
    sealed = {
        one.heads[chain.stream].sequence: one.heads[chain.stream].hash
        for one in introduced
        if chain.stream in one.heads
    }
    last: Event | None = None
    for event in Event.objects.filter(stream=chain.stream).order_by("sequence").iterator():
        for missing in range(expected, event.sequence):
            yield Break(chain.stream, missing, "the entry is missing")
        if expected == event.sequence and event.previous_hash != previous_hash:
            yield Break(chain.stream, event.sequence, "it does not follow the entry before it")
        reason = _why_not_as_written(event, introduced, erasures)
        if reason:
            yield Break(chain.stream, event.sequence, reason)
        elif sealed.get(event.sequence, event.hash) != event.hash:
            yield Break(
                chain.stream, event.sequence, "it is not the entry that an introduction of a key sealed"
            )
        previous_hash, expected, last = event.hash, event.sequence + 1, event
    for missing in range(expected, chain.last_sequence + 1):
        yield Break(chain.stream, missing, "the entry is missing")
    if expected == chain.last_sequence + 1:
        if previous_hash != chain.last_hash:
            yield Break(chain.stream, chain.last_sequence, "it is not the entry that was written last")
        elif last is not None and not _is_sealed_head(chain, last):
            yield Break(
                chain.stream,
                chain.last_sequence,
                "the head of its chain was set to it without the key: entries after it may have been cut off",
            )
    if expected > chain.last_sequence + 1:  # appended since the head was read, or put there past the head
        head = Chain.objects.filter(pk=chain.stream).values_list("last_sequence", flat=True).first() or 0
        for beyond in range(head + 1, expected):
            yield Break(chain.stream, beyond, "it stands beyond the head of its chain")


def _is_sealed_head(chain: Chain, last: Event) -> bool:
    key_id, _, signature = chain.seal.partition(":")
    key = key_called(key_id)
    if key is None:
        return (
            not chain.seal and not last.key_id
        )  # from before there was a key; what is written next seals it
    return key.has_signed("head", head_text(chain.stream, chain.last_sequence, chain.last_hash), signature)


def _why_not_as_written(event: Event, introduced: Sequence[Introduction], erasures: frozenset[str]) -> str:
    """What is wrong with an entry by itself; empty where it is as it was written."""
    if event.redactions is not None and not _is_as_redacted(event, erasures):
        return "its content was changed"
    if not event.key_id:
        plain = {field: getattr(event, field) for field in PLAIN_FIELDS}
        if event.redactions is None and (plain_hash(plain) != event.hash or event.rows or event.salt):
            return "its content was changed"
        if not introduced:
            return (
                "it was written without a key, and none was introduced since: manage.py introduce_audit_key"
            )
    else:
        key = key_called(event.key_id)
        if key is None:
            return f"its key {event.key_id!r} is not known here"
        content = {field: getattr(event, field) for field in SEALED_FIELDS}
        if event_hash(key, commitments_of(event.salt, event.redactions), content) != event.hash:
            return "its content was changed"
    if any(one.forbids(event) for one in introduced):
        return "it was written without the key, or with one that was retired before"
    return ""


def _is_as_redacted(event: Event, erasures: frozenset[str]) -> bool:
    """Whether an entry that named somebody who was erased is as the erasure left it."""
    told: Any = event.redactions
    try:
        key = key_called(told["key"])
        content = {field: getattr(event, field) for field in SEALED_FIELDS}
        text = redaction_text(content, told, event.hash)
        return (
            key is not None
            and key.has_signed("redaction", text, told["signature"])
            and erasures.issuperset(told["erasures"])
            and not event.salt
        )
    except (KeyError, TypeError, ValueError):
        return False


def verify_anchors() -> Iterator[Break]:
    """Compare every anchored head with its chain: a chain that was cut off or rewritten whole is found here.

    Heads whose loss in a restore was acknowledged are left out (``acknowledged_losses`` counts them).
    """
    for path, reason in anchors.broken_links():
        yield Break("", 0, reason, file=str(path))
    for lost in lost_heads():
        yield Break(lost.stream, lost.sequence, lost.reason)


@dataclass(frozen=True)
class LostHead:
    """A head that an anchor file holds and its chain does not."""

    anchor: str
    stream: str
    sequence: int
    reason: str


#: For how many anchored heads the database is asked at once.
HEADS_AT_ONCE: Final = 200


def lost_heads() -> list[LostHead]:
    """Anchored heads that are not in their chains, but for those whose loss the trail itself tells of."""
    known = {tuple(one) for lost in Event.objects.filter(action=HEADS_LOST) for one in lost.data["heads"]}
    heads = list(_anchored())
    return [
        LostHead(anchor, stream, head.sequence, reason)
        for start in range(0, len(heads), HEADS_AT_ONCE)
        for anchor, stream, head, reason in _not_in_their_chains(heads[start : start + HEADS_AT_ONCE])
        if (anchor, stream, head.sequence) not in known
    ]


def _anchored() -> Iterator[tuple[str, str, anchors.ChainHead]]:
    """Every head of every anchor file that can be read; ``broken_links`` tells of the others."""
    for path in anchors.anchor_paths():
        try:
            heads = anchors.read_anchor(path).heads
        except anchors.AnchorDamaged:
            continue
        for stream, head in heads.items():
            yield path.name, stream, head


def breaks_of_heads(told_by: str, heads: Mapping[str, anchors.ChainHead]) -> Iterator[Break]:
    """Heads that somebody else kept, against the chains."""
    some = [(told_by, stream, head) for stream, head in heads.items()]
    for start in range(0, len(some), HEADS_AT_ONCE):
        for _, stream, head, reason in _not_in_their_chains(some[start : start + HEADS_AT_ONCE]):
            yield Break(stream, head.sequence, reason)


def _not_in_their_chains(
    some: Sequence[tuple[str, str, anchors.ChainHead]],
) -> Iterator[tuple[str, str, anchors.ChainHead, str]]:
    wanted: dict[str, list[int]] = {}
    for _, stream, head in some:
        wanted.setdefault(stream, []).append(head.sequence)
    entries = Q(
        *(Q(stream=stream, sequence__in=numbers) for stream, numbers in wanted.items()), _connector=Q.OR
    )
    found = Event.objects.filter(entries).values_list("stream", "sequence", "hash")
    hashes = {(stream, sequence): digest for stream, sequence, digest in found.order_by()}
    for anchor, stream, head in some:
        there = hashes.get((stream, head.sequence))
        if there is None:
            yield anchor, stream, head, f"the entry is missing; {anchor} anchored it"
        elif there != head.hash:
            yield anchor, stream, head, f"it is not the entry that {anchor} anchored"


def acknowledge_lost_heads(lost: Sequence[LostHead]) -> None:
    """Write into the trail that a restore of the database lost these heads; from then on they are no breaks."""
    with transaction.atomic():
        record(
            stream=INSTALLATION_STREAM,
            action=HEADS_LOST,
            subject_type="audit",
            subject_id="restore",
            data={"heads": [[one.anchor, one.stream, one.sequence] for one in lost]},
        )


def acknowledged_losses() -> int:
    """How many anchored heads the trail says were lost in restores."""
    return sum(len(event.data["heads"]) for event in Event.objects.filter(action=HEADS_LOST))


def verify_files() -> Iterator[Break]:
    """Compare the audit files that events name (``audit_folder``, ``audit_files``) with their hashes."""
    named = Event.objects.filter(data__has_key="audit_files").order_by("stream", "sequence")
    seen: set[KeptAuditFile] = set()
    for event in named.iterator():
        files, folder = event.data["audit_files"], event.data.get("audit_folder")
        if not isinstance(folder, str) or not isinstance(files, dict):
            yield Break(event.stream, event.sequence, "it does not say where its files are")
            continue
        for name, digest in files.items():
            path = KeptAuditFile(folder, name)
            seen.add(path)
            now = path.digest()
            if not now:
                reason = "the file is missing"
            elif now != digest:
                reason = "the file was changed"
            else:
                continue
            yield Break("", 0, f"{reason}; {event.stream} entry {event.sequence} names it", file=str(path))
    for path in anchors.anchor_paths():
        if path not in seen and anchors.is_unsigned(path):
            yield Break("", 0, "no entry names this anchor, and it has no signature", file=str(path))
