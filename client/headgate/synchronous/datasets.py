"""A dataset: what is in its table, and what is proposed to it."""
# Written by client/write-sync from the module of the same name; not edited by hand.

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, overload

from headgate import models
from headgate.content.rows import json_value
from headgate.protocol import API, Call, Parameters, dataset_path
from headgate.synchronous.change_requests import ChangeRequest
from headgate.synchronous.proposing import Proposal, propose
from headgate.synchronous.transport import Transport


class Dataset:
    """One Delta table with key columns, as the server knows it."""

    def __init__(self, transport: Transport, name: str | int) -> None:
        self._transport = transport
        self.name = str(name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def _get(self, *rest: str | int, parameters: Parameters | None = None) -> Any:
        return (self._transport.send(Call("GET", dataset_path(self.name, *rest), parameters or {}))).json()

    def details(self) -> models.DatasetDetail:
        """Its key columns, rules, your role, and what is known of the table. Raises ``NotFound``."""
        found: models.DatasetDetail = self._get()
        return found

    def schema(self, *, version: int | None = None) -> models.Table:
        """The table's columns, constraints and properties at a version; the newest unless given."""
        found: models.Table = self._get("schema", parameters={"version": version})
        return found

    def history(self) -> Iterator[models.TableVersion]:
        """The table's versions, newest first, with the change request behind each."""
        for page in self._transport.pages(Call("GET", dataset_path(self.name, "history"))):
            for found in page["results"]:
                yield found

    def members(self) -> list[models.Member]:
        """Who has which role."""
        found: list[models.Member] = self._get("members")
        return found

    def blame(self, key: Mapping[str, Any]) -> models.RowHistory:
        """Who changed a row: every merged change of it, and for each cell of today where it came from."""
        text = json.dumps({name: json_value(value) for name, value in key.items()})
        found: models.RowHistory = self._get("rows", "history", parameters={"key": text})
        return found

    def change_requests(
        self, *, status: Iterable[str] = (), author: str | None = None, mine: bool | None = None
    ) -> Iterator[ChangeRequest]:
        """What is or was proposed to it, newest first."""
        parameters: Parameters = {
            "dataset": (self.details())["id"],
            "status": list(status),
            "author": author,
            "mine": mine,
        }
        for page in self._transport.pages(Call("GET", f"{API}/change_requests", parameters)):
            for found in page["results"]:
                yield ChangeRequest(self._transport, found)

    @overload
    def propose(
        self,
        rows: Any,
        *,
        title: str,
        description: str = ...,
        file_format: str | None = ...,
        null_token: str | None = ...,
        column_types: Mapping[str, str] | None = ...,
        merge_schema: bool = ...,
        submit: bool = ...,
        on_nothing_to_change: Literal["error"] = ...,
        idempotency_key: str | None = ...,
    ) -> ChangeRequest: ...
    @overload
    def propose(
        self,
        rows: Any,
        *,
        title: str,
        description: str = ...,
        file_format: str | None = ...,
        null_token: str | None = ...,
        column_types: Mapping[str, str] | None = ...,
        merge_schema: bool = ...,
        submit: bool = ...,
        on_nothing_to_change: Literal["ignore"],
        idempotency_key: str | None = ...,
    ) -> ChangeRequest | None: ...
    def propose(
        self,
        rows: Any,
        *,
        title: str,
        description: str = "",
        file_format: str | None = None,
        null_token: str | None = None,
        column_types: Mapping[str, str] | None = None,
        merge_schema: bool = True,
        submit: bool = False,
        on_nothing_to_change: Literal["error", "ignore"] = "error",
        idempotency_key: str | None = None,
    ) -> ChangeRequest | None:
        """Propose rows: the key columns, any of the others, and optionally ``_op``.

        ``rows`` is a path, a frame of pandas or Polars, what pyarrow has, a list of dictionaries, or a generator of
        any of them, which is never held in memory. The answer comes when the content has arrived: ``wait()`` for it
        to be read. The same content under the same title is the same proposal, however often it is sent.

        Raises ``ContentUnusable`` before anything is sent.
        """
        proposal = Proposal(
            dataset=self.name,
            title=title,
            description=description,
            file_format=file_format,
            null_token=null_token,
            column_types=column_types,
            merge_schema=merge_schema,
            submit=submit,
            on_nothing_to_change=on_nothing_to_change,
            idempotency_key=idempotency_key,
        )
        return propose(self._transport, proposal, rows)
