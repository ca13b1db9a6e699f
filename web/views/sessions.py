"""Signing in and out, and the theme."""

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from accounts.guard import remember_browser
from web import theme
from web.forms import SignInForm
from web.views.shared import safe_next


class SignIn(LoginView):
    """User name and password; somebody already signed in goes on to their page."""

    authentication_form = SignInForm
    redirect_authenticated_user = True

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Signed in: from now on nothing that others try elsewhere keeps the person out of this browser."""
        response = super().form_valid(form)
        remember_browser(self.request, response, form.get_user().get_username())
        return response


@require_POST
def switch_theme(request: HttpRequest) -> HttpResponse:
    """Turn to the next theme and show the page again."""
    response = HttpResponseRedirect(safe_next(request, reverse("home")))
    response.set_cookie(
        theme.COOKIE, theme.theme_after(theme.theme_of(request)), max_age=31_536_000, samesite="Lax"
    )
    return response
