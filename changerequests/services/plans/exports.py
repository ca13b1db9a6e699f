"""Changes and conflicts as files: whole, while the database waits for nobody.

What a stream or a comparison needs of the database is read before it is handed out.
"""

from __future__ import annotations

from contextlib import ExitStack

import merging
from changerequests import selectors
from changerequests.models import ChangeRequest
from changerequests.services.plans.pages import revision_called, seen_choice
from changerequests.services.plans.planning import conflicts_of, naming_gone_content, naming_missing_content
from changerequests.services.storage import artefacts_of, content_of
from changerequests.states import Status
from datasets.errors import NotFound


def all_changes(change_request: ChangeRequest, number: int | None = None) -> merging.Differences:
    """What the request changes, or one revision of it: Base against Proposed; once merged, what the merge changed. To
    be closed by the caller.

    Raises ``NotFound`` for one without content, ``ContentGone``, ``ContentMissing`` and ``ContentMoved``.
    """
    current = selectors.current_revision(change_request)
    revision = current if number is None else revision_called(change_request, number)
    if revision is None:
        raise NotFound(f"Nothing was uploaded to {change_request.cr_id} yet.")
    if revision != current:
        with naming_gone_content(change_request, revision):
            return merging.changes_staged(content_of(revision))
    with naming_missing_content(change_request, revision):
        if change_request.status == Status.MERGED:
            return merging.changes_merged(artefacts_of(change_request))
        return merging.changes_staged(content_of(revision))


def compare_revisions(change_request: ChangeRequest, before: int, after: int) -> merging.Differences:
    """What two revisions of the request propose differently; to be closed by the caller.

    Raises ``NotFound`` and ``ContentGone``.
    """
    revisions = [revision_called(change_request, number) for number in (before, after)]
    for revision in revisions:
        with naming_gone_content(change_request, revision):
            merging.open_for_pages(content_of(revision))
    return merging.compare_staged(*(content_of(revision) for revision in revisions))


def all_conflicts(change_request: ChangeRequest, wanted: merging.ConflictFilter) -> merging.RowStream:
    """The conflicts of an open request with the table as it is now that a filter lets through, as rows of a file; to be
    closed by the caller. Raises as ``conflicts_of`` does, ``NotFound`` once the request is merged or closed.
    """
    if change_request.status not in (Status.DRAFT, Status.PENDING):
        raise NotFound(f"{change_request.cr_id} is not open: it has no conflicts.")
    with ExitStack() as opened:
        found = opened.enter_context(conflicts_of(change_request))
        found.count(wanted)  # says now what does not fit
        ending = opened.pop_all()
    return merging.stream_conflicts(found, wanted, seen=seen_choice, close=ending.close)
