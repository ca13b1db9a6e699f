"""Which columns of a table can identify its rows."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from merging.errors import InvalidKeys
from merging.sql.types import is_nested, type_name


def check_key_columns(
    schema: pa.Schema, primary_keys: list[str], compared_otherwise: Mapping[str, str] | None = None
) -> None:
    """Raise InvalidKeys unless the named columns exist and can identify rows.

    ``compared_otherwise``: columns whose values the table's other writers do not compare as they are stored, and why:
    two keys that differ here may be one key there.
    """
    if not primary_keys:
        raise InvalidKeys("No key columns were named: a merge needs at least one.")
    if len(set(primary_keys)) != len(primary_keys):
        raise InvalidKeys("A key column is named twice.", data={"columns": primary_keys})
    names = set(schema.names)
    missing = [name for name in primary_keys if name not in names]
    if missing:
        raise InvalidKeys(
            f"The table has no column {', '.join(missing)}; its columns are {', '.join(schema.names)}.",
            data={"missing": missing},
        )
    for name in primary_keys:
        data_type = schema.field(name).type
        if pa.types.is_floating(data_type):
            raise InvalidKeys(
                f"Column {name} is a {type_name(data_type)}: floating point numbers cannot be keys, since values "
                "that print alike may differ. Use a whole number, decimal, text, date or timestamp column.",
                data={"columns": [name]},
            )
        if is_nested(data_type):
            raise InvalidKeys(
                f"Column {name} is a {type_name(data_type)}: structs, arrays and maps cannot be keys.",
                data={"columns": [name]},
            )
        if compared_otherwise and name in compared_otherwise:
            raise InvalidKeys(
                f"Column {name} cannot be a key: it is a column {compared_otherwise[name]}, so keys that differ in the "
                "table's files are one key to Spark. Use another column, or one of type string.",
                data={"columns": [name]},
            )
