"""Blame of a column: whose merged requests changed it, how often, page by page."""

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from changerequests.models import ChangeRequest, MergeRun
from changerequests.services.column_blame import column_history
from datasets.errors import NotFound
from datasets.models import Dataset
from datasets.roles import Role
from tests.factories import ChangeRequestFactory, merge, person_with
from tests.web.conftest import SignedIn

pytestmark = pytest.mark.django_db

#: Names that a path of JSON, an address and SQL each could read otherwise.
ODD = ["a.b", 'say "so"', "größe", "2013", "cells_updated", "it's", "$", "a__b", "x/y"]


@pytest.fixture
def twice(dataset: Dataset, owner: User) -> list[ChangeRequest]:
    """Two people's requests, merged one after the other; both change seats, the first year as well."""
    made = []
    for name, csv in (
        ("ada", "tailnum,seats,year\nN1,7,1999\nN2,7,1999\n"),
        ("bob", "tailnum,seats\nN1,8\nN9,9\n"),
    ):
        author = person_with(Role.CONTRIBUTOR, dataset, username=name)
        change_request = ChangeRequestFactory(dataset=dataset, author=author, csv=csv, title=f"Of {name}")
        merge(change_request, owner)
        change_request.refresh_from_db()
        made.append(change_request)
    return made


def test_it_names_who_changed_it_last_and_how_often(
    dataset: Dataset, twice: list[ChangeRequest], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(3):
        told = column_history(dataset=dataset, column="seats")
    assert [(one.cr_id, one.cells, one.version) for one in told.changes] == [
        (twice[1].cr_id, 1, 2),
        (twice[0].cr_id, 2, 1),
    ]
    assert [(one.author, one.times, one.version) for one in told.people] == [("bob", 1, 2), ("ada", 1, 1)]
    assert (told.times, told.before, told.is_there) == (2, None, True)
    assert column_history(dataset=dataset, column="year").times == 1


def test_it_goes_page_by_page(dataset: Dataset, twice: list[ChangeRequest]) -> None:
    first = column_history(dataset=dataset, column="seats", limit=1)
    rest = column_history(dataset=dataset, column="seats", limit=1, before=first.before)
    assert [one.cr_id for page in (first, rest) for one in page.changes] == [
        one.cr_id for one in reversed(twice)
    ]
    assert (first.before, rest.before, rest.times) == (2, None, 2)


def test_names_of_columns_are_names(dataset: Dataset, twice: list[ChangeRequest]) -> None:
    run = MergeRun.objects.get(change_request=twice[1])
    run.result = {**(run.result or {}), "cells_updated": dict.fromkeys(ODD, 3)}
    run.save()
    for name in ODD:
        told = column_history(dataset=dataset, column=name)
        assert [(one.cells, told.is_there) for one in told.changes] == [(3, False)], name
    for name in ("a", "b", "größ", "201", "say", "", "%", "result"):
        with pytest.raises(NotFound):
            column_history(dataset=dataset, column=name)


def test_its_page(dataset: Dataset, twice: list[ChangeRequest], viewer: User, signed_in: SignedIn) -> None:
    page = reverse("column_history", args=[dataset.project.slug, dataset.slug])
    client = signed_in(viewer)
    shown = " ".join(client.get(page, {"column": "seats"}).content.decode().split())
    assert f'<a href="/change-requests/{twice[1].cr_id}/">{twice[1].cr_id}</a> Of bob' in shown
    assert "changed 2 cells" in shown
    unknown = client.get(page, {"column": "<b>"})
    assert (unknown.status_code, "The table has no column &lt;b&gt;" in unknown.content.decode()) == (
        200,
        True,
    )
    assert f"{page}?column=seats" in client.get(page.replace("columns/history", "schema")).content.decode()
