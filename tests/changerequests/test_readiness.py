"""Where a request stands, in one word: of one request from its facts, of a list in SQL, and both say the same."""

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import DjangoAssertNumQueries

from changerequests.facts import facts_listed, facts_of_many
from changerequests.models import (
    ChangeRequest,
    Comment,
    ConflictResolution,
    ExpectationCheck,
    ExpectationOverride,
    MergeRun,
    PlanCheck,
    Review,
    Revision,
)
from changerequests.policies import readiness
from changerequests.services.readiness import having_readiness
from changerequests.states import Readiness, RunPhase, RunStatus, Status
from datasets.models import Dataset, DatasetMeta, SuiteVersion
from datasets.roles import Role
from tests.factories import DatasetFactory, UserFactory, expect_of, expectation, person_with

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 5, 17, tzinfo=UTC)
#: Requests that are thrown together at random.
MANY = 240


class Thrower:
    """Makes rows of requests in every combination, past all services: what is compared is how they are read."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311  (no secret)
        self.datasets = [self.dataset(number) for number in range(4)]
        self.people: dict[int, list[User]] = {
            one.pk: [
                person_with(Role.OWNER, one.project),
                person_with(Role.CONTRIBUTOR, one),
                person_with(Role.CONTRIBUTOR, one, is_active=False),
                person_with(Role.VIEWER, one),
                UserFactory.create(is_superuser=True),
            ]
            for one in self.datasets
        }

    def sometimes(self, share: float) -> bool:
        return self.random.random() < share

    def dataset(self, number: int) -> Dataset:
        made: Dataset = DatasetFactory.create(
            required_approvals=number % 3, threads_must_be_resolved=number % 2 == 0
        )
        if number == 1:
            expect_of(made, expectation("column_values_to_not_be_null", column="tailnum"))
        if number == 3:
            DatasetMeta.objects.filter(dataset=made).update(problem="The table is gone.")
        made.refresh_from_db()
        return made

    def request(self) -> ChangeRequest:
        dataset = self.random.choice(self.datasets[:3] * 3 + self.datasets[3:])
        people = self.people[dataset.pk]
        made = ChangeRequest.objects.create(
            dataset=dataset,
            title="Thrown",
            author=people[1],
            status=self.random.choice([Status.PENDING] * 8 + [Status.DRAFT, Status.MERGING, Status.CLOSED]),
            resolutions_digest=self.random.choice(["", "", "chosen"]),
        )
        if self.sometimes(0.05):
            return made
        revisions = [self.revision(made, number, people) for number in range(1, self.random.choice([2, 3]))]
        Revision.objects.filter(pk=revisions[-1].pk).update(is_current=True)
        self.check(made, revisions)
        for _ in range(self.random.choice([0, 1, 1, 2, 3])):
            self.review(made, revisions, people)
        if self.sometimes(0.15):
            self.run(made, revisions[-1], people)
        if self.sometimes(0.2):
            thread = Comment.objects.create(change_request=made, author=people[0], body="Why?")
            Comment.objects.create(change_request=made, author=people[0], body="So.", parent=thread)
            if self.sometimes(0.5):
                Comment.objects.filter(pk=thread.pk).update(resolved_at=NOW, resolved_by=people[0])
        if self.sometimes(0.15):
            ConflictResolution.objects.create(
                change_request=made,
                key={},
                key_digest="k",
                choice="base",
                inputs_digest="i",
                chosen_by=self.random.choice(people),
                is_current=self.sometimes(0.5),
            )
        if dataset.suite_number:
            self.expectations(made, revisions)
        return made

    def revision(self, made: ChangeRequest, number: int, people: list[User]) -> Revision:
        counts = dict.fromkeys(("rows_inserted", "rows_updated", "rows_deleted", "noop_rows"), 0)
        return Revision.objects.create(
            change_request=made,
            number=number,
            is_current=False,
            digest=self.random.choice("ab"),
            base_version=0,
            rows=0 if self.sometimes(0.05) else 3,
            columns=[],
            created_by=self.random.choice(people[:2]),
            **counts,
        )

    def check(self, made: ChangeRequest, revisions: list[Revision]) -> None:
        if self.sometimes(0.1):
            return
        PlanCheck.objects.create(
            change_request=made,
            revision=self.random.choice([*revisions, revisions[-1], revisions[-1]]),
            resolutions_digest=made.resolutions_digest if self.sometimes(0.9) else "other",
            table_version=0,
            unresolved=self.random.choice([0, 0, 0, 2]),
            deleted_share=self.random.choice([0, 0, 0.05, 0.0500001]),
            problem=self.random.choice([""] * 9 + ["It does not fit."]),
            problem_code="invalid",
            checked_at=NOW,
        )

    def review(self, made: ChangeRequest, revisions: list[Revision], people: list[User]) -> None:
        revision = self.random.choice(revisions)
        Review.objects.create(
            change_request=made,
            revision=revision,
            reviewer=self.random.choice(people),
            verdict=self.random.choice(["approve"] * 4 + ["request_changes", "comment"]),
            revision_digest=revision.digest,
            resolutions_digest=made.resolutions_digest if self.sometimes(0.9) else "other",
        )

    def run(self, made: ChangeRequest, revision: Revision, people: list[User]) -> None:
        running = MergeRun.objects.filter(dataset=made.dataset, status=RunStatus.RUNNING).exists()
        status = self.random.choice(
            [RunStatus.QUEUED, RunStatus.FAILED, RunStatus.QUEUED if running else RunStatus.RUNNING]
        )
        MergeRun.objects.create(
            change_request=made,
            dataset=made.dataset,
            revision=revision,
            revision_digest=revision.digest,
            status=status,
            phase=RunPhase.QUEUED,
            requested_by=people[0],
        )

    def expectations(self, made: ChangeRequest, revisions: list[Revision]) -> None:
        suite = SuiteVersion.objects.get(dataset=made.dataset)
        facts: dict[str, Any] = {
            "change_request": made,
            "suite_version": suite,
            "resolutions_digest": made.resolutions_digest,
        }
        for revision in revisions:
            failing = [{"number": 0, "message": "No.", "state": "failed"}] if self.sometimes(0.6) else []
            ExpectationCheck.objects.create(
                **facts,
                revision=revision,
                block_pre_existing=self.sometimes(0.1),
                table_version=0,
                failing=failing,
                counts=self.sometimes(0.9),
                report={},
                checked_at=NOW,
            )
        if self.sometimes(0.4):
            ExpectationOverride.objects.create(
                **facts,
                revision_digest=revisions[-1].digest,
                expectations=[{"number": self.random.choice([0, 1]), "message": "No."}],
                reason="They are right.",
                given_by=self.people[made.dataset_id][0],
            )


@pytest.mark.parametrize("seed", [1, 2])
def test_a_list_says_of_each_what_its_gates_say(
    seed: int, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    thrower = Thrower(seed)
    for _ in range(MANY):
        thrower.request()
    everything = ChangeRequest.objects.select_related("dataset__project", "dataset__meta").order_by("pk")
    expected: dict[Readiness | None, list[int]] = {}
    for facts in facts_of_many(everything):
        expected.setdefault(readiness(facts), []).append(facts.change_request.pk)
    assert expected.keys() == {None, *Readiness}, "each of them is there"

    for word in Readiness:
        with django_assert_max_num_queries(12):  # whatever their number
            found = list(having_readiness(everything, [word]).values_list("pk", flat=True))
        assert found == expected[word], word
    together = having_readiness(everything, [Readiness.READY, Readiness.NEEDS_REVIEW])
    wanted = expected[Readiness.READY] + expected[Readiness.NEEDS_REVIEW]
    assert [one.pk for one in together] == sorted(wanted)


def test_a_list_without_requests_has_none_of_them() -> None:
    assert list(having_readiness(ChangeRequest.objects.all(), list(Readiness))) == []
    assert facts_listed([], UserFactory.create()) == []
