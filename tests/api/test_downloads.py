"""Rows, changes and comparisons by ``Accept`` and ``?format=``: pages, CSV, Parquet, Arrow; and 304."""

import gc
import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from django.core.cache import cache
from django.test.utils import override_settings
from rest_framework.test import APIClient
from rest_framework.throttling import UserRateThrottle

import merging
from api import downloads
from api.views.rows import RowsViewSet
from changerequests.models import ChangeRequest
from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import client_of, problem
from tests.factories import (
    PLANES,
    ChangeRequestFactory,
    DatasetFactory,
    merge,
    person_with,
    stage_csv,
)

pytestmark = pytest.mark.django_db

ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"


@pytest.fixture
def viewer(dataset: Dataset) -> APIClient:
    return client_of(person_with(Role.VIEWER, dataset))


def read(answer: Any) -> list[dict[str, Any]]:
    """The rows of a file that was answered."""
    assert answer.status_code == 200, answer.content
    content = answer.getvalue()
    if answer.headers["Content-Type"] == PARQUET:
        return list(pa.parquet.read_table(io.BytesIO(content)).to_pylist())
    assert answer.headers["Content-Type"] == ARROW
    return list(pa.ipc.open_stream(content).read_all().to_pylist())


def test_rows_come_in_the_format_that_is_asked_for(dataset: Dataset, viewer: APIClient) -> None:
    address = f"/api/v1/datasets/{dataset.pk}/rows"
    assert viewer.get(address, headers={"accept": "*/*"}).json()["version"] == 0
    for parameters, accepted in (
        ({"format": "arrow"}, "*/*"),
        ({"format": "parquet"}, "*/*"),
        ({}, ARROW),
        ({}, f"application/json;q=0.5, {PARQUET}"),
        ({"format": "arrow"}, "application/json"),
    ):
        asked = viewer.get(address, parameters, headers={"accept": accepted})
        assert read(asked) == PLANES.to_pylist()
        assert asked.headers["Headgate-Version"] == "0"
        assert asked.headers["Content-Disposition"].startswith(f'attachment; filename="{dataset.slug}-v0.')
    csv = viewer.get(address, {"format": "csv", "filter": "seats:>:100", "columns": ["seats", "tailnum"]})
    assert csv.getvalue().decode() == '"tailnum","seats"\n"N1",149\n"N2",182\n"N4",377\n'
    narrowed = viewer.get(address, {"columns": "seats", "order_by": "seats", "descending": "true"})
    assert narrowed.json()["results"][0] == {"seats": 377}


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"format": "pdf"}, "invalid"),
        ({"format": "csv", "limit": 5}, "invalid"),
        ({"format": "csv", "cursor": "x"}, "invalid"),
        ({"format": "csv", "filter": "nope:=:1"}, "invalid_filter"),
        ({"format": "csv", "columns": "nope"}, "invalid_filter"),
        ({"columns": "nope"}, "invalid_filter"),
    ],
)
def test_what_cannot_be_a_file_is_a_problem(
    dataset: Dataset, viewer: APIClient, parameters: dict[str, Any], code: str
) -> None:
    refused = viewer.get(f"/api/v1/datasets/{dataset.pk}/rows", parameters)
    assert problem(refused) == (422, code)
    assert downloads._PLACES._taken == 0


def test_a_version_that_never_was_is_a_problem_in_every_format(dataset: Dataset, viewer: APIClient) -> None:
    for asked in ("json", "arrow"):
        refused = viewer.get(f"/api/v1/datasets/{dataset.pk}/rows", {"format": asked, "version": 99})
        assert problem(refused)[0] in (410, 422)


def test_a_stranger_gets_no_file(dataset: Dataset) -> None:
    stranger = client_of(person_with(Role.OWNER, DatasetFactory()))
    request = ChangeRequestFactory(dataset=dataset)
    for address in (
        f"datasets/{dataset.pk}/rows?format=csv",
        f"datasets/{dataset.pk}/compare?from=0&to=0&format=csv",
        f"change_requests/{request.cr_id}/diff?format=csv",
        f"change_requests/{request.cr_id}/revisions/compare?from=1&to=1&format=csv",
    ):
        assert problem(stranger.get(f"/api/v1/{address}")) == (404, "not_found")


def test_a_full_server_says_when_to_come_back(dataset: Dataset, viewer: APIClient) -> None:
    address = f"/api/v1/datasets/{dataset.pk}/rows"
    with override_settings(DOWNLOADS_AT_ONCE=1):
        first = viewer.get(address, {"format": "arrow"})
        refused = viewer.get(address, {"format": "arrow"})
        assert problem(refused) == (503, "too_many_downloads")
        assert refused.headers["Retry-After"] == "5"
        assert viewer.get(address).status_code == 200
        assert read(first) == PLANES.to_pylist()
        head = viewer.head(address, {"format": "arrow"})
        assert head.status_code == 200
        head.end()  # type: ignore[attr-defined]  # as servers do
        unread = viewer.get(address, {"format": "arrow"})
        unread.end()  # type: ignore[attr-defined]  # a download
        assert len(read(viewer.get(address, {"format": "arrow"}))) == 4
    assert downloads._PLACES._taken == 0


def test_versions_are_compared(dataset: Dataset, viewer: APIClient) -> None:
    merge(ChangeRequestFactory(dataset=dataset, status="pending"), person_with(Role.OWNER, dataset))
    address = f"/api/v1/datasets/{dataset.pk}/compare"
    page = viewer.get(address, {"from": "0", "to": "1", "limit": "1"}).json()
    assert page["results"] == [
        {
            "key": {"tailnum": "N3"},
            "operation": "update",
            "cells": [{"column": "year", "from": None, "to": 2002}],
        }
    ]
    told = merging.inspect_table(dataset.table_uri)
    [read_of] = page["reads"]
    assert (read_of["engine"], read_of["rows"]) == ("duckdb", 2)
    assert 0 < read_of["bytes"] <= told.size_bytes
    assert viewer.get(address, {"from": "1", "to": "1"}).json()["reads"] == []
    rows = viewer.get(f"/api/v1/datasets/{dataset.pk}/rows?filter=year:=:2013").json()
    [read_of] = rows["reads"]
    assert (read_of["engine"], read_of["rows"]) == ("duckdb", len(rows["results"]))
    assert (read_of["files"], read_of["bytes"]) == (told.file_count, told.size_bytes)
    [inserted] = viewer.get(page["next"]).json()["results"]
    assert (inserted["operation"], inserted["cells"][0]) == (
        "insert",
        {"column": "year", "from": None, "to": 2013},
    )
    rows = read(viewer.get(address, {"from": "1", "to": "0", "format": "arrow", "operation": "update"}))
    assert rows == [{"_op": "update", "tailnum": "N3", "year.from": 2002, "year.to": None}]
    assert problem(viewer.get(address, {"from": 0})) == (422, "invalid")


def test_pages_are_linked(dataset: Dataset, viewer: APIClient) -> None:
    for address in (
        f"/api/v1/datasets/{dataset.pk}/rows?filter=seats:>:1&limit=3",
        "/api/v1/datasets?limit=1",
    ):
        DatasetFactory(project=dataset.project)
        answer = viewer.get(address)
        told = answer.json()["next"]
        assert answer.headers.get("Link") == (f'<{told}>; rel="next"' if told else None)
    first = viewer.get(f"/api/v1/datasets/{dataset.pk}/rows?limit=3")
    assert first.headers["Link"] == f'<{first.json()["next"]}>; rel="next"'
    last = viewer.get(first.json()["next"])
    assert last.json()["next"] is None
    assert last.headers["Link"] == f'<{last.json()["previous"]}>; rel="prev"'
    assert viewer.get(last.json()["previous"]).json()["results"] == first.json()["results"]


def test_changes_and_comparisons_lead_back(dataset: Dataset, viewer: APIClient) -> None:
    request = ChangeRequestFactory(dataset=dataset, status="pending")
    diff = f"/api/v1/change_requests/{request.cr_id}/diff?limit=1"
    staged = f"/api/v1/change_requests/{request.cr_id}/staged_rows?limit=1"
    before = [walk_there_and_back(viewer, address) for address in (diff, staged)]
    merge(request, person_with(Role.OWNER, dataset))
    assert walk_there_and_back(viewer, diff) == before[0]
    compared = walk_there_and_back(viewer, f"/api/v1/datasets/{dataset.pk}/compare?from=0&to=1&limit=1")
    assert [one["key"] for one in compared] == [one["key"] for one in before[0]]


def walk_there_and_back(viewer: APIClient, address: str) -> list[Any]:
    """The two rows of a listing, one a page."""
    first = viewer.get(address)
    assert (first.status_code, first.json()["previous"]) == (200, None)
    second = viewer.get(first.json()["next"])
    assert second.json()["next"] is None
    back = viewer.get(second.json()["previous"])
    assert back.headers["Link"] == f'<{first.json()["next"]}>; rel="next"'
    assert (back.json()["results"], back.json()["previous"]) == (first.json()["results"], None)
    return [*first.json()["results"], *second.json()["results"]]


def test_a_diff_is_the_same_file_before_and_after_the_merge(dataset: Dataset, viewer: APIClient) -> None:
    request = ChangeRequestFactory(dataset=dataset, status="pending")
    address = f"/api/v1/change_requests/{request.cr_id}/diff"
    before = read(viewer.get(address, {"format": "parquet"}))
    assert [(row["_op"], row["tailnum"], row["year.proposed"]) for row in before] == [
        ("update", "N3", 2002),
        ("insert", "N5", 2013),
    ]
    merge(request, person_with(Role.OWNER, dataset))
    assert read(viewer.get(address, {"format": "parquet"})) == before
    assert len(read(viewer.get(address, {"format": "parquet", "operation": "insert"}))) == 1


def test_revisions_are_read_and_compared(dataset: Dataset, viewer: APIClient) -> None:
    request: ChangeRequest = ChangeRequestFactory(dataset=dataset)
    stage_csv(request, "tailnum,year\nN3,2003\n")
    address = f"/api/v1/change_requests/{request.cr_id}"
    first = viewer.get(f"{address}/diff", {"revision": 1}).json()["results"]
    assert [one["key"]["tailnum"] for one in first] == ["N3", "N5"]
    assert read(viewer.get(f"{address}/diff", {"format": "arrow"})) == [
        {"_op": "update", "tailnum": "N3", "year.base": None, "year.proposed": 2003}
    ]
    compared = viewer.get(f"{address}/revisions/compare", {"from": 1, "to": 2}).json()["results"]
    assert [(one["key"]["tailnum"], one["operation"]) for one in compared] == [
        ("N3", "update"),
        ("N5", "delete"),
    ]
    assert compared[0]["cells"] == [{"column": "year", "from": 2002, "to": 2003}]
    rows = read(viewer.get(f"{address}/revisions/compare", {"from": "1", "to": "2", "format": "arrow"}))
    assert [(row["_op"], row["_op.from"], row["_op.to"]) for row in rows] == [
        ("update", "update", "update"),
        ("delete", "insert", None),
    ]
    assert problem(viewer.get(f"{address}/diff", {"revision": 9})) == (404, "not_found")
    assert problem(viewer.get(f"{address}/revisions/compare", {"from": 1, "to": 9})) == (404, "not_found")


def test_what_a_caller_has_is_not_sent_again(dataset: Dataset, viewer: APIClient) -> None:
    request = ChangeRequestFactory(dataset=dataset, status="pending")
    addresses = [
        f"/api/v1/datasets/{dataset.pk}/rows",
        f"/api/v1/datasets/{dataset.pk}/rows?format=arrow",
        f"/api/v1/datasets/{dataset.pk}/rows?version=0&limit=2",
        f"/api/v1/datasets/{dataset.pk}/compare?from=0&to=0",
        f"/api/v1/change_requests/{request.cr_id}/diff",
        f"/api/v1/change_requests/{request.cr_id}/revisions/compare?from=1&to=1",
    ]
    tags = {}
    for address in addresses:
        answer = viewer.get(address)
        tags[address] = answer.headers["ETag"]
        again = viewer.get(address, headers={"if-none-match": f'"other", W/{tags[address]}'})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tags[address])
        other = viewer.get(address, headers={"if-none-match": '"other"'})
        assert other.status_code == 200
        getattr(other, "end", lambda: None)()
        getattr(answer, "end", lambda: None)()
    assert len(set(tags.values())) == len(addresses)
    merge(request, person_with(Role.OWNER, dataset))
    for address in (addresses[0], addresses[4]):
        assert viewer.get(address, headers={"if-none-match": tags[address]}).status_code == 200
    assert viewer.get(addresses[2], headers={"if-none-match": tags[addresses[2]]}).status_code == 304


def test_a_dataset_is_sent_again_when_its_table_moved_and_edited_by_what_was_seen(dataset: Dataset) -> None:
    person = person_with(Role.OWNER, dataset)
    owner = client_of(person)
    address = f"/api/v1/datasets/{dataset.pk}"
    seen = owner.get(address).headers["ETag"]
    assert owner.get(address, headers={"if-none-match": seen}).status_code == 304
    request = ChangeRequestFactory(dataset=dataset, status="pending")
    of_request = f"/api/v1/change_requests/{request.cr_id}"
    tag = owner.get(of_request).headers["ETag"]
    assert owner.get(of_request, headers={"if-none-match": tag}).status_code == 304
    merge(request, person)
    moved = owner.get(address, headers={"if-none-match": seen})
    assert (moved.status_code, moved.json()["meta"]["delta_version"]) == (200, 1)
    assert owner.get(of_request, headers={"if-none-match": tag}).status_code == 200
    # What was edited did not move: the rules.
    changed = owner.patch(address, {"name": "Planes"}, headers={"if-match": seen})
    assert (changed.status_code, changed.json()["name"]) == (200, "Planes")
    again = owner.patch(address, {"name": "Others"}, headers={"if-match": seen})
    assert problem(again) == (412, "settings_changed")


def test_answers_tell_how_many_calls_are_left(
    dataset: Dataset, viewer: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.clear()
    monkeypatch.setattr(RowsViewSet, "throttle_classes", [UserRateThrottle])
    monkeypatch.setattr(UserRateThrottle, "THROTTLE_RATES", {"user": "2/hour"})
    address = f"/api/v1/datasets/{dataset.pk}/rows"
    told = []
    for _ in range(3):
        answer = viewer.get(address)
        told.append((answer.status_code, answer.headers["RateLimit"].partition(";t=")[0]))
        assert answer.headers["RateLimit-Policy"] == '"user";q=2;w=3600'
    assert told == [(200, '"user";r=1'), (200, '"user";r=0'), (429, '"user";r=0')]
    assert 3590 <= int(answer.headers["Retry-After"]) <= 3600
    cache.clear()


def test_the_number_of_downloads_is_a_setting(settings: Any) -> None:
    gc.collect()
    settings.DOWNLOADS_AT_ONCE = 2
    places = [downloads.DownloadPlace(), downloads.DownloadPlace()]
    with pytest.raises(downloads.TooManyDownloads):
        downloads.DownloadPlace()
    places[0].leave()
    places[0].leave()
    del places[1]  # forgotten, as where a caller left before the answer was made
    assert downloads._PLACES._taken == 0
