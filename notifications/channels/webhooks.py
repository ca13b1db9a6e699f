"""The channel of webhooks: signed requests to addresses that owners of datasets and projects chose."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.utils import timezone

from audit.services import INSTALLATION_STREAM, dataset_stream, record
from datasets import tracing
from datasets.durable_work import WorkStatus
from datasets.encryption import SecretUnreadable, decrypted
from datasets.models import Dataset
from notifications.channels.posting import NotReached, ReceiverAnswer, post
from notifications.channels.protocol import DeliveryFailed, Sent
from notifications.channels.reach import AddressRefused, reach, target_of
from notifications.channels.signing import signature
from notifications.documents import TRIAL, document_of, message_of, trial_document, trial_message
from notifications.formats import written
from notifications.models import Delivery, Webhook
from notifications.news import news_of

#: After how long a webhook that only fails is switched off.
STOPPED_AFTER: Final = timedelta(days=3)
#: The receiver wants to hear nothing more (RFC 9110, 15.5.11).
_GONE: Final = 410
#: What a receiver says of one message, and not of itself: that message is given up, and the others go on.
_OF_THE_MESSAGE: Final = frozenset({400, 413, 415, 422})


class WebhookChannel:
    """Sends to ``webhook:7``, and to ``webhook:7:trial`` without waiting for what waits."""

    def send(self, delivery: Delivery) -> Sent:
        """Send one request. Raises ``DeliveryFailed``."""
        number, _, trial = delivery.address.partition(":")
        webhook = Webhook.objects.select_related("project", "dataset__project").filter(pk=number).first()
        if webhook is None:
            raise DeliveryFailed("The webhook was removed.", retry=False)
        if webhook.stopped and not trial:
            raise DeliveryFailed("The webhook was switched off; nothing was sent.", retry=False)
        try:
            answer = _posted(webhook, delivery)
        except DeliveryFailed as failure:
            if trial:
                raise DeliveryFailed(failure.message, retry=False, response=failure.response) from failure
            note_failure(webhook, failure)
            raise
        note_success(webhook)
        return Sent(answer)


def _posted(webhook: Webhook, delivery: Delivery) -> Mapping[str, Any]:
    """What is kept of the answer that took it. Raises ``DeliveryFailed``."""
    started = time.monotonic()
    kind, body = content_of(webhook, delivery)
    timestamp = int(timezone.now().timestamp())
    try:
        headers = {
            "Content-Type": "application/json",
            "Headgate-Event": kind,
            "Headgate-Delivery": str(delivery.pk),
            "Headgate-Timestamp": str(timestamp),
            "Headgate-Signature": signature(_secrets(webhook), timestamp=timestamp, body=body),
        }
        if position := tracing.traceparent():
            headers["traceparent"] = position
        answer = post(target_of(decrypted(webhook.url)), body=body, headers=headers, reach=reach())
    except AddressRefused as error:
        raise DeliveryFailed(f"The address is refused: {error}", retry=True) from error
    except NotReached as error:
        raise DeliveryFailed(str(error), retry=True) from error
    except SecretUnreadable as error:
        sentence = (
            "Its secrets were encrypted with a key that is gone: set its address and rotate its secret."
        )
        raise DeliveryFailed(sentence, retry=True) from error
    kept = {
        "status": answer.status,
        "excerpt": answer.excerpt,
        "milliseconds": round((time.monotonic() - started) * 1000),
    }
    _require_taken(answer, kept)
    return kept


def _require_taken(answer: ReceiverAnswer, kept: Mapping[str, Any]) -> None:
    status = answer.status
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        sentence = (
            f"It answered {status}, a redirect, which is not followed. Change the address of the webhook."
        )
    elif status == _GONE:
        sentence = "It answered 410: it is gone for good."
    elif status in _OF_THE_MESSAGE:
        sentence = f"It answered {status}: it will not take this message."
    else:
        sentence = f"It answered {status}."
    raise DeliveryFailed(
        sentence, retry=status not in {_GONE, *_OF_THE_MESSAGE}, response=kept, pause=answer.retry_after
    )


def content_of(webhook: Webhook, delivery: Delivery) -> tuple[str, bytes]:
    """The kind and the body of a delivery's request; the same each time, but for what its request is called by then."""
    if delivery.event is None:
        trial = str(delivery.payload.get("trial", delivery.pk))
        document = trial_document(trial, webhook.place)
        message = trial_message(webhook.place, webhook.name)
        return TRIAL, written(
            webhook.format, _plain({**document, "occurred_at": delivery.queued_at}), message
        )
    news = news_of(delivery.event)
    return news.action, written(webhook.format, _plain(document_of(news)), message_of(news))


def _plain(document: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(document, cls=DjangoJSONEncoder))


def _secrets(webhook: Webhook) -> list[str]:
    """The secrets that its receiver may know, the newest first."""
    found = [decrypted(webhook.secret)]
    ends_at = webhook.former_secret_ends_at
    if webhook.former_secret and ends_at is not None and ends_at > timezone.now():
        found.append(decrypted(webhook.former_secret))
    return found


def note_success(webhook: Webhook) -> None:
    """It took a message: it is not failing, and what waits for it is sent at once."""
    if not webhook.failing_since:
        return
    Webhook.objects.filter(pk=webhook.pk).update(failing_since=None)
    waiting = Delivery.objects.filter(receiver=webhook.receiver, status=WorkStatus.QUEUED)
    waiting.filter(next_attempt_at__gt=timezone.now()).update(next_attempt_at=timezone.now())


def note_failure(webhook: Webhook, failure: DeliveryFailed) -> None:
    """It took no message. Where it says that it is gone, or took none for days, it is switched off, and owners hear."""
    now = timezone.now()
    Webhook.objects.filter(pk=webhook.pk, failing_since=None).update(failing_since=now)
    since = webhook.failing_since or now
    if failure.response.get("status") == _GONE:
        _stop(webhook, Webhook.Stopped.GONE, failure)
    elif since <= now - STOPPED_AFTER:
        _stop(webhook, Webhook.Stopped.FAILING, failure)


def _stop(webhook: Webhook, why: Webhook.Stopped, failure: DeliveryFailed) -> None:
    with transaction.atomic():
        still = Webhook.objects.filter(pk=webhook.pk, stopped=Webhook.Stopped.NOT, version=webhook.version)
        if still.update(stopped=why, version=webhook.version + 1):
            facts = {"reason": why.value, "message": failure.message, "failing_since": webhook.failing_since}
            record_webhook_event(webhook, "stopped", "", facts)


def record_webhook_event(webhook: Webhook, what: str, actor: str, data: Mapping[str, Any]) -> None:
    """Record what became of a webhook among what happened in its place: owners are told of it from there."""
    place = webhook.place
    is_dataset = isinstance(place, Dataset)
    record(
        stream=dataset_stream(place.pk) if is_dataset else INSTALLATION_STREAM,
        action=f"webhook.{what}",
        subject_type="dataset" if is_dataset else "project",
        subject_id=str(place.pk),
        actor=actor,
        data={"webhook": webhook.pk, "name": webhook.name, "host": webhook.host, **data},
    )
