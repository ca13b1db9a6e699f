"""Merges as the table's log knows them: by their transaction markers, and by what their commits tell.

A marker alone is never believed. Its application id names the request (``MergeRequest.identity``), its version the
generation; the commit that holds it tells the digests of what was merged, and only where they are the request's own is
the request merged. Other content is another merge, whatever its name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from merging.delta import FoundTransaction, Snapshot, open_snapshot, read_history
from merging.engines import EngineRead, EngineWrite
from merging.errors import MergedOtherwise, MergeFactsLost, TableChanged
from merging.executing.artefacts import find_summary
from merging.executing.results import CommittedMerge, MergeResult, VersionDiff
from merging.expectations.report import ValidationReport
from merging.model import Check, SchemaChange
from merging.sql.values import json_form
from merging.staging.staged import Staged, open_staged
from merging.threeway.request import MergeRequest, marker_name

#: Where a commit's information tells of our merge.
FACTS = "headgate"
#: The operation of a commit that holds nothing but the marker of the next generation.
SUPERSEDE = "SUPERSEDE"


def staged_digest_of(request: MergeRequest) -> str:
    """The digest of the content that the request stands for. Raises StagedCorrupt where nothing tells it any more."""
    if request.staged_digest:
        return request.staged_digest
    staged = request.staged
    return staged.digest if isinstance(staged, Staged) else open_staged(staged).digest


def resolutions_digest_of(request: MergeRequest) -> str:
    """The digest of the request's choices: the caller's own, else made here; empty where there are none."""
    if request.resolutions_digest is not None:
        return request.resolutions_digest
    if not request.resolutions:
        return ""
    chosen = sorted(
        json.dumps(
            [json_form(one.key), one.column or "", one.choice, json_form(one.value), one.inputs_digest],
            sort_keys=True,
        )
        for one in request.resolutions
    )
    return hashlib.sha256("\n".join(chosen).encode()).hexdigest()


def standing_marker(request: MergeRequest, snapshot: Snapshot) -> FoundTransaction | None:
    """The marker of this request's merge; None where it was not merged.

    Raises TableChanged where the log knows a newer generation, and MergedOtherwise where the marker's commit tells of
    other content.
    """
    found = snapshot.find_transaction(request.application_id)
    if found is None or found.version < request.generation:
        return None
    if found.version > request.generation:
        raise TableChanged(
            f"A newer attempt on {request.cr_id} (generation {found.version}) is in the table's log; "
            f"generation {request.generation} is out of date and was not merged.",
            data={"generation": request.generation, "newest_generation": found.version},
        )
    _require_same_content(request, found)
    return found


def _require_same_content(request: MergeRequest, found: FoundTransaction) -> None:
    """Raises MergedOtherwise where what the log (or, cleaned up, the attempt's artefacts) tells was other content."""
    facts = find_summary(request) if found.commit_info is None else found.commit_info.get(FACTS) or {}
    if facts is None:
        return  # neither tells any more: the identity, which nobody else has, is what is left
    expected = {
        "staged_digest": staged_digest_of(request),
        "resolutions_digest": resolutions_digest_of(request),
    }
    told = {name: facts[name] for name in expected if name in facts}
    if "staged_digest" in told and all(told[name] == expected[name] for name in told):
        return
    what = "choices" if told.get("staged_digest") == expected["staged_digest"] else "content"
    raise MergedOtherwise(
        f"The table's log says that {request.cr_id} was merged with other {what}"
        f"{f' as version {found.commit_version}' if found.commit_version is not None else ''}; what it "
        "holds now was not merged.",
        data={"version": found.commit_version, "expected": expected, "merged": told},
    )


def attempt_of(found: FoundTransaction) -> str | None:
    """The attempt that committed a marker, where the log still tells."""
    attempt = ((found.commit_info or {}).get(FACTS) or {}).get("attempt_id")
    return None if attempt is None else str(attempt)


def committed_merge(found: FoundTransaction) -> CommittedMerge:
    """A found marker for callers."""
    return CommittedMerge(found.commit_version, found.timestamp, attempt_of(found))


def find_merge(
    table_uri: str,
    identity: str,
    *,
    generation: int = 1,
    installation: str = "headgate",
    staged_digest: str = "",
    resolutions_digest: str | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> CommittedMerge | None:
    """The merge of a change request in the table's log, by its identity; None when there is none.

    With the digests of its content given, a merge of other content raises MergedOtherwise.
    """
    snapshot = open_snapshot(table_uri, storage_options=storage_options)
    found = snapshot.find_transaction(marker_name(installation, identity))
    # A newer generation says that this one is out of date, not merged.
    if found is None or found.version != generation:
        return None
    if staged_digest:
        named = MergeRequest(
            table_uri,
            identity,
            (),
            "",
            installation=installation,
            generation=generation,
            staged_digest=staged_digest,
            resolutions_digest=_told_choices(found) if resolutions_digest is None else resolutions_digest,
        )
        _require_same_content(named, found)
    return committed_merge(found)


def _told_choices(found: FoundTransaction) -> str:
    return str(((found.commit_info or {}).get(FACTS) or {}).get("resolutions_digest", ""))


def result_of(facts: Mapping[str, Any], version: int, *, already_merged: bool) -> MergeResult:
    """The result of a merge from the facts that its commit and its artefacts hold."""
    added, updated, deleted = (int(facts[name]) for name in ("rows_added", "rows_updated", "rows_deleted"))
    return MergeResult(
        merged_version=version,
        commit_id=f"v{version}",
        rows_affected=added + updated + deleted,
        diff=VersionDiff(int(facts["version_before"]), version, added, updated, deleted),
        cells_updated=dict(facts["cells_updated"]),
        strategy=facts["strategy"],
        already_merged=already_merged,
        bytes_written=int(facts["bytes_written"]),
        attempts=int(facts["attempts"]),
        attempt_id=facts["attempt_id"],
        rows_agreed=int(facts["rows_agreed"]),
        artefacts=facts["artefacts"],
        conflicts_overridden=int(facts["conflicts_overridden"]),
        schema_changes=tuple(SchemaChange(*one) for one in facts["schema_changes"]),
        validation=ValidationReport(tuple(Check(*check) for check in facts["validation"])),
        marker_only=bool(facts["marker_only"]),
        engine_version=facts["engine_version"],
        reads=tuple(EngineRead(**one) for one in facts.get("reads", ())),  # older commits tell none
        writes=tuple(EngineWrite(**one) for one in facts.get("writes", ())),
    )


def result_from_document(document: Mapping[str, Any]) -> MergeResult:
    """The result of a merge from the JSON values that were recorded of it (``merged_version``, ``diff``, …)."""
    return MergeResult(
        merged_version=int(document["merged_version"]),
        commit_id=str(document["commit_id"]),
        rows_affected=int(document["rows_affected"]),
        diff=VersionDiff(**document["diff"]),
        cells_updated=dict(document["cells_updated"]),
        strategy=str(document["strategy"]),
        already_merged=True,
        bytes_written=0,
        attempts=0,
        attempt_id="",
        rows_agreed=int(document["rows_agreed"]),
        conflicts_overridden=int(document["conflicts_overridden"]),
        schema_changes=tuple(SchemaChange(**change) for change in document["schema_changes"]),
        validation=ValidationReport(
            tuple(
                Check(one["name"], one["ok"], one["message"], one["failures"])
                for one in document["validation"]
            )
        ),
        engine_version=str(document["engine_version"]),
        reads=tuple(EngineRead(**one) for one in document.get("reads", ())),
        writes=tuple(EngineWrite(**one) for one in document.get("writes", ())),
    )


def rebuilt_result(request: MergeRequest, found: FoundTransaction) -> MergeResult:
    """The result of a merge that stands in the log, from what its commit tells.

    Where the commit's entry was cleaned up and only the marker is left, from the artefacts at the request's
    destination (attempts that did not commit leave none).
    Raises MergeFactsLost when neither tells.
    """
    facts = (found.commit_info or {}).get(FACTS)
    version = found.commit_version
    if facts is None or version is None:
        summary = find_summary(request)
        if summary is None:
            raise MergeFactsLost(
                f"{request.cr_id} is merged, but the commit that tells what it did is no longer in the table's log.",
                version=version,
            )
        facts, version = summary, int(summary["version"])
    return result_of(facts, version, already_merged=True)


@dataclass(frozen=True)
class LoggedMerge:
    """One transaction marker of an installation, with what its commit tells.

    ``kind`` is "merge", "superseded" (a marker that only locked out what came before it) or "unknown", where the
    commit is no longer in the log (``version`` and all that it told are empty then) or tells of no merge.
    """

    identity: str
    generation: int
    kind: Literal["merge", "superseded", "unknown"]
    version: int | None = None
    timestamp: datetime | None = None
    cr_id: str = ""
    user: str = ""
    message: str = ""
    staged_digest: str = ""
    resolutions_digest: str | None = None
    result: MergeResult | None = None


@dataclass(frozen=True)
class LoggedMerges:
    """Every marker that a table still holds. Commits below ``oldest_version`` are gone from its log.

    ``markers_expire`` tells that the table lets even markers go after a while: one that is missing proves nothing then.
    """

    table_id: str
    version: int
    oldest_version: int
    markers_expire: bool
    merges: tuple[LoggedMerge, ...]


def logged_merges(
    table_uri: str, installation: str, *, storage_options: Mapping[str, str] | None = None
) -> LoggedMerges:
    """All markers of an installation, oldest first; reads the whole log. Raises as ``inspect_table`` does."""
    snapshot = open_snapshot(table_uri, storage_options=storage_options)
    prefix = marker_name(installation, "")
    history = [
        one
        for one in read_history(table_uri, limit=None, storage_options=storage_options)
        if one.version <= snapshot.version
    ]
    found = [
        _logged(name.removeprefix(prefix), generation, one.version, one.timestamp, one.info)
        for one in reversed(history)
        for name, generation in one.transactions.items()
        if name.startswith(prefix)
    ]
    known = {(one.identity, one.generation) for one in found}
    left = [
        LoggedMerge(name.removeprefix(prefix), generation, "unknown")
        for name, (generation, _) in sorted(snapshot.state.transactions.items())
        if name.startswith(prefix)
    ]
    return LoggedMerges(
        table_id=snapshot.table_id,
        version=snapshot.version,
        oldest_version=min((one.version for one in history), default=snapshot.version + 1),
        markers_expire=snapshot.markers_expire,
        merges=tuple(
            _requests_only([one for one in left if (one.identity, one.generation) not in known] + found)
        ),
    )


def _requests_only(merges: list[LoggedMerge]) -> Iterator[LoggedMerge]:
    """Without the markers of maintenance, which are no request's."""
    return (one for one in merges if one.identity != "maintenance")


def _logged(
    identity: str, generation: int, version: int, timestamp: datetime, info: Mapping[str, Any]
) -> LoggedMerge:
    facts = info.get(FACTS) or {}
    merged = "staged_digest" in facts
    return LoggedMerge(
        identity=identity,
        generation=generation,
        kind="merge" if merged else "superseded" if info.get("operation") == SUPERSEDE else "unknown",
        version=version,
        timestamp=timestamp,
        cr_id=str(info.get("crId") or ""),
        user=str(info.get("userName") or ""),
        message=str(info.get("userMetadata") or ""),
        staged_digest=str(facts.get("staged_digest", "")),
        resolutions_digest=facts.get("resolutions_digest"),
        result=result_of(facts, version, already_merged=True) if merged else None,
    )
