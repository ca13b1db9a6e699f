"""Suites and a table as it is now: proposing a first one, and judging every row by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from merging.delta import Snapshot, open_snapshot
from merging.engines import TableReader
from merging.errors import CutShort
from merging.expectations.checking import EXAMPLES, check_expectations
from merging.expectations.judged_rows import columns_typed, rows_of_table
from merging.expectations.profiling import propose_suite
from merging.expectations.report import ExpectationReport
from merging.expectations.suites import Suite, parse_suite
from merging.model import Column
from merging.sql.locking import lock
from merging.sql.session import Session, session
from merging.sql.stopping import stopped_when
from merging.sql.types import type_name


def propose_expectations(
    table_uri: str,
    primary_keys: Sequence[str] = (),
    *,
    name: str = "",
    storage_options: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A suite (JSON) that the newest version of a table satisfies, for its owner to edit."""
    snapshot = open_snapshot(table_uri, storage_options=storage_options)
    with session(table_uri) as opened:
        reader, types = _reader(opened, snapshot), _types(snapshot)
        columns = columns_typed(opened, types)
        return propose_suite(opened, rows_of_table(reader, types), columns, keys=primary_keys, name=name)


def check_table(
    table_uri: str,
    suite: Suite | Mapping[str, Any] | str,
    primary_keys: Sequence[str],
    *,
    examples: int = EXAMPLES,
    is_over: Callable[[], bool] | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> ExpectationReport:
    """Judge every row of the newest version of a table, as an owner wants to know before a suite is switched on.

    ``examples`` failing rows are told of each expectation. Raises SuiteRejected when the suite does not fit the table,
    and CutShort where ``is_over``, asked all the while, says that nobody wants to know any more.
    """
    snapshot = open_snapshot(table_uri, storage_options=storage_options)
    if not isinstance(suite, Suite):
        columns = [Column(field.name, type_name(field.type), field.nullable) for field in snapshot.schema]
        suite = parse_suite(suite, columns)
    stopped = "Judging the table was stopped: nobody waits for it any more."

    def wait() -> None:
        if is_over is not None and is_over():
            raise CutShort(stopped)

    with session(table_uri) as opened:
        reader, types = _reader(opened, snapshot, wait), _types(snapshot)
        with stopped_when(opened, is_over, stopped):
            report = check_expectations(
                opened,
                suite,
                merged=rows_of_table(reader, types),
                columns=columns_typed(opened, types),
                keys=primary_keys,
                examples=examples,
            )
    return dataclasses.replace(report, table_version=snapshot.version, reads=tuple(reader.reads))


def _reader(
    opened: Session, snapshot: Snapshot, while_waiting: Callable[[], None] | None = None
) -> TableReader:
    """Reads the table's live rows; a session on local files can open no others from here on."""
    if snapshot.uri.startswith("/"):
        lock(opened, [snapshot.uri])
    return TableReader(opened, snapshot, while_waiting)


def _types(snapshot: Snapshot) -> dict[str, pa.DataType]:
    return {field.name: field.type for field in snapshot.schema}
