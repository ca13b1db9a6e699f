"""Whom one may ask for a review: people and groups who may give one, found by parts of their names."""

from collections.abc import Collection
from dataclasses import dataclass

from django.contrib.auth.models import Group
from django.db.models import Q

from changerequests.facts import Facts
from datasets.roles import Role, holders_of, members_of
from web.wording import name_of

#: How many people, and how many groups, a page offers beside those that are chosen.
OFFERED = 12
#: As many words of a search count.
MOST_WORDS = 6


@dataclass(frozen=True)
class Candidate:
    """Somebody who can be asked, or a group."""

    name: str
    title: str
    is_chosen: bool


@dataclass(frozen=True)
class Candidates:
    """Who is offered; those who were chosen stay, whatever is looked for."""

    people: tuple[Candidate, ...]
    groups: tuple[Candidate, ...]


def candidates(
    facts: Facts, words: str, users: Collection[str] = (), groups: Collection[str] = ()
) -> Candidates:
    """Those who may review the request, are not asked yet and are called so; without words the first of all."""
    return Candidates(_people(facts, words, users), _groups(facts, words, groups))


def _people(facts: Facts, words: str, chosen: Collection[str]) -> tuple[Candidate, ...]:
    asked = [one.reviewer_id for one in facts.review_requests if one.reviewer_id is not None]
    able = holders_of(facts.dataset, Role.CONTRIBUTOR).exclude(
        pk__in=[facts.change_request.author_id, *asked]
    )
    found = able.order_by("username")
    for word in words.split()[:MOST_WORDS]:
        found = found.filter(
            Q(username__icontains=word) | Q(first_name__icontains=word) | Q(last_name__icontains=word)
        )
    kept = able.filter(username__in=chosen).order_by("username") if chosen else []
    shown = {one.pk: one for one in [*kept, *found[:OFFERED]]}
    return tuple(
        Candidate(one.get_username(), name_of(one), one.get_username() in chosen) for one in shown.values()
    )


def _groups(facts: Facts, words: str, chosen: Collection[str]) -> tuple[Candidate, ...]:
    asked = {one.group_id for one in facts.review_requests}
    names = sorted(
        {
            member.name
            for place in (facts.dataset, facts.dataset.project)
            for member, role in members_of(place)
            if isinstance(member, Group) and role is not Role.VIEWER and member.pk not in asked
        }
    )
    text = words.casefold()
    found = [name for name in names if text in name.casefold()][:OFFERED]
    kept = [name for name in chosen if name in names]
    return tuple(Candidate(name, name, name in chosen) for name in dict.fromkeys([*kept, *found]))
