"""A person's own account: password, where they are signed in, tokens."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_safe

from accounts import access, devices, tokens
from accounts.models import Identity
from accounts.scopes import SENTENCES, Scope
from accounts.sessions import sessions_of
from datasets.errors import InvalidInput
from web.forms import PasswordForm, TokenForm, add_errors
from web.parameters import TEXT, asked_with
from web.views.shared import form_at, person, posted, signed_in
from web.wording import counted


@require_safe
@signed_in
def account(request: HttpRequest) -> HttpResponse:
    """Everything that opens the person's account, and how to close it."""
    return _page(request)


@sensitive_post_parameters()
@form_at("account")
@signed_in
def change_password(request: HttpRequest) -> HttpResponse:
    """Another password; other sessions and all tokens end with the old one."""
    form = PasswordForm(person(request), request, request.POST)
    if not form.is_valid():
        return _page(request, status=422, password_form=form)
    access.change_password(
        user=person(request),
        password=form.cleaned_data["new_password1"],
        session_key=request.session.session_key,
    )
    update_session_auth_hash(request, person(request))
    messages.success(request, "Your password is changed. Your other sessions and all your tokens have ended.")
    return HttpResponseRedirect(reverse("account"))


@form_at("account")
@signed_in
def sign_out_everywhere(request: HttpRequest) -> HttpResponse:
    """End every other session."""
    ended = access.sign_out_everywhere(user=person(request), session_key=request.session.session_key)
    messages.success(request, f"{counted(ended, 'other session')} ended.")
    return HttpResponseRedirect(reverse("account"))


@form_at("account")
@signed_in
def make_token(request: HttpRequest) -> HttpResponse:
    """A new token. Its key is on this page and nowhere else, so the answer is the page itself."""
    form = TokenForm(request.POST)
    if not form.is_valid():
        return _page(request, status=422, token_form=form)
    try:
        made, key = tokens.make_token(
            owner=person(request),
            name=form.cleaned_data["name"],
            scopes=[Scope(name) for name in form.cleaned_data["scopes"]],
            days=form.cleaned_data["days"],
            agent=form.cleaned_data["agent"],
        )
    except InvalidInput as error:
        add_errors(form, error)
        return _page(request, status=422, token_form=form)
    return _page(request, new_token=made, new_token_key=key)


@form_at("account")
@signed_in
def revoke_token(request: HttpRequest, number: UUID) -> HttpResponse:
    """Make one of the person's tokens worthless."""
    tokens.revoke_token(owner=person(request), number=number)
    messages.success(request, "The token is revoked.")
    return HttpResponseRedirect(reverse("account"))


@require_safe
@signed_in
@asked_with(code=TEXT)
def device(request: HttpRequest) -> HttpResponse:
    """A program waits to be let in: which one it is, and whether the person lets it in."""
    return _device_page(request, request.GET.get("code", ""))


@form_at("device")
@signed_in
def decide_device(request: HttpRequest) -> HttpResponse:
    """The person's decision on a program that waits."""
    code, let_in = posted(request, "code"), posted(request, "decision") == "let in"
    try:
        decided = devices.decide(user_code=code, person=person(request), let_in=let_in)
    except InvalidInput:
        return _device_page(request, code, status=422)
    name = decided.name or "The program"
    said = f"{name} is let in; go on where it waits." if let_in else f"{name} is not let in."
    messages.success(request, said)
    return HttpResponseRedirect(reverse("account"))


def _device_page(request: HttpRequest, code: str, *, status: int = 200) -> HttpResponse:
    shown: dict[str, Any] = {"code": code}
    if code:
        try:
            found = devices.waiting(code)
        except InvalidInput as error:
            shown["problem"], status = error.message, 422
        else:
            shown |= {"waiting": found, "sentences": [SENTENCES[Scope(name)] for name in found.scopes]}
    return render(request, "account/device.html", shown, status=status)


def _page(request: HttpRequest, *, status: int = 200, **context: Any) -> HttpResponse:
    user = person(request)
    shown = {
        "password_form": PasswordForm(user, request),
        "token_form": TokenForm(),
        "tokens": tokens.tokens_of(user),
        "sessions": sessions_of(user),
        "own_session": request.session.session_key,
        "has_password": user.has_usable_password() and settings.PASSWORD_SIGN_IN,
        "is_linked": Identity.objects.filter(user=user).exists(),
        **context,
    }
    return render(request, "account/account.html", shown, status=status)
