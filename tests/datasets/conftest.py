"""Who takes part in tests of the catalogue."""

import pytest
from django.contrib.auth.models import User

from datasets.operators import make_operator
from tests.factories import UserFactory, fresh


@pytest.fixture
def operator(db: None) -> User:
    adam = UserFactory.create(username="adam")
    make_operator(adam)
    return fresh(adam)
