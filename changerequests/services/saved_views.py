"""Filters that a person keeps under a name: of the change requests on the first page, or of the rows of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet

from audit.row_locks import locked
from changerequests.models import SavedView
from datasets.errors import InvalidInput, NotFound
from datasets.models import Dataset

#: How many views of one place a person may keep.
MOST_VIEWS: Final = 50
LONGEST_NAME: Final = 80
#: Characters of all filters of one view.
LONGEST_FILTERS: Final = 2_000
#: What a view of each place may hold.
FILTERS: Final[Mapping[SavedView.Place, tuple[str, ...]]] = {
    SavedView.Place.REQUESTS: ("q", "state", "stands", "dataset", "group"),
    SavedView.Place.ROWS: ("column", "value", "sort"),
}


def views_of(*, person: User, dataset: Dataset | None = None) -> QuerySet[SavedView]:
    """What the person keeps, by name: of the rows of a dataset, without one of the first page."""
    place = SavedView.Place.REQUESTS if dataset is None else SavedView.Place.ROWS
    return SavedView.objects.filter(person=person, place=place, dataset=dataset).order_by("name")


def keep_view(
    *, person: User, name: str, filters: Mapping[str, str], dataset: Dataset | None = None
) -> SavedView:
    """Keep filters under a name; another view of the same name and place is replaced.

    Raises ``InvalidInput`` where the name is missing or too long, a filter is none of the place, or there are too many.
    """
    name = name.strip()
    place = SavedView.Place.REQUESTS if dataset is None else SavedView.Place.ROWS
    _require_name(name)
    _require_filters(place, filters)
    with transaction.atomic():
        # So that the limit holds in two windows.
        locked(User.objects.all()).get(pk=person.pk)
        known = views_of(person=person, dataset=dataset)
        if not known.filter(name=name).exists() and known.count() >= MOST_VIEWS:
            raise _wrong("name", f"You keep {MOST_VIEWS} views here already. Remove one first.")
        kept, _ = SavedView.objects.update_or_create(
            person=person, place=place, dataset=dataset, name=name, defaults={"filters": dict(filters)}
        )
    return kept


def remove_view(*, person: User, view_id: int) -> SavedView:
    """Forget a view of one's own; what it was comes back. Raises ``NotFound``."""
    with transaction.atomic():
        found = SavedView.objects.filter(person=person, pk=view_id).select_related("dataset__project").first()
        if found is None:
            raise NotFound("You keep no such view.")
        SavedView.objects.filter(pk=found.pk).delete()
    return found


def _require_name(name: str) -> None:
    if not name:
        raise _wrong("name", "Give the view a name.")
    if len(name) > LONGEST_NAME:
        raise _wrong("name", f"A name has up to {LONGEST_NAME} characters.")
    if "\x00" in name:
        raise _wrong("name", "The name holds a character that cannot be stored.")


def _require_filters(place: SavedView.Place, filters: Mapping[str, str]) -> None:
    unknown = [name for name in filters if name not in FILTERS[place]]
    if unknown:
        raise _wrong(
            "filters", f"There is no filter {unknown[0]} here. Possible: {', '.join(FILTERS[place])}."
        )
    if not any(filters.values()):
        raise _wrong("filters", "Nothing is filtered: there is nothing to keep.")
    if sum(map(len, filters.values())) > LONGEST_FILTERS or any("\x00" in text for text in filters.values()):
        raise _wrong("filters", f"Filters of up to {LONGEST_FILTERS:,} characters are kept.")


def _wrong(field: str, sentence: str) -> InvalidInput:
    return InvalidInput(sentence, errors={field: [sentence]})
