"""Where everything is found."""

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, include, path, reverse

from config import health


def _sample_data() -> list[URLPattern]:
    """Where sample tables are made, in installations that offer them: no others need what the demo needs."""
    if not settings.OFFERS_SAMPLE_DATA:
        return []
    from demo.sample import add_sample_data

    return [path("sample-data/", add_sample_data, name="add_sample_data")]


def admin_login(request: HttpRequest) -> HttpResponse:
    """The admin's own sign-in; where there is a provider it gives way to the page that offers it."""
    if settings.SIGN_IN_PROVIDER is None:
        return admin.site.login(request)
    return redirect_to_login(request.GET.get("next", reverse("admin:index")))


urlpatterns = [
    *_sample_data(),
    path("", include("web.urls")),
    path("", include("api.urls")),
    path("admin/login/", admin_login),
    path("admin/", admin.site.urls),
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
]

handler400 = "config.middleware.bad_request"
handler500 = "config.middleware.server_error"
