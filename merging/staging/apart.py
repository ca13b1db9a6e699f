"""Staging in a process that may die alone: what strangers sent is read by a confined child, never by its caller."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from merging.confinement import Bounds, run_confined
from merging.delta import may_leave, reach_of
from merging.errors import StagedCorrupt
from merging.model import Phase
from merging.sql.session import Limits, limits, set_limits
from merging.staging.recipe import stage
from merging.staging.sources import format_of
from merging.staging.sources.content import unpacked_if_binary
from merging.staging.staged import Staged, open_for_pages
from merging.store.space import naming_full_disks

_CHILD = "merging.staging.apart:stage_in_child"
_SECONDS_BETWEEN_WORDS = 0.2


def stage_apart(
    table_uri: str,
    path: str,
    primary_keys: Sequence[str],
    *,
    destination: str,
    scratch: str,
    bounds: Bounds,
    null_token: str = "",
    merge_schema: bool = True,
    file_format: str | None = None,
    file_name: str = "",
    column_types: Mapping[str, str] | None = None,
    on_progress: Callable[[Phase, int], None] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> Staged:
    """Stage a file as ``stage`` does, in a child process within ``bounds``.

    ``scratch`` is an existing folder for what is spilled to disk: whoever calls removes it, for a child that was ended
    leaves files there, and under ``destination``. ``on_progress`` hears the phase and the rows read so far.

    Raises as ``stage`` does, and ``Confined…`` where the child did not come to its end.
    """

    def heard(told: Mapping[str, Any]) -> None:
        if on_progress is not None:
            on_progress("reading" if told["phase"] == "reading" else "checking", int(told["rows"]))

    answer = run_confined(
        _CHILD,
        {
            "table_uri": table_uri,
            "path": path,
            "primary_keys": list(primary_keys),
            "destination": destination,
            "scratch": scratch,
            "limits": vars(limits()),
            # The child cannot ask whoever decides it.
            "may_leave": may_leave(table_uri),
            "options": {
                "null_token": null_token,
                "merge_schema": merge_schema,
                "file_format": file_format,
                "file_name": file_name,
                "column_types": dict(column_types or {}),
            },
        },
        bounds,
        on_progress=heard,
        is_cancelled=is_cancelled,
    )
    return open_for_pages(_within(destination, answer))


def _within(destination: str, answer: Any) -> str:
    """Where the content is: a child that read hostile bytes names one folder of ours, and no other place."""
    name = answer.get("folder") if isinstance(answer, Mapping) else None
    if not isinstance(name, str) or name != os.path.basename(name) or name in ("", ".", ".."):
        raise StagedCorrupt("The process that staged the content did not say where it is.")
    return str(Path(destination) / name)


def stage_in_child(
    argument: Mapping[str, Any], report: Callable[[Mapping[str, Any]], None]
) -> dict[str, str]:
    """What the child does: stage, tell how far it is, and name the folder that it made."""
    set_limits(Limits(**argument["limits"]))
    tempfile.tempdir = argument["scratch"]
    told_at = 0.0

    def tell(phase: Phase, **facts: Any) -> None:
        nonlocal told_at
        now = time.monotonic()
        if phase == "checking" or now - told_at >= _SECONDS_BETWEEN_WORDS:
            told_at = now
            report({"phase": phase, "rows": facts["rows"]})

    with (
        naming_full_disks("stage the upload", argument["destination"]),
        reach_of(leaving=bool(argument["may_leave"])),
    ):
        options = argument["options"]
        path = unpacked_if_binary(argument["path"], options["file_format"] or format_of(options["file_name"]))
        staged = stage(
            argument["table_uri"],
            path,
            argument["primary_keys"],
            destination=argument["destination"],
            progress=tell,
            **options,
        )
    return {"folder": os.path.basename(staged.location)}
