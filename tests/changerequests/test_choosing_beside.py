"""Several people choose for the conflicts of one request: nobody's choice is lost without a word."""

import threading
from collections.abc import Callable
from datetime import datetime

import pytest
from django.contrib.auth.models import User
from django.db import connection

from changerequests.errors import ChosenMeanwhile, PlanChanged
from changerequests.models import ChangeRequest
from changerequests.services import conflicts, locks, plans
from changerequests.services.conflicts import Choosing
from datasets.models import Dataset
from datasets.roles import Role
from datasets.rows import ConflictFilter
from tests.factories import ChangeRequestFactory, DatasetFactory, merge, person_with, stage_csv

CSV = "tailnum,year,seats\nN1,1,1\nN2,2004,2\n"
FASTER = "tailnum,year,seats\nN1,10,10\nN2,2004,20\n"


@pytest.fixture
def dataset(db: None) -> Dataset:
    made: Dataset = DatasetFactory.create()
    return made


@pytest.fixture
def conflicting(dataset: Dataset) -> ChangeRequest:
    """A pending request with conflicts in the year and the seats of N1 and in the seats of N2."""
    change_request: ChangeRequest = ChangeRequestFactory.create(dataset=dataset, csv=CSV)
    merge(ChangeRequestFactory.create(dataset=dataset, csv=FASTER), person_with(Role.OWNER, dataset))
    return change_request


@pytest.fixture
def olivia(dataset: Dataset) -> User:
    return person_with(Role.OWNER, dataset, username="olivia", first_name="Olivia", last_name="Okafor")


@pytest.fixture
def carl(conflicting: ChangeRequest) -> User:
    author: User = conflicting.author
    return author


def page_of(change_request: ChangeRequest) -> plans.ConflictsPage:
    again = ChangeRequest.objects.select_related("dataset__meta", "dataset__project").get(
        pk=change_request.pk
    )
    return plans.conflicts_page(change_request=again, by_column=True)


def choosing(change_request: ChangeRequest, place: int, choice: str, **more: object) -> Choosing:
    """A choice for the conflict at a place of the page, as somebody made it who sees it now."""
    conflict = page_of(change_request).conflicts[place]
    seen = {"seen": plans.seen_choice(conflict), **more}
    return Choosing(conflict.key, conflict.column, choice, conflict.inputs_digest, **seen)  # type: ignore[arg-type]


def choose(change_request: ChangeRequest, actor: User, *choices: Choosing) -> int:
    return conflicts.resolve(change_request_id=change_request.pk, actor=actor, choices=choices)


def standing(change_request: ChangeRequest) -> list[tuple[str, str, str]]:
    found = change_request.resolutions.filter(is_current=True).select_related("chosen_by")
    return sorted((f"{one.key['tailnum']} {one.column}", one.choice, str(one.chosen_by)) for one in found)


def test_a_choice_that_was_not_seen_is_not_replaced(
    conflicting: ChangeRequest, olivia: User, carl: User
) -> None:
    mine = choosing(conflicting, 0, "proposed")
    choose(conflicting, olivia, choosing(conflicting, 0, "custom", value=7))

    with pytest.raises(
        ChosenMeanwhile, match=r"^Olivia Okafor chose 'custom' for year at tailnum = "
    ) as refused:
        choose(conflicting, carl, mine)

    [told] = refused.value.data["choices"]
    assert datetime.fromisoformat(told.pop("chosen_at"))
    assert told == {
        "key": {"tailnum": "N1"},
        "column": "year",
        "choice": "custom",
        "value": 7,
        "chosen_by": "olivia",
    }
    assert (refused.value.data["moved"], refused.value.data["total"]) == ("choices", 1)
    assert standing(conflicting) == [("N1 year", "custom", "olivia")]
    assert conflicting.resolutions.count() == 1


def test_of_several_choices_none_is_stored_where_one_was_not_seen(
    conflicting: ChangeRequest, olivia: User, carl: User
) -> None:
    mine = [choosing(conflicting, place, "proposed") for place in range(3)]
    choose(conflicting, olivia, choosing(conflicting, 1, "current"))
    with pytest.raises(ChosenMeanwhile):
        choose(conflicting, carl, *mine)
    assert standing(conflicting) == [("N1 seats", "current", "olivia")]


def test_a_choice_that_was_seen_is_replaced(conflicting: ChangeRequest, olivia: User, carl: User) -> None:
    choose(conflicting, olivia, choosing(conflicting, 0, "custom", value="12"))
    assert choose(conflicting, carl, choosing(conflicting, 0, "proposed")) == 2
    assert standing(conflicting) == [("N1 year", "proposed", str(carl))]


def test_who_does_not_say_what_they_saw_replaces_only_their_own(
    conflicting: ChangeRequest, olivia: User, carl: User
) -> None:
    choose(conflicting, olivia, choosing(conflicting, 0, "current", seen=None))
    with pytest.raises(ChosenMeanwhile):
        choose(conflicting, carl, choosing(conflicting, 0, "proposed", seen=None))
    choose(conflicting, olivia, choosing(conflicting, 0, "proposed", seen=None))
    assert standing(conflicting) == [("N1 year", "proposed", "olivia")]


def test_the_same_choice_sent_again_or_made_by_both_is_no_conflict(
    conflicting: ChangeRequest, olivia: User, carl: User
) -> None:
    unseen = choosing(conflicting, 0, "current")
    assert [choose(conflicting, olivia, unseen) for _ in range(2)] == [2, 2]
    assert choose(conflicting, carl, unseen) == 2


def test_a_choice_that_never_stood_is_not_taken_for_seen(conflicting: ChangeRequest, carl: User) -> None:
    with pytest.raises(PlanChanged):
        choose(conflicting, carl, choosing(conflicting, 0, "current", seen="of another page"))
    assert standing(conflicting) == []


def for_the_same(change_request: ChangeRequest, actor: User) -> None:
    choose(change_request, actor, choosing(change_request, 0, "current"))


def for_another(change_request: ChangeRequest, actor: User) -> None:
    choose(change_request, actor, choosing(change_request, 2, "current"))


@pytest.mark.parametrize(
    ("meanwhile", "stands"),
    [
        (for_the_same, []),  # made in the transaction that is undone, for this test has one connection
        (for_another, [("N1 year", "proposed", "carl"), ("N2 seats", "current", "olivia")]),
    ],
)
@pytest.mark.parametrize("whole_column", [False, True], ids=["one", "column"])
def test_the_second_look_under_the_lock(
    conflicting: ChangeRequest,
    olivia: User,
    carl: User,
    meanwhile: Callable[[ChangeRequest, User], None],
    stands: list[tuple[str, str, str]],
    whole_column: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What others choose between the plan and the lock: only the same conflict stands in the way."""
    User.objects.filter(pk=carl.pk).update(username="carl")
    mine, lock = choosing(conflicting, 0, "proposed"), locks.lock_change_request
    seen = page_of(conflicting).selections["year"]

    def late(pk: int) -> ChangeRequest:
        monkeypatch.setattr(conflicts, "lock_change_request", lock)
        meanwhile(conflicting, olivia)
        return lock(pk)

    def attempt() -> int:
        if not whole_column:
            return choose(conflicting, carl, mine)
        return conflicts.resolve_matching(
            change_request_id=conflicting.pk,
            actor=carl,
            wanted=ConflictFilter(column="year"),
            choice="proposed",
            seen=seen,
        ).unresolved

    monkeypatch.setattr(conflicts, "lock_change_request", late)
    if meanwhile is for_the_same:
        with pytest.raises(ChosenMeanwhile, match="Olivia Okafor chose 'current' for year"):
            attempt()
    else:
        assert attempt() == 1
    assert standing(conflicting) == stands


# --- A whole column ------------------------------------------------------------------------------------------


def column_of(change_request: ChangeRequest, actor: User, seen: str | None) -> int:
    return conflicts.resolve_matching(
        change_request_id=change_request.pk,
        actor=actor,
        wanted=ConflictFilter(column="seats"),
        choice="proposed",
        seen=seen,
    ).unresolved


def test_a_choice_for_a_column_is_refused_whole_with_what_differs(
    conflicting: ChangeRequest, olivia: User, carl: User
) -> None:
    choose(conflicting, olivia, choosing(conflicting, 0, "current"))
    seen = page_of(conflicting).selections["seats"]
    choose(conflicting, olivia, choosing(conflicting, 2, "current"))

    with pytest.raises(ChosenMeanwhile) as refused:
        column_of(conflicting, carl, seen)

    told = [(one["key"], one["column"], one["chosen_by"]) for one in refused.value.data["choices"]]
    assert told == [({"tailnum": "N2"}, "seats", "olivia")]
    assert [place for place, _, _ in standing(conflicting)] == ["N1 year", "N2 seats"]
    assert column_of(conflicting, carl, None) == 0  # what is open, and nothing that olivia chose
    assert standing(conflicting)[0] == ("N1 seats", "proposed", str(carl))
    assert standing(conflicting)[2] == ("N2 seats", "current", "olivia")


def other_rows(change_request: ChangeRequest) -> None:
    stage_csv(change_request, "tailnum,year,seats\nN1,1,1\nN2,2004,3\n")


def another_merge(change_request: ChangeRequest) -> None:
    other = ChangeRequestFactory.create(dataset=change_request.dataset, csv="tailnum,seats\nN2,21\n")
    merge(other, person_with(Role.OWNER, change_request.dataset))


@pytest.mark.parametrize("moves", [other_rows, another_merge])
def test_a_choice_for_a_column_settles_no_conflict_that_was_not_seen(
    conflicting: ChangeRequest, carl: User, moves: Callable[[ChangeRequest], None]
) -> None:
    seen = page_of(conflicting).selections["seats"]
    moves(conflicting)
    with pytest.raises(PlanChanged, match="are others than those that you looked at") as refused:
        column_of(conflicting, carl, seen)
    assert refused.value.data == {"moved": "table"}
    assert standing(conflicting) == []


# --- At the same moment --------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_of_two_at_the_same_moment_one_is_stored_and_the_other_told(dataset: Dataset) -> None:
    change_request = ChangeRequestFactory.create(dataset=dataset, csv=CSV)
    merge(ChangeRequestFactory.create(dataset=dataset, csv=FASTER), person_with(Role.OWNER, dataset))
    people = [person_with(Role.OWNER, dataset, username=name) for name in ("ann", "bea")]
    choices = dict(zip(people, ("current", "proposed"), strict=True))
    wanted = {one: choosing(change_request, 0, choice) for one, choice in choices.items()}
    together, told = threading.Barrier(2, timeout=20), {}

    def choose_as(actor: User) -> None:
        try:
            together.wait()
            choose(change_request, actor, wanted[actor])
            told[str(actor)] = "stored"
        except ChosenMeanwhile as refused:
            told[str(actor)] = refused.data["choices"][0]["chosen_by"]
        finally:
            connection.close()

    threads = [threading.Thread(target=choose_as, args=(one,)) for one in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)

    [first] = [name for name, what in told.items() if what == "stored"]
    assert told == {name: "stored" if name == first else first for name in ("ann", "bea")}
    [(_, choice, chosen_by)] = standing(change_request)
    assert (choice, chosen_by) == (choices[User.objects.get(username=first)], first)
