"""Staging in a process that may die alone: what strangers sent is read by a confined child, never by its caller."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merging.confinement import Bounds, Caller, run_confined
from merging.delta import may_leave, open_sealed_snapshot, options_of, place_of, reach_of
from merging.engines import Answers, CallersCluster, Cluster, EngineChoice, choice_for, engines_of
from merging.errors import ConfinedCancelled, StagedCorrupt
from merging.model import ColumnAction, EmptyCells, Phase
from merging.sql.session import Limits, limits, set_limits
from merging.staging.clones import changes_of_clone
from merging.staging.queries import answer
from merging.staging.recipe import stage
from merging.staging.sources import format_of
from merging.staging.sources.content import unpacked_if_binary
from merging.staging.staged import Staged, open_for_pages
from merging.store.space import naming_full_disks

_CHILD = "merging.staging.apart:{}"
_SECONDS_BETWEEN_WORDS = 0.2

Heard = Callable[[Phase, int], None]


@dataclass(frozen=True)
class Apart:
    """Where a child works and what of it is heard.

    ``scratch`` is an existing folder for what is spilled to disk: whoever calls removes it, for a child that was ended
    leaves files there, and under ``destination``. ``on_progress`` hears the phase and the rows read so far.
    """

    destination: str
    scratch: str
    bounds: Bounds
    on_progress: Heard | None = None
    is_cancelled: Callable[[], bool] | None = None

    def stage(self, function: str, table_uri: str, primary_keys: Sequence[str], **asked: Any) -> Staged:
        """What the child staged. Raises what it raises, ``Confined…`` where it did not come to its end, and
        TableElsewhere before there is one.
        """
        tables = [uri for uri in (table_uri, asked.get("other_uri")) if uri]
        choice = choice_for(table_uri)
        told = run_confined(
            _CHILD.format(function),
            {
                "table_uri": table_uri,
                "primary_keys": list(primary_keys),
                "destination": self.destination,
                "scratch": self.scratch,
                "limits": vars(limits()),
                # The child cannot ask whoever decides it.
                "may_leave": may_leave(table_uri),
                "places": {uri: place_of(uri) for uri in tables},
                "storage_options": {uri: dict(options_of(uri) or {}) for uri in tables},
                "engine": {
                    "engine": choice.engine,
                    "spark_above": choice.spark_above,
                    "has_cluster": choice.cluster is not None,
                },
                **asked,
            },
            self.bounds,
            on_progress=self._heard,
            on_question=(
                Answers(table_uri, choice.cluster, self.scratch, self._look)
                if isinstance(choice.cluster, Cluster)
                else None
            ),
            is_cancelled=self.is_cancelled,
        )
        return open_for_pages(_within(self.destination, told))

    def _look(self) -> None:
        if self.is_cancelled is not None and self.is_cancelled():
            raise ConfinedCancelled("The work was cancelled.")

    def _heard(self, told: Mapping[str, Any]) -> None:
        if self.on_progress is not None:
            self.on_progress("reading" if told["phase"] == "reading" else "checking", int(told["rows"]))


def stage_apart(
    table_uri: str,
    path: str,
    primary_keys: Sequence[str],
    *,
    destination: str,
    scratch: str,
    bounds: Bounds,
    base_version: int | None = None,
    null_token: str = "",
    merge_schema: bool = True,
    file_format: str | None = None,
    file_name: str = "",
    column_types: Mapping[str, str] | None = None,
    column_actions: Mapping[str, ColumnAction] | None = None,
    empty_cells: EmptyCells | None = None,
    asks_about_columns: bool = False,
    on_progress: Heard | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> Staged:
    """Stage a file as ``stage`` does, in a child process within ``bounds``; for the rest see ``Apart``.

    Raises as ``stage`` does, and ``Confined…`` where the child did not come to its end.
    """
    return Apart(destination, scratch, bounds, on_progress, is_cancelled).stage(
        "stage_in_child",
        table_uri,
        primary_keys,
        path=path,
        options={
            "base_version": base_version,
            "null_token": null_token,
            "merge_schema": merge_schema,
            "file_format": file_format,
            "file_name": file_name,
            "column_types": dict(column_types or {}),
            "column_actions": _as_json(column_actions),
            "empty_cells": empty_cells,
            "asks_about_columns": asks_about_columns,
        },
    )


def stage_query_apart(
    table_uri: str,
    statement: str,
    primary_keys: Sequence[str],
    *,
    destination: str,
    scratch: str,
    bounds: Bounds,
    names: Sequence[str] = (),
    base_version: int | None = None,
    merge_schema: bool = True,
    column_actions: Mapping[str, ColumnAction] | None = None,
    asks_about_columns: bool = False,
    on_progress: Heard | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> Staged:
    """Stage the rows that a statement of SQL gives over the table as of ``base_version`` (default: the newest).

    The statement is a SELECT of the keys, new values and, if it likes, ``_op``; or one UPDATE, DELETE or INSERT that
    stands for it. It calls the table ``dataset``, ``"table"`` or one of ``names``. For the rest see ``Apart``.

    Raises as ``stage`` does, with the line of the statement and the character in it where that is what was refused, and
    ``Confined…`` where the child did not come to its end.
    """
    return Apart(destination, scratch, bounds, on_progress, is_cancelled).stage(
        "stage_query_in_child",
        table_uri,
        primary_keys,
        statement=statement,
        names=list(names),
        base_version=base_version,
        options={
            "merge_schema": merge_schema,
            "column_actions": _as_json(column_actions),
            "asks_about_columns": asks_about_columns,
        },
    )


def stage_table_apart(
    table_uri: str,
    other_uri: str,
    primary_keys: Sequence[str],
    *,
    destination: str,
    scratch: str,
    bounds: Bounds,
    base_version: int | None = None,
    proved_only: bool = True,
    merge_schema: bool = True,
    on_progress: Heard | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> Staged:
    """Stage what another Delta table, a clone or copy, changed since the version that it was made from: see
    ``changes_of_clone``. For the rest see ``Apart``.

    Raises as ``changes_of_clone`` and ``stage`` do, and ``Confined…`` where the child did not come to its end.
    """
    return Apart(destination, scratch, bounds, on_progress, is_cancelled).stage(
        "stage_table_in_child",
        table_uri,
        primary_keys,
        other_uri=other_uri,
        base_version=base_version,
        proved_only=proved_only,
        options={"merge_schema": merge_schema},
    )


def _as_json(column_actions: Mapping[str, ColumnAction] | None) -> dict[str, dict[str, str]]:
    return {name: dict(vars(action)) for name, action in (column_actions or {}).items()}


def _within(destination: str, answer: Any) -> str:
    """Where the content is: a child that read hostile bytes names one folder of ours, and no other place."""
    name = answer.get("folder") if isinstance(answer, Mapping) else None
    if not isinstance(name, str) or name != os.path.basename(name) or name in ("", ".", ".."):
        raise StagedCorrupt("The process that staged the content did not say where it is.")
    return str(Path(destination) / name)


def stage_in_child(argument: Mapping[str, Any], caller: Caller) -> dict[str, str]:
    """What the child does with a file: stage, tell how far it is, and name the folder that it made."""
    with _confined(argument, caller) as options:
        path = unpacked_if_binary(argument["path"], options["file_format"] or format_of(options["file_name"]))
        return _folder(stage(argument["table_uri"], path, argument["primary_keys"], **options))


def stage_query_in_child(argument: Mapping[str, Any], caller: Caller) -> dict[str, str]:
    """What the child does with a statement: judge it, run it where it reaches nothing, stage the rows as they come."""
    with _confined(argument, caller) as options:
        snapshot = open_sealed_snapshot(argument["table_uri"], version=argument["base_version"])
        keys = argument["primary_keys"]
        with answer(snapshot, keys, argument["statement"], argument["names"]) as answered:
            return _folder(stage(argument["table_uri"], answered.rows, keys, snapshot.version, **options))


def stage_table_in_child(argument: Mapping[str, Any], caller: Caller) -> dict[str, str]:
    """What the child does with another table: compare it with the version that it was made from, stage the rows."""
    with _confined(argument, caller) as options:
        table_uri, keys = argument["table_uri"], argument["primary_keys"]
        with changes_of_clone(
            table_uri,
            argument["other_uri"],
            keys,
            base_version=argument["base_version"],
            proved_only=argument["proved_only"],
        ) as changes:
            return _folder(stage(table_uri, changes.rows, keys, changes.base_version, **options))


@contextmanager
def _confined(argument: Mapping[str, Any], caller: Caller) -> Iterator[dict[str, Any]]:
    """The options for ``stage`` in a child, whose limits and folders are those that it was told."""
    set_limits(Limits(**argument["limits"]))
    tempfile.tempdir = argument["scratch"]
    told = argument["engine"]
    told_at = 0.0

    def tell(phase: Phase, **facts: Any) -> None:
        nonlocal told_at
        now = time.monotonic()
        if phase == "checking" or now - told_at >= _SECONDS_BETWEEN_WORDS:
            told_at = now
            caller({"phase": phase, "rows": facts["rows"]})

    with (
        naming_full_disks("stage the upload", argument["destination"]),
        reach_of(
            leaving=bool(argument["may_leave"]),
            places=argument["places"],
            options=argument["storage_options"],
        ),
        engines_of(
            EngineChoice(
                told["engine"],
                CallersCluster(caller.ask) if told["has_cluster"] else None,
                told["spark_above"],
            )
        ),
    ):
        decided = argument["options"].get("column_actions", {})
        yield {
            "destination": argument["destination"],
            "progress": tell,
            **argument["options"],
            "column_actions": {name: ColumnAction(**action) for name, action in decided.items()},
        }


def _folder(staged: Staged) -> dict[str, str]:
    return {"folder": os.path.basename(staged.location)}
