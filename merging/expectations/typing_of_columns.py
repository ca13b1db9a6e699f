"""Expectations on a column's type. Delta's type names mean the table's types; other names mean pandas' types.

pandas turns whole numbers with missing values into floats, so what it calls a column depends on the rows; that is
followed, as Great Expectations does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from merging.expectations.metrics import Finding
from merging.expectations.predicates import considered, domain
from merging.expectations.report import Counts
from merging.expectations.suites import Expectation
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


def find_type(opened: Session, expectation: Expectation, relation: str, delta_type: str) -> Finding:
    """Whether the column is of (one of) the types."""
    given = expectation.arguments
    wanted: Sequence[str] = given["type_list"] if "type_list" in given else (given["type_"],)
    named = [name for name in wanted if name in _DELTA_NAMES or name.startswith("decimal(")]
    if any(name in (delta_type, delta_type.split("(")[0]) for name in named):
        return Finding(True, delta_type)
    others = [name for name in wanted if name not in named]
    if not others:
        return Finding(False, delta_type)
    [name] = expectation.columns
    where = domain(expectation)
    rows, judged = opened.row(
        f"SELECT count(*) FILTER ({where}), count(*) FILTER ({where} AND {considered(expectation)}) FROM {relation}"
    )
    sample = opened.table(
        f"SELECT {column_sql(name)} FROM {relation} WHERE {where} AND {considered(expectation)} LIMIT 1"
    )
    if judged < rows:
        empty = opened.table(f"SELECT NULL::{_type_of(opened, relation, name)} AS {column_sql(name)}")
        sample = pa.concat_tables([sample, empty])
    column = sample.to_pandas()[column_label(name)]
    accepted = _accepted(others)
    objects = column.dtype == object and not (
        "type_" in given and given["type_"] in ("object", "object_", "O")
    )
    if not objects:
        return Finding(column.dtype.type in accepted, column.dtype.type.__name__)
    fits = (
        all(isinstance(value, tuple(accepted)) for value in column if value is not None)
        if accepted
        else False
    )
    counts = Counts(rows, 0 if fits else judged, rows - judged)
    return Finding(counts.satisfies(expectation.mostly), "object_", counts)


def _type_of(opened: Session, relation: str, name: str) -> str:
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
        except TypeError:
            for module in (pd, pd.core.dtypes.dtypes):
                candidate = getattr(module, name, None)
                if isinstance(candidate, type):
                    found.append(candidate)
        found.extend(_PYTHON_TYPES.get(name.lower(), ()))
    return found
