"""Whether values rise or fall in the order of the key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from merging.expectations.expectation import Argument, Entry, KeyOrder
from merging.expectations.kinds.arguments import COLUMN, MOSTLY
from merging.expectations.values import ORDERED

_ARGUMENTS = {**COLUMN, "strictly": Argument("flag", default=False), **MOSTLY}


def _words(direction: str) -> Callable[[Mapping[str, Any]], str]:
    def say(given: Mapping[str, Any]) -> str:
        strictly = "strictly " if given["strictly"] else ""
        return f"In the order of the key, {given['column']} is {strictly}{direction}"

    return say


ENTRIES = (
    Entry("expect_column_values_to_be_increasing", _ARGUMENTS, KeyOrder(">"), _words("increasing"), ORDERED),
    Entry("expect_column_values_to_be_decreasing", _ARGUMENTS, KeyOrder("<"), _words("decreasing"), ORDERED),
)
