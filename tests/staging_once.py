"""The same small content is staged against the same fresh table by hundreds of tests: once a process is enough."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import tempfile
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merging.staging.staged import base_schema_of, open_for_pages, write_manifest
from merging.store.space import naming_full_disks

Ask = Callable[[Mapping[str, Any]], Any]
Stage = Callable[[Mapping[str, Any], "CallerHere"], dict[str, str]]

#: What of a question says where things lie, not what is asked.
_PLACES = ("table_uri", "destination", "scratch", "path", "places", "may_leave")
_LARGEST = 100_000

_FOLDER = tempfile.TemporaryDirectory(prefix="headgate-staged-")


@dataclass(frozen=True)
class _Known:
    folder: Path
    told: list[Mapping[str, Any]]


_KNOWN: dict[str, _Known] = {}


def crossed(document: Any) -> Any:
    """What comes out where only JSON comes through."""
    return json.loads(json.dumps(document))


class CallerHere:
    """What ``merging.confinement.Caller`` is to a function, in the process of the caller itself."""

    def __init__(self, on_question: Ask | None) -> None:
        self.told: list[Mapping[str, Any]] = []
        self.on_question = on_question

    def __call__(self, progress: Mapping[str, Any]) -> None:
        self.told.append(progress)

    def ask(self, question: Mapping[str, Any]) -> Any:
        assert self.on_question is not None
        return crossed(self.on_question(crossed(question)))


def staged_once(stage: Stage, argument: Mapping[str, Any], caller: CallerHere) -> dict[str, str]:
    """What ``stage_in_child`` answers; content that this process has staged is copied, under the table's identity."""
    table = Path(argument["table_uri"])
    logged = sorted((table / "_delta_log").glob("*"))
    if [path.name for path in logged] != [f"{0:020d}.json"] or Path(
        argument["path"]
    ).stat().st_size > _LARGEST:
        return stage(argument, caller)
    first = logged[0].read_text()
    table_id = _table_id(first)
    asked = {name: value for name, value in argument.items() if name not in _PLACES}
    asked["options"] = {**argument["options"], "file_name": Path(argument["options"]["file_name"]).suffix}
    key = hashlib.sha256(first.replace(table_id, "").encode() + Path(argument["path"]).read_bytes())
    key.update(json.dumps(asked, sort_keys=True).encode())
    known = _KNOWN.get(key.hexdigest())
    if known is None:
        first_caller = CallerHere(caller.on_question)
        known = _Known(Path(_FOLDER.name, key.hexdigest()), first_caller.told)
        answer = stage(argument, first_caller)
        shutil.copytree(Path(argument["destination"], answer["folder"]), known.folder)
        _KNOWN[known.folder.name] = known
    else:
        answer = {"folder": uuid.uuid4().hex}
        folder = Path(argument["destination"], answer["folder"])
        with naming_full_disks("stage the upload", argument["destination"]):
            shutil.copytree(known.folder, folder)
            staged = dataclasses.replace(
                open_for_pages(str(known.folder)), table_id=table_id, table_uri=argument["table_uri"]
            )
            write_manifest(folder, staged, base_schema_of(str(known.folder)))
    for words in known.told:
        caller(words)
    return answer


def _table_id(first: str) -> str:
    [metadata] = [line["metaData"] for line in map(json.loads, first.splitlines()) if "metaData" in line]
    return str(metadata["id"])
