"""What the engine asks Spark without rows' places, asked of Sail: the same questions as test_spark_aggregates', in each
run of the tests.

Sail has neither `_metadata` nor DESCRIBE DETAIL: rows are found, and the table is known again, in `make test-spark`.
There alone each expectation is asked on each type, too: Sail 0.7 plans some of those conditions wrongly ("Physical
input schema should be the same").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import merging
from merging.engines import Cluster, EngineChoice, spark_sessions
from tests.merging.interoperability import test_spark_aggregates as asked
from tests.merging.interoperability import test_spark_first_rows as shown
from tests.merging.interoperability.spark_connect import sail_server


@pytest.fixture(scope="module")
def sail_port() -> Iterator[int]:
    with sail_server() as port:
        yield port


@pytest.fixture
def by_sail(sail_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineChoice]:
    monkeypatch.setattr(spark_sessions.KeptSessions, "require_same", lambda *_: None)
    yield EngineChoice("spark", Cluster(f"sc://127.0.0.1:{sail_port}", seconds=60))
    merging.set_engines(lambda _: EngineChoice())


@pytest.mark.parametrize("vectors", [True, False], ids=["vectors", "none"])
def test_keys_are_judged_alike(by_sail: EngineChoice, tmp_path: Path, vectors: bool) -> None:
    asked.test_keys_are_judged_alike(by_sail, tmp_path, vectors)


@pytest.mark.parametrize(
    "question",
    [
        asked.test_a_table_as_a_merge_would_leave_it,
        asked.test_what_spark_is_not_told_is_read_by_duckdb,
        asked.test_values_at_the_borders_of_their_types,
        asked.test_lists_of_any_length,
        asked.test_the_same_suite_is_proposed,
        asked.test_a_merge_is_judged_alike,
    ],
)
def test_it_counts_as_duckdb(
    by_sail: EngineChoice, tmp_path: Path, question: Callable[[EngineChoice, Path], None]
) -> None:
    question(by_sail, tmp_path)


@pytest.mark.parametrize("kind", shown.ASKED)
def test_pages_are_those_of_duckdb(by_sail: EngineChoice, tmp_path: Path, kind: str) -> None:
    shown.test_pages_are_those_of_duckdb(by_sail, tmp_path, kind)


@pytest.mark.parametrize(
    "question",
    [
        shown.test_pages_of_a_table_without_vectors,
        shown.test_files_whose_statistics_are_wrong,
        shown.test_rows_that_share_a_key_or_have_none,
        shown.test_what_spark_is_not_told_duckdb_reads,
    ],
)
def test_it_shows_what_duckdb_shows(
    by_sail: EngineChoice, tmp_path: Path, question: Callable[[EngineChoice, Path], None]
) -> None:
    question(by_sail, tmp_path)
