"""Verdicts, comments and threads."""

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from changerequests import queue, selectors
from changerequests.errors import PlanChanged
from changerequests.facts import facts_of
from changerequests.models import ChangeRequest, Comment, Review
from changerequests.policies import require
from changerequests.services.evidence import COMMENT, REVIEW, THREAD
from changerequests.services.locks import lock_change_request
from changerequests.services.seen import require_revision
from changerequests.services.trail import record_event
from changerequests.states import Action
from datasets.errors import Forbidden, InvalidInput, NotFound
from datasets.roles import may_contribute
from datasets.rows import column_types, keepable, typed_key


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


def comment(
    *,
    change_request_id: int,
    actor: User,
    body: str,
    parent_id: int | None = None,
    row_key: Mapping[str, Any] | None = None,
    column: str = "",
) -> Comment:
    """Say something about the request, a row or a cell, or answer a thread. For contributors and owners.

    ``row_key`` has JSON values for every key column. Raises ``InvalidInput`` where it is no key of the dataset, or
    where neither the table nor the content has the column.
    """
    if not body.strip():
        raise InvalidInput("Write a comment first.", errors={"body": ["Write a comment first."]})
    with transaction.atomic():
        change_request = lock_change_request(change_request_id)
        if not may_contribute(actor, change_request.dataset):
            raise Forbidden("Viewers read; to comment you need the role of a contributor.")
        _refuse_unknown_column(change_request, column)
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
            row_key=keepable(_key_of(change_request, row_key)) if row_key else None,
            column=column,
        )
        record_event(
            change_request,
            "comment.added",
            actor,
            {"comment": written.pk, "parent": parent.pk if parent else None, "column": column},
            rows=COMMENT.seal(written),
        )
    return written


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
