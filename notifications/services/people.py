"""Telling people: their inbox, and a mail where they want one."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone

from changerequests.models import ChangeRequest
from changerequests.states import Status
from notifications.kinds import Way
from notifications.models import Notification
from notifications.news import News
from notifications.recipients import RULES, recipients
from notifications.selectors import ways_of
from notifications.services.circles import circle_of
from notifications.services.parcels import Parcel
from notifications.wording import headline


def parcels_for_people(news: News) -> Iterable[Parcel]:
    """Put the news into inboxes; a mail for each person who wants to be told at once."""
    if news.action not in RULES or _is_of_a_draft(news):
        return []
    told = recipients(news.action, circle_of(news))
    ways = ways_of({one.person for one in told})
    kept = [(one, ways[one.person][one.kind]) for one in told]
    made = Notification.objects.bulk_create(
        Notification(
            event_id=news.event_id,
            person_id=one.person,
            kind=one.kind,
            reason=one.reason,
            headline=headline(news, one.kind)[:600],
            change_request=news.change_request,
            dataset=news.dataset,
            for_digest=settings.SENDS_MAIL and way is Way.DIGEST,
        )
        for one, way in kept
        if way is not Way.OFF
    )
    at_once: Collection[int] = {one.person for one, way in kept if way is Way.EMAIL}
    if not settings.SENDS_MAIL:
        return []
    return [
        Parcel(f"mail:{one.person_id}", {"notifications": [one.pk]})
        for one in made
        if one.person_id in at_once
    ]


def told_of_merge(change_request: ChangeRequest, merger: User) -> list[User]:
    """Who else is told once the person has merged the request, by name."""
    news = News(
        event_id=0,
        told_as="",
        action="change_request.merged",
        occurred_at=timezone.now(),
        actor=merger.get_username(),
        subject_type="change_request",
        subject_id=change_request.cr_id,
        data={"asked_by": merger.get_username()},
        change_request=change_request,
        dataset=change_request.dataset,
        project=change_request.dataset.project,
    )
    told = recipients(news.action, circle_of(news))
    ways = ways_of({one.person for one in told})
    reached = {one.person for one in told if ways[one.person][one.kind] is not Way.OFF} - {merger.pk}
    return sorted(User.objects.filter(pk__in=reached), key=lambda user: user.get_full_name() or user.username)


def _is_of_a_draft(news: News) -> bool:
    """Content of drafts is nobody's news yet."""
    request = news.change_request
    return news.action in ("revision.staged", "revision.rebased") and (
        request is None or request.status == Status.DRAFT
    )
