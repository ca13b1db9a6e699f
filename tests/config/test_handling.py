"""A web process works on each request in one thread."""

from __future__ import annotations

import asyncio
import threading
from inspect import iscoroutinefunction
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import URLPattern, URLResolver, get_resolver, path

from config.handling import HandlerInOneThread

SEEN: list[tuple[str, threading.Thread]] = []


MADE: list[object] = []


class Outer:
    """A middleware that notes where it is called, as those of the settings are: with ``__call__`` alone."""

    def __init__(self, get_response: Any) -> None:
        MADE.append(self)
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        SEEN.append(("before", threading.current_thread()))
        answer: HttpResponse = self.get_response(request)
        SEEN.append(("after", threading.current_thread()))
        return answer


def view(request: HttpRequest) -> HttpResponse:
    SEEN.append(("view", threading.current_thread()))
    return HttpResponse("seen")


async def waiting_view(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0)
    return HttpResponse("waited")


urlpatterns = [path("seen", view), path("waited", waiting_view)]


async def answer_of(address: str) -> bytes:
    scope = {"type": "http", "method": "GET", "path": address, "headers": [], "query_string": b""}
    asked = ApplicationCommunicator(HandlerInOneThread(), scope)
    await asked.send_input({"type": "http.request", "body": b""})
    await asked.receive_output(5)
    answered = await asked.receive_output(5)
    await asked.wait(5)
    return bytes(answered["body"])


@pytest.mark.django_db(transaction=True)
@override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[f"{__name__}.Outer"] * 2)
def test_middleware_and_view_are_called_in_one_thread_that_is_not_the_loops() -> None:
    SEEN.clear()
    MADE.clear()
    assert asyncio.run(answer_of("/seen")) == b"seen"
    assert [what for what, _ in SEEN] == ["before", "before", "view", "after", "after"]
    assert len({thread for _, thread in SEEN}) == 1
    assert SEEN[0][1] is not threading.main_thread()
    assert len(MADE) == 2, "each is made once"
    assert asyncio.run(answer_of("/waited")) == b"waited"


def test_no_view_of_ours_is_a_coroutine() -> None:
    found = [pattern.callback for pattern in _patterns(get_resolver())]
    assert len(found) > 100
    assert [view for view in found if iscoroutinefunction(view)] == []


def _patterns(resolver: URLResolver) -> list[URLPattern]:
    return [
        one
        for pattern in resolver.url_patterns
        for one in (_patterns(pattern) if isinstance(pattern, URLResolver) else [pattern])
    ]
