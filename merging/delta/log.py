"""The transaction log: checkpoints and JSON commits replayed into a table's state (PROTOCOL.md, "Actions").

The log is read here and not through delta-rs because opening a table costs a few milliseconds this way, and
because everything a merge needs (statistics, vectors, transaction markers) comes out of one pass.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pyarrow as pa
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
)
from merging.delta.active_files import ActiveFiles, FileBlock
from merging.delta.checkpoint_files import files_in
from merging.delta.damage import (
    Damaged,
    DamagedLine,
    fields_of,
    number_of,
    optional_moment,
    parse_action,
    parse_lines,
    text_of,
)
from merging.delta.file_changes import FileChanges
from merging.delta.known_states import KnownState, KnownStates
from merging.delta.reach import require_inside
from merging.errors import TableChanged, TableNotFound, VersionGone
from merging.store.client import StoredObject
from merging.store.stores import LOG_FOLDER, TableStore, each_at_once, meanwhile

Answer = TypeVar("Answer")

# Versions have 64 bits: a name of twenty digits is none's.
_COMMIT = re.compile(r"(0[0-9]{19})\.json")
_CLASSIC = re.compile(r"(0[0-9]{19})\.checkpoint(?:\.([0-9]{10})\.([0-9]{10}))?\.parquet")
#: About what a line of a commit takes in memory, and a transaction marker.
_A_LINE = 1_500
_A_MARKER = 300
#: So many commits are read on top of a remembered state; from more the newest checkpoint is nearer.
_MOST_SINCE = 100
_ABOUT_THE_TABLE = frozenset({"txn", "metaData", "protocol", "domainMetadata"})
#: So many commits are in memory at a time while a log is replayed.
_AT_A_TIME = 256
_NAMED = re.compile(r"(0[0-9]{19})\.checkpoint\.[0-9a-fA-F-]{36}\.(json|parquet)")


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
        for position, line in enumerate(self.actions):
            yield from self.values(position, line, kinds)

    def values(self, position: int, line: Mapping[str, Any], kinds: Collection[str] = ()) -> list[Action]:
        """The actions of its line in this position, or of some of it. Raises as ``read`` does."""
        try:
            return actions_in(line, kinds)
        except Damaged as damage:
            raise self.damaged(position, damage) from damage

    def damaged(self, position: int, damage: Damaged) -> TableChanged:
        """The error for damage of the action in this position."""
        return damaged_commit(self.uri, self.version, self.lines[position], damage)

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
    """What replaying the log up to `version` gives. `metadata_place` says where the metadata stands, for errors.

    `newest` is the commit of this very version, None where the log has it no more; `marked_in` says by which version a
    transaction marker came, of those at least that came after the checkpoint of `checkpoint_version`.
    """

    version: int = -1
    protocol: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    metadata_place: str = ""
    files: ActiveFiles = field(default_factory=ActiveFiles)
    transactions: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    domains: dict[str, str] = field(default_factory=dict)
    marked_in: dict[str, int] = field(default_factory=dict)
    newest: LoggedCommit | None = None
    checkpoint_version: int | None = None

    def apply(self, commits: Iterable[LoggedCommit]) -> None:
        """Advance by commits. Raises TableChanged where an action is damaged."""
        changes = FileChanges(self.files)
        for commit in commits:
            changes.take(commit)
            for position, line in enumerate(commit.actions):
                if not _ABOUT_THE_TABLE.isdisjoint(line):
                    for action in commit.values(position, line, _ABOUT_THE_TABLE):
                        self._take_from(commit, action)
            self.newest = commit
            self.version = commit.version
        self.files = changes.files()

    def _take_from(self, commit: LoggedCommit, action: Action) -> None:
        self.take(action)
        if isinstance(action, TableMetadata):
            self.metadata_place = commit.place_of("metaData")
        elif isinstance(action, Marker):
            self.marked_in[action.application_id] = commit.version

    def copy(self) -> TableState:
        """One that may advance while this one stays where it is."""
        return replace(
            self,
            transactions=dict(self.transactions),
            domains=dict(self.domains),
            marked_in=dict(self.marked_in),
        )

    def weight(self) -> int:
        """About how many bytes it takes."""
        lines = len(self.newest.actions) if self.newest is not None else 0
        schema = len(self.metadata.get("schemaString", ""))
        return self.files.nbytes + schema + _A_LINE * (lines + 1) + _A_MARKER * len(self.transactions)

    def take(self, action: Action) -> None:
        """Advance by one action; those about files are taken by many at once."""
        match action:
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


_Checkpoint = tuple[int, tuple[str, ...]]
"""Its version, and the paths of its parts."""
_NO_CHECKPOINT: _Checkpoint = (-1, ())


class _BrokenCheckpoint(Exception):
    """A checkpoint that cannot be read; `told` says so where nothing else says what it does."""

    def __init__(self, told: TableChanged) -> None:
        super().__init__(told.message)
        self.told = told


@dataclass(frozen=True)
class _Listing:
    """What stands in a log: its commits, and its checkpoints that are whole, oldest first; of one version there may be
    several. `objects` are its files as stores tell of them that are asked for each listing.
    """

    commits: frozenset[int]
    checkpoints: Sequence[_Checkpoint]
    incomplete: Sequence[int]
    objects: Mapping[str, StoredObject]

    @property
    def newest(self) -> int:
        """The newest version that it tells of; -1 where it tells of none."""
        return max([*self.commits, *(number for number, _ in self.checkpoints)], default=-1)

    def up_to(self, version: int) -> list[_Checkpoint]:
        """Where a version can be read from: its own checkpoints and older ones, the nearest first, and at last none."""
        return [*(one for one in reversed(self.checkpoints) if one[0] <= version), _NO_CHECKPOINT]

    def missing(self, first: int, last: int) -> list[int]:
        """The versions from one to another that are not there as JSON, or the first of them."""
        # A stray file may be called as version 9999999999999999999 is: the first of them tell enough.
        return [*itertools.islice((one for one in range(first, last + 1) if one not in self.commits), 20)]


def load_state(store: TableStore, version: int | None = None) -> TableState:
    """Replay the log up to `version` (None: the newest), on top of what this process remembers of it.

    Raises TableNotFound when there is no table, or no such version of it, and TableChanged when the log has
    a gap or needs a checkpoint part that is missing.
    """
    if store.identity is not None:
        known = _KNOWN.nearest(store.identity, version)
        state = None if known is None else _advanced(store, known, version)
        if state is not None:
            return state
    listing = _list_for(store, version)
    if not listing.commits and not listing.checkpoints:
        raise TableNotFound(f"There is no Delta table at {store.uri}.", data={"table_uri": store.uri})
    newest = listing.newest
    wanted = newest if version is None else version
    if wanted > newest or wanted < 0:
        raise TableNotFound(
            f"Version {wanted} of {store.uri} does not exist; the newest is {newest}.",
            data={"table_uri": store.uri, "version": wanted, "newest": newest},
        )
    sources: dict[str, object] = {}
    state = _from_newest(
        store, listing, wanted, functools.partial(_replayed, store, listing, wanted, sources)
    )
    if not state.metadata or not state.protocol:
        raise TableChanged(
            f"The log of {store.uri} names no schema or protocol; it is damaged.",
            data={"table_uri": store.uri},
        )
    _remember(store, state, sources)
    return state


def _from_newest(
    store: TableStore, listing: _Listing, wanted: int, read: Callable[[_Checkpoint], Answer]
) -> Answer:
    """What `read` makes of the newest checkpoint that a version has, or of the next that says the same where that one
    is broken: another of its version, an older one and the commits behind it, or all commits (as Spark has it,
    "createSnapshotFromGivenOrEquivalentLogSegment").
    """
    newest, *_ = listing.up_to(wanted)
    _require_contiguous(store, listing, newest[0] + 1, wanted)
    try:
        return read(newest)
    except _BrokenCheckpoint as broken:
        whole = _list_log(store)
        for other in whole.up_to(wanted):
            if other != newest and not whole.missing(other[0] + 1, wanted):
                with contextlib.suppress(_BrokenCheckpoint):
                    return read(other)
        raise broken.told from broken.__cause__


def _replayed(
    store: TableStore, listing: _Listing, wanted: int, sources: dict[str, object], checkpoint: _Checkpoint
) -> TableState:
    """The state of a version from a checkpoint and the commits behind it: read at once.

    What tells the files that it was made from from others is added to `sources`. Raises _BrokenCheckpoint.
    """
    number, parts = checkpoint
    behind = [
        one
        for one in range(max(number, 0), wanted + 1)
        if one > number or (one == wanted and one in listing.commits)
    ]
    _note_sources(store, [*parts, *map(commit_path, behind)], listing, sources)
    state = TableState()
    first, rest = behind[:_AT_A_TIME], behind[_AT_A_TIME:]
    with meanwhile(store, lambda: _contents(store, first)) as contents:
        if parts:
            _note_sources(store, _load_checkpoint(store, parts, state), listing, sources)
            state.version = state.checkpoint_version = number
        following = itertools.chain(_parsed(store, first, contents()), read_commits(store, rest))
        if number in behind:
            state.newest = next(following)
        state.apply(following)
    return state


def _advanced(store: TableStore, known: KnownState[TableState], version: int | None) -> TableState | None:
    """A remembered state, brought up to a version by the commits since; None where the log is to be read anew."""
    before = known.state
    begun = (before.checkpoint_version or 0) if store.is_local else before.version
    listing = _list_log(store, f"{begun:020d}")
    if not _are_as_they_were(store, known.sources, listing):
        # Another table stands there, or its log was cleaned up, or mended.
        _KNOWN.forget(store.identity or "", before.version)
        return None
    wanted = max(before.version, listing.newest) if version is None else version
    since = range(before.version + 1, wanted + 1)
    number, parts = max((one for one in listing.checkpoints if one[0] <= wanted), default=(-1, ()))
    nearer = number > before.version and wanted - before.version > _MOST_SINCE
    if nearer or any(number not in listing.commits for number in since):
        return None
    is_newer = number > (-1 if before.checkpoint_version is None else before.checkpoint_version)
    if not since and not is_newer:
        return before
    state, sources = before.copy(), dict(known.sources)
    if is_newer:
        state.checkpoint_version = number
        behind = {commit_path(one) for one in range(number, wanted + 1)}
        sources = {path: mark for path, mark in sources.items() if path in behind}
        _note_sources(store, parts, listing, sources)
    _note_sources(store, [commit_path(one) for one in since if one >= number], listing, sources)
    state.apply(read_commits(store, since))
    _remember(store, state, sources)
    return state


def _remember(store: TableStore, state: TableState, sources: Mapping[str, object]) -> None:
    """Keep a state, where the log has the commit of its version, by which it is known again."""
    own = commit_path(state.version)
    if store.identity is not None and own in sources:
        _KNOWN.put(store.identity, state, sources if store.is_local else {own: sources[own]})


def _note_sources(
    store: TableStore, paths: Iterable[str], listing: _Listing, sources: dict[str, object]
) -> None:
    """Note what tells these files of the log from others that may stand in their places one day.

    Of a local table they are all that its state would be made from by one who knows nothing of it: people mend logs
    with their editors, and damage them. Of distant ones a listing tells for nothing.
    """
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # whoever reads it says so
            found = store.mark(path) if store.is_local else listing.objects.get(path)
            if found is not None:
                sources[path] = found


def _are_as_they_were(store: TableStore, sources: Mapping[str, object], listing: _Listing) -> bool:
    try:
        return all(
            mark == (store.mark(path) if store.is_local else listing.objects.get(path))
            for path, mark in sources.items()
        )
    except FileNotFoundError:
        return False


def load_next_state(store: TableStore, before: TableState) -> TableState:
    """The state one version later, by two reads at once: `before`'s own commit, which must be as it was, and the next.

    Where it is not, or went with a clean-up, all of the log is replayed. Raises as `load_state` does.
    """
    version = before.version + 1
    try:
        known = before.newest
        if known is None:
            return load_state(store, version)
        again, following = each_at_once(
            store, functools.partial(read_commit, store), [before.version, version]
        )
        if again.actions != known.actions:
            return load_state(store, version)
        state = before.copy()
        state.apply([following])
    except FileNotFoundError:
        return load_state(store, version)
    return state


def load_tombstones(store: TableStore, version: int) -> list[RemovedFile]:
    """Every remove action that the log up to `version` still holds, in commits and the newest checkpoint."""
    listing = _list_log(store)
    found = _from_newest(
        store,
        listing,
        version,
        lambda checkpoint: [*_checkpoint_actions(store, checkpoint[1], ("remove",), [])],
    )
    for commit in read_commits(store, sorted(number for number in listing.commits if number <= version)):
        found += commit.read("remove")
    return [action for action in found if isinstance(action, RemovedFile)]


def read_commits(store: TableStore, versions: Sequence[int]) -> Iterator[LoggedCommit]:
    """These commits, in their order, some hundred read at once. Raises as `read_commit` does."""
    for start in range(0, len(versions), _AT_A_TIME):
        part = versions[start : start + _AT_A_TIME]
        yield from _parsed(store, part, _contents(store, part))


def read_commit(store: TableStore, version: int) -> LoggedCommit:
    """One JSON commit; FileNotFoundError when it is not there, TableChanged when it is not JSON objects by lines."""
    [commit] = read_commits(store, [version])
    return commit


def _contents(store: TableStore, versions: Sequence[int]) -> list[tuple[bytes, int]]:
    """What stands in the files of these commits, read at once, and when each was made."""
    return each_at_once(store, lambda version: store.read_dated(commit_path(version)), versions)


def _parsed(
    store: TableStore, versions: Sequence[int], contents: Sequence[tuple[bytes, int]]
) -> Iterator[LoggedCommit]:
    """The commits that these are, one at a time: their values take several times the memory."""
    for version, (content, modified_ms) in zip(versions, contents, strict=True):
        try:
            lines, actions = parse_lines(content)
        except DamagedLine as line:
            raise damaged_commit(store.uri, version, line.number, line.damage) from line.damage
        if not actions:
            # No writer commits nothing; what a store without atomic writes shows of a commit in the making is empty.
            raise damaged_commit(store.uri, version, 1, Damaged("it is empty"))
        yield LoggedCommit(version, tuple(actions), commit_info(iter(actions)), modified_ms, lines, store.uri)


def damaged_commit(uri: str, version: int, line: int, damage: Damaged) -> TableChanged:
    """The error for a damaged line of a commit."""
    return TableChanged(
        f"Version {version} in the log of {uri} is damaged, line {line}: {damage.message}.",
        data={"table_uri": uri, "version": version, "line": line},
    )


def commit_path(version: int) -> str:
    """Where version `version` is committed, relative to the table's root."""
    return f"{LOG_FOLDER}/{version:020d}.json"


def list_commits(store: TableStore, *, start_after: int = -1) -> list[int]:
    """The versions above `start_after` whose JSON commits are there, oldest first."""
    start = f"{start_after:020d}.json" if start_after >= 0 else ""
    found = map(_COMMIT.fullmatch, store.names(LOG_FOLDER, start_after=start))
    return [int(match[1]) for match in found if match]


def newest_checkpoint(store: TableStore, version: int) -> int | None:
    """The version of the newest complete checkpoint up to `version`; None where there is none."""
    listing = _list_for(store, version)
    return max((number for number, _ in listing.checkpoints if number <= version), default=None)


def _hint(store: TableStore) -> int | None:
    """The version in _last_checkpoint, to spare a listing of the whole log."""
    try:
        stated = parse_action(store.read(f"{LOG_FOLDER}/_last_checkpoint"))
        return number_of(stated, "version", "_last_checkpoint")
    except (FileNotFoundError, Damaged):
        # Only a hint: PROTOCOL.md lets readers list the whole log instead.
        return None


def _list_for(store: TableStore, version: int | None) -> _Listing:
    """The log as far as a version (None: the newest) needs it: all of it, where no hint leads to a checkpoint."""
    hint = _hint(store)
    if hint and (version is None or hint <= version):
        listing = _list_log(store, f"{hint:020d}")
        if any(version is None or number <= version for number, _ in listing.checkpoints):
            return listing
    return _list_log(store)


def _list_log(store: TableStore, start_after: str = "") -> _Listing:
    objects: dict[str, StoredObject] = {}
    if store.is_local:
        names = store.names(LOG_FOLDER, start_after=start_after)
    else:
        found = store.list(LOG_FOLDER, start_after=start_after)
        objects = {item.path: item for item in found}
        names = [item.path.rpartition("/")[2] for item in found]
    commits: set[int] = set()
    complete: dict[int, list[tuple[str, ...]]] = {}
    parts: dict[tuple[int, int], dict[int, str]] = {}
    seen: set[int] = set()
    for name in names:
        path = f"{LOG_FOLDER}/{name}"
        if match := _COMMIT.fullmatch(name):
            commits.add(int(match[1]))
        elif match := _CLASSIC.fullmatch(name):
            number = int(match[1])
            seen.add(number)
            if match[2] is None:
                complete.setdefault(number, []).append((path,))
            else:
                parts.setdefault((number, int(match[3])), {})[int(match[2])] = path
        elif match := _NAMED.fullmatch(name):
            seen.add(int(match[1]))
            complete.setdefault(int(match[1]), []).insert(0, (path,))
    for (number, total), known in parts.items():
        # As many as the name says first: it may say nine thousand millions.
        if len(known) == total and set(known) == set(range(1, total + 1)):
            complete.setdefault(number, []).insert(0, tuple(known[part] for part in sorted(known)))
    incomplete = sorted(seen - set(complete))
    checkpoints = [(number, parts) for number in sorted(complete) for parts in complete[number]]
    return _Listing(frozenset(commits), checkpoints, incomplete, objects)


def _require_contiguous(store: TableStore, listing: _Listing, first: int, last: int) -> None:
    missing = listing.missing(first, last)
    if not missing:
        return
    data = {
        "table_uri": store.uri,
        "missing_versions": missing,
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


def _load_checkpoint(store: TableStore, parts: Sequence[str], state: TableState) -> list[str]:
    """Take all that a checkpoint says into a state; the paths of the sidecars that it named.

    Raises _BrokenCheckpoint.
    """
    sidecars: list[str] = []
    kinds = ("add", "metaData", "protocol", "txn", "domainMetadata")
    blocks: list[FileBlock] = []
    apart: list[DataFile | RemovedFile] = []
    for found in _checkpoint_actions(store, parts, kinds, sidecars):
        if isinstance(found, pa.RecordBatch):
            blocks.append(FileBlock.of(found))
        elif isinstance(found, DataFile | RemovedFile):
            apart.append(found)
        else:
            state.take(found)
    if not state.metadata or not state.protocol:
        with _named_checkpoint(store, parts[0]):
            raise Damaged("it names no schema or protocol")
    files = ActiveFiles.in_blocks(blocks)
    state.files = (files if files.are_different else ActiveFiles().after(files)).after(apart)
    state.metadata_place = f"checkpoint {parts[0]}"
    pa.default_memory_pool().release_unused()
    return sidecars


def _checkpoint_actions(
    store: TableStore, parts: Sequence[str], kinds: Sequence[str], opened: list[str]
) -> Iterator[Action | pa.RecordBatch]:
    """The actions of these kinds in a checkpoint: its parts first, then the sidecars that they name, whose paths are
    added to `opened`. Files that Parquet names come many at a time, as columns of active files.

    Raises _BrokenCheckpoint, naming the file, where one is missing or damaged.
    """
    sidecars: list[str] = []
    for part in parts:
        with _named_checkpoint(store, part):
            if part.endswith(".json"):
                yield from _json_actions(store.read(part), kinds, sidecars)
            else:
                yield from _parquet_actions(store, part, kinds, sidecars)
    for sidecar in sidecars:
        with _named_checkpoint(store, sidecar):
            named = sidecar if "/" in sidecar else f"{LOG_FOLDER}/_sidecars/{sidecar}"
            path = store.relative(require_inside(store, named))
            opened.append(path)
            yield from _parquet_actions(store, path, kinds, [])


@contextlib.contextmanager
def _named_checkpoint(store: TableStore, part: str) -> Iterator[None]:
    damaged = f"The checkpoint {part} in the log of {store.uri} is damaged"
    try:
        yield
    except FileNotFoundError as error:
        said = f"A checkpoint in the log of {store.uri} lacks a part: {part} is missing."
        raise _broken(store, part, said) from error
    except Damaged as damage:
        raise _broken(store, part, f"{damaged}: {damage.message}.") from damage
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise _broken(store, part, f"{damaged}: {error}") from error


def _broken(store: TableStore, part: str, said: str) -> _BrokenCheckpoint:
    return _BrokenCheckpoint(TableChanged(said, data={"table_uri": store.uri, "checkpoint": part}))


def _json_actions(content: bytes, kinds: Sequence[str], sidecars: list[str]) -> Iterator[Action]:
    for number, action in zip(*parse_lines(content), strict=True):
        try:
            sidecars += _sidecars([action.get("sidecar")])
            yield from actions_in(action, kinds)
        except Damaged as damage:
            raise DamagedLine(number, damage) from damage


def _sidecars(values: Iterable[Any]) -> list[str]:
    return [text_of(fields_of(value, "sidecar"), "path", "sidecar") for value in values if value is not None]


def _parquet_actions(
    store: TableStore, path: str, kinds: Sequence[str], sidecars: list[str]
) -> Iterator[Action | pa.RecordBatch]:
    # Spark states moments as INT96, which in nanoseconds would end in 2262. A part may be one row group of all files,
    # whose columns are read piece by piece.
    source, pieces = store.opened(path), 64 * 1024
    with (
        source,
        pq.ParquetFile(
            source, coerce_int96_timestamp_unit="us", pre_buffer=False, buffer_size=pieces
        ) as file,
    ):
        yield from _actions_of(file, kinds, sidecars)


def _actions_of(
    file: pq.ParquetFile, kinds: Sequence[str], sidecars: list[str]
) -> Iterator[Action | pa.RecordBatch]:
    names = file.schema_arrow.names
    wanted = [name for name in (*kinds, "sidecar") if name in names]
    if not wanted and not {"add", "remove", "metaData", "protocol"} & set(names):
        raise Damaged("it has no column of actions")
    for name in wanted:
        if name == "add":
            yield from files_in(file)
            continue
        column = file.read(columns=[name], use_threads=False).column(name)
        if pa.types.is_null(column.type):
            continue
        if not pa.types.is_struct(column.type):
            raise Damaged(f"its column {name} is no struct but {column.type}")
        rows = column.filter(column.is_valid()).to_pylist()
        if name == "sidecar":
            sidecars += _sidecars(rows)
        else:
            for value in rows:
                yield from actions_in({name: value})
