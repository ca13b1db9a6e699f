"""The first page: what waits for whom."""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.core.paginator import Page, Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from changerequests import selectors
from changerequests.models import ChangeRequest
from changerequests.states import Status
from datasets.roles import datasets_with_role
from web.view_models.requests import RequestRow, request_rows
from web.views.shared import person, signed_in, whole_number

#: Rows of a section on the overview; its own page shows all.
OVERVIEW_ROWS = 5
PAGE_ROWS = 25
#: Readiness is derived from each pending request: this many, newest first, are looked at.
MOST_PENDING = 300


@dataclass(frozen=True)
class Section:
    """One question and the requests that answer it."""

    name: str
    title: str
    icon: str
    empty: str
    rows: list[RequestRow]
    total: int
    page: Page[Any] | None = None


_WORDS = {
    "review": ("Needs my review", "eye", "Nothing waits for your review."),
    "mine": ("Mine", "person", "You have no open change requests. Open a dataset to propose a change."),
    "ready": ("Ready to merge", "check-circle", "No pending request has passed every gate yet."),
    "blocked": ("Blocked", "alert", "No pending request is blocked."),
    "merged": ("Lately merged", "merged", "Nothing was merged yet."),
    "all": ("All", "inbox", "No change request matches."),
}


@require_safe
@signed_in
def home(request: HttpRequest) -> HttpResponse:
    """Needs my review, mine, ready, blocked and by what, lately merged; search and filters in the address."""
    user = person(request)
    text, dataset = request.GET.get("q", "").strip(), request.GET.get("dataset", "")
    condition = _matching(text, dataset)
    found = selectors.visible_change_requests(user).filter(condition, status=Status.PENDING)
    pending = request_rows(found.order_by("-pk")[:MOST_PENDING], user)
    all_pending = found.count() if len(pending) == MOST_PENDING else len(pending)
    lists: dict[str, QuerySet[ChangeRequest] | list[RequestRow]] = {
        "review": selectors.change_requests_awaiting_review(user).filter(condition).order_by("-pk"),
        "mine": selectors.change_requests_of(user).filter(condition).order_by("-pk"),
        "ready": [row for row in pending if row.is_ready],
        "blocked": [row for row in pending if row.is_blocked],
        "merged": selectors.change_requests_lately_merged(user).filter(condition),
        "all": selectors.visible_change_requests(user).filter(condition).order_by("-pk"),
    }
    shown = request.GET.get("show", "")
    if shown in lists:
        sections = [_whole(shown, lists[shown], user, request.GET.get("page"))]
    else:
        shown = ""
        sections = [_first_rows(name, found, user) for name, found in lists.items() if name != "all"]
    context = {
        "sections": sections,
        "pending": all_pending if all_pending > MOST_PENDING else None,
        "most_pending": MOST_PENDING,
        "shown": shown,
        "tabs": [(name, words[0]) for name, words in _WORDS.items()],
        "text": text,
        "dataset": dataset,
        "datasets": datasets_with_role(user).select_related("project").distinct(),
    }
    return render(request, "home/home.html", context)


def _matching(text: str, dataset: str) -> Q:
    dataset_id = whole_number(dataset)
    condition = Q() if dataset_id is None else Q(dataset=dataset_id)
    if text:
        pk = ChangeRequest.pk_of(text.upper())
        words = (
            Q(title__icontains=text)
            | Q(author__username__icontains=text)
            | Q(author__first_name__icontains=text)
            | Q(author__last_name__icontains=text)
        )
        condition &= Q(pk=pk) if pk else words
    return condition


def _first_rows(name: str, found: QuerySet[ChangeRequest] | list[RequestRow], user: User) -> Section:
    title, icon, empty = _WORDS[name]
    if isinstance(found, list):
        return Section(name, title, icon, empty, found[:OVERVIEW_ROWS], len(found))
    rows = request_rows(found[: OVERVIEW_ROWS + 1], user)
    total = len(rows) if len(rows) <= OVERVIEW_ROWS else found.count()
    return Section(name, title, icon, empty, rows[:OVERVIEW_ROWS], total)


def _whole(
    name: str, found: QuerySet[ChangeRequest] | list[RequestRow], user: User, number: str | None
) -> Section:
    title, icon, empty = _WORDS[name]
    page: Page[Any] = Paginator(found, PAGE_ROWS).get_page(number)
    shown = list(page.object_list)
    rows = shown if isinstance(found, list) else request_rows(shown, user)
    return Section(name, title, icon, empty, rows, page.paginator.count, page)
