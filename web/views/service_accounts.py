"""Service accounts: what pipelines are here, and their tokens."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse

from accounts import service_accounts
from accounts.models import ServiceAccount
from accounts.scopes import Scope
from accounts.tokens import tokens_of
from datasets.errors import Forbidden, InvalidInput
from datasets.operators import is_operator
from datasets.roles import projects_to_register_in
from web.catalogue_forms import ServiceAccountForm
from web.forms import ReasonForm, TokenForm, add_errors
from web.views.shared import form_at, person, signed_in


@signed_in
def service_accounts_page(request: HttpRequest) -> HttpResponse:
    """Those that the person manages, and the form for another."""
    actor = person(request)
    if not service_accounts.may_make(actor):
        raise Forbidden("Operators make service accounts, and owners of a project for that project.")
    if request.method in ("GET", "HEAD"):
        return _list(request, _form(request))
    if request.method != "POST":
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    form = _form(request, request.POST)
    if form.is_valid():
        project, role = form.place
        try:
            made = service_accounts.create(
                actor=actor,
                name=form.cleaned_data["name"],
                purpose=form.cleaned_data["purpose"],
                project=project,
                role=role,
            )
        except InvalidInput as error:
            add_errors(form, error)
        else:
            messages.success(request, f"{made.user.get_username()} is made. Give it a token.")
            return HttpResponseRedirect(reverse("service_account", args=[made.pk]))
    return _list(request, form, status=422)


@signed_in
def service_account(request: HttpRequest, service_account_id: int) -> HttpResponse:
    """One of them: its tokens, and another one."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    return _page(request, _managed(request, service_account_id))


@form_at("service_account", "service_account_id")
@signed_in
def make_service_token(request: HttpRequest, service_account_id: int) -> HttpResponse:
    """Another token. Its key is on this page and nowhere else, so the answer is the page itself."""
    account = _managed(request, service_account_id)
    form = TokenForm(request.POST)
    if not form.is_valid():
        return _page(request, account, status=422, token_form=form)
    given = form.cleaned_data
    try:
        made, key = service_accounts.make_token(
            actor=person(request),
            account=account,
            name=given["name"],
            scopes=[Scope(name) for name in given["scopes"]],
            days=given["days"],
            agent=given["agent"],
        )
    except InvalidInput as error:
        add_errors(form, error)
        return _page(request, account, status=422, token_form=form)
    return _page(request, account, new_token=made, new_token_key=key)


@form_at("service_account", "service_account_id")
@signed_in
def rotate_service_token(request: HttpRequest, service_account_id: int, number: UUID) -> HttpResponse:
    """Another token in the place of one, which goes on for a day."""
    account = _managed(request, service_account_id)
    try:
        made, key = service_accounts.rotate_token(actor=person(request), account=account, number=number)
    except InvalidInput as error:
        messages.error(request, error.message)
        return HttpResponseRedirect(reverse("service_account", args=[account.pk]))
    return _page(request, account, new_token=made, new_token_key=key, rotated=True)


@form_at("service_account", "service_account_id")
@signed_in
def revoke_service_token(request: HttpRequest, service_account_id: int, number: UUID) -> HttpResponse:
    """Make one of its tokens worthless."""
    account = _managed(request, service_account_id)
    service_accounts.revoke_token(actor=person(request), account=account, number=number)
    messages.success(request, "The token is revoked.")
    return HttpResponseRedirect(reverse("service_account", args=[account.pk]))


@form_at("service_account", "service_account_id")
@signed_in
def deactivate_service_account(request: HttpRequest, service_account_id: int) -> HttpResponse:
    """End it with all its tokens."""
    account = _managed(request, service_account_id)
    form = ReasonForm(request.POST)
    if not form.is_valid():
        return _page(request, account, status=422, reason_form=form)
    service_accounts.deactivate(actor=person(request), account=account, reason=form.cleaned_data["reason"])
    messages.success(
        request, f"{account.user.get_username()} is deactivated; its tokens open nothing any more."
    )
    return HttpResponseRedirect(reverse("service_account", args=[account.pk]))


def _managed(request: HttpRequest, number: int) -> ServiceAccount:
    return service_accounts.account_to_manage(person(request), number)


def _form(request: HttpRequest, *given: Any) -> ServiceAccountForm:
    actor = person(request)
    return ServiceAccountForm(
        *given, projects=list(projects_to_register_in(actor)), needs_project=not is_operator(actor)
    )


def _list(request: HttpRequest, form: ServiceAccountForm, *, status: int = 200) -> HttpResponse:
    context = {"accounts": service_accounts.managed_by(person(request)), "form": form}
    return render(request, "people/service_accounts.html", context, status=status)


def _page(
    request: HttpRequest, account: ServiceAccount, *, status: int = 200, **context: Any
) -> HttpResponse:
    shown = {
        "account": account,
        "tokens": tokens_of(account.user).select_related("replaced_by"),
        "token_form": TokenForm(),
        "reason_form": ReasonForm(),
        **context,
    }
    return render(request, "people/service_account.html", shown, status=status)
