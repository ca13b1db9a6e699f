"""Expectations of a dataset in the life of a change request: checked early, checked in the merge, answered for."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from django.contrib.auth.models import User
from django.test import Client

import merging
from audit.files import write_audit_files
from audit.models import Event
from audit.selectors import events_of
from audit.services import verify
from changerequests import selectors
from changerequests.errors import Blocked, ExpectationsFailed, PlanChanged
from changerequests.facts import expectation_check_to_show, facts_listed, facts_of
from changerequests.models import ChangeRequest, ExpectationCheck, ExpectationOverride, MergeRun
from changerequests.policies import blockers
from changerequests.services import execution, expectations, plans, rebasing, runs
from changerequests.services.execution import audit_files
from changerequests.states import Action, RunStatus, Status
from datasets import leases
from datasets.errors import Forbidden, InvalidInput, NotFound
from datasets.models import Dataset
from datasets.operators import make_operator
from datasets.roles import Role
from datasets.services import change_settings
from tests import kept
from tests.changerequests.test_execution import at_phase, let_the_lease_expire
from tests.factories import (
    PLANES,
    ChangeRequestFactory,
    DatasetFactory,
    drain,
    expect_of,
    expectation,
    fresh,
    merge,
    person_with,
    rows_of,
    stage_csv,
)

pytestmark = pytest.mark.django_db

SEATS = expectation("column_values_to_be_between", column="seats", min_value=10, max_value=400)
MAKERS = expectation(
    "column_values_to_be_in_set", column="manufacturer", value_set=["AIRBUS", "BOEING", "EMBRAER"]
)
UNIQUE_SEATS = expectation("column_values_to_be_unique", column="seats")
#: More years than seats: a rule over two columns, which two requests can break together.
YEAR_ABOVE_SEATS = expectation(
    "column_pair_values_a_to_be_greater_than_b",
    column_A="year",
    column_B="seats",
    ignore_row_if="either_value_is_missing",
)

TOO_MANY_SEATS = "tailnum,seats\nN1,999\nN2,183\n"


@pytest.fixture
def contributor(dataset: Dataset) -> User:
    return person_with(Role.CONTRIBUTOR, dataset, username="connie")


def proposing(dataset: Dataset, csv: str, **fields: Any) -> ChangeRequest:
    return ChangeRequestFactory.create(dataset=dataset, csv=csv, **fields)


def again(change_request: ChangeRequest) -> ChangeRequest:
    return ChangeRequest.objects.select_related("dataset__meta", "dataset__project", "plan_check").get(
        pk=change_request.pk
    )


def quick(change_request: ChangeRequest) -> ExpectationCheck:
    check = facts_of(again(change_request)).expectation_check
    assert check is not None
    return check


def gates(change_request: ChangeRequest, actor: User) -> list[str]:
    return [
        blocker.code for blocker in blockers(facts_of(again(change_request), actor), Action.REQUEST_MERGE)
    ]


def everything(dataset: Dataset, change_request: ChangeRequest) -> tuple[Any, ...]:
    """The table's rows, version and files, the status and the staged files with their content."""
    revision = selectors.current_revision(change_request)
    assert revision is not None
    staged = Path(kept.staging_folder(change_request))
    return (
        rows_of(dataset),
        merging.inspect_table(dataset.table_uri).version,
        sorted(str(path) for path in Path(dataset.table_uri).rglob("*")),
        again(change_request).status,
        revision.digest,
        {str(path): path.read_bytes() for path in sorted(staged.rglob("*")) if path.is_file()},
    )


# --- Soon after staging -------------------------------------------------------------------------------------


def test_staged_rows_are_judged_at_once_and_the_rest_is_left_to_the_merge(dataset: Dataset) -> None:
    expect_of(
        dataset,
        SEATS,
        MAKERS,
        UNIQUE_SEATS,
        expectation("column_values_to_be_between", "warning", column="seats", max_value=300),
    )
    change_request = proposing(dataset, TOO_MANY_SEATS)

    check = quick(change_request)

    assert [one["state"] for one in check.report["results"]] == ["new", "passed", "deferred", "new"]
    assert (check.is_full, check.table_version, check.suite_version.number) == (False, 0, 1)
    assert (check.passed, check.warnings, check.deferred, check.pre_existing) == (1, 1, 1, 0)
    assert check.failing == [
        {
            "number": 0,
            "message": "1 row does not satisfy: Each seats is between 10 and 400.",
            "state": "new",
        }
    ]
    [row] = expectations.failing_rows(check, 0).rows
    assert row == {
        "key": {"tailnum": "N1"},
        "values": {"seats": 999},
        "before": {"seats": 149},
        "new": True,
    }
    with pytest.raises(NotFound):
        expectations.failing_rows(check, 9)


def test_failing_rows_are_paged(dataset: Dataset) -> None:
    expect_of(dataset, SEATS)
    rows = "".join(f"X{n:03},999\n" for n in range(230))
    check = quick(proposing(dataset, f"tailnum,seats\n{rows}"))
    first = expectations.failing_rows(check, 0)
    assert (len(first.rows), first.next, first.kept, first.total) == (50, 50, 200, 230)
    last = expectations.failing_rows(check, 0, start=150)
    assert (last.rows[-1]["key"], last.next) == ({"tailnum": "X199"}, None)


def test_a_dataset_without_expectations_has_no_check(dataset: Dataset, owner: User) -> None:
    change_request = proposing(dataset, TOO_MANY_SEATS)
    assert facts_of(change_request).expectation_check is None
    run = merge(change_request, owner)
    assert (run.status, run.suite_version) == (RunStatus.SUCCEEDED, None)
    assert not ExpectationCheck.objects.exists()


def test_a_known_failure_is_a_gate_in_words(dataset: Dataset, owner: User) -> None:
    expect_of(dataset, SEATS)
    change_request = proposing(dataset, TOO_MANY_SEATS)

    [blocker] = blockers(facts_of(change_request, owner), Action.REQUEST_MERGE)
    assert (blocker.code, blocker.kind, blocker.link, blocker.overridable) == (
        "expectations_failed",
        "fix",
        "checks",
        True,
    )
    assert blocker.sentence == (
        "An expectation would be broken. 1 row does not satisfy: Each seats is between 10 and 400."
    )
    with pytest.raises(ExpectationsFailed) as refused:
        runs.request_merge(change_request_id=change_request.pk, actor=owner)
    assert refused.value.code == "validation_failed"
    assert refused.value.data["suite_version"] == 1
    [failed] = refused.value.data["expectations"]
    assert (failed["number"], failed["failing_rows_total"]) == (0, 1)
    assert failed["failing_rows"][0]["key"] == {"tailnum": "N1"}
    assert not MergeRun.objects.exists()


def test_other_gates_are_told_with_it(dataset: Dataset, owner: User) -> None:
    expect_of(dataset, SEATS, UNIQUE_SEATS)
    change_settings(dataset_id=dataset.pk, actor=owner, changes={"required_approvals": 1})
    change_request = proposing(dataset, TOO_MANY_SEATS)
    with pytest.raises(Blocked) as refused:
        runs.request_merge(change_request_id=change_request.pk, actor=owner)
    assert {blocker.code for blocker in refused.value.blockers} == {
        "approvals_missing",
        "expectations_failed",
    }


def test_new_content_or_a_new_suite_is_judged_anew(dataset: Dataset, owner: User) -> None:
    expect_of(dataset, SEATS)
    change_request = proposing(dataset, TOO_MANY_SEATS)
    assert gates(change_request, owner) == ["expectations_failed"]

    stage_csv(change_request, "tailnum,seats\nN1,150\n")
    assert facts_of(again(change_request)).expectation_check is None
    plans.fresh_check(facts_of(again(change_request)))
    assert gates(change_request, owner) == []

    expect_of(dataset, expectation("column_values_to_be_between", column="seats", max_value=100))
    assert facts_of(again(change_request)).expectation_check is None
    plans.fresh_check(facts_of(again(change_request)))
    assert gates(change_request, owner) == ["expectations_failed"]
    assert quick(change_request).suite_version.number == 2

    expect_of(dataset)
    assert gates(change_request, owner) == []


@pytest.mark.django_db(transaction=True)
def test_saving_a_suite_asks_for_a_check_of_every_open_request(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_request = proposing(dataset, TOO_MANY_SEATS)
    proposing(dataset, TOO_MANY_SEATS, status=Status.DRAFT)
    merged = proposing(dataset, "tailnum,seats\nN4,376\n")
    merge(merged, person_with(Role.OWNER, dataset))
    asked: list[tuple[str, tuple[int, ...]]] = []
    monkeypatch.setattr(
        "audit.bells.current_app.send_task", lambda name, args: asked.append((name, tuple(args)))
    )
    expect_of(dataset, SEATS)
    checks = [ring for ring in asked if ring[0] == "changerequests.check"]
    assert checks == [("changerequests.check", (pk,)) for pk in (change_request.pk + 1, change_request.pk)]


def test_a_suite_that_does_not_fit_the_table_any_more_is_said(dataset: Dataset, owner: User) -> None:
    expect_of(dataset, expectation("column_values_to_not_be_null", column="seats"))
    change_request = proposing(dataset, "tailnum,year\nN1,2000\n")
    table = merging.inspect_table(dataset.table_uri)
    rows = [{name: value for name, value in row.items() if name != "seats"} for row in rows_of(dataset)]
    from deltalake import write_deltalake

    write_deltalake(dataset.table_uri, pa.Table.from_pylist(rows), mode="overwrite", schema_mode="overwrite")
    assert merging.inspect_table(dataset.table_uri).version == table.version + 1

    found = plans.fresh_check(facts_of(again(change_request)))

    assert found is not None
    assert (found.problem_code, found.rows_updated) == ("suite_rejected", 1)
    assert found.problem == (
        "The expectations of planes do not fit the table any more; an owner has to edit them. The suite cannot be "
        "used: expectations[0].kwargs.column: The table has no column seats."
    )
    assert gates(change_request, owner) == ["suite_rejected"]


# --- In the merge -------------------------------------------------------------------------------------------


def broken_together(dataset: Dataset, owner: User) -> tuple[ChangeRequest, MergeRun]:
    """Two requests that are valid each by itself; the second breaks the suite once the first is merged."""
    seats = proposing(dataset, "tailnum,seats\nN2,390\n")
    years = proposing(dataset, "tailnum,year\nN2,200\n")
    for change_request in (seats, years):
        assert gates(change_request, owner) == []
        runs.request_merge(change_request_id=change_request.pk, actor=owner)
    return years, runs.request_merge(change_request_id=years.pk, actor=owner)


def test_write_skew_is_blocked_and_leaves_everything_as_it_was(dataset: Dataset, owner: User) -> None:
    expect_of(dataset, YEAR_ABOVE_SEATS, UNIQUE_SEATS)
    years, run = broken_together(dataset, owner)
    first = execution.merge_next(dataset_id=dataset.pk, worker="test")
    assert first is not None
    assert first.status == RunStatus.SUCCEEDED
    before = everything(dataset, years)

    drain()

    assert everything(dataset, years) == before
    run.refresh_from_db()
    assert (run.status, run.error_code) == (RunStatus.INVALID, "validation_failed")
    assert run.suite_version is not None
    assert run.suite_version.number == run.error_data["suite_version"] == 1
    assert run.error_message == (
        "The merged result does not pass its checks: 1 row does not satisfy: year is greater than seats wherever "
        "both have a value."
    )
    [failed] = run.error_data["expectations"]
    assert failed["failing_rows"] == [
        {
            "key": {"tailnum": "N2"},
            "values": {"year": 200, "seats": 390},
            "before": {"year": 2004, "seats": 390},
            "new": True,
        }
    ]
    check = run.expectation_check
    assert (check.is_full, check.table_version, check.deferred, check.passed) == (True, 1, 0, 1)
    assert [one["state"] for one in check.report["results"]] == ["new", "passed"]
    assert list(events_of("change_request", years.cr_id).values_list("action", flat=True))[-1] == (
        "merge.invalid"
    )
    assert merging.find_merge(dataset.table_uri, years.cr_id) is None


#: A share is one of the whole table, so only the run judges it.
ENDLESS = expectation(
    "column_values_to_match_regex", column="manufacturer", regex=r"(?=.)^(X+X+)+Y$", mostly=0.1
)
ENDLESS_MAKER = f"tailnum,manufacturer\nN2,{'X' * 60}\n"


def test_fs5_a_pattern_that_never_ends_ends_the_run_as_invalid(
    dataset: Dataset, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("merging.sql.session._limits", merging.Limits(check_seconds=1))
    change_request = proposing(dataset, ENDLESS_MAKER)
    expect_of(dataset, ENDLESS)
    ExpectationCheck.objects.filter(
        change_request=change_request
    ).delete()  # as long as nobody has judged the rows, the run is asked for
    before = everything(dataset, change_request)

    run = merge(change_request, owner)

    assert (run.status, run.error_code) == (RunStatus.INVALID, "validation_failed")
    assert "manufacturer matches the regular expression (?=.)^(X+X+)+Y$" in run.error_message
    assert "it was stopped after 1 s" in run.error_message
    assert everything(dataset, change_request) == before


def test_fs5_a_merge_is_cancelled_while_a_pattern_never_ends(
    dataset: Dataset, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_request = proposing(dataset, ENDLESS_MAKER)
    expect_of(dataset, ENDLESS)
    ExpectationCheck.objects.filter(
        change_request=change_request
    ).delete()  # as long as nobody has judged the rows, the run is asked for
    before = everything(dataset, change_request)
    run = runs.request_merge(change_request_id=change_request.pk, actor=owner)
    told: list[None] = []

    def cancel_the_second_time() -> None:
        told.append(None)
        if len(told) == 2:  # the pattern runs by then
            runs.cancel_run(run_id=run.pk, actor=owner)

    at_phase(monkeypatch, "validating", cancel_the_second_time)
    started = time.monotonic()

    drain()

    run.refresh_from_db()
    assert (run.status, run.error_message) == (RunStatus.CANCELLED, "Cancelled by olivia.")
    assert time.monotonic() - started < 15
    assert everything(dataset, change_request) == before


def test_what_only_the_whole_table_tells_is_known_after_the_first_try(dataset: Dataset, owner: User) -> None:
    expect_of(dataset, UNIQUE_SEATS)
    change_request = proposing(dataset, "tailnum,seats\nN1,182\n")
    assert (quick(change_request).deferred, gates(change_request, owner)) == (1, [])

    run = merge(change_request, owner)

    assert (run.status, run.error_code) == (RunStatus.INVALID, "validation_failed")
    plans.check(change_request_id=change_request.pk)  # what a worker does after every run
    assert quick(change_request).run == run
    assert gates(change_request, owner) == ["expectations_failed"]
    keys = [row["key"]["tailnum"] for row in expectations.failing_rows(quick(change_request), 0).rows]
    assert keys == ["N1", "N2"]

    # Once the table has moved nobody knows, and the merge may be tried again.
    merge(proposing(dataset, "tailnum,seats\nN2,183\n"), owner)
    plans.fresh_check(facts_of(again(change_request)))
    assert not quick(change_request).is_full
    assert merge(change_request, owner).status == RunStatus.SUCCEEDED


def test_what_the_suite_said_is_kept_with_the_merge(dataset: Dataset, owner: User) -> None:
    loose = expectation("column_values_to_be_between", "warning", column="seats", max_value=100)
    expect_of(dataset, SEATS, loose, UNIQUE_SEATS)
    change_request = proposing(dataset, "tailnum,seats\nN1,150\n")

    run = merge(change_request, owner)

    assert (run.status, run.suite_version and run.suite_version.number) == (RunStatus.SUCCEEDED, 1)
    shown = expectation_check_to_show(facts_of(again(change_request)))
    assert shown is not None
    assert (shown.run, shown.passed, shown.warnings) == (run, 2, 1)
    stored = json.loads((kept.audit_folder(change_request) / "validation.json").read_text())
    assert stored["expectations"] == shown.report
    assert (stored["expectations"]["version"], stored["overrides"]) == (1, [])
    event = Event.objects.get(subject_id=change_request.cr_id, action="change_request.merged")
    assert event.data["suite_version"] == 1
    assert event.data["expectations"] == {
        "judged": 3,
        "blocking": 0,
        "warnings": 1,
        "pre_existing": 0,
        "overridden": 0,
    }
    assert "validation.json" in event.data["audit_files"]
    assert list(verify()) == []


def test_a_worker_that_died_after_its_commit_leaves_the_report(
    dataset: Dataset, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    loose = expectation("column_values_to_be_between", "warning", column="seats", max_value=100)
    expect_of(dataset, SEATS, loose)
    change_request = proposing(dataset, TOO_MANY_SEATS)
    run = runs.request_merge(change_request_id=change_request.pk, actor=owner, override_reason="As agreed.")

    def write_and_die(*arguments: Any, **options: Any) -> None:
        write_audit_files(*arguments, **options)
        raise SystemExit("killed after the commit and the files, before the record")

    with monkeypatch.context() as patch:
        patch.setattr(audit_files, "write_audit_files", write_and_die)
        patch.setattr(leases, "release", lambda lease: False)
        with pytest.raises(SystemExit):
            execution.merge_next(dataset_id=dataset.pk, worker="first")
    assert merging.inspect_table(dataset.table_uri).version == 1
    expect_of(dataset, SEATS)  # another suite holds by the time somebody looks after it
    let_the_lease_expire(dataset)

    execution.merge_next(dataset_id=dataset.pk, worker="second")

    run.refresh_from_db()
    assert (run.status, run.attempts, run.merged_version) == (RunStatus.SUCCEEDED, 2, 1)
    assert run.suite_version is not None
    assert run.suite_version.number == 1
    shown = expectation_check_to_show(facts_of(again(change_request)))
    assert shown is not None
    assert [(one["state"], one["overridden"]) for one in shown.report["results"]] == [
        ("new", True),
        ("new", False),
    ]
    stored = json.loads((kept.audit_folder(change_request) / "validation.json").read_text())
    assert stored["expectations"] == shown.report
    assert [one["reason"] for one in stored["overrides"]] == ["As agreed."]
    assert list(verify()) == []


@pytest.mark.parametrize("edit", ["suite", "setting"])
def test_a_suite_that_is_edited_while_a_merge_is_checked_stops_it_before_its_commit(
    dataset: Dataset, owner: User, monkeypatch: pytest.MonkeyPatch, edit: str
) -> None:
    expect_of(dataset, MAKERS)
    change_request = proposing(dataset, "tailnum,seats\nN1,150\n")
    run = runs.request_merge(change_request_id=change_request.pk, actor=owner)

    def edited() -> None:
        if edit == "suite":
            expect_of(dataset, SEATS)
        else:
            change_settings(dataset_id=dataset.pk, actor=owner, changes={"block_pre_existing": True})

    at_phase(monkeypatch, "committing", edited)
    drain()

    run.refresh_from_db()
    assert run.status == RunStatus.CANCELLED
    assert run.error_message == (
        "The expectations were edited while the merge was checked by the earlier ones. Ask for the merge again."
    )
    assert merging.inspect_table(dataset.table_uri).version == 0
    assert again(change_request).status == Status.PENDING


def test_failures_that_the_table_has_block_only_where_the_dataset_says_so(
    dataset: Dataset, owner: User
) -> None:
    expect_of(dataset, expectation("column_values_to_be_between", column="seats", max_value=300))
    change_request = proposing(dataset, "tailnum,seats,year\nN4,377,2012\n")  # N4 has 377 seats already
    check = quick(change_request)
    assert (check.pre_existing, check.failing) == (1, [])

    change_settings(dataset_id=dataset.pk, actor=owner, changes={"block_pre_existing": True})
    assert facts_of(again(change_request)).expectation_check is None
    other = proposing(dataset, "tailnum,year\nN1,2000\n")
    run = merge(other, owner)
    assert run.status == RunStatus.INVALID
    [result] = run.expectation_check.report["results"]
    assert (result["state"], result["blocking"], result["new_failures"]) == ("pre_existing", True, 0)

    change_settings(dataset_id=dataset.pk, actor=owner, changes={"block_pre_existing": False})
    plans.fresh_check(facts_of(again(other)))
    assert merge(other, owner).status == RunStatus.SUCCEEDED


# --- Answering for failures ---------------------------------------------------------------------------------


def test_an_owner_answers_for_a_failure_with_a_reason(
    dataset: Dataset, owner: User, contributor: User
) -> None:
    expect_of(dataset, SEATS, MAKERS)
    change_request = proposing(dataset, TOO_MANY_SEATS)

    override = expectations.override_expectations(
        change_request_id=change_request.pk, actor=owner, reason=" The stretched version. ", suite_number=1
    )

    assert (override.numbers, override.reason, override.suite_version.number) == (
        {0},
        "The stretched version.",
        1,
    )
    assert gates(change_request, contributor) == []
    event = Event.objects.get(subject_id=change_request.cr_id, action="expectations.overridden")
    assert (event.actor, event.data["reason"], event.data["suite_version"]) == (
        "olivia",
        "The stretched version.",
        1,
    )
    run = merge(change_request, contributor)
    assert run.status == RunStatus.SUCCEEDED
    assert [one["overridden"] for one in run.expectation_check.report["results"]] == [True, False]
    assert {row["tailnum"]: row["seats"] for row in rows_of(dataset)}["N1"] == 999
    stored = json.loads((kept.audit_folder(change_request) / "validation.json").read_text())
    assert [(one["given_by"], one["reason"]) for one in stored["overrides"]] == [
        ("olivia", "The stretched version.")
    ]


@pytest.mark.parametrize("role", [Role.CONTRIBUTOR, Role.VIEWER])
def test_nobody_else_answers_for_failures(dataset: Dataset, role: Role) -> None:
    expect_of(dataset, SEATS)
    change_request = proposing(dataset, TOO_MANY_SEATS)
    actor = person_with(role, dataset)
    with pytest.raises(Forbidden):
        expectations.override_expectations(
            change_request_id=change_request.pk, actor=actor, reason="I want it."
        )
    with pytest.raises(Forbidden):
        runs.request_merge(change_request_id=change_request.pk, actor=actor, override_reason="I want it.")
    assert not ExpectationOverride.objects.exists()


def test_a_reason_and_something_to_answer_for_are_needed(dataset: Dataset, owner: User) -> None:
    expect_of(dataset, SEATS)
    good, bad = proposing(dataset, "tailnum,seats\nN1,150\n"), proposing(dataset, TOO_MANY_SEATS)
    with pytest.raises(InvalidInput, match="Give a reason"):
        expectations.override_expectations(change_request_id=bad.pk, actor=owner, reason="  ")
    with pytest.raises(InvalidInput, match="breaks no expectation"):
        expectations.override_expectations(change_request_id=good.pk, actor=owner, reason="Just so.")
    assert not ExpectationOverride.objects.exists()


def test_an_override_is_of_what_was_looked_at(dataset: Dataset, owner: User) -> None:
    expect_of(dataset, SEATS)
    change_request = proposing(dataset, TOO_MANY_SEATS)
    with pytest.raises(PlanChanged) as refused:
        expectations.override_expectations(
            change_request_id=change_request.pk, actor=owner, reason="So.", suite_number=7
        )
    assert refused.value.data["moved"] == "suite"
    with pytest.raises(PlanChanged) as refused:
        expectations.override_expectations(
            change_request_id=change_request.pk, actor=owner, reason="So.", revision_digest="another"
        )
    assert refused.value.data["moved"] == "revision"
    with pytest.raises(PlanChanged):
        runs.request_merge(
            change_request_id=change_request.pk,
            actor=owner,
            seen=runs.Seen(suite_number=7),
            override_reason="So.",
        )
    assert not ExpectationOverride.objects.exists()


@pytest.mark.parametrize("edit", ["content", "suite"])
def test_a_later_edit_voids_an_override(dataset: Dataset, owner: User, edit: str) -> None:
    expect_of(dataset, SEATS)
    change_request = proposing(dataset, TOO_MANY_SEATS)
    expectations.override_expectations(change_request_id=change_request.pk, actor=owner, reason="As agreed.")
    assert gates(change_request, owner) == []

    if edit == "content":
        stage_csv(change_request, "tailnum,seats\nN1,998\n")
    else:
        expect_of(dataset, expectation("column_values_to_be_between", column="seats", max_value=390))
    plans.fresh_check(facts_of(again(change_request)))

    assert gates(change_request, owner) == ["expectations_failed"]
    assert facts_of(again(change_request)).overrides == ()


def test_an_override_stays_where_only_the_base_moved(dataset: Dataset, owner: User) -> None:
    expect_of(dataset, SEATS)
    change_request = proposing(dataset, "tailnum,seats\nN1,999\n")
    expectations.override_expectations(change_request_id=change_request.pk, actor=owner, reason="As agreed.")
    merge(proposing(dataset, "tailnum,seats\nN2,183\n"), owner)

    rebasing.rebase(change_request_id=change_request.pk, actor=owner)
    plans.fresh_check(facts_of(again(change_request)))

    assert quick(change_request).failing
    assert gates(change_request, owner) == []


def test_an_override_covers_no_failure_that_was_not_known(dataset: Dataset, owner: User) -> None:
    expect_of(dataset, SEATS, UNIQUE_SEATS)
    change_request = proposing(dataset, "tailnum,seats\nN1,999\nN2,999\n")
    run = merge(change_request, owner, override_reason="As agreed.")
    assert run.status == RunStatus.INVALID
    assert [one["number"] for one in run.error_data["expectations"]] == [1]
    plans.check(change_request_id=change_request.pk)
    assert gates(change_request, owner) == ["expectations_failed"]

    run = merge(change_request, owner, override_reason="Both were agreed.")

    assert run.status == RunStatus.SUCCEEDED
    assert [one.numbers for one in ExpectationOverride.objects.all()] == [{0}, {1}]


def test_force_overrides_every_expectation_and_says_so(dataset: Dataset, owner: User) -> None:
    expect_of(dataset, SEATS, UNIQUE_SEATS)
    change_request = proposing(dataset, "tailnum,seats\nN1,999\nN2,999\n")
    run = merge(change_request, owner, force_merge=True, override_reason="The registry says so.")
    assert run.status == RunStatus.SUCCEEDED
    assert [one["code"] for one in run.overridden_blockers] == ["expectations_failed"]
    assert [one["number"] for one in run.expectation_check.failing] == [1]
    event = Event.objects.get(subject_id=change_request.cr_id, action="change_request.merged")
    assert (event.data["expectations"]["overridden"], event.data["expectations"]["blocking"]) == (1, 1)


# --- What could not be checked ------------------------------------------------------------------------------


def test_what_could_not_be_checked_is_tried_again_when_somebody_asks(
    dataset: Dataset, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect_of(dataset, expectation("column_values_to_be_dateutil_parseable", column="manufacturer"))
    change_request = proposing(dataset, "tailnum,manufacturer\nN1,2013-01-01\n")
    assert quick(change_request).deferred == 1
    from merging.expectations.cage import Cage
    from merging.expectations.findings import NotChecked

    def missing(*_: object, **__: object) -> None:
        raise NotChecked("it needs the package great_expectations, which is not installed here")

    with monkeypatch.context() as patch:
        patch.setattr(Cage, "ask", missing)
        run = merge(change_request, owner)
    assert run.status == RunStatus.INVALID
    assert "This could not be checked: it needs the package great_expectations" in run.error_message
    plans.check(change_request_id=change_request.pk)
    assert gates(change_request, owner) == ["expectations_failed"]

    plans.check_again(change_request_id=change_request.pk, actor=owner)

    assert gates(change_request, owner) == []
    assert merge(change_request, owner).status == RunStatus.SUCCEEDED


def test_a_list_of_requests_costs_the_same_with_expectations(
    dataset: Dataset, owner: User, django_assert_num_queries: Callable[..., Any]
) -> None:
    expect_of(dataset, SEATS)
    list(
        selectors.change_requests_to(dataset, owner)
    )  # content types of roles are looked up once in a process
    for requests in (1, 3):
        while ChangeRequest.objects.count() < requests:
            proposing(dataset, TOO_MANY_SEATS)
        with django_assert_num_queries(11) as listed:
            asker = fresh(owner)
            pks = selectors.change_requests_to(fresh_dataset(dataset), asker).values_list("pk", flat=True)
            found = facts_listed(list(pks), asker)
            assert [len(facts.unanswered_failures) for facts in found] == [1] * requests
        assert not any('"report"' in query["sql"] for query in listed.captured_queries)


def fresh_dataset(dataset: Dataset) -> Dataset:
    return Dataset.objects.select_related("meta").get(pk=dataset.pk)


# --- Admin --------------------------------------------------------------------------------------------------


def test_operators_read_checks_and_overrides_and_write_none(dataset: Dataset, owner: User) -> None:
    expect_of(dataset, SEATS)
    change_request = proposing(dataset, TOO_MANY_SEATS)
    override = expectations.override_expectations(
        change_request_id=change_request.pk, actor=owner, reason="As agreed."
    )
    operator = person_with(None, dataset, username="adam")
    make_operator(operator)
    client = Client()
    client.force_login(fresh(operator))
    for name, row in (("expectationcheck", quick(change_request).pk), ("expectationoverride", override.pk)):
        address = f"/admin/changerequests/{name}/"
        assert client.get(address).status_code == 200
        assert client.get(f"{address}{row}/change/").status_code == 200
        assert client.post(f"{address}{row}/change/", {"reason": "rewritten"}).status_code == 403
        assert client.get(f"{address}add/").status_code == 403
    override.refresh_from_db()
    assert override.reason == "As agreed."


@pytest.mark.both_databases
def test_a_cell_with_a_character_that_postgresql_cannot_hold_stops_nothing() -> None:
    """U+0000 may stand in a table's text; what is kept of it shows U+2400, the merge leaves it alone."""
    makers = pa.array(["A\x00B", "AIRBUS", "BOEING"])
    place = PLANES.schema.get_field_index("manufacturer")
    dataset = DatasetFactory.create(data=PLANES.slice(0, 3).set_column(place, "manufacturer", makers))
    owner = person_with(Role.OWNER, dataset)
    rule = expectation("column_values_to_be_in_set", column="manufacturer", value_set=["AIRBUS", "BOEING"])
    expect_of(dataset, rule)
    change_request = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,5\n")
    run = merge(change_request, owner)
    assert (run.status, run.error_message) == (RunStatus.SUCCEEDED, "")
    kept = ExpectationCheck.objects.get(run=run).report
    assert "A\u2400B" in json.dumps(kept, ensure_ascii=False)
    assert {row["manufacturer"] for row in rows_of(dataset)} == {"A\x00B", "AIRBUS", "BOEING"}
    refused = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,manufacturer\nN2,C\x00D\n")
    assert merge(refused, owner, override_reason="Look.").status == RunStatus.SUCCEEDED
