"""News: an event of the trail with the things that it is about, as everybody who is told looks at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from changerequests.models import ChangeRequest
from datasets.models import Dataset, Project


@dataclass(frozen=True)
class News:
    """What happened. ``change_request``, ``dataset`` and ``project`` are there as far as it is about one.

    ``data`` is that of the event: names and numbers, never values of rows. ``actor`` is a user name, empty for the
    system.
    """

    event_id: int
    told_as: str
    action: str
    occurred_at: datetime
    actor: str
    subject_type: str
    subject_id: str
    data: Mapping[str, Any]
    change_request: ChangeRequest | None = None
    dataset: Dataset | None = None
    project: Project | None = None


def news_of(event: Any) -> News:
    """The event with what it is about, as far as that is still there."""
    change_request = _change_request_of(event)
    dataset = change_request.dataset if change_request is not None else _dataset_of(event)
    return News(
        event_id=event.pk,
        told_as=event.told_as,
        action=event.action,
        occurred_at=event.occurred_at,
        actor=event.actor,
        subject_type=event.subject_type,
        subject_id=event.subject_id,
        data=event.data,
        change_request=change_request,
        dataset=dataset,
        project=dataset.project if dataset is not None else _project_of(event),
    )


def _change_request_of(event: Any) -> ChangeRequest | None:
    if event.subject_type != "change_request":
        return None
    found = ChangeRequest.objects.select_related("dataset__project", "author")
    return found.filter(pk=ChangeRequest.pk_of(event.subject_id) or 0).first()


def _dataset_of(event: Any) -> Dataset | None:
    kind, _, number = event.stream.partition(":")
    if kind != "dataset":
        return None
    return Dataset.objects.select_related("project").filter(pk=int(number)).first()


def _project_of(event: Any) -> Project | None:
    if event.subject_type != "project" or not event.subject_id.isdigit():
        return None
    return Project.objects.filter(pk=int(event.subject_id)).first()
