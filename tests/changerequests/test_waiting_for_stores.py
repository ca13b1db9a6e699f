"""All kinds of work on tables wait for a store that does not answer, go on by themselves, are given up in one way."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

import merging
from changerequests.models import Upload
from changerequests.services import maintenance, previews, staging, storage, uploads
from changerequests.services.storage import upload_folder
from changerequests.states import UploadKind
from datasets import outages, suites, table_work, trials
from datasets.durable_work import TableWork
from datasets.models import Dataset, DatasetMeta, MaintenanceRun, StorePlace
from datasets.roles import Role
from tests.factories import ChangeRequestFactory, DatasetFactory, expectation, person_with

pytestmark = pytest.mark.django_db

WHY = "Its store did not answer in time."
ONE_ROW = "tailnum,seats\nN1,1\n"


@dataclass(frozen=True)
class Kind:
    """One kind of work: how it is asked for, done and rung for, and what it asks the engine for first."""

    ask: Callable[[Dataset, User, Path], TableWork]
    do: Callable[[Any], Any]
    ring: Callable[[], int]
    engine: str
    page: Callable[[Any], str]
    call: Callable[[Any], str]


def _upload(dataset: Dataset, actor: User, folder: Path) -> TableWork:
    pending = ChangeRequestFactory.create(dataset=dataset, author=actor)
    content = uploads.ReceivedFile(_file(folder))
    return uploads.receive(change_request_id=pending.pk, actor=actor, content=content)


def _file(folder: Path) -> Path:
    path = folder / "rows.csv"
    path.write_text(ONE_ROW)
    return path


def _look(dataset: Dataset, actor: User, folder: Path) -> TableWork:
    return previews.look(dataset=dataset, actor=actor, content=uploads.ReceivedFile(_file(folder)))


def _statement(dataset: Dataset, actor: User, folder: Path) -> TableWork:
    source = "SELECT tailnum, 1 AS seats FROM dataset LIMIT 1"
    return previews.look(dataset=dataset, actor=actor, content=uploads.NamedSource(UploadKind.SQL, source))


def _visit(dataset: Dataset, actor: User, folder: Path) -> TableWork:
    return maintenance.request_maintenance(dataset_id=dataset.pk, actor=actor, jobs=["checkpoint"])


def _trial(dataset: Dataset, actor: User, folder: Path) -> TableWork:
    document = suites.suite_text(
        {"name": "", "expectations": [expectation("column_values_to_not_be_null", column="tailnum")]}
    )
    return trials.ask_for_trial(dataset_id=dataset.pk, actor=actor, document=document)


def _proposal(dataset: Dataset, actor: User, folder: Path) -> TableWork:
    return suites.ask_for_proposal(dataset_id=dataset.pk, actor=actor)


def _of_dataset(name: str) -> Callable[[Any], str]:
    return lambda work: reverse(name, args=[work.dataset.project.slug, work.dataset.slug])


def _of_work(name: str, *, in_dataset: bool = False) -> Callable[[Any], str]:
    def place(work: Any) -> str:
        return reverse(
            name, args=[work.dataset.project.slug, work.dataset.slug, work.pk] if in_dataset else [work.pk]
        )

    return place


KINDS = {
    "upload": Kind(
        _upload,
        lambda one: staging.stage_upload(upload_id=one.pk, worker="here"),
        staging.sweep_uploads,
        "stage_apart",
        _of_work("received_upload"),
        _of_work("api:received-upload"),
    ),
    "look": Kind(
        _look,
        lambda one: previews.look_at(preview_id=one.pk, worker="here"),
        previews.sweep_previews,
        "stage_apart",
        _of_work("preview"),
        _of_work("api:preview"),
    ),
    "statement": Kind(
        _statement,
        lambda one: previews.look_at(preview_id=one.pk, worker="here"),
        previews.sweep_previews,
        "stage_query_apart",
        _of_work("preview"),
        _of_work("api:preview"),
    ),
    "maintenance": Kind(
        _visit,
        lambda one: maintenance.maintain(dataset_id=one.dataset_id, worker="here"),
        maintenance.sweep,
        "table_condition",
        _of_dataset("maintenance"),
        lambda one: reverse("api:dataset-maintenance", args=[one.dataset_id]),
    ),
    "trial": Kind(
        _trial,
        lambda one: trials.make_trial(trial_id=one.pk, worker="here"),
        trials.sweep_trials,
        "check_table",
        _of_work("suite_trial", in_dataset=True),
        lambda one: reverse("api:suite-trial", args=[one.dataset_id, one.pk]),
    ),
    "proposal": Kind(
        _proposal,
        lambda one: suites.make_proposal(proposal_id=one.pk, worker="here"),
        suites.sweep_proposals,
        "propose_expectations",
        _of_work("suite_proposal", in_dataset=True),
        lambda one: reverse("api:suite-proposal", args=[one.dataset_id, one.pk]),
    ),
}


@pytest.fixture
def dataset() -> Dataset:
    return DatasetFactory.create(slug="planes", name="planes")


@pytest.fixture
def actor(dataset: Dataset) -> User:
    return person_with(Role.OWNER, dataset)


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest, deaf_staging: None) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def asked(kind: Kind, dataset: Dataset, actor: User, tmp_path: Path) -> TableWork:
    return kind.ask(dataset, actor, tmp_path)


@pytest.fixture
def away(kind: Kind, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the table's store not answer, or (``back``) answer again."""
    as_it_is = getattr(merging, kind.engine)

    def set_away(*, retriable: bool = True, back: bool = False) -> None:
        def fails(*_: Any, **__: Any) -> None:
            raise merging.TableUnreachable(dataset.table_uri, WHY, retriable=retriable)

        monkeypatch.setattr(merging, kind.engine, as_it_is if back else fails)

    return set_away


def at(work: TableWork, until: datetime | None) -> None:
    type(work)._default_manager.filter(pk=work.pk).update(not_before=until)


def test_work_waits_says_so_and_goes_on(
    kind: Kind, asked: TableWork, away: Callable[..., None], actor: User, client: Client
) -> None:
    away()
    kind.do(asked)
    asked.refresh_from_db()
    assert (asked.status, asked.waits, asked.attempts) == ("queued", 1, 0)
    assert (asked.error_code, asked.error_message) == ("table_unreachable", WHY)
    assert asked.waits_for_store
    meta = DatasetMeta.objects.get(dataset=asked.dataset)
    assert (meta.unreachable_reason, meta.unreachable_for_good) == (WHY, False)

    kind.do(asked)  # it is not due: nobody asks the store
    asked.refresh_from_db()
    assert (asked.waits, asked.attempts) == (1, 0)
    assert kind.ring() == 0
    assert asked.not_before is not None
    told = f"next at {asked.not_before:%H:%M} UTC, try 2. Nothing is lost."
    caller = APIClient()
    caller.force_authenticate(actor)
    answer = caller.get(kind.call(asked)).json()
    one = answer["runs"][0] if "runs" in answer else answer
    assert one["waits_for_store"]["reason"] == WHY
    assert one["waits_for_store"]["tries"] == 1
    assert not one.get("problem")
    client.force_login(actor)
    page = client.get(kind.page(asked)).content.decode()
    assert told in page

    away(back=True)
    at(asked, timezone.now() - timedelta(seconds=1))
    assert kind.ring() == 1
    kind.do(asked)
    asked.refresh_from_db()
    assert not asked.is_active
    assert (asked.status in ("succeeded", "staged"), asked.error_code, asked.error_message) == (True, "", "")
    meta.refresh_from_db()
    assert (meta.unreachable_since, meta.unreachable_reason) == (None, "")


def test_what_does_not_pass_by_itself_ends_the_work_with_the_reason(
    kind: Kind, asked: TableWork, away: Callable[..., None]
) -> None:
    away(retriable=False)
    kind.do(asked)
    asked.refresh_from_db()
    assert (asked.status, asked.waits, asked.error_code) == ("failed", 0, "table_unreachable")
    assert WHY in asked.error_message
    assert DatasetMeta.objects.get(dataset=asked.dataset).unreachable_for_good


def test_waiting_ends_after_a_while(kind: Kind, asked: TableWork, away: Callable[..., None]) -> None:
    away()
    type(asked)._default_manager.filter(pk=asked.pk).update(waits=table_work.MOST_WAITS)
    kind.do(asked)
    asked.refresh_from_db()
    assert (asked.status, asked.error_code) == ("failed", "table_unreachable")
    assert "It was tried for hours" in asked.error_message


def test_a_store_that_is_shut_off_holds_no_worker(
    kind: Kind, asked: TableWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever kind of work it is: one asks for all, and the others are told until when to wait."""
    monkeypatch.setattr(merging, kind.engine, lambda *_, **__: pytest.fail("its store is shut off"))
    Dataset.objects.filter(pk=asked.dataset.pk).update(table_uri="s3://lake/planes")
    outages.note_outage(merging.TableUnreachable("s3://lake/other", WHY, retriable=True))
    kind.do(asked)
    asked.refresh_from_db()
    until = StorePlace.objects.get().shut_until
    assert (asked.status, asked.waits, asked.attempts, asked.not_before) == ("queued", 0, 0, until)
    assert kind.ring() == 0


def test_the_file_of_an_upload_stays_while_it_waits(
    dataset: Dataset, actor: User, tmp_path: Path, deaf_staging: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise merging.TableUnreachable(dataset.table_uri, WHY, retriable=True)

    upload = _upload(dataset, actor, tmp_path)
    assert isinstance(upload, Upload)
    with monkeypatch.context() as patch:
        patch.setattr(merging, "stage_apart", fails)
        staging.stage_upload(upload_id=upload.pk, worker="here")
    assert storage.received(upload_folder(upload)).read_text() == ONE_ROW


def test_a_visit_that_had_begun_ends_and_another_one_waits_in_its_place(
    dataset: Dataset, actor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it wrote is known by its own attempt, so that a clearing finds it, or keeps it while it may still commit."""

    def fails(*_: Any, **__: Any) -> None:
        raise merging.TableUnreachable(dataset.table_uri, WHY, retriable=True)

    asked = maintenance.request_maintenance(
        dataset_id=dataset.pk, actor=actor, jobs=["compaction", "orphans"], reason="It is slow."
    )
    with monkeypatch.context() as patch:
        patch.setattr(merging, "compact", fails)
        maintenance.maintain(dataset_id=dataset.pk, worker="here")
    asked.refresh_from_db()
    assert (asked.status, asked.error_code, asked.version_before) == ("failed", "table_unreachable", 0)
    assert "tried again by itself" in asked.error_message
    again = MaintenanceRun.objects.exclude(pk=asked.pk).get()
    assert (again.status, again.waits, again.jobs, again.requested_by, again.reason) == (
        "queued",
        1,
        ["compaction", "orphans"],
        actor,
        "It is slow.",
    )
    assert again.waits_for_store
    at(again, timezone.now() - timedelta(seconds=1))
    maintenance.maintain(dataset_id=dataset.pk, worker="here")
    again.refresh_from_db()
    assert (again.status, again.error_message) == ("succeeded", "")
