"""A dataset with people of every role, and a browser for each without a browser."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client

from changerequests.models import ChangeRequest
from datasets.models import Dataset
from datasets.roles import Role
from tests.factories import ChangeRequestFactory, DatasetFactory, person_with

SignedIn = Callable[[User], Client]


@pytest.fixture
def dataset(db: None) -> Dataset:
    made: Dataset = DatasetFactory(slug="planes", name="planes")
    return made


@pytest.fixture
def owner(dataset: Dataset) -> User:
    return person_with(Role.OWNER, dataset, username="olivia", first_name="Olivia", last_name="Okafor")


@pytest.fixture
def author(dataset: Dataset) -> User:
    return person_with(Role.CONTRIBUTOR, dataset, username="carl", first_name="Carl", last_name="Castillo")


@pytest.fixture
def viewer(dataset: Dataset) -> User:
    return person_with(Role.VIEWER, dataset, username="vera")


@pytest.fixture
def stranger(db: None) -> User:
    made: User = User.objects.create_user("sam")
    return made


@pytest.fixture
def change_request(dataset: Dataset, author: User) -> ChangeRequest:
    made: ChangeRequest = ChangeRequestFactory(dataset=dataset, author=author, title="Correct two planes")
    return made


@pytest.fixture
def signed_in() -> SignedIn:
    def client_of(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return client_of
