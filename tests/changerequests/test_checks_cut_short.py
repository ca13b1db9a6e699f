"""Checks that end their workers: counted as long as they run, given up in the end, begun anew where somebody asks."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from changerequests.errors import Blocked
from changerequests.models import ChangeRequest, PlanCheck, Revision
from changerequests.services import plans, runs
from changerequests.services.plans.planning import plan_of
from datasets import work
from datasets.roles import Role
from tests.factories import ChangeRequestFactory, person_with, stage_csv

pytestmark = pytest.mark.django_db

PLAN_OF = "changerequests.services.plans.checking.plan_of"


@pytest.fixture
def request_() -> ChangeRequest:
    made: ChangeRequest = ChangeRequestFactory.create()
    return made


def cut_short(change_request: ChangeRequest) -> int:
    return Revision.objects.get(change_request=change_request, is_current=True).checks_cut_short


def test_a_check_is_counted_while_it_runs_and_no_longer(
    request_: ChangeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []

    def seen(change_request: ChangeRequest) -> Any:
        counted.append(cut_short(change_request))
        return plan_of(change_request)

    monkeypatch.setattr(PLAN_OF, seen)
    plans.check(change_request_id=request_.pk)
    assert (counted, cut_short(request_)) == ([1], 0)

    def broken(_: ChangeRequest) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(PLAN_OF, broken)
    with pytest.raises(RuntimeError):
        plans.check(change_request_id=request_.pk)
    assert cut_short(request_) == 0  # it failed, and nobody died of it


def test_content_whose_checks_were_cut_short_too_often_is_not_planned_again(
    request_: ChangeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner: User = person_with(Role.OWNER, request_.dataset)
    Revision.objects.update(checks_cut_short=work.MOST_ATTEMPTS)
    PlanCheck.objects.all().delete()
    planned: list[ChangeRequest] = []
    asked: list[int] = []

    def noted(change_request: ChangeRequest) -> Any:
        planned.append(change_request)
        return plan_of(change_request)

    monkeypatch.setattr(PLAN_OF, noted)
    monkeypatch.setattr("changerequests.queue.ask_for_check", asked.append)

    for _ in range(2):
        found = plans.check_if_outdated(change_request_id=request_.pk)
        assert found is not None
        assert (found.problem_code, planned) == ("check_given_up", [])
    with pytest.raises(Blocked, match="5 attempts were cut short"):
        runs.request_merge(change_request_id=request_.pk, actor=owner)

    again = plans.check_again(change_request_id=request_.pk, actor=owner)
    assert again is not None
    assert (again.problem_code, asked, planned, cut_short(request_)) == (
        "check_given_up",
        [request_.pk],
        [],
        0,
    )
    found = plans.check_if_outdated(change_request_id=request_.pk)
    assert found is not None
    assert (found.problem, planned) == ("", [request_])


def test_other_content_begins_anew(request_: ChangeRequest) -> None:
    Revision.objects.update(checks_cut_short=work.MOST_ATTEMPTS)
    stage_csv(request_, "tailnum,seats\nN2,3\n")

    found = plans.check(change_request_id=request_.pk)

    assert found is not None
    assert (found.problem, cut_short(request_)) == ("", 0)
