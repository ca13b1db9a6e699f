"""Views that people keep: filters under a name, of requests and of rows, on the pages and over the API."""

from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from changerequests.models import SavedView
from changerequests.services import saved_views
from datasets.errors import InvalidInput, NotFound
from datasets.models import Dataset
from tests.api.clients import client_of, problem
from tests.web.conftest import SignedIn

pytestmark = pytest.mark.django_db


def test_a_view_of_requests_is_kept_shown_replaced_and_forgotten(
    owner: User, viewer: User, dataset: Dataset, signed_in: SignedIn
) -> None:
    client = signed_in(owner)
    assert "Save this view" not in client.get("/").content.decode()
    shown = client.get(
        "/", {"q": "seats & more", "state": "merged", "page": "1", "dataset": ""}
    ).content.decode()
    query = urlencode({"q": "seats & more", "state": "merged"})
    assert f'name="query" value="{query.replace("&", "&amp;")}"' in shown
    kept = client.post("/views/keep/", {"query": query, "name": " Mine "})
    assert (kept.status_code, kept.headers["Location"]) == (302, f"/?{query}")
    there = client.get(kept.headers["Location"]).content.decode()
    assert f'<a href="/?{query.replace("&", "&amp;")}" aria-current="true">Mine</a>' in there
    assert "Save this view" not in there

    client.post("/views/keep/", {"query": "q=other", "name": "Mine"})
    [view] = SavedView.objects.all()
    assert view.filters == {"q": "other"}
    assert "Mine" not in signed_in(viewer).get("/").content.decode()
    assert signed_in(viewer).post(f"/views/{view.pk}/remove/").status_code == 404
    assert client.post(f"/views/{view.pk}/remove/").headers["Location"] == "/"
    assert not SavedView.objects.exists()


def test_a_view_of_rows_belongs_to_its_dataset(owner: User, dataset: Dataset, signed_in: SignedIn) -> None:
    client, rows = signed_in(owner), f"/datasets/{dataset.project.slug}/{dataset.slug}/"
    sent = {"dataset": str(dataset.pk), "query": "column=seats&value=&sort=-year&after=x", "name": "Newest"}
    kept = client.post("/views/keep/", sent)
    assert kept.headers["Location"] == f"{rows}?column=seats&value=&sort=-year"
    assert "Newest" in client.get(rows).content.decode()
    assert "Newest" not in client.get("/").content.decode()
    assert client.post(f"/views/{SavedView.objects.get().pk}/remove/").headers["Location"] == rows


def test_what_cannot_be_kept_is_told_at_its_field_and_nothing_is_kept(
    owner: User, stranger: User, dataset: Dataset, signed_in: SignedIn
) -> None:
    client = signed_in(owner)
    for name in ("", "  ", "x" * 81):
        refused = client.post("/views/keep/", {"query": "q=x", "name": name})
        assert refused.status_code == 422, name
    page = client.post("/views/keep/", {"query": "q=x", "name": "x" * 81}).content.decode()
    assert 'aria-invalid="true"' in page
    assert client.post("/views/keep/", {"query": "page=2", "name": "Page"}).status_code == 422
    hidden = signed_in(stranger).post("/views/keep/", {"query": "q=x", "name": "x", "dataset": dataset.pk})
    assert hidden.status_code == 404
    assert not SavedView.objects.exists()


def test_there_are_limits_and_constraints(
    owner: User, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_views, "MOST_VIEWS", 1)
    saved_views.keep_view(person=owner, name="One", filters={"q": "x"})
    saved_views.keep_view(person=owner, name="One", filters={"q": "y"})
    saved_views.keep_view(person=owner, name="One", filters={"sort": "seats"}, dataset=dataset)
    with pytest.raises(InvalidInput, match="Remove one first"):
        saved_views.keep_view(person=owner, name="Two", filters={"q": "x"})
    for filters in ({"colour": "red"}, {"q": ""}, {}, {"q": "x" * 2_001}, {"q": "a\x00"}):
        with pytest.raises(InvalidInput):
            saved_views.keep_view(person=owner, name="One", filters=filters)
    with pytest.raises(IntegrityError), transaction.atomic():
        SavedView.objects.create(person=owner, place="requests", name="One", filters={})
    with pytest.raises(IntegrityError), transaction.atomic():
        SavedView.objects.create(person=owner, place="rows", name="Two", filters={})
    with pytest.raises(NotFound):
        saved_views.remove_view(person=owner, view_id=10**9)


def test_programs_keep_them_too(owner: User, stranger: User, dataset: Dataset) -> None:
    api, theirs = client_of(owner), client_of(stranger)
    made = api.post("/api/v1/saved_views", {"name": "Mine", "filters": {"q": "seats"}}, format="json")
    assert (made.status_code, made.json()["filters"], made.json()["dataset"]) == (201, {"q": "seats"}, None)
    rows = {"name": "Newest", "dataset": dataset.pk, "filters": {"sort": "-year"}}
    assert api.post("/api/v1/saved_views", rows, format="json").status_code == 201
    assert problem(theirs.post("/api/v1/saved_views", rows, format="json")) == (404, "not_found")
    assert [one["name"] for one in api.get("/api/v1/saved_views").json()] == ["Mine"]
    assert [one["name"] for one in api.get(f"/api/v1/saved_views?dataset={dataset.pk}").json()] == ["Newest"]
    assert theirs.get("/api/v1/saved_views").json() == []
    wrong = {"name": "Mine", "filters": {"page": "2"}}
    assert problem(api.post("/api/v1/saved_views", wrong, format="json")) == (422, "invalid")
    assert problem(theirs.delete(made.headers["Location"])) == (404, "not_found")
    assert api.delete(made.headers["Location"]).status_code == 204
