"""Choosing values where Current and Proposed both changed a cell."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from changerequests.errors import PlanChanged
from changerequests.facts import Facts
from changerequests.models import ChangeRequest
from changerequests.policies import blockers
from changerequests.services import conflicts as services
from changerequests.services import plans
from changerequests.states import Action
from datasets.errors import InvalidInput
from datasets.rows import parse_json
from web.view_models.change_requests import head
from web.view_models.conflicts import bulk_choices, conflict_cards
from web.views.shared import body_limit, facts_at, is_fragment, person, posted, request_at, signed_in
from web.wording import counted

PAGE_CONFLICTS = 25


@require_safe
@signed_in
def conflicts(request: HttpRequest, cr_id: str) -> HttpResponse:
    """A card per row with Base, Current and Proposed, and a choice per cell."""
    return _page(request, facts_at(request, cr_id))


def _page(
    request: HttpRequest,
    facts: Facts,
    *,
    problem: str = "",
    saved: str = "",
    status: int = 200,
) -> HttpResponse:
    change_request = facts.change_request
    after = request.GET.get("after") or posted(request, "after") or None
    page = plans.conflicts_page(change_request=change_request, after=after, limit=PAGE_CONFLICTS)
    cards = conflict_cards(change_request, page)
    found = blockers(facts, Action.RESOLVE)
    context = {
        "change_request": change_request,
        "dataset": change_request.dataset,
        "page": page,
        "resolved": page.total - page.unresolved,
        "cards": cards,
        "next_open": next((card.anchor for card in cards if not card.is_resolved), ""),
        "bulk": bulk_choices(page),
        "may_resolve": not found,
        "why_not": found[0].sentence if found else "",
        "after": after or "",
        "problem": problem,
        "saved": saved,
    }
    if is_fragment(request):
        return render(request, "change_requests/_conflicts.html", context, status=status)
    context["head"] = head(facts, "conflicts")
    return render(request, "change_requests/conflicts.html", context, status=status)


@require_POST
@signed_in
def resolve(request: HttpRequest, cr_id: str) -> HttpResponse:
    """Store the choices of one card."""
    change_request = request_at(request, cr_id)
    return _store(request, change_request, lambda: _resolve_card(request, change_request))


@body_limit("LONG_LIST_LIMIT_BYTES")
@require_POST
@signed_in
def resolve_column(request: HttpRequest, cr_id: str) -> HttpResponse:
    """Make one choice for every open conflict of a column."""
    change_request = request_at(request, cr_id)

    def choose() -> int:
        return services.resolve_column(
            change_request_id=change_request.pk,
            actor=person(request),
            column=posted(request, "column"),
            choice=posted(request, "choice"),
        )

    return _store(request, change_request, choose)


def _store(request: HttpRequest, change_request: ChangeRequest, choose: Any) -> HttpResponse:
    try:
        left = choose()
    except InvalidInput as error:
        return _page(request, facts_at(request, change_request.cr_id), problem=error.message, status=422)
    except PlanChanged as error:
        return _page(request, facts_at(request, change_request.cr_id), problem=error.message, status=409)
    sentence = (
        "Saved. Every conflict has a choice." if left == 0 else f"Saved. {counted(left, 'conflict')} left."
    )
    if is_fragment(request):
        return _page(request, facts_at(request, change_request.cr_id), saved=sentence)
    messages.success(request, sentence)
    after, anchor = posted(request, "after"), posted(request, "anchor")
    query = f"?after={after}" if after else ""
    return HttpResponseRedirect(f"{reverse('conflicts', args=[change_request.cr_id])}{query}#{anchor}")


def _resolve_card(request: HttpRequest, change_request: ChangeRequest) -> int:
    key = parse_json(posted(request, "key"), "key", cells=True)
    if not isinstance(key, dict):
        raise InvalidInput("The key of the row is damaged; reload the page.")
    choices = []
    for position in request.POST.getlist("cell"):
        choice = posted(request, f"choice-{position}")
        if not choice:
            continue
        is_null = posted(request, f"null-{position}") == "true"
        choices.append(
            services.Choosing(
                key=key,
                column=posted(request, f"column-{position}") or None,
                choice=choice,
                inputs_digest=posted(request, f"inputs-{position}"),
                value=None if choice != "custom" or is_null else posted(request, f"value-{position}"),
                as_text=True,
            )
        )
    return services.resolve(change_request_id=change_request.pk, actor=person(request), choices=choices)
