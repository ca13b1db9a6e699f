"""Fixtures of the Delta border's tests; the helpers are in delta_tables.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from merging import delta
from tests.merging.delta.delta_tables import Merger, sample
from tests.merging.sites import Site


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:", config={"threads": 2}) as made:
        made.execute("SET TimeZone = 'UTC'")
        yield made


@pytest.fixture
def merger(connection: duckdb.DuckDBPyConnection) -> Merger:
    return Merger(connection)


@pytest.fixture
def make_table(site: Site) -> Callable[..., str]:
    def make(data: pa.Table | None = None, **options: Any) -> str:
        uri = site.new_table()
        delta.create_table(uri, sample() if data is None else data, **options)
        return uri

    return make
