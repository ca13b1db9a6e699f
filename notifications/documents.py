"""News as receivers of webhooks read them: one document for programs, one message for people."""

from __future__ import annotations

from typing import Any, Final

from datasets.models import Dataset, Project
from notifications.formats import Message
from notifications.links import absolute
from notifications.news import News
from notifications.wording import channel_sentence

#: The kind of a document that tells of nothing but itself.
TRIAL: Final = "ping"


def document_of(news: News) -> dict[str, Any]:
    """What programs read; ``id`` is the same wherever and whenever this is told."""
    request = news.change_request
    links = _links(news)
    told: dict[str, Any] = {
        "id": news.told_as,
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
    places = [place.name for place in (news.project, news.dataset) if place is not None]
    return Message(
        sentence=channel_sentence(news),
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
