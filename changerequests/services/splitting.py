"""Partial acceptance: what a reviewer leaves out becomes a draft of its author, the rest goes on as a new revision."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from django.contrib.auth.models import User
from django.db import transaction

import merging
from changerequests import selectors
from changerequests.errors import PlanChanged
from changerequests.facts import facts_of
from changerequests.models import ChangeRequest, Revision
from changerequests.policies import require
from changerequests.services import plans, proposals, storage
from changerequests.services.locks import lock_change_request
from changerequests.services.seen import require_revision
from changerequests.services.trail import record_event
from changerequests.states import Action, Status
from datasets.errors import InvalidInput, NotFound
from datasets.rows import column_types, storable, typed_key

#: Rows that are named one by one; more are left out by a filter.
MOST_KEYS: Final = 10_000


@dataclass(frozen=True)
class SplitRequest:
    """A request that was parted: the draft with what was left out, and the revision with what stays."""

    change_request: ChangeRequest
    revision: Revision
    follow_up: ChangeRequest


def left_out(
    change_request: ChangeRequest,
    *,
    rows: Sequence[Mapping[str, Any]] = (),
    groups: Sequence[merging.ChangesFilter] = (),
    columns: Sequence[str] = (),
) -> merging.LeftOut:
    """What shall be left out: rows by their keys (JSON values), all rows of groups, columns of updated rows.

    Raises ``InvalidInput`` where nothing is named, for groups of everything, and for keys that do not fit.
    """
    dataset = change_request.dataset
    if not (rows or groups or columns):
        raise _wrong("rows", "Choose rows, groups or columns to leave out.")
    if len(rows) > MOST_KEYS:
        raise _wrong("rows", f"Name up to {MOST_KEYS:,} rows one by one, or leave them out by a filter.")
    if any(one.lets_all_through for one in groups):
        raise _wrong("groups", "A group names what its rows have in common.")
    types, keys = column_types(dataset.meta.schema_json), set(dataset.primary_keys)
    for row in rows:
        if row.keys() != keys:
            raise _wrong("rows", f"Name exactly the key columns: {', '.join(dataset.primary_keys)}.")
    return merging.LeftOut(tuple(typed_key(row, types) for row in rows), tuple(groups), tuple(columns))


def preview(*, change_request: ChangeRequest, leaving: merging.LeftOut) -> merging.SplitCounts:
    """What leaving it out would do, in numbers. Raises ``NotFound`` without content, ``InvalidInput`` as ``split``."""
    revision = _revision(change_request)
    with plans.naming_missing_content(change_request, revision), _as_input():
        return merging.split_counts(storage.content_of(revision), leaving)


def leave_out(
    *,
    change_request_id: int,
    actor: User,
    leaving: merging.LeftOut,
    reason: str,
    revision_digest: str = "",
) -> SplitRequest:
    """Part a pending request: what is left out goes to a new draft of its author on the same base, the rest stays as a
    new revision, which needs approvals of its own. For whoever may review it. Two revisions and one draft, or nothing.

    Raises what the policies say of ``Action.SPLIT``, ``InvalidInput`` without a reason or where not both parts have
    something, ``PlanChanged`` where the content is not that of ``revision_digest``, or is another once it is parted.
    """
    if not reason.strip():
        raise _wrong("reason", "Say why you leave this out; the author will read it.")
    change_request = ChangeRequest.objects.select_related("dataset__meta", "dataset__project").get(
        pk=change_request_id
    )
    require(facts_of(change_request, actor), Action.SPLIT)
    revision = _revision(change_request)
    if revision_digest:
        require_revision(revision, revision_digest, looked="opened the page", then="leave out")
    with _parts(change_request, revision, leaving) as parts, transaction.atomic():
        change_request = lock_change_request(change_request_id)
        facts = facts_of(change_request, actor)
        require(facts, Action.SPLIT)
        if facts.revision is not None and facts.revision != revision:
            require_revision(facts.revision, revision.digest, looked="opened the page", then="leave out")
            raise PlanChanged(
                "The base was refreshed meanwhile. Look again, then leave out.", moved="revision"
            )
        return _adopt(change_request, actor, revision, parts, storable(reason.strip()))


def _adopt(
    change_request: ChangeRequest, actor: User, revision: Revision, parts: merging.Split, reason: str
) -> SplitRequest:
    cr_id = change_request.cr_id
    follow_up = proposals.draft_of_rest(
        change_request,
        title=f"Left out of {cr_id}: {change_request.title}",
        description=f"Left out of {cr_id}, revision {revision.number}: {reason}",
    )
    moved: list[merging.Staged] = []
    try:
        kept = _moved(parts.kept, change_request, moved)
        left = _moved(parts.left, follow_up, moved)
        told = {"reason": reason, "rows_kept": kept.rows, "rows_left_out": left.rows}
        made = proposals.make_current(
            change_request,
            actor,
            kept,
            file_name=revision.file_name,
            split_from=revision,
            facts={"part": "kept"},
        )
        proposals.make_current(
            follow_up,
            actor,
            left,
            file_name=revision.file_name,
            split_from=revision,
            facts={"part": "left out"},
        )
        record_event(
            change_request,
            "change_request.split",
            actor,
            {
                **told,
                "follow_up": follow_up.cr_id,
                "revision": made.number,
                "previous_digest": revision.digest,
            },
        )
        record_event(follow_up, "change_request.split_off", actor, {**told, "split_from": cr_id})
    except BaseException:
        for content in moved:
            storage.discard_content(content)
        raise
    return SplitRequest(change_request, made, follow_up)


@contextmanager
def _parts(
    change_request: ChangeRequest, revision: Revision, leaving: merging.LeftOut
) -> Iterator[merging.Split]:
    """Both parts as staged content, in a folder that goes with the block."""
    folder = storage.workplace(storage.PARTS)
    try:
        with plans.naming_missing_content(change_request, revision), _as_input():
            parts = merging.split(storage.content_of(revision), leaving, str(folder))
        yield parts
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _moved(
    staged: merging.Staged, change_request: ChangeRequest, moved: list[merging.Staged]
) -> merging.Staged:
    content = storage.adopt(change_request, staged)
    moved.append(content)
    return content


def _revision(change_request: ChangeRequest) -> Revision:
    revision = selectors.current_revision(change_request)
    if revision is None or change_request.status == Status.MERGED:
        raise NotFound(f"{change_request.cr_id} has no content of which something could be left out.")
    return revision


@contextmanager
def _as_input() -> Iterator[None]:
    """What does not fit the content, as what was sent wrongly."""
    try:
        yield
    except merging.InvalidFilter as error:
        raise _wrong("columns" if "column" in error.data else "rows", error.message) from error


def _wrong(field: str, sentence: str) -> InvalidInput:
    return InvalidInput(sentence, errors={field: [sentence]})
