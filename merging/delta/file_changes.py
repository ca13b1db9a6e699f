"""What commits change about a table's files: those of many commits are made into columns together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from merging.delta.actions import DataFile, RemovedFile, data_file, removed_file
from merging.delta.active_files import MOST_TOGETHER, ActiveFiles, Identity, block_of, identities_of
from merging.delta.damage import Damaged
from merging.delta.plain_files import Unusual, plain_files, stated, stated_vectors
from merging.errors import TableChanged

#: So many are in memory at a time as what their JSON holds.
_AT_A_TIME = 2_048


class CommitRead(Protocol):
    """A commit that changes stand in: the JSON objects of its lines, in their order."""

    @property
    def actions(self) -> Sequence[Mapping[str, Any]]:
        """The objects."""

    def damaged(self, position: int, damage: Damaged) -> TableChanged:
        """The error for damage of the object in this position."""


@dataclass
class _Waiting:
    """Adds and removes as their JSON has them, and where each stands."""

    actions: list[Any] = field(default_factory=list)
    came: list[bool] = field(default_factory=list)
    commits: list[CommitRead] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)


class FileChanges:
    """Changes in the order of their commits, on top of files."""

    def __init__(self, files: ActiveFiles) -> None:
        self._files = files
        self._waiting = _Waiting()
        # What was last said of each file: its place among those that came, None where it went.
        self._last: dict[Identity, int | None] = {}
        self._added: list[pa.RecordBatch] = []
        self._count = 0

    def take(self, commit: CommitRead) -> None:
        """Take those of one more commit. Raises TableChanged, with the place, where one up to now is damaged."""
        waiting = self._waiting
        for position, line in enumerate(commit.actions):
            if "add" not in line and "remove" not in line:
                continue
            for kind, action in line.items():
                if kind in ("add", "remove") and action is not None:
                    waiting.actions.append(action)
                    waiting.came.append(kind == "add")
                    waiting.commits.append(commit)
                    waiting.positions.append(position)
        if len(waiting.actions) >= _AT_A_TIME:
            self._read()
            if self._count >= MOST_TOGETHER:
                self._apply()
            # What the allocator keeps of memory that nobody has any more is several times what the files take.
            pa.default_memory_pool().release_unused()

    def files(self) -> ActiveFiles:
        """The files after all of them. Raises as ``take`` does."""
        self._read()
        self._apply()
        return self._files

    def _read(self) -> None:
        waiting, self._waiting = self._waiting, _Waiting()
        if not waiting.actions:
            return
        try:
            identities, added = _in_columns(waiting)
        except Unusual:
            identities, added = _one_by_one(waiting)
        last, place = self._last, self._count
        for came, identity in zip(waiting.came, identities, strict=True):
            # What was said before of the same is as if it had not been: the file stands where it comes now.
            last.pop(identity, None)
            last[identity] = place if came else None
            place += came
        self._count = place
        self._added.append(added)

    def _apply(self) -> None:
        if self._last:
            [added] = pa.Table.from_batches(self._added).combine_chunks().to_batches() or self._added[:1]
            self._files = self._files.following(self._last, added)
        self._last, self._added, self._count = {}, [], 0


def _in_columns(waiting: _Waiting) -> tuple[Sequence[Identity], pa.RecordBatch]:
    """What files the changes are about, and the columns of those that came. Raises Unusual."""
    actions = waiting.actions
    if {*map(type, actions)} != {dict}:
        raise Unusual
    paths = [action.get("path") for action in actions]
    if {*map(type, paths)} != {str} or "" in paths or "\0" in "".join(paths):
        raise Unusual
    vectors = stated_vectors(actions)
    added = [action for action, came in zip(actions, waiting.came, strict=True) if came]
    if vectors is None:
        return [(path, None) for path in paths], plain_files(stated(added), len(added))
    named = (vectors.column(name).to_pylist() for name in ("vector_type", "vector_path", "vector_offset"))
    taken = vectors.filter(pa.array(waiting.came, pa.bool_()))
    return identities_of(paths, *named), plain_files(stated(added), len(added), taken)


def _one_by_one(waiting: _Waiting) -> tuple[Sequence[Identity], pa.RecordBatch]:
    """The same of what is not as usual. Raises TableChanged, with the place, where something is damaged."""
    read: list[DataFile | RemovedFile] = []
    for number, (action, came) in enumerate(zip(waiting.actions, waiting.came, strict=True)):
        try:
            read.append(data_file(action) if came else removed_file(action))
        except Damaged as damage:
            raise waiting.commits[number].damaged(waiting.positions[number], damage) from damage
    return [one.identity for one in read], block_of([one for one in read if isinstance(one, DataFile)])
