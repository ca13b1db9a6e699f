"""Whatever DuckDB raises leaves every public function as an error of the engine's family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import merging
from merging import MergeRequest
from merging.errors import EngineFailed
from merging.sql.engines import ENGINES
from tests.merging.world import World

OPERATIONS: dict[str, Callable[[World, MergeRequest], Any]] = {
    "stage": lambda world, _: world.stage([{"id": 1, "a": 7}]),
    "plan": lambda _, request: merging.plan(request),
    "merge": lambda _, request: merging.merge(request),
    "preview": lambda world, _: merging.preview(world.uri, primary_keys=world.keys),
    "check_keys": lambda world, _: merging.check_keys(world.uri, world.keys),
    "changes_under": lambda _, request: merging.changes_under(request),
    "rebase": lambda _, request: merging.rebase(request),
    "propose_expectations": lambda world, _: merging.propose_expectations(world.uri),
    "create_table": lambda world, _: merging.create_table(f"{world.uri}-2", pa.table({"id": [1]})),
}


class _Failing:
    """A connection on which nothing works but its end."""

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> _Failing:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def cursor(self) -> _Failing:
        return self

    def fetchall(self) -> list[Any]:
        return []

    def __getattr__(self, name: str) -> Any:
        def fail(*given: Any, **_: Any) -> Any:
            if given and str(given[0]).startswith(("SET ", "SELECT current_setting('allow_")):
                return self
            raise duckdb.OutOfMemoryException(f"Out of Memory Error: {name}")

        return fail


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("when", ["opening", "working"])
def test_fd27_what_the_engine_has_no_memory_for_is_told_with_the_way_out(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str, when: str
) -> None:
    request = world.request(world.stage([{"id": 1, "a": 7}]))
    before = world.rows()

    def connect(*_: Any, **__: Any) -> Any:
        if when == "opening":
            raise duckdb.OutOfMemoryException("Out of Memory Error: no")
        return _Failing()

    with monkeypatch.context() as patched:
        ENGINES.close()  # none is left that could be used again
        patched.setattr(duckdb, "connect", connect)
        with pytest.raises(EngineFailed, match="HEADGATE_ENGINE_MEMORY"):
            OPERATIONS[name](world, request)
    assert world.rows() == before
    assert world.version == world.base_version
