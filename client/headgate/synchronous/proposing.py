"""Proposing: anything that holds rows becomes the content of a change request, once however often it is sent."""
# Written by client/write-sync from the module of the same name; not edited by hand.

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headgate.content.sent import Content
from headgate.content.sources import content_of
from headgate.protocol import API, Call, change_request_path, dataset_path, derived_key
from headgate.synchronous.change_requests import ChangeRequest
from headgate.synchronous.running import apart
from headgate.synchronous.transport import Transport


@dataclass(frozen=True)
class Proposal:
    """What is asked for, apart from the content."""

    dataset: str
    title: str
    description: str
    file_format: str | None
    null_token: str | None
    column_types: Mapping[str, str] | None
    merge_schema: bool
    submit: bool
    on_nothing_to_change: str
    idempotency_key: str | None


def propose(transport: Transport, proposal: Proposal, rows: Any) -> ChangeRequest | None:
    """Write the content, send it, and give its change request."""
    content = apart(lambda: content_of(rows, file_format=proposal.file_format))
    with content:
        return _send(transport, proposal, content)


def _send(transport: Transport, proposal: Proposal, content: Content) -> ChangeRequest:
    dataset = (transport.send(Call("GET", dataset_path(proposal.dataset)))).json()
    key = proposal.idempotency_key or derived_key(content.digest, dataset["id"], proposal.title)
    draft = {
        "dataset": dataset["id"],
        "title": proposal.title,
        "description": proposal.description,
        "merge_schema": proposal.merge_schema,
    }
    headers = {"Idempotency-Key": derived_key(key, "draft")}
    made = (transport.send(Call("POST", f"{API}/change_requests", json=draft, headers=headers))).json()
    form = {"file_format": content.file_format, "null_token": proposal.null_token}
    if proposal.column_types:
        form["column_types"] = json.dumps(dict(proposal.column_types))
    call = Call(
        "POST",
        change_request_path(made["cr_id"], "upload"),
        content=content,
        form={name: value for name, value in form.items() if value is not None},
        headers={"Idempotency-Key": derived_key(key, "content"), "Prefer": "respond-async"},
    )
    received = transport.send(call)
    upload = int(received.headers["location"].rstrip("/").rpartition("/")[2])
    return ChangeRequest(transport, made, upload=upload, submit=proposal.submit)
