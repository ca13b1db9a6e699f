"""Expectations in plain English, for owners who do not read JSON and for the reports of failed merges."""

from __future__ import annotations

from merging.expectations.expectation import Expectation


def explain(expectation: Expectation) -> str:
    """The expectation as one sentence."""
    said = expectation.entry.sentence(expectation.arguments)
    if expectation.mostly < 1:
        said = f"In at least {expectation.mostly * 100:g} % of the rows, {said[0].lower()}{said[1:]}"
    if expectation.condition is not None:
        said = f"{said}, looking only at rows where {expectation.condition.words()}"
    return f"{said}."
