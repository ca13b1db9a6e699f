"""The client and its awaited twin have one face."""

import inspect
import subprocess
import sys
from typing import Any

import headgate
import pytest

from config.env import BASE_DIR

PAIRS = [
    (headgate.Client, headgate.AsyncClient),
    (headgate.Dataset, headgate.AsyncDataset),
    (headgate.ChangeRequest, headgate.AsyncChangeRequest),
    (headgate.Project, headgate.AsyncProject),
    (headgate.Webhook, headgate.AsyncWebhook),
]


def face(kind: type) -> dict[str, str]:
    """Public names with their signatures, as if nothing were awaited."""
    members = {name: member for name, member in inspect.getmembers(kind) if not name.startswith("_")}
    members["__init__"] = kind.__init__  # type: ignore[misc]  # of the class itself
    return {name: _signature(member) for name, member in members.items()}


def _signature(member: Any) -> str:
    if not callable(member):
        return type(member).__name__
    return str(inspect.signature(member)).replace("Async", "").replace("asynchronous", "synchronous")


@pytest.mark.parametrize(("waiting", "awaited"), PAIRS)
def test_both_have_the_same_names_and_signatures(waiting: type, awaited: type) -> None:
    assert face(waiting) == face(awaited)


@pytest.mark.parametrize(("waiting", "awaited"), PAIRS)
def test_what_asks_the_server_is_awaited_on_one_side_alone(waiting: type, awaited: type) -> None:
    for name, member in inspect.getmembers(awaited, inspect.isfunction):
        twin = getattr(waiting, {"__aenter__": "__enter__", "__aexit__": "__exit__"}.get(name, name))
        assert not inspect.iscoroutinefunction(twin)
        assert inspect.isasyncgenfunction(member) == inspect.isgeneratorfunction(twin)


@pytest.mark.parametrize("script", ["write-sync"])
def test_what_is_written_by_a_script_is_current(script: str) -> None:
    subprocess.run([sys.executable, BASE_DIR / "client" / script, "--check"], check=True)
