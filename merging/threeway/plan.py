"""What a merge would do: made by the same code that the merge runs, and written nowhere.

A plan holds a session with its tables (see ``sides``); close it (or use it in a ``with`` block) when done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any

from merging.delta import RowChanges, Snapshot, open_snapshot
from merging.delta.column_rules import rules_of_schema
from merging.engines import EngineRead, TableReader
from merging.errors import TableChanged
from merging.expectations.report import ExpectationReport, ValidationReport
from merging.expectations.rules import rules_of
from merging.model import ChangedRow, Check, Conflict, Operation, Page, RekeyedRow, Resolution, SchemaChange
from merging.sql.failures import naming_engine_failures
from merging.sql.session import Session
from merging.staging.staged import Staged, open_staged
from merging.threeway.alignment import Alignment, MergedColumn, align
from merging.threeway.checking import check_merged
from merging.threeway.conflicts import Conflicts, find_conflicts
from merging.threeway.merged import (
    Effect,
    MergedCells,
    alike_columns,
    count_effect,
    merge_rows,
    row_changes,
    store_as_table,
    writes_cells,
)
from merging.threeway.pages import changed_rows, rekeyed_rows
from merging.threeway.request import MergeRequest
from merging.threeway.resolutions import apply_resolutions, value_of
from merging.threeway.sides import join_current
from merging.threeway.table_rules import AskedRules


@dataclass(frozen=True, eq=False)
class MergePlan:
    """What a merge of a request would do on the table version ``version``.

    ``cells`` tells where its session holds the cells of the rows that it changes; ``reads`` tells which engine looked
    for rows in the table, and in how much of it: nothing where no row moved.
    """

    request: MergeRequest
    staged: Staged
    snapshot: Snapshot
    session: Session
    alignment: Alignment
    conflicts: Conflicts
    effect: Effect
    built_in_checks: tuple[Check, ...]
    row_count_before: int
    digest: str
    cells: MergedCells
    reads: tuple[EngineRead, ...] = ()

    @property
    def version(self) -> int:
        """The table version that it is made on."""
        return self.snapshot.version

    @property
    def strategy(self) -> str:
        """How the merge would be committed."""
        return self.snapshot.strategy().name

    @property
    def schema_changes(self) -> tuple[SchemaChange, ...]:
        """What the merge changes in the table's schema."""
        return self.alignment.changes

    @property
    def rows_added(self) -> int:
        """Rows that the table gains."""
        return self.effect.rows_added

    @property
    def rows_updated(self) -> int:
        """Rows of the table in which a cell changes."""
        return self.effect.rows_updated

    @property
    def rows_deleted(self) -> int:
        """Rows that the table loses."""
        return self.effect.rows_deleted

    @property
    def rows_agreed(self) -> int:
        """Rows that are in the table as proposed already."""
        return self.effect.rows_agreed

    @property
    def cells_updated(self) -> Mapping[str, int]:
        """Changed cells of updated rows, by column."""
        return self.effect.cells_updated

    @property
    def row_count_after(self) -> int:
        """The table's rows after the merge."""
        return self.row_count_before + self.rows_added - self.rows_deleted

    @property
    def unresolved(self) -> int:
        """How many conflicts still wait for a choice."""
        return self.conflicts.unresolved

    @cached_property
    def validation(self) -> ValidationReport:
        """All checks of the merged result. Expectations are judged when this is first asked for.

        Raises SuiteRejected when the request's suite does not fit the merged table.
        """
        return self.validate()

    def validate(self, while_waiting: Callable[[], None] | None = None) -> ValidationReport:
        """``validation``, made anew; ``while_waiting`` is called about once a second where it takes long, and what it
        raises ends it.
        """
        report = self.check_expectations(while_waiting=while_waiting)
        if report is None:
            return ValidationReport(self.built_in_checks)
        return ValidationReport((*self.built_in_checks, *report.checks()), report)

    @naming_engine_failures()
    def check_expectations(
        self, *, rows_only: bool = False, while_waiting: Callable[[], None] | None = None
    ) -> ExpectationReport | None:
        """Judge the request's suite on the merged result; None without a suite or while the schema is in conflict.

        ``rows_only`` gives a quick answer from the changed rows, and defers what needs the whole table.
        Raises SuiteRejected when the suite does not fit the merged table.
        """
        if self.request.expectations is None or self.alignment.conflicts:
            return None
        return check_merged(
            self.session,
            self.cells,
            self.snapshot,
            rules_of(self.request.expectations),
            replaces_rows=bool(self.rows_updated or self.rows_deleted),
            rows_only=rows_only,
            while_waiting=while_waiting,
        )

    @property
    def deleted_share(self) -> float:
        """The share of the table's rows that the merge deletes, from 0 to 1."""
        return self.rows_deleted / self.row_count_before if self.row_count_before else 0.0

    @property
    def changes_nothing(self) -> bool:
        """Whether the content is already in the table."""
        return not (self.rows_added or self.rows_updated or self.rows_deleted or self.schema_changes)

    def close(self) -> None:
        """Free the session. Pages can no longer be read."""
        self.session.close()

    def __enter__(self) -> MergePlan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def value_of(self, column: str, value: Any, *, as_text: bool = False) -> Any:
        """A value that somebody chose for a column, or a key, as the merged table holds it.

        ``value`` is JSON, or with ``as_text`` the text of a cell. Raises InvalidResolution where it does not fit.
        """
        return value_of(self.alignment, column, value, as_text=as_text)

    @naming_engine_failures()
    def rows(
        self,
        operation: Operation | None = None,
        column: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[ChangedRow]:
        """Rows that the merge changes in the table, in key order, with all four images."""
        if self.alignment.conflicts:
            return Page(())
        return changed_rows(
            self.session, self.cells, operation=operation, column=column, after=after, limit=limit
        )

    @naming_engine_failures()
    def rekeyed(self, limit: int = 100) -> tuple[RekeyedRow, ...]:
        """Rows whose content leaves one key for another in this request."""
        if not self.staged.rekeyed_rows or self.alignment.conflicts:
            return ()
        return rekeyed_rows(self.session, self.cells, limit)

    # for the executor

    def unresolved_conflicts(self, limit: int = 1_000) -> tuple[Conflict, ...]:
        """The first conflicts that still wait for a choice."""
        return self.conflicts.page(limit=limit, unresolved_only=True).items

    def updates(self, column: MergedColumn) -> str | None:
        """SQL that is true of merged rows in which a column's cell changes; None for columns whose cells never do."""
        return self.cells.updates(column, self.snapshot)

    def row_changes(self) -> RowChanges:
        """What the merge removes and adds, as the border to Delta takes it."""
        return row_changes(self.session, self.cells, self.snapshot, self.effect)


def plan(request: MergeRequest) -> MergePlan:
    """What merging the request would do on the table's newest version. Writes nothing.

    Raises StagedCorrupt, TableNotFound, TableChanged, UnsupportedTable, DuplicateKeys, InvalidResolution.
    """
    staged = resolve_staged(request)
    snapshot = open_snapshot(request.table_uri, storage_options=request.storage_options)
    return plan_on(request, staged, snapshot)


def resolve_staged(request: MergeRequest) -> Staged:
    """The request's staged content, verified."""
    location = request.staged.location if isinstance(request.staged, Staged) else request.staged
    staged = open_staged(location)
    expected = {request.staged_digest} - {""}
    if isinstance(request.staged, Staged):
        expected.add(request.staged.digest)
    if expected - {staged.digest}:
        raise TableChanged("The staged content was replaced by other content.", data={"location": location})
    return staged


def plan_on(
    request: MergeRequest,
    staged: Staged,
    snapshot: Snapshot,
    while_waiting: Callable[[], None] | None = None,
) -> MergePlan:
    """The plan on one snapshot: what both ``plan`` and every attempt of ``merge`` run.

    ``while_waiting`` is called about twice a second while a cluster reads the table; what it raises ends that.
    """
    if set(request.primary_keys) != set(staged.primary_keys):
        raise TableChanged(
            f"The request names the key columns {', '.join(request.primary_keys)}, the content was staged with "
            f"{', '.join(staged.primary_keys)}; stage it again.",
            data={
                "primary_keys": list(request.primary_keys),
                "staged_primary_keys": list(staged.primary_keys),
            },
        )
    opened = Session(rows=staged.rows)
    try:
        return _planned(opened, request, staged, TableReader(opened, snapshot, while_waiting))
    except BaseException:
        opened.close()
        raise


@naming_engine_failures()
def _planned(opened: Session, request: MergeRequest, staged: Staged, reader: TableReader) -> MergePlan:
    snapshot = reader.snapshot
    of_schema: dict[str | None, Resolution] = {one.column: one for one in request.resolutions if not one.key}
    alignment = align(opened, staged, snapshot, of_schema, merge_schema=request.merge_schema)
    conflicts, effect = Conflicts(opened, alignment), Effect()
    checks: tuple[Check, ...] = ()
    cells = MergedCells(alignment)
    if not alignment.conflicts:
        conflicts, effect, checks, cells = _merge_in_session(opened, request, staged, reader, alignment)
    digest = _digest(request, staged, snapshot, alignment, conflicts, effect)
    # Where the log does not tell how many rows there are, their files are asked: a plan that is made is whole.
    rows = snapshot.row_count
    reads = tuple(reader.reads)
    return MergePlan(
        request, staged, snapshot, opened, alignment, conflicts, effect, checks, rows, digest, cells, reads
    )


def _merge_in_session(
    opened: Session, request: MergeRequest, staged: Staged, reader: TableReader, alignment: Alignment
) -> tuple[Conflicts, Effect, tuple[Check, ...], MergedCells]:
    snapshot = reader.snapshot
    opened.expect_columns(len(alignment.columns))
    opened.expect_rows(staged.rows, staged.row_width)
    standing, joined = join_current(opened, staged, reader, alignment)
    chosen = tuple(one for one in request.resolutions if one.key)
    check = not request.skip_conflict_check
    found = resolved = 0
    if check and not standing.untouched:
        found = find_conflicts(opened, alignment, request.conflict_policy)
        if found:
            apply_resolutions(opened, alignment, chosen)
            resolved = opened.number("SELECT count(*) FROM conflicts WHERE choice IS NOT NULL")
    rules = rules_of_schema(snapshot.schema_json)
    twice = not standing.untouched and opened.number(
        "SELECT count(*) FROM moved WHERE op = 'insert' AND here"
    )
    alike = alike_columns(alignment, staged, snapshot, rules, added_twice=bool(twice))
    cells = MergedCells(alignment, alike, joined)
    merge_rows(
        opened,
        cells,
        chosen,
        unresolved="proposed" if request.force_merge else "current",
        check=check,
        in_conflict=bool(found),
        untouched=standing.untouched,
        all_here=standing.untouched and standing.held == staged.rows,
        final=not writes_cells(snapshot, rules),
    )
    store_as_table(opened, cells, snapshot, rules)
    asked = AskedRules.of(cells, snapshot, rules)
    effect, numbers = count_effect(
        opened, cells, snapshot, asked.aggregates, staged_rows=staged.rows, conflicts=found
    )
    checks = asked.checks(opened, numbers)
    return Conflicts(opened, alignment, chosen, found=found, resolved=resolved), effect, checks, cells


def _digest(
    request: MergeRequest,
    staged: Staged,
    snapshot: Snapshot,
    alignment: Alignment,
    conflicts: Conflicts,
    effect: Effect,
) -> str:
    """Stands for the merge's effect: content, choices, counts, conflicts. Not for the version it is made on."""
    whole = hashlib.sha256()
    facts = {
        "staged": staged.digest,
        "table": snapshot.table_id,
        "policy": request.conflict_policy,
        "skip": request.skip_conflict_check,
        "force": request.force_merge,
        "rows": [effect.rows_added, effect.rows_updated, effect.rows_deleted],
        "cells": sorted(effect.cells_updated.items()),
        "schema": [[one.kind, one.column, one.type] for one in alignment.changes],
        "left_out": sorted(alignment.left_out),
        "schema_conflicts": [one.inputs_digest for one in alignment.conflicts],
    }
    whole.update(json.dumps(facts, sort_keys=True).encode())
    for inputs, choice, value in conflicts.choices():
        whole.update(f"{inputs} {choice} {value!r}\n".encode())
    return whole.hexdigest()
