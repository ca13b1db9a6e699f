"""Apache Spark itself says what expressions of tables' rules mean: in both ANSI modes, in several time zones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from tests.merging.delta.spark_expressions import EXPRESSIONS, IN_UTC, Answers, ours, record, rows, spelled
from tests.options import RECORD_SPARK

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

pytestmark = pytest.mark.spark

_PER_QUERY = 25


@pytest.mark.parametrize(
    ("ansi", "zone"), [("true", "America/Los_Angeles"), ("false", "Asia/Kolkata"), ("false", "UTC")]
)
def test_fp6_every_expression_means_what_spark_says(
    session: SparkSession, tmp_path: Path, ansi: str, zone: str
) -> None:
    expected = _expected()
    if zone != "UTC":
        expected = {text: answers for text, answers in expected.items() if text not in IN_UTC}
    answers = _answers(session, tmp_path, expected, ansi, zone)
    assert answers == expected
    if zone == "UTC":
        assert _answers(session, tmp_path, {text: expected[text] for text in IN_UTC}, "true", zone) == {
            text: expected[text] for text in IN_UTC
        }
        if RECORD_SPARK:
            record(answers)


def _expected() -> Answers:
    zones = {**dict.fromkeys(EXPRESSIONS), **dict.fromkeys(IN_UTC, "UTC")}
    return {text: {str(n): value for n, value in ours(text, zone).items()} for text, zone in zones.items()}


def _answers(session: SparkSession, folder: Path, expected: Answers, ansi: str, zone: str) -> Answers:
    """What Spark says of every row that is not doubtful, which is an error in one mode of it at most."""
    source = folder / "rows.parquet"
    pq.write_table(rows(), source)
    session.conf.set("spark.sql.ansi.enabled", ansi)
    session.conf.set("spark.sql.session.timeZone", zone)
    try:
        found: Answers = {}
        texts = list(expected)
        for start in range(0, len(texts), _PER_QUERY):
            asked = texts[start : start + _PER_QUERY]
            values = [
                f"CASE WHEN n IN ({', '.join(expected[text])}) THEN ({text}) END AS v{place}"
                for place, text in enumerate(asked)
            ]
            table = session.read.parquet(str(source)).selectExpr("n", *values).toArrow()
            for place, text in enumerate(asked):
                column = dict(
                    zip(table.column("n").to_pylist(), table.column(f"v{place}").to_pylist(), strict=True)
                )
                found[text] = {n: spelled(column[int(n)]) for n in expected[text]}
        return found
    finally:
        session.conf.unset("spark.sql.ansi.enabled")
        session.conf.set("spark.sql.session.timeZone", "UTC")
