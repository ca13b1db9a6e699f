"""Trying expectations on a table before they are saved: what is found, who sees it, and that nothing holds by it."""

import json
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

import merging
from audit.models import Event
from datasets import leases, tasks, trials, work
from datasets.durable_work import WorkStatus
from datasets.errors import Forbidden, NotFound
from datasets.models import Dataset, SuiteTrial
from datasets.roles import Role
from datasets.suites import SuiteRejected
from tests.factories import DatasetFactory, expectation, person_with

pytestmark = pytest.mark.django_db

FEW_SEATS = expectation("column_values_to_be_between", column="seats", max_value=150)
HAS_KEY = expectation("column_values_to_not_be_null", column="tailnum")


@pytest.fixture
def dataset() -> Dataset:
    return DatasetFactory(slug="planes", name="planes")


def suite(*expectations: dict[str, Any]) -> str:
    return json.dumps({"name": "planes", "expectations": list(expectations)})


def test_a_worker_says_which_rows_break_which_rule_and_nothing_holds_by_it(
    dataset: Dataset, owner: User
) -> None:
    asked = trials.ask_for_trial(
        dataset_id=dataset.pk, actor=owner, document=suite(FEW_SEATS, HAS_KEY), note="Smaller planes."
    )
    tasks.try_suite(asked.pk)
    tasks.try_suite(asked.pk)  # rung twice

    tried = trials.trial_of(dataset, asked.pk, owner)
    assert (tried.status, tried.attempts, tried.note) == (WorkStatus.SUCCEEDED, 1, "Smaller planes.")
    assert tried.report is not None
    few, maker = tried.report["results"]
    broken = merging.check_table(dataset.table_uri, suite(FEW_SEATS), ["tailnum"]).results[0]
    assert (few["ok"], few["failing_rows_total"]) == (False, broken.failing_rows_total)
    assert [row["key"] for row in few["failing_rows"]] == [
        dict(row.key) for row in broken.failing_rows[: trials.ROWS_TOLD]
    ]
    assert maker["ok"] is True
    assert tried.report["table_version"] == 0
    dataset.refresh_from_db()
    assert (dataset.suite_number, dataset.suite_versions.count()) == (0, 0)
    assert not Event.objects.filter(action="dataset.suite_saved").exists()


def test_one_rule_is_tried_beside_a_suite_that_is_kept_along(dataset: Dataset, owner: User) -> None:
    asked = trials.ask_for_trial(
        dataset_id=dataset.pk, actor=owner, document="{not JSON yet", rule=HAS_KEY, rule_number=2
    )
    made = trials.make_trial(trial_id=asked.pk, worker="test")
    assert made is not None
    assert (made.document, made.rule_number) == ("{not JSON yet", 2)
    assert made.report is not None
    assert [one["type"] for one in made.report["results"]] == ["expect_column_values_to_not_be_null"]


def test_only_owners_try_and_only_who_asked_sees_it(dataset: Dataset, owner: User) -> None:
    for role in (Role.CONTRIBUTOR, Role.VIEWER):
        with pytest.raises(Forbidden):
            trials.ask_for_trial(
                dataset_id=dataset.pk, actor=person_with(role, dataset), document=suite(HAS_KEY)
            )
    assert not SuiteTrial.objects.exists()
    asked = trials.ask_for_trial(dataset_id=dataset.pk, actor=owner, document=suite(HAS_KEY))
    with pytest.raises(NotFound):
        trials.trial_of(dataset, asked.pk, person_with(Role.OWNER, dataset))
    with pytest.raises(NotFound):
        trials.trial_of(DatasetFactory(), asked.pk, owner)


@pytest.mark.parametrize(
    "document",
    ["{", suite({"type": "hope"}), suite(expectation("column_values_to_not_be_null", column="no"))],
)
def test_what_cannot_be_checked_is_refused_at_once(dataset: Dataset, owner: User, document: str) -> None:
    with pytest.raises(SuiteRejected):
        trials.ask_for_trial(dataset_id=dataset.pk, actor=owner, document=document)
    assert not SuiteTrial.objects.exists()


def test_a_new_trial_takes_the_place_of_what_the_person_still_tries(dataset: Dataset, owner: User) -> None:
    other = person_with(Role.OWNER, dataset)
    beside = trials.ask_for_trial(dataset_id=dataset.pk, actor=other, document=suite(HAS_KEY))
    first = trials.ask_for_trial(dataset_id=dataset.pk, actor=owner, document=suite(HAS_KEY))
    hold = work.claim(SuiteTrial.objects.get(pk=first.pk), worker="slow")
    assert hold is not None
    second = trials.ask_for_trial(dataset_id=dataset.pk, actor=owner, document=suite(FEW_SEATS))

    assert not work.end(hold, WorkStatus.SUCCEEDED, report={"results": []})
    first.refresh_from_db()
    assert (first.status, first.error_code, first.report) == (WorkStatus.FAILED, "superseded", None)
    assert trials.make_trial(trial_id=first.pk, worker="test") is None
    assert trials.make_trial(trial_id=second.pk, worker="test") is not None
    beside.refresh_from_db()
    assert beside.status == WorkStatus.QUEUED


@pytest.mark.parametrize(
    ("error", "code"),
    [(merging.TableNotFound("It is gone."), "table_not_found"), (RuntimeError("x"), "trial_failed")],
)
def test_a_trial_that_cannot_be_made_says_why(
    dataset: Dataset, owner: User, error: Exception, code: str
) -> None:
    asked = trials.ask_for_trial(dataset_id=dataset.pk, actor=owner, document=suite(HAS_KEY))
    with patch.object(merging, "check_table", side_effect=error):
        made = trials.make_trial(trial_id=asked.pk, worker="test")
    assert made is not None
    assert (made.status, made.error_code, made.report) == (WorkStatus.FAILED, code, None)
    assert made.error_message


def test_a_trial_that_kills_its_workers_is_given_up(dataset: Dataset, owner: User) -> None:
    asked = trials.ask_for_trial(dataset_id=dataset.pk, actor=owner, document=suite(HAS_KEY))
    SuiteTrial.objects.update(attempts=work.MOST_ATTEMPTS)
    with patch.object(merging, "check_table", side_effect=AssertionError):
        made = trials.make_trial(trial_id=asked.pk, worker="sixth")
    assert made is not None
    assert made.error_code == "given_up"


def test_the_sweep_rings_for_what_waits_and_forgets_yesterday(
    dataset: Dataset, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[int] = []
    monkeypatch.setattr(trials, "ring_for_trial", rung.append)
    old = SuiteTrial.objects.create(
        dataset=dataset,
        asked_by=owner,
        document=suite(),
        status=WorkStatus.SUCCEEDED,
        finished_at=timezone.now() - trials.KEPT_FOR - timedelta(minutes=1),
    )
    waiting = SuiteTrial.objects.create(dataset=dataset, asked_by=owner, document=suite())
    assert (trials.sweep_trials(), rung) == (1, [waiting.pk])
    assert not SuiteTrial.objects.filter(pk=old.pk).exists()


def test_a_superseded_trial_stops_judging_at_its_next_sign_of_life(
    dataset: Dataset, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trials.ask_for_trial(dataset_id=dataset.pk, actor=owner, document=suite(HAS_KEY))
    superseded = threading.Event()
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr(work, "_beat", lambda hold: not superseded.is_set())
    heard: list[bool] = []

    def judge(*_: Any, is_over: Callable[[], bool], **__: Any) -> merging.ExpectationReport:
        heard.append(is_over())
        trials.ask_for_trial(dataset_id=dataset.pk, actor=owner, document=suite(FEW_SEATS))
        superseded.set()
        deadline = time.monotonic() + 10
        while not is_over() and time.monotonic() < deadline:
            time.sleep(0.01)
        heard.append(is_over())
        raise merging.CutShort("Nobody waits for it.")

    with patch.object(merging, "check_table", side_effect=judge):
        made = trials.make_trial(trial_id=first.pk, worker="slow")
    assert heard == [False, True]
    assert made is not None
    assert (made.status, made.error_code) == (WorkStatus.FAILED, "superseded")
