"""What was chosen for conflicts: which choices there are, whether they hold, and the values they put in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pyarrow as pa

from merging.errors import InvalidResolution
from merging.model import Choice, ConflictKind, Resolution
from merging.sql.parsing import Refused, cell_value
from merging.sql.session import Session
from merging.sql.types import duckdb_type
from merging.sql.values import arrow_values, read_text, stored_value
from merging.threeway.alignment import Alignment, MergedColumn

ROW = -1
"""The column number of a conflict of the row itself."""

Default = Literal["current", "proposed"]


def legal_choices(kind: ConflictKind, *, row: bool) -> tuple[Choice, ...]:
    """What may be chosen for a conflict of a kind."""
    if kind == "schema":
        return ("current",)
    if kind in ("modify/delete", "delete/modify"):
        return ("current", "proposed", "keep", "delete")
    if row:
        return ("current", "proposed")
    if kind == "add/add":
        return ("current", "proposed", "custom")
    return ("current", "proposed", "base", "custom")


def apply_resolutions(opened: Session, alignment: Alignment, resolutions: Sequence[Resolution]) -> None:
    """Note choices in ``conflicts`` where key, column and inputs digest match; the last choice counts.

    Raises InvalidResolution for a choice that its conflict does not offer or a value that does not fit.
    """
    if not resolutions:
        return
    by_name = {column.name: column for column in alignment.columns}
    key_types = [by_name[name].type for name in alignment.keys]
    keys: list[list[object]] = [[] for _ in alignment.keys]
    numbers: list[int] = []
    kept: list[int] = []
    for pick, resolution in enumerate(resolutions):
        if resolution.column is not None and resolution.column not in by_name:
            continue
        try:
            values = [
                cell_value(resolution.key[name], kind)
                for name, kind in zip(alignment.keys, key_types, strict=True)
            ]
        except (KeyError, Refused) as error:
            raise InvalidResolution(
                f"A resolution has the key {dict(resolution.key)}, which does not fit the key columns "
                f"{', '.join(alignment.keys)}.",
            ) from error
        for place, value in enumerate(values):
            keys[place].append(value)
        numbers.append(ROW if resolution.column is None else by_name[resolution.column].position)
        kept.append(pick)
    data = {
        f"k{place}": arrow_values(values, kind)
        for place, (values, kind) in enumerate(zip(keys, key_types, strict=True))
    }
    data["col"] = pa.array(numbers, pa.int32())
    data["choice"] = pa.array([resolutions[pick].choice for pick in kept], pa.string())
    data["digest"] = pa.array([resolutions[pick].inputs_digest for pick in kept], pa.string())
    data["pick"] = pa.array(kept, pa.int64())
    opened.connection.register("given_resolutions", pa.table(data))
    on = " AND ".join(f"j.k{place} = r.k{place}" for place in range(len(alignment.keys)))
    opened.execute(
        "CREATE TEMP TABLE resolutions AS SELECT j.n, r.col, r.digest, arg_max(r.choice, r.pick) AS choice, "
        f"max(r.pick) AS pick FROM given_resolutions r JOIN joined j ON {on} GROUP BY j.n, r.col, r.digest"
    )
    opened.connection.unregister("given_resolutions")
    opened.execute(
        "UPDATE conflicts SET choice = r.choice, pick = r.pick FROM resolutions r "
        "WHERE conflicts.n = r.n AND conflicts.col = r.col AND conflicts.digest = r.digest"
    )
    _refuse_illegal(opened, resolutions)


def _refuse_illegal(opened: Session, resolutions: Sequence[Resolution]) -> None:
    used = opened.rows(
        "SELECT DISTINCT kind, col < 0 AS is_row, choice, min(pick) AS pick FROM conflicts WHERE choice IS NOT NULL "
        "GROUP BY ALL"
    )
    for found in used:
        offered = legal_choices(found["kind"], row=found["is_row"])
        if found["choice"] not in offered:
            example = resolutions[found["pick"]]
            raise InvalidResolution(
                f"{found['choice']} cannot be chosen for a {found['kind']} conflict "
                f"(key {dict(example.key)}); it offers {', '.join(offered)}.",
                data={"choice": found["choice"], "legal_choices": list(offered)},
            )


def hold_choices(
    opened: Session, columns: Sequence[MergedColumn], resolutions: Sequence[Resolution], unresolved: Default
) -> frozenset[int]:
    """Fill ``choices`` with what was chosen for the conflicts in cells of the columns, for each row that has any:
    ``choices`` by the column's position, and ``v<i>``, the values of custom ones.

    Returns the positions of the columns that have such values. Wide rows are joined once: with one join a column, each
    would carry all the columns of the rows.
    """
    picked = opened.connection.execute(
        f"SELECT n, col, pick FROM conflicts WHERE col <> {ROW} AND choice = 'custom'"
    ).fetchall()
    places = {n: place for place, n in enumerate(dict.fromkeys(n for n, _, _ in picked))}
    custom: dict[int, list[Any]] = {col: [None] * len(places) for col in {col for _, col, _ in picked}}
    given = [column for column in columns if column.position in custom]
    by_position = {column.position: column for column in given}
    for n, col, pick in picked:
        custom[col][places[n]] = chosen_value(resolutions[pick], by_position[col])
    data = {f"v{column.position}": arrow_values(custom[column.position], column.type) for column in given}
    opened.connection.register("given_values", pa.table({"n": pa.array(places, pa.int64()), **data}))
    values = "".join(
        f", g.v{column.position}::{duckdb_type(column.type)} AS v{column.position}" for column in given
    )
    opened.execute(
        f"CREATE TEMP TABLE choices AS SELECT c.n, c.choices{values} FROM "
        f"(SELECT n, map(list(col), list(coalesce(choice, '{unresolved}'))) AS choices FROM conflicts "
        f"WHERE col <> {ROW} GROUP BY n) c LEFT JOIN given_values g ON g.n = c.n"
    )
    opened.connection.unregister("given_values")
    return frozenset(custom)


def chosen_value(resolution: Resolution, column: MergedColumn) -> Any:
    """A custom choice's value in its column's type. Raises InvalidResolution where it does not fit."""
    try:
        return cell_value(resolution.value, column.type)
    except Refused as error:
        raise InvalidResolution(
            f"The value chosen for {column.name} (key {dict(resolution.key)}) does not fit: {error}",
            data={"column": column.name},
        ) from error


def value_of(alignment: Alignment, name: str, value: Any, *, as_text: bool) -> Any:
    """A value that somebody gives for a column by its name, as the merged table holds it.

    ``value`` is JSON, or with ``as_text`` the text of a cell. Raises InvalidResolution where it does not fit.
    """
    types = {one.name: one.type for one in alignment.columns}
    if name not in types:
        raise InvalidResolution(f"The merged table has no column {name}.", data={"column": name})
    kind = types[name]
    try:
        typed = read_text(value, kind) if as_text and value is not None else cell_value(value, kind)
    except Refused as error:
        raise InvalidResolution(
            f"The value chosen for {name} does not fit: {error}", data={"column": name}
        ) from error
    return stored_value(typed, kind)
