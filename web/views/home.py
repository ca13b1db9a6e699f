"""The first page: what waits for whom."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.core.paginator import Page, Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from changerequests import selectors
from changerequests.facts import Facts, facts_listed
from changerequests.models import ChangeRequest
from changerequests.states import Status
from datasets.roles import datasets_with_role
from web.parameters import NUMBER, PAGE, TEXT, asked_with, choice
from web.view_models.requests import RequestRow, gates_in_the_way, request_rows
from web.views.shared import person, signed_in, whole_number

#: Rows of a section on the overview; its own page shows all.
OVERVIEW_ROWS = 5
PAGE_ROWS = 25
#: Readiness is derived from each pending request: this many, newest first, are looked at.
MOST_PENDING = 100


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


#: Primary keys of requests, in the order of a list.
Pks = QuerySet[ChangeRequest, int] | list[int]


@dataclass(frozen=True)
class Chosen:
    """The requests of a section that are shown, by primary key, and how many there are."""

    pks: list[int]
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


@asked_with(q=TEXT, dataset=NUMBER, show=choice(*_WORDS), page=PAGE)
@require_safe
@signed_in
def home(request: HttpRequest) -> HttpResponse:
    """Needs my review, mine, ready, blocked and by what, lately merged; search and filters in the address."""
    user = person(request)
    text, dataset = request.GET.get("q", "").strip(), request.GET.get("dataset", "")
    condition = _matching(text, dataset)
    shown = request.GET.get("show", "") if request.GET.get("show", "") in _WORDS else ""
    names = [shown] if shown else [name for name in _WORDS if name != "all"]
    page = request.GET.get("page") if shown else None

    def choose(found: Pks) -> Chosen:
        return _page(found, page) if shown else _first(found)

    asked = {name: _pks(ask(user).filter(condition)) for name, ask in _ASKED.items() if name in names}
    chosen = {name: choose(found) for name, found in asked.items()}
    waiting = _pks(
        selectors.visible_change_requests(user).filter(condition, status=Status.PENDING).order_by("-pk")
    )
    pending = list(waiting[:MOST_PENDING]) if {"ready", "blocked"} & {*names} else []
    all_pending = waiting.count() if len(pending) == MOST_PENDING else len(pending)
    wanted = {*pending, *(pk for found in chosen.values() for pk in found.pks)}
    facts = {one.change_request.pk: one for one in facts_listed(sorted(wanted), user)}
    gates = {pk: gates_in_the_way(facts[pk]) for pk in pending if facts[pk].status == Status.PENDING}
    chosen["ready"] = choose([pk for pk, found in gates.items() if not found])
    chosen["blocked"] = choose([pk for pk, found in gates.items() if found and facts[pk].run is None])
    rows = _rows({pk for name in names for pk in chosen[name].pks}, facts)
    context = {
        "sections": [_section(name, chosen[name], rows) for name in names],
        "pending": all_pending if all_pending > MOST_PENDING else None,
        "most_pending": MOST_PENDING,
        "shown": shown,
        "tabs": [(name, words[0]) for name, words in _WORDS.items()],
        "text": text,
        "dataset": dataset,
        "datasets": datasets_with_role(user).select_related("project").distinct(),
    }
    return render(request, "home/home.html", context)


#: What the database answers alone: a section to the requests in it.
_ASKED: Mapping[str, Callable[[User], QuerySet[ChangeRequest]]] = {
    "review": lambda user: selectors.change_requests_awaiting_review(user).order_by("-pk"),
    "mine": lambda user: selectors.change_requests_of(user).order_by("-pk"),
    "merged": selectors.change_requests_lately_merged,
    "all": lambda user: selectors.visible_change_requests(user).order_by("-pk"),
}


def _pks(found: QuerySet[ChangeRequest]) -> QuerySet[ChangeRequest, int]:
    return found.values_list("pk", flat=True)


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


def _first(found: Pks) -> Chosen:
    pks = list(found[: OVERVIEW_ROWS + 1])
    if len(pks) <= OVERVIEW_ROWS:
        return Chosen(pks, len(pks))
    return Chosen(pks[:OVERVIEW_ROWS], len(found) if isinstance(found, list) else found.count())


def _page(found: Pks, number: str | None) -> Chosen:
    page: Page[Any] = Paginator(found, PAGE_ROWS).get_page(number)
    return Chosen(list(page.object_list), page.paginator.count, page)


def _rows(pks: set[int], facts: Mapping[int, Facts]) -> dict[int, RequestRow]:
    return {row.change_request.pk: row for row in request_rows(facts[pk] for pk in pks)}


def _section(name: str, chosen: Chosen, rows: Mapping[int, RequestRow]) -> Section:
    title, icon, empty = _WORDS[name]
    return Section(name, title, icon, empty, [rows[pk] for pk in chosen.pks], chosen.total, chosen.page)
