"""Where everything is found."""

from django.contrib import admin
from django.urls import include, path

from config import health

urlpatterns = [
    path("", include("web.urls")),
    path("", include("api.urls")),
    path("admin/", admin.site.urls),
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
]

handler400 = "config.middleware.bad_request"
handler500 = "config.middleware.server_error"
