"""Suites, checks and overrides over the API."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from changerequests.models import ChangeRequest, ExpectationOverride, MergeRun
from changerequests.services import plans
from datasets import suites, trials
from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import client_of, problem
from tests.factories import (
    ChangeRequestFactory,
    drain,
    expect_of,
    expectation,
    merge,
    person_with,
)

pytestmark = pytest.mark.django_db

SEATS = expectation("column_values_to_be_between", column="seats", min_value=10, max_value=400)
UNIQUE_SEATS = expectation("column_values_to_be_unique", column="seats")
SUITE = {"name": "planes", "expectations": [SEATS]}


@pytest.fixture
def contributor(dataset: Dataset) -> User:
    return person_with(Role.CONTRIBUTOR, dataset)


@pytest.fixture
def address(dataset: Dataset) -> str:
    return f"/api/v1/datasets/{dataset.pk}/suite"


@pytest.fixture
def failing(dataset: Dataset) -> ChangeRequest:
    expect_of(dataset, SEATS, UNIQUE_SEATS)
    rows = "".join(f"X{n:02},999\n" for n in range(60))
    return ChangeRequestFactory.create(dataset=dataset, csv=f"tailnum,seats\nN1,998\n{rows}")


# --- The suite ----------------------------------------------------------------------------------------------


def test_a_suite_is_replaced_by_who_saw_the_one_that_holds(
    dataset: Dataset, owner: User, address: str
) -> None:
    client = client_of(owner)
    assert problem(client.get(address)) == (404, "not_found")

    first = client.put(address, {"document": SUITE, "version": 0, "note": "Seats"}, format="json")
    assert (first.status_code, first.headers["ETag"]) == (200, '"1"')
    body = first.json()
    assert (body["version"], body["note"], body["created_by"], body["document"]) == (
        1,
        "Seats",
        "olivia",
        SUITE,
    )
    assert body["expectations"] == [
        {
            "number": 0,
            "type": "expect_column_values_to_be_between",
            "severity": "critical",
            "explanation": "Each seats is between 10 and 400.",
            "columns": ["seats"],
        }
    ]
    wider = {"name": "planes", "expectations": [SEATS, UNIQUE_SEATS]}
    second = client.put(address, {"document": wider}, format="json", HTTP_IF_MATCH='"1"')
    assert second.headers["ETag"] == '"2"'
    told = client.get(address)
    assert told.json() == second.json()
    assert client.get(address, HTTP_IF_NONE_MATCH=told.headers["ETag"]).status_code == 304
    third = client.put(address, {"document": wider}, format="json", HTTP_IF_MATCH=told.headers["ETag"])
    assert third.status_code == 200  # and nothing new: the same suite

    late = client.put(address, {"document": SUITE}, format="json", HTTP_IF_MATCH='"1"')
    assert problem(late) == (412, "suite_changed")
    assert (late.json()["number"], late.json()["edited"]) == (2, 1)
    dataset.refresh_from_db()
    assert dataset.suite_number == 2


@pytest.mark.parametrize(
    ("header", "field"),
    [({}, "version"), ({"HTTP_IF_MATCH": "*"}, "If-Match"), ({"HTTP_IF_MATCH": "W/x"}, "If-Match")],
)
def test_the_edited_version_must_be_said(
    owner: User, address: str, header: dict[str, Any], field: str
) -> None:
    answer = client_of(owner).put(address, {"document": SUITE}, format="json", **header)
    assert problem(answer) == (422, "invalid")
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_every_problem_of_a_suite_is_told(dataset: Dataset, owner: User, address: str) -> None:
    wrong = {
        "name": "x",
        "expectations": [
            {"type": "hope", "kwargs": {}},
            expectation("column_values_to_be_null", column="wings"),
        ],
    }
    answer = client_of(owner).put(address, {"document": wrong, "version": 0}, format="json")
    assert problem(answer) == (422, "suite_rejected")
    assert [(one["place"], one["code"]) for one in answer.json()["problems"]] == [
        ("expectations[0].type", "unknown_expectation"),
        ("expectations[1].kwargs.column", "unknown_column"),
    ]
    assert not dataset.suite_versions.exists()


def test_who_reads_and_who_writes(dataset: Dataset, contributor: User, address: str) -> None:
    expect_of(dataset, SEATS)
    for actor in (contributor, person_with(Role.VIEWER, dataset)):
        client = client_of(actor)
        assert client.get(address).status_code == 200
        assert client.get(f"{address}/versions").status_code == 200
        assert problem(client.put(address, {"document": SUITE, "version": 1}, format="json")) == (
            403,
            "forbidden",
        )
        assert problem(client.post(f"{address}/proposals")) == (403, "forbidden")
    stranger = client_of(User.objects.create_user("sam"))
    for path in ("", "/versions", "/versions/1", "/proposals/1"):
        assert problem(stranger.get(f"{address}{path}")) == (404, "not_found")


def test_history_is_listed_and_a_version_saved_again(dataset: Dataset, owner: User, address: str) -> None:
    expect_of(dataset, SEATS)
    expect_of(dataset, UNIQUE_SEATS)
    client = client_of(owner)
    listed = client.get(f"{address}/versions", {"limit": 1}).json()
    assert [one["version"] for one in listed["results"]] == [2]
    assert [one["version"] for one in client.get(listed["next"]).json()["results"]] == [1]
    first = client.get(f"{address}/versions/1").json()
    assert first["document"]["expectations"] == [SEATS]
    assert problem(client.get(f"{address}/versions/9")) == (404, "not_found")
    again = client.put(address, {"document": first["document"], "version": 2}, format="json")
    assert again.json()["version"] == 3


def test_a_proposal_is_asked_for_and_polled(dataset: Dataset, owner: User, address: str) -> None:
    client = client_of(owner)
    asked = client.post(f"{address}/proposals")
    assert (asked.status_code, asked.json()["document"]) == (202, None)
    suites.make_proposal(proposal_id=asked.json()["id"], worker="test")
    made = client.get(asked.headers["Location"]).json()
    assert made["problem"] == ""
    assert made["document"]["expectations"]
    assert client.put(address, {"document": made["document"], "version": 0}, format="json").status_code == 200


def test_a_suite_is_tried_before_it_is_saved(
    dataset: Dataset, owner: User, contributor: User, address: str
) -> None:
    client = client_of(owner)
    assert problem(client_of(contributor).post(f"{address}/trials", {"document": SUITE}, format="json")) == (
        403,
        "forbidden",
    )
    wrong = {"name": "", "expectations": [{"type": "hope"}]}
    assert problem(client.post(f"{address}/trials", {"document": wrong}, format="json")) == (
        422,
        "suite_rejected",
    )
    narrow = expectation("column_values_to_be_between", column="seats", max_value=150)
    asked = client.post(f"{address}/trials", {"document": {**SUITE, "expectations": [narrow]}}, format="json")
    assert (asked.status_code, asked.json()["results"], asked.json()["table_version"]) == (202, None, None)
    trials.make_trial(trial_id=asked.json()["id"], worker="test")
    made = client.get(asked.headers["Location"]).json()
    assert (made["problem"], made["table_version"]) == ("", 0)
    [found] = made["results"]
    assert (found["ok"], found["explanation"]) == (False, "Each seats is at most 150.")
    assert found["failing_rows_total"] == found["counts"]["unexpected_count"] > 0
    assert problem(client_of(contributor).get(asked.headers["Location"])) == (404, "not_found")
    assert problem(client.get(address)) == (404, "not_found")


# --- Of a change request ------------------------------------------------------------------------------------


def test_a_check_and_its_failing_rows(failing: ChangeRequest, contributor: User) -> None:
    client, base = client_of(contributor), f"/api/v1/change_requests/{failing.cr_id}/expectations"
    check = client.get(base).json()
    assert (check["suite_version"], check["full"], check["run"], check["table_version"]) == (
        1,
        False,
        None,
        0,
    )
    assert (check["passed"], check["deferred"], check["unanswered"], check["overrides"]) == (0, 1, [0], [])
    assert [(one["state"], one["blocking"], one["failing_rows_total"]) for one in check["results"]] == [
        ("new", True, 61),
        ("deferred", False, 0),
    ]
    page = client.get(f"{base}/0/rows").json()
    assert (len(page["results"]), page["total"], page["kept"]) == (50, 61, 61)
    assert page["results"][0] == {
        "key": {"tailnum": "N1"},
        "values": {"seats": 998},
        "before": {"seats": 149},
        "new": True,
    }
    rest = client.get(page["next"]).json()
    assert (len(rest["results"]), rest["next"]) == (11, None)
    assert problem(client.get(f"{base}/7/rows")) == (404, "not_found")
    assert problem(client.get(base, {"run": 12345})) == (404, "not_found")


def test_there_may_be_nothing_to_tell(dataset: Dataset, contributor: User) -> None:
    change_request = ChangeRequestFactory.create(dataset=dataset)
    answer = client_of(contributor).get(f"/api/v1/change_requests/{change_request.cr_id}/expectations")
    assert problem(answer) == (404, "not_found")


def test_a_merge_that_is_known_to_fail_is_refused_with_the_rows(
    failing: ChangeRequest, contributor: User
) -> None:
    client = client_of(contributor)
    for path, body in (
        (f"/api/v1/change_requests/{failing.cr_id}/merge", {}),
        ("/delta/merge-cr", contract_of(failing)),
    ):
        answer = client.post(path, body, format="json")
        assert problem(answer) == (422, "validation_failed")
        told = answer.json()
        assert told["suite_version"] == 1
        assert told["message"] == (
            "An expectation would be broken. 61 rows do not satisfy: Each seats is between 10 and 400."
        )
        [broken] = told["expectations"]
        assert (broken["number"], broken["failing_rows_total"], len(broken["failing_rows"])) == (0, 61, 20)
    assert not MergeRun.objects.exists()


def contract_of(change_request: ChangeRequest) -> dict[str, Any]:
    dataset = change_request.dataset
    return {
        "project_id": dataset.project_id,
        "dataset_id": dataset.pk,
        "cr_id": change_request.cr_id,
        "primary_keys": dataset.primary_keys,
    }


@pytest.mark.usefixtures("worker_at_once")
@pytest.mark.parametrize("through", ["merge", "contract"])
def test_a_merge_that_turns_out_to_fail_answers_with_the_rows(
    dataset: Dataset, contributor: User, through: str
) -> None:
    expect_of(dataset, UNIQUE_SEATS)
    change_request = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,182\n")
    client = client_of(contributor)

    if through == "merge":
        answer = client.post(
            f"/api/v1/change_requests/{change_request.cr_id}/merge", HTTP_PREFER="wait=30", format="json"
        )
    else:
        answer = client.post("/delta/merge-cr", contract_of(change_request), format="json")

    assert problem(answer) == (422, "validation_failed")
    told = answer.json()
    [broken] = told["expectations"]
    assert [row["key"]["tailnum"] for row in broken["failing_rows"]] == ["N1", "N2"]
    assert told["checks"][0]["name"] == "unique_key"
    run = MergeRun.objects.get()
    assert client.get(f"/api/v1/runs/{run.pk}").json()["suite_version"] == 1
    full = client.get(f"/api/v1/change_requests/{change_request.cr_id}/expectations", {"run": run.pk}).json()
    assert (full["full"], full["run"], full["results"][0]["state"]) == (True, run.pk, "new")


def test_an_owner_answers_for_what_is_broken(failing: ChangeRequest, owner: User, contributor: User) -> None:
    base = f"/api/v1/change_requests/{failing.cr_id}/expectations"
    check = client_of(contributor).get(base).json()
    seen = {"suite_version": check["suite_version"], "revision_digest": check["revision_digest"]}
    override = f"{base}/override"
    reason = {"reason": "The stretched version."}

    assert problem(client_of(contributor).post(override, {**seen, **reason}, format="json")) == (
        403,
        "forbidden",
    )
    client = client_of(owner)
    assert problem(client.post(override, seen, format="json")) == (422, "invalid")
    assert problem(client.post(override, {**seen, **reason, "suite_version": 9}, format="json")) == (
        409,
        "plan_changed",
    )
    assert problem(client.post(override, {**reason, "revision_digest": "other"}, format="json")) == (
        409,
        "plan_changed",
    )
    assert not ExpectationOverride.objects.exists()

    given = client.post(override, {**seen, **reason}, format="json")
    assert given.status_code == 201
    assert (given.json()["given_by"], [one["number"] for one in given.json()["expectations"]]) == (
        "olivia",
        [0],
    )
    assert problem(client.post(override, {**seen, **reason}, format="json")) == (422, "invalid")
    after = client.get(base).json()
    assert (after["unanswered"], len(after["overrides"])) == ([], 1)
    blockers = client.get(f"/api/v1/change_requests/{failing.cr_id}").json()["blockers"]
    assert blockers["request_merge"] == []


def test_a_merged_request_tells_what_was_judged(dataset: Dataset, owner: User) -> None:
    expect_of(dataset, SEATS, UNIQUE_SEATS)
    change_request = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,150\n")
    run = merge(change_request, owner)
    assert drain() == []
    assert plans.check(change_request_id=change_request.pk) is None
    told = client_of(owner).get(f"/api/v1/change_requests/{change_request.cr_id}/expectations").json()
    assert (told["full"], told["run"], told["passed"]) == (True, run.pk, 2)
    assert client_of(owner).get(f"/api/v1/runs/{run.pk}").json()["suite_version"] == 1


def test_whether_old_failures_block_is_a_setting(dataset: Dataset, owner: User) -> None:
    client = client_of(owner)
    answer = client.patch(f"/api/v1/datasets/{dataset.pk}", {"block_pre_existing": True}, format="json")
    assert answer.json()["block_pre_existing"] is True
