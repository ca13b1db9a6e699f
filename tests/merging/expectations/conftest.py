"""Sessions and small tables to check suites on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

from merging.expectations import ExpectationReport, check_expectations, parse_suite
from merging.expectations.values import columns_of
from merging.sql.quoting import column_label
from merging.sql.session import Session


def labelled(table: pa.Table) -> pa.Table:
    """A table as the engine's relations have it: columns under their labels."""
    return table.rename_columns([column_label(name) for name in table.column_names])


Check = Callable[..., ExpectationReport]


@pytest.fixture
def opened() -> Iterator[Session]:
    """A session of the engine."""
    session = Session(memory_limit="500MB")
    yield session
    session.close()


@pytest.fixture
def check(opened: Session) -> Check:
    """Checks expectations on Arrow tables: ``merged``, and where given ``changed``, ``replaced``, ``before``."""

    def run(
        *expectations: dict[str, Any], keys: tuple[str, ...] = ("id",), **given: Any
    ) -> ExpectationReport:
        relations: dict[str, Any] = {}
        for name, table in list(given.items()):
            if isinstance(table, pa.Table):
                opened.connection.register(f"given_{name}", labelled(table))
                opened.execute(f"CREATE OR REPLACE TEMP TABLE {name}_rows AS SELECT * FROM given_{name}")
                relations[name] = f"{name}_rows"
                del given[name]
        columns = columns_of(opened.connection, relations["merged"])
        suite = parse_suite({"name": "suite", "expectations": list(expectations)}, columns)
        return check_expectations(opened, suite, keys=keys, **relations, **given)

    return run
