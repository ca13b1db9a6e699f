"""What happened, as a sentence: one table for inboxes, mails and channels. Pure, and without values of rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from notifications.kinds import Kind
from notifications.news import News


@dataclass(frozen=True)
class Wording:
    """How one action is told.

    ``sentence`` goes on behind the name of whoever did it, unless it is ``whole``; ``to_one`` is said in its place to
    whoever is told of it as the person whom it is about. ``in_channels``: whether Slack and Teams are told of it where
    nobody said which actions they want.
    """

    sentence: str
    to_one: str = ""
    whole: bool = False
    in_channels: bool = False


def _news(sentence: str) -> Wording:
    """Something that a whole team wants to know."""
    return Wording(sentence, in_channels=True)


def _happened(sentence: str, *, in_channels: bool = False) -> Wording:
    """Something that nobody did."""
    return Wording(sentence, whole=True, in_channels=in_channels)


WORDINGS: Final[Mapping[str, Wording]] = {
    "change_request.created": _news("opened {request} as a draft"),
    "change_request.edited": Wording("edited {request}"),
    "change_request.submitted": _news("submitted {request} for review"),
    "change_request.returned_to_draft": _news("took {request} back to work on it"),
    "change_request.withdrawn": _news("withdrew {request}"),
    "change_request.rejected": _news("rejected {request}"),
    "change_request.reopened": _news("reopened {request}"),
    "change_request.split": _news("left a part out of {request}"),
    "change_request.split_off": Wording("made {request} of what was left out of another request"),
    "change_request.revert_opened": Wording("proposes to revert {request}"),
    "change_request.reverted": _news("reverted {request}"),
    "change_request.merged": _news("merged {request}"),
    "review.requested": Wording("asks for a review of {request}"),
    "review.approved": _news("approved {request}"),
    "review.changes_requested": _news("asks for changes to {request}"),
    "review.commented": _news("reviewed {request}"),
    "comment.added": _news("commented on {request}"),
    "thread.resolved": Wording("resolved a discussion on {request}"),
    "thread.reopened": Wording("reopened a discussion on {request}"),
    "revision.staged": Wording("uploaded new content to {request}"),
    "revision.rebased": Wording("updated {request} to the table of today"),
    "conflicts.resolved": Wording("chose values for conflicts of {request}"),
    "conflicts.undone": Wording("took back choices for conflicts of {request}"),
    "expectations.overridden": _news("answers for expectations that {request} breaks"),
    "merge.conflicted": _happened("The merge of {request} found conflicts", in_channels=True),
    "merge.invalid": _happened("The merge of {request} breaks expectations", in_channels=True),
    "merge.failed": _happened("The merge of {request} failed; the table is as it was", in_channels=True),
    "merge.cancelled": Wording("cancelled the merge of {request}"),
    "merge.when_ready_dropped": _happened("The waiting merge of {request} was given up"),
    "merge.unsettled": _happened("It is not known yet whether {request} was merged"),
    "merge.differs": _happened("The table is not what the merge of {request} planned", in_channels=True),
    "operator.cancelled": Wording("cancelled the merge of {request}"),
    "dataset.registered": _news("registered {dataset}"),
    "dataset.settings_changed": _news("changed the settings of {dataset}"),
    "dataset.suite_saved": _news("changed the expectations of {dataset}"),
    "maintenance.failed": _happened("Maintenance of {dataset} failed"),
    "webhook.stopped": _happened(
        "The webhook {webhook} of {place} was switched off: it took nothing any more"
    ),
    "member.role_set": Wording(
        "changed the role of {member} on {place}", to_one="changed your role on {place}"
    ),
    "account.password_changed": Wording("changed a password", to_one="changed your password"),
    "operator.made": Wording("made {member} an operator", to_one="made you an operator"),
}
#: What is said of any action to whoever is told because they were mentioned in it.
_MENTIONED: Final = "mentioned you in {request}"


def headline(news: News, kind: Kind) -> str:
    """One sentence without its full stop for somebody's inbox: ``ada approved CR-7 Fix the seats``."""
    if kind is Kind.MENTIONED and news.change_request is not None:
        return _by(news, _filled(_MENTIONED, news, with_title=True))
    wording = _wording_of(news.action)
    sentence = wording.to_one if kind is Kind.ACCESS and wording.to_one else wording.sentence
    filled = _filled(sentence, news, with_title=True)
    return filled if wording.whole else _by(news, filled)


def channel_sentence(news: News) -> str:
    """The same for a channel, which has the title beside it: ``ada approved CR-7``."""
    wording = _wording_of(news.action)
    filled = _filled(wording.sentence, news, with_title=False)
    return filled if wording.whole else _by(news, filled)


def is_for_channels(action: str) -> bool:
    """Whether channels are told of it where nobody said which actions they want."""
    return action in WORDINGS and WORDINGS[action].in_channels


def _wording_of(action: str) -> Wording:
    """The words of an action; of one that is told to programs alone its own name."""
    return WORDINGS.get(action) or Wording(f"{action.replace('_', ' ').replace('.', ': ')} ({{subject}})")


def _by(news: News, done: str) -> str:
    return f"{news.actor or 'Headgate'} {done}"


def _filled(sentence: str, news: News, *, with_title: bool) -> str:
    request, dataset = news.change_request, news.dataset
    called = news.subject_id
    if request is not None:
        called = f"{request.cr_id} {request.title}" if with_title else request.cr_id
    parts = {
        "request": called,
        "dataset": dataset.name if dataset is not None else "a dataset",
        "place": _place(news),
        "subject": called if request is not None else _place(news),
        "webhook": str(news.data.get("name", "")),
        "member": str(news.data.get("member", "somebody")),
    }
    return sentence.format(**parts)


def _place(news: News) -> str:
    if news.dataset is not None:
        return news.dataset.name
    return news.project.name if news.project is not None else "a project"
