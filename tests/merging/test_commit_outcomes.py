"""What became of a commit is told by the class of the error: refused, unknown, or standing and not as planned."""

from __future__ import annotations

from typing import Any

import pytest

import merging
from merging import CommitRefused, CommitUnknown, MergeDiffers, MergeExecutor
from merging.executing import executor
from merging.store.stores import TableStore
from tests.merging.stores import lose_added_files
from tests.merging.world import B, World, replaced, with_rows

pytestmark = pytest.mark.any_store

CHANGE = [{"id": 1, "a": 11}, {"id": 9, "a": 9}]


@pytest.fixture
def lossy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that puts a commit without the last of its added files."""
    lose_added_files(monkeypatch, type(world.store))


def stop(phase: str, **facts: Any) -> None:
    """Die once the commit stands."""
    if phase == "recording":
        raise InterruptedError("the worker died")


@pytest.mark.usefixtures("lossy")
def test_a_commit_that_is_not_what_was_planned_is_told_with_its_result(world: World) -> None:
    staged = world.stage(CHANGE)
    seen: list[str] = []
    with pytest.raises(
        MergeDiffers, match=r"Version 1 of .* is committed, but its active files are not"
    ) as caught:
        world.merge(staged, progress=lambda phase, **facts: seen.append(phase))
    result = caught.value.result
    assert (caught.value.code, caught.value.version, world.version) == ("commit_differs", 1, 1)
    assert (result.merged_version, result.rows_affected, result.already_merged) == (1, 2, False)
    assert seen == ["checking", "validating", "writing", "committing", "recording"]
    assert caught.value.data == {"version": 1, "table_uri": world.uri}


@pytest.mark.usefixtures("lossy")
def test_whoever_takes_up_a_merge_that_was_cut_short_verifies_it(world: World) -> None:
    request = world.request(world.stage(CHANGE))
    with pytest.raises(InterruptedError):
        merging.merge(request, stop)
    with pytest.raises(MergeDiffers, match="rows where 4 were expected") as caught:
        merging.merge(replaced(request, attempt_id="another"))
    result = caught.value.result
    assert (result.merged_version, result.rows_affected, result.already_merged) == (1, 2, True)
    assert (result.attempt_id, world.version) == (request.attempt_id, 1)


@pytest.mark.usefixtures("lossy")
def test_a_commit_whose_answer_was_lost_is_verified(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def commit_and_fail(*arguments: Any, **named: Any) -> Any:
        merging.delta.commit(*arguments, **named)
        raise TimeoutError("no answer")

    monkeypatch.setattr(executor, "commit", commit_and_fail)
    with pytest.raises(MergeDiffers) as caught:
        world.merge(world.stage(CHANGE))
    assert (caught.value.version, caught.value.result.already_merged) == (1, False)


@pytest.mark.usefixtures("lossy")
def test_the_loser_of_two_workers_verifies_the_winners_commit(world: World) -> None:
    one, two = (world.request(staged) for staged in [world.stage(CHANGE)] * 2)

    def other(phase: str, **facts: Any) -> None:
        if phase == "committing":
            with pytest.raises(MergeDiffers):
                merging.merge(two)

    with pytest.raises(MergeDiffers) as caught:
        merging.merge(one, other)
    assert (caught.value.version, caught.value.result.attempt_id, world.version) == (1, two.attempt_id, 1)


def test_a_merge_that_is_as_planned_says_so_twice(world: World) -> None:
    request = world.request(world.stage(CHANGE))
    first = merging.merge(request)
    world.set_current(with_rows(B, {"id": 1, "a": 77}))
    again = merging.merge(request)
    assert (first.merged_version, again.merged_version, again.already_merged) == (1, 1, True)


def fail_commits(world: World, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no commit lands in stores of the world's kind."""
    kind = type(world.store)
    put_new = kind.put_new

    def put(self: TableStore, path: str, data: bytes) -> None:
        if path.startswith("_delta_log/"):
            raise error
        put_new(self, path, data)

    monkeypatch.setattr(kind, "put_new", put)


def test_a_store_that_never_answers_leaves_it_unknown(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    staged = world.stage(CHANGE)
    told: list[str] = []
    fail_commits(world, TimeoutError("no answer"), monkeypatch)
    with pytest.raises(CommitUnknown, match="no answer") as caught:
        MergeExecutor(
            world.request(staged), lambda phase, **_: told.append(phase), sleep=lambda _: None
        ).run()
    assert (caught.value.retriable, caught.value.data, caught.value.code) == (
        True,
        {"attempt": 3},
        "merge_failed",
    )
    assert (told.count("committing"), told.count("uncommitted")) == (3, 0)
    assert (world.version, world.rows()) == (0, B)


def test_a_full_store_refuses_for_certain(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    staged = world.stage(CHANGE)
    told: list[str] = []
    fail_commits(world, OSError(28, "No space left on device"), monkeypatch)
    with pytest.raises(CommitRefused, match="No space left") as caught:
        MergeExecutor(world.request(staged), lambda phase, **_: told.append(phase)).run()
    assert (caught.value.retriable, told.count("committing"), told.count("uncommitted")) == (False, 1, 1)
    assert (world.version, world.rows()) == (0, B)


def test_what_is_taken_back_is_the_version_that_was_announced(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.set_current(with_rows(B, {"id": 2, "a": 22}))
    told: list[tuple[str, int]] = []

    def note(phase: str, **facts: Any) -> None:
        if phase in ("committing", "uncommitted"):
            told.append((phase, facts["version"]))

    fail_commits(world, OSError(28, "No space left on device"), monkeypatch)
    with pytest.raises(CommitRefused):
        MergeExecutor(world.request(world.stage(CHANGE)), note).run()
    assert told == [("committing", 2), ("uncommitted", 2)]


def test_a_mistake_of_ours_is_not_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise TypeError("not a string")

    staged = world.stage(CHANGE)
    told: list[str] = []
    monkeypatch.setattr(executor, "commit", broken)
    with pytest.raises(CommitRefused, match="not a string") as caught:
        MergeExecutor(world.request(staged), lambda phase, **_: told.append(phase)).run()
    assert (caught.value.retriable, told.count("committing"), told.count("uncommitted")) == (False, 1, 1)
    assert (world.version, world.rows()) == (0, B)
