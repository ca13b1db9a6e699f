"""Erasing a person from the trail: their names give way to a pseudonym, and every chain stays whole.

In an entry's hash each text is a salted commitment (``audit.chain``). Where a text named the person, its commitment is
kept and its salt destroyed, so that nothing tells the old text any more; all other texts keep their salts. What stands
there now is signed with the key. Entries from before there was a key have no salts: they keep their plain hash as the
link to the next entry, which can still confirm a name that somebody guesses, and are proved by the signature alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from unicodedata import normalize

from django.db import connection
from django.db.models import QuerySet

from audit.chain import SEALED_FIELDS, commitments_of, redaction_text, texts_in, with_texts
from audit.files import KeptAuditFile, all_audit_files, audit_files_in, document_bytes
from audit.keys import current_key
from audit.models import Event
from audit.services import Break, verify_chains
from audit.triggers import CREATE_TRIGGERS, DROP_TRIGGERS

#: What the names of files end with that wait to take the place of those that name the person.
WAITING: Final = ".erased"
#: What holds values of rows in documents: they are the tables' data, and the proof of what was changed.
OF_ROWS: Final = frozenset({"key", "value", "base", "current", "proposed", "checks", "results", "conflicts"})


@dataclass(frozen=True)
class Names:
    """What a person was called, and what stands in its place. A text is replaced where it is one of the names, and
    inside of it where a name stands as a word or is called (``@name``). Addresses of mail are the same in capitals,
    and letters with accents however they are put together.
    """

    names: tuple[str, ...]
    pseudonym: str
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        forms = {normalize(form, name) for name in self.names if name for form in ("NFC", "NFD")}
        longest_first = sorted(forms, key=len, reverse=True)
        words = "|".join(
            f"(?i:{re.escape(name)})" if "@" in name else re.escape(name) for name in longest_first
        )
        # Behind an @ that begins a word it is a mention; within a word it is part of an address.
        pattern = re.compile(rf"(?<![\w+-])(?<![\w.+-]@)(?<!\w\.)(?:{words})(?![\w@+-]|\.\w)")
        object.__setattr__(self, "_pattern", pattern)

    def replaced(self, text: str) -> str:
        """The text with the pseudonym for every name in it."""
        return self._pattern.sub(lambda _: self.pseudonym, text)

    def in_value(self, value: Any) -> Any:
        """A JSON value with every text in it replaced, but for values of rows."""
        if isinstance(value, str):
            return self.replaced(value)
        if isinstance(value, Mapping):
            return {name: part if name in OF_ROWS else self.in_value(part) for name, part in value.items()}
        if isinstance(value, list):
            return [self.in_value(part) for part in value]
        return value


def breaks_of_chains() -> list[Break]:
    """What is wrong with the chains now: nobody is erased from a trail that is not whole."""
    return list(verify_chains())


def rewritten_files(names: Names, *, dry_run: bool) -> dict[KeptAuditFile, str]:
    """Audit files that name the person, with the hashes of what takes their places: it is written beside them.

    ``put_files`` lets it do so once the entries name it. A dry run writes nothing, and gives no hashes.
    """
    found: dict[KeptAuditFile, str] = {}
    for event in Event.objects.filter(data__has_key="audit_files").order_by("pk").iterator():
        for _, path in _files_of(event):
            told = json.loads(path.text())
            if path not in found and (now := names.in_value(told)) != told:
                beside = KeptAuditFile(path.folder, f".{path.name}{WAITING}")
                found[path] = "" if dry_run else beside.write(document_bytes(now))
    return found


def erase_from_trail(
    names: Names, seals: Mapping[str, str], files: Mapping[KeptAuditFile, str], *, dry_run: bool
) -> list[tuple[str, int, tuple[str, ...]]]:
    """Replace the names in every entry, in the surrounding transaction; which entries (stream and sequence), and where.

    ``seals`` are the new digests of rows that named the person: every entry that vouches for one takes it; so do those
    that name ``files``. A dry run writes nothing.
    """
    entries = []
    with connection.cursor() as cursor:
        if not dry_run:  # by name and in the open; they are back before anybody else sees the tables
            _execute(cursor, DROP_TRIGGERS)
        for event in Event.objects.order_by("stream", "sequence").iterator():
            replaced = {
                place: text
                for place, old in texts_in({name: getattr(event, name) for name in SEALED_FIELDS})
                if not place.startswith("/rows/") and (text := names.replaced(old)) != old
            }
            replaced |= {f"/rows/{row}": seals[row] for row in event.rows if row in seals}
            replaced |= {
                f"/data/audit_files/{name}": files[path] for name, path in _files_of(event) if path in files
            }
            if not replaced:
                continue
            entries.append((event.stream, event.sequence, tuple(sorted(replaced))))
            if not dry_run:
                _redact(event, replaced, names.pseudonym)
        if not dry_run:
            _execute(cursor, CREATE_TRIGGERS)
    return entries


def put_files() -> int:
    """Let files that an erasure wrote beside the old ones take their places, where entries name them; returns how many.

    Safe to call again: what a process left that died in between is put, too, and what no entry names is removed.
    """
    waiting = {
        one: KeptAuditFile(one.folder, one.name.removeprefix(".").removesuffix(WAITING))
        for one in all_audit_files()
        if one.name.startswith(".") and one.name.endswith(WAITING)
    }
    if not waiting:
        return 0
    named = {
        (path, event.data["audit_files"][name])
        for event in Event.objects.filter(data__has_key="audit_files").iterator()
        for name, path in _files_of(event)
    }
    put = 0
    for beside, path in waiting.items():
        if (path, beside.digest()) in named:
            path.write(beside.read())
            put += 1
        beside.remove()
    return put


def _files_of(event: Event) -> Iterator[tuple[str, KeptAuditFile]]:
    """The JSON files that an entry names: only they hold names of people; the others are rows of tables."""
    files, folder = event.data.get("audit_files"), event.data.get("audit_folder")
    if isinstance(files, dict) and isinstance(folder, str):
        there = {one.name for one in audit_files_in(folder)} if folder != "anchors" else set()
        for name in sorted(files):
            if name.endswith(".json") and name in there:
                yield name, KeptAuditFile(folder, name)


def _redact(event: Event, replaced: Mapping[str, str], pseudonym: str) -> None:
    content = {name: getattr(event, name) for name in SEALED_FIELDS}
    known: dict[str, Any] = event.redactions or {}
    salts, commitments = dict(known.get("salts", {})), dict(known.get("commitments", {}))
    if event.key_id:
        committed = commitments_of(event.salt, event.redactions)
        for place, text in texts_in(content):
            if place in replaced:
                commitments[place] = committed.of(place, text)
                salts.pop(place, None)
            elif place not in commitments:
                salts[place] = committed.salt_of(place).hex()
    key = current_key()
    redactions: dict[str, Any] = {
        "salts": salts,
        "commitments": commitments,
        "erasures": sorted({*known.get("erasures", ()), pseudonym}),
        "key": key.id,
    }
    texts = with_texts(content, replaced)
    signed = redaction_text({**content, **texts}, redactions, event.hash)
    redactions["signature"] = key.sign("redaction", signed)
    rows: QuerySet[Event] = QuerySet(Event)  # past the guard of ``Event.objects``
    rows.filter(pk=event.pk).update(**texts, salt="", redactions=redactions)


def _execute(cursor: Any, statements: Mapping[str, Iterable[str]]) -> None:
    for statement in statements.get(connection.vendor, ()):
        cursor.execute(statement)
