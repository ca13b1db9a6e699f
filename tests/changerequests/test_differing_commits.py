"""A commit that is not what was planned is loud: it is merged, everybody is told, and no merge follows unseen."""

import io
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from structlog.testing import capture_logs

import merging
from audit import bells
from audit.selectors import events_of
from changerequests import queue, selectors
from changerequests.errors import Blocked
from changerequests.models import ChangeRequest, MergeRun
from changerequests.services import execution, maintenance, operations, runs, waiting
from changerequests.services.execution import claiming, running
from changerequests.states import RunStatus, Status
from datasets import leases
from datasets.errors import Forbidden, InvalidInput, NotFound
from datasets.models import Dataset, DatasetMeta, MaintenanceRun
from datasets.operators import make_operator
from datasets.services import note_difference
from datasets.work import unattended_under_lease
from tests import kept
from tests.api.clients import client_of
from tests.factories import ChangeRequestFactory, UserFactory, drain, merge
from tests.merging.stores import lose_added_files

pytestmark = pytest.mark.django_db


@pytest.fixture
def adam() -> User:
    operator = UserFactory.create(username="adam")
    make_operator(operator)
    return User.objects.get(pk=operator.pk)


@pytest.fixture
def other(dataset: Dataset) -> ChangeRequest:
    return ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,1\n")


def merge_what_differs(
    change_request: ChangeRequest, owner: User, monkeypatch: pytest.MonkeyPatch
) -> MergeRun:
    with monkeypatch.context() as patch:
        lose_added_files(patch)
        return merge(change_request, owner)


def difference_of(dataset: Dataset) -> str:
    return DatasetMeta.objects.get(dataset=dataset).difference


def version_of(dataset: Dataset) -> int:
    return merging.inspect_table(dataset.table_uri).version


def test_the_commit_stands_and_everybody_is_told(
    dataset: Dataset,
    pending: ChangeRequest,
    owner: User,
    adam: User,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with capture_logs() as logged:
        run = merge_what_differs(pending, owner, monkeypatch)
    pending.refresh_from_db()
    sentence = (
        f"Version 1 of {dataset.table_uri} is committed, but its active files are not those before, without the "
        "removed, with the added and it has 3 rows where 5 were expected."
    )

    assert (run.status, run.merged_version, run.rows_affected) == (RunStatus.SUCCEEDED, 1, 2)
    assert (run.error_code, run.error_message) == ("commit_differs", sentence)
    assert (pending.status, pending.merged_version) == (Status.MERGED, 1)
    event = events_of("change_request", pending.cr_id).get(action="merge.differs")
    assert event.data == {"run": run.pk, "version": 1, "reason": sentence}
    [told] = [one for one in logged if one["event"] == "commit_differs"]
    assert (told["log_level"], told["dataset_id"], told["reason"]) == ("error", dataset.pk, sentence)
    [stuck] = operations.stuck_work()
    assert (stuck.code, stuck.action, stuck.number, stuck.reason) == (
        "commit_differs",
        "acknowledge",
        dataset.pk,
        sentence,
    )
    output = io.StringIO()
    call_command("operate", "status", stdout=output)
    assert (
        f"STUCK dataset {dataset.pk}: {sentence} Safe: operate acknowledge {dataset.pk}" in output.getvalue()
    )

    answer = client_of(owner).get(f"/api/v1/runs/{run.pk}").json()
    assert (answer["status"], answer["error"]) == (
        "succeeded",
        {"code": "commit_differs", "message": sentence},
    )
    meta = client_of(owner).get(f"/api/v1/datasets/{dataset.pk}").json()["meta"]
    assert meta["difference"] == sentence
    client.force_login(owner)
    for page in (
        reverse("merge_run", args=[run.pk]),
        reverse("change_request", args=[pending.cr_id]),
        reverse("dataset", args=[dataset.project.slug, dataset.slug]),
    ):
        assert "it has 3 rows where 5 were expected" in client.get(page).content.decode()
    client.force_login(adam)
    page = client.get(reverse("operations")).content.decode()
    assert "it has 3 rows where 5 were expected" in page


def test_no_merge_follows_until_an_operator_has_looked(
    dataset: Dataset,
    pending: ChangeRequest,
    other: ChangeRequest,
    owner: User,
    adam: User,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
) -> None:
    queued = runs.request_merge(change_request_id=other.pk, actor=owner)
    MergeRun.objects.filter(pk=queued.pk).update(status=RunStatus.CANCELLED)
    merge_what_differs(pending, owner, monkeypatch)
    with pytest.raises(Blocked) as blocked:
        runs.request_merge(
            change_request_id=other.pk, actor=owner, force_merge=True, override_reason="It has to be today."
        )
    assert [(one.code, one.kind, one.link, one.overridable) for one in blocked.value.blockers] == [
        ("commit_differs", "wait", "dataset", False)
    ]
    assert blocked.value.message.startswith("An operator has to look at the table of planes first. Version 1")
    MergeRun.objects.filter(pk=queued.pk).update(status=RunStatus.QUEUED)  # it was asked for before

    assert drain() == []
    assert list(unattended_under_lease(queue.workable_runs())) == []
    assert [one.code for one in operations.stuck_work()] == ["commit_differs"]
    assert version_of(dataset) == 1

    rung: list[str] = []
    monkeypatch.setattr(bells, "ring", lambda task, *_: rung.append(task))
    with django_capture_on_commit_callbacks(execute=True):
        operations.acknowledge(dataset_id=dataset.pk, actor=adam, reason=" Restored by hand. ")
    assert rung == ["changerequests.sweep"]
    assert difference_of(dataset) == ""
    event = events_of("dataset", str(dataset.pk)).get(action="operator.difference_acknowledged")
    assert (event.actor, event.data["reason"]) == ("adam", "Restored by hand.")
    assert event.data["difference"].endswith("it has 3 rows where 5 were expected.")
    [run] = drain()
    assert (run.pk, run.status, run.merged_version, run.error_code) == (
        queued.pk,
        RunStatus.SUCCEEDED,
        2,
        "",
    )


def test_only_operators_acknowledge_and_say_why(
    dataset: Dataset,
    pending: ChangeRequest,
    owner: User,
    adam: User,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(NotFound):
        operations.acknowledge(dataset_id=dataset.pk, actor=adam, reason="Why not.")
    merge_what_differs(pending, owner, monkeypatch)
    told = difference_of(dataset)
    with pytest.raises(Forbidden):
        operations.acknowledge(dataset_id=dataset.pk, actor=owner, reason="It is mine.")
    with pytest.raises(InvalidInput):
        operations.acknowledge(dataset_id=dataset.pk, actor=adam, reason=" ")
    assert difference_of(dataset) == told
    assert not events_of("dataset", str(dataset.pk)).filter(action__startswith="operator.").exists()

    client.force_login(adam)
    url = reverse("operate")
    form = {"action": "acknowledge", "number": dataset.pk, "reason": "Looked at it."}
    assert client.post(url, form).status_code == 302
    assert difference_of(dataset) == ""


def test_the_command_acknowledges(dataset: Dataset, adam: User) -> None:
    note_difference(dataset, "Version 1 is wrong.")
    note_difference(dataset, "Version 2 is wrong.")
    assert difference_of(dataset) == "Version 1 is wrong. Version 2 is wrong."
    call_command("operate", "acknowledge", str(dataset.pk), "--as", "adam", "--reason", "Looked at it.")
    assert difference_of(dataset) == ""


def test_a_run_that_died_after_its_commit_is_verified_by_who_takes_it_up(
    dataset: Dataset, pending: ChangeRequest, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        lose_added_files(patch)
        patch.setattr(running, "record_merge", lambda *_: (_ for _ in ()).throw(MemoryError("killed")))
        run = runs.request_merge(change_request_id=pending.pk, actor=owner)
        with pytest.raises(MemoryError):
            execution.merge_next(dataset_id=dataset.pk, worker="first")
    run.refresh_from_db()
    assert (run.status, difference_of(dataset)) == (RunStatus.RUNNING, "")
    [ended] = drain("second")
    assert (ended.pk, ended.status, ended.error_code) == (run.pk, RunStatus.SUCCEEDED, "commit_differs")
    assert difference_of(dataset).endswith("it has 3 rows where 5 were expected.")
    assert version_of(dataset) == 1


def test_a_merge_whose_verification_could_not_be_read_is_verified_before_it_is_recorded(
    dataset: Dataset, pending: ChangeRequest, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*_: Any) -> Any:
        raise TimeoutError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr("merging.executing.executor.verify", unreadable)
        run = merge_what_differs(pending, owner, monkeypatch)
    assert (run.status, run.error_code, run.merged_version) == (RunStatus.SUCCEEDED, "commit_differs", 1)


def test_a_merge_that_was_taken_up_looks_again_before_it_commits(
    dataset: Dataset, pending: ChangeRequest, owner: User
) -> None:
    run = runs.request_merge(change_request_id=pending.pk, actor=owner)
    claimed = claiming.claim(dataset.pk, "first")
    assert claimed is not None
    leases.release(claimed.table_lease)
    note_difference(dataset, "Version 0 is wrong.")
    [ended] = drain("second")
    assert (ended.pk, ended.status) == (run.pk, RunStatus.CANCELLED)
    assert ended.error_message == (
        "Since the merge was asked for something came in its way. An operator has to look at the table of planes "
        "first. Version 0 is wrong."
    )
    pending.refresh_from_db()
    assert (pending.status, version_of(dataset)) == (Status.PENDING, 0)


def test_what_it_was_to_do_is_kept_until_somebody_has_looked(
    dataset: Dataset,
    pending: ChangeRequest,
    owner: User,
    adam: User,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        merge_what_differs(pending, owner, monkeypatch)
    assert execution.clear_staged_content(change_request_id=pending.pk) is False
    pending.refresh_from_db()
    revision = selectors.current_revision(pending)
    assert revision is not None
    assert merging.open_staged(str(kept.content_folder(revision))).rows == 2
    operations.acknowledge(dataset_id=dataset.pk, actor=adam, reason="Looked at it.")
    execution.sweep()
    pending.refresh_from_db()
    assert pending.staging_removed_at is not None


def test_a_merge_that_waits_to_be_ready_waits_for_it(
    dataset: Dataset, pending: ChangeRequest, owner: User, adam: User
) -> None:
    note_difference(dataset, "Version 0 is wrong.")
    waiting.merge_when_ready(change_request_id=pending.pk, actor=owner)
    assert waiting.merge_if_ready(change_request_id=pending.pk) is None
    operations.acknowledge(dataset_id=dataset.pk, actor=adam, reason="Looked at it.")
    assert waiting.merge_if_ready(change_request_id=pending.pk) is not None


def test_maintenance_waits_too_and_one_that_differs_stops_merges(
    dataset: Dataset,
    pending: ChangeRequest,
    other: ChangeRequest,
    owner: User,
    adam: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    merge(pending, owner)
    asked = maintenance.request_maintenance(dataset_id=dataset.pk, actor=owner, jobs=["compaction"])
    note_difference(dataset, "Version 1 is wrong.")
    assert maintenance.maintain(dataset_id=dataset.pk, worker="test") is None
    operations.acknowledge(dataset_id=dataset.pk, actor=adam, reason="Looked at it.")
    with monkeypatch.context() as patch:
        lose_added_files(patch)
        ended = maintenance.maintain(dataset_id=dataset.pk, worker="test")
    assert ended is not None
    assert (ended.pk, ended.status, ended.error_code) == (
        asked.pk,
        MaintenanceRun.Status.FAILED,
        "commit_differs",
    )
    assert difference_of(dataset) == ended.error_message
    with pytest.raises(Blocked):
        runs.request_merge(change_request_id=other.pk, actor=owner)


def test_a_merge_as_planned_says_nothing(dataset: Dataset, pending: ChangeRequest, owner: User) -> None:
    run = merge(pending, owner)
    assert (run.status, run.error_code, run.error_message, difference_of(dataset)) == (
        RunStatus.SUCCEEDED,
        "",
        "",
        "",
    )
    assert not events_of("change_request", pending.cr_id).filter(action="merge.differs").exists()
