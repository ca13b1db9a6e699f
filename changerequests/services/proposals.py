"""From an idea to a pending request: create, take content up, submit, take back, close, reopen."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

import merging
from changerequests import queue
from changerequests.blockers import Blocker
from changerequests.errors import Blocked, RequestChanged
from changerequests.facts import facts_of
from changerequests.models import ChangeRequest, Revision, Upload
from changerequests.policies import require
from changerequests.services import storage
from changerequests.services.evidence import REQUEST, REVISION
from changerequests.services.locks import lock_change_request
from changerequests.services.trail import record_event, take_transition, touch, withdraw_merge_when_ready
from changerequests.states import ACTIVE_UPLOAD_STATUSES, Action, Status
from datasets.errors import Forbidden, InvalidInput
from datasets.evidence import REMOVED
from datasets.models import Dataset
from datasets.roles import may_contribute
from datasets.rows import storable


def create_change_request(
    *,
    dataset: Dataset,
    author: User,
    title: str,
    description: str = "",
    merge_schema: bool = True,
    reverts: ChangeRequest | None = None,
) -> ChangeRequest:
    """Begin a draft. Raises ``Forbidden`` for people who may not propose, ``InvalidInput`` without a title."""
    title = proposable(dataset, author, title)
    with transaction.atomic():
        change_request = ChangeRequest.objects.create(
            dataset=dataset,
            author=author,
            title=title,
            description=description,
            merge_schema=merge_schema,
            reverts=reverts,
        )
        facts = {"title": title, **({"reverts": reverts.cr_id} if reverts else {})}
        rows = REQUEST.seal(change_request)
        record_event(change_request, "change_request.created", author, facts, rows=rows)
    return change_request


def draft_of_rest(change_request: ChangeRequest, *, title: str, description: str) -> ChangeRequest:
    """A draft of a request's author for what was left out of it, in the surrounding transaction. Nobody opened it
    themselves, so its entry names the system; it is the author's even where they may not propose any more.
    """
    made = ChangeRequest.objects.create(
        dataset=change_request.dataset,
        author=change_request.author,
        title=title[:200],
        description=description,
        merge_schema=change_request.merge_schema,
    )
    facts = {"title": made.title, "split_from": change_request.cr_id}
    record_event(made, "change_request.created", None, facts, rows=REQUEST.seal(made))
    return made


def edit(
    *,
    change_request_id: int,
    actor: User,
    title: str | None = None,
    description: str | None = None,
    edited: Collection[str] = (),
) -> ChangeRequest:
    """Change the title or description of a draft or pending request. For its author and owners.

    ``edited`` are digests of the words that the actor looked at (``words_digest``): ``RequestChanged`` where they are
    others by now.
    """
    with transaction.atomic():
        change_request = lock_change_request(change_request_id)
        require(facts_of(change_request, actor), Action.EDIT)
        if edited and words_digest(change_request) not in edited:
            raise RequestChanged(
                f"Somebody else changed the title or description of {change_request.cr_id} meanwhile. Read it again."
            )
        wanted = {
            "title": change_request.title if title is None else _fitting(title),
            "description": change_request.description if description is None else storable(description),
        }
        before = {name: getattr(change_request, name) for name in wanted}
        changed = [name for name, value in wanted.items() if value != before[name]]
        if not changed:
            return change_request
        for name in changed:
            setattr(change_request, name, wanted[name])
        change_request.save(update_fields=[*changed, "updated_at"])
        facts = {
            "before": {name: before[name] for name in changed},
            "after": {name: wanted[name] for name in changed},
        }
        record_event(change_request, "change_request.edited", actor, facts, rows=REQUEST.seal(change_request))
    return change_request


def words_digest(change_request: ChangeRequest) -> str:
    """A name for the title and description as they stand."""
    words = f"{len(change_request.title)} {change_request.title} {change_request.description}"
    return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def remove_draft(*, change_request_id: int, actor: User) -> None:
    """Remove a draft that never had content, for good. For its author and owners.

    Raises ``Blocked`` where it had some, is being read some, or where somebody has commented on it.
    """
    with transaction.atomic():
        change_request = lock_change_request(change_request_id)
        require(facts_of(change_request, actor), Action.REMOVE)
        if not remove_if_empty(change_request, actor):
            sentence = f"{change_request.cr_id} had content, has comments, or is given content now. Close it instead."
            raise Blocked(sentence, [Blocker("has_content", "fix", sentence, "conversation")])


def remove_if_empty(
    change_request: ChangeRequest, actor: User | None, facts: Mapping[str, Any] | None = None
) -> bool:
    """Remove a locked draft that never had content and that nobody has commented on; False where it is not such a one.

    What was uploaded to it in vain stays, without a request.
    """
    if change_request.status != Status.DRAFT or _is_in_use(change_request):
        return False
    record_event(
        change_request,
        "change_request.removed",
        actor,
        {"title": change_request.title, **(facts or {})},
        rows={REQUEST.called(change_request.pk): REMOVED},
    )
    uploaded = Upload.objects.filter(change_request=change_request)
    uploaded.update(change_request=None, title=change_request.title)
    change_request.delete()
    return True


def _is_in_use(change_request: ChangeRequest) -> bool:
    return (
        change_request.revisions.exists()
        or change_request.comments.exists()
        or change_request.uploads.filter(status__in=ACTIVE_UPLOAD_STATUSES).exists()
    )


def proposable(dataset: Dataset, author: User, title: str) -> str:
    """The title, where the person may propose under it."""
    if not may_contribute(author, dataset):
        raise Forbidden(
            f"You may not propose changes to {dataset.name}. An owner of the dataset can let you."
        )
    return _fitting(title)


def _fitting(title: str) -> str:
    title = title.strip()
    if not title:
        raise InvalidInput(
            "Give the change request a title.", errors={"title": ["Give the change request a title."]}
        )
    if len(title) > 200:
        sentence = f"The title has {len(title)} characters; 200 are possible."
        raise InvalidInput(sentence, errors={"title": [sentence]})
    return title


def changes_nothing(staged: merging.Staged) -> bool:
    """Whether the content leaves the table as it is."""
    return not staged.rows and not staged.new_columns


def nothing_in(staged: merging.Staged) -> str:
    """A sentence on what was read of content that changes nothing."""
    read = staged.noop_rows + staged.duplicate_rows
    if not read:
        return "There is nothing to change: the upload names columns and has no rows."
    rows = "The row that was read equals" if read == 1 else f"All {read:,} rows that were read equal"
    return (
        f"There is nothing to change: {rows[0].lower()}{rows[1:]} the table at version {staged.base_version}."
    )


def make_current(
    change_request: ChangeRequest,
    actor: User,
    staged: merging.Staged,
    *,
    file_name: str = "",
    rebased_from: Revision | None = None,
    split_from: Revision | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Revision:
    """Make staged content the current revision of a locked request, in the surrounding transaction.

    What was made of ``rebased_from`` or is a part of ``split_from`` is its maker's. ``facts`` are told in the event
    beside what every revision tells.
    """
    made_of = rebased_from or split_from
    number = (change_request.revisions.aggregate(last=Max("number"))["last"] or 0) + 1
    if rebased_from is None or rebased_from.digest != staged.digest:
        withdraw_merge_when_ready(change_request, reason="It was asked for with other content.")
    touch(change_request)
    change_request.revisions.filter(is_current=True).update(is_current=False)
    revision = Revision.objects.create(
        change_request=change_request,
        number=number,
        location=storage.location_of(staged),
        digest=staged.digest,
        base_version=staged.base_version,
        table_id=staged.table_id,
        rows=staged.rows,
        rows_inserted=staged.counts.get("insert", 0),
        rows_updated=staged.counts.get("update", 0),
        rows_deleted=staged.counts.get("delete", 0),
        noop_rows=staged.noop_rows,
        columns=[name for name in staged.columns if name not in staged.primary_keys],
        cells_updated=dict(staged.cells_updated),
        new_columns=[{"name": name, "type": kind} for name, kind in staged.new_column_types.items()],
        warnings=storable([*staged.warnings, *([nothing_in(staged)] if changes_nothing(staged) else [])]),
        file_name=file_name[:255],
        rebased_from=rebased_from,
        split_from=split_from,
        # Whoever refreshes the base images or leaves a part out edits nothing: the content stays its maker's.
        created_by=made_of.created_by if made_of else actor,
    )
    record_event(
        change_request,
        "revision.rebased" if rebased_from else "revision.split" if split_from else "revision.staged",
        actor,
        {
            "revision": number,
            "digest": revision.digest,
            "base_version": revision.base_version,
            "rows": revision.rows,
            "rows_inserted": revision.rows_inserted,
            "rows_updated": revision.rows_updated,
            "rows_deleted": revision.rows_deleted,
            "noop_rows": revision.noop_rows,
            "file_name": revision.file_name,
            **(facts or {}),
        },
        rows=REVISION.seal(revision),
    )
    queue.ask_for_check(change_request.pk)
    return revision


def submit(*, change_request_id: int, actor: User) -> ChangeRequest:
    """Ask for review: draft -> pending. For the author and owners, once something is staged."""
    with transaction.atomic():
        change_request = lock_change_request(change_request_id)
        facts = facts_of(change_request, actor)
        require(facts, Action.SUBMIT)
        take_transition(change_request, Action.SUBMIT)
        record_event(
            change_request,
            "change_request.submitted",
            actor,
            {"revision": facts.revision.number if facts.revision else None},
        )
        check = facts.plan_check  # none: the upload has asked for it
        if check is not None and check.table_version < facts.dataset.meta.delta_version:
            queue.ask_for_check(change_request.pk)
    return change_request


def return_to_draft(*, change_request_id: int, actor: User) -> ChangeRequest:
    """Take a pending request back to work on it. For its author, while no merge is active."""
    with transaction.atomic():
        change_request = lock_change_request(change_request_id)
        require(facts_of(change_request, actor), Action.RETURN_TO_DRAFT)
        take_transition(change_request, Action.RETURN_TO_DRAFT)
        record_event(change_request, "change_request.returned_to_draft", actor)
    return change_request


def close(*, change_request_id: int, actor: User, reason: str = "") -> ChangeRequest:
    """Withdraw one's own request, or reject another's, which needs a reason."""
    with transaction.atomic():
        change_request = lock_change_request(change_request_id)
        require(facts_of(change_request, actor), Action.CLOSE)
        rejecting = change_request.author_id != actor.pk
        if rejecting and not reason.strip():
            sentence = "Say why you reject the change request; the author will read it."
            raise InvalidInput(sentence, errors={"reason": [sentence]})
        take_transition(change_request, Action.CLOSE, close_reason=reason.strip(), updated_at=timezone.now())
        record_event(
            change_request,
            "change_request.rejected" if rejecting else "change_request.withdrawn",
            actor,
            {"reason": reason.strip()},
        )
    return change_request


def reopen(*, change_request_id: int, actor: User) -> ChangeRequest:
    """Take a closed request up again as a draft."""
    with transaction.atomic():
        change_request = lock_change_request(change_request_id)
        if change_request.reverts_id is not None:
            lock_change_request(
                change_request.reverts_id
            )  # so that nobody opens another revert of it meanwhile
        require(facts_of(change_request, actor), Action.REOPEN)
        take_transition(change_request, Action.REOPEN, close_reason="", staging_removed_at=None)
        record_event(change_request, "change_request.reopened", actor)
    return change_request
