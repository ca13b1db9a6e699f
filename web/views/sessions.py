"""Signing in and out, and the theme."""

from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from web import theme
from web.forms import SignInForm
from web.views.shared import safe_next


class SignIn(LoginView):
    """User name and password; somebody already signed in goes on to their page."""

    authentication_form = SignInForm
    redirect_authenticated_user = True


@require_POST
def switch_theme(request: HttpRequest) -> HttpResponse:
    """Turn to the next theme and show the page again."""
    response = HttpResponseRedirect(safe_next(request, reverse("home")))
    response.set_cookie(
        theme.COOKIE, theme.theme_after(theme.theme_of(request)), max_age=31_536_000, samesite="Lax"
    )
    return response
