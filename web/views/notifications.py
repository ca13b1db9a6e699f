"""The inbox, how people are told, and the way out of mails."""

import json

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from datasets.errors import NotFound
from notifications.kinds import KINDS, REASONS, Kind, Reason, Way
from notifications.last_read import LastRead
from notifications.models import Notification, Subscription
from notifications.recipients import next_step
from notifications.selectors import inbox_of, unread_news_of, unread_of, ways_of
from notifications.services import preferences
from notifications.services.inbox import mark_read
from notifications.streams.news import InboxNews
from notifications.unsubscribing import farewell_of
from web.parameters import PAGE, TEXT, asked_with, choice
from web.views.shared import (
    dataset_at,
    form_at,
    person,
    posted,
    request_at,
    safe_next,
    signed_in,
    whole_number,
)

#: How much of what came since a page looked last one answer tells.
TOLD_AT_ONCE = 20
#: Each way to be told, for people.
WAYS = {
    Way.INBOX: "in the inbox",
    Way.EMAIL: "by e-mail at once",
    Way.DIGEST: "in one e-mail a day",
    Way.OFF: "not at all",
}


@asked_with(page=PAGE, show=choice("unread"))
@require_safe
@signed_in
def inbox(request: HttpRequest) -> HttpResponse:
    """What the person was told, newest first."""
    found = inbox_of(person(request))
    only_unread = request.GET.get("show") == "unread"
    page = Paginator(found.filter(read_at__isnull=True) if only_unread else found, 30).get_page(
        request.GET.get("page")
    )
    entries = [
        {
            "notification": one,
            "why": REASONS[Reason(one.reason)],
            "next_step": next_step(one.event.action, Kind(one.kind)),
            "link": _link(one),
        }
        for one in page
    ]
    return render(
        request,
        "notifications/inbox.html",
        {"page": page, "entries": entries, "only_unread": only_unread},
    )


@asked_with(since=TEXT)
@require_safe
@signed_in
def bell(request: HttpRequest) -> HttpResponse:
    """How much the person has not read, for pages that are open; as a page of its own it is the inbox.

    ``since`` asks for what came after a notification, as streams name and tell it: pages that hear no stream look here.
    """
    if request.headers.get("Sec-Fetch-Dest") == "document":
        return HttpResponseRedirect(reverse("inbox"))
    last, reader = LastRead.named(request.GET.get("since", "")), person(request)
    came: list[Notification] = []
    if last is not None:
        since = InboxNews(reader.pk).heard_until(last)
        came = [*unread_of(reader).filter(pk__gt=since).order_by("pk")[:TOLD_AT_ONCE]]
    told = [
        {
            "name": LastRead(one.pk, one.created_at).name(),
            "kind": one.kind,
            "reason": one.reason,
            "headline": one.headline,
            "change_request": one.change_request.cr_id if one.change_request else None,
        }
        for one in came
    ]
    context = {"unread": unread_news_of(reader), "told": json.dumps(told) if told else ""}
    return render(request, "notifications/_bell.html", context)


def _link(one: Notification) -> str:
    if one.change_request is not None:
        return reverse("change_request", args=[one.change_request.cr_id])
    if one.dataset is not None:
        return reverse("dataset", args=[one.dataset.project.slug, one.dataset.slug])
    return reverse("account")


@form_at("inbox")
@signed_in
def read(request: HttpRequest) -> HttpResponse:
    """Mark one piece of news, or all, as read; with ``next`` go on to what it is about."""
    wanted = whole_number(posted(request, "notification"))
    mark_read(person=person(request), notifications=None if wanted is None else [wanted])
    return HttpResponseRedirect(safe_next(request, reverse("inbox")))


@signed_in
def settings_page(request: HttpRequest) -> HttpResponse:
    """How the person is told of each kind of news."""
    if request.method == "POST":
        given = {kind.value: posted(request, kind) for kind in Kind if kind in request.POST}
        preferences.choose_ways(person=person(request), ways=given)
        messages.success(request, "Saved: you are told as you chose from now on.")
        return HttpResponseRedirect(reverse("notification_settings"))
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    ways = ways_of([person(request).pk])[person(request).pk]
    rows = [{"kind": kind.value, "title": title, "way": ways[kind].value} for kind, title in KINDS.items()]
    choices = [(way.value, title) for way, title in WAYS.items()]
    shown = {"rows": rows, "choices": choices, "sends_mail": settings.SENDS_MAIL}
    return render(request, "notifications/settings.html", shown)


@form_at("change_request", "cr_id")
@signed_in
def subscribe(request: HttpRequest, cr_id: str) -> HttpResponse:
    """Watch, take part in or mute a request."""
    change_request = request_at(request, cr_id)
    preferences.subscribe(person=person(request), to=change_request, level=posted(request, "level"))
    messages.success(request, f"{change_request.cr_id}: you are told {_said(posted(request, 'level'))}.")
    return HttpResponseRedirect(reverse("change_request", args=[cr_id]))


@form_at("dataset", "project_slug", "dataset_slug")
@signed_in
def subscribe_to_dataset(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """Watch, take part in or mute all requests to a dataset."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    preferences.subscribe(person=person(request), to=dataset, level=posted(request, "level"))
    messages.success(request, f"{dataset.name}: you are told {_said(posted(request, 'level'))}.")
    return HttpResponseRedirect(reverse("dataset", args=[project_slug, dataset_slug]))


def _said(level: str) -> str:
    return str(Subscription.Level(level).label)


@csrf_exempt  # a mail's own link: the token in the address is the permission, and mail programs post to it (RFC 8058)
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """End mails of one kind, without a sign-in: shown first, done by POST alone."""
    farewell = farewell_of(token)
    if farewell is None:
        raise NotFound("This link is not one of ours, or was cut off: copy it whole from the mail.")
    kinds = [KINDS[kind] for kind in farewell.kinds]
    if request.method == "POST":
        preferences.no_more_mail(person_id=farewell.person_id, kinds=farewell.kinds)
        return render(request, "notifications/unsubscribed.html", {"kinds": kinds})
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    return render(request, "notifications/unsubscribe.html", {"kinds": kinds})
