"""What follows from the facts of a request, and what stands in the way by them: without a database."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth.models import User

from changerequests.errors import Blocked, InvalidTransition
from changerequests.facts import Facts
from changerequests.models import (
    ChangeRequest,
    ExpectationCheck,
    ExpectationOverride,
    MergeRun,
    PlanCheck,
    Review,
    Revision,
)
from changerequests.policies import blockers, gates_fallen, may, merge_gates, require
from changerequests.states import Action, RunStatus, Status
from datasets.errors import Forbidden
from datasets.models import Dataset, DatasetMeta, Project, SuiteVersion
from datasets.roles import Role

#: What people do; the rest is the system's.
PEOPLES = [
    action
    for action in Action
    if action not in (Action.CLAIM, Action.ADOPT, Action.COMPLETE, Action.STEP_BACK)
]
AUTHOR, EDITOR, REVIEWER, OWNER = (
    User(pk=pk, username=name) for pk, name in enumerate(("author", "editor", "reviewer", "owner"), 1)
)
REVISION = Revision(pk=7, number=1, digest="content", rows=3, created_by=EDITOR)
CHECK = PlanCheck(pk=9, revision=REVISION, resolutions_digest="", table_version=4)


def asked(**fields: Any) -> Facts:
    """The facts of a pending request that was checked and has nothing in its way, as its owner asks for them."""
    settings = {
        name: fields.pop(name)
        for name in ("required_approvals", "threads_must_be_resolved")
        if name in fields
    }
    dataset = Dataset(pk=5, name="Planes", project=Project(pk=2), **{"required_approvals": 0, **settings})
    dataset.meta = DatasetMeta(dataset=dataset)
    stored = ("status", "resolutions_digest", "unsettled_version")
    request = {"status": Status.PENDING, **{name: fields.pop(name) for name in stored if name in fields}}
    change_request = ChangeRequest(pk=9, dataset=dataset, author=AUTHOR, **request)
    standing: dict[str, Any] = {
        "revision": REVISION,
        "last_plan_check": CHECK,
        "asker": OWNER,
        "role": Role.OWNER,
    }
    return Facts(change_request=change_request, **{**standing, **fields})


def verdict(pk: int, reviewer: User, said: str = "approve", **fields: Any) -> Review:
    """A verdict on the content that stands, by somebody who may review."""
    derived = {"entitled": True, "chose": False, "by_service": False, "same_hands": False}
    stored = {"revision_digest": "content", "resolutions_digest": ""}
    review = Review(
        pk=pk,
        reviewer=reviewer,
        verdict=said,
        **{name: fields.get(name, text) for name, text in stored.items()},
    )
    for name, value in derived.items():
        setattr(review, name, fields.get(name, value))
    return review


def codes(facts: Facts, action: Action = Action.REQUEST_MERGE, **options: str) -> list[str]:
    return [blocker.code for blocker in blockers(facts, action, **options)]


# --- What follows -------------------------------------------------------------------------------------------


def test_a_plan_counts_for_its_content_and_choices_alone() -> None:
    assert asked().plan_check is CHECK
    assert asked(last_plan_check=None).plan_check is None
    assert asked(revision=None).plan_check is None
    assert asked(revision=Revision(pk=8, digest="content", rows=3, created_by=EDITOR)).plan_check is None
    assert asked(resolutions_digest="chosen").plan_check is None
    chosen = PlanCheck(pk=9, revision=REVISION, resolutions_digest="chosen")
    assert asked(resolutions_digest="chosen", last_plan_check=chosen).plan_check is chosen


@pytest.mark.parametrize(
    ("review", "counts"),
    [
        (verdict(1, REVIEWER), True),
        (verdict(1, REVIEWER, "request_changes"), False),
        (verdict(1, REVIEWER, entitled=False), False),
        (verdict(1, REVIEWER, chose=True), False),
        (verdict(1, REVIEWER, by_service=True), False),
        (verdict(1, REVIEWER, same_hands=True), False),
        (verdict(1, REVIEWER, revision_digest="other"), False),
        (verdict(1, REVIEWER, resolutions_digest="chosen"), False),
        (verdict(1, AUTHOR), False),
        (verdict(1, EDITOR), False),
    ],
)
def test_whose_approval_counts(review: Review, counts: bool) -> None:
    facts = asked(required_approvals=1, reviews=(review,))
    assert facts.approvals == ((review,) if counts else ())
    assert ("approvals_missing" not in codes(facts)) is counts
    assert asked(revision=None, reviews=(review,)).approvals == ()


def test_the_newest_verdict_of_each_reviewer_holds() -> None:
    no, yes, other = verdict(1, REVIEWER, "request_changes"), verdict(2, REVIEWER), verdict(3, OWNER)
    facts = asked(reviews=(no, yes, other))
    assert set(facts.verdicts) == {yes, other}
    assert (facts.objections, facts.approvals) == ((), (yes, other))
    taken_back = asked(reviews=(yes, verdict(4, REVIEWER, "request_changes")))
    assert [review.pk for review in taken_back.objections] == [4]
    assert codes(taken_back) == ["changes_requested"]
    assert codes(asked(reviews=(verdict(1, REVIEWER, "request_changes", entitled=False),))) == []


def test_only_an_active_run_is_the_run() -> None:
    for status in RunStatus:
        run = MergeRun(pk=1, status=status)
        active = status in (RunStatus.QUEUED, RunStatus.RUNNING)
        facts = asked(latest_run=run)
        assert facts.run is (run if active else None)
        assert codes(facts, Action.STAGE) == (["run_active"] if active else [])


def suite_check(pk: int, **fields: Any) -> ExpectationCheck:
    """A quick check of what stands that fails in its first two expectations."""
    failing = [{"number": number, "message": f"Number {number} fails.", "state": "new"} for number in (0, 1)]
    of: dict[str, Any] = {
        "revision": REVISION,
        "resolutions_digest": "",
        "suite_version": SuiteVersion(number=1, expectation_count=2),
        "block_pre_existing": False,
        "table_version": 4,
        "failing": failing,
    }
    return ExpectationCheck(pk=pk, **{**of, **fields})


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        ({}, True),
        ({"run": MergeRun(pk=1)}, True),
        ({"run": MergeRun(pk=1), "table_version": 3}, False),
        ({"table_version": 3}, True),  # a quick check looks at changed rows alone
        ({"revision": Revision(pk=8)}, False),
        ({"resolutions_digest": "chosen"}, False),
        ({"block_pre_existing": True}, False),
        ({"suite_version": SuiteVersion(number=2, expectation_count=0)}, False),
    ],
)
def test_which_check_of_the_expectations_counts(fields: dict[str, Any], counts: bool) -> None:
    check = suite_check(1, **fields)
    facts = asked(suite_checks=(check,))
    assert facts.expectation_check is (check if counts else None)
    assert codes(facts) == (["expectations_failed"] if counts else [])
    assert asked(revision=None, suite_checks=(check,)).expectation_check is None


def test_a_full_check_counts_before_a_quick_one_and_a_later_before_an_earlier() -> None:
    quick, full, later = (
        suite_check(3),
        suite_check(1, run=MergeRun(pk=1)),
        suite_check(2, run=MergeRun(pk=2)),
    )
    assert asked(suite_checks=(quick, full)).expectation_check is full
    assert asked(suite_checks=(full, later, quick)).expectation_check is later
    unchecked = asked(suite_checks=(quick, full), last_plan_check=None)
    assert unchecked.expectation_check is full  # nothing says that the table moved


def test_what_owners_answer_for_does_not_stand_in_the_way() -> None:
    def answering(*numbers: int, **fields: str) -> ExpectationOverride:
        bound = {"revision_digest": "content", "resolutions_digest": "", **fields}
        return ExpectationOverride(expectations=[{"number": number} for number in numbers], **bound)

    def left(*overrides: ExpectationOverride) -> list[int]:
        facts = asked(suite_checks=(suite_check(1),), suite_overrides=overrides)
        assert ("expectations_failed" in codes(facts)) is bool(facts.unanswered_failures)
        return [one["number"] for one in facts.unanswered_failures]

    assert left() == [0, 1]
    assert left(answering(0)) == [1]
    assert left(answering(0), answering(1)) == []
    assert left(answering(0, 1, revision_digest="other")) == [0, 1]
    assert left(answering(0, 1, resolutions_digest="chosen")) == [0, 1]
    assert asked(revision=None, suite_overrides=(answering(0),)).overrides == ()


def test_who_made_the_content() -> None:
    made = {user.username: asked(asker=user).made_the_content for user in (AUTHOR, EDITOR, REVIEWER, OWNER)}
    assert made == {"author": True, "editor": True, "reviewer": False, "owner": False}
    assert asked(asker=AUTHOR, revision=None).made_the_content
    assert not asked(asker=None).made_the_content


# --- What stands in the way ---------------------------------------------------------------------------------


def each_place() -> Iterator[tuple[Status, Action, Role | None, User]]:
    for status in Status:
        for action in PEOPLES:
            for role in (None, *Role):
                for asker in (AUTHOR, REVIEWER):
                    yield status, action, role, asker


def test_every_action_in_every_status_for_everybody() -> None:
    """Who may do what, and in which statuses; beside it nothing stands in the way of a request that is in order."""
    owners = {Action.REVERT}
    authors = {Action.RETURN_TO_DRAFT}
    contributors = {Action.REVIEW, Action.SPLIT, Action.REQUEST_MERGE}
    exists = {
        Status.DRAFT: {"edit", "remove", "stage", "rebase", "submit", "close", "adopt"},
        Status.PENDING: {
            *(
                "edit",
                "stage",
                "rebase",
                "review",
                "split",
                "resolve",
                "return_to_draft",
                "request_merge",
                "claim",
                "close",
                "adopt",
            ),
        },
        Status.MERGING: {"adopt", "complete", "step_back"},
        Status.MERGED: {"revert"},
        Status.CLOSED: {"adopt", "reopen"},
    }
    for status, action, role, asker in each_place():
        if action in owners:
            allowed = role is Role.OWNER
        elif action in authors:
            allowed = role in (Role.CONTRIBUTOR, Role.OWNER) and asker is AUTHOR
        elif action in contributors:
            allowed = role in (Role.CONTRIBUTOR, Role.OWNER)
        else:
            allowed = role is Role.OWNER or (role is Role.CONTRIBUTOR and asker is AUTHOR)
        facts = asked(status=status, role=role, asker=asker)
        expected = [
            *(["invalid_transition"] if action.value not in exists[status] else []),
            *(["forbidden"] if not allowed else []),
            *(["has_content"] if action is Action.REMOVE else []),
        ]
        assert may(facts, action) is allowed, (status, action, role, asker)
        assert sorted(codes(facts, action)) == sorted(expected), (status, action, role, asker)


def test_contributors_merge_where_the_dataset_lets_them() -> None:
    facts = asked(role=Role.CONTRIBUTOR)
    facts.dataset.contributors_may_merge = False
    assert codes(facts) == ["forbidden"]
    assert codes(replace(facts, role=Role.OWNER)) == []


def test_gates_tell_what_to_do_and_where() -> None:
    check = PlanCheck(
        pk=9, revision=REVISION, resolutions_digest="", unresolved=2, rows_deleted=3, deleted_share=0.5
    )
    facts = asked(last_plan_check=check, required_approvals=2, threads_must_be_resolved=True, open_threads=1)
    facts.dataset.meta.problem = "The table is gone."
    assert [(one.code, one.kind, one.link, one.overridable) for one in merge_gates(facts)] == [
        ("table_not_writable", "fix", "dataset", False),
        ("approvals_missing", "wait", "conversation", True),
        ("threads_open", "fix", "conversation", True),
        ("conflicts_unresolved", "fix", "conflicts", True),
        ("delete_guard", "fix", "merge", True),
    ]
    assert [one.kind for one in blockers(facts, Action.REQUEST_MERGE)] == ["fix"] * 4 + ["wait"]
    assert "delete_guard" not in codes(facts, dataset_name_typed="Planes")
    refused = PlanCheck(
        pk=9, revision=REVISION, resolutions_digest="", problem="No.", problem_code="table_changed"
    )
    assert codes(asked(last_plan_check=refused)) == ["table_changed"]
    assert codes(asked(last_plan_check=None)) == ["not_checked"]
    assert codes(asked(revision=None)) == ["nothing_staged"]
    empty = Revision(pk=7, digest="content", rows=0, created_by=EDITOR)
    assert codes(asked(revision=empty)) == ["nothing_staged"]
    assert codes(asked(revision=empty, status=Status.DRAFT), Action.SUBMIT) == ["nothing_staged"]
    assert codes(asked(revision=None, status=Status.DRAFT), Action.REBASE) == ["nothing_staged"]


def test_a_merge_that_may_still_land_holds_everything() -> None:
    held = {action for action in PEOPLES if "outcome_unknown" in codes(asked(unsettled_version=5), action)}
    assert held == {
        Action.STAGE,
        Action.REBASE,
        Action.RETURN_TO_DRAFT,
        Action.CLOSE,
        Action.RESOLVE,
        Action.SPLIT,
    }
    running = asked(unsettled_version=5, latest_run=MergeRun(status=RunStatus.RUNNING))
    assert codes(running, Action.CLOSE) == ["run_active"]


def test_another_open_revert_stands_in_the_way_of_reopening() -> None:
    facts = asked(status=Status.CLOSED, other_revert=ChangeRequest(pk=12))
    [found] = blockers(facts, Action.REOPEN)
    assert (found.code, found.sentence) == ("revert_open", "CR-12 is a revert of the same request.")


def test_require_raises_who_before_what_before_gates() -> None:
    facts = asked(required_approvals=1)
    with pytest.raises(Forbidden):
        require(replace(facts, role=Role.VIEWER), Action.SUBMIT)
    with pytest.raises(InvalidTransition):
        require(facts, Action.SUBMIT)
    with pytest.raises(Blocked) as blocked:
        require(facts, Action.REQUEST_MERGE)
    assert [one.code for one in blocked.value.blockers] == ["approvals_missing"]
    overridden = require(facts, Action.REQUEST_MERGE, overriding={"approvals_missing"})
    assert [one.code for one in overridden] == ["approvals_missing"]
    nothing = asked(revision=None)
    with pytest.raises(Blocked):  # what cannot be overridden raises, whoever asks for it
        require(nothing, Action.REQUEST_MERGE, overriding={"nothing_staged"})


def test_what_falls_after_a_merge_was_asked_for() -> None:
    run = MergeRun(overridden_blockers=[{"code": "threads_open"}], large_delete_confirmed=False)
    facts = asked(required_approvals=1, threads_must_be_resolved=True, open_threads=2)
    assert [one.code for one in gates_fallen(facts, run)] == ["approvals_missing"]
    assert [one.code for one in gates_fallen(replace(facts, role=None), run)] == [
        "forbidden",
        "approvals_missing",
    ]
    deleting = gates_fallen(facts, run, rows_deleted=9, deleted_share=0.06)
    assert [one.code for one in deleting] == ["approvals_missing", "delete_guard"]
    run.large_delete_confirmed = True
    assert [one.code for one in gates_fallen(facts, run, rows_deleted=9, deleted_share=0.06)] == [
        "approvals_missing"
    ]
