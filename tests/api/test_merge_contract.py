"""``POST /delta/merge-cr``, field for field."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings
from rest_framework.test import APIClient

from changerequests import queue
from changerequests.models import ChangeRequest, MergeRun
from changerequests.services.runs import request_merge
from changerequests.states import RunStatus, Status
from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import client_of, problem
from tests.factories import (
    ChangeRequestFactory,
    DatasetFactory,
    drain,
    merge,
    person_with,
    rows_of,
)

pytestmark = [pytest.mark.usefixtures("worker_at_once")]


@pytest.fixture
def dataset() -> Dataset:
    return DatasetFactory.create(project__slug="flights", slug="planes")


@pytest.fixture
def change_request(dataset: Dataset) -> ChangeRequest:
    return ChangeRequestFactory.create(dataset=dataset)


def body_of(change_request: ChangeRequest, **members: Any) -> dict[str, Any]:
    dataset = change_request.dataset
    return {
        "project_id": dataset.project_id,
        "dataset_id": dataset.pk,
        "cr_id": change_request.cr_id,
        "primary_keys": ["tailnum"],
        "requested_by": "",
        **members,
    }


def call(user: User, change_request: ChangeRequest, **members: Any) -> Any:
    return client_of(user).post("/delta/merge-cr", body_of(change_request, **members))


def test_a_merge_answers_with_exactly_the_members_of_the_contract(change_request: ChangeRequest) -> None:
    response = call(change_request.author, change_request, delta_version_before=0, current_delta_version=0)

    assert response.status_code == 200
    assert response.json() == {
        "status": "ok",
        "merged_version": 1,
        "commit_id": "v1",
        "rows_affected": 2,
        "diff": {
            "version_before": 0,
            "version_after": 1,
            "rows_added": 1,
            "rows_updated": 1,
            "rows_deleted": 0,
        },
        "cleanup": True,
    }
    change_request.refresh_from_db()
    assert (change_request.status, change_request.merged_version) == (Status.MERGED, 1)
    change_request.dataset.meta.refresh_from_db()
    assert (change_request.dataset.meta.delta_version, change_request.dataset.meta.row_count) == (1, 5)
    assert [row["year"] for row in rows_of(change_request.dataset)] == [1999, 2004, 2002, 2011, 2013]


def test_merging_twice_answers_the_first_result_again(change_request: ChangeRequest) -> None:
    first = call(change_request.author, change_request, current_delta_version=0)
    other = ChangeRequestFactory.create(dataset=change_request.dataset, csv="tailnum,seats\nN1,100\n")
    merge(other, person_with(Role.OWNER, change_request.dataset))

    again = call(change_request.author, change_request, current_delta_version=0)

    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    assert MergeRun.objects.filter(change_request=change_request).count() == 1


def test_ids_may_be_slugs_or_texts(change_request: ChangeRequest) -> None:
    response = call(
        change_request.author, change_request, project_id="flights", dataset_id=str(change_request.dataset_id)
    )

    assert response.status_code == 200


@pytest.mark.sample(6)
@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"project_id": "other"}, (404, "not_found")),
        ({"dataset_id": 99}, (404, "not_found")),
        ({"cr_id": "CR-99"}, (404, "not_found")),
        ({"cr_id": "128"}, (404, "not_found")),
        ({"primary_keys": ["year"]}, (422, "invalid")),
        ({"primary_keys": []}, (422, "invalid")),
        ({"primary_keys": ["tailnum", "year"]}, (422, "invalid")),
        ({"dataset_id": True}, (422, "invalid")),
        ({"merge_schema": "perhaps"}, (422, "invalid")),
        ({"delta_version_before": 7}, (409, "plan_changed")),
        ({"current_delta_version": 7}, (409, "plan_changed")),
        ({"skip_conflict_check": True, "reason": "in a hurry"}, (403, "forbidden")),
        ({"force_merge": True, "reason": "in a hurry"}, (403, "forbidden")),
        ({"requested_by": "somebody-else"}, (403, "forbidden")),
    ],
)
def test_what_does_not_hold_is_refused_and_nothing_changes(
    change_request: ChangeRequest, members: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert problem(call(change_request.author, change_request, **members)) == expected

    change_request.refresh_from_db()
    assert change_request.status == Status.PENDING
    assert MergeRun.objects.count() == 0
    assert len(rows_of(change_request.dataset)) == 4


def test_a_stale_table_version_says_where_the_table_is(change_request: ChangeRequest) -> None:
    other = ChangeRequestFactory.create(dataset=change_request.dataset, csv="tailnum,seats\nN1,100\n")
    merge(other, person_with(Role.OWNER, change_request.dataset))

    response = call(change_request.author, change_request, current_delta_version=0)

    assert problem(response) == (409, "plan_changed")
    assert (response.json()["moved"], response.json()["table_version"]) == ("table_version", 1)


def test_conflicts_answer_409_with_the_rows_counted_and_listed(dataset: Dataset) -> None:
    owner = person_with(Role.OWNER, dataset)
    change_request = ChangeRequestFactory.create(
        dataset=dataset, csv="tailnum,year,seats\nN1,1,1\nN2,2,2\nN3,3,3\nN4,2011,377\n"
    )
    merge(
        ChangeRequestFactory.create(dataset=dataset, csv="tailnum,year,seats\nN1,10,10\nN2,2004,20\n"), owner
    )

    response = call(change_request.author, change_request)

    assert problem(response) == (409, "merge_conflict")
    body = response.json()
    assert body["message"] == "Merge conflicts detected: 2 rows"
    assert [
        (c["key"], c["column"], c["kind"], c["base"], c["current"], c["proposed"]) for c in body["conflicts"]
    ] == [
        ({"tailnum": "N1"}, "year", "modify/modify", 1999, 10, 1),
        ({"tailnum": "N1"}, "seats", "modify/modify", 149, 10, 1),
        ({"tailnum": "N2"}, "seats", "modify/modify", 182, 20, 2),
    ]
    change_request.refresh_from_db()
    assert change_request.status == Status.PENDING
    dataset.meta.refresh_from_db()
    assert dataset.meta.delta_version == 1


def test_a_conflict_that_arises_after_the_gates_answers_the_same(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = person_with(Role.OWNER, dataset)
    late = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,1\n")
    faster = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,10\n")
    monkeypatch.setattr(queue, "ring", lambda dataset_id: None)
    request_merge(change_request_id=faster.pk, actor=owner)  # queued before; both gates see version 0
    monkeypatch.setattr(queue, "ring", lambda dataset_id: drain())

    response = call(owner, late)

    assert problem(response) == (409, "merge_conflict")
    assert response.json()["message"] == "Merge conflicts detected: 1 row"
    run = MergeRun.objects.get(change_request=late)
    assert (run.status, run.error_code) == (RunStatus.CONFLICTED, "merge_conflict")
    late.refresh_from_db()
    assert late.status == Status.PENDING


def test_gates_answer_409_blocked(dataset: Dataset) -> None:
    dataset.required_approvals = 1
    dataset.save()
    change_request = ChangeRequestFactory.create(dataset=dataset)

    response = call(change_request.author, change_request)

    assert problem(response) == (409, "blocked")
    assert [(b["code"], b["kind"], b["overridable"]) for b in response.json()["blockers"]] == [
        ("approvals_missing", "wait", True)
    ]


def test_skipping_the_conflict_check_lets_proposed_win_for_owners_with_a_reason(dataset: Dataset) -> None:
    owner = person_with(Role.OWNER, dataset)
    change_request = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,1\n")
    merge(ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,10\n"), owner)

    without = call(owner, change_request, skip_conflict_check=True)
    response = call(owner, change_request, skip_conflict_check=True, reason="the registry is right")

    assert problem(without) == (422, "invalid")
    assert without.json()["errors"] == [
        {
            "field": "reason",
            "code": "invalid",
            "message": "Give a reason: it is shown in the timeline and kept in the audit trail.",
        }
    ]
    assert response.status_code == 200
    assert rows_of(dataset)[0]["seats"] == 1
    run = MergeRun.objects.get(change_request=change_request)
    assert (run.skip_conflict_check, run.force_merge, run.override_reason) == (
        True,
        False,
        "the registry is right",
    )


def test_skipping_the_conflict_check_overrides_no_other_gate(dataset: Dataset) -> None:
    dataset.required_approvals = 1
    dataset.save()
    owner = person_with(Role.OWNER, dataset)

    response = call(
        owner, ChangeRequestFactory.create(dataset=dataset), skip_conflict_check=True, reason="why not"
    )

    assert problem(response) == (409, "blocked")


def test_forcing_overrides_conflicts_and_gates_and_records_both(dataset: Dataset) -> None:
    owner = person_with(Role.OWNER, dataset)
    change_request = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,1\n")
    merge(ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,10\n"), owner)
    dataset.required_approvals = 1
    dataset.save()

    response = call(
        owner, change_request, force_merge=True, reason="agreed by phone", requested_by="nightly-job"
    )

    assert response.status_code == 200
    assert rows_of(dataset)[0]["seats"] == 1
    run = MergeRun.objects.get(change_request=change_request)
    assert [gate["code"] for gate in run.overridden_blockers] == ["conflicts_unresolved", "approvals_missing"]
    assert run.result is not None
    assert run.result["conflicts_overridden"] == 1
    assert (run.requested_by, run.requested_for) == (owner, "nightly-job")


def test_strangers_get_404_and_viewers_403(change_request: ChangeRequest) -> None:
    stranger = person_with(None, change_request.dataset)
    viewer = person_with(Role.VIEWER, change_request.dataset)

    assert problem(call(stranger, change_request)) == (404, "not_found")
    assert problem(call(viewer, change_request)) == (403, "forbidden")


def test_contributors_merge_only_where_the_dataset_lets_them(change_request: ChangeRequest) -> None:
    change_request.dataset.contributors_may_merge = False
    change_request.dataset.save()

    assert problem(call(change_request.author, change_request)) == (403, "forbidden")


def test_drafts_are_not_merged(dataset: Dataset) -> None:
    draft = ChangeRequestFactory.create(dataset=dataset, status=Status.DRAFT)

    assert problem(call(draft.author, draft)) == (409, "invalid_transition")


def test_a_merge_that_takes_longer_answers_202_with_the_run(
    change_request: ChangeRequest, deaf_worker: None, settings: Settings
) -> None:
    settings.MERGE_WAIT_SECONDS = 0

    response = call(change_request.author, change_request)

    run = MergeRun.objects.get()
    assert response.status_code == 202
    assert response.headers["Location"] == f"http://testserver/api/v1/runs/{run.pk}"
    assert (response.json()["id"], response.json()["status"]) == (run.pk, "queued")


def test_a_failed_merge_answers_500_merge_failed(
    change_request: ChangeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device: /secret/path")

    monkeypatch.setattr("merging.merge", fail)

    response = call(change_request.author, change_request)

    assert problem(response) == (500, "merge_failed")
    assert "secret" not in response.content.decode()
    change_request.refresh_from_db()
    assert change_request.status == Status.PENDING


def test_without_a_token_the_answer_is_401(change_request: ChangeRequest) -> None:
    response = APIClient().post("/delta/merge-cr", body_of(change_request))

    assert problem(response) == (401, "not_authenticated")
    assert response.headers["WWW-Authenticate"] == "Token"
