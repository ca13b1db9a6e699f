"""Every operation of the OpenAPI document is within reach, and no method calls an address that there is not."""

import asyncio
import inspect
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import headgate
import httpx
import pyarrow as pa
import pytest

from tests.openapi import DOCUMENT

OPERATIONS = {
    (method.upper(), path): operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if method in ("get", "post", "put", "patch", "delete")
}
DATA = {
    "cr_id": "CR-7",
    "title": "t",
    "status": "pending",
    "active_run": None,
    "dataset": {"id": 2, "project": "sales", "slug": "customers", "name": "Customers"},
    "author": "carl",
}
#: Members that answers are read for, in one answer for all.
ANY_ANSWER = {
    **DATA,
    "id": 1,
    "next": None,
    "results": [],
    "choices": [],
    "selections": {},
    "unresolved": 0,
    "table_version": 1,
    "state": "staged",
    "follow_up": "",
    "followed_up": None,
    "upload": None,
    "change_request": DATA,
    "primary_keys": ["id"],
    "columns": [{"name": "id"}],
    "meta": {"delta_version": 1},
    "result": None,
    "found": {},
    "name": "Pipeline",
    "host": "hooks.example.org",
    "secret": "s",
}
#: What methods need that have arguments without a default.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "change_request": {"cr_id": "CR-7"},
    "run": {"number": 1},
    "cancel_run": {"number": 1},
    "keep_view": {"name": "Mine", "filters": {"q": "seats"}},
    "forget_view": {"number": 1},
    "blame": {"key": {"id": 1}},
    "blame_column": {"column": "seats"},
    "compare": {"before": 1, "after": 2},
    "compare_revisions": {"before": 1, "after": 2},
    "propose": {"rows": pa.table({"id": [1]}), "title": "t"},
    "comment": {"body": "b"},
    "review": {"verdict": "comment"},
    "resolve": {"choices": "proposed"},
    "resolve_matching": {"choice": "proposed"},
    "undo_choices": {"chosen": {"undo": "u"}},
    "go_back": {"version": 1},
    "preview": {"sql": "SELECT 1"},
    "look": {"rows": pa.table({"id": [1]})},
    "audit_file": {"name": "merge_result.json"},
    "webhook": {"number": 1},
    "repeat": {"delivery": 1},
    "make_webhook": {"url": "https://hooks.example.org", "name": "Pipeline"},
    "set_member": {"name": "carl", "role": "viewer"},
    "remove_member": {"name": "carl"},
    "take": {"comment": 1},
    "settle": {"comment": 1},
    "withdraw_review_request": {"number": 1},
}
#: What asks nothing, or more than one answer for all can be: `verify` is tried against the server itself.
LOCAL = {"close", "dataset", "project", "request", "expect", "verify"}


class Recorder(httpx.BaseTransport):
    """Answers everything, and notes what was asked."""

    def __init__(self) -> None:
        self.seen: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.seen.append(request)
        if "arrow" in request.headers["accept"]:
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, pa.schema([("_op", pa.string()), ("id", pa.int64())])):
                pass
            kind = {"content-type": "application/vnd.apache.arrow.stream"}
            return httpx.Response(200, content=sink.getvalue().to_pybytes(), headers=kind)
        if request.method == "GET" and request.url.path.endswith("/webhooks"):
            return httpx.Response(200, json=[ANY_ANSWER])
        return httpx.Response(200, json=ANY_ANSWER)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def hg(recorder: Recorder) -> Iterator[headgate.Client]:
    http = httpx.Client(transport=recorder)
    with headgate.Client("https://headgate.example", "t", http=http, progress=False) as client:
        yield client


def operation_of(request: httpx.Request) -> Any:
    """The operation of the document that a request is for; a plain segment goes before a parameter."""
    path = urlsplit(str(request.url)).path
    found = [
        template
        for method, template in OPERATIONS
        if method == request.method and re.fullmatch(_pattern(template), path)
    ]
    assert found, f"{request.method} {path} is no operation"
    return OPERATIONS[request.method, min(found, key=lambda template: template.count("{"))]


def _pattern(template: str) -> str:
    """What addresses of an operation look like; a dataset may be called by two segments."""
    pattern = re.escape(template).replace(re.escape("{dataset_id}"), "[^/]+(/[^/]+)?")
    return re.sub(r"\\\{.*?\\\}", "[^/]+", pattern)


def test_every_method_calls_an_operation_with_parameters_that_it_takes(
    hg: headgate.Client, recorder: Recorder
) -> None:
    change_request = headgate.ChangeRequest(hg._transport, DATA)
    places = [hg.dataset("sales/customers"), hg.project("sales")]
    for thing in (hg, *places, places[0].webhooks()[0], change_request):
        for name, member in inspect.getmembers(thing, inspect.ismethod):
            if name.startswith("_") or name in LOCAL:
                continue
            before = len(recorder.seen)
            answer = member(**ARGUMENTS.get(name, {}))
            if inspect.isgenerator(answer):
                list(answer)
            assert len(recorder.seen) > before, f"{name} asked nothing"
    for request in recorder.seen:
        operation = operation_of(request)
        known = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"}
        assert set(request.url.params) <= known, (request.method, request.url)


def test_every_other_operation_is_reached_by_its_address(hg: headgate.Client, recorder: Recorder) -> None:
    for method, template in OPERATIONS:
        path = re.sub(r"\{.*?\}", "7", template)
        hg.request(method, path, json=None if method in ("GET", "DELETE") else {})
        assert (recorder.seen[-1].method, recorder.seen[-1].url.path) == (method, path)
        assert method != "POST" or recorder.seen[-1].headers["idempotency-key"]


def test_awaited_it_asks_the_same(recorder: Recorder) -> None:
    class Awaited(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await request.aread()
            return recorder.handle_request(
                httpx.Request(request.method, request.url, headers=request.headers)
            )

    async def ask() -> None:
        http = httpx.AsyncClient(transport=Awaited())
        async with headgate.AsyncClient("https://headgate.example", "t", http=http, progress=False) as client:
            made = await client.dataset("sales/customers").propose(pa.table({"id": [1]}), title="t")
            assert made is not None
            await made.merge()
            assert [one async for one in client.datasets()] == []

    asyncio.run(ask())
    assert recorder.seen[0].url.path == "/api/v1/datasets/sales/customers/proposals"
