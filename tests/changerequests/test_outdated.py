"""Which plans are made again, and how often: one look per dataset once its queue has drained, none twice."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from celery import current_app
from django.contrib.auth.models import User
from django.forms import model_to_dict

import merging
from changerequests import queue, tasks
from changerequests.models import ChangeRequest, PlanCheck
from changerequests.services import execution, maintenance, outdated, plans, proposals, runs, waiting
from changerequests.states import RunStatus, Status
from datasets.models import Dataset
from datasets.roles import Role
from datasets.services import reconcile
from tests import kept
from tests.factories import (
    ChangeRequestFactory,
    DatasetFactory,
    approve,
    drain,
    merge,
    person_with,
    stage_csv,
)

pytestmark = pytest.mark.django_db

ROWS = 40


@pytest.fixture
def dataset() -> Dataset:
    data = pa.table(
        {"tailnum": [f"N{number:02}" for number in range(ROWS)], "seats": pa.array(range(ROWS), pa.int64())}
    )
    return DatasetFactory.create(data=data)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Every message that asks for a check."""
    found: list[tuple[str, int]] = []

    def send(task: str, args: tuple[int, ...] = ()) -> None:
        if "check" in task:
            found.append((task.removeprefix("changerequests."), args[0]))

    monkeypatch.setattr(current_app, "send_task", send)
    monkeypatch.setattr(queue.transaction, "on_commit", lambda call, robust=False: call())
    return found


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The request of every plan that is made."""
    found: list[str] = []
    plan = merging.plan

    def noted(request: merging.MergeRequest) -> merging.MergePlan:
        found.append(request.cr_id)
        return plan(request)

    monkeypatch.setattr(merging, "plan", noted)
    return found


def request_for(dataset: Dataset, *rows: int, value: int = -1) -> ChangeRequest:
    csv = "tailnum,seats\n" + "".join(f"N{row:02},{value}\n" for row in rows)
    return ChangeRequestFactory.create(dataset=dataset, csv=csv)


def check_of(change_request: ChangeRequest) -> PlanCheck:
    return PlanCheck.objects.get(change_request=change_request)


def test_n_merges_with_m_requests_beside_them_ask_once(
    dataset: Dataset, owner: User, sent: list[tuple[str, int]], planned: list[str]
) -> None:
    merged = [request_for(dataset, number) for number in range(5)]
    beside = [request_for(dataset, number) for number in range(10, 18)]
    touched = [request_for(dataset, 2, 20, value=-2), request_for(dataset, 4, 21, value=-2)]
    for one in merged:
        runs.request_merge(change_request_id=one.pk, actor=owner)
    sent.clear()
    planned.clear()
    assert [run.status for run in drain()] == [RunStatus.SUCCEEDED] * 5
    assert (sent, planned) == ([("check_pending", dataset.pk)], [])

    assert outdated.check_pending(dataset_id=dataset.pk) == 2
    assert sorted(planned) == sorted(one.cr_id for one in touched)
    assert {check_of(one).table_version for one in (*beside, *touched)} == {5}
    assert [check_of(one).unresolved for one in touched] == [1, 1]
    assert {check_of(one).unresolved for one in beside} == {0}

    planned.clear()
    assert outdated.check_pending(dataset_id=dataset.pk) == 0
    assert planned == []


def test_what_is_carried_forward_is_what_a_plan_would_say(dataset: Dataset, owner: User) -> None:
    csv = "tailnum,seats,_op\nN20,7,upsert\nN21,,delete\nN99,1,insert\n"
    mine = ChangeRequestFactory.create(dataset=dataset, csv=csv)
    deleting = "tailnum,seats,_op\nN00,,delete\nN01,,delete\nN02,5,upsert\n"
    merge(ChangeRequestFactory.create(dataset=dataset, csv=deleting), owner, dataset_name_typed=dataset.name)
    assert outdated.check_pending(dataset_id=dataset.pk) == 0
    told_apart = ["checked_at", "reads"]  # when, and what was looked into for it
    carried = model_to_dict(check_of(mine), exclude=told_apart)
    plans.check(change_request_id=mine.pk)
    assert carried == model_to_dict(check_of(mine), exclude=told_apart)
    assert (carried["table_version"], carried["row_count_before"], carried["row_count_after"]) == (1, 38, 38)


def test_an_upload_and_its_submission_ask_once_and_are_planned_once(
    dataset: Dataset, owner: User, sent: list[tuple[str, int]], planned: list[str]
) -> None:
    draft = ChangeRequestFactory.create(dataset=dataset, author=owner, csv=None, status=Status.DRAFT)
    stage_csv(draft, "tailnum,seats\nN00,-1\n")
    proposals.submit(change_request_id=draft.pk, actor=owner)
    assert (sent, planned) == ([("check", draft.pk)], [])
    tasks.check(draft.pk)
    tasks.check(draft.pk)
    assert planned == [draft.cr_id]


def test_submitting_asks_where_the_table_moved_under_the_draft(
    dataset: Dataset, owner: User, sent: list[tuple[str, int]], planned: list[str]
) -> None:
    draft = ChangeRequestFactory.create(
        dataset=dataset, author=owner, csv="tailnum,seats\nN00,-1\n", status=Status.DRAFT
    )
    tasks.check(draft.pk)
    merge(request_for(dataset, 1), owner)
    sent.clear()
    planned.clear()
    proposals.submit(change_request_id=draft.pk, actor=owner)
    assert sent == [("check", draft.pk)]
    tasks.check(draft.pk)
    assert planned == [draft.cr_id]


def test_the_last_of_the_queue_asks_whatever_becomes_of_it(
    dataset: Dataset, owner: User, sent: list[tuple[str, int]]
) -> None:
    first, second = request_for(dataset, 1), request_for(dataset, 1, value=-2)
    for one in (first, second):
        runs.request_merge(change_request_id=one.pk, actor=owner)
    sent.clear()
    assert [run.status for run in drain()] == [RunStatus.SUCCEEDED, RunStatus.CONFLICTED]
    assert sent == [("check_pending", dataset.pk)]
    assert outdated.check_pending(dataset_id=dataset.pk) == 1
    assert check_of(second).unresolved == 1


def test_a_run_that_is_cancelled_before_it_begins_asks_for_those_before_it(
    dataset: Dataset, owner: User, sent: list[tuple[str, int]]
) -> None:
    first, second = request_for(dataset, 1), request_for(dataset, 2)
    runs.request_merge(change_request_id=first.pk, actor=owner)
    waits = runs.request_merge(change_request_id=second.pk, actor=owner)
    sent.clear()
    execution.merge_next(dataset_id=dataset.pk, worker="test")
    assert sent == []
    runs.cancel_run(run_id=waits.pk, actor=owner)
    assert sent == [("check_pending", dataset.pk)]


def test_commits_of_others_and_new_columns_concern_everybody(
    dataset: Dataset, owner: User, planned: list[str]
) -> None:
    mine = request_for(dataset, 1)
    foreign = pa.table({"tailnum": ["N98"], "seats": pa.array([1], pa.int64())})
    request = merging.stage(
        dataset.table_uri, foreign, ["tailnum"], destination=f"{dataset.table_uri}-staged"
    )
    merging.merge(merging.MergeRequest(dataset.table_uri, "elsewhere", ["tailnum"], request))
    planned.clear()
    assert outdated.check_pending(dataset_id=dataset.pk) == 1
    merge(ChangeRequestFactory.create(dataset=dataset, csv="tailnum,pilot\nN02,Amy\n"), owner)
    planned.clear()
    assert outdated.check_pending(dataset_id=dataset.pk) == 1
    assert planned == [mine.cr_id]


def test_a_table_put_back_from_a_backup_is_looked_at_again(
    dataset: Dataset, owner: User, tmp_path: Path
) -> None:
    """What was checked against a version that is gone holds no longer, however much newer it was."""
    shutil.copytree(dataset.table_uri, tmp_path / "backup")
    waiting_request = request_for(dataset, 1, 2)
    merge(request_for(dataset, 2, value=7), owner)
    outdated.check_pending(dataset_id=dataset.pk)
    assert (check_of(waiting_request).table_version, check_of(waiting_request).conflicts) == (1, 1)
    shutil.rmtree(dataset.table_uri)
    shutil.copytree(tmp_path / "backup", dataset.table_uri)
    reconcile(dataset_id=dataset.pk)

    assert outdated.check_pending(dataset_id=dataset.pk) == 1

    check = check_of(waiting_request)
    assert (check.table_version, check.conflicts, check.rows_updated) == (0, 0, 2)
    assert merge(waiting_request, owner).status == RunStatus.SUCCEEDED
    dataset.meta.refresh_from_db()
    assert dataset.meta.delta_version == 1


def test_a_merge_whose_images_are_gone_concerns_everybody(dataset: Dataset, owner: User) -> None:
    mine, other = request_for(dataset, 1), request_for(dataset, 2)
    merge(other, owner)
    other.refresh_from_db()
    (kept.audit_folder(other) / "images.parquet").unlink()
    assert outdated.check_pending(dataset_id=dataset.pk) == 1
    assert check_of(mine).table_version == 1


def test_compaction_concerns_nobody(
    dataset: Dataset, owner: User, sent: list[tuple[str, int]], planned: list[str]
) -> None:
    merge(request_for(dataset, 5), owner)
    mine = request_for(dataset, 1)
    maintenance.request_maintenance(dataset_id=dataset.pk, actor=owner, jobs=["compaction"])
    sent.clear()
    planned.clear()
    run = maintenance.maintain(dataset_id=dataset.pk, worker="test")
    assert run is not None
    assert (run.version_before, run.version_after) == (1, 2)
    assert sent == [("check_pending", dataset.pk)]
    assert outdated.check_pending(dataset_id=dataset.pk) == 0
    assert (planned, check_of(mine).table_version) == ([], 2)


def test_what_waited_for_others_is_queued_after_the_look(dataset: Dataset, owner: User) -> None:
    Dataset.objects.filter(pk=dataset.pk).update(required_approvals=1)
    ready = request_for(dataset, 1)
    waiting.merge_when_ready(change_request_id=ready.pk, actor=owner)
    approve(ready, person_with(Role.CONTRIBUTOR, dataset))
    tasks.check_pending(dataset.pk)
    assert [run.status for run in drain()] == [RunStatus.SUCCEEDED]
