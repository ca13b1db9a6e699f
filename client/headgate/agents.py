"""Headgate for agents: a server of the Model Context Protocol (https://modelcontextprotocol.io) over standard input.

An agent looks at datasets and rows, proposes, reads checks and conflicts. Reviewing and merging are offered only where
the token's scopes say so, and the server judges again. What it does is marked by the agent's name where its token has
one: `headgate login --agent NAME` makes such a token.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from itertools import islice
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from headgate.content.rows import json_value
from headgate.errors import HeadgateError
from headgate.protocol import API, dataset_path
from headgate.settings import Settings
from headgate.synchronous.client import Client
from headgate.version import VERSION

#: Rows, changes and conflicts that one answer holds; what is left is said.
MOST = 200

INSTRUCTIONS = """\
Headgate brings pull requests to Delta tables. Nothing you do changes a table by itself: you propose changed rows,
people review them, and a merge applies them. Look at the dataset's key columns and rows first. Propose only the key
columns and those that change. A title says what the change is for, the description why, and where the values are from.
Values are exact: send decimals and large numbers as text. After proposing, look at the checks and conflicts and tell
your person the address of the change request.
"""

UNMARKED = (
    "This token is no agent's: what is done with it is not marked as an agent's doing. `headgate login --agent NAME` "
    "makes one whose is."
)


def server_for(client: Client, scopes: Iterable[str]) -> MCPServer:
    """The server with the tools that a token with these scopes has."""
    tools = _Tools(client)
    server = MCPServer("headgate", title="Headgate", version=VERSION, instructions=INSTRUCTIONS)
    for scope, offered in tools.by_scope().items():
        if scope in scopes:
            for tool in offered:
                server.add_tool(_told(tool), name=tool.__name__, description=tool.__doc__)
    return server


def serve(settings: Settings) -> None:
    """Serve on standard input and output until the agent goes. Raises ``HeadgateError`` before it begins."""
    with Client(settings.address, settings.token, progress=False) as client:
        own = client.request("GET", "auth/own_token").json()
        if not own["agent"]:  # standard output is the protocol's
            sys.stderr.write(UNMARKED + "\n")
        server_for(client, own["scopes"]).run("stdio")


def _told(tool: Callable[..., Any]) -> Callable[..., Any]:
    """The same tool, whose errors say what to do."""

    @wraps(tool)
    def told(*args: Any, **kwargs: Any) -> Any:
        try:
            return tool(*args, **kwargs)
        except HeadgateError as error:
            problem = {
                key: error.problem[key] for key in ("errors", "blockers", "conflicts") if key in error.problem
            }
            more = f" {json.dumps(problem, ensure_ascii=False)[:4000]}" if problem else ""
            raise ToolError(f"{error.code}: {error}{more}") from error

    return told


class _Tools:
    """What agents do, each tool a method; its docstring is what the agent reads."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def by_scope(self) -> dict[str, Sequence[Callable[..., Any]]]:
        """The tools that each scope opens."""
        return {
            "read": (
                self.list_datasets,
                self.describe_dataset,
                self.read_rows,
                self.row_history,
                self.list_change_requests,
                self.change_request,
                self.read_changes,
                self.read_checks,
                self.read_conflicts,
            ),
            "propose": (self.propose_rows, self.propose_sql, self.submit, self.choose_for_conflicts),
            "review": (self.comment, self.review),
            "merge": (self.merge,),
        }

    # --- read ----------------------------------------------------------------------------------------------

    def list_datasets(self, search: str = "") -> list[dict[str, Any]]:
        """List the datasets that can be seen, as project/slug; search looks in their names."""
        return [
            {"dataset": f"{one['project']}/{one['slug']}", "name": one["name"]}
            for one in islice(self._client.datasets(search=search or None), MOST)
        ]

    def describe_dataset(self, dataset: str) -> dict[str, Any]:
        """Describe a dataset (project/slug): key columns, columns with types, version, rows, rules, your role."""
        found = self._client.dataset(dataset)
        return {**found.details(), "schema": found.schema()}

    def read_rows(
        self, dataset: str, filters: dict[str, str] | None = None, version: int | None = None, limit: int = 50
    ) -> dict[str, Any]:
        """Read rows of a dataset, at most 200; filters maps a column to the value that it must have."""
        parameters: dict[str, Any] = {"limit": max(1, min(limit, MOST)), "version": version}
        if filters:
            parameters["filter"] = [f"{column}:=:{value}" for column, value in filters.items()]
        answer = self._client.request("GET", dataset_path(dataset, "rows"), parameters=parameters)
        found: dict[str, Any] = answer.json()
        return {"version": found["version"], "rows": found["results"], "there_are_more": bool(found["next"])}

    def row_history(self, dataset: str, key: dict[str, Any]) -> dict[str, Any]:
        """Say who changed a row, and which change request made each of its cells; key maps key columns to values."""
        return dict(self._client.dataset(dataset).blame(key))

    def list_change_requests(
        self, dataset: str = "", status: str = "", mine: bool = False
    ) -> list[dict[str, Any]]:
        """List change requests, newest first; status is draft, pending, merging, merged or closed."""
        found = self._client.change_requests(
            dataset=dataset or None, status=[status] if status else (), mine=mine or None
        )
        return [
            {"cr_id": one.cr_id, "title": one.title, "status": one.status, "author": one.data["author"]}
            for one in islice(found, MOST)
        ]

    def change_request(self, cr_id: str) -> dict[str, Any]:
        """Say where a change request stands, and in blockers what stands in the way of each action."""
        found = self._client.change_request(cr_id)
        return {**found.data, "url": found.url}

    def read_changes(self, cr_id: str, column: str = "") -> dict[str, Any]:
        """Read which cells a change request changes: Base against Proposed."""
        changes = self._client.change_request(cr_id).diff(column=column or None)
        return _first([json_value(change) for change in islice(changes, MOST)], len(changes))

    def read_checks(self, cr_id: str) -> dict[str, Any]:
        """Read what a merge would do now (plan), and which expectations the merged table would break."""
        request = self._client.change_request(cr_id)
        checks = self._client.request("GET", f"{API}/change_requests/{request.cr_id}/expectations").json()
        return {"plan": request.plan(), "expectations": checks}

    def read_conflicts(self, cr_id: str) -> dict[str, Any]:
        """Read the cells that the request and others both changed: Base, Current, Proposed, and the choice made."""
        conflicts = self._client.change_request(cr_id).conflicts()
        return _first(conflicts[:MOST], len(conflicts))

    # --- propose -------------------------------------------------------------------------------------------

    def propose_rows(
        self,
        dataset: str,
        title: str,
        rows: list[dict[str, Any]],
        description: str = "",
        submit: bool = False,
    ) -> dict[str, Any]:
        """Propose changed rows: each with the key columns and those that change; "_op": "delete" deletes a row.

        With submit people are asked for review at once; else it is a draft.
        """
        made = self._client.dataset(dataset).propose(
            rows, title=title, description=description, submit=submit
        )
        return self._staged(made)

    def propose_sql(
        self, dataset: str, title: str, statement: str, description: str = "", submit: bool = False
    ) -> dict[str, Any]:
        """Propose what one SELECT, UPDATE, DELETE or INSERT over the dataset would change."""
        made = self._client.dataset(dataset).propose(
            sql=statement, title=title, description=description, submit=submit
        )
        return self._staged(made)

    def _staged(self, made: Any) -> dict[str, Any]:
        made.wait()
        return {
            "cr_id": made.cr_id,
            "status": made.status,
            "url": made.url,
            "revision": made.data["revision"],
        }

    def submit(self, cr_id: str) -> dict[str, Any]:
        """Ask people to review a draft."""
        return self._state(self._client.change_request(cr_id).submit())

    def choose_for_conflicts(self, cr_id: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """Choose for conflicts of a request. Each choice has key, column (null for the row) and inputs_digest as read,
        and choice: current, proposed, base, custom (with value), keep or delete.
        """
        return {"unresolved": self._client.change_request(cr_id).resolve(choices)}

    # --- review and merge, where the token says so -----------------------------------------------------------

    def comment(self, cr_id: str, body: str) -> dict[str, Any]:
        """Say something in a change request's conversation."""
        return dict(self._client.change_request(cr_id).comment(body))

    def review(self, cr_id: str, verdict: str, body: str = "") -> dict[str, Any]:
        """Give a verdict on a change request: approve, request_changes or comment."""
        return dict(self._client.change_request(cr_id).review(verdict, body))

    def merge(self, cr_id: str, message: str = "") -> dict[str, Any]:
        """Merge a change request whose gates hold, and wait for the end."""
        return dict(self._client.change_request(cr_id).merge(message=message))

    def _state(self, request: Any) -> dict[str, Any]:
        return {"cr_id": request.cr_id, "status": request.status, "url": request.url}


def _first(found: Sequence[Any], count: int) -> dict[str, Any]:
    return {"count": count, "first": list(found), "there_are_more": count > len(found)}
