"""One object per commit strategy: its name, and how rows leave a file under it."""

from __future__ import annotations

import pytest

from merging.delta.actions import DataFile
from merging.delta.strategies import strategy_of


def file_at(logged_path: str) -> DataFile:
    return DataFile(logged_path, 1, {}, 0, None, None, None)


@pytest.mark.parametrize(
    ("deletion_vectors", "name", "plain", "odd"),
    [(True, "merge-on-read", True, False), (False, "copy-on-write", False, False)],
)
def test_a_strategy_says_its_name_and_which_files_it_marks(
    deletion_vectors: bool, name: str, plain: bool, odd: bool
) -> None:
    strategy = strategy_of(deletion_vectors=deletion_vectors)
    assert strategy.name == name
    assert strategy.marks(file_at("part=a/part-1.parquet")) is plain
    # Logged as "part=a%2520b", stored in a folder whose name needs encoding: Polars would show its dead rows.
    assert strategy.marks(file_at("part=a%2520b/part-1.parquet")) is odd
