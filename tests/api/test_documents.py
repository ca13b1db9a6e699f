"""The OpenAPI document and the page that shows it."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.test import Client
from drf_spectacular.drainage import GENERATOR_STATS
from rest_framework.test import APIClient

from config.problems import STATUS_OF_CODE
from tests.api.clients import problem
from tests.openapi import DOCUMENT, FILE


def test_the_snapshot_is_the_document_and_has_no_warnings(tmp_path: Path) -> None:
    GENERATOR_STATS.reset()
    fresh = tmp_path / "openapi.yaml"

    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(fresh), stderr=StringIO())

    assert fresh.read_text() == FILE.read_text(), (
        "The API moved: manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml"
    )


def test_every_operation_tells_how_it_fails() -> None:
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            answers = operation["responses"]
            assert {"401", "429", "500"} <= set(answers), (path, method)
            names_things = "{" in path or (method != "get" and "/auth/" not in path)
            assert ("404" in answers) == names_things, (path, method)
            assert method == "get" or {"403", "409", "422"} <= set(answers), (path, method)


def test_errors_are_shared_components_of_problem_json() -> None:
    responses = DOCUMENT["components"]["responses"]

    assert {name: list(response["content"]) for name, response in responses.items()} == {
        name: ["application/problem+json"]
        for name in (
            "NotAuthenticated",
            "Forbidden",
            "NotFound",
            "Conflict",
            "Unprocessable",
            "Throttled",
            "Failed",
            "Full",
            "Unavailable",
            "Changed",
            "Gone",
            "NotAcceptable",
            "TooLarge",
            "Unsupported",
        )
    }
    assert DOCUMENT["components"]["schemas"]["Problem"]["required"] == [
        "type",
        "title",
        "status",
        "detail",
        "code",
        "message",
        "request_id",
    ]


def test_every_reference_leads_somewhere() -> None:
    def references(part: Any) -> Any:
        if isinstance(part, dict):
            for name, inner in part.items():
                if name == "$ref":
                    yield inner
                yield from references(inner)
        elif isinstance(part, list):
            for inner in part:
                yield from references(inner)

    for reference in set(references(DOCUMENT)):
        found: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


def test_codes_in_the_document_are_codes_that_exist() -> None:
    text = str(DOCUMENT["components"]["responses"])
    for code in ("merge_conflict", "blocked", "plan_changed", "staging_rejected", "throttled", "not_found"):
        assert code in STATUS_OF_CODE
        assert f"`{code}`" in text


def test_the_document_is_served_to_everybody(db: None) -> None:
    response = APIClient().get("/api/v1/schema/")

    assert response.status_code == 200
    assert yaml.safe_load(response.content)["info"]["title"] == "Headgate"


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere(db: None) -> None:
    response = Client().get("/api/v1/docs/")
    page = response.content.decode()

    assert response.status_code == 200
    assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    assert "unsafe-inline" not in response.headers["Content-Security-Policy"]
    assert "<style" not in page
    assert "http://" not in page
    assert "https://" not in page
    script = Client().get("/api/v1/docs/?script=")
    assert script.headers["Content-Type"].startswith("application/javascript")


@pytest.mark.parametrize("method", ["get", "post", "put", "delete"])
def test_unknown_addresses_answer_as_the_rest_does(db: None, method: str) -> None:
    response = getattr(APIClient(), method)("/api/v1/chnage_requests")

    assert problem(response) == (404, "not_found")


def test_wrong_methods_answer_as_the_rest_does(db: None) -> None:
    response = APIClient().delete("/api/v1/auth/token")

    assert problem(response) == (405, "method_not_allowed")
