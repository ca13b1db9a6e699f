"""People: found by name, invited by operators, and those who take an invitation up."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth import authenticate, login
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from accounts import invitations, people, service_accounts
from accounts.errors import InvitationOver
from datasets.errors import Forbidden, InvalidInput
from datasets.operators import is_operator
from datasets.roles import manages_members, projects_to_list
from web.catalogue_forms import AcceptForm, InviteForm
from web.forms import add_errors
from web.parameters import PAGE, TEXT, asked_with, choice
from web.views.shared import form_at, is_fragment, person, signed_in

PEOPLE_ROWS = 50


@asked_with(q=TEXT, page=PAGE)
@require_safe
@signed_in
def people_page(request: HttpRequest) -> HttpResponse:
    """Everybody whom the person may know of; operators invite others here."""
    return _page(request)


def _page(
    request: HttpRequest,
    *,
    form: InviteForm | None = None,
    address: str = "",
    mailed: bool = False,
    status: int = 200,
) -> HttpResponse:
    asker, text = person(request), request.GET.get("q", "").strip()
    may_invite = is_operator(asker)
    context = {
        "page": Paginator(people.people_found(asker, text), PEOPLE_ROWS).get_page(request.GET.get("page")),
        "text": text,
        "shows_mail": manages_members(asker),
        "may_invite": may_invite,
        "may_make_services": service_accounts.may_make(asker),
        "invitations": invitations.open_invitations() if may_invite else (),
        "form": form or InviteForm(projects=list(projects_to_list(asker))) if may_invite else None,
        "address": address,
        "mailed": mailed,
    }
    return render(request, "people/people.html", context, status=status)


@form_at("people")
@signed_in
def invite(request: HttpRequest) -> HttpResponse:
    """Ask somebody in. The address is on this page and nowhere else, so the answer is the page itself."""
    if not is_operator(person(request)):
        raise Forbidden("Only operators invite people.")
    projects = list(projects_to_list(person(request)))
    form = InviteForm(request.POST, projects=projects)
    if form.is_valid():
        given, (project, role) = form.cleaned_data, form.place
        try:
            made, address = invitations.invite(
                actor=person(request),
                email=given["email"],
                first_name=given["first_name"],
                last_name=given["last_name"],
                project=project,
                role=role,
            )
        except InvalidInput as error:
            add_errors(form, error)
        else:
            mailed = invitations.send(made, address)
            return _page(request, form=InviteForm(projects=projects), address=address, mailed=mailed)
    return _page(request, form=form, status=422)


@form_at("people")
@signed_in
def withdraw_invitation(request: HttpRequest, invitation_id: int) -> HttpResponse:
    """Take an invitation back; its address opens nothing any more."""
    invitations.withdraw(actor=person(request), invitation_id=invitation_id)
    messages.success(request, "The invitation is withdrawn.")
    return HttpResponseRedirect(reverse("people"))


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def accept_invitation(request: HttpRequest, key: str) -> HttpResponse:
    """Whoever was invited chooses a user name and a password, and is signed in."""
    try:
        invitation = invitations.invitation_with(key)
        if request.method != "POST":
            initial = {
                "username": invitation.email.partition("@")[0],
                "first_name": invitation.first_name,
                "last_name": invitation.last_name,
            }
            context = {"invitation": invitation, "key": key, "form": AcceptForm(initial=initial)}
            return render(request, "people/accept.html", context)
        form = AcceptForm(request.POST)
        if form.is_valid() and _accepted(request, key, form):
            return HttpResponseRedirect(reverse("home"))
    except InvitationOver as error:
        return render(request, "people/over.html", {"message": error.message}, status=410)
    context = {"invitation": invitation, "key": key, "form": form}
    return render(request, "people/accept.html", context, status=422)


def _accepted(request: HttpRequest, key: str, form: AcceptForm) -> bool:
    given = form.cleaned_data
    try:
        account = invitations.accept(
            key=key,
            username=given["username"],
            first_name=given["first_name"],
            last_name=given["last_name"],
            password=given["password"],
        )
    except InvalidInput as error:
        add_errors(form, error)
        return False
    user = authenticate(request, username=account.get_username(), password=given["password"])
    if user is not None:
        login(request, user)
    messages.success(request, f"Welcome, {account.get_full_name() or account.get_username()}.")
    return True


@asked_with(of=TEXT, kind=choice("user", "group"))
@require_safe
def found(request: HttpRequest) -> HttpResponse:
    """Options for the field that ``of`` names, whose text comes under its own name; people, or groups.

    Whoever has been signed out is told nothing here: they learn it when they send their form, which keeps what is
    typed.
    """
    if not is_fragment(request):
        return HttpResponseRedirect(reverse("people"))
    if not request.user.is_authenticated:
        return HttpResponse(status=204)
    words = request.GET.get(request.GET.get("of", ""), "")
    context: dict[str, Any] = {}
    if request.GET.get("kind") == "group":
        context["groups"] = people.search_groups(person(request), words)
    else:
        context["people"] = people.search(person(request), words)
    return render(request, "_people_search.html", context)
