"""The first page: every request once, in the group that says what it is to the reader."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.contrib.auth.models import User
from django.core.paginator import Page, Paginator
from django.db.models import Q, QuerySet

from changerequests import selectors
from changerequests.facts import facts_listed
from changerequests.models import ChangeRequest
from changerequests.services.readiness import having_readiness
from changerequests.states import OPEN_STATUSES, Readiness, Status
from datasets.models import Dataset
from datasets.roles import CONTRIBUTING, roles_on
from web.view_models.requests import RequestRow, request_rows


class State(StrEnum):
    """Which requests are shown."""

    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"
    ALL = "all"


#: Each state in words.
STATES = {State.OPEN: "Open", State.MERGED: "Merged", State.CLOSED: "Closed", State.ALL: "All"}
_STATUSES = {
    State.OPEN: OPEN_STATUSES,
    State.MERGED: (Status.MERGED,),
    State.CLOSED: (Status.CLOSED,),
    State.ALL: tuple(Status),
}


class RequestGroup(StrEnum):
    """What a request is to the reader."""

    FOR_YOU = "for_you"
    YOURS = "yours"
    OTHERS = "others"


#: Title and icon of each group, and how many of it the overview shows.
_GROUPS = {
    RequestGroup.FOR_YOU: ("For you", "eye", 10),
    RequestGroup.YOURS: ("Yours", "person", 10),
    RequestGroup.OTHERS: ("Others", "people", 25),
}
#: Rows of a group on a page of its own.
PAGE_ROWS = 25


@dataclass(frozen=True)
class HomeFilter:
    """What the address asks for. Without a state a search looks at all of them, and the overview at what is open."""

    text: str = ""
    dataset: int | None = None
    state: State | None = None
    stands: Readiness | None = None
    group: RequestGroup | None = None

    @property
    def effective_state(self) -> State:
        """The state that is shown."""
        return self.state or (State.ALL if self.text else State.OPEN)

    @property
    def is_narrowed(self) -> bool:
        """Whether something was asked for."""
        return bool(self.text or self.dataset is not None or self.state or self.stands)


@dataclass(frozen=True)
class HomeGroup:
    """One group and those of its requests that are shown."""

    name: RequestGroup
    title: str
    icon: str
    rows: list[RequestRow]
    total: int
    page: Page[Any] | None

    @property
    def has_more(self) -> bool:
        """Whether the overview shows only the first of them."""
        return self.page is None and self.total > len(self.rows)


def home_groups(
    reader: User, datasets: Collection[Dataset], wanted: HomeFilter, page: str | None
) -> list[HomeGroup]:
    """The groups that hold something of the datasets that the reader sees, in a number of statements that does not grow
    with the requests."""
    found = _found(datasets, wanted)
    reviewing = [one.pk for one, role in roles_on(reader, datasets).items() if role in CONTRIBUTING]
    awaiting = Q(pk__in=selectors.change_requests_awaiting_review(reader, reviewing).values("pk"))
    members = {
        RequestGroup.FOR_YOU: found.filter(awaiting),
        RequestGroup.YOURS: found.filter(author=reader),
        RequestGroup.OTHERS: found.exclude(awaiting).exclude(author=reader),
    }
    names = [wanted.group] if wanted.group else list(RequestGroup)
    chosen = {name: _chosen(name, members[name].order_by("-pk"), wanted, page) for name in names}
    pks = sorted({pk for pks, _, _ in chosen.values() for pk in pks})
    rows = {row.change_request.pk: row for row in request_rows(facts_listed(pks, reader))}
    return [_group(name, chosen[name], rows) for name in names if chosen[name][0]]


def _found(datasets: Collection[Dataset], wanted: HomeFilter) -> QuerySet[ChangeRequest]:
    # By number: each of the statements that follow would look up anew where the reader has a role.
    seen = ChangeRequest.objects.filter(dataset__in=[one.pk for one in datasets])
    found = seen.filter(status__in=_STATUSES[wanted.effective_state])
    if wanted.dataset is not None:
        found = found.filter(dataset=wanted.dataset)
    if wanted.text:
        found = found.filter(_named(wanted.text))
    return having_readiness(found, [wanted.stands]) if wanted.stands else found


def _named(text: str) -> Q:
    pk = ChangeRequest.pk_of(text.upper())
    if pk is not None:
        return Q(pk=pk)
    author = (
        Q(author__username__icontains=text)
        | Q(author__first_name__icontains=text)
        | Q(author__last_name__icontains=text)
    )
    return Q(title__icontains=text) | author


#: The primary keys of a group's requests that are shown, how many there are, and the page that they are.
Chosen = tuple[list[int], int, Page[Any] | None]


def _chosen(
    name: RequestGroup, members: QuerySet[ChangeRequest], wanted: HomeFilter, number: str | None
) -> Chosen:
    pks = members.values_list("pk", flat=True)
    if wanted.group:
        page: Page[Any] = Paginator(pks, PAGE_ROWS).get_page(number)
        return list(page.object_list), page.paginator.count, page
    most = _GROUPS[name][2]
    first = list(pks[: most + 1])
    return first[:most], len(first) if len(first) <= most else pks.count(), None


def _group(name: RequestGroup, chosen: Chosen, rows: Mapping[int, RequestRow]) -> HomeGroup:
    title, icon, _ = _GROUPS[name]
    pks, total, page = chosen
    return HomeGroup(name, title, icon, [rows[pk] for pk in pks if pk in rows], total, page)
