"""Versions beside each other on a page, how the table grew, and the way back to a version as a draft."""

import re

import pytest
from django.contrib.auth.models import User

from changerequests.models import ChangeRequest
from datasets.models import Dataset
from tests.factories import ChangeRequestFactory, merge
from tests.web.conftest import SignedIn


@pytest.fixture
def versions(dataset: Dataset, owner: User) -> str:
    """Two merges: N1 has other seats, N2 is gone and N9 came; answers where the dataset's pages are."""
    merge(ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,7\n"), owner)
    rows = "tailnum,seats,_op\nN2,,delete\nN9,9,insert\n"
    deleting = ChangeRequestFactory.create(dataset=dataset, csv=rows)
    merge(deleting, owner, dataset_name_typed=dataset.name)
    return f"/datasets/{dataset.project.slug}/{dataset.slug}/"


def test_history_leads_to_comparisons_and_shows_how_the_table_grew(
    versions: str, author: User, signed_in: SignedIn
) -> None:
    page = signed_in(author).get(f"{versions}history/").content.decode()
    assert 'aria-label="What version 2 changed"' in page
    assert 'aria-label="Compare version 0 with the newest"' in page
    assert re.search(r'aria-label="(\d+) rows in version 0, \1 in version 2"', page)


def test_two_versions_are_compared_cell_by_cell(versions: str, author: User, signed_in: SignedIn) -> None:
    carl = signed_in(author)
    page = carl.get(f"{versions}compare/?from=0").content.decode()
    assert "What version 2 has otherwise than version 0" in page
    assert [
        re.sub(r"<[^>]+>|\s+", "", one)
        for one in re.findall(r'<span class="marker .*?</span>\s*</td>', page, re.DOTALL)
    ] == [
        "~changed",
        "−deleted",
        "+new",
    ]
    only = carl.get(f"{versions}compare/?from=0&to=1&column=seats").content.decode()
    assert only.count('class="marker ') == 1
    assert "Go back to version" not in only  # version 1 is not the newest
    same = carl.get(f"{versions}compare/?from=2&to=2").content.decode()
    assert "Nothing differs" in same
    assert carl.get(f"{versions}compare/?from=99").status_code in (404, 422)


def test_the_way_back_is_a_draft(
    dataset: Dataset, versions: str, author: User, viewer: User, signed_in: SignedIn
) -> None:
    carl = signed_in(author)
    assert "Go back to version 0" in carl.get(f"{versions}compare/?from=0").content.decode()
    assert "Go back to version 0" not in signed_in(viewer).get(f"{versions}compare/?from=0").content.decode()

    answer = carl.post(f"{versions}go-back/", {"version": "0"})

    made = ChangeRequest.objects.latest("pk")
    assert (answer.status_code, answer.headers["Location"]) == (
        302,
        f"/change-requests/{made.cr_id}/changes/",
    )
    revision = made.revisions.get()
    assert (made.author, made.status) == (author, "draft")
    assert (revision.rows_inserted, revision.rows_updated, revision.rows_deleted) == (1, 1, 1)
    again = carl.post(f"{versions}go-back/", {"version": "2"}, follow=True)
    assert "There is nothing to go back to" in again.content.decode()
    assert ChangeRequest.objects.latest("pk") == made
