"""What is told in the moments between: not checked yet, checked on an earlier version, merged while it was read."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import merging
from changerequests.models import ChangeRequest, PlanCheck
from datasets.models import DatasetMeta
from datasets.roles import Role
from tests import kept
from tests.api.clients import client_of, problem
from tests.factories import merge, person_with, stage_csv

pytestmark = pytest.mark.django_db


def place(change_request: ChangeRequest) -> str:
    return f"/api/v1/change_requests/{change_request.cr_id}"


def test_fh6_what_is_not_checked_yet_is_to_be_waited_for(pending: ChangeRequest) -> None:
    PlanCheck.objects.all().delete()
    blockers = client_of(pending.author).get(place(pending)).json()["blockers"]["request_merge"]
    assert [(one["code"], one["kind"]) for one in blockers] == [("not_checked", "wait")]


def test_fh6_numbers_of_an_outdated_plan_are_called_so(pending: ChangeRequest) -> None:
    client = client_of(pending.author)
    assert client.get(place(pending)).json()["plan"]["outdated"] is False
    DatasetMeta.objects.update(delta_version=9)
    plan = client.get(place(pending)).json()["plan"]
    assert (plan["outdated"], plan["table_version"]) == (True, 0)
    listed = client.get("/api/v1/change_requests").json()["results"][0]["plan"]
    assert listed == plan
    client.force_login(pending.author)
    page = client.get(f"/change-requests/{pending.cr_id}/").content.decode()
    assert "which is at version 9 now" in " ".join(page.split())
    assert "No conflict with the table as it is now" not in page


@pytest.mark.parametrize("rest", ["diff", "moved", "conflicts", "diff/groups"])
def test_fh10_what_is_merged_while_it_is_read_says_so(
    pending: ChangeRequest, rest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(pending.author)
    location = kept.content_folder(pending.revisions.get(is_current=True))
    owner = person_with(Role.OWNER, pending.dataset)
    for name in ("open_for_pages", "open_conflicts", "changes_under"):
        monkeypatch.setattr(
            merging, name, _after(lambda: merge(pending, owner), location, getattr(merging, name))
        )
    answer = client.get(f"{place(pending)}/{rest}")
    assert problem(answer) == (409, "content_moved")
    assert f"{pending.cr_id} was merged a moment ago, as version 1" in answer.json()["message"]


def test_fh10_what_is_replaced_while_it_is_read_says_so(
    pending: ChangeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = kept.content_folder(pending.revisions.get(is_current=True))
    newer = _after(lambda: stage_csv(pending, "tailnum,seats\nN1,1\n"), location, merging.open_for_pages)
    monkeypatch.setattr(merging, "open_for_pages", newer)
    answer = client_of(pending.author).get(f"{place(pending)}/diff")
    assert problem(answer) == (409, "content_moved")
    assert "was replaced a moment ago" in answer.json()["message"]


def _after(happening: Callable[[], object], location: Path, real: Callable[..., Any]) -> Callable[..., Any]:
    """The engine's call, before which something happens once and the content goes."""
    happened: list[bool] = []

    def call(*arguments: Any, **options: Any) -> Any:
        if not happened:
            happened.append(True)
            happening()
            shutil.rmtree(location, ignore_errors=True)
        return real(*arguments, **options)

    return call
