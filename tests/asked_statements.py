"""What each test asks of its database: which tests have something new to ask of another one.

The suite runs every test of the application on SQLite, and notes the statements of each. On PostgreSQL it repeats
tests that together ask all that was asked. So both databases judge every statement, and one of them the many ways to
the same statements. Which of those run follows from the seed. Locks and constraints show where tests commit, whatever
they ask: a sixth of those runs as well, another one each time.
"""

from __future__ import annotations

import functools
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from tests.dealing import shuffled

#: One of so many tests that commit is repeated by each run.
COMMITTING = 6

_PLACES = re.compile(r"\(?%s(?:\)?, \(?%s)*\)?")
_NO_STATEMENT = re.compile("SAVEPOINT|RELEASE|ROLLBACK|BEGIN|PRAGMA|COMMIT")


@dataclass(frozen=True)
class Note:
    """The statements of one test, without the number of their values, and the CPU seconds that it took."""

    statements: frozenset[str]
    seconds: float


@dataclass
class Notes:
    """The notes of this process, written to a file as tests end."""

    file: Path
    _short: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def of(self, test: str) -> Iterator[None]:
        """Note what is asked in this block for a test."""
        asked: set[str] = set()

        def note(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
            asked.add(sql)
            return execute(sql, *rest)

        began = time.process_time()
        with connection.execute_wrapper(note):
            yield
        note_of_test = {
            "test": test,
            "statements": sorted({self._shape(sql) for sql in asked} - {""}),
            "seconds": round(time.process_time() - began, 3),
        }
        with self.file.open("a") as file:
            file.write(json.dumps(note_of_test) + "\n")

    def _shape(self, sql: str) -> str:
        if sql not in self._short:
            self._short[sql] = "" if _NO_STATEMENT.match(sql) else _PLACES.sub("?", sql)
        return self._short[sql]


@functools.cache
def notes_in(folder: Path) -> Notes:
    """Where this process notes."""
    return Notes(folder / f"{os.getpid()}.jsonl")


def noted(folder: Path) -> dict[str, Note]:
    """What the tests of the run before have noted, by their names."""
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]
    return {
        note["test"]: Note(frozenset(note["statements"]), note["seconds"]) for note in map(json.loads, lines)
    }


def asking_something_new(
    items: Sequence[pytest.Item], notes: Mapping[str, Note], seed: int
) -> list[pytest.Item]:
    """Tests that ask all that these ask, the cheapest for what they add.

    And those of no note, those marked ``both_databases``, and the seed's sixth of those that commit.
    """
    names = {item.nodeid for item in items}
    committing = shuffled((item.nodeid for item in items if _commits(item)), seed)
    kept = set(committing[: -(-len(committing) // COMMITTING)])
    kept |= {item.nodeid for item in items if item.nodeid not in notes or _is_marked(item)}
    asked = {statement for name in kept & notes.keys() for statement in notes[name].statements}
    candidates = shuffled(names - kept, seed)
    while candidates:
        gain, best = max(
            (
                (len(notes[name].statements - asked) / (notes[name].seconds + 0.02), name)
                for name in candidates
            ),
            key=lambda found: found[0],
        )
        if not gain:
            break
        kept.add(best)
        asked |= notes[best].statements
        candidates.remove(best)
    return [item for item in items if item.nodeid in kept]


def _commits(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("django_db")
    commits = marker is not None and bool(marker.kwargs.get("transaction"))
    return commits or "transactional_db" in getattr(item, "fixturenames", ())


def _is_marked(item: pytest.Item) -> bool:
    return item.get_closest_marker("both_databases") is not None
