"""Tables with a past: random merges, compactions, checkpoints and other people's writes, and what must be in them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pyarrow as pa

from merging import delta
from tests.merging.delta.delta_tables import sample, sorted_rows
from tests.merging.world import Row, World, arrow, proposal

SCHEMA = sample(0).schema
NAMES = SCHEMA.names
CHANGED = ("small", "whole", "price", "wide", "double", "flag", "raw", "day", "moment", "tags", "place")


class Chain:
    """One table and a model of it in plain Python: its rows, and the changes of every version."""

    def __init__(self, folder: Path, strategy: str, seed: int, *, change_data_feed: bool = False) -> None:
        self.random = random.Random(seed)  # noqa: S311  (a repeatable past, no secret)
        self.rows: dict[int, Row] = {row["id"]: row for row in sample(40).to_pylist()}
        self.changes: list[Row] = []
        self.next_id = len(self.rows)
        self.world = World(
            folder, strategy, SCHEMA, list(self.rows.values()), change_data_feed=change_data_feed
        )

    @property
    def uri(self) -> str:
        return self.world.uri

    def run(self, steps: int) -> list[str]:
        """Take random steps; their names. At least one of each kind in twenty."""
        kinds: dict[str, Callable[[], None]] = {
            "merge": self.merge,
            "compact": self.compact,
            "checkpoint": self.checkpoint,
            "somebody's compaction": self.compact_elsewhere,
            "somebody's append": self.append_elsewhere,
            "somebody's delete": self.delete_elsewhere,
        }
        names = [*kinds, *self.random.choices(["merge", *kinds], weights=[9, *[1] * len(kinds)], k=steps)]
        taken = names[:steps]
        self.random.shuffle(taken)
        for name in taken:
            kinds[name]()
        return taken

    def expected(self) -> list[tuple[Any, ...]]:
        """The rows the table must hold, in the order of ``sorted_rows``."""
        return sorted_rows(arrow(SCHEMA, self.rows.values()), NAMES)

    def expected_changes(self) -> list[tuple[Any, ...]]:
        """What the change data feed must tell since the table was made."""
        return sorted_changes(arrow(FEED, self.changes))

    def merge(self) -> None:
        """Updates of random cells, deletes and inserts, staged on the newest version."""
        proposed = {number: dict(row) for number, row in self.rows.items()}
        others = list(sample(50, start=self.random.randrange(1000)).to_pylist())
        known = sorted(proposed)
        for number in self.random.sample(known, min(5, len(known))):
            column = self.random.choice(CHANGED)
            proposed[number][column] = self.random.choice([None, self.random.choice(others)[column]])
        for number in self.random.sample(known, min(2, len(known) // 3)):
            del proposed[number]
        for row in self.random.sample(others, 2):
            proposed[self.next_id] = {**row, "id": self.next_id}
            self.next_id += 1
        changes = proposal(list(self.rows.values()), list(proposed.values()), SCHEMA, ["id"])
        staged = self.world.stage(changes, base_version=self.world.version)
        result = self.world.merge(staged, f"CR-{self.world.version}")
        self.note(proposed, result.merged_version)

    def compact(self) -> None:
        """Our compaction."""
        with duckdb.connect(":memory:", config={"threads": 2}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            attempt = f"compaction-{self.world.version}"
            delta.compact(
                connection, delta.open_snapshot(self.uri), attempt_id=attempt, application_id=attempt
            )

    def compact_elsewhere(self) -> None:
        deltalake.DeltaTable(self.uri).optimize.compact()

    def checkpoint(self) -> None:
        deltalake.DeltaTable(self.uri).create_checkpoint()

    def append_elsewhere(self) -> None:
        rows = {
            number: {**row, "id": number} for number, row in enumerate(sample(3).to_pylist(), self.next_id)
        }
        self.next_id += len(rows)
        deltalake.write_deltalake(self.uri, arrow(SCHEMA, rows.values()), mode="append")
        self.note({**self.rows, **rows}, self.world.version)

    def delete_elsewhere(self) -> None:
        gone = self.random.sample(sorted(self.rows), 2)
        deltalake.DeltaTable(self.uri).delete(f"id IN ({gone[0]}, {gone[1]})")
        self.note(
            {number: row for number, row in self.rows.items() if number not in gone}, self.world.version
        )

    def note(self, after: dict[int, Row], version: int) -> None:
        """Lay a new state over the model, with the changes that lead to it."""

        def record(kind: str, row: Row) -> None:
            self.changes.append({**row, "_change_type": kind, "_commit_version": version})

        for number in sorted(self.rows.keys() | after.keys()):
            was, now = self.rows.get(number), after.get(number)
            if was is None and now is not None:
                record("insert", now)
            elif now is None and was is not None:
                record("delete", was)
            elif was is not None and now is not None and str(was) != str(now):
                record("update_preimage", was)
                record("update_postimage", now)
        self.rows = after


FEED = SCHEMA.append(pa.field("_change_type", pa.string())).append(pa.field("_commit_version", pa.int64()))


def sorted_changes(table: pa.Table) -> list[tuple[Any, ...]]:
    """The rows of a change data feed, in one order, without the time of the commit."""
    return sorted_rows(table, FEED.names)


def delta_rs_changes(uri: str) -> list[tuple[Any, ...]]:
    """What delta-rs tells about every version after the table was made."""
    feed = deltalake.DeltaTable(uri).load_cdf(starting_version=1).read_all()
    return sorted_changes(pa.table(feed))
