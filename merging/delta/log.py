"""The transaction log: checkpoints and JSON commits replayed into a table's state (PROTOCOL.md, "Actions").

The log is read here and not through delta-rs because opening a table costs a few milliseconds this way, and
because everything a merge needs (statistics, vectors, transaction markers) comes out of one pass.
"""

from __future__ import annotations

import io
import json
import re
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from merging.delta.store import LOG_FOLDER, StoredObject, TableStore
from merging.delta.vectors import VectorDescriptor
from merging.errors import TableChanged, TableNotFound

_COMMIT = re.compile(r"(\d{20})\.json")
_CLASSIC = re.compile(r"(\d{20})\.checkpoint(?:\.(\d{10})\.(\d{10}))?\.parquet")
_NAMED = re.compile(r"(\d{20})\.checkpoint\.[0-9a-fA-F-]{36}\.(json|parquet)")


@dataclass(frozen=True, slots=True)
class DataFile:
    """One active data file. `partition_values` are strings by (physical) column name, as in the log.

    `stats_json` is the raw statistics text; `num_records` the physical row count, None when the log does
    not say; `logged_path` the path exactly as the log spells it (URL-encoded), `path` the decoded one.
    """

    logged_path: str
    size: int
    partition_values: Mapping[str, str | None]
    modification_time: int
    stats_json: str | None
    num_records: int | None
    vector: VectorDescriptor | None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The path in the store, relative to the table's root, or absolute."""
        return urllib.parse.unquote(self.logged_path)

    @property
    def identity(self) -> tuple[str, str | None]:
        """What the log knows the file by: path and vector."""
        return self.logged_path, self.vector.unique_id if self.vector else None

    @property
    def live_records(self) -> int | None:
        """Rows that readers see, None when the log does not say."""
        if self.num_records is None:
            return None
        return self.num_records - (self.vector.cardinality if self.vector else 0)

    def stats(self) -> dict[str, Any]:
        """The statistics, numbers that are no integers as Decimal with every digit; {} where they cannot be read."""
        if not self.stats_json:
            return {}
        try:
            loaded = json.loads(self.stats_json, parse_float=Decimal, parse_constant=_no_number)
        except (ValueError, ArithmeticError, RecursionError):
            return {}
        return loaded if isinstance(loaded, dict) else {}


def _no_number(_: str) -> None:
    """NaN and Infinity, which are no JSON and bound nothing."""


@dataclass(frozen=True, slots=True)
class Commit:
    """One version's JSON commit: its actions in order, the commitInfo apart, and when the file was made."""

    version: int
    actions: tuple[dict[str, Any], ...]
    info: Mapping[str, Any]
    modified_ms: int

    @property
    def timestamp_ms(self) -> int:
        """When the commit was made, by its own word or else by its file."""
        stated = self.info.get("inCommitTimestamp", self.info.get("timestamp"))
        return int(stated) if stated is not None else self.modified_ms


@dataclass
class TableState:
    """What replaying the log up to `version` gives."""

    version: int = -1
    protocol: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    files: dict[tuple[str, str | None], DataFile] = field(default_factory=dict)
    transactions: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    domains: dict[str, str] = field(default_factory=dict)
    commits: dict[int, Commit] = field(default_factory=dict)
    checkpoint_version: int | None = None

    def apply(self, commit: Commit) -> None:
        """Advance by one commit."""
        for action in commit.actions:
            self._apply_action(action)
        self.commits[commit.version] = commit
        self.version = commit.version

    def _apply_action(self, action: Mapping[str, Any]) -> None:
        for kind, value in action.items():
            if value is None:
                continue
            if kind == "add":
                added = data_file(value)
                self.files[added.identity] = added
            elif kind == "remove":
                vector = value.get("deletionVector")
                identity = VectorDescriptor.from_log(vector).unique_id if vector else None
                self.files.pop((value["path"], identity), None)
            elif kind == "txn":
                self.transactions[value["appId"]] = (int(value["version"]), value.get("lastUpdated"))
            elif kind == "metaData":
                self.metadata = dict(value)
            elif kind == "protocol":
                self.protocol = dict(value)
            elif kind == "domainMetadata":
                if value.get("removed"):
                    self.domains.pop(value["domain"], None)
                else:
                    self.domains[value["domain"]] = value.get("configuration", "")


def data_file(add: Mapping[str, Any]) -> DataFile:
    """The data file of an add action."""
    stats_json = add.get("stats")
    vector = add.get("deletionVector")
    return DataFile(
        logged_path=add["path"],
        size=int(add["size"]),
        partition_values=dict(add.get("partitionValues") or {}),
        modification_time=int(add.get("modificationTime") or 0),
        stats_json=stats_json,
        num_records=_num_records(stats_json),
        vector=VectorDescriptor.from_log(vector) if vector else None,
        extra={
            name: add[name]
            for name in ("tags", "baseRowId", "defaultRowCommitVersion", "clusteringProvider")
            if add.get(name) is not None
        },
    )


_NUM_RECORDS = re.compile(r'^\s*\{\s*"numRecords"\s*:\s*(\d+)\s*[,}]')


def _num_records(stats_json: str | None) -> int | None:
    if not stats_json:
        return None
    quick = _NUM_RECORDS.match(stats_json)
    if quick:
        return int(quick[1])
    count = json.loads(stats_json).get("numRecords")
    return None if count is None else int(count)


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
    listing = _list_log(store, _hint(store) if version is None else None)
    if not listing.commits and not listing.checkpoints:
        raise TableNotFound(f"There is no Delta table at {store.uri}.", data={"table_uri": store.uri})
    newest = max([*listing.commits, *(number for number, _ in listing.checkpoints)])
    wanted = newest if version is None else version
    if wanted > newest or wanted < 0:
        raise TableNotFound(
            f"Version {wanted} of {store.uri} does not exist; the newest is {newest}.",
            data={"table_uri": store.uri, "version": wanted, "newest": newest},
        )
    usable = [entry for entry in listing.checkpoints if entry[0] <= wanted]
    state = TableState()
    if usable:
        number, parts = usable[-1]
        _load_checkpoint(store, parts, state)
        state.version = state.checkpoint_version = number
    _require_contiguous(store, listing, state.version + 1, wanted)
    for number in range(state.version + 1, wanted + 1):
        state.apply(read_commit(store, number, listing.commits[number].modified_ms))
    if not state.metadata or not state.protocol:
        raise TableChanged(
            f"The log of {store.uri} names no schema or protocol; it is damaged.",
            data={"table_uri": store.uri},
        )
    if wanted not in state.commits and wanted in listing.commits:
        state.commits[wanted] = read_commit(store, wanted, listing.commits[wanted].modified_ms)
    return state


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A data file that a version removed: its decoded path, its vector's file, when it was removed."""

    path: str
    vector_path: str | None
    deleted_ms: int


def load_tombstones(store: TableStore, version: int) -> list[Tombstone]:
    """Every remove action that the log up to `version` still holds, in commits and the newest checkpoint."""
    listing = _list_log(store, None)
    found = []
    usable = [entry for entry in listing.checkpoints if entry[0] <= version]
    for part in usable[-1][1] if usable else ():
        found += _checkpoint_removes(store, part)
    for number, item in listing.commits.items():
        if number > version:
            continue
        for action in read_commit(store, number, item.modified_ms).actions:
            if action.get("remove"):
                found.append(_tombstone(action["remove"]))
    return found


def _checkpoint_removes(store: TableStore, part: str) -> list[Tombstone]:
    content = store.read(part)
    actions: dict[str, list[dict[str, Any]]] = {"remove": [], "sidecar": []}
    if part.endswith(".json"):
        for line in content.splitlines():
            for kind, value in json.loads(line).items():
                if kind in actions and value:
                    actions[kind].append(value)
    else:
        file = pq.ParquetFile(io.BytesIO(content))
        wanted = [kind for kind in actions if kind in file.schema_arrow.names]
        table = file.read(columns=wanted)
        for kind in wanted:
            column = table.column(kind)
            actions[kind] += column.filter(column.is_valid()).to_pylist()
    found = [_tombstone(value) for value in actions["remove"]]
    for sidecar in actions["sidecar"]:
        found += _checkpoint_removes(store, _sidecar_path(store, sidecar["path"]))
    return found


def _tombstone(remove: Mapping[str, Any]) -> Tombstone:
    vector = remove.get("deletionVector")
    return Tombstone(
        path=urllib.parse.unquote(remove["path"]),
        vector_path=VectorDescriptor.from_log(vector).file_path if vector else None,
        # A removal without a date counts as old, as PROTOCOL.md has it (default 0).
        deleted_ms=int(remove.get("deletionTimestamp") or 0),
    )


def read_commit(store: TableStore, version: int, modified_ms: int = 0) -> Commit:
    """One JSON commit; FileNotFoundError when it is not there, TableChanged when it is not JSON."""
    try:
        lines = store.read(commit_path(version)).splitlines()
        actions = [json.loads(line) for line in lines if line.strip()]
    except ValueError as error:
        raise TableChanged(
            f"Version {version} in the log of {store.uri} is damaged: {error}",
            data={"table_uri": store.uri, "version": version},
        ) from error
    info: Mapping[str, Any] = {}
    for action in actions:
        info = action.get("commitInfo") or info
    return Commit(version, tuple(actions), info, modified_ms)


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
        stated = json.loads(store.read(f"{LOG_FOLDER}/_last_checkpoint"))
        return int(stated["version"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
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
            raise TableNotFound(
                f"Version {last} of {store.uri} is no longer in the log; the oldest is {earliest}.", data=data
            )
    raise TableChanged(f"The log of {store.uri} has a gap: version {missing[0]} is missing.", data=data)


def _load_checkpoint(store: TableStore, parts: Sequence[str], state: TableState) -> None:
    sidecars: list[str] = []
    try:
        for part in parts:
            content = store.read(part)
            if part.endswith(".json"):
                for line in content.splitlines():
                    action = json.loads(line)
                    if "sidecar" in action:
                        sidecars.append(action["sidecar"]["path"])
                    else:
                        state._apply_action(action)
            else:
                sidecars += _load_checkpoint_part(content, state)
        for sidecar in sidecars:
            _load_checkpoint_part(store.read(_sidecar_path(store, sidecar)), state)
    except FileNotFoundError as error:
        raise TableChanged(
            f"A checkpoint in the log of {store.uri} lacks a part: {error}", data={"table_uri": store.uri}
        ) from error
    except (pa.ArrowInvalid, OSError, ValueError) as error:
        raise TableChanged(
            f"A checkpoint in the log of {store.uri} is damaged: {error}", data={"table_uri": store.uri}
        ) from error


def _sidecar_path(store: TableStore, stated: str) -> str:
    path = stated if "/" in stated else f"{LOG_FOLDER}/_sidecars/{stated}"
    return store.relative(urllib.parse.unquote(path))


def _load_checkpoint_part(content: bytes, state: TableState) -> list[str]:
    file = pq.ParquetFile(io.BytesIO(content))
    names = set(file.schema_arrow.names)
    wanted = [
        name for name in ("add", "metaData", "protocol", "txn", "domainMetadata", "sidecar") if name in names
    ]
    table = file.read(columns=wanted)
    for name in wanted:
        if name in ("add", "sidecar"):
            continue
        column = table.column(name)
        for value in column.filter(column.is_valid()).to_pylist():
            state._apply_action({name: _plain(value)})
    if "add" in wanted:
        column = table.column("add")
        _load_adds(pa.chunked_array(column.filter(column.is_valid())).combine_chunks(), state)
    if "sidecar" not in wanted:
        return []
    return [value["path"] for value in table.column("sidecar").to_pylist() if value]


_MAPS = frozenset({"configuration", "options", "tags", "partitionValues"})


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """Arrow maps (lists of pairs) as dictionaries, at the two levels where actions hold maps.

    They are told by name: an empty map and an empty list look alike, and other readers take no list for a map.
    """
    plain: dict[str, Any] = {}
    for name, inner in value.items():
        if name in _MAPS and isinstance(inner, list):
            plain[name] = dict(inner)
        elif isinstance(inner, dict):
            plain[name] = _plain(inner)
        else:
            plain[name] = inner
    return plain


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


def _load_adds(adds: pa.StructArray, state: TableState) -> None:
    if len(adds) == 0:
        return
    available = {adds.type.field(index).name for index in range(adds.type.num_fields)}
    columns: dict[str, list[Any]] = {}
    for name in _ADD_COLUMNS:
        if name not in available:
            continue
        values = pc.struct_field(adds, name)
        if values.null_count == len(values):
            continue
        if name == "stats_parsed" and "stats" in columns:
            continue
        columns[name] = values.to_pylist()
    names = list(columns)
    for row in zip(*columns.values(), strict=True):
        action = dict(zip(names, row, strict=True))
        action["partitionValues"] = dict(action.get("partitionValues") or ())
        if action.get("tags") is not None:
            action["tags"] = dict(action["tags"])
        parsed = action.pop("stats_parsed", None)
        if parsed is not None and not action.get("stats"):
            action["stats"] = _stats_text(parsed)
        added = data_file(action)
        state.files[added.identity] = added


def _stats_text(parsed: Mapping[str, Any]) -> str:
    """Statistics that a checkpoint holds only as a struct, as the JSON text commits use."""
    return json.dumps({name: value for name, value in parsed.items() if value is not None}, default=str)
