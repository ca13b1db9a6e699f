"""The OpenAPI document as a whole: examples that fit, headers and statuses that come."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from tests.openapi import DOCUMENT

SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
OPERATIONS: dict[str, Any] = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
WITH_EXAMPLES = sorted(name for name, schema in SCHEMAS.items() if "examples" in schema)


def test_every_body_has_an_example() -> None:
    missing = set()
    for operation in OPERATIONS.values():
        for place in (operation.get("requestBody", {}), *operation["responses"].values()):
            for content in place.get("content", {}).values():
                name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
                if name and SCHEMAS[name].get("properties"):
                    missing |= {name} - set(WITH_EXAMPLES)
    assert missing == set()
    assert len(WITH_EXAMPLES) > 40


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_fit_their_schemas(name: str) -> None:
    [example] = SCHEMAS[name]["examples"]
    judge = Draft202012Validator(
        {**DOCUMENT, "$ref": f"#/components/schemas/{name}"}, format_checker=FormatChecker()
    )
    assert [error.message for error in judge.iter_errors(example)] == []


def test_every_answer_tells_the_id_of_the_request_and_what_may_go_wrong() -> None:
    shared = DOCUMENT["components"]["responses"]
    for name, operation in OPERATIONS.items():
        for status, response in operation["responses"].items():
            told = shared[response["$ref"].rpartition("/")[2]] if "$ref" in response else response
            assert "X-Request-ID" in told["headers"], f"{name} {status}"
            assert status != "201" or {"Location", "Retry-After"} & told["headers"].keys(), name
        assert {"401", "406", "422", "429", "500", "503"} <= operation["responses"].keys(), name
    assert "Retry-After" in shared["Throttled"]["headers"]


def test_what_is_edited_has_a_version() -> None:
    told = OPERATIONS["GET /api/v1/projects/{slug}"]["responses"]["200"]["headers"]
    assert "ETag" in told
    assert "ETag" in OPERATIONS["POST /api/v1/datasets"]["responses"]["201"]["headers"]
    assert "Idempotent-Replayed" in OPERATIONS["POST /api/v1/projects"]["responses"]["201"]["headers"]
    assert (
        "Preference-Applied"
        in OPERATIONS["POST /api/v1/change_requests/{cr_id}/merge"]["responses"]["200"]["headers"]
    )
