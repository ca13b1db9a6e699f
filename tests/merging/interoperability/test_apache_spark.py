"""Apache Spark with Delta Lake's own code reads what our reader reads: the rows, and the changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.merging.delta.delta_tables import own_rows
from tests.merging.interoperability.chains import NAMES, Chain
from tests.merging.interoperability.spark_connect import spark_changes, spark_rows
from tests.merging.world import STRATEGIES

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

pytestmark = pytest.mark.spark


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_merge(strategy: str, tmp_path: Path, session: SparkSession) -> None:
    chain = Chain(tmp_path, strategy, seed=1)
    chain.merge()
    assert spark_rows(session, chain.uri, NAMES) == own_rows(chain.uri) == chain.expected()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_twenty_steps_and_their_changes(strategy: str, tmp_path: Path, session: SparkSession) -> None:
    chain = Chain(tmp_path, strategy, seed=7, change_data_feed=True)
    chain.run(20)
    assert spark_rows(session, chain.uri, NAMES) == own_rows(chain.uri) == chain.expected()
    assert spark_changes(session, chain.uri) == chain.expected_changes()
