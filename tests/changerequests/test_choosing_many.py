"""One choice for all conflicts that a filter finds, taking it back, and looking at a file of choices before storing
it.
"""

from typing import Any

import pytest
from django.contrib.auth.models import User

from audit.selectors import events_of
from changerequests.errors import ChosenMeanwhile
from changerequests.models import ChangeRequest
from changerequests.services import conflicts, locks, plans
from changerequests.services.choices import digest_of
from changerequests.services.conflicts import Choosing
from changerequests.services.origins import origins_of
from changerequests.services.vouched import bent_rows
from datasets.errors import InvalidInput
from datasets.models import Dataset
from datasets.roles import Role
from datasets.rows import ConflictFilter, Held
from tests.factories import ChangeRequestFactory, DatasetFactory, merge, person_with

pytestmark = pytest.mark.django_db


@pytest.fixture
def conflicting(db: None) -> ChangeRequest:
    """A pending request with conflicts in the year and the seats of N1 and in the seats of N2."""
    dataset: Dataset = DatasetFactory.create()
    made: ChangeRequest = ChangeRequestFactory.create(
        dataset=dataset, csv="tailnum,year,seats\nN1,1,1\nN2,2004,2\n"
    )
    owner = person_with(Role.OWNER, dataset)
    merge(
        ChangeRequestFactory.create(dataset=dataset, csv="tailnum,year,seats\nN1,10,10\nN2,2004,20\n"), owner
    )
    return made


def fresh(change_request: ChangeRequest) -> ChangeRequest:
    return ChangeRequest.objects.select_related("dataset__meta", "dataset__project").get(pk=change_request.pk)


def many(change_request: ChangeRequest, choice: str, actor: User | None = None, **wanted: Any) -> Any:
    return conflicts.resolve_matching(
        change_request_id=change_request.pk,
        actor=actor or change_request.author,
        wanted=ConflictFilter(**wanted),
        choice=choice,
    )


def one(change_request: ChangeRequest, place: int, choice: str, actor: User) -> int:
    conflict = plans.conflicts_page(change_request=fresh(change_request)).conflicts[place]
    made = Choosing(
        conflict.key, conflict.column, choice, conflict.inputs_digest, seen=plans.seen_choice(conflict)
    )
    return conflicts.resolve(change_request_id=change_request.pk, actor=actor, choices=[made])


def undo(change_request: ChangeRequest, name: str, actor: User | None = None) -> conflicts.Undone:
    return conflicts.undo(
        change_request_id=change_request.pk, actor=actor or change_request.author, name=name
    )


def standing(change_request: ChangeRequest) -> list[tuple[str, str]]:
    found = change_request.resolutions.filter(is_current=True)
    return sorted((f"{each.key['tailnum']} {each.column}", each.choice) for each in found)


def test_a_filter_chooses_for_what_it_finds(conflicting: ChangeRequest) -> None:
    done = many(conflicting, "current", column="seats", current=Held(20))
    assert (done.chosen, done.unresolved) == (1, 2)
    assert standing(conflicting) == [("N2 seats", "current")]
    done = many(conflicting, "proposed", kind="modify/modify")
    assert (done.chosen, done.unresolved) == (2, 0)
    with pytest.raises(InvalidInput, match="No open conflict offers the choice 'proposed'"):
        many(conflicting, "proposed")


def test_undo_restores_exactly_what_stood_before(conflicting: ChangeRequest) -> None:
    one(conflicting, 0, "base", conflicting.author)
    before = list(conflicting.resolutions.filter(is_current=True).values())
    digest = fresh(conflicting).resolutions_digest
    done = many(conflicting, "proposed")

    undone = undo(conflicting, done.undo)

    assert undone == conflicts.Undone(restored=2, kept=0, unresolved=2)
    assert list(conflicting.resolutions.filter(is_current=True).values()) == before
    assert (
        fresh(conflicting).resolutions_digest
        == digest
        == digest_of(conflicting.resolutions.filter(is_current=True))
    )
    event = events_of("change_request", conflicting.cr_id).get(action="conflicts.undone")
    assert event.data == {"restored": 2, "kept": 0, "unresolved": 2}
    with pytest.raises(InvalidInput, match="nothing left to undo"):
        undo(conflicting, done.undo)
    assert list(bent_rows()) == []


def test_undo_lets_an_earlier_choice_stand_again_and_leaves_what_was_chosen_since(
    conflicting: ChangeRequest,
) -> None:
    first = many(conflicting, "current", column="seats")
    second = conflicts.resolve_by_file(
        change_request_id=conflicting.pk,
        actor=conflicting.author,
        file_format="csv",
        content=filed(conflicting, "proposed"),
    )
    assert second == 0
    other = person_with(Role.OWNER, conflicting.dataset)
    one(conflicting, 2, "base", other)  # N2 seats
    made = conflicting.resolutions.filter(choice="proposed").order_by("pk")
    name = f"{made.first().pk}-{made.last().pk}"  # type: ignore[union-attr]

    undone = undo(conflicting, name)

    assert undone == conflicts.Undone(restored=2, kept=1, unresolved=1)
    assert standing(conflicting) == [("N1 seats", "current"), ("N2 seats", "base")]
    assert undo(conflicting, first.undo).restored == 1
    assert standing(conflicting) == [("N2 seats", "base")]


def test_nobody_undoes_what_another_chose(conflicting: ChangeRequest) -> None:
    done = many(conflicting, "current")
    other = person_with(Role.OWNER, conflicting.dataset)
    for name in (done.undo, "", "1", "-", "1-x", "9" * 40, "1-" + "9" * 19):
        with pytest.raises(InvalidInput):
            undo(conflicting, name, other)
    assert len(standing(conflicting)) == 3


def test_a_choice_between_the_look_and_the_lock_stops_a_choice_for_many(
    conflicting: ChangeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, lock = person_with(Role.OWNER, conflicting.dataset), locks.lock_change_request

    def late(pk: int) -> ChangeRequest:
        monkeypatch.setattr(conflicts, "lock_change_request", lock)
        one(conflicting, 1, "base", other)
        return lock(pk)

    monkeypatch.setattr(conflicts, "lock_change_request", late)
    with pytest.raises(ChosenMeanwhile):
        many(conflicting, "proposed")
    assert not conflicting.resolutions.filter(choice="proposed").exists()


def test_an_undo_looks_under_the_lock_what_was_chosen_since(
    conflicting: ChangeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, lock = many(conflicting, "proposed"), locks.lock_change_request
    other = person_with(Role.OWNER, conflicting.dataset)

    def late(pk: int) -> ChangeRequest:
        monkeypatch.setattr(conflicts, "lock_change_request", lock)
        one(conflicting, 1, "base", other)
        return lock(pk)

    monkeypatch.setattr(conflicts, "lock_change_request", late)
    assert undo(conflicting, done.undo) == conflicts.Undone(restored=2, kept=1, unresolved=2)
    assert standing(conflicting) == [("N1 seats", "base")]


def filed(change_request: ChangeRequest, choice: str, **changes: str) -> bytes:
    found = plans.conflicts_page(change_request=fresh(change_request)).conflicts
    rows = [
        ",".join(
            [each.key["tailnum"], each.column or "", choice, each.inputs_digest, plans.seen_choice(each)]
        )
        for each in found
    ]
    return "\n".join(["tailnum,column,choice,inputs_digest,seen", *rows, *changes.values()]).encode()


def test_a_file_is_looked_at_and_stores_nothing(conflicting: ChangeRequest) -> None:
    one(conflicting, 0, "base", conflicting.author)
    file = {"change_request_id": conflicting.pk, "actor": conflicting.author, "file_format": "csv"}

    looked = conflicts.look_at_file(**file, content=filed(conflicting, "base", wrong="N1,seats,keep,,"))  # type: ignore[arg-type]

    assert [
        (each.line, each.conflict.column, each.choice, each.changes_nothing) for each in looked.choices
    ] == [
        (2, "year", "base", True),
        (3, "seats", "base", False),
        (4, "seats", "base", False),
    ]
    assert [(each.line, each.code) for each in looked.problems] == [(5, "plan_changed")]
    assert standing(conflicting) == [("N1 year", "base")]
    broken = conflicts.look_at_file(**file, content=b"tailnum\nN1\n")  # type: ignore[arg-type]
    assert (broken.choices, broken.problem_total) == ((), 1)


def test_a_file_is_kept_by_its_content_until_it_is_stored(conflicting: ChangeRequest) -> None:
    asked: dict[str, Any] = {"change_request_id": conflicting.pk, "actor": conflicting.author}
    name = conflicts.keep_file(**asked, content=b"choices")
    assert conflicts.kept_file(**asked, name=name) == b"choices"
    for other in ("../../x", "0" * 64, name.upper(), ""):
        with pytest.raises(InvalidInput, match="not kept any more"):
            conflicts.kept_file(**asked, name=other)


def test_current_is_told_with_the_merge_or_the_commit_that_made_it(conflicting: ChangeRequest) -> None:
    page = plans.conflicts_page(change_request=fresh(conflicting))
    merged = ChangeRequest.objects.get(merged_version__isnull=False)
    found = origins_of(fresh(conflicting), page.conflicts, page.table_version)
    assert {(each.version, each.change_request, each.who) for each in found.values()} == {
        (merged.merged_version, merged, str(merged.merged_by))
    }
    assert len(found) == 3
