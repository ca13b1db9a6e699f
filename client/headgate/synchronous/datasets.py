"""A dataset: what is in its table, and what is proposed to it."""
# Written by client/write-sync from the module of the same name; not edited by hand.

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import monotonic
from typing import Any, Literal, overload

from headgate import models
from headgate.content.rows import json_value
from headgate.errors import ContentUnusable, error_of
from headgate.protocol import API, Call, Parameters, dataset_path, new_key
from headgate.results import Diff, Rows
from headgate.synchronous.change_requests import ChangeRequest
from headgate.synchronous.places import Place
from headgate.synchronous.proposing import Proposal, look_at_rows, propose_rows, propose_source
from headgate.synchronous.reading import download
from headgate.synchronous.resources import Followed
from headgate.synchronous.transport import Transport
from headgate.synchronous.waiting import look_until


class Dataset(Place, Followed):
    """One Delta table with key columns, as the server knows it."""

    def __init__(self, transport: Transport, name: str | int) -> None:
        super().__init__(transport, dataset_path(name))
        self.name = str(name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

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
        for found in self._results("history"):
            yield found

    def blame(self, key: Mapping[str, Any]) -> models.RowHistory:
        """Who changed a row: every merged change of it, and for each cell of today where it came from."""
        text = json.dumps({name: json_value(value) for name, value in key.items()})
        found: models.RowHistory = self._get("rows", "history", parameters={"key": text})
        return found

    def blame_column(self, column: str) -> Iterator[models.ColumnChange]:
        """Which merged change requests changed cells of a column, how many each, newest first."""
        for found in self._results("columns", "history", parameters={"column": column}):
            yield found

    def change_requests(
        self, *, status: Iterable[str] = (), author: str | None = None, mine: bool | None = None
    ) -> Iterator[ChangeRequest]:
        """What is or was proposed to it, newest first."""
        parameters: Parameters = {
            "dataset": self.name,
            "status": list(status),
            "author": author,
            "mine": mine,
        }
        for page in self._transport.pages(Call("GET", f"{API}/change_requests", parameters)):
            for found in page["results"]:
                yield ChangeRequest(self._transport, found)

    def rows(
        self,
        *,
        version: int | None = None,
        columns: Sequence[str] = (),
        filter: Sequence[str] = (),
        order_by: str | None = None,
        descending: bool | None = None,
    ) -> Rows:
        """The table's rows, all that the filters (``column:operator:value``) let through, on any version still there.

        They are streamed into a temporary file, however many there are. Raises ``VersionGone``, ``InvalidFilter``.
        """
        parameters: Parameters = {
            "version": version,
            "columns": list(columns),
            "filter": list(filter),
            "order_by": order_by,
            "descending": descending,
        }
        call = Call("GET", dataset_path(self.name, "rows"), parameters)
        return Rows(self.name, download(self._transport, call, f"reading {self.name}"))

    def compare(self, before: int, after: int) -> Diff:
        """What differs between two versions of the table."""
        call = Call("GET", dataset_path(self.name, "compare"), {"from": before, "to": after})
        found = download(self._transport, call, f"comparing {self.name}")
        return Diff(f"{self.name}, version {before} to {after}", found)

    def go_back(self, version: int, *, title: str = "", description: str = "") -> ChangeRequest:
        """Begin a draft that proposes the table as it was in a version: the inverse of everything since.

        Raises ``NothingToChange`` where the table is so already, ``VersionGone``.
        """
        asked = {"version": version, "title": title, "description": description}
        call = Call(
            "POST", dataset_path(self.name, "go_back"), json=asked, headers={"Idempotency-Key": new_key()}
        )
        return ChangeRequest(self._transport, (self._transport.send(call)).json())

    def preview(self, sql: str, *, merge_schema: bool = True, timeout: float = 600) -> models.Found:
        """What a statement would change, proposed as it is; nothing is proposed.

        Raises ``StagingRejected`` with the line and character of what the statement may not say, ``WaitedTooLong``.
        """
        call = Call(
            "POST",
            dataset_path(self.name, "queries"),
            json={"sql": sql, "merge_schema": merge_schema},
            headers={"Idempotency-Key": new_key(), "Prefer": "respond-async"},
        )
        tried: models.Query = (self._transport.send(call)).json()
        if tried["status"] in ("queued", "running"):
            tried = look_until(
                self._transport,
                f"{API}/queries/{tried['id']}",
                lambda query: query["status"] not in ("queued", "running"),
                monotonic() + timeout,
                lambda query: None,
            )
        if tried["found"] is None:
            raise error_of(tried["problem"] or {"code": "upload_failed", "message": "The statement failed."})
        return tried["found"]

    def look(
        self,
        rows: Any,
        *,
        file_format: str | None = None,
        null_token: str = "",
        column_types: Mapping[str, str] | None = None,
        columns: Mapping[str, Mapping[str, str]] | None = None,
        empty_cells: Literal["keep", "null", "text"] | None = None,
        timeout: float = 600,
    ) -> models.Preview:
        """What rows would change, proposed as they are; nothing is proposed.

        ``rows`` is what ``propose`` takes. Columns that the table lacks are told in ``found["unknown_columns"]``, and
        left alone until ``columns`` says what is to become of each: ``{"nmae": {"action": "rename", "to": "name"}}``.
        ``empty_cells`` says what an empty cell of a CSV file or a workbook means. The server keeps the content for a
        day: ``propose(preview=look["id"])`` proposes it without sending it again.

        Raises ``StagingRejected`` with every problem by line and column, ``WaitedTooLong``.
        """
        asked = {
            "null_token": null_token or None,
            "column_types": json.dumps(dict(column_types)) if column_types else None,
            "columns": json.dumps({name: dict(one) for name, one in columns.items()}) if columns else None,
            "empty_cells": empty_cells,
        }
        looked = look_at_rows(self._transport, self.name, rows, file_format, asked)
        if looked["status"] in ("queued", "running"):
            looked = look_until(
                self._transport,
                f"{API}/previews/{looked['id']}",
                lambda look: look["status"] not in ("queued", "running"),
                monotonic() + timeout,
                lambda look: None,
            )
        if looked["found"] is None:
            raise error_of(looked["problem"] or {"code": "upload_failed", "message": "The look failed."})
        return looked

    @overload
    def propose(
        self,
        rows: Any = ...,
        *,
        on_nothing_to_change: Literal["error"] = ...,
        title: str | None = ...,
        description: str = ...,
        sql: str | None = ...,
        from_table: str | None = ...,
        preview: int | None = ...,
        only_changes: bool = ...,
        change_request: str | None = ...,
        submit: bool = ...,
        merge_when_ready: bool = ...,
        message: str = ...,
        merge_schema: bool = ...,
        file_format: str | None = ...,
        null_token: str = ...,
        column_types: Mapping[str, str] | None = ...,
        idempotency_key: str | None = ...,
    ) -> ChangeRequest: ...
    @overload
    def propose(
        self,
        rows: Any = ...,
        *,
        on_nothing_to_change: Literal["ignore"],
        title: str | None = ...,
        description: str = ...,
        sql: str | None = ...,
        from_table: str | None = ...,
        preview: int | None = ...,
        only_changes: bool = ...,
        change_request: str | None = ...,
        submit: bool = ...,
        merge_when_ready: bool = ...,
        message: str = ...,
        merge_schema: bool = ...,
        file_format: str | None = ...,
        null_token: str = ...,
        column_types: Mapping[str, str] | None = ...,
        idempotency_key: str | None = ...,
    ) -> ChangeRequest | None: ...
    def propose(
        self,
        rows: Any = None,
        *,
        on_nothing_to_change: Literal["error", "ignore"] = "error",
        title: str | None = None,
        description: str = "",
        sql: str | None = None,
        from_table: str | None = None,
        preview: int | None = None,
        only_changes: bool = False,
        change_request: str | None = None,
        submit: bool = False,
        merge_when_ready: bool = False,
        message: str = "",
        merge_schema: bool = True,
        file_format: str | None = None,
        null_token: str = "",
        column_types: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> ChangeRequest | None:
        """Propose rows: the key columns, any of the others, and optionally ``_op``.

        ``rows`` is a path, a frame of pandas or Polars, what pyarrow has, a list of dictionaries, or a generator of
        any of them, which is never held in memory; instead of them a statement (``sql``) or another Delta table
        (``from_table``) may say what is proposed, or a look (``preview``, its id) that was taken before. With
        ``only_changes`` rows that equal the table are left out before anything is sent. ``change_request`` names one
        that the rows are new content of.

        The answer comes when the content has arrived: ``wait()`` for it to be read. With ``on_nothing_to_change``
        "ignore" it comes when it was read, and is None where it changes nothing. The same content under the same title
        is the same proposal, however often it is sent.

        Raises ``ContentUnusable`` before anything is sent, ``NothingToChange``.
        """
        sources = {"rows": rows, "sql": sql, "from_table": from_table, "preview": preview}
        given = [name for name, value in sources.items() if value is not None]
        if len(given) != 1:
            raise ContentUnusable(
                f"Give one of rows, sql, from_table and preview, not {' and '.join(given) or 'none'}."
            )
        if change_request is None and not title:
            raise ContentUnusable("Give the change request a title, or name one in change_request.")
        proposal = Proposal(
            dataset=self.name,
            title=title,
            description=description,
            file_format=file_format,
            null_token=null_token,
            column_types=column_types,
            merge_schema=merge_schema,
            submit=submit,
            merge_when_ready=merge_when_ready,
            message=message,
            change_request=change_request,
            on_nothing_to_change=on_nothing_to_change,
            idempotency_key=idempotency_key,
        )
        if preview is not None:
            return propose_source(self._transport, proposal, preview=preview)
        if sql is not None:
            return propose_source(self._transport, proposal, sql=sql)
        if from_table is not None:
            return propose_source(self._transport, proposal, from_table=from_table)
        return propose_rows(self._transport, proposal, rows, only_changes=only_changes)
