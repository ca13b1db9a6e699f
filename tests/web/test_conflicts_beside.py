"""The page of conflicts without JavaScript, and where somebody else chose meanwhile: what they chose is told, what was
typed stays.
"""

import csv
import io
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from changerequests.models import ChangeRequest
from datasets.models import Dataset
from tests.factories import ChangeRequestFactory, merge
from tests.web.conftest import SignedIn

LINES = {"HX-Request": "true", "X-Lines": "true"}


@pytest.fixture
def conflicting(dataset: Dataset, author: User, owner: User) -> ChangeRequest:
    """Conflicts in the year and the seats of N1, and in the seats of N2; the model of N2 merges beside."""
    made: ChangeRequest = ChangeRequestFactory(
        dataset=dataset, author=author, csv="tailnum,year,seats\nN1,1,1\nN2,2004,2\n"
    )
    merge(ChangeRequestFactory(dataset=dataset, csv="tailnum,year,seats\nN1,10,10\nN2,2004,20\n"), owner)
    return made


@pytest.fixture
def address(conflicting: ChangeRequest) -> str:
    return f"/change-requests/{conflicting.cr_id}/conflicts/"


def page_at(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def fields_of(part: str) -> dict[str, Any]:
    """What the fields in a part of a page send as they stand: hidden fields, marked radios, texts."""
    fields: dict[str, Any] = {"line": []}
    for control in re.findall(r"<input[^>]*>", part):
        marked = re.search(r'type="(radio|checkbox)"', control) is None or re.search(r"\schecked", control)
        name, value = (re.search(rf'\s{one}="([^"]*)"', control) for one in ("name", "value"))
        if name and marked:
            text = value[1].replace("&quot;", '"') if value else ""
            fields[name[1]] = [*fields["line"], text] if name[1] == "line" else text
    return fields


def line(page: str, row: str, column: str) -> tuple[str, dict[str, Any]]:
    """The name of a line, and what it sends."""
    for part in re.findall(r'<tr id="conflict-.*?</tr>', page, re.DOTALL):
        sent = fields_of(part)
        [name] = sent["line"]
        if (sent[f"key-{name}"], sent[f"column-{name}"]) == (f'{{"tailnum": "{row}"}}', column):
            return name, sent
    raise AssertionError(f"There is no line for {column} of {row}.")


def choose(client: Client, address: str, row: str, column: str, choice: str, **options: Any) -> Any:
    name, sent = line(page_at(client, f"{address}?show=all"), row, column)
    return client.post(f"{address}resolve/", {**sent, f"choice-{name}": choice}, **options)


def standing(conflicting: ChangeRequest) -> list[tuple[str, str, str, int]]:
    found = conflicting.resolutions.filter(is_current=True)
    return sorted((one.key["tailnum"], one.column, one.choice, one.chosen_by_id) for one in found)


def test_one_submit_saves_the_choices_of_the_page_and_leaves_the_others(
    conflicting: ChangeRequest, address: str, author: User, signed_in: SignedIn
) -> None:
    carl = signed_in(author)
    page = page_at(carl, address)
    whole = fields_of(page[page.index('id="conflict-form"') :])
    year, seats = line(page, "N1", "year")[0], line(page, "N2", "seats")[0]

    answer = carl.post(
        f"{address}resolve/",
        {**whole, f"choice-{year}": "base", f"choice-{seats}": "custom", f"value-{seats}": "7"},
    )

    assert (answer.status_code, answer.headers["Location"]) == (302, address)
    assert [one[:3] for one in standing(conflicting)] == [("N1", "year", "base"), ("N2", "seats", "custom")]
    page = page_at(carl, address)
    assert "2 of 3 resolved" in page
    assert re.findall(r'name="column-\w+"\s+value="(\w*)"', page) == ["seats"]  # the others are folded away


def test_current_is_told_with_its_request_and_what_else_merges(
    dataset: Dataset, conflicting: ChangeRequest, address: str, author: User, signed_in: SignedIn
) -> None:
    page = page_at(signed_in(author), address)
    merged = ChangeRequest.objects.get(merged_version=1)
    assert re.search(
        rf'v1 · [^<]+ · [^<]+ · <a href="/change-requests/{merged.cr_id}/">{merged.cr_id}</a>', page
    )


def test_a_line_tells_who_chose_meanwhile_and_keeps_what_was_typed(
    conflicting: ChangeRequest, address: str, owner: User, author: User, signed_in: SignedIn
) -> None:
    olivia, carl = signed_in(owner), signed_in(author)
    name, opened = line(page_at(carl, address), "N1", "year")
    assert choose(olivia, address, "N1", "year", "current").status_code == 302

    typed = {**opened, f"choice-{name}": "custom", f"value-{name}": "1987"}
    refused = carl.post(f"{address}resolve/", typed)

    page = refused.content.decode()
    assert refused.status_code == 409
    assert re.search(r"tailnum = N1 · year: Olivia Okafor chose Current on \d+ \w+ \d{4} \d\d:\d\d UTC", page)
    assert "not saved yet" in page
    _, again = line(page, "N1", "year")
    assert (again[f"choice-{name}"], again[f"value-{name}"]) == ("custom", "1987")
    assert conflicting.resolutions.count() == 1

    assert carl.post(f"{address}resolve/", again).status_code == 302
    stands = conflicting.resolutions.get(is_current=True)
    assert (stands.choice, stands.value, stands.chosen_by) == ("custom", 1987, author)


def test_of_several_lines_those_are_saved_that_can_be(
    conflicting: ChangeRequest, address: str, author: User, signed_in: SignedIn
) -> None:
    carl = signed_in(author)
    page = page_at(carl, address)
    whole = fields_of(page[page.index('id="conflict-form"') :])
    year, seats = line(page, "N1", "year")[0], line(page, "N1", "seats")[0]
    sent = {**whole, f"choice-{year}": "proposed", f"choice-{seats}": "custom", f"value-{seats}": "many"}

    refused = carl.post(f"{address}resolve/", sent)

    page = refused.content.decode()
    assert (refused.status_code, [one[:3] for one in standing(conflicting)]) == (
        422,
        [("N1", "year", "proposed")],
    )
    _, again = line(page, "N1", "seats")
    assert (again[f"choice-{seats}"], again[f"value-{seats}"]) == ("custom", "many")
    assert "1 choice could not be stored" in page
    assert "does not fit" in page


def test_lines_are_answered_alone_and_news_of_others_only_where_there_are_any(
    conflicting: ChangeRequest, address: str, owner: User, author: User, signed_in: SignedIn
) -> None:
    olivia, carl = signed_in(owner), signed_in(author)
    page = page_at(carl, address)
    state = re.search(r'data-state="(\w*)"', page)
    digests = re.findall(r'data-digest="(\w+)"', page)
    asked = {"state": state[1] if state else "", "digest": digests}
    assert carl.get(f"{address}lines/", asked, headers=LINES).status_code == 204

    saved = choose(olivia, address, "N1", "year", "base", headers=LINES)
    assert saved.status_code == 200
    assert "1 of 3 resolved" in saved.content.decode()
    assert saved.content.decode().count('<tr id="conflict-') == 1

    news = carl.get(f"{address}lines/", asked, headers=LINES)
    assert news.status_code == 200
    assert news.content.decode().count('<tr id="conflict-') == 3
    assert re.search(r"Olivia Okafor chose Base <time[^>]*>just now</time>", news.content.decode())
    refused = carl.post(
        f"{address}resolve/",
        {**line(page, "N1", "year")[1], f"choice-{line(page, 'N1', 'year')[0]}": "proposed"},
        headers=LINES,
    )
    assert refused.status_code == 409
    assert "Not saved." in refused.content.decode()
    assert standing(conflicting) == [("N1", "year", "base", owner.pk)]


def bulk(page: str, choice: str) -> dict[str, Any]:
    [form] = [one for one in re.findall(r"<form.*?</form>", page, re.DOTALL) if f'id="bulk-{choice}"' in one]
    return fields_of(form)


def test_a_filter_narrows_chooses_for_many_and_is_undone(
    conflicting: ChangeRequest, address: str, author: User, signed_in: SignedIn
) -> None:
    carl = signed_in(author)
    page = page_at(carl, f"{address}?column=seats&current=20")
    assert "Proposed for 1 conflict<" in page
    assert page.count('<tr id="conflict-') == 1

    answer = carl.post(f"{address}matching/", bulk(page, "proposed"))
    assert [one[:3] for one in standing(conflicting)] == [("N2", "seats", "proposed")]
    place = answer.headers["Location"]
    assert place.startswith(f"{address}?column=seats&current=20&undo=")

    page = page_at(carl, place)
    [form] = [one for one in re.findall(r"<form.*?</form>", page, re.DOTALL) if 'id="undo-choices"' in one]
    undone = carl.post(f"{address}undo/", fields_of(form))
    assert (undone.status_code, standing(conflicting)) == (302, [])
    again = carl.post(f"{address}undo/", fields_of(form), headers={"HX-Request": "true"})
    assert again.status_code == 422
    assert "nothing left to undo" in again.content.decode()


def test_a_choice_for_many_lists_what_differs(
    conflicting: ChangeRequest, address: str, owner: User, author: User, signed_in: SignedIn
) -> None:
    olivia, carl = signed_in(owner), signed_in(author)
    sent = bulk(page_at(carl, f"{address}?column=seats"), "proposed")
    choose(olivia, address, "N2", "seats", "current")

    refused = carl.post(f"{address}matching/", sent, headers={"HX-Request": "true"})

    assert refused.status_code == 409
    assert "tailnum = N2 · seats: Olivia Okafor chose Current" in refused.content.decode()
    assert conflicting.resolutions.count() == 1


@pytest.mark.parametrize("query", ["current=5", "column=seats&current=many", "after=x", "kind=other"])
def test_a_filter_that_does_not_fit_keeps_the_page(
    conflicting: ChangeRequest, address: str, author: User, signed_in: SignedIn, query: str
) -> None:
    answer = signed_in(author).get(f"{address}?{query}")
    assert answer.status_code == (200 if "kind" in query else 422)
    assert answer.content.decode().count('<tr id="conflict-') == 3


def test_a_file_is_looked_at_then_stored(
    conflicting: ChangeRequest, address: str, author: User, signed_in: SignedIn
) -> None:
    carl = signed_in(author)
    page = page_at(carl, f"{address}?column=seats")
    download = re.search(r'href="(/api/v1/[^"]+format=csv[^"]*)"', page)
    assert download is not None
    content = b"".join(carl.get(download[1].replace("&amp;", "&")).streaming_content).decode()  # type: ignore[attr-defined]
    rows = list(csv.DictReader(io.StringIO(content)))
    for row in rows:
        row["choice"] = "base"

    def text_of(lines: list[dict[str, str]]) -> str:
        written = io.StringIO()
        writer = csv.DictWriter(written, list(rows[0]))
        writer.writeheader()
        writer.writerows(lines)
        return written.getvalue()

    def look(text: str) -> Any:
        return carl.post(f"{address}file/", {"file": SimpleUploadedFile("choices.csv", text.encode())})

    wrong = look(text_of([*rows, {**rows[0], "choice": "keep"}]))
    assert wrong.status_code == 422
    assert "line 4, column seats: &#x27;keep&#x27; is not offered" in wrong.content.decode()
    looked = look(text_of(rows))
    assert looked.status_code == 200
    assert "What the file chooses: 2 choices" in looked.content.decode()
    assert standing(conflicting) == []

    stored = carl.post(f"{address}file/", fields_of(looked.content.decode().partition("card__foot")[2]))
    assert stored.status_code == 302
    assert [one[:3] for one in standing(conflicting)] == [("N1", "seats", "base"), ("N2", "seats", "base")]
    assert look("tailnum\n").status_code == 422
    assert carl.post(f"{address}file/", {"stored": "0" * 64}).status_code == 422


def test_an_own_text_of_several_lines_is_kept_and_is_nobody_s_new_choice(
    dataset: Dataset, author: User, owner: User, signed_in: SignedIn
) -> None:
    made = ChangeRequestFactory(dataset=dataset, author=author, csv="tailnum,manufacturer\nN1,A\n")
    merge(ChangeRequestFactory(dataset=dataset, csv="tailnum,manufacturer\nN1,B\n"), owner)
    carl, address = signed_in(author), f"/change-requests/{made.cr_id}/conflicts/"
    name, sent = line(page_at(carl, address), "N1", "manufacturer")

    # A browser sends every end of a line as two characters.
    carl.post(f"{address}resolve/", {**sent, f"choice-{name}": "custom", f"value-{name}": "\r\ntwo\r\nlines"})
    assert made.resolutions.get(is_current=True).value == "\ntwo\nlines"
    page = page_at(carl, f"{address}?show=all")
    assert f'name="value-{name}"' in page
    assert "\n\ntwo\nlines</textarea>" in page  # the first line's end belongs to the tag

    again = {**sent, f"choice-{name}": "custom", f"value-{name}": "\r\ntwo\r\nlines"}
    seen = line(page, "N1", "manufacturer")[1]
    assert seen[f"was-{name}"] == "custom: \ntwo\nlines"
    carl.post(
        f"{address}resolve/",
        {**again, f"seen-{name}": seen[f"seen-{name}"], f"was-{name}": "custom: \r\ntwo\r\nlines"},
    )
    assert made.resolutions.filter(is_current=True).count() == 1
