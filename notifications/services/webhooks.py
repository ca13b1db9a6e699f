"""Webhooks of datasets and projects: made, changed, tried out and removed by their owners; what they are told."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from audit.row_locks import locked
from datasets.durable_work import WorkStatus
from datasets.encryption import SecretUnreadable, encrypted, encrypted_anew
from datasets.errors import DomainError, Forbidden, InvalidInput, NotFound, SettingsChanged
from datasets.models import Dataset, Project
from datasets.roles import Role, role_on, visible_projects
from notifications.channels.reach import AddressRefused, require_possible
from notifications.channels.signing import new_secret
from notifications.channels.webhooks import record_webhook_event
from notifications.formats import Format
from notifications.models import Delivery, Webhook
from notifications.news import News
from notifications.services import delivering
from notifications.services.parcels import Parcel
from notifications.wording import is_for_channels

#: How many webhooks one dataset or project has.
MOST_WEBHOOKS: Final = 20
#: How long a secret signs on once it was replaced, unless somebody says otherwise, and at most.
USUAL_OVERLAP_HOURS, LONGEST_OVERLAP_HOURS = 24, 168
#: What may be changed of a webhook.
EDITABLE: Final = frozenset({"name", "url", "format", "actions", "is_active"})
_ACTION: Final = re.compile(r"[a-z_]{1,40}\.(\*|[a-z_]{1,40})")
_MOST_ACTIONS: Final = 50


class StillOnItsWay(DomainError):
    """A delivery is repeated once it has ended, and not before."""

    code = "dataset_busy"


def webhooks_of(*, actor: User, place: Project | Dataset) -> QuerySet[Webhook]:
    """The webhooks of a dataset or project that the actor sees, oldest first. For owners (``Forbidden``)."""
    _require_owner(actor, place)
    of = {"dataset": place} if isinstance(place, Dataset) else {"project": place}
    return (
        Webhook.objects.select_related("project", "dataset__project", "created_by")
        .filter(**of)
        .order_by("pk")
    )


def webhook_to_manage(*, actor: User, webhook_id: int) -> Webhook:
    """The webhook. Raises ``NotFound`` for whoever does not see its place, and ``Forbidden`` for others but owners."""
    found = (
        Webhook.objects.select_related("project", "dataset__project", "created_by")
        .filter(pk=webhook_id)
        .first()
    )
    if found is None or not _sees(actor, found.place):
        raise NotFound("There is no such webhook, or you may not see it.")
    _require_owner(actor, found.place)
    return found


def create_webhook(
    *,
    actor: User,
    place: Project | Dataset,
    name: str,
    url: str,
    format: str = Format.JSON,
    actions: Collection[str] = (),
) -> tuple[Webhook, str]:
    """A new webhook and, this once, its secret. For owners. Raises ``InvalidInput``."""
    _require_owner(actor, place)
    made = Webhook(
        dataset=place if isinstance(place, Dataset) else None,
        project=place if isinstance(place, Project) else None,
        created_by=actor,
    )
    secret = new_secret()
    made.secret = encrypted(secret)
    _set(made, {"name": name, "url": url, "format": format, "actions": actions})
    with transaction.atomic():
        if locked(type(place)._default_manager.filter(pk=place.pk)).first() is None:
            raise NotFound(f"{place.name} is not there any more.")
        if webhooks_of(actor=actor, place=place).count() >= MOST_WEBHOOKS:
            raise InvalidInput(
                f"There are {MOST_WEBHOOKS} webhooks here already. Remove one that nobody needs."
            )
        made.save()
        record_webhook_event(made, "created", actor.get_username(), {"format": made.format})
    return made, secret


def change_webhook(
    *, webhook_id: int, actor: User, changes: Mapping[str, Any], edited: Collection[str] = ()
) -> Webhook:
    """Change a webhook, or switch it off and on (``is_active``). For owners.

    ``edited`` are versions that the actor looked at: ``SettingsChanged`` where it is another by now.
    """
    if unknown := sorted(set(changes) - EDITABLE):
        raise InvalidInput(f"These cannot be changed: {', '.join(unknown)}.")
    with transaction.atomic():
        webhook = _locked(webhook_id, actor)
        if edited and str(webhook.version) not in edited:
            raise SettingsChanged("Somebody changed the webhook since you looked. Look again, then change.")
        before = _told(webhook)
        _set(webhook, changes)
        if "url" in changes or changes.get("is_active"):
            webhook.failing_since = None
        now = _told(webhook)
        moved = {
            name: {"before": before[name], "after": now[name]} for name in now if now[name] != before[name]
        }
        if "url" in changes:
            moved.setdefault("host", {"before": webhook.host, "after": webhook.host})
        if moved:
            webhook.version += 1
            webhook.save()
            record_webhook_event(webhook, "changed", actor.get_username(), {"changes": moved})
    return webhook


def remove_webhook(*, webhook_id: int, actor: User) -> None:
    """Remove a webhook; what waits for it is given up. For owners."""
    with transaction.atomic():
        webhook = _locked(webhook_id, actor)
        _give_up(webhook, "The webhook was removed.")
        record_webhook_event(webhook, "removed", actor.get_username(), {})
        webhook.delete()


def rotate_secret(
    *, webhook_id: int, actor: User, overlap_hours: int = USUAL_OVERLAP_HOURS
) -> tuple[Webhook, str]:
    """Give a webhook another secret, which is told this once; the old one signs as well for a while. For owners."""
    if not 0 <= overlap_hours <= LONGEST_OVERLAP_HOURS:
        sentence = f"The old secret signs on for 0 to {LONGEST_OVERLAP_HOURS} hours."
        raise InvalidInput(sentence, errors={"overlap_hours": [sentence]})
    secret = new_secret()
    with transaction.atomic():
        webhook = _locked(webhook_id, actor)
        webhook.former_secret = webhook.secret if overlap_hours else ""
        webhook.former_secret_ends_at = (
            timezone.now() + timedelta(hours=overlap_hours) if overlap_hours else None
        )
        webhook.secret = encrypted(secret)
        webhook.version += 1
        webhook.save()
        record_webhook_event(
            webhook, "secret_rotated", actor.get_username(), {"overlap_hours": overlap_hours}
        )
    return webhook, secret


def try_out(*, webhook_id: int, actor: User) -> Delivery:
    """Send a webhook a message that tells of nothing, at once and once. For owners."""
    webhook = webhook_to_manage(actor=actor, webhook_id=webhook_id)
    with transaction.atomic():
        made = Delivery.objects.create(receiver=webhook.trial_receiver, payload={"trial": uuid.uuid4().hex})
        delivering.ring_on_commit(made)
    return made


def deliveries_of(webhook: Webhook) -> QuerySet[Delivery]:
    """What was sent to a webhook, and what waits, newest first."""
    receivers = (webhook.receiver, webhook.trial_receiver)
    return Delivery.objects.select_related("event").filter(receiver__in=receivers).order_by("-pk")


def repeat(*, delivery_id: int, actor: User) -> Delivery:
    """Send what was sent, or given up, once more, behind what waits. For owners of the webhook.

    Raises ``NotFound`` for whoever may not see it, and ``StillOnItsWay``.
    """
    first = Delivery.objects.filter(pk=delivery_id, receiver__startswith="webhook:").first()
    if first is None:
        raise NotFound("There is no such delivery, or you may not see it.")
    webhook = webhook_to_manage(actor=actor, webhook_id=int(first.address.partition(":")[0]))
    with transaction.atomic():
        first = locked(Delivery.objects.all()).get(pk=first.pk)
        if first.is_active:
            raise StillOnItsWay("It is on its way still: it is tried again by itself.")
        again = Delivery.objects.create(
            receiver=webhook.receiver, event_id=first.event_id, payload=first.payload, repeats=first
        )
        delivering.ring_on_commit(again)
    return again


def webhook_parcels(news: News) -> Iterable[Parcel]:
    """Who is told the news by webhook: those of its dataset and of its project that want it."""
    places = Q()
    if news.dataset is not None:
        places |= Q(dataset=news.dataset)
    if news.project is not None:
        places |= Q(project=news.project)
    if not places:
        return
    for webhook in Webhook.objects.filter(places, stopped=Webhook.Stopped.NOT).order_by("pk"):
        if _wants(webhook, news.action):
            yield Parcel(webhook.receiver)


def encrypt_anew() -> tuple[int, list[int]]:
    """Encrypt every secret under the key that encrypts now; how many webhooks were, and which cannot be read."""
    done, unreadable = 0, []
    for pk in Webhook.objects.order_by("pk").values_list("pk", flat=True):
        with transaction.atomic():
            webhook = locked(Webhook.objects.filter(pk=pk)).first()
            if webhook is None:  # somebody removed it meanwhile
                continue
            try:
                webhook.url, webhook.secret = encrypted_anew(webhook.url), encrypted_anew(webhook.secret)
                if webhook.former_secret:
                    webhook.former_secret = encrypted_anew(webhook.former_secret)
            except SecretUnreadable:
                unreadable.append(pk)
                continue
            webhook.save(update_fields=["url", "secret", "former_secret"])
            done += 1
    return done, unreadable


def _wants(webhook: Webhook, action: str) -> bool:
    if not webhook.actions:
        return webhook.format == Format.JSON or is_for_channels(action)
    return action in webhook.actions or f"{action.partition('.')[0]}.*" in webhook.actions


def _locked(webhook_id: int, actor: User) -> Webhook:
    """The webhook under its row lock, once the actor may change it."""
    locked(Webhook.objects.filter(pk=webhook_id)).first()
    return webhook_to_manage(actor=actor, webhook_id=webhook_id)


def _set(webhook: Webhook, changes: Mapping[str, Any]) -> None:
    """Take values over. Raises ``InvalidInput`` naming what does not fit."""
    errors: dict[str, list[str]] = {}
    name, actions = str(changes.get("name", webhook.name)).strip(), changes.get("actions", webhook.actions)
    if not name or len(name) > 100:
        errors["name"] = ["Give it a name of at most 100 characters."]
    if changes.get("format", webhook.format) not in Format.values:
        errors["format"] = [f"Possible are {', '.join(Format.values)}."]
    if len(actions) > _MOST_ACTIONS or not all(_ACTION.fullmatch(one) for one in actions):
        errors["actions"] = ["Name actions such as change_request.merged, or groups such as merge.*"]
    url = changes.get("url")
    if url is not None:
        try:
            require_possible(url)
        except AddressRefused as error:
            errors["url"] = [str(error)]
    if errors:
        raise InvalidInput(" ".join(sentence for [sentence] in errors.values()), errors=errors)
    webhook.name, webhook.actions = name, sorted(set(actions))
    webhook.format = changes.get("format", webhook.format)
    if url is not None:
        parts = urlsplit(url)
        webhook.url, webhook.host = encrypted(url), f"{parts.scheme}://{parts.netloc}"[:300]
    if "is_active" in changes:
        webhook.stopped = Webhook.Stopped.NOT if changes["is_active"] else Webhook.Stopped.BY_OWNER


def _told(webhook: Webhook) -> dict[str, Any]:
    return {
        "name": webhook.name,
        "host": webhook.host,
        "format": webhook.format,
        "actions": list(webhook.actions),
        "is_active": not webhook.stopped,
    }


def _give_up(webhook: Webhook, why: str) -> None:
    waiting = Delivery.objects.filter(
        receiver__in=(webhook.receiver, webhook.trial_receiver), status=WorkStatus.QUEUED
    )
    waiting.update(
        status=WorkStatus.FAILED, finished_at=timezone.now(), error_code="refused", error_message=why
    )


def _require_owner(actor: User, place: Project | Dataset) -> None:
    if role_on(actor, place) is not Role.OWNER:
        raise Forbidden(f"Only owners of {place.name} look after its webhooks.")


def _sees(actor: User, place: Project | Dataset) -> bool:
    if isinstance(place, Dataset):
        return role_on(actor, place) is not None
    return visible_projects(actor).filter(pk=place.pk).exists()
