"""What the document says of operations, asked by many requests at the same moment."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from threading import Barrier, get_ident
from typing import Any

import pytest
from django.urls import URLPattern
from drf_spectacular.generators import SchemaGenerator
from rest_framework.test import APIClient, APIRequestFactory

from api import operations, urls
from api.operations import Operation, operation_of
from api.schema import ProblemSchema
from api.views.document import DocumentView
from tests.api.clients import problem

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
THREADS = 8
#: Each operation as a request asks for it.
ASKED: list[tuple[Callable[..., Any], str, str]] = [
    (pattern.callback, f"api/v1/{pattern.pattern}", method)
    for pattern in urls.v1
    if isinstance(pattern, URLPattern)
    for method in METHODS
]


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a process begins."""
    monkeypatch.setattr(operations, "_operations", {})


@pytest.fixture
def describing(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many threads were with drf-spectacular whenever one came to it; each stays for a moment."""
    inside: list[int] = []
    seen: list[int] = []

    def watched(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            inside.append(get_ident())
            try:
                seen.append(len(set(inside)))
                time.sleep(0.001)
                return method(*args, **kwargs)
            finally:
                inside.remove(get_ident())

        return call

    monkeypatch.setattr(SchemaGenerator, "create_view", watched(SchemaGenerator.create_view))
    monkeypatch.setattr(ProblemSchema, "get_operation", watched(ProblemSchema.get_operation))
    return seen


def test_fh9_the_first_requests_of_a_process_may_come_at_once(
    describing: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # drf-spectacular keeps the view that it looks at, and what it has loaded, where all threads see them.
    told = [operation_of(*asked) for asked in ASKED]
    monkeypatch.setattr(operations, "_operations", {})
    describing.clear()
    together = Barrier(THREADS + 1, timeout=20)

    def ask(_: int) -> list[Operation | None]:
        together.wait()
        return [operation_of(*asked) for asked in ASKED]

    def read_document() -> int:
        together.wait()
        return DocumentView.as_view()(APIRequestFactory().get("/api/v1/schema/")).status_code

    with ThreadPoolExecutor(THREADS + 1) as pool:
        document = pool.submit(read_document)
        answers = list(pool.map(ask, range(THREADS)))
        assert document.result() == 200

    assert sum(operation is not None for operation in told) > 40
    assert set(describing) == {1}
    assert answers == [told] * THREADS


@pytest.mark.parametrize("method", ["DISPATCH", "INITIAL", "X" * 500, "OPTIONS", "TRACE"])
def test_methods_that_no_address_has_are_not_kept(method: str) -> None:
    assert {operation_of(callback, route, method) for callback, route, _ in ASKED} == {None}
    assert operations._operations == {}


@pytest.mark.parametrize("method", ["DISPATCH", "INITIAL"])
def test_methods_named_like_something_of_a_view_are_not_allowed(db: None, method: str) -> None:
    assert problem(APIClient().generic(method, "/api/v1/auth/token")) == (405, "method_not_allowed")
