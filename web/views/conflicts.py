"""Choosing values where Current and Proposed both changed a cell."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from changerequests.errors import ChosenMeanwhile, PlanChanged
from changerequests.facts import Facts
from changerequests.models import ChangeRequest
from changerequests.policies import blockers
from changerequests.services import conflicts as services
from changerequests.services import plans
from changerequests.states import Action
from datasets.errors import DomainError, InvalidInput
from datasets.rows import key_digest, parse_json
from web.parameters import TEXT, asked_with
from web.view_models.change_requests import head
from web.view_models.conflicts import Picked, Unsaved, bulk_choices, choices_of_others, conflict_cards
from web.views.shared import body_limit, facts_at, form_at, is_fragment, person, posted, request_at, signed_in
from web.wording import counted

PAGE_CONFLICTS = 25


@asked_with(after=TEXT)
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
    others: tuple[str, ...] = (),
    unsaved: Unsaved | None = None,
    saved: str = "",
    status: int = 200,
) -> HttpResponse:
    change_request = facts.change_request
    after = request.GET.get("after") or posted(request, "after") or None
    page = plans.conflicts_page(change_request=change_request, after=after, limit=PAGE_CONFLICTS)
    cards = conflict_cards(change_request, page, unsaved)
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
        "others": others,
        "mine_is_shown": any(cell.is_unsaved for card in cards for cell in card.cells),
        "typed": unsaved.typed if unsaved else (),
        "saved": saved,
    }
    if is_fragment(request):
        return render(request, "change_requests/_conflicts.html", context, status=status)
    context["head"] = head(facts, "conflicts")
    return render(request, "change_requests/conflicts.html", context, status=status)


@form_at("conflicts", "cr_id")
@signed_in
def resolve(request: HttpRequest, cr_id: str) -> HttpResponse:
    """Store the choices of one card."""
    change_request = request_at(request, cr_id)
    key, picked = _posted_key(request), _posted_choices(request)
    unsaved = Unsaved(key_digest(key), {column: one for _, column, one in picked})
    return _store(
        request, change_request, lambda: _resolve_card(request, change_request, key, picked), unsaved
    )


@body_limit("LONG_LIST_LIMIT_BYTES")
@form_at("conflicts", "cr_id")
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
            seen=posted(request, "seen") or None,
        )

    return _store(request, change_request, choose)


def _store(
    request: HttpRequest,
    change_request: ChangeRequest,
    choose: Callable[[], int],
    unsaved: Unsaved | None = None,
) -> HttpResponse:
    def refused(error: DomainError, status: int, others: tuple[str, ...] = ()) -> HttpResponse:
        facts = facts_at(request, change_request.cr_id)
        return _page(request, facts, problem=error.message, others=others, unsaved=unsaved, status=status)

    try:
        left = choose()
    except InvalidInput as error:
        return refused(error, 422)
    except ChosenMeanwhile as error:
        return refused(error, 409, choices_of_others(error))
    except PlanChanged as error:
        return refused(error, 409)
    sentence = (
        "Saved. Every conflict has a choice." if left == 0 else f"Saved. {counted(left, 'conflict')} left."
    )
    if is_fragment(request):
        return _page(request, facts_at(request, change_request.cr_id), saved=sentence)
    messages.success(request, sentence)
    after, anchor = posted(request, "after"), posted(request, "anchor")
    query = f"?after={after}" if after else ""
    return HttpResponseRedirect(f"{reverse('conflicts', args=[change_request.cr_id])}{query}#{anchor}")


def _posted_key(request: HttpRequest) -> dict[str, Any]:
    """The key of the row; empty where it is damaged, which is told with the choices."""
    try:
        key = parse_json(posted(request, "key"), "key", cells=True)
    except InvalidInput:
        return {}
    return key if isinstance(key, dict) else {}


def _posted_choices(request: HttpRequest) -> list[tuple[str, str, Picked]]:
    """Place in the form, column and choice of every cell that has one."""
    found = []
    for position in request.POST.getlist("cell"):
        if choice := posted(request, f"choice-{position}"):
            is_null = choice == "custom" and posted(request, f"null-{position}") == "true"
            text = posted(request, f"value-{position}") if choice == "custom" and not is_null else ""
            found.append((position, posted(request, f"column-{position}"), Picked(choice, text, is_null)))
    return found


def _resolve_card(
    request: HttpRequest,
    change_request: ChangeRequest,
    key: dict[str, Any],
    picked: list[tuple[str, str, Picked]],
) -> int:
    if not key and posted(request, "key") != "{}":
        raise InvalidInput("The key of the row is damaged; reload the page.")
    # The other cells of the row go along in the form: what was not touched is nobody's new choice.
    touched = [one for one in picked if one[2].as_field != posted(request, f"was-{one[0]}")]
    choices = [
        services.Choosing(
            key=key,
            column=column or None,
            choice=one.choice,
            inputs_digest=posted(request, f"inputs-{position}"),
            value=None if one.choice != "custom" or one.is_null else one.text,
            as_text=True,
            seen=posted(request, f"seen-{position}") if f"seen-{position}" in request.POST else None,
        )
        for position, column, one in touched or picked
    ]
    return services.resolve(change_request_id=change_request.pk, actor=person(request), choices=choices)
