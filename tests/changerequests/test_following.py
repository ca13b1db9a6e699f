"""What follows an upload once it is staged: done as whoever sent it, with the policies of then, and once."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

import merging
from audit.selectors import events_of
from changerequests.models import ChangeRequest, MergeRun, Upload
from changerequests.services import following, proposals, reviews, staging, uploads, waiting
from changerequests.states import FollowUp, Outcome, Status, UploadKind, UploadState
from datasets.models import Dataset
from datasets.roles import Role
from tests.factories import DatasetFactory, give_role, person_with, stage_csv

pytestmark = pytest.mark.django_db

SUBMIT = uploads.Then(FollowUp.SUBMIT)
MERGE = uploads.Then(FollowUp.MERGE_WHEN_READY, "as agreed")


@pytest.fixture
def dataset() -> Dataset:
    return DatasetFactory.create(required_approvals=0, contributors_may_merge=False)


@pytest.fixture
def owner(dataset: Dataset) -> User:
    return person_with(Role.OWNER, dataset, username="olga")


@pytest.fixture
def propose(deaf_staging: None, dataset: Dataset, tmp_path: Path) -> Any:
    """A draft with content that no worker has heard of."""

    def proposed(person: User, then: uploads.Then, text: str = "tailnum,seats\nN1,1\n") -> Upload:
        path = tmp_path / "rows.csv"
        path.write_text(text)
        return uploads.receive_draft(
            dataset=dataset, author=person, title="Seats", content=uploads.ReceivedFile(path), then=then
        )

    return proposed


def staged(upload: Upload) -> Upload:
    staging.stage_upload(upload_id=upload.pk, worker="worker")
    return Upload.objects.select_related("change_request").get(pk=upload.pk)


def actions(change_request: ChangeRequest) -> list[str]:
    return [event.action for event in events_of("change_request", change_request.cr_id)]


def request_of(upload: Upload) -> ChangeRequest:
    return ChangeRequest.objects.get(uploads=upload)


def test_what_was_asked_to_be_submitted_is_submitted_by_its_sender(propose: Any, author: User) -> None:
    upload = staged(propose(author, SUBMIT))
    assert (upload.state, upload.followed_up) == (UploadState.STAGED, {"outcome": Outcome.SUBMITTED})
    assert request_of(upload).status == Status.PENDING
    assert actions(request_of(upload)) == [
        "change_request.created", "revision.staged", "change_request.submitted",
    ]  # fmt: skip


def test_merge_when_ready_follows_and_the_merge_is_the_senders(propose: Any, owner: User) -> None:
    upload = staged(propose(owner, MERGE))
    request = request_of(upload)
    assert upload.followed_up == {"outcome": Outcome.MERGE_WHEN_READY}
    assert (request.merge_when_ready_by, request.merge_when_ready_message) == (owner, "as agreed")
    run = waiting.merge_if_ready(change_request_id=request.pk)
    assert run is not None
    assert (run.requested_by, run.message) == (owner, "as agreed")


def test_a_sender_who_may_not_merge_is_left_with_a_submitted_request(propose: Any, author: User) -> None:
    upload = staged(propose(author, MERGE))
    assert upload.followed_up == {
        "outcome": Outcome.SUBMITTED, "code": "forbidden", "message": "You may not merge this change request.",
    }  # fmt: skip
    assert upload.is_settled
    request = request_of(upload)
    assert (request.status, request.merge_when_ready_by) == (Status.PENDING, None)


def test_whoever_lost_the_right_meanwhile_stages_and_merges_nothing(
    propose: Any, owner: User, dataset: Dataset
) -> None:
    upload = propose(owner, MERGE)
    person_with(Role.OWNER, dataset)
    give_role(owner, dataset, Role.VIEWER)
    upload = staged(upload)
    assert (upload.state, upload.error_code, upload.followed_up) == (UploadState.REFUSED, "forbidden", {})
    assert not ChangeRequest.objects.exists()


def test_the_right_to_merge_is_asked_for_when_it_is_done(
    propose: Any, owner: User, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    person_with(Role.OWNER, dataset)
    plan = following._plan

    def meanwhile(request_id: int) -> None:
        plan(request_id)
        give_role(owner, dataset, Role.CONTRIBUTOR)

    monkeypatch.setattr(following, "_plan", meanwhile)
    upload = staged(propose(owner, MERGE))
    assert upload.followed_up["code"] == "forbidden"
    assert request_of(upload).merge_when_ready_by is None


class WorkerKilled(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


def killed_at(step: str, upload: Upload) -> None:
    """Let a worker die where it comes to a step."""

    def killed(*_: Any) -> None:
        raise WorkerKilled

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(following, step, killed)
        with pytest.raises(WorkerKilled):
            staging.stage_upload(upload_id=upload.pk, worker="killed")


@pytest.mark.parametrize("at", ["_take", "_plan"])
def test_a_worker_killed_between_staging_and_what_follows_is_replaced_and_it_is_done_once(
    propose: Any, owner: User, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    upload = propose(owner, MERGE)
    killed_at(at, upload)
    upload.refresh_from_db()
    assert (upload.state, upload.is_settled) == (UploadState.STAGED, False)
    rung: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr("changerequests.queue.ring_for_upload", rung.append)
        assert staging.sweep_uploads() == 1
    assert rung == [upload.pk]

    assert staged(upload).followed_up == {"outcome": Outcome.MERGE_WHEN_READY}
    told = actions(request_of(upload))
    staging.stage_upload(upload_id=upload.pk, worker="again")

    assert told.count("change_request.submitted") == told.count("merge.when_ready_asked") == 1
    assert actions(request_of(upload)) == told
    assert staging.sweep_uploads() == 0


def test_what_its_sender_took_back_meanwhile_is_not_asked_for_again(propose: Any, owner: User) -> None:
    upload = propose(owner, MERGE)
    killed_at("_plan", upload)
    proposals.return_to_draft(change_request_id=request_of(upload).pk, actor=owner)
    upload = staged(upload)
    assert upload.followed_up["outcome"] == Outcome.SUBMITTED
    assert upload.followed_up["code"] == "invalid_transition"
    assert request_of(upload).status == Status.DRAFT


def test_newer_content_is_neither_submitted_nor_merged(
    propose: Any, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = propose(owner, MERGE)
    take = following._take

    def meanwhile(*arguments: Any) -> None:
        monkeypatch.setattr(following, "_take", take)
        stage_csv(request_of(upload), "tailnum,seats\nN1,2\n")
        take(*arguments)

    monkeypatch.setattr(following, "_take", meanwhile)
    upload = staged(upload)
    assert (upload.followed_up["outcome"], upload.followed_up["code"]) == (Outcome.STAGED, "upload_replaced")
    assert request_of(upload).status == Status.DRAFT


def test_a_fault_of_ours_is_told_and_ends_it(
    propose: Any, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(following, "_plan", broken)
    upload = staged(propose(owner, MERGE))
    assert (upload.followed_up["outcome"], upload.followed_up["code"]) == (Outcome.SUBMITTED, "upload_failed")
    assert staging.sweep_uploads() == 0


def test_a_merge_that_waits_is_dropped_with_newer_content(propose: Any, owner: User) -> None:
    upload = staged(propose(owner, MERGE))
    stage_csv(request_of(upload), "tailnum,seats\nN1,2\n")
    assert request_of(upload).merge_when_ready_by is None
    assert not MergeRun.objects.exists()


# --- Drafts that were made with their content -------------------------------------------------------------------


def test_a_draft_that_somebody_commented_on_stays(propose: Any, author: User, dataset: Dataset) -> None:
    upload = propose(author, SUBMIT, "tailnum,seats\nN1,many\n")
    reviews.comment(
        change_request_id=upload.change_request_id, actor=person_with(Role.CONTRIBUTOR, dataset), body="Why?"
    )
    upload = staged(upload)
    assert (upload.state, request_of(upload).status) == (UploadState.REFUSED, Status.DRAFT)


def test_a_draft_that_was_closed_meanwhile_stays_closed(propose: Any, author: User) -> None:
    upload = propose(author, SUBMIT)
    proposals.close(change_request_id=request_of(upload).pk, actor=author)
    upload = staged(upload)
    assert (upload.state, upload.error_code) == (UploadState.REFUSED, "invalid_transition")
    assert request_of(upload).status == Status.CLOSED


def test_a_draft_goes_with_the_upload_that_is_cancelled(propose: Any, author: User) -> None:
    upload = propose(author, SUBMIT)
    cancelled = uploads.cancel_upload(upload_id=upload.pk, actor=author)
    assert (cancelled.state, cancelled.change_request) == (UploadState.CANCELLED, None)
    assert not ChangeRequest.objects.exists()


def test_a_draft_that_other_content_is_read_for_stays(propose: Any, author: User, tmp_path: Path) -> None:
    first = propose(author, SUBMIT, "tailnum,seats\nN1,many\n")
    path = tmp_path / "second.csv"
    path.write_text("tailnum,seats\nN1,1\n")
    second = uploads.receive(
        change_request_id=first.change_request_id, actor=author, content=uploads.ReceivedFile(path)
    )
    assert staged(first).state == UploadState.REFUSED
    assert staged(second).change_request == request_of(first)


# --- Kinds ------------------------------------------------------------------------------------------------------


def proposed_by(kind: UploadKind, source: str, dataset: Dataset, person: User, **options: Any) -> Upload:
    content = uploads.NamedSource(kind, source, **options)
    return staged(uploads.receive_draft(dataset=dataset, author=person, title="Seats", content=content))


def test_a_statement_becomes_the_content_of_a_draft(
    deaf_staging: None, dataset: Dataset, author: User
) -> None:
    for name in ("dataset", '"table"', f'"{dataset.slug}"'):
        statement = f"UPDATE {name} SET seats = seats + 1 WHERE tailnum = 'N1'"
        upload = proposed_by(UploadKind.SQL, statement, dataset, author)
        assert upload.state == UploadState.STAGED
        revision = request_of(upload).revisions.get()
        assert (revision.rows, revision.rows_updated) == (1, 1)


def test_a_statement_that_is_refused_leaves_nothing(
    deaf_staging: None, dataset: Dataset, author: User
) -> None:
    upload = proposed_by(UploadKind.SQL, "SELECT tailnum,\n seets AS seats FROM dataset", dataset, author)
    assert (upload.state, upload.error_code) == (UploadState.REFUSED, "staging_rejected")
    [problem] = upload.error_data["errors"]
    assert (problem["code"], problem["line"], problem["column"]) == ("sql_unknown_column", 2, "2")
    upload = proposed_by(UploadKind.SQL, "DELETE FROM dataset WHERE false", dataset, author)
    assert (upload.state, upload.error_code) == (UploadState.REFUSED, "nothing_to_change")
    assert not ChangeRequest.objects.exists()


def test_a_statement_that_takes_too_long_says_so(
    deaf_staging: None, dataset: Dataset, author: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_long(*_: Any, **__: Any) -> Any:
        raise merging.ConfinedTooLong(3)

    monkeypatch.setattr(merging, "stage_query_apart", too_long)
    upload = proposed_by(UploadKind.SQL, "SELECT 1 AS tailnum", dataset, author)
    assert upload.state == UploadState.FAILED
    assert upload.error_message.startswith("Running the statement took longer than the 120 seconds")


@pytest.fixture
def copied(dataset: Dataset, settings: Any) -> Path:
    """A copy of the dataset's folder below the data root, where N1 has a seat more."""
    copy = Path(settings.DELTA_DATA_ROOT) / "copies" / f"copy-{dataset.pk}"
    shutil.copytree(dataset.table_uri, copy)
    rows = pa.table({"tailnum": ["N1"], "seats": pa.array([99], pa.int64())})
    staged_rows = merging.stage(str(copy), rows, ["tailnum"])
    merging.merge(merging.MergeRequest(str(copy), "CR-1", ["tailnum"], staged_rows))
    return copy


def test_a_copy_of_the_table_becomes_the_content_of_a_draft(
    deaf_staging: None, dataset: Dataset, author: User, copied: Path
) -> None:
    for address in (str(copied), f"copies/{copied.name}", f"file://{copied}"):
        upload = proposed_by(UploadKind.TABLE, address, dataset, author)
        assert (upload.error_message, upload.state) == ("", UploadState.STAGED)
        assert request_of(upload).revisions.get().rows_updated == 1


@pytest.mark.parametrize(
    "place",
    [
        "/etc",
        "../..",
        "s3://bucket/x",
        "nowhere",
        "audit/x",
        "_staging/uploads",
        "",
        "x\0y",
        "{own}",
        "{own}/a",
    ],
)
def test_tables_in_other_places_are_refused_and_leave_nothing(
    place: str, deaf_staging: None, dataset: Dataset, author: User
) -> None:
    upload = proposed_by(UploadKind.TABLE, place.format(own=dataset.table_uri) or " ", dataset, author)
    assert (upload.state, upload.error_code) == (UploadState.REFUSED, "invalid")
    assert not ChangeRequest.objects.exists()


def test_the_table_of_a_dataset_that_one_may_not_see_is_like_none(
    deaf_staging: None, dataset: Dataset, author: User, owner: User
) -> None:
    other = DatasetFactory.create()
    upload = proposed_by(UploadKind.TABLE, other.table_uri, dataset, author)
    assert (upload.state, upload.error_code) == (UploadState.REFUSED, "invalid")
    assert upload.error_message == f"There is no Delta table at {other.table_uri}, or you may not see it."
    give_role(author, other, Role.VIEWER)
    give_role(owner, other, Role.VIEWER)
    upload = proposed_by(UploadKind.TABLE, other.table_uri, dataset, author)
    assert "does not show that it was made from this dataset's table" in upload.error_message
    # An owner of the dataset vouches for a copy, and says what it is a copy of.
    upload = proposed_by(UploadKind.TABLE, other.table_uri, dataset, owner)
    assert "say so with base_version" in upload.error_message
    upload = proposed_by(UploadKind.TABLE, other.table_uri, dataset, owner, base_version=0)
    assert upload.error_code == "nothing_to_change"
    assert not ChangeRequest.objects.exists()


@pytest.mark.parametrize(
    "impossible", [{"kind": "sql"}, {"source": "SELECT 1"}, {"kind": "poem"}, {"kind": "rows", "source": "x"}]
)
def test_the_database_keeps_kind_and_source_together(
    propose: Any, author: User, impossible: dict[str, str]
) -> None:
    upload = propose(author, SUBMIT)
    with pytest.raises(IntegrityError), transaction.atomic():
        Upload.objects.filter(pk=upload.pk).update(**impossible)
