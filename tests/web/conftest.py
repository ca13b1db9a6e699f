"""A dataset with people of every role, and a browser for each without a browser."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client

from changerequests.models import ChangeRequest
from datasets.models import Dataset
from tests.factories import ChangeRequestFactory

SignedIn = Callable[[User], Client]


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
