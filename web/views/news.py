"""The stream that pages follow: what comes into the reader's inbox, and that something happened in a dataset."""

from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.views.decorators.http import require_safe

from datasets.roles import visible_dataset
from notifications.streams.callers import SessionCaller
from notifications.streams.hub import Listener
from notifications.streams.news import DatasetNews, InboxNews, StreamNews
from notifications.streams.serving import open_stream
from web.parameters import NUMBER, asked_with, require_fitting
from web.views.shared import View, person, signed_in, whole_number


def _only_while_signed_in(view: View) -> View:
    """Let the streams of a page end for good once its session has: a browser does not connect again after a 204."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        is_stream = "text/event-stream" in request.headers.get("Accept", "")
        if is_stream and not request.user.is_authenticated:
            return HttpResponse(status=204)
        return view(request, *args, **kwargs)

    return guarded


@asked_with(dataset=NUMBER)
@require_safe
@_only_while_signed_in
@signed_in
def news(request: HttpRequest) -> HttpResponse:
    """Server-sent events for one open page, from now on; it reads itself anew when it connects again. As a page: home.

    ``notification`` for each that comes into the inbox, ``dataset`` whenever something happened in the dataset of the
    page. Raises ``CannotStream``, ``TooManyStreams`` and ``NotFound``.
    """
    if request.headers.get("Sec-Fetch-Dest") == "document":
        return HttpResponseRedirect(reverse("home"))
    require_fitting(request)
    reader = person(request)
    heard: list[StreamNews] = [InboxNews(reader.pk)]
    dataset = whole_number(request.GET.get("dataset", ""))
    if dataset is not None:
        heard.append(DatasetNews(visible_dataset(reader, dataset).pk))
    caller = SessionCaller(reader.pk, str(request.session.session_key))
    return open_stream(request, Listener(caller, {each: each.newest() for each in heard}))
