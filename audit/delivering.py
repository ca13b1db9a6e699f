"""Anchors told to places that the database's keepers cannot write: in order, again until it is done, never unseen."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog
from django.utils import timezone

from audit import anchors
from audit.files import KeptAuditFile
from audit.models import AnchorTarget
from audit.services import Break, breaks_of_heads
from audit.syslog import LONGEST, Receiver, message

logger = structlog.get_logger(__name__)

#: How one anchor is told to a place: it raises where that fails.
Teller = Callable[[KeptAuditFile], None]
#: How many anchors one place is told at once; what is left waits for the next time.
AT_ONCE: Final = 500


def deliver(tellers: Mapping[str, Teller]) -> int:
    """Tell every place the anchors that it was not told yet, oldest first; returns how many. Where one fails, the next
    time begins with it: until then the place counts as failing.
    """
    return sum(_deliver_to(name, tell) for name, tell in tellers.items())


def _deliver_to(name: str, tell: Teller) -> int:
    target, _ = AnchorTarget.objects.get_or_create(name=name)
    told = 0
    for path in anchors.anchor_paths():
        if path.name <= target.delivered or told == AT_ONCE:
            continue
        try:
            tell(path)
        except Exception as error:  # noqa: BLE001  (whatever is in the way: it is told, and tried again)
            target.failing_since = target.failing_since or timezone.now()
            target.error = str(error)[:1000]
            target.save()
            logger.error("anchor_not_delivered", target=name, anchor=path.name, error=type(error).__name__)
            return told
        told += 1
        target.delivered, target.delivered_at = path.name, timezone.now()
        target.failing_since, target.error = None, ""
        target.save()
    return told


@dataclass(frozen=True)
class Told:
    """How far a place was told: the newest anchor that it has, how many wait, and since when and why it fails."""

    place: str
    newest: str
    waiting: int
    failing_since: datetime | None
    error: str


def told_places(names: Iterable[str]) -> list[Told]:
    """How far each place was told."""
    names = list(names)
    if not names:
        return []
    known, paths = AnchorTarget.objects.in_bulk(names), anchors.anchor_paths()
    found = (known.get(name) or AnchorTarget(name=name) for name in names)
    return [
        Told(
            one.name,
            one.delivered,
            sum(path.name > one.delivered for path in paths),
            one.failing_since,
            one.error,
        )
        for one in found
    ]


def tell_syslog(receiver: Receiver, path: KeptAuditFile) -> None:
    """Tell a receiver the heads of an anchor, in as many messages as they need."""
    anchor, digest = anchors.read_anchor(path), path.digest()
    receiver.send(list(_messages(path.name, digest, anchor.heads, timezone.now())))


def _messages(name: str, digest: str, heads: Mapping[str, anchors.ChainHead], at: datetime) -> Iterator[str]:
    some: dict[str, list[Any]] = {}

    def told() -> str:
        text = json.dumps({"anchor": name, "sha256": digest, "heads": some}, separators=(",", ":"))
        return message("anchor", text, at=at)

    for stream, head in heads.items():
        some[stream] = [head.sequence, head.hash]
        if len(told().encode()) > LONGEST:
            del some[stream]
            yield told()
            some = {stream: [head.sequence, head.hash]}
    yield told()


def breaks_of_kept(place: str, kept: Iterable[tuple[str, bytes]]) -> Iterator[Break]:
    """What files that were kept elsewhere say of the anchors here, and of the chains."""
    here = {path.name: path for path in anchors.anchor_paths()}
    found: set[str] = set()
    for name, content in kept:
        if not name.endswith(".json"):
            continue
        found.add(name)
        path, same = here.get(name), False
        if path is None:
            yield Break("", 0, f"the anchor is kept as {place}/{name}, and is missing here", file=name)
        elif not (same := path.read() == content):
            yield Break("", 0, f"the anchor is kept otherwise as {place}/{name}", file=str(path))
        try:
            anchor = anchors.parsed_anchor(KeptAuditFile(anchors.ANCHORS_FOLDER, name), content.decode())
        except (anchors.AnchorDamaged, UnicodeDecodeError):
            yield Break("", 0, "what is kept cannot be read", file=f"{place}/{name}")
            continue
        if not same:
            yield from breaks_of_heads(f"{place}/{name}", anchor.heads)
    for target in told_places([place]):
        for name, path in here.items():
            if name <= target.newest and name not in found:
                yield Break("", 0, f"the anchor was told to {place}, and is not kept there", file=str(path))


def breaks_of_told(lines: Iterable[str]) -> Iterator[Break]:
    """What lines of a syslog, as its receiver kept them, say of the chains."""
    for line in lines:
        _, begins, text = line.partition('{"anchor":')
        if not begins:
            continue
        try:
            content = json.loads(begins + text)
            heads = {stream: anchors.parsed_head(*head) for stream, head in content["heads"].items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            yield Break("", 0, "a line of the syslog cannot be read", file=line.strip()[:200])
            continue
        yield from breaks_of_heads(f"the syslog, of {content['anchor']}", heads)
