"""Two who register the same at the same moment: one is told, as if they had come later."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connection

import merging
from datasets import services
from datasets.errors import InvalidInput
from datasets.models import Dataset, DatasetLease, Project
from datasets.services import projects, registration
from tests.factories import PLANES, ProjectFactory, table_folder

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def looked_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody saves before both have found nothing in the way."""
    both = Barrier(2, timeout=20)
    judge = registration.require_valid

    def require_valid(instance: Project | Dataset, **options: Any) -> None:
        judge(instance, **options)
        both.wait()

    monkeypatch.setattr(registration, "require_valid", require_valid)
    monkeypatch.setattr(projects, "require_valid", require_valid)


def at_once(*calls: Callable[[], Any]) -> list[InvalidInput]:
    """What those were told who were refused."""

    def told(call: Callable[[], Any]) -> InvalidInput | None:
        try:
            call()
        except InvalidInput as error:
            return error
        finally:
            connection.close()
        return None

    with ThreadPoolExecutor(len(calls)) as pool:
        return [error for error in pool.map(told, calls) if error is not None]


def table(name: str) -> str:
    folder = str(table_folder(name))
    merging.create_table(folder, PLANES)
    return folder


def registering(project: Project, slug: str, table_uri: str) -> Callable[[], Dataset]:
    return lambda: services.register_dataset(
        project=project, slug=slug, name=slug, table_uri=table_uri, primary_keys=["tailnum"]
    )


def test_the_same_table_becomes_one_dataset(looked_together: None) -> None:
    project, planes = ProjectFactory.create(), table("planes")

    [refused] = at_once(registering(project, "one", planes), registering(project, "two", planes))

    assert list(refused.data["errors"]) == ["table_uri"]
    assert "is a dataset already" in refused.message
    assert (Dataset.objects.count(), DatasetLease.objects.count()) == (1, 1)


def test_the_same_short_name_is_one_dataset(looked_together: None) -> None:
    project = ProjectFactory.create()

    [refused] = at_once(
        registering(project, "planes", table("one")), registering(project, "planes", table("two"))
    )

    assert "already exists" in refused.message
    assert (Dataset.objects.count(), DatasetLease.objects.count()) == (1, 1)


def test_the_same_short_name_is_one_project(looked_together: None) -> None:
    def make() -> Project:
        return services.create_project(slug="flights", name="Flights")

    [refused] = at_once(make, make)

    assert list(refused.data["errors"]) == ["slug"]
    assert Project.objects.count() == 1
