"""E-mail: one piece of news, or those of a day, as text and HTML, by the mail server of the settings."""

from __future__ import annotations

import smtplib
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.models import User
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string

from notifications.channels.protocol import DeliveryFailed, Sent
from notifications.kinds import KINDS, REASONS, Kind, Reason, Way
from notifications.links import absolute
from notifications.models import Delivery, Notification
from notifications.news import news_of
from notifications.recipients import next_step
from notifications.selectors import inbox_of, ways_of, words_of
from notifications.unsubscribing import Farewell, token_of

#: How much of what somebody wrote a mail quotes.
MOST_QUOTED = 2000


@dataclass(frozen=True)
class Item:
    """One piece of news as a mail tells it."""

    headline: str
    words: str
    why: str
    next_step: str
    link: str
    place: str


class MailChannel:
    """Sends to people, by their number; asks again who may still be told, and who wants it, when it sends."""

    def send(self, delivery: Delivery) -> Sent:
        """Send one mail. Refused for good where the server says so of the address; else it is tried again."""
        if not settings.SENDS_MAIL:
            return Sent(note="No mail server is set any more.")
        person = User.objects.filter(pk=int(delivery.address), is_active=True).exclude(email="").first()
        if person is None:
            return Sent(note="The account is closed, or has no address.")
        is_digest = bool(delivery.payload.get("digest"))
        told = _still_to_tell(person, delivery)
        if not told:
            return Sent(note="The person may not see it any more, or wants no mail of it.")
        mail = _mail(person, delivery, told, is_digest=is_digest)
        try:
            mail.send()
        except smtplib.SMTPRecipientsRefused as error:
            code, text = next(iter(error.recipients.values()))
            raise _refused(code, text, for_good=code >= 500) from error
        except smtplib.SMTPDataError as error:
            raise _refused(error.smtp_code, error.smtp_error, for_good=error.smtp_code >= 500) from error
        except (
            smtplib.SMTPResponseException
        ) as error:  # of the sender, or of the password: an operator mends it
            raise _refused(error.smtp_code, error.smtp_error, for_good=False) from error
        except (smtplib.SMTPException, OSError) as error:
            message = f"The mail server does not answer: {type(error).__name__}."
            raise DeliveryFailed(message, retry=True) from error
        return Sent(response={"message_id": mail.extra_headers["Message-ID"]})


def _refused(code: int, text: bytes | str, *, for_good: bool) -> DeliveryFailed:
    said = text.decode(errors="replace") if isinstance(text, bytes) else text
    message = f"The mail server refused it ({code}): {said[:500]}"
    return DeliveryFailed(message, retry=not for_good, response={"status": code})


def _still_to_tell(person: User, delivery: Delivery) -> list[Notification]:
    wanted = Way.DIGEST if delivery.payload.get("digest") else Way.EMAIL
    ways = ways_of([person.pk])[person.pk]
    found = inbox_of(person).filter(pk__in=delivery.payload.get("notifications", ())).order_by("pk")
    return [one for one in found if ways[Kind(one.kind)] is wanted]


def _mail(
    person: User, delivery: Delivery, told: list[Notification], *, is_digest: bool
) -> EmailMultiAlternatives:
    kinds = tuple(dict.fromkeys(Kind(one.kind) for one in told))
    token = token_of(Farewell(person.pk, kinds))
    unsubscribe = absolute("unsubscribe", token)
    context = {
        "items": [_item(one) for one in told],
        "is_digest": is_digest,
        "kinds": [KINDS[kind] for kind in kinds],
        "unsubscribe": unsubscribe,
        "settings_page": absolute("notification_settings"),
        "inbox": absolute("inbox"),
    }
    host = urlsplit(settings.PUBLIC_URL).hostname or "localhost"
    headers = {
        "Message-ID": f"<delivery-{delivery.pk}.{delivery.queued_at:%Y%m%d%H%M%S%f}@{host}>",
        "List-Unsubscribe": f"<{unsubscribe}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "Auto-Submitted": "auto-generated",
    }
    request = told[0].change_request
    if request is not None and not is_digest:
        headers["In-Reply-To"] = headers["References"] = f"<change-request-{request.identity}@{host}>"
    mail = EmailMultiAlternatives(
        subject=_subject(told, is_digest=is_digest),
        body=render_to_string("notifications/mail.txt", context),
        to=[person.email],
        headers=headers,
    )
    mail.attach_alternative(render_to_string("notifications/mail.html", context), "text/html")
    return mail


def _subject(told: list[Notification], *, is_digest: bool) -> str:
    if is_digest:
        return f"Headgate: {len(told)} news" if len(told) > 1 else f"Headgate: {_line(told[0].headline)}"
    request = told[0].change_request
    if request is not None:  # the same for all mails of a request, so that they stand together
        return _line(f"[{request.dataset.name}] {request.cr_id} {request.title}")
    return _line(told[0].headline)


def _line(text: str) -> str:
    return " ".join(text.split())[:200]


def _item(one: Notification) -> Item:
    words = words_of(news_of(one.event))
    return Item(
        headline=one.headline,
        words=words if len(words) <= MOST_QUOTED else f"{words[:MOST_QUOTED]} …",
        why=REASONS[Reason(one.reason)],
        next_step=next_step(one.event.action, Kind(one.kind)),
        link=_link(one),
        place=str(one.dataset) if one.dataset is not None else "",
    )


def _link(one: Notification) -> str:
    if one.change_request is not None:
        return absolute("change_request", one.change_request.cr_id)
    if one.dataset is not None:
        return absolute("dataset", one.dataset.project.slug, one.dataset.slug)
    return absolute("inbox")
