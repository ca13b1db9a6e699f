"""Finding people and groups: for whoever gives roles or asks for a review.

People are found by whoever may know of them: who have a role on the same dataset or project. Operators find everybody.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django.contrib.auth.models import Group, User
from django.db.models import CharField, Q, QuerySet
from django.db.models.functions import Cast
from guardian.models import GroupObjectPermission, UserObjectPermission

from datasets.operators import is_operator
from datasets.roles import datasets_with_role, manages_members, visible_projects

#: How many are suggested.
SUGGESTED: Final = 8
#: As many words of a search count.
MOST_WORDS: Final = 6


def search(asker: User, words: str, limit: int = SUGGESTED) -> list[User]:
    """Active people whom the asker may know, by parts of their name or user name, in the order of user names.

    Every word must be found. Whoever gives roles finds them by e-mail, too.
    """
    return list(people_found(asker, words)[:limit])


def people_found(asker: User, words: str) -> QuerySet[User]:
    """All of whom ``search`` tells the first."""
    found = _known_to(asker)
    places = ["username", "first_name", "last_name", *(["email"] if manages_members(asker) else [])]
    for word in _parts(words):
        found = found.filter(_any(Q(**{f"{place}__icontains": word}) for place in places))
    return found.order_by("username")


def search_groups(asker: User, words: str, limit: int = SUGGESTED) -> list[Group]:
    """Groups that the asker may know, by parts of their name: all of them for whoever gives roles."""
    found = Group.objects.all()
    if not manages_members(asker):
        found = found.filter(Q(user=asker) | Q(pk__in=_holders(asker)[1])).distinct()
    for word in _parts(words):
        found = found.filter(name__icontains=word)
    return list(found.order_by("name")[:limit])


def called(asker: User, text: str) -> User | None:
    """The one active person of this user name; of this e-mail or name, where the asker knows one person alone by it.

    Whoever gives roles names anybody by user name and e-mail.
    """
    text = text.strip()
    if not text or "\x00" in text:
        return None
    known = User.objects.filter(is_active=True) if manages_members(asker) else _known_to(asker)
    exact = known.filter(username=text).first()
    if exact is not None:
        return exact
    if "@" in text:
        return _only(known.filter(email__iexact=text)) if manages_members(asker) else None
    return _only(
        one for one in people_found(asker, text) if one.get_full_name().casefold() == text.casefold()
    )


def _known_to(asker: User) -> QuerySet[User]:
    everybody = User.objects.filter(is_active=True)
    if asker.is_superuser or is_operator(asker):
        return everybody
    people, groups = _holders(asker)
    return everybody.filter(Q(pk=asker.pk) | Q(pk__in=people) | Q(groups__in=groups)).distinct()


def _holders(asker: User) -> tuple[QuerySet[Any], QuerySet[Any]]:
    """Who has a role of their own on a dataset or project that the asker may see: people and groups, by number."""
    held = Q()
    for model, targets in (("dataset", datasets_with_role(asker)), ("project", visible_projects(asker))):
        numbers = targets.order_by().annotate(as_text=Cast("pk", CharField())).values("as_text")
        held |= Q(permission__codename=f"view_{model}", object_pk__in=numbers)
    return (
        UserObjectPermission.objects.filter(held).values("user"),
        GroupObjectPermission.objects.filter(held).values("group"),
    )


def _parts(words: str) -> list[str]:
    return words.replace("\x00", "\ufffd").split()[:MOST_WORDS]  # which nobody is called


def _any(conditions: Iterable[Q]) -> Q:
    found = Q()
    for one in conditions:
        found |= one
    return found


def _only(found: Iterable[User]) -> User | None:
    first = [one for one, _ in zip(found, range(2), strict=False)]
    return first[0] if len(first) == 1 else None
