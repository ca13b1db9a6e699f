"""Whatever happened to a table, delta-rs, Polars and Sail read what our reader reads, and that is right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.merging.delta.delta_tables import assert_all_readers_agree
from tests.merging.interoperability.chains import NAMES, Chain, delta_rs_changes
from tests.merging.interoperability.spark_connect import sail, spark_rows
from tests.merging.world import STRATEGIES

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession


@pytest.fixture(scope="module")
def session() -> Iterator[SparkSession]:
    with sail() as opened:
        yield opened


def assert_everybody_agrees(chain: Chain, session: SparkSession) -> None:
    assert_all_readers_agree(chain.uri, chain.expected())
    assert spark_rows(session, chain.uri, NAMES) == chain.expected()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_merge(strategy: str, tmp_path: Path, session: SparkSession) -> None:
    chain = Chain(tmp_path, strategy, seed=1)
    chain.merge()
    assert_everybody_agrees(chain, session)


@pytest.mark.parametrize("seed", [2013, 2014])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_twenty_steps(strategy: str, seed: int, tmp_path: Path, session: SparkSession) -> None:
    chain = Chain(tmp_path, strategy, seed)
    taken = []
    for _ in range(2):
        taken += chain.run(10)
        assert_everybody_agrees(chain, session)
    assert (len(taken), len(set(taken))) == (20, 6)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_twenty_steps_with_a_change_data_feed(strategy: str, tmp_path: Path, session: SparkSession) -> None:
    chain = Chain(tmp_path, strategy, seed=7, change_data_feed=True)
    chain.run(20)
    assert_everybody_agrees(chain, session)
    assert delta_rs_changes(chain.uri) == chain.expected_changes()
