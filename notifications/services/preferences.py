"""How people want to be told: of each kind of news, and of single requests and datasets."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from changerequests.models import ChangeRequest
from datasets.errors import InvalidInput
from datasets.models import Dataset
from notifications.kinds import Kind, Way
from notifications.models import NotificationSetting, Subscription
from notifications.selectors import ways_of


def choose_ways(*, person: User, ways: Mapping[str, str]) -> None:
    """Choose how to be told of some kinds; the others stay as they are. Raises ``InvalidInput``."""
    wrong = [kind for kind, way in ways.items() if kind not in list(Kind) or way not in list(Way)]
    if wrong:
        errors = {kind: [f"Possible are {', '.join(Way)} for {', '.join(Kind)}."] for kind in wrong}
        raise InvalidInput(f"There is no such choice: {', '.join(wrong)}.", errors=errors)
    with transaction.atomic():
        for kind, way in ways.items():
            NotificationSetting.objects.update_or_create(person=person, kind=kind, defaults={"way": way})


def no_more_mail(*, person_id: int, kinds: Collection[Kind]) -> None:
    """Tell somebody of these kinds in their inbox alone, where they got mail: what a mail's own link does."""
    with transaction.atomic():
        ways = ways_of([person_id])[person_id]
        for kind in kinds:
            if ways[kind] in (Way.EMAIL, Way.DIGEST):
                NotificationSetting.objects.update_or_create(
                    person_id=person_id, kind=kind, defaults={"way": Way.INBOX}
                )


def subscribe(*, person: User, to: ChangeRequest | Dataset, level: str) -> None:
    """Watch, take part in or mute a request or dataset that the person may see. Raises ``InvalidInput``."""
    if level not in Subscription.Level.values:
        sentence = f"Possible are {', '.join(Subscription.Level.values)}."
        raise InvalidInput(sentence, errors={"level": [sentence]})
    Subscription.objects.update_or_create(person=person, **_thing(to), defaults={"level": level})


def unsubscribe(*, person: User, to: ChangeRequest | Dataset) -> None:
    """Forget the wish for a request or dataset: the default holds."""
    Subscription.objects.filter(person=person, **_thing(to)).delete()


def subscription_to(*, person: User, to: ChangeRequest | Dataset) -> str:
    """What the person wants to hear of it: their own wish, or the default."""
    found = Subscription.objects.filter(person=person, **_thing(to)).values_list("level", flat=True).first()
    return found or Subscription.Level.PARTICIPATING


def _thing(to: ChangeRequest | Dataset) -> dict[str, Any]:
    return {"change_request" if isinstance(to, ChangeRequest) else "dataset": to}
