"""Questions about notifications; nothing here writes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db.models import Count, Max, Q, QuerySet

from changerequests.models import Comment
from datasets.roles import datasets_with_role
from notifications.kinds import DEFAULT_WAYS, Kind, Way
from notifications.last_read import LastRead
from notifications.models import Notification, NotificationSetting
from notifications.news import News


def ways_of(people: Collection[int]) -> dict[int, dict[Kind, Way]]:
    """How each of some people is told of each kind."""
    found: dict[int, dict[Kind, Way]] = {person: dict(DEFAULT_WAYS) for person in people}
    chosen = NotificationSetting.objects.filter(person__in=people)
    for person, kind, way in chosen.values_list("person", "kind", "way"):
        found[person][Kind(kind)] = Way(way)
    return found


def inbox_of(person: User) -> QuerySet[Notification]:
    """Everything that the person was told and may still see, newest first."""
    visible = Q(dataset__isnull=True) | Q(dataset__in=datasets_with_role(person).values("pk"))
    found = Notification.objects.filter(visible, person=person).order_by("-pk")
    return found.select_related("event", "change_request", "dataset__project")


def unread_of(person: User) -> QuerySet[Notification]:
    """What of it they have not read."""
    return inbox_of(person).filter(read_at__isnull=True)


@dataclass(frozen=True)
class Unread:
    """How much a person has not read, and the newest of it as streams name it; 0 where there is none."""

    count: int = 0
    newest: str = "0"


def unread_news_of(person: User) -> Unread:
    """What a bell shows, in one statement."""
    found = (
        unread_of(person).order_by().aggregate(count=Count("pk"), number=Max("pk"), moment=Max("created_at"))
    )
    if not found["count"]:
        return Unread()
    return Unread(found["count"], LastRead(found["number"], found["moment"]).name())


def words_of(news: News) -> str:
    """What somebody wrote with it: a comment, a verdict's text, a description, a reason for closing; empty for none."""
    if news.action == "comment.added":
        written = Comment.objects.filter(pk=news.data["comment"]).values_list("body", flat=True).first()
        return written or ""
    if news.action.startswith("review."):
        return str(news.data.get("body") or "")
    if news.action in ("change_request.created", "change_request.edited") and news.change_request is not None:
        return news.change_request.description
    if news.action == "change_request.rejected":
        return str(news.data.get("reason") or "")
    return ""
