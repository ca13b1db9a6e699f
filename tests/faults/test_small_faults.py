"""Faults that need no separate process: what a killed or slow worker leaves behind, at the smallest scale."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

import merging
from audit.errors import AuditFileExists
from audit.files import write_audit_files
from changerequests.errors import UploadEnded
from changerequests.models import ChangeRequest, MergeRun, Revision
from changerequests.services import execution, runs, staging, uploads
from changerequests.services.execution import claiming
from changerequests.services.locks import lock_change_request
from changerequests.states import RunStatus, Status
from config.celery import app as celery_app
from datasets import leases
from datasets.models import DatasetLease
from datasets.roles import Role
from merging.delta import commit
from merging.store.stores import LocalStore
from tests.factories import ChangeRequestFactory, DatasetFactory, drain, merge, person_with, rows_of


def test_what_a_killed_writer_left_of_an_audit_file_is_never_written_to(delta_data_root: Path) -> None:
    folder = delta_data_root / "audit" / "CR-1"
    write_audit_files("CR-1", documents={"a.json": 1}, copies={})
    os.link(folder / "a.json", folder / ".a.json.partial")  # killed between its link and its unlink
    with pytest.raises(AuditFileExists):
        write_audit_files("CR-1", documents={"a.json": 2}, copies={})
    assert (folder / "a.json").read_text() == "1\n"


def test_a_full_disk_leaves_nothing_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    store = LocalStore(tmp_path)
    monkeypatch.setattr("merging.store.stores.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.put_new("_delta_log/00000000000000000000.json", b"{}")
    assert list((tmp_path / "_delta_log").iterdir()) == []


@pytest.mark.django_db(transaction=True)
def test_a_run_cancelled_between_the_look_and_the_lock_is_not_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    first: Any = ChangeRequestFactory()
    second: Any = ChangeRequestFactory(dataset=first.dataset, csv="tailnum,seats\nN1,1\n")
    owner = person_with(Role.OWNER, first.dataset)
    cancelled = runs.request_merge(change_request_id=first.pk, actor=owner)
    waiting = runs.request_merge(change_request_id=second.pk, actor=owner)

    def cancelled_meanwhile(pk: int) -> ChangeRequest:
        MergeRun.objects.filter(pk=cancelled.pk, status=RunStatus.QUEUED).update(status=RunStatus.CANCELLED)
        return lock_change_request(pk)

    monkeypatch.setattr(claiming, "lock_change_request", cancelled_meanwhile)
    assert [run.pk for run in drain()] == [waiting.pk]
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.status, second.status) == (Status.PENDING, Status.MERGED)


@pytest.mark.django_db
def test_a_lease_that_ran_out_is_kept_until_somebody_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset: Any = DatasetFactory()
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.001)
    late = leases.acquire(dataset.pk, "late")
    assert late is not None
    time.sleep(0.002)
    assert leases.renew(late)
    time.sleep(0.002)
    taker = leases.acquire(dataset.pk, "taker")
    assert taker is not None
    assert taker.fence == late.fence + 1
    assert not leases.renew(late)
    assert not leases.release(late)


class Died(BaseException):
    """Where a worker process would have ended."""


@pytest.mark.django_db(transaction=True)
def test_a_sleeping_attempt_never_merges_what_was_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first worker sleeps just before its put, the second takes over and is cancelled, the first wakes up."""
    change_request: Any = ChangeRequestFactory()
    dataset = change_request.dataset
    owner = person_with(Role.OWNER, dataset)
    run = runs.request_merge(change_request_id=change_request.pk, actor=owner)
    before = rows_of(dataset)
    asleep: list[tuple[Any, Any]] = []

    def sleep_before_the_put(*arguments: Any, **named: Any) -> Any:
        asleep.append((arguments, named))
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr("merging.executing.executor.commit", sleep_before_the_put)
        patch.setattr(leases, "release", lambda _: False)  # the dead give nothing back
        with pytest.raises(Died):
            execution.merge_next(dataset_id=dataset.pk, worker="sleeper")
    DatasetLease.objects.update(acquired_at="2026-01-01T00:00Z", expires_at="2026-01-01T00:01Z")
    # As if the cancel had come while the second attempt was still checking.
    MergeRun.objects.filter(pk=run.pk).update(cancel_requested_by=owner)
    assert [(ended.status, ended.attempts) for ended in drain()] == [(RunStatus.CANCELLED, 2)]
    change_request.refresh_from_db()
    assert (change_request.status, change_request.merge_generation) == (Status.PENDING, 3)

    [(arguments, named)] = asleep
    with pytest.raises(merging.VersionMoved):
        commit(*arguments, **named)
    assert rows_of(dataset) == before

    again = merge(change_request, owner)
    assert (again.status, again.merged_version) == (RunStatus.SUCCEEDED, 2)
    assert len(rows_of(dataset)) == len(before) + 1


def test_a_child_may_take_its_time_to_warm_up() -> None:
    """Celery kills a child that is not up within 4 s, and the next, and the next: seen on a busy machine."""
    assert celery_app.conf.worker_proc_alive_timeout == 60.0


@pytest.mark.django_db(transaction=True)
def test_a_full_disk_puts_the_request_back_with_what_to_do_and_the_queue_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first: Any = ChangeRequestFactory()
    second: Any = ChangeRequestFactory(dataset=first.dataset, csv="tailnum,seats\nN1,1\n")
    owner = person_with(Role.OWNER, first.dataset)
    before = rows_of(first.dataset)
    full, free = [
        runs.request_merge(change_request_id=request.pk, actor=owner) for request in (first, second)
    ]
    put_new, puts = LocalStore.put_new, []

    def full_once(store: LocalStore, path: str, data: bytes) -> None:
        puts.append(path)
        if len(puts) == 1:
            raise OSError(28, "No space left on device")
        put_new(store, path, data)

    monkeypatch.setattr(LocalStore, "put_new", full_once)
    assert [run.pk for run in drain()] == [full.pk, free.pk]
    assert len(puts) == 2  # the full disk was not tried again
    full.refresh_from_db()
    first.refresh_from_db()
    assert (full.status, full.error_code, first.status) == (RunStatus.FAILED, "storage_full", Status.PENDING)
    assert "Free some space there, then try again; nothing was changed." in full.error_message
    free.refresh_from_db()
    assert (free.status, free.merged_version) == (RunStatus.SUCCEEDED, 1)
    assert len(rows_of(first.dataset)) == len(before)
    assert merge(first, owner).merged_version == 2


@pytest.mark.django_db
def test_an_upload_to_a_full_disk_says_so_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, delta_data_root: Path
) -> None:
    dataset: Any = DatasetFactory()
    author = person_with(Role.CONTRIBUTOR, dataset)
    path = tmp_path / "changes.csv"
    path.write_text("tailnum,seats\nN1,1\n")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    def propose(path: Path) -> Revision:
        content = uploads.ReceivedFile(path)
        draft = uploads.receive_draft(dataset=dataset, author=author, title="Seats", content=content)
        return staging.staged_at_once(draft)

    with monkeypatch.context() as patch:
        patch.setattr("merging.store.publishing.os.fsync", full)
        with pytest.raises(UploadEnded, match="no space left to stage the upload") as refused:
            propose(path)
    assert refused.value.code == "storage_full"
    assert ChangeRequest.objects.count() == 0
    assert [found for found in (delta_data_root / "_staging").rglob("*") if found.is_file()] == []
    revision = propose(path)
    assert (revision.number, revision.rows, revision.columns) == (1, 1, ["seats"])
