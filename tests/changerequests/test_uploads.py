"""Uploads as durable work: received without a look inside, read apart, judged again, told, cancelled, cleaned."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, OperationalError, connection, transaction
from django.utils import timezone

import merging
from audit.selectors import event_count, events_called
from changerequests import queue
from changerequests.errors import InvalidTransition, NothingToChange, UploadEnded
from changerequests.models import ChangeRequest, Preview, Upload
from changerequests.services import previews, reading, retention, staging, storage, uploads
from changerequests.services.vouched import bent_rows
from changerequests.states import UploadPhase, UploadState, UploadStatus
from datasets import leases, work
from datasets.durable_work import WorkStatus
from datasets.errors import Forbidden, InvalidInput, NotFound
from datasets.models import Dataset
from datasets.roles import Role
from merging.staging import apart
from tests import kept
from tests.factories import ChangeRequestFactory, DatasetFactory, give_role, person_with
from tests.kept import incoming_folder, staging_folder, upload_folder, uploads_folder

pytestmark = pytest.mark.django_db

ONE_ROW = "tailnum,seats\nN1,1\n"


@pytest.fixture
def dataset() -> Dataset:
    return DatasetFactory.create(slug="planes", name="planes")


@pytest.fixture
def pending(dataset: Dataset, author: User) -> ChangeRequest:
    return ChangeRequestFactory.create(dataset=dataset, author=author)


def content_of(folder: Path, text: str = ONE_ROW, **options: Any) -> uploads.ReceivedFile:
    path = folder / "rows.csv"
    path.write_text(text)
    return uploads.ReceivedFile(path, **options)


@pytest.fixture
def receive(deaf_staging: None, pending: ChangeRequest, tmp_path: Path) -> Callable[..., Upload]:
    """An upload to the pending request that no worker has heard of."""

    def received(text: str = ONE_ROW, **options: Any) -> Upload:
        return uploads.receive(
            change_request_id=pending.pk, actor=pending.author, content=content_of(tmp_path, text, **options)
        )

    return received


def stage(upload: Upload) -> Upload:
    staging.stage_upload(upload_id=upload.pk, worker="worker")
    upload.refresh_from_db()
    return upload


def as_it_was(change_request: ChangeRequest) -> dict[str, Any]:
    """All that an upload may touch of a request; equal before and after wherever it was not staged."""
    return {
        "request": ChangeRequest.objects.filter(pk=change_request.pk).values().get(),
        "revisions": list(change_request.revisions.values()),
        "events": event_count(),
        "staged": sorted(staging_folder(change_request).rglob("*")),
    }


def is_cleared(upload: Upload) -> bool:
    return not upload_folder(upload).exists()


# --- Received ---------------------------------------------------------------------------------------------------


def test_receiving_looks_into_nothing_and_rings(
    receive: Callable[..., Upload], monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[int] = []
    monkeypatch.setattr(queue, "ring_for_upload_on_commit", rung.append)
    monkeypatch.setattr(apart, "run_confined", None)  # whoever reads would fail

    upload = receive("\x00 no table at all", file_name="rows.arrow", null_token="-")

    assert rung == [upload.pk]
    assert (upload.state, upload.file_name, upload.size_bytes, upload.null_token) == (
        UploadState.RECEIVED, "rows.arrow", 17, "-",
    )  # fmt: skip
    assert (upload_folder(upload) / storage.CONTENT).read_text() == "\x00 no table at all"


def test_a_received_file_survives_the_one_it_was_received_as(
    receive: Callable[..., Upload], tmp_path: Path
) -> None:
    upload = receive()
    (tmp_path / "rows.csv").unlink()
    assert stage(upload).state == UploadState.STAGED


@pytest.fixture
def unheard(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Do something whose commit takes place and whose answer is lost."""
    commit = connection.commit

    def lost() -> None:
        commit()
        raise OperationalError("server closed the connection unexpectedly")

    def done(deed: Callable[..., object], **named: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(connection, "commit", lost)
            with pytest.raises(OperationalError):
                deed(**named)

    return done


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_a_file_whose_rows_may_be_there_stays(
    unheard: Callable[..., None], deaf_staging: None, pending: ChangeRequest, tmp_path: Path
) -> None:
    content, author = content_of(tmp_path), pending.author
    unheard(uploads.receive, change_request_id=pending.pk, actor=author, content=content)
    unheard(previews.look, dataset=pending.dataset, actor=author, content=content, change_request=pending)
    assert stage(Upload.objects.latest("pk")).status == UploadStatus.STAGED
    looked_at = previews.look_at(preview_id=Preview.objects.get().pk, worker="worker")
    assert looked_at is not None
    assert looked_at.status == WorkStatus.SUCCEEDED


def test_what_may_not_be_uploaded_is_not_received(
    deaf_staging: None, pending: ChangeRequest, dataset: Dataset, tmp_path: Path, settings: Any
) -> None:
    viewer = person_with(Role.VIEWER, dataset)
    content = content_of(tmp_path)
    with pytest.raises(Forbidden):
        uploads.receive(change_request_id=pending.pk, actor=viewer, content=content)
    with pytest.raises(Forbidden):
        uploads.receive_draft(dataset=dataset, author=viewer, title="Seats", content=content)
    with pytest.raises(InvalidInput, match="Give the change request a title"):
        uploads.receive_draft(dataset=dataset, author=pending.author, title=" ", content=content)
    settings.UPLOAD_LIMIT_BYTES = 3
    with pytest.raises(InvalidInput, match="3 are possible"):
        uploads.receive(change_request_id=pending.pk, actor=pending.author, content=content)
    assert Upload.objects.filter(status=UploadStatus.QUEUED).count() == 0
    assert list(uploads_folder().iterdir()) == []


@pytest.mark.django_db(transaction=True)
def test_waiting_holds_no_connection_of_the_database(
    receive: Callable[..., Upload], monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = receive()
    held: list[bool] = []
    monkeypatch.setattr(
        "changerequests.services.uploads.time.sleep", lambda _: held.append(connection.connection is not None)
    )
    assert uploads.wait_for_upload(upload.pk, 0.2).state == UploadState.RECEIVED
    assert set(held) == {False}


# --- Staged -----------------------------------------------------------------------------------------------------


def test_an_upload_becomes_the_revision_and_its_file_is_removed(
    receive: Callable[..., Upload], pending: ChangeRequest
) -> None:
    upload = stage(receive(pasted=ONE_ROW))

    revision = pending.revisions.get(is_current=True)
    assert (upload.state, upload.revision, upload.rows_read, upload.pasted) == (
        UploadState.STAGED, revision, 1, "",
    )  # fmt: skip
    assert (revision.number, revision.rows, revision.created_by) == (2, 1, pending.author)
    assert kept.content_folder(revision).is_relative_to(staging_folder(pending))
    assert merging.open_staged(str(kept.content_folder(revision))).digest == revision.digest
    assert is_cleared(upload)
    assert uploads.revision_of(upload) == revision


def test_the_first_content_makes_the_draft(
    deaf_staging: None, dataset: Dataset, author: User, tmp_path: Path
) -> None:
    received = uploads.receive_draft(
        dataset=dataset, author=author, title=" Seats ", description="Why", content=content_of(tmp_path)
    )
    made = ChangeRequest.objects.get()
    assert received.change_request == made
    assert (made.title, made.description, made.author, made.status) == ("Seats", "Why", author, "draft")
    upload = stage(received)
    assert upload.revision == made.revisions.get()
    assert is_cleared(upload)


def test_two_workers_stage_it_once(receive: Callable[..., Upload], pending: ChangeRequest) -> None:
    upload = receive()
    assert staging.stage_upload(upload_id=upload.pk, worker="one") is not None
    assert staging.stage_upload(upload_id=upload.pk, worker="two") is None
    assert pending.revisions.count() == 2


def test_older_content_never_replaces_newer(receive: Callable[..., Upload], pending: ChangeRequest) -> None:
    older, newer = receive(), receive("tailnum,seats\nN1,2\n")
    stage(newer)
    before = as_it_was(pending)

    stage(older)

    assert (older.state, older.error_code) == (UploadState.CANCELLED, "upload_replaced")
    assert as_it_was(pending) == before
    assert is_cleared(older)


# --- Refused and failed -----------------------------------------------------------------------------------------


def test_refused_content_is_told_by_line_and_column(
    receive: Callable[..., Upload], pending: ChangeRequest
) -> None:
    before = as_it_was(pending)

    upload = stage(receive("tailnum,seats\nN1,many\nN2,\x00\n", pasted="typed"))

    assert (upload.state, upload.error_code, upload.pasted) == (
        UploadState.REFUSED,
        uploads.REJECTED,
        "typed",
    )
    with pytest.raises(merging.StagingRejected) as refused:
        uploads.revision_of(upload)
    assert [(one.line, one.column) for one in refused.value.problems] == [(2, "seats"), (3, "seats")]
    assert refused.value.message == upload.error_message
    assert as_it_was(pending) == before
    assert is_cleared(upload)


def test_a_draft_whose_content_is_refused_is_removed_again(
    deaf_staging: None, dataset: Dataset, author: User, tmp_path: Path
) -> None:
    same = content_of(tmp_path, "tailnum,seats\nN1,149\n")
    upload = stage(uploads.receive_draft(dataset=dataset, author=author, title="Seats", content=same))
    assert (upload.state, upload.error_code) == (UploadState.REFUSED, NothingToChange.code)
    assert upload.error_data == {"noop_rows": 1, "duplicate_rows": 0}
    assert not ChangeRequest.objects.exists()
    assert (upload.change_request, upload.title) == (None, "Seats")
    told = events_called("change_request.removed").get()
    assert (told.actor, told.data) == (
        "", {"title": "Seats", "upload": upload.pk, "reason": NothingToChange.code},
    )  # fmt: skip
    assert [one for one in bent_rows() if "request" in one.place] == []
    assert is_cleared(upload)


def test_the_right_to_propose_is_looked_at_again_for_a_draft(
    deaf_staging: None, dataset: Dataset, author: User, tmp_path: Path
) -> None:
    received = uploads.receive_draft(
        dataset=dataset, author=author, title="Seats", content=content_of(tmp_path)
    )
    give_role(author, dataset, Role.VIEWER)
    upload = stage(received)
    assert (upload.state, upload.error_code) == (UploadState.REFUSED, Forbidden.code)
    assert not ChangeRequest.objects.exists()


ENDS = [
    (merging.ConfinedDied("It crashed (SIGSEGV).", signal_number=11), "reader_died", "crashed (SIGSEGV)"),
    (merging.ConfinedTooLong(7.0), "upload_took_too_long", "STAGING_SECONDS"),
    (merging.ConfinedOutOfMemory(5), "upload_out_of_memory", "STAGING_PROCESS_MEMORY"),
    (merging.ConfinedDied("KeyError in x.py", raised="KeyError"), "upload_failed", "failed unexpectedly"),
    (merging.StorageFull("The disk is full."), "storage_full", "The disk is full."),
    (RuntimeError("a fault of ours"), "upload_failed", "failed unexpectedly"),
]


@pytest.mark.parametrize(("end", "code", "sentence"), ENDS, ids=lambda value: type(value).__name__)
def test_fs1_a_child_that_died_is_told_and_the_request_is_whole(
    receive: Callable[..., Upload],
    pending: ChangeRequest,
    monkeypatch: pytest.MonkeyPatch,
    end: Exception,
    code: str,
    sentence: str,
) -> None:
    def died(*_: Any, **__: Any) -> None:
        raise end

    before = as_it_was(pending)
    monkeypatch.setattr(apart, "run_confined", died)

    upload = stage(receive())

    assert (upload.state, upload.error_code) == (UploadState.FAILED, code)
    assert sentence in upload.error_message
    with pytest.raises(UploadEnded) as told:
        uploads.revision_of(upload)
    assert told.value.code == code
    assert as_it_was(pending) == before
    assert is_cleared(upload)


def test_fs1_fs2_the_limits_of_the_settings_hold_for_the_child(
    child_for_staging: None, receive: Callable[..., Upload], pending: ChangeRequest, settings: Any
) -> None:
    before = as_it_was(pending)
    settings.STAGING_PROCESS_MEMORY = 1024**2
    assert stage(receive()).error_code in ("upload_out_of_memory", "reader_died")
    settings.STAGING_PROCESS_MEMORY, settings.STAGING_SECONDS = 3 * 1024**3, 0.001
    assert stage(receive()).error_code == "upload_took_too_long"
    assert as_it_was(pending) == before
    settings.STAGING_SECONDS = 60
    assert stage(receive()).state == UploadState.STAGED


@pytest.mark.parametrize("answer", [None, {}, {"folder": "../../elsewhere"}, {"folder": ".."}, {"folder": 7}])
def test_a_child_that_names_another_place_is_not_believed(
    receive: Callable[..., Upload], pending: ChangeRequest, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    before = as_it_was(pending)
    monkeypatch.setattr(apart, "run_confined", lambda *_, **__: answer)
    upload = stage(receive())
    assert (upload.state, upload.error_code) == (UploadState.FAILED, merging.StagedCorrupt.code)
    assert as_it_was(pending) == before


def test_a_received_file_that_is_gone_is_told(receive: Callable[..., Upload]) -> None:
    upload = receive()
    (upload_folder(upload) / storage.CONTENT).unlink()
    assert (stage(upload).state, upload.error_code) == (UploadState.FAILED, "upload_lost")


# --- Workers that die -------------------------------------------------------------------------------------------


def interrupted(upload: Upload, attempts: int = 1) -> None:
    """As a worker leaves it that was killed a while ago."""
    long_ago = timezone.now() - timedelta(seconds=leases.LEASE_SECONDS + 1)
    Upload.objects.filter(pk=upload.pk).update(
        status=UploadStatus.RUNNING, phase=UploadPhase.READING, attempts=attempts, heartbeat_at=long_ago
    )


def test_the_sweep_rings_again_for_what_nobody_works_on(
    receive: Callable[..., Upload], monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[int] = []
    monkeypatch.setattr(queue, "ring_for_upload", rung.append)
    waits, lost, alive = receive(), receive(), receive()
    interrupted(lost)
    work.claim(alive, worker="alive", phase=UploadPhase.READING)

    assert staging.sweep_uploads() == 2
    assert rung == [waits.pk, lost.pk]
    assert stage(lost).state == UploadState.STAGED
    assert lost.attempts == 2


def test_an_upload_that_keeps_killing_its_worker_is_given_up(
    receive: Callable[..., Upload], pending: ChangeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = as_it_was(pending)
    upload = receive()
    interrupted(upload, attempts=work.MOST_ATTEMPTS)
    monkeypatch.setattr(apart, "run_confined", None)

    stage(upload)

    assert (upload.state, upload.error_code) == (UploadState.FAILED, "reader_died")
    assert "Given up: 5 attempts" in upload.error_message
    assert as_it_was(pending) == before
    assert is_cleared(upload)


def test_a_worker_that_comes_back_from_the_dead_writes_nothing(
    receive: Callable[..., Upload], pending: ChangeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = receive()
    read = merging.stage_apart

    def slowly(*arguments: Any, **options: Any) -> merging.Staged:
        monkeypatch.setattr(merging, "stage_apart", read)
        staged = read(*arguments, **options)
        Upload.objects.filter(pk=upload.pk).update(
            heartbeat_at=timezone.now() - timedelta(seconds=leases.LEASE_SECONDS + 1)
        )
        staging.stage_upload(upload_id=upload.pk, worker="another")
        return staged

    monkeypatch.setattr(merging, "stage_apart", slowly)
    stage(upload)

    assert (upload.state, upload.worker, upload.attempts) == (UploadState.STAGED, "another", 2)
    assert pending.revisions.count() == 2
    assert {folder.name for folder in staging_folder(pending).iterdir()} == {
        kept.content_folder(revision).relative_to(staging_folder(pending)).parts[0]
        for revision in pending.revisions.all()
    }


def test_the_sweep_clears_what_dead_ones_left_and_nothing_that_waits(receive: Callable[..., Upload]) -> None:
    waits, ended = receive(), receive()
    Upload.objects.filter(pk=ended.pk).update(status=UploadStatus.FAILED)
    strange = uploads_folder() / "without-a-row"
    strange.mkdir()

    staging.sweep_uploads()

    assert (is_cleared(waits), is_cleared(ended), strange.is_dir()) == (False, True, True)


def test_retention_clears_what_never_became_an_upload(receive: Callable[..., Upload]) -> None:
    waits, ended = receive(), receive("tailnum,seats\nN1,x\n")
    stage(ended)
    Upload.objects.filter(pk=ended.pk).update(finished_at=timezone.now() - timedelta(days=400))
    incoming_folder().mkdir(parents=True)
    cut = incoming_folder() / "cut.upload"
    cut.write_bytes(b"half of")
    (uploads_folder() / "without-a-row").mkdir()

    def applied(days: int) -> None:
        retention.apply_retention(actor=None, policy=retention.Policy(days, days, days, days, days, days))

    applied(1)
    assert (cut.exists(), (uploads_folder() / "without-a-row").exists()) == (True, True)
    later = timezone.now() + timedelta(days=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timezone, "now", lambda: later)
        applied(1)
    assert (cut.exists(), (uploads_folder() / "without-a-row").exists()) == (False, False)
    assert list(Upload.objects.all()) == [waits]
    assert not is_cleared(waits)


# --- Cancelled --------------------------------------------------------------------------------------------------


def test_what_waits_is_cancelled_at_once(
    receive: Callable[..., Upload], pending: ChangeRequest, django_capture_on_commit_callbacks: Any
) -> None:
    before = as_it_was(pending)
    upload = receive(pasted=ONE_ROW)
    with django_capture_on_commit_callbacks(execute=True):
        cancelled = uploads.cancel_upload(upload_id=upload.pk, actor=pending.author)
    assert (cancelled.state, cancelled.error_code, cancelled.pasted) == (
        UploadState.CANCELLED,
        "cancelled",
        "",
    )
    assert is_cleared(upload)
    assert uploads.cancel_upload(upload_id=upload.pk, actor=pending.author).state == UploadState.CANCELLED
    assert stage(upload).state == UploadState.CANCELLED
    assert as_it_was(pending) == before


def test_what_is_read_is_cancelled_before_it_becomes_a_revision(
    receive: Callable[..., Upload], pending: ChangeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = as_it_was(pending)
    upload = receive()
    read = merging.stage_apart

    def meanwhile(*arguments: Any, **options: Any) -> merging.Staged:
        staged = read(*arguments, **options)
        told = uploads.cancel_upload(upload_id=upload.pk, actor=pending.author)
        assert told.state == UploadState.CHECKING
        return staged

    monkeypatch.setattr(merging, "stage_apart", meanwhile)
    stage(upload)

    assert (upload.state, upload.error_message) == (UploadState.CANCELLED, "Cancelled by carl.")
    assert as_it_was(pending) == before
    assert is_cleared(upload)


def test_a_child_is_ended_once_its_upload_is_cancelled(
    receive: Callable[..., Upload], pending: ChangeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = receive()
    monkeypatch.setattr(reading, "_SECONDS_BETWEEN_LOOKS", 0.0)

    def asked(*_: Any, is_cancelled: Callable[[], bool], **__: Any) -> None:
        assert not is_cancelled()
        uploads.cancel_upload(upload_id=upload.pk, actor=pending.author)
        assert is_cancelled()
        raise merging.ConfinedCancelled("It was cancelled.")

    monkeypatch.setattr(apart, "run_confined", asked)
    assert (stage(upload).state, upload.error_code) == (UploadState.CANCELLED, "cancelled")


def test_what_has_ended_is_not_cancelled(receive: Callable[..., Upload], pending: ChangeRequest) -> None:
    upload = stage(receive())
    with pytest.raises(InvalidTransition, match="it is staged"):
        uploads.cancel_upload(upload_id=upload.pk, actor=pending.author)
    assert pending.revisions.count() == 2


# --- Who sees it, and what the database refuses -----------------------------------------------------------------


def test_an_upload_is_seen_by_its_sender_and_the_owners_alone(
    receive: Callable[..., Upload], dataset: Dataset, author: User
) -> None:
    upload = receive()
    owner = person_with(Role.OWNER, dataset)
    assert uploads.visible_upload(author, upload.pk) == upload
    assert uploads.visible_upload(owner, upload.pk) == upload
    for other in (person_with(Role.CONTRIBUTOR, dataset), person_with(None, dataset)):
        with pytest.raises(NotFound):
            uploads.visible_upload(other, upload.pk)
        with pytest.raises(NotFound):
            uploads.cancel_upload(upload_id=upload.pk, actor=other)
    assert Upload.objects.get(pk=upload.pk).state == UploadState.RECEIVED


def test_the_database_keeps_state_and_revision_together(
    receive: Callable[..., Upload], pending: ChangeRequest
) -> None:
    upload = receive()
    rows = Upload.objects.filter(pk=upload.pk)
    for impossible in (
        {"status": UploadStatus.STAGED},
        {"revision": pending.revisions.get()},
        {"change_request": None},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            rows.update(**impossible)
