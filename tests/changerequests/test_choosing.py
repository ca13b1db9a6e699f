"""Choosing values for conflicts: a fixed number of statements, planned before the lock, looked at again under it."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

import merging
from audit.selectors import events_of
from changerequests.errors import PlanChanged
from changerequests.models import ChangeRequest, ConflictResolution
from changerequests.services import conflicts, locks, plans
from changerequests.services.choices import digest_of
from datasets.roles import Role
from datasets.rows import ConflictFilter
from merging.threeway import kept_conflicts
from merging.threeway import plan as plans_of_engine
from tests.factories import ChangeRequestFactory, DatasetFactory, merge, person_with, stage_csv

pytestmark = pytest.mark.django_db

Choice = ConflictResolution.Choice

#: Of one call: the request and its gates (twice, for the second look), the content, the choices for its conflicts
#: (twice), those that stand for the same conflicts, the new ones in three, their digest in two, the event in the
#: audit chain.
STATEMENTS = 29


def conflicting(rows: int) -> ChangeRequest:
    """A pending request with a conflict in the seats of each of so many rows; its author owns the dataset."""
    names = [f"N{number:05}" for number in range(rows)]
    data = pa.table({"tailnum": names, "seats": pa.array(range(rows), pa.int64())})
    dataset = DatasetFactory.create(data=data)
    owner = person_with(Role.OWNER, dataset)
    ours, theirs = ("tailnum,seats\n" + "".join(f"{name},{value}\n" for name in names) for value in (-1, -2))
    change_request = ChangeRequestFactory.create(dataset=dataset, author=owner, csv=ours)
    merge(ChangeRequestFactory.create(dataset=dataset, csv=theirs), owner)
    return change_request


def fresh(change_request: ChangeRequest) -> ChangeRequest:
    return ChangeRequest.objects.select_related("dataset__meta", "dataset__project").get(pk=change_request.pk)


def choices_for(change_request: ChangeRequest, choice: str) -> list[conflicts.Choosing]:
    page = plans.conflicts_page(change_request=fresh(change_request), limit=2_000)
    return [
        conflicts.Choosing(one.key, one.column, choice, one.inputs_digest, value=7) for one in page.conflicts
    ]


def choose(change_request: ChangeRequest, choices: list[conflicts.Choosing]) -> int:
    return conflicts.resolve(
        change_request_id=change_request.pk, actor=change_request.author, choices=choices
    )


def standing(change_request: ChangeRequest) -> list[tuple[str, str]]:
    return sorted(change_request.resolutions.filter(is_current=True).values_list("key__tailnum", "choice"))


def statements(change_request: ChangeRequest, choice: str) -> list[str]:
    choices = choices_for(change_request, choice)
    assert change_request.author.pk  # it is loaded
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert choose(change_request, choices) == 0
    return [one["sql"] for one in captured.captured_queries]


def written(found: list[str]) -> list[str]:
    return [sql.split('"')[1] for sql in found if sql.startswith(("INSERT", "UPDATE", "DELETE"))]


@pytest.mark.sample(1)
@pytest.mark.parametrize("choice", [Choice.PROPOSED, Choice.CUSTOM])
def test_a_thousand_choices_take_the_statements_of_one(choice: str) -> None:
    one, thousand = conflicting(1), conflicting(1_000)
    first, many = statements(one, choice), statements(thousand, choice)
    again = statements(thousand, Choice.CURRENT)  # others stand already

    assert (len(first), len(many), len(again)) == (STATEMENTS, STATEMENTS, STATEMENTS)
    table, request = "changerequests_conflictresolution", "changerequests_changerequest"
    assert written(first)[:4] == written(many)[:4] == [table, table, table, request]
    assert len(standing(thousand)) == 1_000
    assert {chosen for _, chosen in standing(thousand)} == {"current"}
    assert thousand.resolutions.count() == 2_000
    assert fresh(thousand).resolutions_digest == digest_of(thousand.resolutions.filter(is_current=True))


def test_a_whole_column_takes_as_many() -> None:
    counts = []
    for rows in (1, 300):
        change_request = conflicting(rows)
        assert change_request.author.pk  # it is loaded
        with CaptureQueriesContext(connection) as captured:
            left = conflicts.resolve_matching(
                change_request_id=change_request.pk,
                actor=change_request.author,
                wanted=ConflictFilter(column="seats"),
                choice="proposed",
            )
        assert (left.chosen, left.unresolved, len(standing(change_request))) == (rows, 0, rows)
        counts.append(len(captured))
    # The plan is made for it: one asks what looks for rows in the table.
    assert counts == [STATEMENTS + 1, STATEMENTS + 1]


def test_one_plan_is_made_for_a_version_of_the_table_and_before_the_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    change_request = conflicting(2)
    depth = len(connection.savepoint_ids)
    made: list[int] = []
    plan = plans_of_engine.plan_on

    def planned(*asked: Any) -> merging.MergePlan:
        made.append(len(connection.savepoint_ids) - depth)
        return plan(*asked)

    monkeypatch.setattr(kept_conflicts, "plan_on", planned)
    choices = choices_for(change_request, Choice.CUSTOM)
    assert choose(change_request, choices) == 0
    assert choose(change_request, choices_for(change_request, Choice.CURRENT)) == 0
    assert made == [0]
    other_merge(change_request)
    assert len(choices_for(change_request, Choice.CURRENT)) == 2
    assert made == [0, 0]


def other_content(change_request: ChangeRequest) -> None:
    stage_csv(change_request, "tailnum,seats\nN00000,-3\n")


def other_choice(change_request: ChangeRequest) -> None:
    choose(change_request, choices_for(change_request, Choice.CURRENT)[:1])


def other_merge(change_request: ChangeRequest) -> None:
    other = ChangeRequestFactory.create(dataset=change_request.dataset, csv="tailnum,seats\nN00001,5\n")
    merge(other, change_request.author)


@pytest.mark.parametrize(
    ("moves", "moved"), [(other_content, "revision"), (other_choice, "choices"), (other_merge, "table")]
)
def test_what_moves_between_the_plan_and_the_lock_is_noticed_under_it(
    moves: Callable[[ChangeRequest], None], moved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_request = conflicting(2)
    choices = choices_for(change_request, Choice.PROPOSED)
    lock = locks.lock_change_request

    def late(pk: int) -> ChangeRequest:
        monkeypatch.setattr(conflicts, "lock_change_request", lock)
        moves(change_request)
        return lock(pk)

    monkeypatch.setattr(conflicts, "lock_change_request", late)
    with pytest.raises(PlanChanged, match="while you chose") as refused:
        choose(change_request, choices)
    assert refused.value.data["moved"] == moved
    assert not change_request.resolutions.filter(choice=Choice.PROPOSED).exists()


def test_of_two_choices_for_one_conflict_the_last_counts() -> None:
    change_request = conflicting(2)
    [one, two] = choices_for(change_request, Choice.PROPOSED)
    [kept, _] = choices_for(change_request, Choice.CURRENT)
    assert choose(change_request, [one, two, kept]) == 0
    assert standing(change_request) == [("N00000", "current"), ("N00001", "proposed")]
    event = events_of("change_request", change_request.cr_id).get(action="conflicts.resolved")
    assert event.data == {"choices": {"current": 1, "proposed": 1}, "columns": ["seats"], "unresolved": 0}
