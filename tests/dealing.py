"""Which combinations one run of the suite takes, where it takes a sample.

Most rules are tested with both commit strategies, and many with dozens of inputs. The product of the two says little
more than its margins: the suite tries every input with one strategy and every test with each, and which goes with
which follows from the run's seed. So does where the tables of a test of the engine lie, in a folder or in a store: each
test has them in one place, most in folders, for those answer sooner. A test marked ``sample(n)`` has more inputs than a
run can afford: it takes n. And some tests take most of the time: of these, which ``costly.txt`` names
(``tests.costly`` measures and writes it), a run takes a tenth. A run without a seed (``pytest FILE``,
``make test-whole``) takes everything.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import pytest

#: One of so many costly tests is taken by each run.
COSTLY = 10
COSTLY_FILE = Path(__file__).with_name("costly.txt")

_STRATEGY = re.compile("merge-on-read|copy-on-write|delta-rs")
#: How the names of places begin in those of tests.
SITE = "tables-in-"
_SITE = re.compile(f"{SITE}[a-z0-9]+")
#: Where a test could have its tables in a folder, one of so many has them elsewhere.
ELSEWHERE = 8


def costly_tests() -> frozenset[str]:
    """The test functions that take long, by file and name."""
    return frozenset(COSTLY_FILE.read_text(encoding="utf-8").split())


def dealt(items: Iterable[pytest.Item], seed: int, costly: Collection[str] = ()) -> list[pytest.Item]:
    """The tests that the run with this seed takes, in their order."""
    kept = []
    for name, of_one_function in itertools.groupby(items, lambda item: item.nodeid.partition("[")[0]):
        function = _sampled(_one_strategy_each(_one_site_each(of_one_function, seed), seed), seed)
        kept += [
            item for item in function if name not in costly or has_its_turn(item.nodeid, seed, one_of=COSTLY)
        ]
    return kept


def has_its_turn(name: str, seed: int | None, *, one_of: int) -> bool:
    """Whether the run with this seed takes what has this name, where it takes one of so many: others with each seed."""
    return seed is None or _number(f"{seed} {name}") % one_of == 0


def _number(text: str) -> int:
    return int(hashlib.sha256(text.encode(errors="replace")).hexdigest(), 16)


def shuffled(names: Iterable[str], seed: int) -> list[str]:
    """Names in the order of a seed."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode(errors="replace")).digest())


def _one_site_each(function: Iterable[pytest.Item], seed: int) -> list[pytest.Item]:
    """Of the tests that differ in nothing but where their tables lie one."""
    by_input: dict[str, list[pytest.Item]] = {}
    for item in function:
        by_input.setdefault(_SITE.sub("", item.nodeid), []).append(item)
    return [_taken(several, name, seed) for name, several in by_input.items()]


def _taken(several: Sequence[pytest.Item], name: str, seed: int) -> pytest.Item:
    """One of a test's places: the folder, which comes first, for most."""
    number = _number(f"{seed} where {name}")
    if len(several) == 1 or f"{SITE}folder" not in several[0].nodeid:
        return several[number % len(several)]
    turn, number = number % ELSEWHERE, number // ELSEWHERE
    return several[0] if turn else several[1 + number % (len(several) - 1)]


def _one_strategy_each(function: Sequence[pytest.Item], seed: int) -> list[pytest.Item]:
    """Of the tests that differ in nothing but the strategy one; all where the strategy is all that they differ in."""
    by_input: dict[str, list[pytest.Item]] = {}
    for item in function:
        by_input.setdefault(_STRATEGY.sub("", _SITE.sub("", item.nodeid)), []).append(item)
    if len(by_input) == 1:
        return list(function)
    place = {name: number for number, name in enumerate(shuffled(by_input, seed))}
    taken = {id(several[place[name] % len(several)]) for name, several in by_input.items()}
    return [item for item in function if id(item) in taken]


def _sampled(function: Sequence[pytest.Item], seed: int) -> list[pytest.Item]:
    marker = function[0].get_closest_marker("sample") if function else None
    if marker is None:
        return list(function)
    taken = set(shuffled((item.nodeid for item in function), seed)[: marker.args[0]])
    return [item for item in function if item.nodeid in taken]
