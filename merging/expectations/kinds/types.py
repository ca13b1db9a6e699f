"""Of which type a column is. Delta's type names mean the table's types; other names mean pandas' types.

pandas turns whole numbers with missing values into floats, so what it calls a column depends on the rows; that is
followed, as Great Expectations does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from merging.expectations.expectation import Argument, ColumnsJudge, Entry, Expectation, TableColumns
from merging.expectations.findings import Counts, Finding
from merging.expectations.judged_rows import JudgedRows
from merging.expectations.kinds.arguments import COLUMN, MOSTLY
from merging.expectations.kinds.predicates import column_of
from merging.expectations.wording import listed
from merging.sql.quoting import column_label, column_sql
from merging.sql.session import Session

_DELTA_NAMES = frozenset(
    {
        "byte",
        "short",
        "integer",
        "long",
        "double",
        "string",
        "boolean",
        "date",
        "timestamp",
        "timestamp_ntz",
        "binary",
        "decimal",
    }
)
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "none": (type(None),),
    "bool": (bool,),
    "int": (int,),
    "long": (int,),
    "float": (float,),
    "bytes": (bytes,),
    "complex": (complex,),
    "str": (str,),
    "string_types": (str,),
    "list": (list,),
    "dict": (dict,),
}


def _is_of_type(table: TableColumns) -> Finding:
    """Whether the column is of (one of) the types."""
    opened, expectation = table.opened, table.expectation
    name, _ = column_of(expectation)
    [delta_type] = [column.type for column in table.columns if column.name == name]
    wanted = _wanted(expectation)
    named = [one for one in wanted if one in _DELTA_NAMES or one.startswith("decimal(")]
    if any(one in (delta_type, delta_type.split("(")[0]) for one in named):
        return Finding(True, delta_type)
    others = [one for one in wanted if one not in named]
    if not others:
        return Finding(False, delta_type)
    rows, judged = opened.row(
        f"SELECT count(*) FILTER ({expectation.domain}), count(*) FILTER ({expectation.judged}) "
        f"FROM {table.relation}"
    )
    sample = opened.table(
        f"SELECT {column_sql(name)} FROM {table.relation} WHERE {expectation.judged} LIMIT 1"
    )
    if judged < rows:
        empty = opened.table(f"SELECT NULL::{_type_of(opened, table.relation, name)} AS {column_sql(name)}")
        sample = pa.concat_tables([sample, empty])
    column = sample.to_pandas()[column_label(name)]
    accepted = _accepted(others)
    objects = column.dtype == object and expectation.arguments.get("type_") not in ("object", "object_", "O")
    if not objects:
        return Finding(column.dtype.type in accepted, column.dtype.type.__name__)
    fits = bool(accepted) and all(isinstance(value, tuple(accepted)) for value in column if value is not None)
    counts = Counts(rows, 0 if fits else judged, rows - judged)
    return Finding(counts.satisfies(expectation.mostly), "object_", counts)


def _wanted(expectation: Expectation) -> Sequence[str]:
    given = expectation.arguments
    listed: Sequence[str] = given["type_list"] if "type_list" in given else (given["type_"],)
    return listed


def _type_of(opened: Session, relation: JudgedRows, name: str) -> str:
    described = opened.connection.execute(f"DESCRIBE SELECT {column_sql(name)} FROM {relation}").fetchall()
    return str(described[0][1])


def _accepted(names: Sequence[str]) -> list[type]:
    """The scalar types that names stand for, as Great Expectations looks them up."""
    # Imported when needed: few suites ask for types of pandas.
    import pandas as pd

    found: list[type] = []
    for name in names:
        try:
            found.append(np.dtype(name).type)
        except (TypeError, ValueError, SyntaxError):  # what numpy says of names that it does not know
            for module in (pd, pd.core.dtypes.dtypes):
                candidate = getattr(module, name, None)
                if isinstance(candidate, type):
                    found.append(candidate)
        found.extend(_PYTHON_TYPES.get(name.lower(), ()))
    return found


ENTRIES = (
    Entry(
        "expect_column_values_to_be_of_type",
        {**COLUMN, "type_": Argument("text", required=True), **MOSTLY},
        ColumnsJudge(_is_of_type),
        "{column} is of type {type_}",
    ),
    Entry(
        "expect_column_values_to_be_in_type_list",
        {**COLUMN, "type_list": Argument("texts", required=True), **MOSTLY},
        ColumnsJudge(_is_of_type),
        lambda given: f"{given['column']} is of type {listed(given['type_list'])}",
    ),
)
