"""Conflicts out as a file, choices back in: all of them or none."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from changerequests.models import ChangeRequest, ConflictResolution
from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import client_of, problem
from tests.factories import ChangeRequestFactory, merge, person_with

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner(dataset: Dataset) -> APIClient:
    return client_of(person_with(Role.OWNER, dataset, username="olivia"))


@pytest.fixture
def address(dataset: Dataset) -> str:
    request: ChangeRequest = ChangeRequestFactory(
        dataset=dataset, csv="tailnum,seats\nN1,150\nN2,183\n", status="pending"
    )
    other = ChangeRequestFactory(dataset=dataset, csv="tailnum,seats\nN1,151\nN2,184\n", status="pending")
    merge(other, person_with(Role.OWNER, dataset))
    return f"/api/v1/change_requests/{request.cr_id}/conflicts"


def put(client: APIClient, address: str, text: str) -> Any:
    return client.put(address, text.encode(), content_type="text/csv")


def test_a_downloaded_file_comes_back_with_choices(owner: APIClient, address: str) -> None:
    text = owner.get(address, {"format": "csv"}).getvalue().decode()
    header, first, second = text.splitlines()
    assert header == (
        '"tailnum","column","kind","base","current","proposed","choice","value","inputs_digest","seen"'
    )
    assert first.startswith('"N1","seats","modify/modify","149","151","150",,,')
    nothing = put(owner, address, text)
    assert problem(nothing) == (422, "invalid")
    chosen = "\n".join(
        [
            header,
            first.replace('"150",,,', '"150","custom","152",'),
            second.replace('"183",,,', '"183","current",,'),
        ]
    )
    stored = put(owner, address, chosen)
    assert (stored.status_code, stored.json()) == (200, {"unresolved": 0})
    told = owner.get(address).json()["results"]
    assert [(one["choice"], one["value"]) for one in told] == [("custom", 152), ("current", None)]
    again = owner.get(address, {"format": "csv"}).getvalue().decode()
    assert put(owner, address, again).json() == {"unresolved": 0}


def test_every_line_that_does_not_fit_is_told_and_none_is_stored(owner: APIClient, address: str) -> None:
    digests = [one["inputs_digest"] for one in owner.get(address).json()["results"]]
    refused = put(
        owner,
        address,
        "tailnum,inputs_digest,column,choice,value\n"
        f"N1,{digests[0]},seats,proposed,\n"
        f"N1,{digests[1]},seats,proposed,\n"
        f"N2,{digests[1]},seats,custom,many\n"
        f"N2,{digests[1]},seats,keep,\n"
        "N2,gone,seats,proposed,\n",
    )
    assert problem(refused) == (422, "staging_rejected")
    assert [one["line"] for one in refused.json()["errors"]] == [3, 4, 5, 6]
    moved = put(owner, address, "inputs_digest,column,choice\ngone,seats,proposed\n")
    assert problem(moved) == (409, "plan_changed")
    assert [one["line"] for one in moved.json()["errors"]] == [2]
    assert not ConflictResolution.objects.exists()


def test_what_is_no_file_of_choices_is_refused(owner: APIClient, address: str) -> None:
    assert problem(put(owner, address, "tailnum,choice\nN1,current\n")) == (422, "staging_rejected")
    assert problem(owner.put(address, {"resolutions": []})) == (415, "unsupported_media_type")
    assert problem(owner.put(address, b"", content_type="text/csv")) == (422, "invalid")
    broken = owner.put(address, b"PAR1 and no more", content_type="application/vnd.apache.parquet")
    assert problem(broken) == (422, "staging_rejected")
    assert not ConflictResolution.objects.exists()


def test_anothers_choice_is_replaced_by_who_saw_it(dataset: Dataset, owner: APIClient, address: str) -> None:
    other = client_of(person_with(Role.OWNER, dataset, username="oscar"))
    digest = owner.get(address).json()["results"][0]["inputs_digest"]
    assert put(other, address, f"inputs_digest,column,choice\n{digest},seats,current\n").status_code == 200
    unseen = put(owner, address, f"inputs_digest,column,choice\n{digest},seats,proposed\n")
    assert problem(unseen) == (409, "plan_changed")
    text = owner.get(address, {"format": "csv"}).getvalue().decode()
    seen = put(owner, address, text.replace('"150","current"', '"150","proposed"'))
    assert seen.json() == {"unresolved": 1}
