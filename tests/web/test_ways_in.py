"""The ways in without JavaScript: content is looked at, decided about, and proposed exactly so."""

import gzip
import html
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

import merging
from changerequests.models import ChangeRequest, Preview, Revision, Upload
from changerequests.services import previews
from changerequests.states import Status
from datasets.models import Dataset
from tests.factories import approve, merge
from tests.kept import previews_folder
from tests.web.conftest import SignedIn
from web.pasting import as_strict

pytestmark = pytest.mark.django_db


def text(response: Any) -> str:
    """The answer's words, with single spaces and without tags."""
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split()))


def looked_at(client: Client, dataset: Dataset, **content: Any) -> Any:
    """The page of a look at content of a new request."""
    address = reverse("look", args=[dataset.project.slug, dataset.slug])
    return client.post(address, content, follow=True)


def pasted(client: Client, dataset: Dataset, rows: str, **fields: Any) -> Any:
    return looked_at(client, dataset, way="paste", pasted=rows, **fields)


def number_of(page: Any) -> int:
    [(address, _)] = page.redirect_chain
    return int(address.rstrip("/").rsplit("/", 1)[-1])


def sent(client: Client, page: Any, what: str, **fields: Any) -> Any:
    """Send the form of a look as it stands, with some fields filled in otherwise."""
    form = page.context["form"]
    standing = {name: form[name].value() for name in form.fields if form[name].value() is not None}
    return client.post(reverse(what, args=[number_of(page)]), {**standing, **fields}, follow=True)


def test_three_ways_and_sql_behind_a_fourth(signed_in: SignedIn, author: User, dataset: Dataset) -> None:
    page = signed_in(author).get(reverse("new_change_request", args=[dataset.project.slug, dataset.slug]))
    words = text(page)
    at = [words.index(way) for way in ("Edit rows here", "Upload a file", "Paste", "SQL")]
    assert at == sorted(at)
    assert "CSV, TSV, Excel (.xlsx), Parquet, JSON lines or Arrow" in words
    assert page.content.decode().count('value="Look at it first"') + words.count("Look at it first") == 3


def test_a_file_is_looked_at_and_proposed(signed_in: SignedIn, author: User, dataset: Dataset) -> None:
    client = signed_in(author)
    file = SimpleUploadedFile("seats.csv.gz", gzip.compress(b"tailnum,seats\nN1,150\nN2,182\n"))
    page = looked_at(client, dataset, way="upload", file=file)
    words = text(page)
    assert "What seats.csv.gz would change" in words
    assert ("1 row change" in words, "~1 changed" in words, "149 150" in words) == (True, True, True)
    assert "1 row already equal to the table: left out." in words
    assert "Propose 1 change" in words
    assert not ChangeRequest.objects.exists()

    untitled = sent(client, page, "propose_preview", then="propose")
    assert (untitled.status_code, "Give it a title" in text(untitled)) == (422, True)
    assert not Upload.objects.exists()
    made = sent(client, page, "propose_preview", title="More seats", description="Counted.", then="propose")
    assert "Uploaded as revision 1: 1 row change." in text(made)
    change_request = ChangeRequest.objects.get()
    assert (change_request.title, change_request.description) == ("More seats", "Counted.")
    assert change_request.status == Status.PENDING
    assert Revision.objects.get().file_name == "seats.csv.gz"


def test_pasted_cells_of_a_spreadsheet_are_saved_as_a_draft(
    signed_in: SignedIn, author: User, dataset: Dataset
) -> None:
    client = signed_in(author)
    page = pasted(client, dataset, "tailnum\tseats\r\nN1\t150\r\nN9\t2\r\n")
    assert "+1 new ~1 changed" in text(page)
    sent(client, page, "propose_preview", title="Seats", then="draft")
    assert ChangeRequest.objects.get().status == Status.DRAFT


@pytest.mark.parametrize(
    ("pasted_text", "strict"),
    [
        ('a,b\n5",x\n', 'a,b\n5",x\n'),
        ('a\tb\n5" pipe\tx\n', 'a\tb\n"5"" pipe"\tx\n'),
        ('a\tb\r\n"two\nlines"\t"say ""hi"""\r\n', 'a\tb\r\n"two\nlines"\t"say ""hi"""\r\n'),
        ('a\tb\n"ha" he said\t"open\n', 'a\tb\n"""ha"" he said"\t"""open"\n'),
        ('a\tb\n\t""\n1\t2', 'a\tb\n\t""\n1\t2'),
    ],
)
def test_quotes_of_the_clipboard_are_parts_of_their_cells(pasted_text: str, strict: str) -> None:
    assert as_strict(pasted_text) == strict


def test_a_statement_is_looked_at(signed_in: SignedIn, author: User, dataset: Dataset) -> None:
    client = signed_in(author)
    page = looked_at(client, dataset, way="sql", sql="DELETE FROM dataset WHERE tailnum = 'N1'")
    assert ("−1 deleted" in text(page), "What an empty cell means" in text(page)) == (True, False)
    refused = looked_at(client, dataset, way="sql", sql="SELECT tailnum, seets AS seats FROM dataset")
    assert 'Did you mean "seats"?' in text(refused)
    sent(client, page, "propose_preview", title="Away", then="propose")
    assert Revision.objects.get().rows_deleted == 1


def test_a_column_that_is_not_in_the_table_is_decided_about_first(
    signed_in: SignedIn, author: User, dataset: Dataset
) -> None:
    client = signed_in(author)
    page = pasted(client, dataset, "tailnum,saets,note\nN1,150,7\n")
    words = text(page)
    assert "Column saets is not in the table: did you mean seats ?" in words
    assert "Column note is not in the table." in words
    assert "First decide about 2 columns: nothing is added to the table unasked." in words
    assert re.search(r"<button[^>]*value=\"propose\"[^>]*disabled", page.content.decode())
    form = page.context["form"]
    assert (form["to-0"].value(), form.columns[1].type) == ("seats", "long")

    refused = sent(client, page, "propose_preview", title="Seats", then="propose")
    assert "Decide first what shall become of what the table does not have: saets, note." in text(refused)
    nameless = sent(client, page, "look_again", **{"action-0": "rename", "to-0": ""})
    assert "Choose the column that saets is." in text(nameless)
    assert Preview.objects.count() == 1

    again = sent(client, page, "look_again", **{"action-0": "rename", "action-1": "add"})
    words = text(again)
    assert ("149 150" in words, "New column note: long." in words) == (True, True)
    left_out = sent(
        client, again, "propose_preview", title="Seats", then="propose", **{"action-0": "leave_out"}
    )
    assert "You chose otherwise than was looked at." in text(left_out)
    assert not ChangeRequest.objects.exists()
    assert left_out.context["form"]["title"].value() == "Seats"
    sent(client, left_out, "propose_preview", then="propose")
    assert Revision.objects.get().new_columns == []
    assert Revision.objects.get().cells_updated == {"seats": 1}


def test_what_an_empty_cell_means_is_chosen_beside_the_look(
    signed_in: SignedIn, author: User, dataset: Dataset
) -> None:
    client = signed_in(author)
    page = pasted(client, dataset, "tailnum,seats\nN1,\nN2,7\n")
    assert "1 cell would become NULL seats 1" in text(page)
    kept = sent(client, page, "look_again", empty_cells="keep")
    assert ("would become NULL" in text(kept), "1 row change" in text(kept)) == (False, True)
    worded = sent(client, kept, "look_again", null_token="7")
    assert "1 cell would become NULL" in text(worded)


def test_problems_say_where_and_everything_stays(
    signed_in: SignedIn, author: User, dataset: Dataset, delta_data_root: Path
) -> None:
    client = signed_in(author)
    rows = "tailnum,seats\nN1,many\n,3\nN2,1\nN2,2\n"
    page = pasted(client, dataset, rows, title="Typed before", description="Why")
    words = text(page)
    assert "3 problems to mend first" in words
    for expected in ("many", "seats", "tailnum", "N2"):
        assert expected in words
    back = sent(client, page, "look_again", title="Typed <b>", then="back")
    assert html.escape("N1,many") in back.content.decode()
    assert back.context["form"]["title"].value() == "Typed <b>"
    assert back.content.decode().count('value="Typed &lt;b&gt;"') == 3
    assert not ChangeRequest.objects.exists()
    kept = [path.name for path in (delta_data_root / "_staging").rglob("*") if path.is_file()]
    assert kept == ["content"]


def test_nothing_to_change_cannot_be_proposed(signed_in: SignedIn, author: User, dataset: Dataset) -> None:
    client = signed_in(author)
    page = pasted(client, dataset, "tailnum,seats\nN2,182\n")
    assert "Nothing to change" in text(page)
    answer = sent(client, page, "propose_preview", title="Nothing", then="propose")
    assert "There is nothing to change" in text(answer)
    assert not ChangeRequest.objects.exists()


@pytest.mark.parametrize(
    ("sent_fields", "sentence"),
    [
        ({"way": "upload"}, "Choose a file first."),
        ({"way": "paste", "pasted": " \n"}, "Paste rows first"),
        ({"way": "sql"}, "Write a statement first."),
    ],
)
def test_a_way_without_anything_says_so_at_its_field(
    signed_in: SignedIn, author: User, dataset: Dataset, sent_fields: dict[str, str], sentence: str
) -> None:
    page = looked_at(signed_in(author), dataset, **sent_fields)
    assert (page.status_code, sentence in text(page)) == (422, True)
    assert not Preview.objects.exists()


def test_a_slow_look_refreshes_itself_and_is_cancelled(
    deaf_staging: None, monkeypatch: pytest.MonkeyPatch, signed_in: SignedIn, author: User, dataset: Dataset
) -> None:
    monkeypatch.setattr("web.views.previews.PATIENCE_SECONDS", 0.0)
    client = signed_in(author)
    file = SimpleUploadedFile("seats.csv", b"tailnum,seats\nN1,150\n")
    page = looked_at(client, dataset, way="upload", file=file)
    number, address = number_of(page), page.redirect_chain[0][0]
    assert '<meta http-equiv="refresh"' in page.content.decode()  # without JavaScript
    Preview.objects.update(status=Preview.Status.RUNNING, rows_read=12_345)
    fragment = client.get(address, headers={"HX-Request": "true"})
    assert ("12,345 rows read so far" in text(fragment), b"<html" in fragment.content) == (True, False)
    stopped = client.post(reverse("cancel_preview", args=[number]), follow=True)
    assert "Stopped. Nothing was proposed." in text(stopped)
    assert "seats.csv is still here." in text(stopped)
    ended = client.get(address, headers={"HX-Request": "true"})
    assert (ended.content, ended["HX-Redirect"]) == (b"", address)
    assert "It could not be looked at You cancelled it." in text(client.get(address))


def test_a_hostile_file_leaves_nothing_behind_but_the_word_of_it(
    monkeypatch: pytest.MonkeyPatch, signed_in: SignedIn, author: User, dataset: Dataset
) -> None:
    def dies(*_: Any, **__: Any) -> Any:
        raise merging.ConfinedDied("It was ended by signal 11.")

    monkeypatch.setattr(merging, "stage_apart", dies)
    file = SimpleUploadedFile("evil.parquet", b"PAR1")
    page = looked_at(signed_in(author), dataset, way="upload", file=file)
    assert "It could not be looked at" in text(page)
    assert Preview.objects.get().error_code == "reader_died"
    assert not list(previews_folder().iterdir())


def test_new_content_of_a_request_goes_the_same_way(
    signed_in: SignedIn, change_request: ChangeRequest
) -> None:
    client = signed_in(change_request.author)
    page = client.get(reverse("upload", args=[change_request.cr_id]))
    assert "Replace the content of" in text(page)
    address = reverse("look_for_request", args=[change_request.cr_id])
    page = client.post(address, {"way": "paste", "pasted": "tailnum,seats\nN3,9\n"}, follow=True)
    assert f"New content of {change_request.cr_id}" in text(page)
    made = sent(client, page, "propose_preview", then="replace")
    assert "Uploaded as revision 2: 1 row change." in text(made)
    assert Revision.objects.get(is_current=True).number == 2


def test_it_is_said_where_the_table_moved_meanwhile(
    signed_in: SignedIn, author: User, owner: User, dataset: Dataset, change_request: ChangeRequest
) -> None:
    client = signed_in(author)
    page = pasted(client, dataset, "tailnum,seats\nN1,150\nN3,77\n")
    other = pasted(client, dataset, "tailnum,seats\nN1,150\n")
    sent(client, other, "propose_preview", title="First", then="propose")
    first = ChangeRequest.objects.latest("pk")
    approve(first, owner)
    merge(first, owner)
    made = sent(client, page, "propose_preview", title="Second", then="draft")
    assert "there are 1 row changes now, where you saw 2" in text(made)


def test_others_do_not_see_it(
    signed_in: SignedIn, author: User, owner: User, viewer: User, stranger: User, dataset: Dataset
) -> None:
    page = pasted(signed_in(author), dataset, "tailnum,seats\nN1,150\n")
    number = number_of(page)
    for other in (owner, viewer, stranger):
        client = signed_in(other)
        assert client.get(reverse("preview", args=[number])).status_code == 404
        for what in ("look_again", "propose_preview", "cancel_preview"):
            assert client.post(reverse(what, args=[number]), {"title": "Mine"}).status_code == 404
    assert (
        signed_in(viewer).post(reverse("look", args=[dataset.project.slug, dataset.slug])).status_code == 403
    )
    gone = signed_in(author).get(
        reverse("new_change_request", args=[dataset.project.slug, dataset.slug]), {"preview": number + 9}
    )
    assert "kept for a day, and is gone" in text(gone)
    assert previews.visible_preview(author, number).asked_by == author
    assert not ChangeRequest.objects.exists()


def test_rows_to_edit_are_offered(signed_in: SignedIn, author: User, dataset: Dataset) -> None:
    page = signed_in(author).get(reverse("new_change_request", args=[dataset.project.slug, dataset.slug]))
    links = re.findall(r'href="(/api/v1/datasets/[^"]*format=(?:csv|xlsx)[^"]*)"', page.content.decode())
    assert len(links) == 2
    client = signed_in(author)
    for link in links:
        answer = client.get(html.unescape(link))
        content = b"".join(answer.streaming_content)  # type: ignore[attr-defined]
        name = "rows.xlsx" if "xlsx" in link else "rows.csv"
        back = looked_at(client, dataset, way="upload", file=SimpleUploadedFile(name, content))
        assert "Nothing to change" in text(back)
