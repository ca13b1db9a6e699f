"""Signing in and out, and the theme."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse

from accounts.guard import remember_browser
from web import theme
from web.forms import SignInForm
from web.typed import TypedForm, typed_form
from web.views.provider import ID_TOKEN, leaving_page
from web.views.shared import form_at, safe_next

_OF_SOMEBODY_ELSE = (
    "The form that was sent before you signed in was opened by another account. "
    "It is not shown, and nothing was sent."
)


class SignIn(LoginView):
    """User name and password; somebody already signed in goes on to their page.

    What was typed into a form while nobody was signed in goes along, and is shown after that to be sent: to the account
    that had opened the form, and to no other.
    """

    http_method_names = ["get", "head", "post"]
    authentication_form = SignInForm
    redirect_authenticated_user = True

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        typed = typed_form(request)
        if typed is not None and request.user.is_authenticated:  # sent twice, or signed in elsewhere too
            return _typed_page(request, typed)
        return super().dispatch(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), "typed": typed_form(self.request)}

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Signed in: from now on nothing that others try elsewhere keeps the person out of this browser."""
        came_along = typed_form(self.request) is not None
        response = super().form_valid(form)
        typed = typed_form(self.request)
        if typed is not None:
            response = _typed_page(self.request, typed)
        elif came_along:
            messages.warning(self.request, _OF_SOMEBODY_ELSE)
        remember_browser(self.request, response, form.get_user().get_username())
        return response


def _typed_page(request: HttpRequest, typed: TypedForm) -> HttpResponse:
    return render(request, "typed.html", {"typed": typed})


class SignOut(LogoutView):
    """The end of a session; whoever opens the address is led to the page with its button."""

    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponseRedirect(reverse("home"))

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Sign out here, and lead on to the provider where somebody came from there."""
        id_token = request.session.get(ID_TOKEN, "")
        response = super().post(request, *args, **kwargs)
        return leaving_page(request, id_token) or response


@form_at("home")
def switch_theme(request: HttpRequest) -> HttpResponse:
    """Turn to the next theme and show the page again."""
    response = HttpResponseRedirect(safe_next(request, reverse("home")))
    response.set_cookie(
        theme.COOKIE, theme.theme_after(theme.theme_of(request)), max_age=31_536_000, samesite="Lax"
    )
    return response
