"""Agents over the Model Context Protocol: a server of its own process on standard input, a live Headgate behind it."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from django.urls import reverse
from mcp import Client, StdioServerParameters

from accounts.scopes import Scope
from accounts.tokens import make_token
from audit.selectors import events_of
from changerequests.models import ChangeRequest
from config.env import BASE_DIR
from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import client_of
from tests.factories import DatasetFactory, person_with

pytestmark = pytest.mark.usefixtures("staging_worker")

LOOKING = {
    "list_datasets",
    "describe_dataset",
    "read_rows",
    "row_history",
    "list_change_requests",
    "change_request",
    "read_changes",
    "read_checks",
    "read_conflicts",
}
PROPOSING = {"propose_rows", "propose_sql", "submit", "choose_for_conflicts"}


@pytest.fixture
def planes(delta_data_root: Path) -> Dataset:
    """A dataset of one's own."""
    made: Dataset = DatasetFactory.create()
    return made


def ask(server: str, token: str, *calls: tuple[str, dict[str, Any]]) -> tuple[set[str], list[Any]]:
    """The tools that the agent is offered, and what its calls answered (as JSON, or the text of an error)."""
    asked = {"HEADGATE_URL": server, "HEADGATE_TOKEN": token}
    environment = {**os.environ, **asked, "PYTHONPATH": str(BASE_DIR / "client")}
    program = StdioServerParameters(
        command=sys.executable, args=["-m", "headgate.cli", "mcp"], env=environment
    )

    async def talk() -> tuple[set[str], list[Any]]:
        async with Client(program) as agent:
            offered = {tool.name for tool in (await agent.list_tools()).tools}
            answers = []
            for name, arguments in calls:
                result = await agent.call_tool(name, arguments)
                text = "".join(getattr(part, "text", "") for part in result.content)
                answers.append(text if result.is_error else json.loads(text))
            return offered, answers

    return anyio.run(talk)


def test_an_agent_looks_and_proposes_and_is_marked(server: str, planes: Dataset) -> None:
    person = person_with(Role.OWNER, planes)
    _, token = make_token(owner=person, scopes=[Scope.READ, Scope.PROPOSE], agent="Claude")
    name = f"{planes.project.slug}/{planes.slug}"
    offered, answers = ask(
        server,
        token,
        ("describe_dataset", {"dataset": name}),
        ("read_rows", {"dataset": name, "filters": {"tailnum": "N1"}}),
        ("propose_rows", {"dataset": name, "title": "By me", "rows": [{"tailnum": "N1", "seats": 9}]}),
        ("propose_rows", {"dataset": name, "title": "Bad", "rows": [{"tailnum": "N1", "seats": "many"}]}),
        ("propose_rows", {"dataset": "no/such", "title": "Lost", "rows": [{"tailnum": "N1"}]}),
    )
    described, rows, proposed, refused, lost = answers
    assert offered == LOOKING | PROPOSING
    assert described["primary_keys"] == ["tailnum"]
    assert [row["tailnum"] for row in rows["rows"]] == ["N1"]
    assert proposed["revision"]["rows_updated"] == 1
    assert "staging_rejected" in refused
    assert "not_found" in lost
    assert [one.title for one in ChangeRequest.objects.filter(dataset=planes)] == ["By me"]

    events = events_of("change_request", proposed["cr_id"])
    assert {event.action: event.data.get("agent") for event in events} == {
        "change_request.created": "Claude",
        "revision.staged": "Claude",
    }
    page = client_of(person).get(f"/api/v1/change_requests/{proposed['cr_id']}/events").json()
    assert {entry["data"]["agent"] for entry in page["results"]} == {"Claude"}
    assert reverse("change_request", args=[proposed["cr_id"]]) in proposed["url"]


def test_approving_and_merging_are_offered_where_the_token_says_so(server: str, planes: Dataset) -> None:
    person = person_with(Role.OWNER, planes)
    _, reviewing = make_token(owner=person, scopes=[Scope.READ, Scope.REVIEW], agent="Reviewer")
    offered, _ = ask(server, reviewing)
    assert offered == LOOKING | {"comment", "review"}
    _, merging = make_token(owner=person, scopes=[Scope.READ, Scope.MERGE], agent="Merger")
    offered, [refused] = ask(server, merging, ("merge", {"cr_id": "CR-0"}))
    assert offered == LOOKING | {"merge"}
    assert "not_found" in refused
