"""Who stands how to a piece of news, as the database has it now: what recipients are chosen from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from django.contrib.auth.models import User
from django.db.models import Q

from changerequests import selectors
from changerequests.models import ChangeRequest, Comment, MergeRun
from changerequests.states import Status
from datasets.owners import owners_of
from datasets.roles import Role, people_with_role
from notifications.kinds import Reason
from notifications.mentions import mentioned_names
from notifications.models import Notification, Subscription
from notifications.news import News
from notifications.recipients import RULES, Circle
from notifications.selectors import words_of

Level = Subscription.Level


def circle_of(news: News) -> Circle:
    """Who is to be considered: only active people who may see the dataset, where it is about one."""
    found = {reason: frozenset(_FINDERS[reason](news)) for reason in RULES[news.action].reasons}
    everybody = {person for people in found.values() for person in people}
    if news.dataset is not None:
        there = people_with_role(everybody, news.dataset, Role.VIEWER)
    else:
        there = frozenset(User.objects.filter(pk__in=everybody, is_active=True).values_list("pk", flat=True))
    return Circle(
        actor=User.objects.filter(username=news.actor).values_list("pk", flat=True).first(),
        people={reason: people & there for reason, people in found.items()},
        muted=_muted(news),
    )


def _author(news: News) -> Iterable[int]:
    return [news.change_request.author_id] if news.change_request is not None else []


def _participants(news: News) -> Iterable[int]:
    request = news.change_request
    if request is None:
        return []
    return {
        *request.comments.order_by().values_list("author", flat=True),
        *request.reviews.order_by().values_list("reviewer", flat=True),
        *request.revisions.order_by().values_list("created_by", flat=True),
        *request.review_requests.filter(reviewer__isnull=False).values_list("reviewer", flat=True),
        *request.resolutions.filter(is_current=True)
        .order_by()
        .values_list("chosen_by", flat=True)
        .distinct(),
    }


def _asked_to_review(news: News) -> Iterable[int]:
    request = news.change_request
    if request is None or request.status != Status.PENDING:  # of a draft they are told when it is submitted
        return []
    asked = [one for one in selectors.review_requests_of([request.pk]) if not one.answered]
    if news.action == "review.requested":
        asked = [
            one
            for one in asked
            if one.name in news.data["users" if one.reviewer_id is not None else "groups"]
        ]
    groups = [one.group_id for one in asked if one.group_id is not None]
    members = User.objects.filter(groups__in=groups).exclude(pk=request.author_id)
    able = (
        people_with_role(set(members.values_list("pk", flat=True)), request.dataset, Role.CONTRIBUTOR)
        if groups
        else frozenset()
    )
    return {*able, *(one.reviewer_id for one in asked if one.reviewer_id is not None)}


def _mentioned(news: News) -> Iterable[int]:
    names = mentioned_names(words_of(news))
    people = set(User.objects.filter(username__in=names).values_list("pk", flat=True)) if names else set()
    if people and news.action == "change_request.edited":  # only those whom it did not mention before
        told = Notification.objects.filter(
            change_request=news.change_request, person__in=people, reason=Reason.MENTIONED
        )
        people -= set(told.values_list("person", flat=True))
    return people


def _mergers(news: News) -> Iterable[int]:
    if "asked_by" in news.data:
        return User.objects.filter(username=news.data["asked_by"]).values_list("pk", flat=True)
    run = news.data.get("run")
    return MergeRun.objects.filter(pk=run).values_list("requested_by", flat=True) if run else []


def _thread(news: News) -> Iterable[int]:
    first = news.data.get("parent") or news.data.get("comment")
    thread = Comment.objects.filter(Q(pk=first) | Q(parent=first)).order_by()
    return thread.values_list("author", flat=True)


def _owners(news: News) -> Iterable[int]:
    place = news.dataset or news.project
    return owners_of(place).values_list("pk", flat=True) if place is not None else []


def _watching(news: News) -> Iterable[int]:
    return _at_level(Level.WATCH, change_request=news.change_request) if news.change_request else []


def _watching_dataset(news: News) -> Iterable[int]:
    return _at_level(Level.WATCH, dataset=news.dataset) if news.dataset is not None else []


def _concerned(news: News) -> Iterable[int]:
    member = news.data.get("member", news.subject_id)
    if news.data.get("kind") == "group":
        return User.objects.filter(groups__name=member).values_list("pk", flat=True)
    return User.objects.filter(username=member).values_list("pk", flat=True)


def _muted(news: News) -> frozenset[int]:
    """Who muted the request, or its dataset without another wish for the request."""
    request, dataset = news.change_request, news.dataset
    of_request: Mapping[int, str] = _levels(change_request=request) if request is not None else {}
    of_dataset: Mapping[int, str] = _levels(dataset=dataset) if dataset is not None else {}
    return frozenset(person for person, level in {**of_dataset, **of_request}.items() if level == Level.MUTE)


def _levels(**thing: object) -> dict[int, str]:
    return dict(Subscription.objects.filter(**thing).values_list("person", "level"))


def _at_level(level: str, **thing: ChangeRequest | object) -> Iterable[int]:
    return Subscription.objects.filter(level=level, **thing).values_list("person", flat=True)


_FINDERS: Final[Mapping[Reason, Callable[[News], Iterable[int]]]] = {
    Reason.CONCERNED: _concerned,
    Reason.REVIEW_REQUESTED: _asked_to_review,
    Reason.MENTIONED: _mentioned,
    Reason.MERGER: _mergers,
    Reason.AUTHOR: _author,
    Reason.THREAD: _thread,
    Reason.PARTICIPANT: _participants,
    Reason.OWNER: _owners,
    Reason.WATCHING: _watching,
    Reason.WATCHING_DATASET: _watching_dataset,
}
