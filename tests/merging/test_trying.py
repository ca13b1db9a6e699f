"""Trying a store: each thing that tables need, told by itself; nothing is left but where nothing may be removed."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore.store
import pytest

from merging.errors import TableUnreachable
from merging.store import trying
from merging.store.client import ObjectClient, StoredObject
from merging.store.stores import PROBE, ObjectStore
from merging.store.trying import StoreNeed, try_place

REFUSED = TableUnreachable("memory://lake", "Its store refuses access (403 AccessDenied).", retriable=False)


class Denying(ObjectStore):
    """A store that removes nothing."""

    def delete(self, paths: Any) -> None:
        raise REFUSED


class Overwriting(ObjectStore):
    """A store that ignores put-if-absent."""

    def put_new(self, path: str, data: bytes) -> None:
        self.client.put(path, data)


class Sleeping(ObjectStore):
    """A store that answers no listing."""

    def walk(self) -> Iterator[StoredObject]:
        time.sleep(1)
        yield from ()


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the next store that is opened one of a kind."""

    def kind(store: type[ObjectStore]) -> ObjectStore:
        made = store(ObjectClient(obstore.store.MemoryStore(), "memory://lake"))
        monkeypatch.setattr(trying, "open_store", lambda *_: made)
        return made

    return kind


def outcomes(seconds: float = 10) -> dict[str, bool | None]:
    return {one.attempt: one.works for one in try_place("memory://lake", seconds=seconds)}


def test_a_good_store_does_all_and_keeps_nothing(place: Any) -> None:
    store = place(ObjectStore)
    assert outcomes() == dict.fromkeys(StoreNeed, True)
    assert list(store.walk()) == []


def test_fo5_where_nothing_may_be_removed_one_probe_stays_and_serves_again(place: Any) -> None:
    store = place(Denying)
    for _ in range(2):
        assert outcomes() == {**dict.fromkeys(StoreNeed, True), StoreNeed.DELETE: False}
        assert [one.path for one in store.walk()] == [PROBE]


class Keeping(ObjectStore):
    """A store that takes nothing new."""

    def put_new(self, path: str, data: bytes) -> None:
        raise REFUSED


def test_a_store_that_takes_nothing_is_read_where_there_is_something(place: Any) -> None:
    store = place(Keeping)
    expected: dict[str, bool | None] = {
        **dict.fromkeys(StoreNeed, True),
        StoreNeed.WRITE: False,
        StoreNeed.ONCE: None,
    }
    assert outcomes() == {**expected, StoreNeed.READ: None}
    store.write("planes/part-0.parquet", b"rows")
    assert outcomes() == expected


def test_a_store_that_overwrites_is_told(place: Any) -> None:
    store = place(Overwriting)
    assert outcomes() == {**dict.fromkeys(StoreNeed, True), StoreNeed.ONCE: False}
    assert list(store.walk()) == []


def test_a_store_that_does_not_answer_is_given_up(place: Any) -> None:
    place(Sleeping)
    late, *others = try_place("memory://lake", seconds=0.1)
    assert (late.works, late.reason) == (False, "Its store did not answer within 0.1 seconds.")
    assert [one.works for one in others] == [None] * 4


def test_folders_of_this_machine(tmp_path: Path) -> None:
    assert {one.works for one in try_place(str(tmp_path))} == {True}
    assert list(tmp_path.iterdir()) == []
    missing, *others = try_place(str(tmp_path / "missing"))
    assert (missing.works, missing.reason) == (False, "No such file or directory.")
    assert [one.works for one in others] == [None] * 4
    assert list(tmp_path.iterdir()) == []
