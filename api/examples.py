"""Examples in the OpenAPI document: for each body that is sent or answered one that fits its schema.

They are made from the schemas, so that none is forgotten and none is of yesterday; ``_SAID`` is what members of a name
hold. A test judges each of them by its schema.
"""

from collections.abc import Iterator, Mapping
from typing import Any

#: By the name of a member.
_SAID: Mapping[str, Any] = {
    "actor": "carl",
    "action": "change_request.submitted",
    "asked_by": "carl",
    "author": "carl",
    "base": 52,
    "body": "Where does the 55 come from?",
    "cells_updated": {"seats": 3},
    "chosen_by": "carl",
    "column": "seats",
    "columns": ["seats", "year"],
    "commit_id": "v123",
    "cr_id": "CR-128",
    "change_request": "CR-128",
    "created_by": "carl",
    "current": 54,
    "dataset_id": 7,
    "description": "The years were missing since the import in May.",
    "digest": "5b1f9c0e",
    "document": {"name": "planes", "expectations": []},
    "file_name": "years.csv",
    "filter": "seats:>:100",
    "inputs_digest": "9d2c41f7",
    "key": {"tailnum": "N101"},
    "kind": "user",
    "message": "Years from the register of 2026.",
    "name": "planes",
    "next": None,
    "note": "Seats are never negative.",
    "partition_by": ["year"],
    "partition_columns": ["year"],
    "plan_digest": "7ab3e1d2",
    "primary_keys": ["tailnum"],
    "project": "flights",
    "project_id": "flights",
    "proposed": 55,
    "reason": "The register has it so.",
    "requested_by": "carl",
    "reviewer": "olivia",
    "revision_digest": "5b1f9c0e",
    "row_key": {"tailnum": "N101"},
    "slug": "planes",
    "table_uri": "/data/delta/tables/flights/planes",
    "title": "Fill in missing years",
    "type": "long",
    "username": "carl",
    "value": 55,
    "warnings": [],
}
_BY_FORMAT: Mapping[str, Any] = {
    "email": "olivia@example.org",
    "date-time": "2026-05-17T09:30:00Z",
    "date": "2026-05-17",
    "uuid": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "uri": "https://headgate.example.org/api/v1/change_requests/CR-128",
    "binary": "tailnum,year\nN101,2004\n",
}
_DEEPEST = 6


def add_examples(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A hook of drf-spectacular: give every schema that is a body an example."""
    schemas = result["components"]["schemas"]
    for name in sorted(set(_bodies(result))):
        schema = schemas[name]
        if schema.get("type") == "object" and schema.get("properties") and "examples" not in schema:
            schema["examples"] = [_example(schema, schemas, "", 0)]
    return result


def _bodies(result: dict[str, Any]) -> Iterator[str]:
    """The names of the schemas that operations take and answer with."""
    for operations in result["paths"].values():
        for operation in operations.values():
            for place in (operation.get("requestBody", {}), *operation["responses"].values()):
                for content in place.get("content", {}).values():
                    schema = content.get("schema", {})
                    name = schema.get("$ref", schema.get("items", {}).get("$ref", "")).rpartition("/")[2]
                    if name:
                        yield name


def _example(schema: dict[str, Any], schemas: dict[str, Any], name: str, depth: int) -> Any:
    if "$ref" in schema:
        return _example(schemas[schema["$ref"].rpartition("/")[2]], schemas, name, depth)
    for choice in ("oneOf", "anyOf", "allOf"):
        if choice in schema:
            return _example(schema[choice][0], schemas, name, depth)
    if "const" in schema or schema.get("enum"):
        return schema["const"] if "const" in schema else schema["enum"][0]
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    if depth > _DEEPEST and "null" in kinds:
        return None
    if name in _SAID and _fits(_SAID[name], kinds, schema):
        return _SAID[name]
    if "object" in kinds:
        return _object(schema, schemas, depth)
    if "array" in kinds:
        return [_example(schema.get("items", {}), schemas, "", depth + 1)]
    return _plain(schema, kinds)


def _object(schema: dict[str, Any], schemas: dict[str, Any], depth: int) -> dict[str, Any]:
    found = {
        name: _example(one, schemas, name, depth + 1)
        for name, one in schema.get("properties", {}).items()
        if not one.get("readOnly") or name in schema.get("required", ())
    }
    inner = schema.get("additionalProperties")
    if not found and isinstance(inner, dict):
        return {"seats": _example(inner, schemas, "", depth + 1)}
    return found


def _fits(value: Any, kinds: list[Any], schema: dict[str, Any]) -> bool:
    if kinds == [None]:
        return True
    if "pattern" in schema and isinstance(value, str):
        return False
    names = {str: "string", int: "integer", list: "array", dict: "object", type(None): "null"}
    if isinstance(value, list):
        return "array" in kinds and schema.get("items", {}).get("type") == "string"
    if isinstance(value, dict):
        inner = schema.get("additionalProperties")
        return "object" in kinds and not schema.get("properties") and isinstance(inner, dict)
    return names[type(value)] in kinds and not ("format" in schema and isinstance(value, str))


def _plain(schema: dict[str, Any], kinds: list[Any]) -> Any:
    if "default" in schema:
        return schema["default"]
    if "boolean" in kinds:
        return False
    if "integer" in kinds or "number" in kinds:
        return max(3, schema.get("minimum", 3))
    if "string" not in kinds:
        return 55 if kinds == [None] else None
    if "pattern" in schema:
        return "0.0500" if "." in schema["pattern"] else "planes"
    return _BY_FORMAT.get(schema.get("format", ""), "text")
