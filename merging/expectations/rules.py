"""What a dataset demands of a merged result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from merging.expectations.suites import Suite


@dataclass(frozen=True)
class ExpectationRules:
    """What a dataset demands of a merged result. ``suite`` is a suite in JSON (text or parsed) or one that was read.

    ``block_pre_existing``: failures that the table already had block, too. ``overridden``: the numbers (places in the
    suite, from 0) of expectations that somebody answers for: their failures are reported and do not block.
    ``version``: the caller's own name for this state of the suite, told in the report.
    """

    suite: Suite | Mapping[str, Any] | str
    block_pre_existing: bool = False
    overridden: frozenset[int] = frozenset()
    version: int | None = None


def rules_of(given: ExpectationRules | Suite | Mapping[str, Any] | str) -> ExpectationRules:
    """Rules from what a merge request carries: rules, or a suite alone."""
    return given if isinstance(given, ExpectationRules) else ExpectationRules(given)
