"""Do the tables' logs, the merged requests, the events and the audit folders tell of the same merges?

Each is compared with the others, both ways. A merge that is being recorded right now is left out: it is told of by none
or some of them, and nothing is wrong with that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.db.models import Q

import merging
from audit.selectors import events_called, events_naming_files
from changerequests.models import ChangeRequest
from changerequests.services import storage
from changerequests.services.vouched import Disagreement, bent_rows
from changerequests.states import OPEN_STATUSES, Status
from datasets.models import Dataset
from datasets.services import installation_identity

#: What the event is called that tells what ``after_restore`` found and did.
RESTORED = "installation.restored"


def merges_told_as_lost() -> frozenset[str]:
    """Identities of merges that the trail itself says a restore of the database lost."""
    return frozenset(name for event in events_called(RESTORED) for name in event.data["lost"])


def disagreements() -> Iterator[Disagreement]:
    """Everything in which logs, requests, events, folders and rows differ."""
    for dataset in Dataset.objects.select_related("project", "meta").order_by("pk"):
        yield from _of_log(dataset)
    yield from _of_events()
    yield from _of_folders()
    yield from bent_rows()


def _in_flight() -> Q:
    return Q(status=Status.MERGING) | Q(unsettled_version__isnull=False)


def _of_log(dataset: Dataset) -> Iterator[Disagreement]:
    try:
        logged = merging.logged_merges(dataset.table_uri, installation_identity())
    except Exception as error:  # noqa: BLE001  (whatever hides the log: it is named, and the others are compared)
        yield Disagreement(str(dataset), f"the table's log could not be read: {error}")
        return
    if logged.table_id != dataset.meta.table_id:
        yield Disagreement(str(dataset), "the table is not the one that was registered")
        return
    requests = {one.identity: one for one in ChangeRequest.objects.filter(dataset=dataset)}
    merges: dict[str, list[merging.LoggedMerge]] = {}
    for one in logged.merges:
        if one.kind == "merge":
            merges.setdefault(one.identity, []).append(one)
    for identity, found in merges.items():
        yield from _of_merge(dataset, requests.get(identity), found)
    markers = {one.identity for one in logged.merges if one.kind == "unknown"}
    for identity in sorted(markers - set(requests) - merges_told_as_lost()):
        yield Disagreement(str(dataset), f"the table holds a marker of {identity}, which no request has")
    for change_request in requests.values():
        if change_request.status == Status.MERGED and change_request.identity not in merges:
            reason = _why_missing(change_request, logged, markers)
            if reason:
                yield Disagreement(change_request.cr_id, reason)


def _of_merge(
    dataset: Dataset, change_request: ChangeRequest | None, found: list[merging.LoggedMerge]
) -> Iterator[Disagreement]:
    newest = found[-1]
    place = f"{dataset} version {newest.version}"
    if len(found) > 1:
        versions = ", ".join(str(one.version) for one in found)
        yield Disagreement(str(dataset), f"{newest.cr_id} was merged more than once: as versions {versions}")
    closed = change_request is None or change_request.status == Status.CLOSED
    if closed and newest.identity in merges_told_as_lost():
        return
    if change_request is None:
        yield Disagreement(
            place, f"it merged {newest.cr_id or newest.identity}, which the database does not know"
        )
        return
    if change_request.status != Status.MERGED:
        if not ChangeRequest.objects.filter(_in_flight(), pk=change_request.pk).exists():
            yield Disagreement(place, f"it merged {change_request.cr_id}, which is {change_request.status}")
        return
    if change_request.merged_version != newest.version:
        told = change_request.merged_version
        yield Disagreement(place, f"it merged {change_request.cr_id}, which is recorded as version {told}")
    record = change_request.merge_record or {}
    told_digests = {"content": newest.staged_digest, "choices": newest.resolutions_digest}
    recorded = {"content": record.get("revision_digest"), "choices": record.get("resolutions_digest")}
    for what, digest in told_digests.items():
        if digest is not None and digest != recorded[what]:
            yield Disagreement(place, f"it merged other {what} than {change_request.cr_id} is recorded with")


def _why_missing(change_request: ChangeRequest, logged: merging.LoggedMerges, markers: set[str]) -> str:
    """Why the log should tell of a merged request and does not; empty where it does not reach that far."""
    version = change_request.merged_version or 0
    if version > logged.version:
        return (
            f"it is recorded as merged as version {version}, and the table ends at version {logged.version}"
        )
    if version >= logged.oldest_version:
        return f"it is recorded as merged as version {version}, and that version has no marker of it"
    if change_request.identity in markers or logged.markers_expire:
        return ""
    return f"it is recorded as merged as version {version}, and the table holds no marker of it"


def _of_events() -> Iterator[Disagreement]:
    """Events of merges against the requests, both ways, and the digests of both."""
    requests = {
        one.cr_id: one for one in ChangeRequest.objects.filter(Q(status=Status.MERGED) | _in_flight())
    }
    told: dict[str, Mapping[str, Any]] = {}
    for event in events_called("change_request.merged"):
        place = f"{event.stream} entry {event.sequence}"
        change_request = requests.get(event.subject_id)
        if change_request is None:
            yield Disagreement(place, f"it says that {event.subject_id} was merged, which is not recorded so")
            continue
        if event.subject_id in told:
            yield Disagreement(
                place, f"it says that {event.subject_id} was merged, as an entry before it does"
            )
        told[event.subject_id] = event.data
        record = change_request.merge_record
        if record is None:
            continue
        pairs = {
            "digest": ("revision_digest", "content"),
            "resolutions_digest": ("resolutions_digest", "choices"),
        }
        for name, (recorded, what) in pairs.items():
            if event.data.get(name) != record.get(recorded):
                yield Disagreement(
                    place, f"it tells of other {what} than {event.subject_id} is recorded with"
                )
        if event.data.get("version") != change_request.merged_version:
            yield Disagreement(place, f"it tells of another version than {event.subject_id} is recorded with")
    for name, change_request in requests.items():
        if change_request.status == Status.MERGED and name not in told:
            yield Disagreement(name, "it is recorded as merged, and no event tells of it")


def _of_folders() -> Iterator[Disagreement]:
    """Audit folders against the events, and what they say was merged. Missing files are named by ``verify_files``."""
    told = {event.data.get("audit_folder"): event.data for event in events_naming_files()}
    flying = set(ChangeRequest.objects.filter(_in_flight()).values_list("identity", flat=True))
    lost = merges_told_as_lost() - set(_open_identities())
    for audited in storage.audited_merges():
        event = told.get(audited.folder)
        if event is None:
            if audited.identity not in flying and audited.identity not in lost:
                yield Disagreement(audited.folder, "no event names these audit files")
            continue
        for name, key in (("digest", "revision_digest"), ("resolutions_digest", "resolutions_digest")):
            if name in event and audited.document.get(key) != event[name]:
                yield Disagreement(audited.folder, f"its {key} is not that of the event which names it")


def _open_identities() -> Iterator[str]:
    """Of requests that people can still close: until then what was lost of them is named."""
    open_ones = ChangeRequest.objects.filter(status__in=OPEN_STATUSES)
    yield from open_ones.values_list("identity", flat=True)
