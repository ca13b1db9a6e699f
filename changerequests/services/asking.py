"""Asking for reviews: by name, or somebody of a group."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from django.contrib.auth.models import Group, User
from django.db import transaction

from changerequests.errors import InvalidTransition
from changerequests.models import ChangeRequest, ReviewRequest
from changerequests.services.locks import lock_change_request
from changerequests.services.trail import record_event
from changerequests.states import Status
from datasets.errors import Forbidden, InvalidInput, NotFound
from datasets.models import Dataset
from datasets.roles import Role, may_contribute, people_with_role

#: How many people and groups may be asked to review one request.
MOST_ASKED: Final = 50


def ask_for_review(
    *, change_request_id: int, actor: User, users: Collection[str] = (), groups: Collection[str] = ()
) -> list[ReviewRequest]:
    """Ask people by their user names, and groups by theirs, to review an open request; who was asked stays asked.

    Returns those who were not asked before. Raises ``InvalidInput`` naming everybody who cannot review it: the author,
    people without the role of a contributor, groups without a member who has it.
    """
    if not users and not groups:
        sentence = "Say who shall review it: the name of a person or of a group."
        raise InvalidInput(sentence, errors={"users": [sentence]})
    with transaction.atomic():
        change_request = lock_change_request(change_request_id)
        require_askable(change_request, actor)
        people = _people(change_request, sorted(set(users)))
        asked_groups = _groups(change_request.dataset, sorted(set(groups)))
        before = list(change_request.review_requests.all())
        asked = [
            *(
                ReviewRequest(change_request=change_request, reviewer=one, asked_by=actor)
                for one in people
                if one.pk not in {known.reviewer_id for known in before}
            ),
            *(
                ReviewRequest(change_request=change_request, group=one, asked_by=actor)
                for one in asked_groups
                if one.pk not in {known.group_id for known in before}
            ),
        ]
        if len(before) + len(asked) > MOST_ASKED:
            sentence = (
                f"{MOST_ASKED} people and groups can be asked at most; {len(before)} are asked already."
            )
            raise InvalidInput(sentence, errors={"users": [sentence]})
        for one in asked:
            one.save(force_insert=True)
        if asked:
            record_event(change_request, "review.requested", actor, _named(asked))
    return asked


def withdraw_review_request(*, change_request_id: int, review_request_id: int, actor: User) -> None:
    """Take back that somebody was asked. Raises ``NotFound`` where they are not asked any more."""
    with transaction.atomic():
        change_request = lock_change_request(change_request_id)
        require_askable(change_request, actor)
        asked = change_request.review_requests.filter(pk=review_request_id).first()
        if asked is None:
            raise NotFound("Nobody is asked by this request for a review; it may have been taken back.")
        told = _named([asked])
        asked.delete()
        record_event(change_request, "review.request_withdrawn", actor, told)


def require_askable(change_request: ChangeRequest, actor: User) -> None:
    """Raise ``Forbidden`` for viewers, and ``InvalidTransition`` where nothing is left to review."""
    if not may_contribute(actor, change_request.dataset):
        raise Forbidden("Viewers read; to ask for reviews you need the role of a contributor.")
    if change_request.status not in (Status.DRAFT, Status.PENDING):
        raise InvalidTransition(
            f"{change_request.cr_id} is {change_request.status}: there is nothing left to review."
        )


def _people(change_request: ChangeRequest, names: Sequence[str]) -> list[User]:
    found = {one.get_username(): one for one in User.objects.filter(username__in=names, is_active=True)}
    able = people_with_role([one.pk for one in found.values()], change_request.dataset, Role.CONTRIBUTOR)
    if change_request.author.get_username() in names:
        sentence = f"{change_request.author} wrote it, and cannot review it."
        raise InvalidInput(sentence, errors={"users": [sentence]})
    unable = [name for name in names if name not in found or found[name].pk not in able]
    if unable:
        sentence = (
            f"Nobody called {', '.join(unable)} may review changes to {change_request.dataset.name}: that takes the "
            "role of a contributor."
        )
        raise InvalidInput(sentence, errors={"users": [sentence]})
    return [found[name] for name in names]


def _groups(dataset: Dataset, names: Sequence[str]) -> list[Group]:
    found = {one.name: one for one in Group.objects.filter(name__in=names)}
    members = {
        name: list(group.user_set.filter(is_active=True).values_list("pk", flat=True))
        for name, group in found.items()
    }
    able = people_with_role({pk for pks in members.values() for pk in pks}, dataset, Role.CONTRIBUTOR)
    unable = [name for name in names if able.isdisjoint(members.get(name, ()))]
    if unable:
        sentence = (
            f"No group called {', '.join(unable)} has a member who may review changes to {dataset.name}: that takes "
            "the role of a contributor."
        )
        raise InvalidInput(sentence, errors={"groups": [sentence]})
    return [found[name] for name in names]


def _named(asked: Collection[ReviewRequest]) -> dict[str, list[str]]:
    return {
        "users": [one.name for one in asked if one.reviewer_id is not None],
        "groups": [one.name for one in asked if one.group_id is not None],
    }
