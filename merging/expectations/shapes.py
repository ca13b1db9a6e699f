"""What expectations ask for, as forms ask it: the arguments of each type, and the columns that it suits."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from merging.expectations.catalogue import CATALOGUE
from merging.expectations.expectation import Argument
from merging.expectations.values import NUMERIC, family
from merging.model import Column

_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_MOST_DIGITS = 50


@dataclass(frozen=True)
class ExpectationShape:
    """A type of expectation for a table: its arguments by name, and the types of those columns that it can judge."""

    type: str
    arguments: Mapping[str, Argument]
    column_types: Mapping[str, str]

    @property
    def judges_columns(self) -> bool:
        """Whether it is asked of columns, not of the table as a whole."""
        return any(argument.kind in ("column", "columns") for argument in self.arguments.values())


def expectation_shapes(columns: Sequence[Column]) -> dict[str, ExpectationShape]:
    """Every type of expectation for a table of these columns, by its name."""
    return {
        entry.type: ExpectationShape(
            entry.type,
            entry.arguments,
            {column.name: column.type for column in columns if family(column.type) in entry.families},
        )
        for entry in CATALOGUE.values()
    }


def suite_value(text: str, type_name: str) -> Any:
    """What somebody typed as a value of a suite, in JSON, for a column of this type.

    What is none of the type stays the text that it is: reading the suite says what is wrong with it.
    """
    kind = family(type_name)
    if kind == "boolean":
        return {"true": True, "false": False}.get(text.strip().lower(), text)
    if kind not in NUMERIC:
        return text if kind == "text" else text.strip()
    written = text.strip()
    if _WHOLE.fullmatch(written):
        return int(written) if len(written) < _MOST_DIGITS else text
    return float(written) if _NUMBER.fullmatch(written) and math.isfinite(float(written)) else text
