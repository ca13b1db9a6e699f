"""What happened as a line for inboxes and subjects. Pure, and without values of rows."""

from __future__ import annotations

from typing import Final

from notifications.news import News

#: The rest of a sentence that begins with who did it.
_DID: Final = {
    "change_request.created": "mentioned you in {request}",
    "change_request.edited": "edited {request}",
    "change_request.submitted": "submitted {request} for review",
    "change_request.returned_to_draft": "took {request} back to work on it",
    "change_request.withdrawn": "withdrew {request}",
    "change_request.rejected": "rejected {request}",
    "change_request.reopened": "reopened {request}",
    "change_request.revert_opened": "proposes to revert {request}",
    "change_request.reverted": "reverted {request}",
    "change_request.merged": "merged {request}",
    "review.requested": "asks for a review of {request}",
    "review.approved": "approved {request}",
    "review.changes_requested": "asks for changes to {request}",
    "review.commented": "reviewed {request}",
    "comment.added": "commented on {request}",
    "thread.resolved": "resolved a discussion on {request}",
    "thread.reopened": "reopened a discussion on {request}",
    "revision.staged": "uploaded new content to {request}",
    "revision.rebased": "updated {request} to the table of today",
    "conflicts.resolved": "chose values for conflicts of {request}",
    "conflicts.undone": "took back choices for conflicts of {request}",
    "expectations.overridden": "answers for expectations that {request} breaks",
    "merge.cancelled": "cancelled the merge of {request}",
    "operator.cancelled": "cancelled the merge of {request}",
    "dataset.settings_changed": "changed the settings of {dataset}",
    "dataset.suite_saved": "changed the expectations of {dataset}",
    "member.role_set": "changed your role on {place}",
    "account.password_changed": "changed your password",
    "operator.made": "made you an operator",
}
#: Whole sentences, of what nobody did.
_HAPPENED: Final = {
    "merge.conflicted": "The merge of {request} found conflicts",
    "merge.invalid": "The merge of {request} breaks expectations",
    "merge.failed": "The merge of {request} failed",
    "merge.when_ready_dropped": "The waiting merge of {request} was given up",
    "merge.unsettled": "It is not known yet whether {request} was merged",
    "merge.differs": "The table is not what the merge of {request} planned",
    "maintenance.failed": "Maintenance of {dataset} failed",
    "webhook.stopped": "The webhook {webhook} of {place} was switched off: it took nothing any more",
}


def headline(news: News) -> str:
    """One sentence without its full stop, for example ``ada approved CR-7 Fix the seats``."""
    request = news.change_request
    parts = {
        "request": f"{request.cr_id} {request.title}" if request is not None else news.subject_id,
        "dataset": news.dataset.name if news.dataset is not None else "a dataset",
        "place": _place(news),
        "webhook": str(news.data.get("name", "")),
    }
    if news.action in _HAPPENED:
        return _HAPPENED[news.action].format(**parts)
    done = _DID.get(news.action, news.action.replace(".", " ").replace("_", " ")).format(**parts)
    return f"{news.actor or 'Headgate'} {done}"


def _place(news: News) -> str:
    if news.dataset is not None:
        return news.dataset.name
    return news.project.name if news.project is not None else "a project"
