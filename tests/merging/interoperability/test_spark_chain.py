"""Tables that Spark and Headgate change in turn, many times, at random: all rows are compared after every step.

What the table must hold is kept in plain Python, and so are the row ids, the numbers and the versions that a restore
goes back to. The same seed takes the same steps.
"""

from __future__ import annotations

import copy
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest

import merging
from merging import delta
from tests.merging.interoperability.spark_table import SparkTable, own, rows_of
from tests.merging.test_filled_columns import identity

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

pytestmark = pytest.mark.spark

STEPS = 50
Rows = dict[int, dict[str, Any]]

VECTORS = {"delta.enableDeletionVectors": "true"}
REWRITTEN = {"delta.enableDeletionVectors": "false"}
FEED = {"delta.enableChangeDataFeed": "true"}
TRACKED = {"delta.enableRowTracking": "true"}
IN_COMMIT = {"delta.enableInCommitTimestamps": "true"}
DEFAULTS = {"delta.feature.allowColumnDefaults": "supported"}
WIDENED = {"delta.enableTypeWidening": "true"}


@dataclass(frozen=True)
class Kind:
    """A kind of table: its properties, and which of its columns Spark has no SQL for are made by hand."""

    properties: dict[str, str]
    clause: str = ""
    default: str = ""
    by_hand: bool = False

    @property
    def mapped(self) -> bool:
        return "delta.columnMapping.mode" in self.properties

    @property
    def tracked(self) -> bool:
        return "delta.enableRowTracking" in self.properties

    @property
    def widened(self) -> bool:
        return "delta.enableTypeWidening" in self.properties


KINDS = {
    "vectors": Kind(VECTORS),
    "rewritten, feed, widened": Kind(REWRITTEN | FEED | WIDENED, clause="PARTITIONED BY (p)"),
    "mapped by name, tracked, vectors, feed": Kind(
        {**VECTORS, **FEED, **TRACKED, "delta.columnMapping.mode": "name"}
    ),
    "mapped by id, tracked, partitioned": Kind(
        {**REWRITTEN, **TRACKED, "delta.columnMapping.mode": "id"}, clause="PARTITIONED BY (p)"
    ),
    "clustered, timed, tracked, checkpoints of version 2": Kind(
        {**VECTORS, **TRACKED, **IN_COMMIT, "delta.checkpointPolicy": "v2"}, clause="CLUSTER BY (p, s.x)"
    ),
    "filled, rewritten": Kind(REWRITTEN | DEFAULTS, default="DEFAULT 'new'", by_hand=True),
    "all of it": Kind(
        {
            **(VECTORS | FEED | TRACKED | IN_COMMIT | DEFAULTS | WIDENED),
            "delta.columnMapping.mode": "name",
            "delta.checkpointPolicy": "v2",
        },
        clause="CLUSTER BY (p)",
        default="DEFAULT 'new'",
        by_hand=True,
    ),
}


@dataclass
class State:
    """What the table must hold at a version; ``called`` gives the columns their names of now, by their first ones."""

    rows: Rows = field(default_factory=dict)
    called: dict[str, str] = field(default_factory=dict)
    numbers: dict[int, tuple[int, int]] = field(default_factory=dict)
    widenings: int = 0


class Chain(SparkTable):
    """One table, on which Spark and Headgate take steps at random."""

    def __init__(self, session: SparkSession, folder: Path, kind: Kind, seed: int) -> None:
        super().__init__(session, folder)
        self.kind = kind
        self.random = random.Random(seed)  # noqa: S311 - no secret
        self.next_key = 1
        self.taken = 0
        self.given: set[int] = set()
        self.touched: set[int] = set()
        self.states: dict[int, State] = {}
        self.state = State(called={name: name for name in ("id", "a", "p", "s", "w", "d")})
        properties = {**kind.properties, "delta.checkpointInterval": "5"}
        listed = ", ".join(f"'{name}' = '{value}'" for name, value in properties.items())
        computed = ", g INT, nr BIGINT" if kind.by_hand else ""
        self.ask(
            "CREATE TABLE t (id BIGINT, a INT, p STRING, s STRUCT<x: INT, y: STRING>, w STRING, "
            f"d STRING {kind.default}{computed}) USING delta {kind.clause} TBLPROPERTIES ({listed})"
        )
        if kind.by_hand:
            self.make_columns_by_hand()
            self.state.called |= {"g": "g", "nr": "nr"}
        self.insert()
        self.look({})

    def make_columns_by_hand(self) -> None:
        """Let the table compute one column and number another, as the protocol has it."""
        snapshot = delta.open_snapshot(self.uri)
        schema = json.loads(snapshot.schema_json)
        for item in schema["fields"]:
            if item["name"] == "g":
                item["metadata"]["delta.generationExpression"] = "length(w)"
            if item["name"] == "nr":
                item["metadata"] |= identity(100, -3)
        protocol = dict(snapshot.protocol)
        protocol["writerFeatures"] = [*protocol["writerFeatures"], "generatedColumns", "identityColumns"]
        now = int(time.time() * 1000) + 1
        lines = [
            {"commitInfo": {"operation": "ALTER", "timestamp": now, "inCommitTimestamp": now}},
            {"protocol": protocol},
            {"metaData": {**snapshot.metadata, "schemaString": json.dumps(schema)}},
        ]
        path = Path(self.uri, "_delta_log", f"{snapshot.version + 1:020d}.json")
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    # ---- what is asked, and what must be

    @property
    def version(self) -> int:
        return merging.inspect_table(self.uri).version

    def quoted(self, column: str) -> str:
        return f"`{self.state.called[column]}`"

    def number(self, value: int | None) -> Any:
        """A value of the column `a`, of the type that it has now."""
        return (
            value if value is None or self.state.widenings < 2 else Decimal(value).quantize(Decimal("0.01"))
        )

    def value(self, column: str) -> Any:
        """Some value of a column."""
        if column == "a":
            return self.number(self.random.choice([None, 0, -1, self.random.randrange(2**31)]))
        if column == "p":
            return self.random.choice([None, "p", "a b", "ä/ö=%", "'"])
        if column == "s":
            inner = {"x": self.random.choice([None, 7]), "y": self.random.choice([None, "", "y"])}
            return self.random.choice([None, inner])
        return self.random.choice([None, "", "x", "'\"\\", "longer text"])

    def row(self, key: int, given: dict[str, Any]) -> dict[str, Any]:
        """A row that is there with these values by the first names of its columns, or a new one."""
        called = self.state.called
        row = self.state.rows.get(key)
        if row is None:
            row = dict.fromkeys(called.values()) | {called["id"]: key}
            if self.kind.default and "d" not in given:
                row[called["d"]] = "new"
        row = row | {called[name]: value for name, value in given.items()}
        if self.kind.by_hand:
            text = row[called["w"]]
            row[called["g"]] = None if text is None else len(text)
        return row

    def keys(self, count: int) -> list[int]:
        return self.random.sample(sorted(self.state.rows), min(count, len(self.state.rows)))

    def new_keys(self, count: int) -> list[int]:
        self.next_key += count
        return list(range(self.next_key - count, self.next_key))

    def look(self, before: Rows, *, restored: bool = False) -> None:
        """Compare every row, and what the table counts by itself."""
        found = rows_of(self.session, self.uri)
        if self.kind.by_hand:
            self.take_numbers(before, found)
        expected = dict(sorted(self.state.rows.items()))
        assert found == expected
        assert {row["id"]: row for row in own(self.uri)} == expected
        if self.kind.tracked:
            self.look_at_row_ids(before, restored=restored)
        self.states[self.version] = copy.deepcopy(self.state)

    def take_numbers(self, before: Rows, found: Rows) -> None:
        """Rows keep their numbers; new ones have some that nobody has."""
        column = self.state.called["nr"]
        new = self.state.rows.keys() - before.keys()
        for key in new:
            if self.state.rows[key][column] is None:
                self.state.rows[key][column] = found[key][column]
        numbers = [row[column] for row in found.values()]
        assert len(set(numbers)) == len(numbers)
        assert all(number <= 100 and (100 - number) % 3 == 0 for number in numbers)

    def look_at_row_ids(self, before: Rows, *, restored: bool) -> None:
        """Rows keep their ids, and their versions where they do not change; new ones have fresh ones."""
        told = {
            row["id"]: (row["r"], row["v"])
            for row in self.session.sql(
                f"SELECT id, _metadata.row_id AS r, _metadata.row_commit_version AS v FROM delta.`{self.uri}`"
            )
            .toArrow()
            .to_pylist()
        }
        with duckdb.connect(":memory:") as connection:
            snapshot = delta.open_snapshot(self.uri)
            listed = connection.sql(delta.scan_sql(connection, snapshot, ["id"], row_ids=True)).fetchall()
        assert {key: (row_id, version) for key, row_id, version in listed} == told
        for key, (row_id, version) in told.items():
            known = self.state.numbers.get(key)
            if known is None or (key not in before and not restored):
                assert row_id not in self.given
            else:
                assert row_id == known[0]
                if not restored and key not in self.touched and before[key] == self.state.rows[key]:
                    assert version == known[1]
        self.state.numbers = told
        self.given |= {row_id for row_id, _ in told.values()}

    # ---- what Spark does

    def literal(self, column: str, value: Any) -> str:
        if value is None:
            return "NULL"
        if column == "s":
            text = self.literal("w", value["y"])
            return f"named_struct('x', CAST({self.literal('a', value['x'])} AS INT), 'y', CAST({text} AS STRING))"
        if column == "a":
            return str(value)
        return f"CAST(X'{value.encode().hex()}' AS STRING)"

    def insert(self) -> None:
        columns = ["a", "p", "w", *self.random.sample(["s"], 1)]
        for key in self.new_keys(4):
            given = {name: self.value(name) for name in columns}
            values = ", ".join(self.literal(name, value) for name, value in given.items())
            names = ", ".join(self.quoted(name) for name in columns)
            self.ask(f"INSERT INTO t ({self.quoted('id')}, {names}) VALUES ({key}, {values})")
            self.state.rows[key] = self.row(key, given)

    def update(self) -> None:
        keys = self.keys(3)
        given = {name: self.value(name) for name in self.random.sample(["a", "p", "s", "w"], 2)}
        stated = ", ".join(
            f"{self.quoted(name)} = {self.literal(name, value)}" for name, value in given.items()
        )
        self.ask(f"UPDATE t SET {stated} WHERE id IN ({', '.join(map(str, keys))})")
        self.touched |= {*keys}  # Spark writes rows that stay as they are
        for key in keys:
            self.state.rows[key] = self.row(key, given)

    def delete(self) -> None:
        keys = self.keys(2)
        self.ask(f"DELETE FROM t WHERE id IN ({', '.join(map(str, keys))})")
        for key in keys:
            del self.state.rows[key]

    def merge_into(self) -> None:
        keys = [*self.keys(2), *self.new_keys(2)]
        value = self.value("w")
        source = " UNION ALL ".join(f"SELECT CAST({key} AS BIGINT) AS k" for key in keys)
        text = self.literal("w", value)
        self.ask(
            f"MERGE INTO t AS o USING ({source}) n ON n.k = o.id "
            f"WHEN MATCHED THEN UPDATE SET {self.quoted('w')} = {text} "
            f"WHEN NOT MATCHED THEN INSERT (id, {self.quoted('w')}) VALUES (n.k, {text})"
        )
        self.touched |= {*keys}
        for key in keys:
            self.state.rows[key] = self.row(key, {"w": value})

    def optimize(self) -> None:
        self.ask("OPTIMIZE t")

    def purge(self) -> None:
        self.ask("REORG TABLE t APPLY (PURGE)")

    def vacuum(self) -> None:
        self.ask("VACUUM t RETAIN 0 HOURS")
        self.states.clear()

    def restore(self) -> None:
        # Spark refuses it where a change feed would have to tell of columns under two names.
        fixed = self.kind.mapped and "delta.enableChangeDataFeed" in self.kind.properties
        possible = [
            version
            for version, state in self.states.items()
            if not fixed or state.called == self.state.called
        ]
        if not possible:
            return
        version = self.random.choice(sorted(possible)[-8:])
        given = self.next_key
        self.ask(f"RESTORE TABLE t TO VERSION AS OF {version}")
        self.state = copy.deepcopy(self.states[version])
        self.next_key = given

    def add_column(self) -> None:
        self.taken += 1
        name = f"n{self.taken}"
        self.ask(f"ALTER TABLE t ADD COLUMN ({name} STRING)")
        self.state.called[name] = name
        self.state.rows = {key: {**row, name: None} for key, row in self.state.rows.items()}

    def rename_column(self) -> None:
        self.taken += 1
        column = self.random.choice(["a", "s", "d"])
        old, new = self.state.called[column], f"{column} {self.taken}"
        self.ask(f"ALTER TABLE t RENAME COLUMN `{old}` TO `{new}`")
        self.state.called[column] = new
        self.state.rows = {
            key: {new if name == old else name: value for name, value in row.items()}
            for key, row in self.state.rows.items()
        }

    def widen(self) -> None:
        if self.state.widenings == 2:
            return
        wanted = ["BIGINT", "DECIMAL(22,2)"][self.state.widenings]
        self.ask(f"ALTER TABLE t ALTER COLUMN {self.quoted('a')} TYPE {wanted}")
        self.state.widenings += 1
        column = self.state.called["a"]
        for row in self.state.rows.values():
            row[column] = self.number(row[column])

    # ---- what Headgate does

    def stage(self) -> tuple[merging.Staged, dict[int, dict[str, Any] | None]]:
        """Some changes, and what they make of rows: values by the first names of columns, None of those that go."""
        columns = self.random.sample(["a", "p", "s", "w"], 2)
        if self.random.random() < 0.3:
            columns.append("d")
        present = self.keys(5)
        gone, edited = present[:1], present[1:]
        changes: dict[int, dict[str, Any] | None] = dict.fromkeys(gone)
        for key in edited:
            changes[key] = {name: self.value(name) for name in columns}
        for key in self.new_keys(2):
            changes[key] = {name: self.value(name) for name in columns}
        schema = delta.open_snapshot(self.uri).schema
        arrays = {"id": pa.array(changes, pa.int64())}
        for name in columns:
            called = self.state.called[name]
            cells = [None if given is None else given[name] for given in changes.values()]
            arrays[called] = pa.array(cells, schema.field(called).type)
        arrays["_op"] = pa.array(["delete" if given is None else "upsert" for given in changes.values()])
        return self.staged(pa.table(arrays)), changes

    def merge(self) -> merging.MergeResult:
        return self.merge_staged(*self.stage())

    def merge_staged(
        self, staged: merging.Staged, changes: dict[int, dict[str, Any] | None]
    ) -> merging.MergeResult:
        result = self.merged(staged)
        for key, given in changes.items():
            if given is None:
                del self.state.rows[key]
            else:
                self.state.rows[key] = self.row(key, given)
        return result

    def merge_later(self) -> None:
        """Stage, let somebody do what changes no row, and merge."""
        staged, changes = self.stage()
        steps: list[Callable[[], Any]] = [self.optimize, self.purge, self.compact, self.add_column]
        if self.kind.mapped:
            steps += [self.rename_column, self.rename_column]
        for step in self.random.sample(steps, 2):
            step()
        self.merge_staged(staged, changes)

    def revert(self) -> None:
        """Merge, let somebody do what changes no row, and take it back."""
        rows = copy.deepcopy(self.state.rows)
        result = self.merge()
        assert result.artefacts is not None
        if self.kind.mapped:
            renamed = dict(self.state.called)
            self.rename_column()
            again = {renamed[name]: called for name, called in self.state.called.items()}
            rows = {key: {again[name]: value for name, value in row.items()} for key, row in rows.items()}
        reverse = merging.invert(
            self.uri, result.artefacts, ["id"], str(self.folder / f"reverse-{self.count}")
        )
        self.merge_staged(reverse, {})
        self.state.rows = rows
        images = str(Path(result.artefacts) / "images.parquet")
        with duckdb.connect(":memory:") as connection:
            changed = connection.execute(f"SELECT op, k0 FROM '{images}'").fetchall()
        self.touched |= {key for _, key in changed}
        for kind, key in changed:
            if kind == "delete":
                self.state.numbers.pop(key, None)  # what comes back is a new row

    def checkpoint(self) -> None:
        delta.checkpoint_if_due(self.uri)

    # ---- all of it

    def run(self, steps: int) -> list[str]:
        """Take random steps; their names."""
        ours = {"merge": self.merge, "merge later": self.merge_later, "revert": self.revert}
        theirs = {
            "insert": self.insert,
            "update": self.update,
            "delete": self.delete,
            "MERGE": self.merge_into,
        }
        others: dict[str, Callable[[], Any]] = {
            "OPTIMIZE": self.optimize,
            "REORG": self.purge,
            "VACUUM": self.vacuum,
            "RESTORE": self.restore,
            "compaction": self.compact,
            "checkpoint": self.checkpoint,
            "add column": self.add_column,
        }
        if self.kind.mapped:
            others["rename column"] = self.rename_column
        if self.kind.widened:
            others["widen"] = self.widen
        kinds: dict[str, Callable[[], Any]] = {**ours, **theirs, **others}
        weights = [6, 4, 2, *[2] * len(theirs), *[1] * len(others)]
        names = self.random.choices([*kinds], weights, k=steps)
        for place, name in enumerate(names):
            self.taken += 1
            self.touched.clear()
            before = copy.deepcopy(self.state.rows)
            if len(before) < 6 and name not in ("insert", "RESTORE"):
                self.insert()
            kinds[name]()
            try:
                self.look(before, restored=name == "RESTORE")
            except AssertionError as error:
                raise AssertionError(f"after {names[: place + 1]} (version {self.version})") from error
        return names


@pytest.mark.parametrize("name", KINDS)
def test_fp13_a_chain_of_steps_by_both(hasty: SparkSession, tmp_path: Path, name: str) -> None:
    taken = Chain(hasty, tmp_path, KINDS[name], seed=15).run(STEPS)
    assert len(taken) == STEPS
