"""The first page: what waits for whom."""

from enum import StrEnum
from typing import TypeVar

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from changerequests.services.edits import trays_of
from changerequests.states import Readiness
from datasets.roles import datasets_with_role
from web.parameters import NUMBER, PAGE, TEXT, asked_with, choice
from web.view_models.first_run import first_run
from web.view_models.home import STATES, HomeFilter, RequestGroup, State, home_groups
from web.view_models.requests import READINESS
from web.view_models.saved_views import saved_views
from web.views.shared import person, signed_in, whole_number

Choice = TypeVar("Choice", bound=StrEnum)


@asked_with(
    q=TEXT,
    dataset=NUMBER,
    state=choice(*State),
    stands=choice(*Readiness),
    group=choice(*RequestGroup),
    page=PAGE,
)
@require_safe
@signed_in
def home(request: HttpRequest) -> HttpResponse:
    """Each request once: for you, yours, others; search and filters in the address."""
    reader = person(request)
    wanted = HomeFilter(
        text=request.GET.get("q", "").strip(),
        dataset=whole_number(request.GET.get("dataset", "")),
        state=_one_of(State, request.GET.get("state", "")),
        stands=_one_of(Readiness, request.GET.get("stands", "")),
        group=_one_of(RequestGroup, request.GET.get("group", "")),
    )
    datasets = list(datasets_with_role(reader).select_related("project").distinct())
    context = {
        "trays": trays_of(reader),
        "saved": saved_views(reader, request.GET),
        "groups": home_groups(reader, datasets, wanted, request.GET.get("page")),
        "wanted": wanted,
        "states": list(STATES.items()),
        "readiness": [(name, chip.word) for name, chip in READINESS.items()],
        "first_run": first_run(reader),
        "datasets": datasets,
    }
    return render(request, "home/home.html", context)


def _one_of(choices: type[Choice], text: str) -> Choice | None:
    return next((one for one in choices if one.value == text), None)
