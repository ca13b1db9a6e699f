"""Datasets by number and as ``project/slug``, wherever the API takes one."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.scopes import Scope
from changerequests.models import ChangeRequest
from datasets.addressing import DatasetName, dataset_address
from datasets.errors import InvalidInput
from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import client_of, problem
from tests.factories import ChangeRequestFactory, DatasetFactory, ProjectFactory, UserFactory, person_with

pytestmark = pytest.mark.django_db


@pytest.fixture
def dataset() -> Dataset:
    return DatasetFactory(project=ProjectFactory(slug="sales"), slug="rows")


@pytest.fixture
def owner(dataset: Dataset) -> APIClient:
    return client_of(person_with(Role.OWNER, dataset))


def answer(client: APIClient, address: str) -> Any:
    found = client.get(f"/api/v1/{address}")
    assert found.status_code == 200, found.content
    return found.json()


@pytest.mark.parametrize(
    "rest", ["", "/schema", "/rows", "/history", "/members", "/suite/versions", "/maintenance"]
)
def test_every_route_of_a_dataset_takes_its_name(dataset: Dataset, owner: APIClient, rest: str) -> None:
    # Its slug is the word of an operation: an address of two words is a dataset all the same.
    by_number = without_times(answer(owner, f"datasets/{dataset.pk}{rest}"))
    assert without_times(answer(owner, f"datasets/sales/rows{rest}")) == by_number
    assert without_times(answer(owner, f"datasets/sales%2Frows{rest}")) == by_number


def without_times(answered: Any) -> Any:
    """The answer without how long its reads took."""
    if isinstance(answered, dict) and "reads" in answered:
        return answered | {"reads": [one | {"seconds": None} for one in answered["reads"]]}
    return answered


def test_settings_and_requests_take_the_name(dataset: Dataset, owner: APIClient) -> None:
    assert owner.patch("/api/v1/datasets/sales/rows", {"name": "Planes"}).json()["name"] == "Planes"
    made = owner.post("/api/v1/change_requests", {"dataset": "sales/rows", "title": "By name"})
    numbered = owner.post("/api/v1/change_requests", {"dataset": dataset.pk, "title": "By number"})
    assert [made.status_code, numbered.status_code] == [201, 201]
    assert made.json()["dataset"] == numbered.json()["dataset"]

    other = ChangeRequestFactory()
    assert other.dataset != dataset
    for named in ("sales/rows", dataset.pk):
        found = answer(owner, f"change_requests?dataset={named}")["results"]
        assert [one["title"] for one in found] == ["By number", "By name"]
    assert answer(owner, "runs?dataset=sales/rows")["results"] == []


@pytest.mark.parametrize("named", ["rows", "sales/", "/rows", "sales/rows/", "Sales/rows", "7/rows", "", -1])
def test_what_names_no_dataset_is_refused(dataset: Dataset, owner: APIClient, named: Any) -> None:
    refused = owner.post("/api/v1/change_requests", {"dataset": named, "title": "No"})
    assert problem(refused) == (422, "invalid")
    assert refused.json()["errors"][0]["field"] == "dataset"
    filtered = owner.get("/api/v1/change_requests", {"dataset": named})
    assert problem(filtered) == (422, "invalid")
    assert not ChangeRequest.objects.exists()


def test_true_is_no_dataset(owner: APIClient) -> None:
    assert problem(owner.post("/api/v1/change_requests", {"dataset": True, "title": "No"})) == (
        422,
        "invalid",
    )


def test_a_name_that_is_not_there_is_told_like_one_that_may_not_be_seen(dataset: Dataset) -> None:
    stranger = client_of(UserFactory(), Scope.READ)
    there, absent = (stranger.get(f"/api/v1/datasets/sales/{slug}/rows") for slug in ("rows", "absent"))
    assert problem(there) == problem(absent) == (404, "not_found")
    assert there.json()["message"] == absent.json()["message"]


def test_a_project_of_digits_does_not_hide_a_number(dataset: Dataset) -> None:
    hidden = DatasetFactory(project=ProjectFactory(slug=str(dataset.pk)), slug="rows")
    person = person_with(Role.VIEWER, dataset)
    found = answer(client_of(person), f"datasets/{dataset.pk}/rows")["results"]
    assert found == answer(client_of(person), "datasets/sales/rows/rows")["results"] != []
    with pytest.raises(InvalidInput):
        dataset_address(f"{hidden.project.slug}/rows")


def test_a_name_is_read_as_it_is_written() -> None:
    assert dataset_address("sales/customers-2_a") == DatasetName("sales", "customers-2_a")
    assert str(dataset_address("7")) == "7"
    assert str(dataset_address("0x/rows")) == "0x/rows"


def test_the_contract_takes_the_name(dataset: Dataset) -> None:
    request = ChangeRequestFactory(dataset=dataset, status="pending")
    owner = client_of(person_with(Role.OWNER, dataset))
    call = {"project_id": "sales", "cr_id": request.cr_id, "primary_keys": ["tailnum"]}
    wrong = owner.post("/delta/merge-cr", {**call, "dataset_id": "other/rows"})
    assert problem(wrong) == (404, "not_found")
    # Found by its name; what is refused next is the key.
    keyed = owner.post("/delta/merge-cr", {**call, "dataset_id": "sales/rows", "primary_keys": ["seats"]})
    assert problem(keyed) == (422, "invalid")
