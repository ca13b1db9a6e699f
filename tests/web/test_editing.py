"""Editing rows without JavaScript: a form for each row, the tray, find and replace, and proposing."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from changerequests.models import ChangeRequest, EditedRow, Edits
from changerequests.services import edits, plans
from datasets.models import Dataset
from datasets.roles import Role
from tests.factories import ChangeRequestFactory, merge, person_with

pytestmark = pytest.mark.django_db


@pytest.fixture
def carl(dataset: Dataset) -> User:
    return person_with(Role.CONTRIBUTOR, dataset)


@pytest.fixture
def browser(carl: User) -> Client:
    client = Client()
    client.force_login(carl)
    return client


def at(dataset: Dataset, name: str, query: str = "") -> str:
    return reverse(name, args=[dataset.project.slug, dataset.slug]) + query


def form_of(number: int, name: str, value: str, *, seen: str = "", **more: str) -> dict[str, str]:
    """The fields of one cell as a browser sends them."""
    return {f"column-{number}": name, f"value-{number}": value, f"seen-{number}": seen, **more}


def edited(dataset: Dataset, person: User) -> dict[str, Any]:
    tray = edits.tray_of(dataset=dataset, person=person)
    return {str(row.key["tailnum"]): {cell.column: cell.value for cell in row.cells} for row in tray.rows}


def test_the_whole_path_without_scripts(browser: Client, dataset: Dataset, carl: User) -> None:
    page = browser.get(at(dataset, "dataset")).content.decode()
    assert at(dataset, "edit_rows") in page
    page = browser.get(at(dataset, "edit_rows")).content.decode()
    assert f"{at(dataset, 'edit_row')}?key-tailnum=N1" in page
    assert "No changes yet" in page

    row = at(dataset, "edit_row", "?key-tailnum=N1")
    page = browser.get(row).content.decode()
    assert "Part of the key" in page
    cells = {
        **form_of(1, "year", "1999", seen="1999"),
        **form_of(2, "manufacturer", "", seen="BOEING"),
        **form_of(3, "seats", "150", seen="149"),
    }
    answer = browser.post(row, {**cells, "action": "save"})
    assert answer.headers["Location"] == at(dataset, "edit_rows")
    assert edited(dataset, carl) == {"N1": {"manufacturer": "", "seats": 150}}
    assert browser.post(
        at(dataset, "edit_row", "?key-tailnum=N2"),
        {**form_of(2, "manufacturer", "AIRBUS", seen="AIRBUS"), "null-2": "on"},
    ).headers["Location"] == at(dataset, "edit_rows")
    browser.post(at(dataset, "edit_row"), {**form_of(0, "tailnum", "N9"), "was-0": "null", "action": "save"})
    browser.post(at(dataset, "edit_row", "?key-tailnum=N4"), {"action": "delete"})

    page = browser.get(at(dataset, "edits")).content.decode()
    assert "5 changes in 4 rows" in page
    assert "empty text" in page  # and NULL, which is something else
    assert "NULL" in page
    assert "5 changes in 4 rows" in browser.get(at(dataset, "dataset_schema")).content.decode()
    browser.post(at(dataset, "undo_edits"))
    assert "4 changes in 3 rows" in browser.get(at(dataset, "edits")).content.decode()
    browser.post(at(dataset, "redo_edits"))
    name = EditedRow.objects.get(operation="insert").name
    browser.post(at(dataset, "settle_edits"), {"row": name, "action": "restore"})
    assert sorted(edited(dataset, carl)) == ["N1", "N2", "N4"]

    browser.logout()
    browser.force_login(carl)  # another day
    assert "4 changes in 3 rows" in browser.get(at(dataset, "edits")).content.decode()
    answer = browser.post(at(dataset, "propose_edits"), {"title": "Two planes", "submit": "on"})
    made = ChangeRequest.objects.get()
    assert answer.headers["Location"] == reverse("change_request", args=[made.cr_id])
    assert (made.status, made.title, Edits.objects.count()) == ("pending", "Two planes", 0)
    page_of_changes = plans.changes_page(change_request=made, limit=10)
    assert [(one.operation, one.key["tailnum"]) for one in page_of_changes.items] == [
        ("update", "N1"), ("update", "N2"), ("delete", "N4"),
    ]  # fmt: skip


def test_what_does_not_fit_stands_at_its_field_and_is_kept(
    browser: Client, dataset: Dataset, carl: User
) -> None:
    row = at(dataset, "edit_row", "?key-tailnum=N1")
    answer = browser.post(row, {**form_of(3, "seats", "many", seen="149"), "action": "save"})
    assert answer.headers["Location"] == row
    page = browser.get(row).content.decode()
    assert "Found &quot;many&quot;; expected a number (long)." in page
    assert 'aria-invalid="true"' in page
    refused = browser.post(at(dataset, "propose_edits"), {"title": "Seats", "description": "Because"})
    assert refused.status_code == 422
    assert "nothing was proposed" in refused.content.decode()
    assert 'value="Seats"' in refused.content.decode()
    assert "Because" in refused.content.decode()
    assert (edited(dataset, carl), ChangeRequest.objects.count()) == ({"N1": {"seats": "many"}}, 0)
    browser.post(row, {**form_of(3, "seats", "", seen="many"), "action": "save"})
    assert edited(dataset, carl) == {"N1": {"seats": None}}  # an empty number is none


def test_lines_and_ticks_are_read_as_they_are_meant(browser: Client, dataset: Dataset, carl: User) -> None:
    row = at(dataset, "edit_row", "?key-tailnum=N4")  # whose manufacturer is NULL
    browser.post(row, {**form_of(2, "manufacturer", ""), "was-2": "null", "null-2": "on"})
    assert edited(dataset, carl) == {}
    browser.post(row, {**form_of(2, "manufacturer", "two\r\nlines"), "was-2": "null", "null-2": "on"})
    assert edited(dataset, carl) == {"N4": {"manufacturer": "two\nlines"}}
    browser.post(row, {**form_of(2, "manufacturer", "two\r\nlines", seen="two\nlines")})
    assert edited(dataset, carl) == {"N4": {"manufacturer": "two\nlines"}}
    browser.post(row, {**form_of(2, "manufacturer", "", seen="two\nlines")})
    assert edited(dataset, carl) == {"N4": {"manufacturer": ""}}


def test_what_others_changed_is_told_and_kept_or_not(browser: Client, dataset: Dataset, carl: User) -> None:
    browser.post(at(dataset, "edit_row", "?key-tailnum=N1"), form_of(3, "seats", "150", seen="149"))
    made: ChangeRequest = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,7\n")
    merge(made, made.author)
    assert "Somebody changed it to" in browser.get(at(dataset, "edits")).content.decode()
    assert (
        "Somebody changed it to" in browser.get(at(dataset, "edit_row", "?key-tailnum=N1")).content.decode()
    )
    browser.post(at(dataset, "settle_edits"), {"row": EditedRow.objects.get().name, "action": "keep"})
    assert "Somebody changed it to" not in browser.get(at(dataset, "edits")).content.decode()
    assert edited(dataset, carl) == {"N1": {"seats": 150}}


def test_find_and_replace_is_counted_first(browser: Client, dataset: Dataset, carl: User) -> None:
    asked: dict[str, Any] = {"columns": ["manufacturer"], "find": "air", "replace": "Air"}
    page = browser.post(at(dataset, "replace_in_rows"), {**asked, "action": "look"}).content.decode()
    assert "1 cell in 1 row would be replaced." in page
    assert edited(dataset, carl) == {}
    late = browser.post(at(dataset, "replace_in_rows"), {**asked, "counted": "9", "action": "replace"})
    assert (late.status_code, edited(dataset, carl)) == (412, {})
    browser.post(at(dataset, "replace_in_rows"), {**asked, "counted": "1", "action": "replace"})
    assert edited(dataset, carl) == {"N2": {"manufacturer": "AirBUS"}}
    unclear = browser.post(at(dataset, "replace_in_rows"), {**asked, "with_null": "on", "action": "look"})
    assert (unclear.status_code, "whole cells only" in unclear.content.decode()) == (422, True)


def test_find_and_replace_goes_through_several_columns_at_once(
    browser: Client, dataset: Dataset, carl: User
) -> None:
    place = at(dataset, "replace_in_rows")
    none = browser.post(place, {"find": "1", "replace": "2", "action": "look"})
    assert (none.status_code, "Choose a column, or every column." in none.content.decode()) == (422, True)
    asked: dict[str, Any] = {
        "columns": ["manufacturer", "seats"],
        "find": "a",
        "replace": "A",
        "match_case": "on",
    }
    browser.post(at(dataset, "edit_row", "?key-tailnum=N1"), form_of(2, "manufacturer", "a a", seen="BOEING"))
    page = " ".join(browser.post(place, {**asked, "every": "on", "action": "look"}).content.decode().split())
    counted = re.search(r"(\d+) cells? in", page)
    assert counted is not None
    browser.post(place, {**asked, "every": "on", "counted": counted[1], "action": "replace"})
    assert edited(dataset, carl)["N1"] == {"manufacturer": "A A"}
    browser.post(at(dataset, "undo_edits"))
    assert edited(dataset, carl)["N1"] == {"manufacturer": "a a"}


def test_what_cannot_be_kept_comes_back_as_it_was_typed(
    browser: Client, dataset: Dataset, carl: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("changerequests.services.edits.MOST_ROWS", 0)
    place = at(dataset, "edit_row", "?key-tailnum=N1")
    refused = browser.post(place, form_of(3, "seats", "1500", seen="149"))
    page = " ".join(refused.content.decode().split())
    assert (refused.status_code, edited(dataset, carl)) == (422, {})
    assert "> 1500</textarea>" in page
    assert 'name="seen-3" value="149"' in page


def test_rows_that_are_not_there_are_not_edited(browser: Client, dataset: Dataset) -> None:
    assert browser.get(at(dataset, "edit_row", "?key-tailnum=N404")).status_code == 404
    assert browser.get(at(dataset, "edit_row", "?row=new-none")).status_code == 404
    browser.post(at(dataset, "edit_row", "?key-tailnum=N404"), form_of(3, "seats", "1"))
    assert EditedRow.objects.count() == 0


def test_reading_pages_load_no_grid(browser: Client, dataset: Dataset) -> None:
    assert "tabulator" not in browser.get(at(dataset, "dataset")).content.decode()
    assert "tabulator" in browser.get(at(dataset, "edit_rows")).content.decode()


def test_the_rows_of_a_draft_are_edited_in_forms(dataset: Dataset, carl: User, browser: Client) -> None:
    made: ChangeRequest = ChangeRequestFactory.create(dataset=dataset, author=carl)
    place = reverse("staged_rows", args=[made.cr_id])
    page = browser.get(place).content.decode()
    assert f"{place}?key-tailnum=N3" in page
    row = f"{place}?key-tailnum=N3"
    assert "2002" in browser.get(row).content.decode()
    digest = made.revisions.get().digest
    wrong = browser.post(row, {**form_of(1, "year", "soon", seen="2002"), "edited": digest})
    assert (wrong.status_code, "expected a number" in wrong.content.decode()) == (422, True)
    answer = browser.post(row, {**form_of(1, "year", "2003", seen="2002"), "edited": digest})
    assert answer.headers["Location"] == place
    late = browser.post(row, {**form_of(1, "year", "2004", seen="2002"), "edited": digest})
    assert (late.status_code, "is another by now" in late.content.decode()) == (412, True)
    browser.post(f"{place}?key-tailnum=N5", {"action": "remove"})
    browser.post(
        f"{place}?add=row", {**form_of(0, "tailnum", "N8"), **form_of(3, "seats", "8"), "was-0": "null"}
    )
    page_of_changes = plans.changes_page(change_request=made, limit=10)
    assert [(one.operation, one.key["tailnum"], one.proposed) for one in page_of_changes.items] == [
        ("update", "N3", {"tailnum": "N3", "year": 2003, "manufacturer": "EMBRAER", "seats": 55}),
        ("insert", "N8", {"tailnum": "N8", "year": None, "manufacturer": None, "seats": 8}),
    ]
    assert made.revisions.count() == 4
