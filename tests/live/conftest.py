"""One web process under uvicorn for all tests of this folder, on a database and tables of its own."""

import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection
from django.test import override_settings

from accounts.tokens import make_token
from changerequests.models import ChangeRequest, Preview, Upload
from changerequests.services import plans, previews, staging
from changerequests.services.asking import ask_for_review
from changerequests.services.reviews import comment, review
from changerequests.services.runs import request_merge
from changerequests.states import UploadStatus
from datasets.models import Dataset
from datasets.roles import Role
from datasets.suites import EMPTY_SUITE, ask_for_proposal
from datasets.trials import ask_for_trial
from notifications.models import Delivery
from notifications.services.webhooks import create_webhook
from tests import services
from tests.api.clients import token_of
from tests.conftest import connected_database_url
from tests.factories import ChangeRequestFactory, DatasetFactory, drain, expect_of, expectation, person_with
from tests.live.server import Connection
from tests.migrated import begin_migrated

_numbers = itertools.count(1)


@pytest.fixture(scope="package")
def live_root(
    django_test_environment: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Where the server's tables are; until the end of this folder's tests this process is on the server's database."""
    folder = tmp_path_factory.mktemp("live")
    database = connection.settings_dict
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        connection.close()
        patch.setitem(database, "NAME", str(folder / "live.sqlite3"))
        begin_migrated(folder / "live.sqlite3")
        ContentType.objects.clear_cache()  # their numbers are the other database's
        call_command("migrate", verbosity=0)
        yield folder / "delta"
        connection.close()
    ContentType.objects.clear_cache()


@pytest.fixture(scope="package")
def server_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that the server logs."""
    return tmp_path_factory.mktemp("live-log") / "web.log"


@pytest.fixture(scope="package")
def server(live_root: Path, server_log: Path) -> Iterator[str]:
    """The address of the server, as production has it; of its queue only uploads are worked on."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings.dev",
        "DATABASE_URL": connected_database_url(),
        "CELERY_BROKER_URL": "memory://",
        "DELTA_DATA_ROOT": str(live_root),
    }
    with services.web_process(environment, server_log) as address:
        yield address


@pytest.fixture
def delta_data_root(live_root: Path) -> Iterator[Path]:
    """The server's, instead of a folder for each test."""
    with override_settings(DELTA_DATA_ROOT=live_root):
        yield live_root


@pytest.fixture(autouse=True)
def _server_root(delta_data_root: Path) -> None:
    """Every test here makes tables where the server finds them."""


@pytest.fixture(autouse=True)
def staging_worker(delta_data_root: Path) -> Iterator[threading.Event]:
    """Somebody in this process who reads what the server receives, while the event is set."""
    ended, awake = threading.Event(), threading.Event()
    awake.set()

    def work() -> None:
        while not ended.wait(0.05):
            if not awake.is_set():
                continue
            for upload in Upload.objects.filter(status=UploadStatus.QUEUED):
                staging.stage_upload(upload_id=upload.pk, worker="beside the server")
            for preview in Preview.objects.filter(status=Preview.Status.QUEUED):
                previews.look_at(preview_id=preview.pk, worker="beside the server")
        connection.close()

    thread = threading.Thread(target=work, name="staging")
    thread.start()
    yield awake
    ended.set()
    thread.join()


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


@pytest.fixture(scope="package")
def dataset(live_root: Path) -> Dataset:
    """A dataset that the tests of this folder share: none of them merges into it."""
    with override_settings(DELTA_DATA_ROOT=live_root):
        made: Dataset = DatasetFactory.create(slug=f"live-{next(_numbers)}")
    return made


@pytest.fixture(scope="package")
def owner(dataset: Dataset) -> User:
    """Its owner."""
    return person_with(Role.OWNER, dataset, username="live-owner")


@pytest.fixture
def draft(dataset: Dataset, owner: User) -> ChangeRequest:
    """A draft of the owner without content."""
    made: ChangeRequest = ChangeRequestFactory.create(dataset=dataset, author=owner, csv=None, status="draft")
    return made


@pytest.fixture(scope="package")
def client(server: str, owner: User) -> Connection:
    """A caller with a token of the owner."""
    return Connection(server, token=token_of(owner))


@pytest.fixture(scope="package")
def known(dataset: Dataset, owner: User, live_root: Path) -> dict[str, str]:
    """What stands in the addresses of operations: things that exist."""
    with override_settings(DELTA_DATA_ROOT=live_root):
        request: ChangeRequest = ChangeRequestFactory.create(dataset=dataset)
        expect_of(dataset, expectation("column_values_to_not_be_null", column="tailnum"))
        asked = comment(change_request_id=request.pk, actor=owner, body="Why?")
        verdict = review(change_request_id=request.pk, actor=owner, verdict="comment", body="Hm.")
        proposal = ask_for_proposal(dataset_id=dataset.pk, actor=owner)
        trial = ask_for_trial(dataset_id=dataset.pk, actor=owner, document=EMPTY_SUITE)
        plans.check(change_request_id=request.pk)
        run = request_merge(change_request_id=request.pk, actor=owner)
        reviewer = person_with(Role.CONTRIBUTOR, dataset)
        [wanted] = ask_for_review(change_request_id=request.pk, actor=owner, users=[reviewer.get_username()])
        hook, _ = create_webhook(actor=owner, place=dataset, name="Here", url="https://hooks.example/")
        delivery = Delivery.objects.create(receiver=hook.receiver, status="failed")
    return {
        "dataset_id": str(dataset.pk),
        "cr_id": request.cr_id,
        "slug": dataset.project.slug,
        "run_id": str(run.pk),
        "upload_id": str(Upload.objects.filter(change_request=request).latest("pk").pk),
        "comment_id": str(asked.pk),
        "token": str(make_token(owner=owner)[0].number),
        "number": "1",
        "review_id": str(verdict.pk),
        "review_request_id": str(wanted.pk),
        "proposal_id": str(proposal.pk),
        "trial_id": str(trial.pk),
        "query_id": "1",
        "preview_id": "1",
        "view_id": "1",
        "webhook_id": str(hook.pk),
        "delivery_id": str(delivery.pk),
        "invitation_id": "1",
        "connection": "nothing",
        "prefix_id": "1",
        "service_account_id": "1",
        "token_number": str(make_token(owner=owner)[0].number),
        "name": "merge_result.json",
        "kind": "user",
        "member": "nobody",
    }


@pytest.fixture(scope="package")
def settings_root(live_root: Path) -> Iterator[None]:
    """The server's folders in this process, for what is made for several tests."""
    with override_settings(DELTA_DATA_ROOT=live_root):
        yield
