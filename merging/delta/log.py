"""The transaction log: checkpoints and JSON commits replayed into a table's state (PROTOCOL.md, "Actions").

The log is read here and not through delta-rs because opening a table costs a few milliseconds this way, and
because everything a merge needs (statistics, vectors, transaction markers) comes out of one pass.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from merging.delta.actions import (
    Action,
    DataFile,
    Domain,
    Marker,
    RemovedFile,
    TableMetadata,
    TableProtocol,
    actions_in,
    commit_info,
    data_file,
)
from merging.delta.damage import Damaged, fields_of, number_of, optional_moment, parse_action, text_of
from merging.delta.known_states import KnownState, KnownStates
from merging.delta.reach import require_inside
from merging.errors import TableChanged, TableNotFound, VersionGone
from merging.store.client import StoredObject
from merging.store.stores import LOG_FOLDER, TableStore, each_at_once, meanwhile

_COMMIT = re.compile(r"(\d{20})\.json")
_CLASSIC = re.compile(r"(\d{20})\.checkpoint(?:\.(\d{10})\.(\d{10}))?\.parquet")
#: About what the action of a file takes in memory.
_A_FILE = 1_500
#: So many commits are read on top of a remembered state; from more the newest checkpoint is nearer.
_MOST_SINCE = 100
_NAMED = re.compile(r"(\d{20})\.checkpoint\.[0-9a-fA-F-]{36}\.(json|parquet)")


@dataclass(frozen=True, slots=True)
class LoggedCommit:
    """One version's JSON commit: its actions in order, the commitInfo apart, and when the file was made.

    `actions` are the JSON objects of its lines, whose numbers are `lines`; `read` gives them as values.
    """

    version: int
    actions: tuple[dict[str, Any], ...]
    info: Mapping[str, Any]
    modified_ms: int
    lines: Sequence[int] = ()
    uri: str = ""

    @property
    def timestamp_ms(self) -> int:
        """When the commit was made, by its own word or else by its file."""
        for stated in (self.info.get("inCommitTimestamp"), self.info.get("timestamp")):
            moment = optional_moment(stated)
            if moment is not None:
                return moment
        return self.modified_ms

    def read(self, *kinds: str) -> Iterator[Action]:
        """Its actions, of these kinds only where any are named. Raises TableChanged with the line of damage."""
        for number, line in zip(self.lines, self.actions, strict=True):
            try:
                actions = actions_in(line, kinds)
            except Damaged as damage:
                raise damaged_commit(self.uri, self.version, number, damage) from damage
            yield from actions

    def place_of(self, kind: str) -> str:
        """Where its last action of this kind stands, for errors."""
        lines = [self.lines[position] for position, line in enumerate(self.actions) if line.get(kind)]
        return f"version {self.version}, line {lines[-1]}"

    @property
    def markers(self) -> Mapping[str, int]:
        """Versions of its transaction markers by application."""
        return {one.application_id: one.version for one in self.read("txn") if isinstance(one, Marker)}


@dataclass
class TableState:
    """What replaying the log up to `version` gives. `metadata_place` says where the metadata stands, for errors."""

    version: int = -1
    protocol: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    metadata_place: str = ""
    files: dict[tuple[str, str | None], DataFile] = field(default_factory=dict)
    transactions: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    domains: dict[str, str] = field(default_factory=dict)
    commits: dict[int, LoggedCommit] = field(default_factory=dict)
    checkpoint_version: int | None = None

    def apply(self, commit: LoggedCommit) -> None:
        """Advance by one commit. Raises TableChanged where an action is damaged."""
        for action in commit.read():
            self.take(action)
            if isinstance(action, TableMetadata):
                self.metadata_place = commit.place_of("metaData")
        self.commits[commit.version] = commit
        self.version = commit.version

    def copy(self) -> TableState:
        """One that may advance while this one stays where it is."""
        return replace(
            self,
            files=dict(self.files),
            transactions=dict(self.transactions),
            domains=dict(self.domains),
            commits=dict(self.commits),
        )

    def weight(self) -> int:
        """About how many bytes it takes."""
        texts = sum(len(file.stats_json or "") for file in self.files.values())
        lines = sum(len(commit.actions) for commit in self.commits.values())
        return _A_FILE * (len(self.files) + lines) + texts

    def take(self, action: Action) -> None:
        """Advance by one action."""
        match action:
            case DataFile():
                self.files[action.identity] = action
            case RemovedFile():
                self.files.pop(action.identity, None)
            case Marker():
                self.transactions[action.application_id] = (action.version, action.last_updated)
            case TableMetadata():
                self.metadata = action.fields
            case TableProtocol():
                self.protocol = action.fields
            case Domain():
                if action.configuration is None:
                    self.domains.pop(action.name, None)
                else:
                    self.domains[action.name] = action.configuration


_KNOWN: KnownStates[TableState] = KnownStates()


@dataclass(frozen=True)
class _Listing:
    commits: Mapping[int, StoredObject]
    checkpoints: Sequence[tuple[int, tuple[str, ...]]]  # complete ones, oldest first
    incomplete: Sequence[int]


def load_state(store: TableStore, version: int | None = None) -> TableState:
    """Replay the log up to `version` (None: the newest).

    Raises TableNotFound when there is no table, or no such version of it, and TableChanged when the log has
    a gap or needs a checkpoint part that is missing.
    """
    if store.identity is not None:
        known = _KNOWN.nearest(store.identity, version)
        state = None if known is None else _advanced(store, known, version)
        if state is not None:
            return state
    hint = _hint(store)
    listing = _list_log(store, hint if hint is not None and (version is None or hint <= version) else None)
    if not listing.commits and not listing.checkpoints:
        raise TableNotFound(f"There is no Delta table at {store.uri}.", data={"table_uri": store.uri})
    newest = max([*listing.commits, *(number for number, _ in listing.checkpoints)])
    wanted = newest if version is None else version
    if wanted > newest or wanted < 0:
        raise TableNotFound(
            f"Version {wanted} of {store.uri} does not exist; the newest is {newest}.",
            data={"table_uri": store.uri, "version": wanted, "newest": newest},
        )
    state = _replayed(store, listing, wanted)
    if not state.metadata or not state.protocol:
        raise TableChanged(
            f"The log of {store.uri} names no schema or protocol; it is damaged.",
            data={"table_uri": store.uri},
        )
    if store.identity is not None and wanted in listing.commits:
        _KNOWN.put(store.identity, state, listing.commits[wanted])
    return state


def _replayed(store: TableStore, listing: _Listing, wanted: int) -> TableState:
    """The state of a version from the newest checkpoint that it has, and the commits behind it: read at once."""
    usable = [entry for entry in listing.checkpoints if entry[0] <= wanted]
    number, parts = usable[-1] if usable else (-1, ())
    _require_contiguous(store, listing, number + 1, wanted)
    behind = [one for one in range(max(number, 0), wanted + 1) if one > number or one == wanted]
    stated = {one: listing.commits[one] for one in behind if one in listing.commits}
    state = TableState()
    with meanwhile(store, lambda: read_commits(store, stated)) as commits:
        if usable:
            _load_checkpoint(store, parts, state)
            state.version = state.checkpoint_version = number
        for one, commit in commits().items():
            if one > number:
                state.apply(commit)
            else:
                state.commits[one] = commit
    return state


def _advanced(store: TableStore, known: KnownState[TableState], version: int | None) -> TableState | None:
    """A remembered state, brought up to a version by the commits since; None where the log is to be read anew."""
    before = known.state
    listing = _sort_listing(store.list(LOG_FOLDER, start_after=f"{before.version:020d}"))
    if listing.commits.get(before.version) != known.commit:
        # Another table stands there, or its log was cleaned up.
        _KNOWN.forget(store.identity or "")
        return None
    wanted = max(listing.commits) if version is None else version
    since = range(before.version + 1, wanted + 1)
    if any(number not in listing.commits for number in since) or len(since) > _MOST_SINCE:
        return None
    if not since:
        return before
    state = before.copy()
    for commit in read_commits(store, {number: listing.commits[number] for number in since}).values():
        state.apply(commit)
    for number in [number for number in state.commits if number < wanted - _MOST_SINCE]:
        del state.commits[number]
    if store.identity is not None:
        _KNOWN.put(store.identity, state, listing.commits[wanted])
    return state


def load_next_state(store: TableStore, before: TableState) -> TableState:
    """The state one version later, by two reads at once: `before`'s own commit, which must be as it was, and the next.

    Where it is not, or went with a clean-up, all of the log is replayed. Raises as `load_state` does.
    """
    version = before.version + 1
    try:
        known = before.commits.get(before.version)
        if known is None:
            return load_state(store, version)
        again, following = each_at_once(
            store, functools.partial(read_commit, store), [before.version, version]
        )
        if again.actions != known.actions:
            return load_state(store, version)
        state = before.copy()
        state.apply(following)
    except FileNotFoundError:
        return load_state(store, version)
    return state


def load_tombstones(store: TableStore, version: int) -> list[RemovedFile]:
    """Every remove action that the log up to `version` still holds, in commits and the newest checkpoint."""
    listing = _list_log(store, None)
    usable = [entry for entry in listing.checkpoints if entry[0] <= version]
    found = list(_checkpoint_actions(store, usable[-1][1], ("remove",))) if usable else []
    stated = {number: item for number, item in listing.commits.items() if number <= version}
    for commit in read_commits(store, stated).values():
        found += commit.read("remove")
    return [action for action in found if isinstance(action, RemovedFile)]


def read_commits(store: TableStore, stated: Mapping[int, StoredObject]) -> dict[int, LoggedCommit]:
    """The commits that a listing states, by version, read at once. Raises as `read_commit` does."""

    def read(stated: tuple[int, StoredObject]) -> LoggedCommit:
        return read_commit(store, stated[0], stated[1].modified_ms)

    found = each_at_once(store, read, sorted(stated.items()))
    return {commit.version: commit for commit in found}


def read_commit(store: TableStore, version: int, modified_ms: int = 0) -> LoggedCommit:
    """One JSON commit; FileNotFoundError when it is not there, TableChanged when it is not JSON objects by lines."""
    actions, lines = [], []
    for number, line in enumerate(store.read(commit_path(version)).splitlines(), 1):
        if not line or line.isspace():
            continue
        try:
            actions.append(parse_action(line))
        except Damaged as damage:
            raise damaged_commit(store.uri, version, number, damage) from damage
        lines.append(number)
    if not actions:
        # No writer commits nothing; what a store without atomic writes shows of a commit in the making is empty.
        raise damaged_commit(store.uri, version, 1, Damaged("it is empty"))
    return LoggedCommit(version, tuple(actions), commit_info(iter(actions)), modified_ms, lines, store.uri)


def damaged_commit(uri: str, version: int, line: int, damage: Damaged) -> TableChanged:
    """The error for a damaged line of a commit."""
    return TableChanged(
        f"Version {version} in the log of {uri} is damaged, line {line}: {damage.message}.",
        data={"table_uri": uri, "version": version, "line": line},
    )


def commit_path(version: int) -> str:
    """Where version `version` is committed, relative to the table's root."""
    return f"{LOG_FOLDER}/{version:020d}.json"


def list_commits(store: TableStore, *, start_after: int = -1) -> dict[int, StoredObject]:
    """The JSON commits with versions above `start_after`."""
    start = f"{start_after:020d}.json" if start_after >= 0 else ""
    found = {}
    for item in store.list(LOG_FOLDER, start_after=start):
        match = _COMMIT.fullmatch(item.path.rpartition("/")[2])
        if match:
            found[int(match[1])] = item
    return found


def newest_checkpoint(store: TableStore, version: int) -> int | None:
    """The version of the newest complete checkpoint up to `version`; None where there is none."""
    listing = _list_log(store, _hint(store))
    return max((number for number, _ in listing.checkpoints if number <= version), default=None)


def _hint(store: TableStore) -> int | None:
    """The version in _last_checkpoint, to spare object stores a listing of the whole log."""
    if store.is_local:
        return None
    try:
        stated = parse_action(store.read(f"{LOG_FOLDER}/_last_checkpoint"))
        return number_of(stated, "version", "_last_checkpoint")
    except (FileNotFoundError, Damaged):
        # Only a hint: PROTOCOL.md lets readers list the whole log instead.
        return None


def _list_log(store: TableStore, hint: int | None) -> _Listing:
    objects = store.list(LOG_FOLDER, start_after=f"{hint:020d}" if hint else "")
    listing = _sort_listing(objects)
    if hint and not any(number >= hint for number, _ in listing.checkpoints):
        listing = _sort_listing(store.list(LOG_FOLDER))
    return listing


def _sort_listing(objects: Iterable[StoredObject]) -> _Listing:
    commits: dict[int, StoredObject] = {}
    complete: dict[int, tuple[str, ...]] = {}
    parts: dict[tuple[int, int], dict[int, str]] = {}
    seen: set[int] = set()
    for item in objects:
        name = item.path.rpartition("/")[2]
        if match := _COMMIT.fullmatch(name):
            commits[int(match[1])] = item
        elif match := _CLASSIC.fullmatch(name):
            number = int(match[1])
            seen.add(number)
            if match[2] is None:
                complete[number] = (item.path,)
            else:
                parts.setdefault((number, int(match[3])), {})[int(match[2])] = item.path
        elif match := _NAMED.fullmatch(name):
            seen.add(int(match[1]))
            complete.setdefault(int(match[1]), (item.path,))
    for (number, total), found in parts.items():
        if number not in complete and set(found) == set(range(1, total + 1)):
            complete[number] = tuple(found[part] for part in sorted(found))
    return _Listing(commits, sorted(complete.items()), sorted(seen - set(complete)))


def _require_contiguous(store: TableStore, listing: _Listing, first: int, last: int) -> None:
    missing = [number for number in range(first, last + 1) if number not in listing.commits]
    if not missing:
        return
    data = {
        "table_uri": store.uri,
        "missing_versions": missing[:20],
        "incomplete_checkpoints": [*listing.incomplete],
    }
    if listing.incomplete:
        raise TableChanged(
            f"The log of {store.uri} cannot be read: the checkpoint of version {listing.incomplete[-1]} "
            f"lacks parts, and version {missing[0]} is not there as JSON.",
            data=data,
        )
    if first == 0 and missing[0] == 0:
        earliest = min([*listing.commits, *(number for number, _ in listing.checkpoints)])
        if earliest > last:
            raise VersionGone(
                f"Version {last} of {store.uri} is no longer in the log; the oldest is {earliest}.", data=data
            )
    raise TableChanged(f"The log of {store.uri} has a gap: version {missing[0]} is missing.", data=data)


def _load_checkpoint(store: TableStore, parts: Sequence[str], state: TableState) -> None:
    for action in _checkpoint_actions(store, parts, ("add", "metaData", "protocol", "txn", "domainMetadata")):
        state.take(action)
    state.metadata_place = f"checkpoint {parts[0]}"


def _checkpoint_actions(store: TableStore, parts: Sequence[str], kinds: Sequence[str]) -> Iterator[Action]:
    """The actions of these kinds in a checkpoint: its parts first, then the sidecars that they name.

    Raises TableChanged, naming the file, where one is missing or damaged.
    """
    sidecars: list[str] = []
    for part in parts:
        with _named_checkpoint(store, part):
            content = store.read(part)
            if part.endswith(".json"):
                yield from _json_actions(content, kinds, sidecars)
            else:
                yield from _parquet_actions(content, kinds, sidecars)
    for sidecar in sidecars:
        with _named_checkpoint(store, sidecar):
            named = sidecar if "/" in sidecar else f"{LOG_FOLDER}/_sidecars/{sidecar}"
            path = store.relative(require_inside(store, named))
            yield from _parquet_actions(store.read(path), kinds, [])


@contextlib.contextmanager
def _named_checkpoint(store: TableStore, part: str) -> Iterator[None]:
    data = {"table_uri": store.uri, "checkpoint": part}
    try:
        yield
    except FileNotFoundError as error:
        raise TableChanged(
            f"A checkpoint in the log of {store.uri} lacks a part: {part} is missing.", data=data
        ) from error
    except Damaged as damage:
        raise TableChanged(
            f"The checkpoint {part} in the log of {store.uri} is damaged: {damage.message}.", data=data
        ) from damage
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise TableChanged(
            f"The checkpoint {part} in the log of {store.uri} is damaged: {error}", data=data
        ) from error


def _json_actions(content: bytes, kinds: Sequence[str], sidecars: list[str]) -> Iterator[Action]:
    for number, line in enumerate(content.splitlines(), 1):
        if not line or line.isspace():
            continue
        try:
            action = parse_action(line)
            sidecars += _sidecars([action.get("sidecar")])
            yield from actions_in(action, kinds)
        except Damaged as damage:
            raise Damaged(f"line {number}: {damage.message}") from damage


def _sidecars(values: Iterable[Any]) -> list[str]:
    return [text_of(fields_of(value, "sidecar"), "path", "sidecar") for value in values if value is not None]


def _parquet_actions(content: bytes, kinds: Sequence[str], sidecars: list[str]) -> Iterator[Action]:
    file = pq.ParquetFile(io.BytesIO(content))
    names = file.schema_arrow.names
    wanted = [name for name in (*kinds, "sidecar") if name in names]
    if not wanted and not {"add", "remove", "metaData", "protocol"} & set(names):
        raise Damaged("it has no column of actions")
    table = file.read(columns=wanted)
    for name in wanted:
        column = table.column(name)
        if pa.types.is_null(column.type):
            continue
        if not pa.types.is_struct(column.type):
            raise Damaged(f"its column {name} is no struct but {column.type}")
        rows = pa.chunked_array(column.filter(column.is_valid())).combine_chunks()
        if name == "add":
            yield from _adds(rows)
        elif name == "sidecar":
            sidecars += _sidecars(rows.to_pylist())
        else:
            for value in rows.to_pylist():
                yield from actions_in({name: value})


# What of an add is read; the rest (parsed partition values, columns of other writers) would only cost time.
_ADD_COLUMNS = (
    "path",
    "size",
    "partitionValues",
    "modificationTime",
    "stats",
    "stats_parsed",
    "deletionVector",
    "tags",
    "baseRowId",
    "defaultRowCommitVersion",
    "clusteringProvider",
)


def _adds(adds: pa.StructArray) -> Iterator[DataFile]:
    available = {adds.type.field(index).name for index in range(adds.type.num_fields)}
    columns: dict[str, list[Any]] = {}
    for name in _ADD_COLUMNS:
        if name not in available:
            continue
        values = pc.struct_field(adds, name)
        if values.null_count == len(values) or (name == "stats_parsed" and "stats" in columns):
            continue
        columns[name] = values.to_pylist()
    names = list(columns)
    for number, row in enumerate(zip(*columns.values(), strict=True) if columns else [()] * len(adds), 1):
        action = dict(zip(names, row, strict=True))
        parsed = action.pop("stats_parsed", None)
        if isinstance(parsed, dict):
            action["stats"] = _stats_text(parsed)
        try:
            yield data_file(action)
        except Damaged as damage:
            raise Damaged(f"add {number}: {damage.message}") from damage


def _stats_text(parsed: Mapping[str, Any]) -> str:
    """Statistics that a checkpoint holds only as a struct, as the JSON text commits use."""
    return json.dumps({name: value for name, value in parsed.items() if value is not None}, default=str)
