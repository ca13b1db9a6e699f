"""The gallery: every component in every state, for those who build pages."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from datasets.errors import NotFound
from web.forms import GalleryForm
from web.icons import ICONS
from web.view_models.gallery import samples
from web.views.shared import person, signed_in


@require_safe
@signed_in
def gallery(request: HttpRequest) -> HttpResponse:
    """Every component; for staff, and for everybody where the installation is one of developers."""
    if not (settings.DEBUG or person(request).is_staff):
        raise NotFound("There is no such page, or you may not see it.")
    wrong = GalleryForm({"title": "", "kind": "rows"})
    wrong.is_valid()
    context = {**samples(), "icons": sorted(ICONS), "form": GalleryForm(auto_id="plain_%s"), "wrong": wrong}
    return render(request, "gallery/gallery.html", context)
