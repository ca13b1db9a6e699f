"""Which tests the suite takes where it takes a sample."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User

from config.env import BASE_DIR
from tests.asked_statements import Note, Notes, asking_something_new, noted
from tests.costly import ALWAYS, costly, written
from tests.dealing import costly_tests, dealt

STRATEGIES = ("merge-on-read", "copy-on-write")


def item(name: str, *marks: pytest.Mark, fixtures: tuple[str, ...] = ()) -> Any:
    marked = {mark.name: mark for mark in marks}
    path = Path(name.partition("::")[0])
    return SimpleNamespace(nodeid=name, path=path, fixturenames=fixtures, get_closest_marker=marked.get)


def names(items: list[pytest.Item]) -> list[str]:
    return [one.nodeid for one in items]


def test_each_input_has_one_strategy_and_each_strategy_half_of_the_inputs() -> None:
    product = [item(f"a.py::test[{strategy}-{n}]") for strategy in STRATEGIES for n in range(10)]
    found = names(dealt(product, 1))
    assert Counter(name.partition("write-")[2] or name.partition("read-")[2] for name in found) == {
        f"{n}]": 1 for n in range(10)
    }
    assert Counter(strategy for name in found for strategy in STRATEGIES if strategy in name) == {
        "merge-on-read": 5,
        "copy-on-write": 5,
    }
    assert names(dealt(product, 1)) == found
    assert set(names(dealt(product, 1))) | set(names(dealt(product, 2))) > set(found)


def test_each_test_has_its_tables_in_one_place_and_few_of_them_in_a_store() -> None:
    product = [
        item(f"a.py::test[{strategy}-{n}-tables-in-{place}]")
        for n in range(400)
        for strategy in STRATEGIES
        for place in ("folder", "s3")
    ]
    found = names(dealt(product, 1))
    assert {re.sub(r".*e-(\d+)-.*|.*d-(\d+)-.*", r"\1\2", name) for name in found} == {
        str(n) for n in range(400)
    }
    assert len(found) == 400
    assert 25 < sum("in-s3" in name for name in found) < 75
    alone = [item(f"a.py::alone[{n}-tables-in-{place}]") for n in range(3) for place in ("folder", "s3")]
    assert len(dealt(alone, 1)) == 3
    stores = [
        item(f"a.py::test[{n}-tables-in-{place}]")
        for n in range(300)
        for place in ("versitygw", "azurite", "gcs")
    ]
    counted = Counter(name.rpartition("-")[2] for name in names(dealt(stores, 1)))
    assert sum(counted.values()) == 300
    assert min(counted.values()) > 60


def test_strategies_alone_and_inputs_alone_all_run() -> None:
    alone = [item(f"a.py::one[{strategy}]") for strategy in STRATEGIES]
    inputs = [item(f"a.py::two[{n}]") for n in range(3)]
    assert dealt([*alone, *inputs], 1) == [*alone, *inputs]


def test_of_a_sample_so_many_run() -> None:
    items = [item(f"a.py::test[{n}]", pytest.mark.sample(3).mark) for n in range(10)]
    assert len(dealt(items, 1)) == 3
    assert {name for seed in range(40) for name in names(dealt(items, seed))} == set(names(items))


def test_of_the_costly_tests_a_tenth_runs_and_of_the_others_all() -> None:
    items = [item(f"a.py::{name}[{n}]") for name in ("quick", "slow") for n in range(300)]
    found = Counter(name.partition("[")[0] for name in names(dealt(items, 1, {"a.py::slow"})))
    assert found["a.py::quick"] == 300
    assert 15 < found["a.py::slow"] < 50
    assert {name for seed in range(150) for name in names(dealt(items, seed, {"a.py::slow"}))} == set(
        names(items)
    )


def test_costly_tests_are_there_and_none_is_always_to_run() -> None:
    gone = []
    for name in sorted(costly_tests()):
        path, *inner = name.split("::")
        source = (BASE_DIR / path).read_text(encoding="utf-8") if (BASE_DIR / path).is_file() else ""
        if not all(re.search(rf"^ *(async )?(def|class) {one}\b", source, re.MULTILINE) for one in inner):
            gone.append(name)
    assert gone == []
    assert [name for name in costly_tests() if name.startswith(ALWAYS)] == []


def test_what_takes_long_is_measured_over_all_inputs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    notes = {
        "tests/a.py::slow[1]": Note(frozenset(), 0.3),
        "tests/a.py::slow[2]": Note(frozenset(), 0.7),
        "tests/a.py::quick": Note(frozenset(), 0.05),
        "tests/matrix/a.py::everybody": Note(frozenset(), 30.0),
    }
    assert costly(notes) == ["tests/a.py::slow"]
    kept = tmp_path / "costly.txt"
    kept.write_text("tests/e2e/a.py::shown\ntests/a.py::was_slow\n")
    monkeypatch.setattr("tests.costly.COSTLY_FILE", kept)
    assert written(costly(notes)) == "tests/a.py::slow\ntests/e2e/a.py::shown\n"


def test_all_that_was_asked_is_asked_again() -> None:
    notes = {
        "a/a.py::all": Note(frozenset("ABC"), 9.0),
        "a/a.py::some": Note(frozenset("AB"), 0.1),
        "a/b.py::rest": Note(frozenset("C"), 0.1),
        "a/b.py::nothing": Note(frozenset(), 0.1),
        "b/c.py::again": Note(frozenset("A"), 0.1),
        "b/c.py::commits": Note(frozenset("A"), 9.0),
        "b/c.py::marked": Note(frozenset(), 9.0),
    }
    items = [item(name) for name in notes if name.startswith("a/") or name == "b/c.py::again"]
    kept = ["a/a.py::some", "a/b.py::rest"]
    assert names(asking_something_new(items, notes, 1)) == kept
    items += [
        item("b/c.py::commits", fixtures=("transactional_db",)),
        item("b/c.py::marked", pytest.mark.both_databases.mark),
        item("b/c.py::new"),
    ]
    assert names(asking_something_new(items, notes, 1)) == [
        *kept,
        *("b/c.py::commits", "b/c.py::marked", "b/c.py::new"),
    ]


def test_of_those_that_commit_each_run_takes_a_sixth() -> None:
    items = [item(f"a/a.py::test[{n}]", fixtures=("transactional_db",)) for n in range(10)]
    notes = {name: Note(frozenset(), 1.0) for name in names(items)}
    assert len(asking_something_new(items, notes, 1)) == 2
    taken = {name for seed in range(40) for name in names(asking_something_new(items, notes, seed))}
    assert taken == set(notes)


@pytest.mark.django_db
def test_statements_are_noted_without_the_number_of_their_values(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "1.jsonl")
    for test, numbers in (("one", [1]), ("three", [1, 2, 3])):
        with notes.of(test):
            assert list(User.objects.filter(pk__in=numbers)) == []
    found = noted(tmp_path)
    assert found["one"].statements == found["three"].statements
    [statement] = found["one"].statements
    assert statement.endswith("IN ?")
