"""Faults that need no separate process: what a killed or slow worker leaves behind, at the smallest scale."""

import os
import time
from pathlib import Path

import pytest

from audit.errors import AuditFileExists
from audit.files import write_audit_files
from changerequests.models import ChangeRequest, MergeRun
from changerequests.services import execution, runs
from changerequests.states import RunStatus, Status
from datasets import leases
from datasets.roles import Role
from merging.delta.store import LocalStore
from tests.factories import ChangeRequestFactory, DatasetFactory, drain, person_with


def test_what_a_killed_writer_left_of_an_audit_file_is_never_written_to(tmp_path: Path) -> None:
    write_audit_files(tmp_path, documents={"a.json": 1}, copies={})
    os.link(tmp_path / "a.json", tmp_path / ".a.json.partial")  # killed between its link and its unlink
    with pytest.raises(AuditFileExists):
        write_audit_files(tmp_path, documents={"a.json": 2}, copies={})
    assert (tmp_path / "a.json").read_text() == "1\n"


def test_a_full_disk_leaves_nothing_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    store = LocalStore(tmp_path)
    monkeypatch.setattr("merging.delta.store.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.put_new("_delta_log/00000000000000000000.json", b"{}")
    assert list((tmp_path / "_delta_log").iterdir()) == []


@pytest.mark.django_db(transaction=True)
def test_a_run_cancelled_between_the_look_and_the_lock_is_not_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    first: ChangeRequest = ChangeRequestFactory()
    second: ChangeRequest = ChangeRequestFactory(dataset=first.dataset, csv="tailnum,seats\nN1,1\n")
    owner = person_with(Role.OWNER, first.dataset)
    cancelled = runs.request_merge(change_request_id=first.pk, actor=owner)
    waiting = runs.request_merge(change_request_id=second.pk, actor=owner)
    lock = execution.lock_change_request

    def cancelled_meanwhile(pk: int) -> ChangeRequest:
        MergeRun.objects.filter(pk=cancelled.pk, status=RunStatus.QUEUED).update(status=RunStatus.CANCELLED)
        return lock(pk)

    monkeypatch.setattr(execution, "lock_change_request", cancelled_meanwhile)
    assert [run.pk for run in drain()] == [waiting.pk]
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.status, second.status) == (Status.PENDING, Status.MERGED)


@pytest.mark.django_db
def test_a_lease_that_ran_out_is_kept_until_somebody_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = DatasetFactory()
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
