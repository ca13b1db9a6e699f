"""Verdicts, comments and threads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from changerequests import queue, selectors
from changerequests.errors import InvalidTransition, PlanChanged
from changerequests.facts import facts_of
from changerequests.models import ChangeRequest, Comment, Review, Revision
from changerequests.policies import require
from changerequests.services import plans
from changerequests.services.evidence import COMMENT, REVIEW, THREAD
from changerequests.services.locks import lock_change_request
from changerequests.services.seen import require_revision
from changerequests.services.trail import record_event, touch
from changerequests.states import Action, Status
from datasets.errors import Forbidden, InvalidInput, NotFound
from datasets.roles import may_contribute
from datasets.rows import ChangedRow, column_types, keepable, same_value, typed_key, typed_value


def review(
    *,
    change_request_id: int,
    actor: User,
    verdict: str,
    body: str = "",
    revision_digest: str = "",
    resolutions_digest: str | None = None,
) -> Review:
    """Give a verdict on the current content and choices.

    ``revision_digest`` and ``resolutions_digest``, when given, must be those of the current content and choices: what
    was read is what is judged, else ``PlanChanged`` says what moved. Authors and last editors cannot approve
    (``Forbidden``).
    """
    if verdict not in Review.Verdict.values:
        raise InvalidInput(f"A verdict is one of {', '.join(Review.Verdict.values)}.")
    if verdict != Review.Verdict.APPROVE and not body.strip():
        sentence = "Write what you think should change, or what you noticed."
        raise InvalidInput(sentence, errors={"body": [sentence]})
    with transaction.atomic():
        change_request = lock_change_request(change_request_id)
        facts = facts_of(change_request, actor)
        require(facts, Action.REVIEW)
        revision = facts.revision
        if revision is None:
            raise InvalidInput("There is nothing to review: no changes were uploaded yet.")
        require_revision(revision, revision_digest, looked="opened the page", then="review")
        if resolutions_digest is not None and resolutions_digest != change_request.resolutions_digest:
            raise PlanChanged(_what_was_chosen(change_request), moved="choices")
        if verdict == Review.Verdict.APPROVE and facts.made_the_content:
            raise Forbidden("Your own changes need the approval of somebody else.")
        given = Review.objects.create(
            change_request=change_request,
            revision=revision,
            reviewer=actor,
            verdict=verdict,
            body=body.strip(),
            revision_digest=revision.digest,
            resolutions_digest=change_request.resolutions_digest,
        )
        touch(change_request)
        record_event(
            change_request,
            f"review.{_EVENTS[verdict]}",
            actor,
            {"revision": revision.number, "digest": revision.digest, "body": given.body},
            rows=REVIEW.seal(given),
        )
        _wake(change_request)
    return given


def _what_was_chosen(change_request: ChangeRequest) -> str:
    last = change_request.resolutions.filter(is_current=True).select_related("chosen_by").latest("pk")
    who = last.chosen_by.get_full_name() or last.chosen_by.get_username()
    return (
        f"{who} chose values for conflicts since you opened the page (last at {last.chosen_at:%Y-%m-%d %H:%M} UTC). "
        "Look at them, then review."
    )


_EVENTS = {"approve": "approved", "request_changes": "changes_requested", "comment": "commented"}


@dataclass(frozen=True)
class Suggestion:
    """Another value for a proposed cell, as JSON has it; None is NULL."""

    value: Any


def comment(
    *,
    change_request_id: int,
    actor: User,
    body: str,
    parent_id: int | None = None,
    row_key: Mapping[str, Any] | None = None,
    column: str = "",
    suggestion: Suggestion | None = None,
    revision_digest: str = "",
) -> Comment:
    """Say something about the request, a row or a cell, or answer a thread. For contributors and owners.

    ``row_key`` has JSON values for every key column. A remark on a row or cell remembers what the content that stands
    did there, so that it can be read once other content does. Raises ``InvalidInput`` where it is no key of the
    dataset, where neither the table nor the content has the column, and where a suggestion has no proposed cell to be
    for; ``PlanChanged`` where the content is not that of ``revision_digest`` any more.
    """
    if not body.strip() and suggestion is None:
        raise InvalidInput("Write a comment first.", errors={"body": ["Write a comment first."]})
    place = _place_of(change_request_id, row_key, column)
    with transaction.atomic():
        change_request = lock_change_request(change_request_id)
        if not may_contribute(actor, change_request.dataset):
            raise Forbidden("Viewers read; to comment you need the role of a contributor.")
        _refuse_unknown_column(change_request, column)
        current = selectors.current_revision(change_request)
        if revision_digest or suggestion is not None:
            seen = revision_digest or (place.revision.digest if place.revision else "")
            _require_seen(current, seen)
        parent = None
        if parent_id is not None:
            parent = change_request.comments.filter(pk=parent_id).first()
            if parent is None:
                raise NotFound("The comment that you answer is not there.")
            parent = parent.parent or parent
        written = Comment.objects.create(
            change_request=change_request,
            parent=parent,
            author=actor,
            body=body.strip(),
            row_key=keepable(place.key) if place.key else None,
            column=column,
            revision=place.revision,
            cell=place.cell,
            suggestion=_suggested(change_request, place, column, suggestion) if suggestion else None,
        )
        touch(change_request)
        record_event(
            change_request,
            "comment.added",
            actor,
            {"comment": written.pk, "parent": parent.pk if parent else None, "column": column},
            rows=COMMENT.seal(written),
        )
    return written


@dataclass(frozen=True)
class _Place:
    """What a remark is about: the key in its columns' types, and what the content did there when it was looked at."""

    key: dict[str, Any] | None = None
    revision: Revision | None = None
    row: ChangedRow | None = None
    cell: Any = None


def _place_of(change_request_id: int, row_key: Mapping[str, Any] | None, column: str) -> _Place:
    """Read outside of the transaction that writes: others need the request meanwhile."""
    if not row_key:
        return _Place()
    change_request = ChangeRequest.objects.select_related("dataset__meta").get(pk=change_request_id)
    key = _key_of(change_request, row_key)
    revision = selectors.current_revision(change_request)
    row = plans.staged_row(change_request=change_request, key=key) if revision is not None else None
    if row is None:
        return _Place(key, revision)
    cell: dict[str, Any] = {"operation": row.operation}
    if column:
        cell |= {"base": (row.before or {}).get(column), "proposed": (row.after or {}).get(column)}
    return _Place(key, revision, row, keepable(cell))


def _require_seen(current: Revision | None, seen: str) -> None:
    if current is not None:
        require_revision(current, seen, looked="looked at it", then="comment")


def _suggested(
    change_request: ChangeRequest, place: _Place, column: str, suggestion: Suggestion
) -> dict[str, Any]:
    """The suggestion as it is kept. Raises ``InvalidInput`` where no proposed cell is meant, or no other value."""

    def refuse(sentence: str) -> InvalidInput:
        return InvalidInput(sentence, errors={"suggestion": [sentence]})

    if change_request.status not in (Status.DRAFT, Status.PENDING):
        raise InvalidTransition(
            f"The change request is {change_request.status}; nothing is suggested any more."
        )
    if not column or column in change_request.dataset.primary_keys:
        raise refuse("A suggestion is for one cell: name the key of its row and a column that is no key.")
    if place.row is None or place.row.after is None or place.revision is None:
        raise refuse("The content proposes no value for this cell, so there is none to suggest another for.")
    new = {one["name"]: one["type"] for one in place.revision.new_columns}
    kind = {**column_types(change_request.dataset.meta.schema_json), **new}[column]
    try:
        value = None if suggestion.value is None else typed_value(suggestion.value, kind)
    except InvalidInput as error:
        raise refuse(error.message) from error
    if same_value(value, place.row.after.get(column)):
        raise refuse("This value is proposed already.")
    return {"value": keepable(value)}


def _key_of(change_request: ChangeRequest, key: Mapping[str, Any]) -> dict[str, Any]:
    """The key in the columns' types: one row is named in one way, however it was written."""
    dataset = change_request.dataset
    if set(key) != set(dataset.primary_keys):
        sentence = f"Name exactly the key columns: {', '.join(dataset.primary_keys)}."
        raise InvalidInput(sentence, errors={"row_key": [sentence]})
    return typed_key(key, column_types(dataset.meta.schema_json))


def _refuse_unknown_column(change_request: ChangeRequest, column: str) -> None:
    revision = selectors.current_revision(change_request)
    known = {*column_types(change_request.dataset.meta.schema_json), *(revision.columns if revision else ())}
    if column and column not in known:
        sentence = f"Neither the table nor the content has a column {column}."
        raise InvalidInput(sentence, errors={"column": [sentence]})


def settle_thread(*, comment_id: int, actor: User, resolved: bool = True) -> Comment:
    """Mark a discussion as resolved, or open it again."""
    with transaction.atomic():
        thread = Comment.objects.filter(pk=comment_id).first()
        if thread is None:
            raise NotFound("There is no such discussion.")
        change_request = lock_change_request(thread.change_request_id)
        if not may_contribute(actor, change_request.dataset):
            raise Forbidden("To settle a discussion you need the role of a contributor.")
        if thread.parent_id is not None:
            raise InvalidInput("Only a whole discussion is settled, not one answer in it.")
        thread.resolved_at = timezone.now() if resolved else None
        thread.resolved_by = actor if resolved else None
        thread.save(update_fields=["resolved_at", "resolved_by"])
        touch(change_request)
        record_event(
            change_request,
            "thread.resolved" if resolved else "thread.reopened",
            actor,
            {"comment": thread.pk},
            rows=THREAD.seal(thread),
        )
        _wake(change_request)
    return thread


def _wake(change_request: ChangeRequest) -> None:
    """What was said may have been the last thing that a merge waited for."""
    if change_request.merge_when_ready_by_id is not None:
        queue.ask_for_check(change_request.pk)
