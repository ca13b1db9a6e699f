"""Keeping filters under a name, and forgetting them."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse

from changerequests.models import SavedView
from changerequests.services import saved_views as services
from datasets.models import Dataset
from datasets.roles import visible_dataset
from web.view_models.saved_views import address_of, filters_of
from web.views.shared import form_at, person, posted, signed_in, whole_number


@form_at("home")
@signed_in
def keep(request: HttpRequest) -> HttpResponse:
    """Keep the filters of the page that was shown, and show it again."""
    dataset = _dataset(request)
    place = SavedView.Place.REQUESTS if dataset is None else SavedView.Place.ROWS
    kept = services.keep_view(
        person=person(request),
        name=posted(request, "name"),
        filters=filters_of(QueryDict(posted(request, "query")), place),
        dataset=dataset,
    )
    messages.success(request, f"The view {kept.name} is saved.")
    return HttpResponseRedirect(address_of(kept, dataset))


def _dataset(request: HttpRequest) -> Dataset | None:
    """The dataset whose rows were shown; None on the first page. Raises ``NotFound``."""
    text = posted(request, "dataset")
    return visible_dataset(person(request), whole_number(text) or 0) if text else None


@form_at("home")
@signed_in
def remove(request: HttpRequest, view_id: int) -> HttpResponse:
    """Forget a view of one's own."""
    gone = services.remove_view(person=person(request), view_id=view_id)
    messages.success(request, f"The view {gone.name} is removed.")
    place = gone.dataset
    page = reverse("home") if place is None else reverse("dataset", args=[place.project.slug, place.slug])
    return HttpResponseRedirect(page)
