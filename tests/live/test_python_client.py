"""The Python client against the server itself: propose, wait, look, choose, merge; the same awaited."""

import threading
from collections.abc import Iterator
from pathlib import Path

import headgate
import pandas
import pytest
from django.contrib.auth.models import User
from django.db import connection

from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import token_of
from tests.factories import DatasetFactory, drain, person_with, rows_of

pytestmark = pytest.mark.usefixtures("merging_worker")


@pytest.fixture
def merging_worker(staging_worker: threading.Event) -> Iterator[None]:
    """Somebody in this process who merges what the server queues."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(0.05):
            drain("beside the server")
        connection.close()

    thread = threading.Thread(target=work, name="merging")
    thread.start()
    yield
    ended.set()
    thread.join()


@pytest.fixture
def planes(delta_data_root: Path) -> Dataset:
    """A dataset of one's own."""
    made: Dataset = DatasetFactory.create()
    return made


@pytest.fixture
def person(planes: Dataset) -> User:
    """Its owner."""
    return person_with(Role.OWNER, planes)


@pytest.fixture
def hg(server: str, person: User) -> Iterator[headgate.Client]:
    """The client, as the dataset's owner."""
    with headgate.Client(server, token_of(person), progress=False) as client:
        yield client


def name_of(dataset: Dataset) -> str:
    return f"{dataset.project.slug}/{dataset.slug}"


def test_from_frame_to_merge(hg: headgate.Client, planes: Dataset) -> None:
    change_request = hg.dataset(name_of(planes)).propose(
        pandas.DataFrame({"tailnum": ["N1", "N9"], "seats": [56, 7]}), title="Two planes"
    )
    assert change_request.wait().status == "draft"
    assert [(one["operation"], one["key"]) for one in change_request.diff()] == [
        ("update", {"tailnum": "N1"}),
        ("insert", {"tailnum": "N9"}),
    ]
    run = change_request.merge()
    assert run["result"] is not None
    assert (run["status"], run["result"]["rows_affected"]) == ("succeeded", 2)
    assert change_request.status == "merged"
    assert {row["tailnum"]: row["seats"] for row in rows_of(planes)}["N9"] == 7
    assert (
        hg.dataset(name_of(planes)).blame({"tailnum": "N9"})["changes"][0]["change_request"]
        == change_request.cr_id
    )
