"""Proposing: anything that holds rows becomes the content of a change request, once however often it is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headgate import models
from headgate.asynchronous.change_requests import AsyncChangeRequest
from headgate.asynchronous.reading import download
from headgate.asynchronous.running import apart
from headgate.asynchronous.transport import AsyncTransport
from headgate.comparing import Comparison, columns_to_compare
from headgate.content.rereading import Rereadable, rereadable
from headgate.content.sent import Content
from headgate.content.sources import content_of
from headgate.errors import HeadgateError, NotFound, NothingToChange
from headgate.protocol import (
    API,
    Answer,
    Call,
    Parameters,
    change_request_path,
    dataset_path,
    derived_key,
    new_key,
)

#: Where an upload has ended without a revision.
ENDED = ("refused", "failed", "cancelled")


@dataclass(frozen=True)
class Proposal:
    """What is asked for, apart from the content."""

    dataset: str
    title: str | None
    description: str
    file_format: str | None
    null_token: str
    column_types: Mapping[str, str] | None
    merge_schema: bool
    submit: bool
    merge_when_ready: bool
    message: str
    change_request: str | None
    on_nothing_to_change: str
    idempotency_key: str | None

    @property
    def members(self) -> dict[str, Any]:
        """What is said in every shape of body."""
        said: dict[str, Any] = {"submit": self.submit, "merge_when_ready": self.merge_when_ready}
        if self.change_request is not None:
            said["change_request"] = self.change_request
        else:
            said |= {
                "title": self.title,
                "description": self.description or None,
                "merge_schema": self.merge_schema,
            }
        if self.message:
            said["message"] = self.message
        said["on_nothing_to_change"] = self.on_nothing_to_change
        return {name: value for name, value in said.items() if value is not None}


async def propose_rows(
    transport: AsyncTransport, proposal: Proposal, rows: Any, *, only_changes: bool
) -> AsyncChangeRequest | None:
    """Write the content, send it, and give its change request; None where nothing is to change and that is no error.

    Raises ``ContentUnusable`` before anything is sent, ``NothingToChange`` where nothing differs.
    """
    if only_changes:
        content = await _content_that_differs(transport, proposal, rows)
        if content is None:
            if proposal.on_nothing_to_change == "ignore":
                return None
            raise NothingToChange(
                "Every row that was proposed stands in the table already. Nothing was sent."
            )
    else:
        content = await apart(content_of, rows, proposal.file_format)
    with content:
        return await _sent(transport, proposal, content)


async def look_at_rows(
    transport: AsyncTransport, dataset: str, rows: Any, file_format: str | None, asked: Parameters
) -> models.Preview:
    """Write the content and send it to be looked at; how that stands."""
    with await apart(content_of, rows, file_format) as content:
        parameters = {**asked, "file_name": content.name, "file_format": content.file_format}
        answer = await _send_content(transport, dataset, content, parameters, new_key(), "previews")
        looked: models.Preview = answer.json()
        return looked


async def propose_source(
    transport: AsyncTransport, proposal: Proposal, **source: str | int
) -> AsyncChangeRequest | None:
    """Propose what a statement or another table says, or what was looked at: the server reads it."""
    members = proposal.members
    if "preview" in source:  # it was decided when it was looked at
        members.pop("merge_schema", None)
    call = Call(
        "POST",
        dataset_path(proposal.dataset, "proposals"),
        json={**members, **source},
        headers={"Idempotency-Key": proposal.idempotency_key or new_key(), "Prefer": "respond-async"},
    )
    return await _change_request(transport, proposal, (await transport.send(call)).json())


async def _sent(transport: AsyncTransport, proposal: Proposal, content: Content) -> AsyncChangeRequest | None:
    parameters: dict[str, Any] = {
        **proposal.members,
        "file_name": content.name,
        "file_format": content.file_format,
        "null_token": proposal.null_token or None,
        "column_types": json.dumps(dict(proposal.column_types)) if proposal.column_types else None,
    }
    key = proposal.idempotency_key or derived_key(
        content.digest,
        proposal.dataset,
        proposal.title,
        proposal.change_request,
        sorted(proposal.members.items()),
    )
    while True:
        answer = await _send_content(transport, proposal.dataset, content, parameters, key)
        document = answer.json()
        if proposal.idempotency_key or not answer.is_replayed or await _still_holds(transport, document):
            return await _change_request(transport, proposal, document)
        # It was proposed before and came to nothing, or was closed or merged since: it is meant anew.
        key = derived_key(key, "after", (document["upload"] or {}).get("id"))


async def _send_content(
    transport: AsyncTransport,
    dataset: str,
    content: Content,
    parameters: Parameters,
    key: str,
    what: str = "proposals",
) -> Answer:
    bar, done = transport.progress(), 0

    def sent(size: int) -> None:
        nonlocal done
        done = (done + size) % (content.size + 1)  # sent again from the beginning where the connection broke
        bar.update(done, content.size, f"sending {content.name}")

    headers = {"Idempotency-Key": key, "Prefer": "respond-async"}
    path = dataset_path(dataset, what)
    try:
        return await transport.send(
            Call("POST", path, parameters, content=content, headers=headers), sent=sent
        )
    finally:
        bar.close()


async def _still_holds(transport: AsyncTransport, document: models.Proposal) -> bool:
    """Whether what an earlier call was answered is still under way or open."""
    upload, named = document["upload"], document["change_request"]
    if upload is None or named is None:
        return False
    try:
        seen = (await transport.send(Call("GET", f"{API}/uploads/{upload['id']}"))).json()
        found = (await transport.send(Call("GET", change_request_path(named["cr_id"])))).json()
    except NotFound:
        return False
    return seen["state"] not in ENDED and found["status"] not in ("closed", "merged")


async def _change_request(
    transport: AsyncTransport, proposal: Proposal, document: models.Proposal
) -> AsyncChangeRequest | None:
    if document["change_request"] is None:
        return None
    upload = document["upload"]
    made = AsyncChangeRequest(transport, document["change_request"], upload=upload["id"] if upload else None)
    if proposal.on_nothing_to_change == "ignore":
        try:
            await made.wait()
        except NothingToChange:
            return None
        except HeadgateError:
            made.expect(upload["id"] if upload else None)  # it is raised again to whoever waits
    return made


async def _content_that_differs(transport: AsyncTransport, proposal: Proposal, rows: Any) -> Content | None:
    """The rows that differ from the table's, as a file; None where none does."""
    details: models.DatasetDetail = (await transport.send(Call("GET", dataset_path(proposal.dataset)))).json()
    schema: models.Table = (
        await transport.send(Call("GET", dataset_path(proposal.dataset, "schema")))
    ).json()
    keys, known = details["primary_keys"], [column["name"] for column in schema["columns"]]
    with await apart(rereadable, rows, proposal.file_format) as proposed:
        columns = columns_to_compare(proposed.schema, known, keys)
        parameters: Parameters = {
            "format": "arrow",
            "columns": columns,
            "filter": await apart(proposed.key_range, keys),
            "version": details["meta"]["delta_version"],
        }
        call = Call("GET", dataset_path(proposal.dataset, "rows"), parameters)
        with await download(transport, call, f"reading {proposal.dataset}") as current:
            return await apart(_differing, proposed, current, columns, keys)


def _differing(proposed: Rereadable, current: Any, columns: list[str], keys: list[str]) -> Content | None:
    table = current.schema_of(columns)
    kept = Comparison(table, keys).differing(proposed.batches, current.batches())
    return proposed.content_of(kept)
