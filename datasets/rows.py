"""Rows and cells for all that stands above the engine, and their form in JSON: what the database, the API and forms
exchange, exactly.

Cells travel as the engine gives them. They become JSON where they leave (the API's serializers) and where the database
keeps them (``keepable``). The form of each type is the engine's (``merging.json_form``, in words in docs/api.md under
"Values").
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import merging
from datasets.errors import InvalidInput

# What the engine tells, for faces that do not know it.
CellText = merging.CellText
ChangedRow = merging.ChangedRow
ChangesFilter = merging.ChangesFilter
ChangesPage = merging.ChangesPage
Differences = merging.Differences
FileFormat = merging.FileFormat
RowStream = merging.RowStream
encoded = merging.encoded
Conflict = merging.Conflict
ConflictFilter = merging.ConflictFilter
ConflictKind = merging.ConflictKind
Held = merging.Held
InvalidFilter = merging.InvalidFilter
InvalidCursor = merging.InvalidCursor
FarMoment = merging.FarMoment
LeftOut = merging.LeftOut
Page = merging.Page
Row = merging.Row
Sides = merging.Sides
SplitCounts = merging.SplitCounts
TablePage = merging.TablePage
#: That the store of a table gives nothing now; what the database knows of it can be shown.
TableUnreachable = merging.TableUnreachable
#: Why nothing of a table can be shown.
TableProblem = (
    merging.UnsupportedTable,
    merging.TableNotFound,
    merging.TableElsewhere,
    merging.FilesElsewhere,
)
ValueGroup = merging.ValueGroup
VersionSize = merging.VersionSize
same_value = merging.same_value
ColumnAction = merging.ColumnAction


def column_actions(given: Mapping[str, Mapping[str, str]]) -> dict[str, merging.ColumnAction]:
    """What was decided about columns, by their names, from its form in JSON."""
    return {name: ColumnAction(**action) for name, action in given.items()}  # type: ignore[arg-type]  # checked


def json_value(value: Any) -> Any:
    """A cell, or cells by column, as JSON values; nothing is rounded, and JSON values stay as they are."""
    return merging.json_form(value)


def text_value(value: Any) -> str:
    """A cell, or its JSON value, as the text that a form or an address holds for it."""
    return merging.text_form(value)


def typed_value(value: Any, type_name: str) -> Any:
    """A JSON value or text as a value of a simple Delta type. Raises ``InvalidInput``."""
    try:
        return merging.typed_value(value, type_name)
    except (merging.Refused, merging.UnsupportedTable) as error:
        raise InvalidInput(f"{shown_json(value)} is no {type_name}: {error}") from error


def changes_filter(given: Mapping[str, Any]) -> ChangesFilter:
    """The filter that parameters of addresses and members of bodies name; empty ones name nothing.

    A value is a text; ``old_is`` and ``new_is`` say ``null`` or ``empty`` for those that no text can stand for.
    """

    def side(name: str) -> CellText | None:
        said = given.get(f"{name}_is")
        if said:
            return CellText(None if said == "null" else "")
        return CellText(given[name]) if given.get(name) else None

    return ChangesFilter(
        operation=given.get("operation") or None,
        column=given.get("column") or None,
        key=given.get("key") or None,
        old=side("old"),
        new=side("new"),
        became_null=bool(given.get("became_null")),
        unusual=bool(given.get("unusual")),
    )


def storable(value: Any) -> Any:
    """JSON values with the character U+0000, which a cell may hold and PostgreSQL may not, shown as U+2400."""
    if isinstance(value, str):
        return value.replace("\x00", "\u2400")
    if isinstance(value, Mapping):
        return {storable(name): storable(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [storable(inner) for inner in value]
    return value


#: The one member of an object that holds a JSON text instead of a value.
_AS_TEXT = "$json"


def keepable(value: Any) -> Any:
    """A cell, or cells by column, as a JSON column keeps them exactly; ``kept`` gives back their JSON values.

    PostgreSQL has no place for the character U+0000, writes a float with an exponent as a whole number, and orders the
    members of an object by the length of their names. What would come back otherwise is kept as its JSON text.
    """
    form = json_value(value)
    return form if _survives(form) else {_AS_TEXT: json.dumps(form, allow_nan=False, ensure_ascii=False)}


def kept(stored: Any) -> Any:
    """The JSON values of what ``keepable`` was given."""
    if isinstance(stored, Mapping) and list(stored) == [_AS_TEXT]:
        return json.loads(stored[_AS_TEXT])
    return stored


def _survives(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" not in value
    if isinstance(value, float):
        return False
    if isinstance(value, Mapping):
        return (
            list(value) != [_AS_TEXT]
            and list(value) == sorted(value, key=_place_in_postgresql)
            and all(_survives(name) and _survives(inner) for name, inner in value.items())
        )
    if isinstance(value, list | tuple):
        return all(_survives(inner) for inner in value)
    return True


def _place_in_postgresql(name: str) -> tuple[int, bytes]:
    """By what ``jsonb`` orders the members of an object (PostgreSQL 17, 8.14: "shorter keys are stored before")."""
    written = name.encode()
    return len(written), written


def parse_json(text: str, field: str, *, cells: bool = False) -> Any:
    """What people send as JSON in one field; with ``cells`` it may hold every character that a cell may.

    Raises ``InvalidInput``.
    """
    try:
        return merging.read_json(text, cells=cells)
    except ValueError as error:
        raise InvalidInput(str(error), errors={field: [str(error)]}) from error


def write_json(value: Any) -> str:
    """The JSON text of what ``parse_json`` gave, its numbers with all their digits."""
    return merging.write_json(value)


def key_digest(key: Mapping[str, Any]) -> str:
    """A short, exact name for a key, whatever its columns hold."""
    text = json.dumps(json_value(dict(key)), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def column_types(schema_json: Mapping[str, Any]) -> dict[str, str]:
    """Column name -> Delta type name, from a table's schema; nested types by their kind."""
    return {
        field["name"]: field["type"] if isinstance(field["type"], str) else field["type"]["type"]
        for field in schema_json["fields"]
    }


def filled_columns(schema_json: Mapping[str, Any]) -> dict[str, merging.FilledColumn]:
    """The columns that the table fills itself where a new row says nothing of them, from its schema."""
    return merging.filled_columns(json.dumps(schema_json))


def typed_key(key: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    """A key from JSON as Python values of the table's column types.

    Raises ``InvalidInput`` naming the column whose value does not fit.
    """
    typed = {}
    for name, value in key.items():
        if name not in types:
            raise InvalidInput(f"The table has no column {name}.")
        try:
            typed[name] = typed_value(value, types[name])
        except InvalidInput as error:
            raise InvalidInput(f"The key column {name}: {error.message}") from error
    return typed


def typed_row(stored: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    """Cells that were kept as JSON as Python values of their columns' types, for people to read.

    What does not fit its column, since the table has another by now or the type is a nested one, stays as it was kept.
    """
    return {name: _typed_or_kept(value, types.get(name, "")) for name, value in stored.items()}


def _typed_or_kept(value: Any, type_name: str) -> Any:
    try:
        return typed_value(value, type_name)
    except InvalidInput:
        return value


def shown_json(value: Any) -> str:
    """A JSON value as a sentence may quote it: cut, and with nothing in it that cannot be stored."""
    text = json.dumps(json_value(value))
    return text if len(text) <= 80 else text[:79] + "…"
