"""What answers say in headers, in the OpenAPI document."""

from collections.abc import Iterator
from typing import Any

from api.schema import IDEMPOTENCY_KEY

_HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-ID": {
        "description": "Name it to an operator; the logs stand under it.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Location": {
        "description": "Where what was made, or what goes on, is found.",
        "schema": {"type": "string", "format": "uri"},
    },
    "ETag": {
        "description": "What stands for this state, where it has a version: with `If-Match` nothing else is changed.",
        "schema": {"type": "string", "examples": ['"3f7a0c5e1b2d4a69"']},
    },
    "Retry-After": {
        "description": "How many seconds to wait before the call is sent again.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {"description": "How to sign in.", "schema": {"type": "string"}},
    "Idempotent-Replayed": {
        "description": "That this is the answer of the first call with the same `Idempotency-Key`.",
        "schema": {"type": "string", "const": "true"},
    },
    "Preference-Applied": {
        "description": "What of `Prefer` decided how long the answer waited.",
        "schema": {"type": "string", "examples": ["wait=30"]},
    },
}
#: Addresses that name what they made where it is ready at once, too.
_NAMED_AT_ONCE = frozenset(f"/api/v1/datasets/{{dataset_id}}/{name}" for name in ("previews", "queries"))
#: Headers of the shared answers, beside the id of the request.
_OF_PROBLEMS = {
    "Throttled": ["Retry-After"],
    "Unavailable": ["Retry-After"],
    "NotAuthenticated": ["WWW-Authenticate"],
}


def say_headers(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A hook of drf-spectacular: which headers each answer has."""
    components = result["components"]
    components["headers"] = dict(sorted(_HEADERS.items()))
    for name, response in components["responses"].items():
        _add(response, ["X-Request-ID", *_OF_PROBLEMS.get(name, ())])
    paths = result["paths"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                if "$ref" not in response:
                    _add(response, ["X-Request-ID", *_of(path, method, operation, status)])
    return result


def _of(path: str, method: str, operation: Any, status: str) -> Iterator[str]:
    succeeds = status.startswith("2")
    if status in ("201", "202"):
        yield "Retry-After" if path.startswith("/api/v1/auth/") else "Location"
    if status == "200" and method == "post" and path in _NAMED_AT_ONCE:
        yield "Location"
    if succeeds and IDEMPOTENCY_KEY in operation.get("parameters", ()):
        yield "Idempotent-Replayed"
    if succeeds and any(one["name"] == "Prefer" for one in operation.get("parameters", ())):
        yield "Preference-Applied"
    if succeeds and status != "204":
        yield "ETag"


def _add(response: dict[str, Any], names: list[str]) -> None:
    headers = response.setdefault("headers", {})
    for name in names:
        headers[name] = {"$ref": f"#/components/headers/{name}"}
    response["headers"] = dict(sorted(headers.items()))
