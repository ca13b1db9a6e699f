"""Retention: what is no longer needed goes, what an open request, a revert or the audit needs stays."""

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from audit.selectors import events_of
from audit.services import verify
from changerequests import selectors
from changerequests.models import ChangeRequest, MergeRun, Revision
from changerequests.services import plans, proposals, runs
from changerequests.services.blame import row_history
from changerequests.services.retention import Policy, apply_retention, configured_policy
from changerequests.services.reverts import revert_merge
from changerequests.states import RunStatus
from changerequests.tasks import apply_retention as task
from datasets.errors import Forbidden, InvalidInput
from datasets.models import Dataset
from datasets.operators import make_operator
from tests import kept
from tests.factories import ChangeRequestFactory, DatasetFactory, UserFactory, merge, stage_csv

pytestmark = pytest.mark.django_db

LATER = timedelta(days=400)


@pytest.fixture
def dataset() -> Dataset:
    return DatasetFactory(staging_cleanup=Dataset.StagingCleanup.ARCHIVE)


def merged(dataset: Dataset, owner: User, django_capture_on_commit_callbacks: Any) -> ChangeRequest:
    change_request = ChangeRequestFactory(dataset=dataset, author=owner)
    with django_capture_on_commit_callbacks(execute=True):
        merge(change_request, owner)
    change_request.refresh_from_db()
    assert kept.archive_folder(change_request).is_dir()
    return change_request


def kinds(dry_run: bool = False) -> list[tuple[str, str]]:
    report = apply_retention(actor=None, dry_run=dry_run)
    assert report.failed == ()
    return [(removal.kind, removal.subject) for removal in report.removals]


def grow_old(folder: Path, days: int) -> None:
    moment = time.time() - days * 86_400
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (moment, moment))


def test_archives_go_after_their_time_and_the_audit_stays(
    dataset: Dataset, owner: User, django_capture_on_commit_callbacks: Any
) -> None:
    change_request = merged(dataset, owner, django_capture_on_commit_callbacks)
    assert kinds() == []
    with time_machine.travel(timezone.now() + LATER):
        upload = str(change_request.uploads.get().pk)
        expected = [("archive", f"_archive/change_requests/{change_request.cr_id}"), ("upload", upload)]
        assert kinds(dry_run=True) == expected
        assert kept.archive_folder(change_request).is_dir()
        assert kinds() == expected
        assert kinds() == []
    assert not kept.archive_folder(change_request).exists()
    assert list(verify()) == []
    event = events_of("installation", "retention").get()
    assert event.data["counts"] == {"archive": 1, "upload": 1}
    assert event.data["bytes"] > 0
    assert event.data["removed"] == [f"{kind} {subject}" for kind, subject in expected]
    # Blame and revert need no archive.
    assert len(row_history(dataset=dataset, key={"tailnum": "N3"}).changes) == 1
    assert revert_merge(change_request_id=change_request.pk, actor=owner).reverts == change_request


def test_what_is_removed_while_somebody_waits_ends_after_a_while(
    dataset: Dataset, owner: User, django_capture_on_commit_callbacks: Any
) -> None:
    change_request = merged(dataset, owner, django_capture_on_commit_callbacks)
    with time_machine.travel(timezone.now() + LATER):
        cut_short = apply_retention(actor=None, seconds=-1)
        assert (cut_short.removals, cut_short.has_more) == ((), True)
        assert kept.archive_folder(change_request).is_dir()
        assert not apply_retention(actor=None, seconds=60).has_more
    assert not kept.archive_folder(change_request).exists()


def test_open_requests_keep_their_content_however_old(dataset: Dataset) -> None:
    change_request = ChangeRequestFactory(dataset=dataset)
    grow_old(kept.staging_folder(change_request), 1000)
    with time_machine.travel(timezone.now() + LATER):
        upload = str(change_request.uploads.get().pk)
        assert kinds() == [("upload", upload)]  # how it came, which is told by then
    with plans.plan_of(change_request) as plan:
        assert plan.rows_added == 1


def test_uploads_reverts_and_attempts_that_nobody_finished_go(
    dataset: Dataset, delta_data_root: Path
) -> None:
    change_request = ChangeRequestFactory(dataset=dataset)
    staging = kept.staging_folder(change_request)
    left = [
        staging / "0123" / ".staged-4567",
        delta_data_root / "_staging" / "change_requests" / "CR-9999" / "89ab",
        delta_data_root / "_staging" / "reverts" / "cdef",
        kept.attempts_folder(change_request) / "a1",
    ]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "rows.parquet").write_bytes(b"rows")
    assert kinds() == []  # they may still be at work
    for folder in (staging / "0123", *left[1:]):
        grow_old(folder, 3)
    assert sorted(kinds()) == [
        ("orphan", f"_staging/change_requests/{change_request.cr_id}/0123"),
        ("orphan", "_staging/change_requests/CR-9999/89ab"),
        ("orphan", "_staging/reverts/cdef"),
        ("orphan", f"audit/change_requests/{change_request.cr_id}/attempts/a1"),
    ]
    assert not any(folder.exists() for folder in left)
    assert selectors.current_revision(change_request) is not None
    with plans.plan_of(change_request) as plan:
        assert plan.rows_added == 1


def test_attempts_of_an_active_run_stay(dataset: Dataset, owner: User) -> None:
    change_request = ChangeRequestFactory(dataset=dataset)
    runs.request_merge(change_request_id=change_request.pk, actor=owner)
    folder = kept.attempts_folder(change_request) / "a1"
    folder.mkdir(parents=True)
    grow_old(folder, 1000)
    assert kinds() == []
    assert folder.is_dir()


def test_replaced_revisions_go_and_the_current_one_stays(dataset: Dataset) -> None:
    change_request = ChangeRequestFactory(dataset=dataset)
    first = selectors.current_revision(change_request)
    stage_csv(change_request, "tailnum,seats\nN1,150\n")
    with time_machine.travel(timezone.now() + timedelta(days=31)):
        assert [kind for kind, _ in kinds()] == ["superseded"]
        assert kinds() == []
    assert first is not None
    assert not kept.content_folder(first).exists()
    current = selectors.current_revision(ChangeRequest.objects.get(pk=change_request.pk))
    assert current is not None
    assert kept.content_folder(current).is_dir()


def test_a_replaced_revision_that_shares_its_place_with_the_current_one_stays(dataset: Dataset) -> None:
    change_request = ChangeRequestFactory(dataset=dataset)
    stage_csv(change_request, "tailnum,seats\nN1,150\n")
    current = selectors.current_revision(change_request)
    assert current is not None
    Revision.objects.filter(is_current=False).update(location=current.location)
    with time_machine.travel(timezone.now() + timedelta(days=31)):
        assert [kind for kind, _ in kinds()] == ["orphan"]  # the place that no revision names any more
    assert kept.content_folder(current).is_dir()
    with plans.plan_of(change_request) as plan:
        assert plan.rows_updated == 1


def test_closed_requests_give_their_content_up_and_reopen_as_empty_drafts(dataset: Dataset) -> None:
    change_request = ChangeRequestFactory(dataset=dataset)
    proposals.close(change_request_id=change_request.pk, actor=change_request.author)
    assert kinds() == []
    with time_machine.travel(timezone.now() + timedelta(days=91)):
        assert kinds() == [("closed", change_request.cr_id)]
    assert not kept.staging_folder(change_request).exists()
    assert kept.archive_folder(change_request).is_dir()
    actions = [event.action for event in events_of("change_request", change_request.cr_id)]
    assert actions[-1] == "staging.archived"
    reopened = proposals.reopen(change_request_id=change_request.pk, actor=change_request.author)
    assert selectors.current_revision(reopened) is None
    stage_csv(change_request, "tailnum,seats\nN1,150\n")
    change_request.refresh_from_db()
    assert change_request.staging_removed_at is None


def test_only_ended_runs_of_finished_requests_go(dataset: Dataset, owner: User) -> None:
    open_one = ChangeRequestFactory(dataset=dataset, csv="tailnum,seats\nN1,150\n")
    merged_one = ChangeRequestFactory(dataset=dataset, author=owner)
    for change_request in (open_one, merged_one):
        run = runs.request_merge(change_request_id=change_request.pk, actor=owner)
        runs.cancel_run(run_id=run.pk, actor=owner)
    cancelled = merged_one.runs.get()
    merge(merged_one, owner)
    with time_machine.travel(timezone.now() + timedelta(days=181)):
        removed = apply_retention(actor=None, dry_run=True).removals
        assert [(one.kind, one.subject) for one in removed if one.kind == "run"] == [
            ("run", f"{cancelled.pk} of {merged_one.cr_id}")
        ]
        task.apply()
    assert sorted(MergeRun.objects.values_list("change_request", "status")) == [
        (open_one.pk, RunStatus.CANCELLED),
        (merged_one.pk, RunStatus.SUCCEEDED),
    ]


def test_the_command_shows_first_and_removes_when_told(
    dataset: Dataset, delta_data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = delta_data_root / "_staging" / "reverts" / "cdef"
    folder.mkdir(parents=True)
    (folder / "rows.parquet").write_bytes(b"rows")
    grow_old(folder, 10)
    call_command("retention", "--orphans-days", "11")
    assert capsys.readouterr().out == "0 things would be removed, 0 bytes.\n"
    call_command("retention")
    assert capsys.readouterr().out.splitlines() == [
        "orphan _staging/reverts/cdef: a revert was not finished, 4 bytes",
        "1 things would be removed, 4 bytes.",
    ]
    assert folder.is_dir()
    call_command("retention", "--apply")
    assert capsys.readouterr().out.splitlines()[-1] == "1 things removed, 4 bytes."
    assert not folder.exists()
    with pytest.raises(CommandError, match="at least one day"):
        call_command("retention", "--runs-days", "0")


def test_operators_apply_it_and_nobody_else(owner: User) -> None:
    with pytest.raises(Forbidden, match="Only operators"):
        apply_retention(actor=owner)
    operator = UserFactory()
    make_operator(operator)
    assert apply_retention(actor=User.objects.get(pk=operator.pk)).removals == ()
    assert configured_policy() == Policy(
        archives=365, orphans=2, closed=90, superseded=30, runs=180, edits=90
    )
    with pytest.raises(InvalidInput):
        Policy(archives=0, orphans=2, closed=90, superseded=30, runs=180, edits=90)
