"""How the values of a column are spread: quantiles, distances from the mean, a given distribution, outliers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from merging.expectations.expectation import Argument, Entry, Measured, TableMetric
from merging.expectations.findings import Counts, Finding
from merging.expectations.kinds.arguments import COLUMN, MOSTLY
from merging.expectations.kinds.predicates import column_of
from merging.expectations.values import NUMERIC, TEXT
from merging.expectations.wording import limits
from merging.scratch import scratch_folder
from merging.sql.quoting import column_sql
from merging.sql.session import Session

_BATCH = 100_000


def _quantiles(found: Measured) -> Finding:
    ranges = found.expectation.arguments["quantile_ranges"]
    quantiles = [quantile for quantile, _, _ in ranges]
    values = _values_at(found, quantiles)
    within = [
        value is not None and (low is None or value >= low) and (high is None or value <= high)
        for value, (_, low, high) in zip(values, ranges, strict=True)
    ]
    return Finding(all(within), {"quantiles": quantiles, "values": values})


def _values_at(found: Measured, quantiles: list[float]) -> list[float | None]:
    """numpy's quantiles: the value at place q (n - 1), between two rows as the interpolation says."""
    rows = found.numbers["values"]
    if not rows:
        return [None] * len(quantiles)
    places = [quantile * (rows - 1) for quantile in quantiles]
    lows = [math.floor(place) for place in places]
    needed = sorted({*lows, *(min(low + 1, rows - 1) for low in lows)})
    marks = ", ".join(f"{(place + 0.5) / rows!r}" for place in needed)
    name, _ = column_of(found.expectation)
    [cells] = found.opened.row(
        f"SELECT quantile_disc({column_sql(name)}::DOUBLE, [{marks}]) FROM {found.relation} "
        f"WHERE {found.expectation.judged}"
    )
    at = dict(zip(needed, cells, strict=True))
    how = found.expectation.arguments["allow_relative_error"]
    return [
        _interpolated(at[low], at[min(low + 1, rows - 1)], place - low, low, how)
        for low, place in zip(lows, places, strict=True)
    ]


def _interpolated(low: float, high: float, share: float, place: int, how: str) -> float:
    if how == "lower" or share == 0:
        return low
    if how == "higher":
        return high
    if how == "midpoint":
        return (low + high) / 2
    if how == "nearest":
        upward = share > 0.5 or (share == 0.5 and place % 2 == 1)
        return high if upward else low
    return low + (high - low) * share


def _quantile_words(given: Mapping[str, Any]) -> str:
    parts = [
        f"the {quantile * 100:g} % quantile is {limits({'min_value': low, 'max_value': high})}"
        for quantile, low, high in given["quantile_ranges"]
    ]
    return f"In {given['column']}, {', '.join(parts)}"


def _z_scores(found: Measured) -> Finding:
    numbers = found.numbers
    fails = _too_far(found)
    failing = 0
    if fails is not None:
        failing = found.opened.number(
            f"SELECT count(*) FROM {found.relation} WHERE {found.expectation.judged} AND {fails}"
        )
    counts = Counts(numbers["rows"], failing, numbers["rows"] - numbers["values"])
    observed = {"mean": numbers["mean"], "standard_deviation": numbers["stdev"]}
    return Finding(counts.satisfies(found.expectation.mostly), observed, counts)


def _too_far(found: Measured) -> str | None:
    """SQL: a judged row's z-score is too large. None, as no row's is, where the spread is no number or nothing."""
    mean, spread = found.numbers["mean"], found.numbers["stdev"]
    if spread is None or math.isnan(spread) or spread == 0 or mean is None or math.isnan(mean):
        return None
    name, _ = column_of(found.expectation)
    score = f"(({column_sql(name)}::DOUBLE - {mean!r}::DOUBLE) / {spread!r}::DOUBLE)"
    threshold = float(found.expectation.arguments["threshold"])
    if found.expectation.arguments["double_sided"]:
        score, threshold = f"abs({score})", abs(threshold)
    return f"(NOT {score} < {threshold!r}::DOUBLE)"


def _z_score_words(given: Mapping[str, Any]) -> str:
    side = "away from" if given["double_sided"] else "above"
    return f"Each {given['column']} is less than {given['threshold']:g} standard deviations {side} the mean"


def _outlier_words(given: Mapping[str, Any]) -> str:
    unit = (
        "interquartile ranges outside the quartiles"
        if given["method"] == "iqr"
        else "standard deviations off"
    )
    return f"No {given['column']} lies more than {given['multiplier']:g} {unit}"


def _by_great_expectations(found: Measured) -> Finding:
    expectation = found.expectation
    # It cannot reckon with decimals and floats together.
    listed = ", ".join(
        f"{column_sql(name)}::DOUBLE AS {column_sql(name)}" if kind == "decimal" else column_sql(name)
        for name, kind in expectation.families.items()
    )
    query = f"SELECT {listed} FROM {found.relation} WHERE {expectation.domain}"
    with scratch_folder("check") as folder:
        file = str(Path(folder) / "column.arrow")
        _write(found.opened, query, list(expectation.families), file)
        question = {"type": expectation.type, "kwargs": dict(expectation.kwargs), "file": file}
        answer = found.cage.ask(expectation.number, "merging.expectations.border:verdict", question)
    counts = Counts(*answer["counts"]) if answer["counts"] is not None else None
    return Finding(answer["ok"], answer["observed"], counts)


def _write(opened: Session, query: str, names: Sequence[str], file: str) -> None:
    """The rows of a query as an Arrow file, a batch at a time."""
    with opened.connection.sql(query).to_arrow_reader(_BATCH) as rows:
        schema = pa.schema([field.with_name(name) for field, name in zip(rows.schema, names, strict=True)])
        with pa.ipc.new_file(file, schema) as written:
            for batch in rows:
                written.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))


ENTRIES = (
    Entry(
        "expect_column_quantile_values_to_be_between",
        {
            **COLUMN,
            "quantile_ranges": Argument("quantiles", required=True),
            "allow_relative_error": Argument(
                "choice", default="nearest", choices=("linear", "lower", "higher", "midpoint", "nearest")
            ),
        },
        TableMetric(_quantiles, ("values",)),
        _quantile_words,
        NUMERIC,
    ),
    Entry(
        "expect_column_value_z_scores_to_be_less_than",
        {
            **COLUMN,
            "threshold": Argument("number", required=True),
            "double_sided": Argument("flag", required=True),
            **MOSTLY,
        },
        TableMetric(_z_scores, ("rows", "values", "mean", "stdev")),
        _z_score_words,
        NUMERIC,
    ),
    Entry(
        "expect_column_kl_divergence_to_be_less_than",
        {
            **COLUMN,
            "partition_object": Argument("object", required=True),
            "threshold": Argument("number", required=True, least=0),
            "internal_weight_holdout": Argument("number", default=0, least=0, most=1),
            "tail_weight_holdout": Argument("number", default=0, least=0, most=1),
            "bucketize_data": Argument("flag", default=True),
        },
        TableMetric(_by_great_expectations, route="great_expectations"),
        "The distribution of {column} differs from the given one by a Kullback-Leibler divergence of at "
        "most {threshold:g}",
        NUMERIC | TEXT,
    ),
    Entry(
        "expect_column_values_to_not_be_outliers",
        {
            **COLUMN,
            "method": Argument("choice", default="iqr", choices=("iqr", "std")),
            "multiplier": Argument("number", default=1.5, least=0),
            **MOSTLY,
        },
        TableMetric(_by_great_expectations, route="great_expectations"),
        _outlier_words,
        NUMERIC,
    ),
)
