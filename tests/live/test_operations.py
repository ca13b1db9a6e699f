"""Every operation of the OpenAPI document, as real clients ask for it: none is left out, whatever comes to it later."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.live.server import Connection
from tests.openapi import DOCUMENT


@dataclass(frozen=True)
class Operation:
    """One method of one address, as the document has it."""

    method: str
    path: str
    document: Any

    def at(self, known: dict[str, str]) -> str:
        """Its address with things that exist."""
        of_tokens = {"number": known["token"]} if "/auth/tokens/" in self.path else {}
        return self.path.format_map({**known, **of_tokens})

    def query(self) -> dict[str, str]:
        """The parameters that it must have."""
        wanted = [one for one in self.document.get("parameters", []) if one["in"] == "query"]
        return {one["name"]: '{"tailnum":"N1"}' for one in wanted if one.get("required")}

    def media_types(self) -> set[str]:
        """Everything that the document says it may answer."""
        shared = DOCUMENT["components"]["responses"]
        found = set()
        for response in self.document["responses"].values():
            name = response.get("$ref", "").rpartition("/")[2]
            found |= set((shared[name] if name else response).get("content", {}))
        return found

    @property
    def takes_json(self) -> bool:
        """Whether it has a body in JSON, of which members that it does not know are errors."""
        schema = (
            self.document.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        )
        return schema is not None and self.path not in ("/delta/merge-cr", "/api/v1/auth/token")

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def operations() -> Iterator[Operation]:
    for path, methods in DOCUMENT["paths"].items():
        for method, document in methods.items():
            if method in ("get", "post", "put", "patch", "delete"):
                yield Operation(method.upper(), path, document)


ALL = list(operations())
#: Whoever asks these without what signs in is told that first.
SIGNING_IN = ("/api/v1/auth/logout",)


def address(asked: Operation, known: dict[str, str], **more: str) -> str:
    query = "&".join(f"{name}={value}" for name, value in {**asked.query(), **more}.items())
    return f"{asked.at(known)}?{query}"


def test_fh2_every_operation_names_a_parameter_that_it_does_not_know(
    client: Connection, known: dict[str, str]
) -> None:
    failures = []
    for operation in ALL:
        answer = client.call(operation.method, address(operation, known, stauts="x"))
        said = answer.errors if answer.status == 422 else {}
        if "There is no such parameter here" not in said.get("stauts", ""):
            failures.append(f"{operation}: {answer.status} {answer.body[:200]!r}")
    assert failures == []


def test_fh2_every_parameter_is_typed(client: Connection, known: dict[str, str]) -> None:
    wrong = {"integer": "abc", "number": "abc", "boolean": "2", "enum": "no-such-choice"}
    failures, tried = [], 0
    for operation in ALL:
        for parameter in operation.document.get("parameters", []):
            schema = parameter["schema"].get("items", parameter["schema"])
            kind = "enum" if "enum" in schema or "$ref" in schema else schema.get("type")
            if parameter["in"] != "query" or kind not in wrong:
                continue
            tried += 1
            name = parameter["name"]
            answer = client.call(operation.method, address(operation, known, **{name: wrong[kind]}))
            if answer.status != 422 or name not in answer.errors:
                failures.append(f"{operation} {name}: {answer.status} {answer.body[:200]!r}")
    assert failures == []
    assert tried > 15


@pytest.mark.parametrize(
    ("query", "name", "possible"),
    [
        ("stauts=draft", "stauts", "author, created_since"),
        ("mine=1", "mine", "true and false"),
        ("mine=", "mine", "leave it out"),
        ("limit=abc", "limit", "from 1 to 200"),
        ("limit=0", "limit", "from 1 to 200"),
        ("limit=1&limit=2", "limit", "once"),
        ("status=opne", "status", "draft"),
        ("format=csv", "format", "no such parameter"),
    ],
)
def test_fh2_what_is_wrong_is_named_with_what_is_possible(
    client: Connection, query: str, name: str, possible: str
) -> None:
    answer = client.call("GET", f"/api/v1/change_requests?{query}")
    assert (answer.status, answer.code, list(answer.errors)) == (422, "invalid", [name])
    assert possible in answer.errors[name]


def test_fh4_every_media_type_that_the_document_names_is_accepted(
    client: Connection, known: dict[str, str]
) -> None:
    failures = []
    for operation in ALL:
        if operation.path in SIGNING_IN:
            continue
        for media_type in sorted(operation.media_types()):
            # A parameter that is not there: what is accepted is looked at before, and nothing is done.
            answer = client.call(operation.method, address(operation, known, stauts="x"), Accept=media_type)
            if answer.status != 422:
                failures.append(f"{operation} {media_type}: {answer.status} {answer.body[:200]!r}")
        answer = client.call(operation.method, address(operation, known), Accept="image/png")
        if (answer.status, answer.code) != (406, "not_acceptable"):
            failures.append(f"{operation} image/png: {answer.status}")
    assert failures == []


@pytest.mark.parametrize(
    ("path", "accept", "kind"),
    [
        ("/api/v1/datasets/{dataset_id}/audit", "application/x-ndjson", "application/x-ndjson"),
        ("/api/v1/schema/", "application/vnd.oai.openapi", "application/vnd.oai.openapi"),
        ("/api/v1/schema/", "application/json", "application/json"),
        ("/api/v1/schema/?format=json", "*/*", "application/vnd.oai.openapi+json"),
        ("/api/v1/datasets", "application/json;q=0.5, text/html", "application/json"),
    ],
)
def test_fh4_what_was_asked_for_is_answered(
    client: Connection, known: dict[str, str], path: str, accept: str, kind: str
) -> None:
    answer = client.call("GET", path.format_map(known), Accept=accept)
    assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (200, kind)


#: The caller owns the dataset alone: what else is refused before anything that was sent is looked at.
OF_OTHERS = {
    "PUT /api/v1/projects/{slug}/members": 403,
    "POST /api/v1/service_accounts/{service_account_id}/deactivate": 404,
    "POST /api/v1/service_accounts/{service_account_id}/tokens": 404,
}


def test_fh1_every_operation_reads_what_comes_in_chunks(client: Connection, known: dict[str, str]) -> None:
    failures, tried = [], 0
    for operation in ALL:
        if operation.takes_json:
            tried += 1
            answer = client.send(operation.method, operation.at(known), {"no_such_member": 1}, chunked=True)
            if answer.status == OF_OTHERS.get(str(operation)):
                continue
            if answer.status != 422 or "no_such_member" not in answer.errors:
                failures.append(f"{operation}: {answer.status} {answer.body[:200]!r}")
    assert failures == []
    assert tried > 10


def test_fh5_options_anywhere(client: Connection, known: dict[str, str]) -> None:
    methods: dict[str, set[str]] = {}
    for operation in ALL:
        methods.setdefault(operation.at(known), set()).add(operation.method)
    for place, allowed in methods.items():
        answer = client.call("OPTIONS", place)
        assert answer.status == 204, place
        assert allowed <= set(answer.headers["allow"].split(", ")), place
    for place in ("/api/v1/schema/", "/api/v1/docs/", "/api/v1/nothing", "/", "/livez", "/sign-in/"):
        assert client.call("OPTIONS", place).status in (200, 204, 404, 405), place


def test_fh5_head_is_get_without_the_body(client: Connection, known: dict[str, str]) -> None:
    for operation in ALL:
        if operation.method == "GET" and not operation.path.endswith(
            "/stream"
        ):  # a stream ends with its caller
            place = address(operation, known)
            head, got = client.call("HEAD", place), client.call("GET", place)
            assert (head.status, head.body) == (got.status, b""), operation
