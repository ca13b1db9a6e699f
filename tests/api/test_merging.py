"""Asking for merges, waiting for them, watching and cancelling runs through the API."""

import pytest
from pytest_django import DjangoAssertNumQueries

from changerequests.models import ChangeRequest, MergeRun
from changerequests.states import RunStatus, Status
from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import client_of, problem
from tests.factories import ChangeRequestFactory, DatasetFactory, drain, merge, person_with


def url(change_request: ChangeRequest) -> str:
    return f"/api/v1/change_requests/{change_request.cr_id}/merge"


def test_a_merge_is_queued_with_202_and_its_address(pending: ChangeRequest) -> None:
    client = client_of(pending.author)

    response = client.post(url(pending), {"message": "as agreed"})

    assert response.status_code == 202
    run = response.json()
    assert response.headers["Location"] == f"http://testserver/api/v1/runs/{run['id']}"
    assert {
        name: run[name] for name in ("change_request", "status", "phase", "message", "queue_position")
    } == {
        "change_request": pending.cr_id,
        "status": "queued",
        "phase": "queued",
        "message": "as agreed",
        "queue_position": 0,
    }
    drain()
    ended = client.get(response.headers["Location"]).json()
    assert (ended["status"], ended["phase"], ended["error"], ended["queue_position"]) == (
        "succeeded",
        "done",
        None,
        None,
    )
    assert ended["result"]["diff"] == {
        "version_before": 0,
        "version_after": 1,
        "rows_added": 1,
        "rows_updated": 1,
        "rows_deleted": 0,
    }
    assert ended["result"]["cells_updated"] == {"year": 1}


def test_a_preferred_wait_answers_200_with_the_ended_run(
    worker_at_once: None, pending: ChangeRequest
) -> None:
    response = client_of(pending.author).post(url(pending), HTTP_PREFER="respond-async, wait=30")

    assert response.status_code == 200
    assert response.headers["Preference-Applied"] == "wait=30"
    assert (response.json()["status"], response.json()["result"]["merged_version"]) == ("succeeded", 1)


def test_a_preferred_wait_answers_the_error_of_the_run(
    worker_at_once: None, pending: ChangeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("merging.merge", fail)

    response = client_of(pending.author).post(url(pending), HTTP_PREFER="wait=30")

    assert problem(response) == (500, "merge_failed")
    pending.refresh_from_db()
    assert pending.status == Status.PENDING


def test_a_wait_that_is_too_short_answers_202(deaf_worker: None, pending: ChangeRequest) -> None:
    response = client_of(pending.author).post(url(pending), HTTP_PREFER="wait=1")

    assert (response.status_code, response.json()["status"]) == (202, "queued")


def test_a_double_click_is_one_run_and_so_is_a_repeated_key(pending: ChangeRequest) -> None:
    client = client_of(pending.author)

    first = client.post(url(pending), HTTP_IDEMPOTENCY_KEY="k1").json()
    second = client.post(url(pending)).json()
    drain()
    third = client.post(url(pending), HTTP_IDEMPOTENCY_KEY="k1")
    fourth = client.post(url(pending), HTTP_IDEMPOTENCY_KEY="k2")

    assert first["id"] == second["id"] == third.json()["id"] == fourth.json()["id"]
    assert (third.status_code, fourth.status_code) == (200, 200)
    assert MergeRun.objects.count() == 1
    assert problem(client.post(url(pending), HTTP_IDEMPOTENCY_KEY="k" * 201)) == (422, "invalid")


@pytest.mark.parametrize(
    "body",
    [{"revision_digest": "old"}, {"plan_digest": "old"}, {"table_version": 7}],
    ids=lambda body: next(iter(body)),
)
def test_what_was_looked_at_must_still_hold(pending: ChangeRequest, body: dict[str, object]) -> None:
    response = client_of(pending.author).post(url(pending), body)

    assert problem(response) == (409, "plan_changed")
    assert MergeRun.objects.count() == 0


def test_what_was_looked_at_and_holds_is_merged(pending: ChangeRequest) -> None:
    client = client_of(pending.author)
    plan = client.get(f"/api/v1/change_requests/{pending.cr_id}/plan").json()

    response = client.post(
        url(pending), {name: plan[name] for name in ("plan_digest", "revision_digest", "table_version")}
    )

    assert response.status_code == 202


def test_the_dataset_name_opens_the_delete_guard(db: None) -> None:
    dataset: Dataset = DatasetFactory.create(name="Planes of 2013")
    change_request = ChangeRequestFactory.create(dataset=dataset, csv="_op,tailnum\ndelete,N1\ndelete,N2\n")
    client = client_of(change_request.author)

    refused = client.post(url(change_request))
    mistyped = client.post(url(change_request), {"dataset_name": "Planes of 2012"})
    typed = client.post(url(change_request), {"dataset_name": "Planes of 2013"})

    assert problem(refused) == (409, "blocked")
    assert [blocker["code"] for blocker in refused.json()["blockers"]] == ["delete_guard"]
    assert problem(mistyped) == (409, "blocked")
    assert typed.status_code == 202


def test_owners_override_gates_with_a_reason(db: None) -> None:
    dataset: Dataset = DatasetFactory.create(required_approvals=1)
    change_request = ChangeRequestFactory.create(dataset=dataset)
    owner = client_of(person_with(Role.OWNER, dataset))

    contributor = client_of(change_request.author).post(url(change_request), {"reason": "hurry"})
    response = owner.post(url(change_request), {"reason": "urgent repair"})

    assert problem(contributor) == (403, "forbidden")
    assert response.status_code == 202
    assert (response.json()["override_reason"], [gate["code"] for gate in response.json()["overridden"]]) == (
        "urgent repair",
        ["approvals_missing"],
    )


def test_runs_are_listed_and_filtered_for_those_who_may_see_them(
    pending: ChangeRequest, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    owner = person_with(Role.OWNER, pending.dataset)
    first = merge(pending, owner)
    other = ChangeRequestFactory.create(dataset=pending.dataset, csv="tailnum,seats\nN1,1\n")
    client = client_of(owner)
    second = client.post(url(other)).json()
    stranger = client_of(person_with(None, pending.dataset))

    def found(query: str = "") -> list[int]:
        return [run["id"] for run in client.get(f"/api/v1/runs{query}").json()["results"]]

    assert found() == [second["id"], first.pk]
    assert found("?status=queued") == [second["id"]]
    assert found(f"?change_request={pending.cr_id}") == [first.pk]
    assert found(f"?dataset={pending.dataset_id}") == [second["id"], first.pk]
    assert stranger.get("/api/v1/runs").json()["results"] == []
    assert problem(stranger.get(f"/api/v1/runs/{first.pk}")) == (404, "not_found")
    assert stranger.get(f"/api/v1/runs?change_request={pending.cr_id}").json()["results"] == []
    assert found("?change_request=CR-0") == []
    for wrong in ("-1.7976931348623157e308", "1.5", "0", "9223372036854775808"):
        assert problem(client.get("/api/v1/runs", {"dataset": wrong})) == (422, "invalid")
    assert problem(client.get("/api/v1/runs?cursor=damaged")) == (422, "invalid")
    with django_assert_num_queries(3):
        found()


def test_cancelling(pending: ChangeRequest) -> None:
    client = client_of(pending.author)
    run = client.post(url(pending)).json()
    bystander = client_of(person_with(Role.CONTRIBUTOR, pending.dataset))

    assert problem(bystander.post(f"/api/v1/runs/{run['id']}/cancel")) == (403, "forbidden")
    cancelled = client.post(f"/api/v1/runs/{run['id']}/cancel")
    again = client.post(f"/api/v1/runs/{run['id']}/cancel")

    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert cancelled.json()["error"] == {
        "code": "cancelled",
        "message": f"Cancelled by {pending.author.username}.",
    }
    assert problem(again) == (409, "invalid_transition")
    assert MergeRun.objects.get().status == RunStatus.CANCELLED
    assert drain() == []


def test_a_key_that_was_sent_with_another_body_is_refused(pending: ChangeRequest) -> None:
    client = client_of(person_with(Role.OWNER, pending.dataset))
    first = client.post(url(pending), {"message": "one"}, headers={"Idempotency-Key": "k"})
    again = client.post(url(pending), {"message": "one"}, headers={"Idempotency-Key": "k"})
    assert again.json()["id"] == first.json()["id"]
    body = {"message": "two", "force_merge": True, "reason": "urgent"}
    other = client.post(url(pending), body, headers={"Idempotency-Key": "k"})
    assert other.status_code == 422
    assert (
        "was sent before with another force_merge and message and override_reason" in other.json()["detail"]
    )
    assert MergeRun.objects.count() == 1


def test_another_kind_of_merge_is_not_answered_with_the_one_that_waits(pending: ChangeRequest) -> None:
    client = client_of(person_with(Role.OWNER, pending.dataset))
    client.post(url(pending), {})
    forced = client.post(url(pending), {"force_merge": True, "reason": "urgent"})
    assert (forced.status_code, forced.json()["blockers"][0]["code"]) == (409, "run_active")
    unseen = client.post(url(pending), {"revision_digest": "of something else"})
    assert (unseen.status_code, unseen.json()["code"]) == (409, "plan_changed")
    assert MergeRun.objects.count() == 1
