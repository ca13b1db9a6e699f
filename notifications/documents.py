"""News as receivers of webhooks read them: one document for programs, one message for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from datasets.models import Dataset, Project
from notifications.formats import Message
from notifications.links import absolute
from notifications.news import News

#: The kind of a document that tells of nothing but itself.
TRIAL: Final = "ping"

#: What people are told, behind the name of whoever did it. Other news are for programs.
_SENTENCES: Final[Mapping[str, str]] = {
    "change_request.created": "opened {subject} as a draft",
    "change_request.submitted": "asks for review of {subject}",
    "change_request.returned_to_draft": "took {subject} back to draft",
    "change_request.rejected": "rejected {subject}",
    "change_request.withdrawn": "withdrew {subject}",
    "change_request.reopened": "opened {subject} again",
    "change_request.merged": "merged {subject}",
    "change_request.reverted": "reverted {subject}",
    "review.approved": "approved {subject}",
    "review.changes_requested": "asked for changes to {subject}",
    "review.commented": "reviewed {subject}",
    "comment.added": "commented on {subject}",
    "merge.conflicted": "stopped the merge of {subject}: it conflicts with newer changes of the table",
    "merge.invalid": "stopped the merge of {subject}: the merged result broke a rule",
    "merge.failed": "could not finish the merge of {subject}; the table is as it was",
    "merge.differs": "found that the table is not what {subject} planned; an operator has to look",
    "expectations.overridden": "answered for broken expectations of {subject}",
    "dataset.registered": "registered {subject}",
    "dataset.settings_changed": "changed the settings of {subject}",
    "dataset.suite_saved": "changed what is expected of {subject}",
}


def is_for_people(action: str) -> bool:
    """Whether people are told of it."""
    return action in _SENTENCES


def document_of(news: News) -> dict[str, Any]:
    """What programs read; ``id`` is the same wherever and whenever this is told."""
    request = news.change_request
    links = _links(news)
    told: dict[str, Any] = {
        "id": str(news.event_id),
        "kind": news.action,
        "occurred_at": news.occurred_at,
        "project": _named(news.project),
        "dataset": _named(news.dataset),
        "actor": news.actor,
        "data": news.data,
        "links": links,
    }
    if request is not None:
        told["change_request"] = {
            "cr_id": request.cr_id,
            "title": request.title,
            "status": request.status,
            "author": request.author.get_username(),
        }
    return told


def message_of(news: News) -> Message:
    """What people read."""
    request = news.change_request
    subject = (
        request.cr_id if request is not None else news.dataset.name if news.dataset is not None else "this"
    )
    sentence = _SENTENCES.get(
        news.action, f"{news.action.replace('_', ' ').replace('.', ': ')} ({{subject}})"
    )
    places = [place.name for place in (news.project, news.dataset) if place is not None]
    return Message(
        sentence=f"{news.actor or 'Headgate'} {sentence.replace('{subject}', subject)}",
        title=request.title if request is not None else "",
        place=" / ".join(places),
        link=_links(news).get("page", ""),
        link_text=f"Open {request.cr_id}" if request is not None else "Open in Headgate",
    )


def trial_document(trial: str, place: Project | Dataset) -> dict[str, Any]:
    """What a program reads of a trial."""
    project, dataset = _both(place)
    return {
        "id": trial,
        "kind": TRIAL,
        "project": _named(project),
        "dataset": _named(dataset),
        "actor": "",
        "data": {},
        "links": {"page": absolute("project", project.slug)},
    }


def trial_message(place: Project | Dataset, name: str) -> Message:
    """What people read of a trial."""
    project, dataset = _both(place)
    return Message(
        sentence=f"Headgate tries out the webhook {name}. It works.",
        place=" / ".join(one.name for one in (project, dataset) if one is not None),
        link=absolute("project", project.slug),
    )


def _both(place: Project | Dataset) -> tuple[Project, Dataset | None]:
    return (place.project, place) if isinstance(place, Dataset) else (place, None)


def _named(place: Project | Dataset | None) -> dict[str, Any] | None:
    return None if place is None else {"id": place.pk, "slug": place.slug, "name": place.name}


def _links(news: News) -> dict[str, str]:
    if news.change_request is not None:
        cr_id = news.change_request.cr_id
        return {"page": absolute("change_request", cr_id), "api": absolute("api:change-request", cr_id)}
    if news.dataset is not None and news.project is not None:
        page = absolute("dataset", news.project.slug, news.dataset.slug)
        return {"page": page, "api": absolute("api:dataset", news.dataset.pk)}
    if news.project is not None:
        return {
            "page": absolute("project", news.project.slug),
            "api": absolute("api:project", news.project.slug),
        }
    return {}
