"""Signing in through the installation's provider, linking an account to it, and links that let in once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods, require_safe

from accounts import identities, sign_in_links
from accounts.errors import (
    EmailTaken,
    IdentityTaken,
    InvitationOver,
    LinkOver,
    ProviderFailed,
    SignInRefused,
)
from accounts.guard import remember_browser
from accounts.invitations import invitation_with
from accounts.provider import SignInProvider
from datasets.errors import DomainError, NotFound
from web.parameters import TEXT, asked_with
from web.views.shared import form_at, person, signed_in

if TYPE_CHECKING:
    from accounts import openid

#: What a session holds of the provider's own, to be ended with it.
ID_TOKEN = "provider_id_token"  # noqa: S105  (the name of it)
_BACKEND = "accounts.backends.GuardedBackend"
_REFUSALS = (ProviderFailed, SignInRefused, EmailTaken, IdentityTaken, InvitationOver)
_STATUS = {
    "provider_failed": 502,
    "invitation_over": 410,
    "sign_in_link_over": 410,
    "email_taken": 409,
    "identity_taken": 409,
}


@asked_with(next=TEXT)
@require_safe
def sign_in_with_provider(request: HttpRequest) -> HttpResponse:
    """Lead the browser to the provider, and afterwards to ``next`` of this site."""
    on = _on_this_site(request, request.GET.get("next", ""))
    if settings.SIGN_IN_PROVIDER is None:
        return HttpResponseRedirect(reverse("login"))
    if request.user.is_authenticated:
        return HttpResponseRedirect(on)
    return _led_away(request, then=on)


@require_safe
def accept_with_provider(request: HttpRequest, key: str) -> HttpResponse:
    """Take an invitation up as whoever one is at the provider."""
    if settings.SIGN_IN_PROVIDER is None:
        return HttpResponseRedirect(reverse("accept_invitation", args=[key]))
    try:
        invitation_with(key)
    except InvitationOver as error:
        return render(request, "people/over.html", {"message": error.message}, status=410)
    return _led_away(request, then=reverse("home"), invitation=key)


@form_at("account")
@signed_in
def link_account(request: HttpRequest) -> HttpResponse:
    """Lead somebody who is signed in to the provider, whose answer links the two.

    By a form, and never by a link of others: whoever is at the provider in this browser gets into the account.
    """
    if settings.SIGN_IN_PROVIDER is None:
        raise NotFound("There is no provider to link an account to.")
    try:
        address = _openid().begin(request, then=reverse("account"), links=person(request).pk)
    except ProviderFailed as error:
        return _refused(request, error)
    return render(request, "registration/leaving.html", {"address": address, **_named()})


@form_at("account")
@signed_in
def unlink_account(request: HttpRequest) -> HttpResponse:
    """Let the account be signed in to by its password alone again."""
    user = person(request)
    identities.unlink(user=user, actor=user, spare=request.session.session_key)
    request.session.pop(ID_TOKEN, None)
    messages.success(request, "Your account is linked no more. Your tokens and other sessions ended.")
    return HttpResponseRedirect(reverse("account"))


@asked_with(
    code=TEXT,
    state=TEXT,
    iss=TEXT,
    error=TEXT,
    error_description=TEXT,
    error_uri=TEXT,
    session_state=TEXT,
    scope=TEXT,
)
@require_safe
def provider_answer(request: HttpRequest) -> HttpResponse:
    """What the provider says of who signed in there: they are signed in here, or told why not."""
    provider: SignInProvider | None = settings.SIGN_IN_PROVIDER
    if provider is None:
        return HttpResponseRedirect(reverse("login"))
    try:
        answer = _openid().complete(request)
        if "links" in answer.state:
            return _linked(request, provider, answer)
        vouched = identities.sign_in(
            provider=provider, claims=answer.claims, invitation_key=answer.state.get("invitation", "")
        )
    except _REFUSALS as error:
        return _refused(request, error)
    response = HttpResponseRedirect(_on_this_site(request, str(answer.state.get("then", ""))))
    _let_in(request, response, vouched.user)
    request.session[ID_TOKEN] = answer.id_token
    if vouched.is_new:
        messages.success(request, f"Welcome, {vouched.user.get_full_name() or vouched.user.get_username()}.")
    if vouched.lacks_groups:
        messages.warning(
            request,
            f"{provider.name} did not say which groups you are in, so none of its groups gives you a role now. "
            "If you miss something, ask an operator.",
        )
    return response


@require_http_methods(["GET", "HEAD", "POST"])
def sign_in_once(request: HttpRequest, link: str) -> HttpResponse:
    """A link that an operator made on the machine: it lets one person in, once."""
    try:
        if request.method != "POST":
            return render(request, "registration/once.html", {"who": sign_in_links.whose(link)})
        user = sign_in_links.take(link)
    except LinkOver as error:
        return _refused(request, error)
    response = HttpResponseRedirect(reverse("home"))
    _let_in(request, response, user)
    return response


def leaving_page(request: HttpRequest, id_token: str) -> HttpResponse | None:
    """After signing out here: the page that leads on to the provider, which ends its own session; None where it has
    none to end.
    """
    if not id_token or settings.SIGN_IN_PROVIDER is None:
        return None
    address = _openid().end_session_address(request, id_token, reverse("login"))
    if not address:
        return None
    context = {"address": address, "signed_out": True, **_named()}
    return render(request, "registration/leaving.html", context)


def _linked(request: HttpRequest, provider: SignInProvider, answer: openid.ProviderAnswer) -> HttpResponse:
    if request.user.pk != answer.state["links"]:
        raise ProviderFailed(
            "You are not signed in any more as who began to link an account. Sign in and begin again."
        )
    identities.link(provider=provider, claims=answer.claims, user=person(request))
    messages.success(request, f"Your account is linked: from now on you can sign in with {provider.name}.")
    return HttpResponseRedirect(reverse("account"))


def _let_in(request: HttpRequest, response: HttpResponse, user: User) -> None:
    login(request, user, backend=_BACKEND)
    remember_browser(request, response, user.get_username())


def _led_away(request: HttpRequest, **state: Any) -> HttpResponse:
    try:
        return HttpResponseRedirect(_openid().begin(request, **state))
    except ProviderFailed as error:
        return _refused(request, error)


def _refused(request: HttpRequest, error: DomainError) -> HttpResponse:
    context = {"message": error.message, "passwords": settings.PASSWORD_SIGN_IN, **_named()}
    status = _STATUS.get(error.code, 403)
    return render(request, "registration/refused.html", context, status=status)


def _named() -> dict[str, Any]:
    return {"provider": settings.SIGN_IN_PROVIDER}


def _on_this_site(request: HttpRequest, wanted: str) -> str:
    safe = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if safe else reverse("home")


def _openid() -> Any:
    """The flow, whose library is there where a provider is set."""
    from accounts import openid

    return openid
