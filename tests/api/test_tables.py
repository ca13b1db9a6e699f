"""Blame, maintenance and the export of the trail through the API."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User

from audit import bells
from changerequests.models import ChangeRequest
from changerequests.services import maintenance
from datasets.models import Dataset, MaintenanceRun
from datasets.operators import make_operator
from tests.api.clients import client_of, problem
from tests.factories import (
    ChangeRequestFactory,
    UserFactory,
    approve,
    fresh,
    merge,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bells, "ring", lambda *_: None)


@pytest.fixture
def merged(dataset: Dataset, owner: User) -> ChangeRequest:
    made: ChangeRequest = ChangeRequestFactory(
        dataset=dataset, title="Fill in N3", description="By its papers."
    )
    approve(made, owner)
    merge(made, owner)
    return made


def lines(response: Any) -> list[dict[str, Any]]:
    assert response["Content-Type"] == "application/x-ndjson"
    return [json.loads(line) for line in b"".join(response.streaming_content).splitlines()]


def test_blame_tells_who_made_each_cell(merged: ChangeRequest, viewer: User) -> None:
    url = f"/api/v1/datasets/{merged.dataset_id}/rows/history"
    told = client_of(viewer).get(url, {"key": '{"tailnum": "N3"}'}).json()
    [change] = told["changes"]
    assert change["change_request"] == merged.cr_id
    assert (change["approved_by"], change["merged_by"]) == (["olivia"], "olivia")
    assert (change["title"], change["description"]) == ("Fill in N3", "By its papers.")
    assert (change["operation"], change["changed"], change["version"]) == ("update", ["year"], 1)
    assert (change["before"]["year"], change["after"]["year"]) == (None, 2002)
    assert told["cells"]["year"] == {
        "value": 2002,
        "change_request": merged.cr_id,
        "through": [],
        "from_outside": False,
    }
    assert told["cells"]["seats"]["change_request"] is None
    assert (told["key"], told["current"]["year"], told["unreadable"]) == ({"tailnum": "N3"}, 2002, {})


def test_blame_of_a_column_tells_whose_requests_changed_it(merged: ChangeRequest, viewer: User) -> None:
    url = f"/api/v1/datasets/{merged.dataset_id}/columns/history"
    told = client_of(viewer).get(url, {"column": "year"}).json()
    [change] = told["results"]
    assert (change["change_request"], change["cells"], change["version"]) == (merged.cr_id, 1, 1)
    assert (change["approved_by"], change["merged_by"], change["added"]) == (["olivia"], "olivia", False)
    [person] = told["people"]
    assert (person["author"], person["times"], told["times"]) == (merged.author.username, 1, 1)
    assert (told["next"], told["column"], told["is_there"]) == (None, "year", True)
    nothing = client_of(viewer).get(url, {"column": "seats"}).json()
    assert (nothing["times"], nothing["people"], nothing["results"]) == (0, [], [])
    assert problem(client_of(viewer).get(url, {"column": "colour"})) == (404, "not_found")
    assert problem(client_of(viewer).get(url)) == (422, "invalid")


@pytest.mark.parametrize("key", ["N3", '["N3"]', "{}", '{"tailnum": "N3", "colour": "red"}', '{"seats": 55}'])
def test_a_key_that_does_not_fit_is_refused(key: str, dataset: Dataset, viewer: User) -> None:
    response = client_of(viewer).get(f"/api/v1/datasets/{dataset.pk}/rows/history", {"key": key})
    status, code = problem(response)
    assert (status, code in ("invalid", "invalid_keys", "invalid_filter")) == (422, True)


def test_who_may_not_see_the_dataset_finds_nothing(dataset: Dataset) -> None:
    stranger = client_of(UserFactory())
    for part in ("rows/history?key={}", "columns/history?column=year", "audit", "maintenance"):
        assert problem(stranger.get(f"/api/v1/datasets/{dataset.pk}/{part}")) == (404, "not_found")
    asked = stranger.post(f"/api/v1/datasets/{dataset.pk}/maintenance", {"jobs": ["vacuum"]})
    assert problem(asked) == (404, "not_found")


def test_owners_take_their_trail_out_and_operators_all_of_it(
    merged: ChangeRequest, owner: User, viewer: User
) -> None:
    url = f"/api/v1/datasets/{merged.dataset_id}/audit"
    own = lines(client_of(owner).get(url))
    assert {line["stream"] for line in own} == {f"dataset:{merged.dataset_id}"}
    [event] = lines(client_of(owner).get(url, {"action": "change_request.merged"}))
    assert (event["subject_id"], event["actor"]) == (merged.cr_id, "olivia")
    assert lines(client_of(owner).get(url, {"since": "2100-01-01"})) == []
    assert problem(client_of(owner).get(url, {"since": "soon"})) == (422, "invalid")
    assert problem(client_of(viewer).get(url)) == (403, "forbidden")
    assert problem(client_of(owner).get("/api/v1/audit")) == (403, "forbidden")
    make_operator(viewer)
    operator = client_of(fresh(viewer))
    assert len(lines(operator.get("/api/v1/audit"))) > len(own)
    assert lines(operator.get("/api/v1/audit", {"stream": f"dataset:{merged.dataset_id}"})) == own


def test_maintenance_is_surveyed_by_all_and_asked_for_by_owners(
    merged: ChangeRequest, owner: User, viewer: User
) -> None:
    url = f"/api/v1/datasets/{merged.dataset_id}/maintenance"
    found = client_of(viewer).get(url).json()
    assert (found["condition"]["files"], found["condition"]["vectors"]) == (2, 1)
    assert (found["due"], found["old_files"], found["runs"]) == (
        ["orphans"],
        {"files": 0, "size_bytes": 0},
        [],
    )
    assert problem(client_of(viewer).post(url, {"jobs": ["compaction"]})) == (403, "forbidden")
    refused: list[dict[str, Any]] = [{}, {"jobs": []}, {"jobs": ["all"]}, {"jobs": ["vacuum"], "days": 1}]
    for wrong in refused:
        assert problem(client_of(owner).post(url, wrong)) == (422, "invalid")
    assert MaintenanceRun.objects.count() == 0
    asked = client_of(owner).post(url, {"jobs": ["compaction"], "reason": "slow"})
    assert (asked.status_code, asked.json()["status"]) == (202, "queued")
    assert problem(client_of(owner).post(url, {"jobs": ["vacuum"]})) == (409, "dataset_busy")
    maintenance.maintain(dataset_id=merged.dataset_id, worker="w")
    [run] = client_of(viewer).get(url).json()["runs"]
    assert (run["status"], run["requested_by"], run["version_after"]) == ("succeeded", "olivia", 2)
    assert run["report"]["compaction"]["vectors_folded"] == 1
