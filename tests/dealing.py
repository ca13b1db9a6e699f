"""Which combinations one run of the suite takes, where it takes a sample.

Most rules are tested with both commit strategies, and many with dozens of inputs. The product of the two says little
more than its margins: the suite tries every input with one strategy and every test with each, and which goes with
which follows from the run's seed. A test marked ``sample(n)`` has more inputs than a run can afford: it takes n.
A run without a seed (``pytest FILE``) takes everything.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Sequence

import pytest

_STRATEGY = re.compile("merge-on-read|copy-on-write|delta-rs")


def dealt(items: Iterable[pytest.Item], seed: int) -> list[pytest.Item]:
    """The tests that the run with this seed takes, in their order."""
    kept = []
    for _, of_one_function in itertools.groupby(items, lambda item: item.nodeid.partition("[")[0]):
        function = list(of_one_function)
        one_strategy_each = _one_strategy_each(function, seed)
        kept += _sampled(one_strategy_each, seed)
    return kept


def shuffled(names: Iterable[str], seed: int) -> list[str]:
    """Names in the order of a seed."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode(errors="replace")).digest())


def _one_strategy_each(function: Sequence[pytest.Item], seed: int) -> list[pytest.Item]:
    """Of the tests that differ in nothing but the strategy one; all where the strategy is all that they differ in."""
    by_input: dict[str, list[pytest.Item]] = {}
    for item in function:
        by_input.setdefault(_STRATEGY.sub("", item.nodeid), []).append(item)
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
