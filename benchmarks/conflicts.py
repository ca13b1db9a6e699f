"""What pages of conflicts cost: ``python -m benchmarks.conflicts``.

A request with a million staged rows is in conflict in 20,000 of them; CPU seconds of this process for its pages, a
choice, a choice for many and its undo, with SQLite or ``--postgresql`` (the least of three, after one to warm up).
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from benchmarks import report
from benchmarks.crowd import installation, measured, tell

if TYPE_CHECKING:
    from changerequests.models import ChangeRequest


def conflicting(rows: int, conflicts: int) -> ChangeRequest:
    """A pending request for all rows of a table of which others changed some."""
    import pyarrow as pa

    from datasets.roles import Role
    from tests import factories

    data = pa.table({"id": pa.array(range(rows), pa.int64()), "a": pa.array([0] * rows, pa.int64())})
    dataset = factories.DatasetFactory.create(data=data, primary_keys=["id"])
    owner = factories.person_with(Role.OWNER, dataset)

    def proposed(numbers: Iterator[int], value: int) -> ChangeRequest:
        text = "id,a\n" + "".join(f"{number},{value}\n" for number in numbers)
        made: ChangeRequest = factories.ChangeRequestFactory.create(dataset=dataset, author=owner, csv=text)
        return made

    ours = proposed(iter(range(rows)), 1)
    factories.merge(proposed(iter(range(0, rows, rows // conflicts)), 2), owner)
    return ours


def things(change_request: ChangeRequest) -> Iterator[tuple[str, Callable[[], int | None]]]:
    """Everything that is measured."""
    from django.test import Client

    from changerequests.services import conflicts, plans
    from datasets.rows import ConflictFilter

    actor = change_request.author
    client = Client(SERVER_NAME="localhost")
    client.force_login(actor)
    place = f"/change-requests/{change_request.cr_id}/conflicts/"
    choices = itertools.cycle(("current", "proposed"))

    def page(query: str) -> Callable[[], int]:
        def get() -> int:
            answer = client.get(f"{place}{query}")
            if answer.status_code != 200:
                raise RuntimeError(f"{place}{query} answered {answer.status_code}")
            return len(answer.getvalue())

        return get

    def choose() -> None:
        [conflict] = plans.conflicts_page(change_request=change_request, limit=1).conflicts
        made = conflicts.Choosing(conflict.key, conflict.column, next(choices), conflict.inputs_digest)
        conflicts.resolve(change_request_id=change_request.pk, actor=actor, choices=[made])

    def many() -> None:
        number = change_request.pk
        done = conflicts.resolve_matching(
            change_request_id=number, actor=actor, wanted=ConflictFilter(), choice="current"
        )
        conflicts.undo(change_request_id=number, actor=actor, name=done.undo)

    yield "the first page", page("")
    yield "with resolved ones", page("?show=all")
    yield "filtered by a value", page("?column=a&current=2")
    yield "one choice", lambda: choose()
    yield "a choice for all, and its undo", lambda: many()
    conflicts.resolve_matching(
        change_request_id=change_request.pk, actor=actor, wanted=ConflictFilter(), choice="proposed"
    )
    yield "a page where all have a choice", page("?show=all")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conflicts", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--conflicts", type=int, default=20_000)
    parser.add_argument("--postgresql", action="store_true", help="on PostgreSQL instead of SQLite")
    options = parser.parse_args()
    with installation(postgresql=options.postgresql):
        started = time.monotonic()
        change_request = conflicting(options.rows, options.conflicts)
        print(
            f"{options.rows:,} rows, {options.conflicts:,} conflicts: made in {time.monotonic() - started:.0f} s"
        )
        tell([measured(name, once) for name, once in things(change_request)])
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
