"""Asking people and groups for a review: found by their names, ticked, asked."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from changerequests.facts import Facts
from changerequests.services import asking
from datasets.errors import InvalidInput
from web.view_models.asking import candidates
from web.view_models.change_requests import head
from web.views.shared import facts_at, form_at, is_fragment, person, posted, request_at, signed_in


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def ask_for_review(request: HttpRequest, cr_id: str) -> HttpResponse:
    """Look for people and groups who may review the request, and ask those who are ticked."""
    facts = facts_at(request, cr_id)
    asking.require_askable(facts.change_request, person(request))
    if request.method != "POST" or posted(request, "action") == "look":
        return _page(request, facts)
    try:
        asking.ask_for_review(
            change_request_id=facts.change_request.pk,
            actor=person(request),
            users=_names(request, "users"),
            groups=_names(request, "groups"),
        )
    except InvalidInput as error:
        return _page(request, facts, problem=error.message)
    messages.success(request, "Asked for a review.")
    return HttpResponseRedirect(reverse("change_request", args=[cr_id]))


def _names(request: HttpRequest, field: str) -> list[str]:
    """The names that were ticked; several may stand in one field, with commas between them."""
    posted(request, field)
    given = [text.split(",") if field == "users" else [text] for text in request.POST.getlist(field)]
    return [name.strip() for names in given for name in names if name.strip()]


def _page(request: HttpRequest, facts: Facts, *, problem: str = "") -> HttpResponse:
    words = posted(request, "q").strip()
    users, groups = (_names(request, field) for field in ("users", "groups"))
    context: dict[str, Any] = {
        "change_request": facts.change_request,
        "words": words,
        "found": candidates(facts, words, users, groups),
        "problem": problem,
    }
    if is_fragment(request):
        return render(request, "change_requests/_ask_found.html", context)
    context |= {"dataset": facts.dataset, "head": head(facts, "conversation")}
    return render(request, "change_requests/ask.html", context, status=422 if problem else 200)


@form_at("change_request", "cr_id")
@signed_in
def withdraw_review_request(request: HttpRequest, cr_id: str, asked_id: int) -> HttpResponse:
    """Take back that somebody was asked."""
    change_request = request_at(request, cr_id)
    asking.withdraw_review_request(
        change_request_id=change_request.pk, review_request_id=asked_id, actor=person(request)
    )
    return HttpResponseRedirect(reverse("change_request", args=[cr_id]))
