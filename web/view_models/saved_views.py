"""Saved views as a page shows them: links to each, and what of the page's own address could be kept."""

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.http import QueryDict
from django.urls import reverse
from django.utils.http import urlencode

from changerequests.models import SavedView
from changerequests.services.saved_views import FILTERS, views_of
from datasets.models import Dataset


@dataclass(frozen=True)
class ViewLink:
    """One view that somebody keeps."""

    pk: int
    name: str
    url: str
    is_shown: bool


@dataclass(frozen=True)
class SavedViews:
    """The reader's views of a place; ``query`` are the filters of the page that is shown, empty where it has none."""

    views: tuple[ViewLink, ...]
    query: str

    @property
    def is_kept(self) -> bool:
        """Whether what is shown is one of them."""
        return any(view.is_shown for view in self.views)


def saved_views(reader: User, shown: QueryDict, dataset: Dataset | None = None) -> SavedViews:
    """What the reader keeps of a place, in one statement."""
    place = SavedView.Place.REQUESTS if dataset is None else SavedView.Place.ROWS
    filters = filters_of(shown, place)
    return SavedViews(
        tuple(
            ViewLink(one.pk, one.name, address_of(one, dataset), one.filters == filters)
            for one in views_of(person=reader, dataset=dataset)
        ),
        urlencode(filters),
    )


def filters_of(shown: QueryDict, place: SavedView.Place) -> dict[str, str]:
    """The filters of a place in an address; those that are empty filter nothing."""
    found = {
        name: str(shown[name])
        for name in FILTERS[place]
        if shown.get(name) or (name == "value" and name in shown)
    }
    if place == SavedView.Place.ROWS and not ("value" in shown and shown.get("column")):
        found.pop("column", None)  # one without the other asks for nothing
        found.pop("value", None)
    return found


def address_of(view: SavedView, dataset: Dataset | None) -> str:
    """Where a view leads."""
    page = (
        reverse("home") if dataset is None else reverse("dataset", args=[dataset.project.slug, dataset.slug])
    )
    return f"{page}?{urlencode(view.filters)}"
