"""One number of a column over the whole table, between bounds.

The numbers are those of pandas: sample standard deviation, 0 as the sum of nothing, no value as the mean of nothing.
"""

from __future__ import annotations

from decimal import Decimal

from merging.expectations.expectation import Aggregate, Entry, Measured, TableMetric
from merging.expectations.findings import Finding
from merging.expectations.kinds.arguments import BOUNDS, COLUMN, NUMBERS
from merging.expectations.kinds.predicates import bounded, column_of
from merging.expectations.values import NUMERIC, ORDERED, as_kept
from merging.expectations.wording import within


def _alone(aggregate: Aggregate) -> TableMetric:
    return TableMetric(
        lambda found: bounded(found.numbers[aggregate], found.expectation.arguments), (aggregate,)
    )


def _extreme(aggregate: Aggregate) -> TableMetric:
    """A value of the column itself, so that bounds mean what they mean beside each of its values."""

    def find(found: Measured) -> Finding:
        name, _ = column_of(found.expectation)
        kind = found.expectation.types[name]
        given = found.expectation.arguments
        bounds = {
            end: as_kept(given[end], kind) for end in ("min_value", "max_value") if given.get(end) is not None
        }
        return bounded(found.numbers[aggregate], {**given, **bounds})

    return TableMetric(find, (aggregate,))


def _sum(found: Measured) -> Finding:
    total = found.numbers["sum"]
    whole = int(total) if isinstance(total, Decimal) else total
    return bounded(0 if whole is None else whole, found.expectation.arguments)


ENTRIES = (
    Entry(
        "expect_column_min_to_be_between",
        {**COLUMN, **BOUNDS},
        _extreme("min"),
        within("The smallest {column} of the table"),
        ORDERED,
    ),
    Entry(
        "expect_column_max_to_be_between",
        {**COLUMN, **BOUNDS},
        _extreme("max"),
        within("The largest {column} of the table"),
        ORDERED,
    ),
    Entry(
        "expect_column_mean_to_be_between",
        {**COLUMN, **NUMBERS},
        _alone("mean"),
        within("The mean of {column} over the table"),
        NUMERIC,
    ),
    Entry(
        "expect_column_median_to_be_between",
        {**COLUMN, **NUMBERS},
        _alone("median"),
        within("The median of {column} over the table"),
        NUMERIC,
    ),
    Entry(
        "expect_column_sum_to_be_between",
        {**COLUMN, **NUMBERS},
        TableMetric(_sum, ("sum",)),
        within("The sum of {column} over the table"),
        NUMERIC,
    ),
    Entry(
        "expect_column_stdev_to_be_between",
        {**COLUMN, **NUMBERS},
        _alone("stdev"),
        within("The standard deviation of {column} over the table"),
        NUMERIC,
    ),
)
