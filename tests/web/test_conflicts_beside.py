"""The page of conflicts where somebody else chose meanwhile: what they chose is told, what was typed stays."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from changerequests.models import ChangeRequest
from datasets.models import Dataset
from tests.factories import ChangeRequestFactory, merge
from tests.web.conftest import SignedIn


@pytest.fixture
def conflicting(dataset: Dataset, author: User, owner: User) -> ChangeRequest:
    """Conflicts in the year and the seats of N1, and in the seats of N2."""
    made: ChangeRequest = ChangeRequestFactory(
        dataset=dataset, author=author, csv="tailnum,year,seats\nN1,1,1\nN2,2004,2\n"
    )
    merge(ChangeRequestFactory(dataset=dataset, csv="tailnum,year,seats\nN1,10,10\nN2,2004,20\n"), owner)
    return made


def form_of(page: str, marker: str) -> str:
    """The one form in which ``marker`` stands."""
    [form] = [one for one in re.findall(r"<form.*?</form>", page, re.DOTALL) if marker in one]
    return form


def fields_of(form: str) -> dict[str, Any]:
    """What a form sends as it stands: hidden fields, marked radios, texts."""
    fields: dict[str, Any] = {"cell": []}
    for control in re.findall(r"<input[^>]*>", form):
        marked = re.search(r'type="(radio|checkbox)"', control) is None or " checked" in control
        name, value = (re.search(rf'\s{part}="([^"]*)"', control) for part in ("name", "value"))
        if name and marked:
            text = value[1].replace("&quot;", '"') if value else ""
            fields[name[1]] = [*fields["cell"], text] if name[1] == "cell" else text
    return fields


def card(page: str, row: str) -> dict[str, Any]:
    """What the card of a row sends."""
    return fields_of(form_of(page, f"&quot;tailnum&quot;: &quot;{row}&quot;"))


def test_a_card_tells_who_chose_meanwhile_and_keeps_what_was_typed(
    conflicting: ChangeRequest, owner: User, author: User, signed_in: SignedIn
) -> None:
    address = f"/change-requests/{conflicting.cr_id}/conflicts/"
    olivia, carl = signed_in(owner), signed_in(author)
    opened = card(carl.get(address).content.decode(), "N1")
    theirs = card(olivia.get(address).content.decode(), "N1")
    assert olivia.post(f"{address}resolve/", {**theirs, "choice-0": "current"}).status_code == 302

    typed = {**opened, "choice-0": "custom", "value-0": "1987"}
    refused = carl.post(f"{address}resolve/", typed)

    page = refused.content.decode()
    assert refused.status_code == 409
    assert re.search(r"tailnum = N1 · year: Olivia Okafor chose “Keep current” on \d+ \w+ \d{4} at", page)
    assert "not saved yet" in page
    again = card(page, "N1")
    assert (again["choice-0"], again["value-0"]) == ("custom", "1987")
    assert conflicting.resolutions.count() == 1

    assert carl.post(f"{address}resolve/", again).status_code == 302
    stands = conflicting.resolutions.get(is_current=True)
    assert (stands.choice, stands.value, stands.chosen_by) == ("custom", 1987, author)


def test_a_card_sends_no_choice_for_the_cells_that_were_not_touched(
    conflicting: ChangeRequest, owner: User, author: User, signed_in: SignedIn
) -> None:
    address = f"/change-requests/{conflicting.cr_id}/conflicts/"
    olivia, carl = signed_in(owner), signed_in(author)
    carl.post(f"{address}resolve/", {**card(carl.get(address).content.decode(), "N1"), "choice-0": "current"})
    opened = card(carl.get(address).content.decode(), "N1")
    theirs = card(olivia.get(address).content.decode(), "N1")
    olivia.post(f"{address}resolve/", {**theirs, "choice-0": "proposed"})

    assert carl.post(f"{address}resolve/", {**opened, "choice-1": "base"}).status_code == 302

    stands = conflicting.resolutions.filter(is_current=True).values_list("column", "choice", "chosen_by")
    assert sorted(stands) == [("seats", "base", author.pk), ("year", "proposed", owner.pk)]


def test_a_value_that_does_not_fit_stays_where_it_was_typed(
    conflicting: ChangeRequest, author: User, signed_in: SignedIn
) -> None:
    address = f"/change-requests/{conflicting.cr_id}/conflicts/"
    carl: Client = signed_in(author)
    opened = card(carl.get(address).content.decode(), "N1")
    refused = carl.post(f"{address}resolve/", {**opened, "choice-1": "custom", "value-1": "many"})
    again = card(refused.content.decode(), "N1")
    assert (refused.status_code, again["choice-1"], again["value-1"]) == (422, "custom", "many")


def test_a_choice_for_a_column_lists_what_differs(
    conflicting: ChangeRequest, owner: User, author: User, signed_in: SignedIn
) -> None:
    address = f"/change-requests/{conflicting.cr_id}/conflicts/"
    olivia, carl = signed_in(owner), signed_in(author)
    bulk = fields_of(
        form_of(carl.get(address).content.decode(), "Take proposed in every open conflict of seats")
    )
    theirs = card(olivia.get(address).content.decode(), "N2")
    olivia.post(f"{address}resolve/", {**theirs, f"choice-{theirs['cell'][0]}": "current"})

    refused = carl.post(f"{address}resolve-column/", bulk, headers={"HX-Request": "true"})

    assert refused.status_code == 409
    assert "tailnum = N2 · seats: Olivia Okafor chose “Keep current”" in refused.content.decode()
    assert conflicting.resolutions.count() == 1
