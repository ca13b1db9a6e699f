"""Columns that a table fills and widens, in a table that Spark and Headgate change in turn, many times."""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from tests.merging.interoperability.test_spark_filling import KINDS, Walk
from tests.merging.interoperability.test_spark_tables import own, rows_of
from tests.merging.test_filled_columns import identity, mark_of
from tests.merging.test_rules import commit_by_hand

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

pytestmark = pytest.mark.spark


@pytest.mark.parametrize("kind_of_table", ["vectors, feed", "rewritten"])
def test_a_chain_of_steps_by_both(session: SparkSession, tmp_path: Path, kind_of_table: str) -> None:
    """Defaults, numbers, and a column that is widened twice."""
    made = Walk(session, str(tmp_path / "table"), tmp_path, dict(KINDS[kind_of_table]))
    steps = random.Random(15)  # noqa: S311 - no secret
    made.create(
        "id BIGINT, a INT DEFAULT 7, s STRING DEFAULT 'new', nr BIGINT",
        **{"delta.feature.allowColumnDefaults": "supported", "delta.enableTypeWidening": "true"},
    )

    def change(metadata: dict[str, Any], fields: dict[str, Any]) -> None:
        fields["nr"]["metadata"] |= identity(3, 3)

    listed = ["allowColumnDefaults", "identityColumns", "typeWidening", "deletionVectors", "changeDataFeed"]
    protocol: dict[str, Any] = {"minReaderVersion": 3, "minWriterVersion": 7}
    protocol |= {"readerFeatures": ["deletionVectors", "typeWidening"]}
    protocol |= {"writerFeatures": [*listed, "appendOnly", "invariants"]}
    commit_by_hand(made.uri, change, protocol)
    wider = {4: ("BIGINT", pa.int64()), 8: ("DECIMAL(22,2)", pa.decimal128(22, 2))}
    kind: pa.DataType = pa.int32()

    def number(value: int) -> Any:
        return Decimal(value).quantize(Decimal("0.01")) if pa.types.is_decimal(kind) else value

    for step in range(12):
        before = {key: dict(row) for key, row in made.rows.items()}
        if step in wider:
            name, kind = wider[step]
            made.spark(f"ALTER TABLE t ALTER COLUMN a TYPE {name}")
            made.rows = {
                key: {**row, "a": None if row["a"] is None else number(int(row["a"]))}
                for key, row in made.rows.items()
            }
        key, value = 100 + step, steps.randrange(1000)
        some = steps.sample(sorted(made.rows), min(2, len(made.rows)))
        if step % 2:
            content = [{"id": one, "a": number(value), "_op": "update"} for one in some[:1]]
            content += [{"id": one, "_op": "delete"} for one in some[1:]]
            new = {key: number(value), key + 1000: None}
            content += [{"id": one, "a": a, "_op": "insert"} for one, a in new.items()]
            last = mark_of(made.uri, "nr")
            made.merge(made.stage({"id": pa.int64(), "a": kind, "_op": pa.string()}, content))
            made.rows |= {
                one: {"id": one, "a": a, "s": "new", "nr": last + 3 * place}
                for place, (one, a) in enumerate(new.items(), 1)
            }
        else:
            made.spark(f"INSERT INTO t (id) VALUES ({key})")
            for one in some[:1]:
                made.spark(f"UPDATE t SET a = {value}, s = DEFAULT WHERE id = {one}")
            for one in some[1:]:
                made.spark(f"DELETE FROM t WHERE id = {one}")
            if step % 4 == 2:
                made.spark("OPTIMIZE t")
            found = rows_of(made.session, made.uri)[key]
            assert found["nr"] not in {row["nr"] for row in before.values()}
            made.rows[key] = {"id": key, "a": number(7), "s": "new", "nr": found["nr"]}
        for one in some[:1]:
            made.rows[one] |= {"a": number(value)}
        for one in some[1:]:
            del made.rows[one]
        assert {row["id"]: row for row in own(made.uri)} == dict(sorted(made.rows.items()))
    made.expect(dict(sorted(made.rows.items())))
