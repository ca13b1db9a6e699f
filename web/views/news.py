"""The stream that pages follow: what comes into the reader's inbox, and that something happened in a dataset."""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_safe

from datasets.roles import visible_dataset
from notifications.streams.callers import SessionCaller
from notifications.streams.hub import Listener
from notifications.streams.news import DatasetNews, InboxNews, StreamNews
from notifications.streams.serving import open_stream
from web.parameters import NUMBER, asked_with, require_fitting
from web.views.shared import person, signed_in, whole_number


@asked_with(dataset=NUMBER)
@require_safe
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
