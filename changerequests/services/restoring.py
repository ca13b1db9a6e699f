"""After a restore of the database: what the tables and the audit files know and the database does not any more.

The commit in a table's log is the truth. Requests that were merged after the backup are pending again; they are adopted
where the log tells of the very content that the request holds. What cannot be adopted is reported, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction

import merging
from audit.services import INSTALLATION_STREAM, acknowledge_lost_heads, lost_heads, record
from changerequests import selectors
from changerequests.models import ChangeRequest
from changerequests.services import adopting, agreement, storage
from changerequests.services.adopting import StandingMerge
from changerequests.services.locks import lock_change_request
from changerequests.services.trail import record_event
from changerequests.states import Status
from datasets import leases
from datasets.errors import DatasetBusy
from datasets.models import Dataset
from datasets.services import installation_identity

_NUMBER = re.compile(r"CR-([1-9][0-9]{0,17})(?:-[0-9a-f]{8})?")
#: How the lease is held while a dataset is looked at.
HOLDER = "after_restore"


@dataclass(frozen=True)
class RestoreFinding:
    """One thing that the restore left: ``done`` where it is (or, in a dry run, would be) mended here, else reported.

    ``identity`` is whose merge cannot be recorded any more; the trail tells of it once.
    """

    kind: str
    subject: str
    sentence: str
    done: bool
    identity: str = ""


@dataclass(frozen=True)
class RestoreReport:
    """What was found, and done unless it was a dry run."""

    dry_run: bool
    findings: tuple[RestoreFinding, ...]

    @property
    def done(self) -> int:
        """How much was (or would be) mended."""
        return sum(found.done for found in self.findings)


def after_restore(*, dry_run: bool) -> RestoreReport:
    """Bring a restored database up to the tables' logs and the audit files; run it before web and workers start.

    Safe to call again: what is done, and told in the trail as lost, is not found any more. A dry run writes nothing.
    """
    findings: list[RestoreFinding] = []
    numbers: set[int] = set()
    for dataset in Dataset.objects.select_related("project", "meta").order_by("pk"):
        findings += _dataset(dataset, numbers, dry_run=dry_run)
    numbers |= set(_numbers_of_folders())
    findings += _numbers(numbers, dry_run=dry_run)
    findings += _anchors(dry_run=dry_run)
    report = RestoreReport(dry_run, tuple(findings))
    if not dry_run:
        _tell(report)
    return report


def _tell(report: RestoreReport) -> None:
    """One event on what was done and on what is lost, but for what an earlier one told."""
    lost = {one.identity for one in report.findings if one.identity} - agreement.merges_told_as_lost()
    if not report.done and not lost:
        return
    with transaction.atomic():
        record(
            stream=INSTALLATION_STREAM,
            action=agreement.RESTORED,
            subject_type="installation",
            subject_id="database",
            data={
                "findings": [[one.kind, one.subject, one.sentence] for one in report.findings],
                "lost": sorted(lost),
            },
        )


def _dataset(dataset: Dataset, numbers: set[int], *, dry_run: bool) -> list[RestoreFinding]:
    if dry_run:
        return list(_compare(dataset, numbers, None))
    lease = leases.acquire(dataset.pk, HOLDER)
    if lease is None:
        sentence = "Somebody is at work on it. Stop the workers, then run after_restore again."
        return [RestoreFinding("busy", str(dataset), sentence, False)]
    try:
        with leases.kept_alive(lease):
            return list(_compare(dataset, numbers, lease))
    finally:
        leases.release(lease)


def _compare(dataset: Dataset, numbers: set[int], lease: leases.Lease | None) -> Iterator[RestoreFinding]:
    try:
        logged = merging.logged_merges(dataset.table_uri, installation_identity())
    except Exception as error:  # noqa: BLE001  (whatever hides the log, the other datasets are looked at)
        yield RestoreFinding("unreadable", str(dataset), f"The table's log could not be read: {error}", False)
        return
    numbers |= {number for one in logged.merges if (number := _number(one.cr_id or one.identity))}
    if logged.table_id != dataset.meta.table_id:
        sentence = "The table is not the one that was registered; it was left alone."
        yield RestoreFinding("replaced", str(dataset), sentence, False)
        return
    known = {one.identity: one for one in ChangeRequest.objects.filter(dataset=dataset)}
    by_identity: dict[str, list[merging.LoggedMerge]] = {}
    for one in logged.merges:
        by_identity.setdefault(one.identity, []).append(one)
    audited = {
        one.identity: one
        for one in storage.audited_merges()
        if one.identity in known or one.document.get("table_uri") == dataset.table_uri
    }
    for identity in [*by_identity, *(name for name in audited if name not in by_identity)]:
        found = known.get(identity)
        yield from _request(dataset, found, by_identity.get(identity, []), audited.get(identity), lease)


def _request(
    dataset: Dataset,
    change_request: ChangeRequest | None,
    markers: list[merging.LoggedMerge],
    audited: storage.AuditedMerge | None,
    lease: leases.Lease | None,
) -> Iterator[RestoreFinding]:
    """What the log and the audit files say of one identity, and what becomes of it."""
    merged = next((one for one in reversed(markers) if one.kind == "merge"), None)
    if change_request is None:
        found = _unknown(dataset, markers, merged, audited)
        if found is not None and found.identity not in agreement.merges_told_as_lost():
            yield found
        return
    if change_request.status == Status.MERGED:
        return
    if merged is not None or audited is not None:
        yield _adoptable(change_request, merged, audited, lease)
    elif markers and markers[-1].generation >= change_request.merge_generation:
        yield _brought_forward(change_request, markers[-1], lease)


def _unknown(
    dataset: Dataset,
    markers: list[merging.LoggedMerge],
    merged: merging.LoggedMerge | None,
    audited: storage.AuditedMerge | None,
) -> RestoreFinding | None:
    """A request that was made after the backup; nothing of it can be made anew but by people who know it."""
    known_not = (
        "the database does not know it. The table and the audit folder keep what it changed: tell whoever made it, and "
        "do not merge the same again."
    )
    if merged is not None:
        by = f", asked for by {merged.user}" if merged.user else ""
        sentence = f"It was merged into {dataset} as version {merged.version}{by}; {known_not}"
        return RestoreFinding("unknown", merged.cr_id or merged.identity, sentence, False, merged.identity)
    if audited is not None:
        name, version = (
            audited.document.get("cr_id", audited.identity),
            audited.document.get("merged_version"),
        )
        sentence = (
            f"{audited.folder} says that it was merged into {dataset} as version {version}; {known_not}"
        )
        return RestoreFinding("unknown", str(name), sentence, False, audited.identity)
    left = [one.identity for one in markers if one.kind == "unknown"]
    if left:
        sentence = (
            f"The table of {dataset} holds its marker, and the commit is no longer in the log; {known_not}"
        )
        return RestoreFinding("unknown", left[-1], sentence, False, left[-1])
    return None


def _adoptable(
    change_request: ChangeRequest,
    merged: merging.LoggedMerge | None,
    audited: storage.AuditedMerge | None,
    lease: leases.Lease | None,
) -> RestoreFinding:
    name = change_request.cr_id
    document: Mapping[str, Any] = audited.document if audited is not None else {}
    version = merged.version if merged is not None else document.get("merged_version")
    standing = _standing(change_request, merged, document)
    if standing is None:
        sentence = (
            f"It was merged as version {version} with other content than it holds now: that was uploaded after the "
            f"backup and is lost here. It is {change_request.status} and cannot be merged. Close it, and propose what "
            "is still wanted in a new change request."
        )
        return RestoreFinding("differs", name, sentence, False, change_request.identity)
    sentences = [f"It was {change_request.status} here and is merged as version {version}.", standing.proof]
    if standing.resolutions_digest != change_request.resolutions_digest:
        sentences.append("Choices that were made for its conflicts were lost with the restore.")
    if audited is None:
        sentences.append("Its audit files are gone; they are written anew, without the single cells.")
    try:
        if lease is not None:
            adopting.adopt(change_request_id=change_request.pk, standing=standing, lease=lease)
    except DatasetBusy as error:
        return RestoreFinding("busy", name, error.message, False)
    except IntegrityError:
        sentence = (
            f"It is merged as version {version}; close the other open revert of the same request first, then run "
            "after_restore again."
        )
        return RestoreFinding("in_the_way", name, sentence, False)
    return RestoreFinding("adopted", name, " ".join(sentences), True)


def _standing(
    change_request: ChangeRequest, merged: merging.LoggedMerge | None, document: Mapping[str, Any]
) -> StandingMerge | None:
    """The merge that stands, by the log or else by the audit files; None where it is of other content."""
    digest = merged.staged_digest if merged is not None else document.get("revision_digest")
    revision = selectors.current_revision(change_request)
    if revision is None or revision.digest != digest:
        return None
    if merged is not None and merged.result is not None:
        result, proof = merged.result, "The table's log tells of it."
    else:
        result = merging.result_from_document(document)
        proof = "Its audit files tell of it; the log does not any more."
    chosen = merged.resolutions_digest if merged is not None else document.get("resolutions_digest")
    user = User.objects.filter(username=merged.user if merged else document.get("requested_by")).first()
    return StandingMerge(
        result=result,
        revision=revision,
        requested_by=user or change_request.author,
        resolutions_digest=change_request.resolutions_digest if chosen is None else str(chosen),
        proof=proof,
        message=merged.message if merged is not None else "",
        approved_by=list(document.get("approved_by", [])),
    )


def _brought_forward(
    change_request: ChangeRequest, newest: merging.LoggedMerge, lease: leases.Lease | None
) -> RestoreFinding:
    """The log is past the generation that the database remembers, by a marker that merged nothing."""
    name = change_request.cr_id
    if newest.kind == "unknown":
        sentence = (
            f"The table holds a marker of its generation {newest.generation}, and neither the log nor audit files tell "
            "whether it was merged. It was left as it is; compare its content with the table."
        )
        return RestoreFinding("untold", name, sentence, False, change_request.identity)
    generation = newest.generation + 1
    if lease is not None:
        with transaction.atomic():
            locked = lock_change_request(change_request.pk)
            ChangeRequest.objects.filter(pk=locked.pk).update(merge_generation=generation)
            record_event(locked, "merge.brought_forward", None, {"generation": generation})
    sentence = f"Attempts on it were superseded after the backup; it goes on as generation {generation}."
    return RestoreFinding("brought_forward", name, sentence, True)


def _number(name: str) -> int | None:
    found = _NUMBER.fullmatch(name)
    return int(found[1]) if found else None


def _numbers_of_folders() -> Iterator[int]:
    """The numbers of requests that have files under the data root, whether the database knows them or not."""
    for name in storage.numbers_in_names():
        number = _number(name)
        if number is not None:
            yield number


def _numbers(seen: set[int], *, dry_run: bool) -> Iterator[RestoreFinding]:
    """Let the next request have a number that none had, in no table and no folder."""
    highest, last = max(seen, default=0), _last_number()
    if highest <= last:
        return
    if not dry_run:
        _move_numbers(highest)
    sentence = (
        f"Numbers up to CR-{highest} were given before the restore; the next request is CR-{highest + 1}."
    )
    yield RestoreFinding("numbers", f"CR-{highest + 1}", sentence, True)


def _last_number() -> int:
    """The number that the database believes it gave last."""
    table = ChangeRequest._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
            row = cursor.fetchone()
            return int(row[0]) if row else 0
        sequence = _sequence(cursor, table)  # as PostgreSQL names it
        cursor.execute(f"SELECT last_value, is_called FROM {sequence}")  # noqa: S608
        value, called = cursor.fetchone()
        return int(value) if called else int(value) - 1


def _move_numbers(highest: int) -> None:
    table = ChangeRequest._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("UPDATE sqlite_sequence SET seq = %s WHERE name = %s", [highest, table])
            if not cursor.rowcount:
                cursor.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", [table, highest])
        else:
            cursor.execute("SELECT setval(%s, %s)", [_sequence(cursor, table), highest])


def _sequence(cursor: Any, table: str) -> str:
    cursor.execute("SELECT pg_get_serial_sequence(%s, 'id')", [table])
    return str(cursor.fetchone()[0])


def _anchors(*, dry_run: bool) -> Iterator[RestoreFinding]:
    """Entries of the trail that were anchored after the backup and are lost: from now on their loss is part of it."""
    lost = lost_heads()
    if not lost:
        return
    if not dry_run:
        acknowledge_lost_heads(lost)
    sentence = f"{len(lost)} anchored entries of the trail were lost with the restore; the trail says so from now on."
    yield RestoreFinding("trail", "audit", sentence, True)
