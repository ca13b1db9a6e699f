"""Where a table lives: local disk through the operating system, every other store through obstore.

Local disk is kept apart because a commit there needs what no object store client offers: fsync of data
before the log entry, and of the log's directory after it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import urllib.parse
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

import duckdb
import pyarrow as pa

from merging.errors import MergeFailed, TableUnreachable
from merging.scratch import scratch_place
from merging.store.client import (
    AT_ONCE,
    ObjectClient,
    ObjectExists,
    RangeBeyondEnd,
    StoredObject,
    open_client,
)
from merging.store.files import LocalReader, RangedReader, register
from merging.store.publishing import flush_file, flush_folder
from merging.store.unreachable import cannot_open, names_unreachable

LOG_FOLDER = "_delta_log"

Item = TypeVar("Item")
Answer = TypeVar("Answer")

#: A path that says by itself where a file is, whatever table names it.
_WHOLE = re.compile(r"/|[A-Za-z][A-Za-z0-9+.-]*:/")
_GLOB = re.compile(r"[*?\[]")
_UNLINKED = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")


def is_unlinked(path: str) -> bool:
    """Whether it is a commit that `LocalStore.put_new` wrote and, killed, neither linked nor removed."""
    folder, _, name = path.rpartition("/")
    return folder == LOG_FOLDER and _UNLINKED.fullmatch(name) is not None


def _unlinked(name: str) -> str:
    return f".{name}.{uuid.uuid4().hex}.tmp"


class TableStore(Protocol):
    """The few things the engine does with a table's files; paths are relative to the table's root."""

    uri: str
    is_local: bool
    #: What is the same for stores that see the same objects with the same rights; None where nothing is remembered.
    identity: str | None

    def list(self, folder: str, *, start_after: str = "") -> list[StoredObject]:
        """Direct children of `folder` (files only), names greater than `start_after`, sorted."""

    def names(self, folder: str, *, start_after: str = "") -> Sequence[str]:
        """The same by their names alone, which local folders tell without a look at each file."""

    def walk(self) -> Iterator[StoredObject]:
        """Every object under the table's root, in no order."""

    def read(self, path: str) -> bytes:
        """The whole object; FileNotFoundError when there is none."""

    def opened(self, path: str) -> pa.NativeFile:
        """The same as a file to be read in any order: what is asked of a local one at a time, all of a distant one."""

    def read_dated(self, path: str) -> tuple[bytes, int]:
        """The whole object, and when it was written (milliseconds since 1970)."""

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`; FileNotFoundError when there is no such object."""

    def read_tail(self, path: str, length: int, stated: int | None = None) -> tuple[int, bytes]:
        """The object's size and its last `length` bytes (all, where it has fewer); FileNotFoundError.

        `stated` is the size that it should have: some stores are asked less where they are told."""

    def mark(self, path: str) -> object:
        """What is known for nothing of an object's identity beside its size; FileNotFoundError when it is gone
        and that is noticed."""

    def put_new(self, path: str, data: bytes) -> None:
        """Create the object atomically and durably; ObjectExists when the name is taken."""

    def write(self, path: str, data: bytes) -> None:
        """Write a file of ours (a fresh name), durable only after `sync`."""

    def writing(self, path: str) -> AbstractContextManager[Path]:
        """A local path to write the content of `path` to, a fresh name: once the block ends the object is there, and
        where it fails nothing is."""

    def keeping(self, *paths: str) -> AbstractContextManager[None]:
        """Until the block ends what is read or written of these files is asked of a distant store once."""

    def within(self, folder: str) -> Iterator[StoredObject]:
        """Every object in a folder and its folders, in no order."""

    def move(self, path: str, to: str) -> None:
        """Give an object another name, a fresh one; durable only after `sync`."""

    def remove_folder(self, folder: str) -> None:
        """Delete all that is in a folder; that there is none is no error."""

    def sync(self, paths: Iterable[str]) -> None:
        """Make the written files durable, with the folders that name them."""

    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects; one that is gone already is no error."""

    def attach(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Make what `engine_path` says readable for the connection."""

    def engine_path(self, path: str) -> str:
        """What DuckDB opens to read the object."""

    def relative(self, path: str) -> str:
        """A path from the log as this store takes it (absolute paths and URIs of the same store too)."""


class LocalStore:
    """A table in a folder of this machine (or a mounted volume that can link files)."""

    is_local = True

    def __init__(self, root: Path) -> None:
        self.root = root
        self.identity: str | None = os.path.realpath(root)
        self.uri = str(root)
        self._prefix = str(root) + os.sep

    def _full(self, path: str) -> str:
        return path if os.path.isabs(path) else self._prefix + path

    @names_unreachable
    def list(self, folder: str, *, start_after: str = "") -> list[StoredObject]:
        found = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self._full(folder)) as entries:
            for entry in entries:
                if entry.name <= start_after or not entry.is_file():
                    continue
                # A temporary file of another writer may go while we look: that ends no listing.
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat()
                    found.append(
                        StoredObject(
                            f"{folder}/{entry.name}", status.st_size, status.st_mtime_ns // 1_000_000
                        )
                    )
        found.sort(key=lambda item: item.path)
        return found

    @names_unreachable
    def names(self, folder: str, *, start_after: str = "") -> Sequence[str]:
        with contextlib.suppress(FileNotFoundError), os.scandir(self._full(folder)) as entries:
            return sorted(entry.name for entry in entries if entry.name > start_after and entry.is_file())
        return []

    @names_unreachable
    def walk(self) -> Iterator[StoredObject]:
        yield from self.within("")

    @names_unreachable
    def within(self, folder: str) -> Iterator[StoredObject]:
        for place, _, names in os.walk(self._full(folder)):
            for name in names:
                full = os.path.join(place, name)
                with contextlib.suppress(FileNotFoundError):
                    status = os.stat(full)
                    yield StoredObject(
                        os.path.relpath(full, self.root), status.st_size, status.st_mtime_ns // 1_000_000
                    )

    @names_unreachable
    def read(self, path: str) -> bytes:
        with open(self._full(path), "rb") as file:
            return file.read()

    @names_unreachable
    def opened(self, path: str) -> pa.NativeFile:
        return pa.OSFile(self._full(path))

    @names_unreachable
    def read_dated(self, path: str) -> tuple[bytes, int]:
        with open(self._full(path), "rb", buffering=0) as file:
            return file.readall(), os.fstat(file.fileno()).st_mtime_ns // 1_000_000

    @names_unreachable
    def read_range(self, path: str, offset: int, length: int) -> bytes:
        with open(self._full(path), "rb") as file:
            # A log may state any place and length, and as much memory would be taken before anything is read.
            size = os.fstat(file.fileno()).st_size
            file.seek(min(offset, size))
            return file.read(min(length, size))

    @names_unreachable
    def read_tail(self, path: str, length: int, stated: int | None = None) -> tuple[int, bytes]:
        with open(self._full(path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - length))
            return size, file.read(length)

    @names_unreachable
    def mark(self, path: str) -> object:
        status = os.stat(self._full(path))
        return status.st_ino, status.st_mtime_ns, status.st_size

    @names_unreachable
    def put_new(self, path: str, data: bytes) -> None:
        # A hard link fails when the name exists and shows the whole content at once; an exclusive
        # create would show an empty commit to readers until it is filled.
        final = self._full(path)
        folder, name = os.path.split(final)
        os.makedirs(folder, exist_ok=True)
        temporary = os.path.join(folder, _unlinked(name))
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, final)
            except FileExistsError as error:
                raise ObjectExists(path) from error
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise MergeFailed(
                    f"The volume of {self.uri} cannot link files, so a commit there would not be atomic: {error}"
                ) from error
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        flush_folder(folder)

    @names_unreachable
    def write(self, path: str, data: bytes) -> None:
        with open(self._target(path), "xb") as file:
            file.write(data)

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[Path]:
        target = self._target(path)
        try:
            yield target
        except BaseException:
            with contextlib.suppress(OSError):
                target.unlink()
            raise

    @names_unreachable
    def _target(self, path: str) -> Path:
        target = Path(self._full(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def keeping(self, *paths: str) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    @names_unreachable
    def move(self, path: str, to: str) -> None:
        os.rename(self._full(path), self._target(to))

    @names_unreachable
    def remove_folder(self, folder: str) -> None:
        shutil.rmtree(self._full(folder), ignore_errors=True)
        for above in list(Path(folder).parents)[:-1]:
            with contextlib.suppress(OSError):  # others have something in it
                os.rmdir(self._full(str(above)))

    @names_unreachable
    def sync(self, paths: Iterable[str]) -> None:
        folders = set()
        for path in paths:
            full = self._full(path)
            flush_file(full)
            folder = os.path.dirname(full)
            while len(folder) >= len(self.uri) and folder not in folders:
                folders.add(folder)
                folder = os.path.dirname(folder)
        for folder in folders:
            flush_folder(folder)

    @names_unreachable
    def delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._full(path))

    def attach(self, connection: duckdb.DuckDBPyConnection) -> None:
        """DuckDB reads local files itself."""

    def engine_path(self, path: str) -> str:
        return escape_glob(self._full(path))

    def relative(self, path: str) -> str:
        if path[:5].lower() == "file:":
            path = "/" + path[5:].removeprefix("//localhost").lstrip("/")
        return path.removeprefix(self._prefix).lstrip("/") if path.startswith(self._prefix) else path


class SealedStore(LocalStore):
    """The same folder as one that DuckDB can only read, through a file system of ours: for sessions that are locked to
    the tables that they were opened on.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.protocol = _own_protocol()

    def attach(self, connection: duckdb.DuckDBPyConnection) -> None:
        register(connection, LocalReader(), self.protocol)

    def engine_path(self, path: str) -> str:
        return f"{self.protocol}://{self._full(path).lstrip('/')}"


class ObjectStore:
    """A table in an object store, through any obstore store whose prefix is the table's root."""

    is_local = False

    def __init__(self, client: ObjectClient) -> None:
        self.client = client
        self.uri = client.uri
        self.identity: str | None = client.identity
        self.protocol = _own_protocol()
        self._reader = RangedReader(client)

    def list(self, folder: str, *, start_after: str = "") -> list[StoredObject]:
        prefix = f"{folder}/"
        offset = prefix + start_after if start_after else None
        found = [
            item for item in self.client.list(folder, offset) if "/" not in item.path.removeprefix(prefix)
        ]
        found.sort(key=lambda item: item.path)
        return found

    def names(self, folder: str, *, start_after: str = "") -> Sequence[str]:
        return [item.path.rpartition("/")[2] for item in self.list(folder, start_after=start_after)]

    def walk(self) -> Iterator[StoredObject]:
        yield from self.client.list("")

    def within(self, folder: str) -> Iterator[StoredObject]:
        yield from self.client.list(folder)

    def read(self, path: str) -> bytes:
        return self.client.get(path)

    def opened(self, path: str) -> pa.NativeFile:
        return pa.BufferReader(self.read(path))

    def read_dated(self, path: str) -> tuple[bytes, int]:
        return self.client.get_dated(path)

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        try:
            return self.client.get_range(path, offset, offset + length)
        except RangeBeyondEnd:
            # To some stores that is an error; a file gives no bytes there.
            return b""

    def read_tail(self, path: str, length: int, stated: int | None = None) -> tuple[int, bytes]:
        known = self._reader.known(path, length, stated)
        return known.size, known.tail[-length:]

    def mark(self, path: str) -> object:
        return self.identity

    def put_new(self, path: str, data: bytes) -> None:
        self.client.create(path, data)

    def write(self, path: str, data: bytes) -> None:
        self.client.put(path, data)

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[Path]:
        local = scratch_place("upload")
        try:
            yield local
            self.client.put(path, local)
            self._reader.wrote(path, local)
        finally:
            local.unlink(missing_ok=True)

    def keeping(self, *paths: str) -> AbstractContextManager[None]:
        return self._reader.keeping(paths)

    def move(self, path: str, to: str) -> None:
        self.client.copy(path, to)
        self.delete([path])

    def remove_folder(self, folder: str) -> None:
        self.delete([item.path for item in self.within(folder)])

    def sync(self, paths: Iterable[str]) -> None:
        """A finished put is durable in an object store."""

    def delete(self, paths: Iterable[str]) -> None:
        gone = [*paths]
        for path in gone:
            self._reader.forget(path)
        self.client.delete(gone)

    def attach(self, connection: duckdb.DuckDBPyConnection) -> None:
        register(connection, self._reader, self.protocol)

    def engine_path(self, path: str) -> str:
        return f"{self.protocol}://{path}"

    def relative(self, path: str) -> str:
        root = self.uri.rstrip("/") + "/"
        if path.startswith(root):
            return path.removeprefix(root)
        if "://" in path:
            raise MergeFailed(f"{path} lies outside of the table {self.uri}.", data={"path": path})
        return path


class CloneStore(ObjectStore):
    """The store of a clone that reads files of its source, too, which its log names by whole addresses."""

    def __init__(self, clone: ObjectStore, source: TableStore) -> None:
        super().__init__(clone.client)
        self._source = source

    def _from_source(self, path: str) -> str | None:
        """What the source calls a file of its own; None for a file of the clone."""
        return self._source.relative(path) if _WHOLE.match(path) else None

    def read(self, path: str) -> bytes:
        there = self._from_source(path)
        return super().read(path) if there is None else self._source.read(there)

    def read_dated(self, path: str) -> tuple[bytes, int]:
        there = self._from_source(path)
        return super().read_dated(path) if there is None else self._source.read_dated(there)

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        there = self._from_source(path)
        if there is None:
            return super().read_range(path, offset, length)
        return self._source.read_range(there, offset, length)

    def read_tail(self, path: str, length: int, stated: int | None = None) -> tuple[int, bytes]:
        there = self._from_source(path)
        if there is None:
            return super().read_tail(path, length, stated)
        return self._source.read_tail(there, length, stated)

    @contextlib.contextmanager
    def keeping(self, *paths: str) -> Iterator[None]:
        of_source = [there for path in paths if (there := self._from_source(path)) is not None]
        own = [path for path in paths if self._from_source(path) is None]
        with super().keeping(*own), self._source.keeping(*of_source):
            yield

    def attach(self, connection: duckdb.DuckDBPyConnection) -> None:
        super().attach(connection)
        self._source.attach(connection)

    def engine_path(self, path: str) -> str:
        there = self._from_source(path)
        return super().engine_path(path) if there is None else self._source.engine_path(there)

    def relative(self, path: str) -> str:
        inside = path.removeprefix(self.uri.rstrip("/") + "/")
        return inside if _WHOLE.match(inside) else super().relative(inside)


def open_store(table_uri: str, storage_options: Mapping[str, str] | None = None) -> TableStore:
    """The store of a table by path or URI; `storage_options` as delta-rs names them.

    Raises TableUnreachable when the address or the options cannot be understood.
    """
    try:
        parsed = urllib.parse.urlsplit(table_uri)
    except ValueError as error:
        raise cannot_open(error, table_uri) from error
    if parsed.scheme in ("", "file") or len(parsed.scheme) == 1:
        path = urllib.parse.unquote(parsed.path) if parsed.scheme == "file" else table_uri
        return LocalStore(Path(os.path.abspath(path)))
    return ObjectStore(open_client(table_uri, storage_options))


def open_sealed(
    table_uri: str, storage_options: Mapping[str, str] | None = None
) -> SealedStore | ObjectStore:
    """The store of a table, which DuckDB can only read, and by no other name than ``protocol``. Raises as `open_store`
    does.
    """
    store = open_store(table_uri, storage_options)
    return store if isinstance(store, ObjectStore) else SealedStore(Path(store.uri))


def each_at_once(store: TableStore, ask: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer]:
    """What is asked of a store for each of some things, in their order: at once where each answer takes a while."""
    if store.is_local or len(items) < 2:
        return [ask(item) for item in items]
    with ThreadPoolExecutor(max_workers=min(len(items), AT_ONCE)) as pool:
        return list(pool.map(ask, items))


@contextlib.contextmanager
def meanwhile(store: TableStore, ask: Callable[[], Answer]) -> Iterator[Callable[[], Answer]]:
    """Ask a store for something while the block asks for other things; the block calls for the answer."""
    if store.is_local:
        yield ask
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield pool.submit(ask).result


def _own_protocol() -> str:
    """How addresses begin that DuckDB opens through one store and no other."""
    return f"headgate{uuid.uuid4().hex[:12]}"


_probed: set[str] = set()
#: One name for all: where it cannot be removed, one file of one byte stays, and serves again.
PROBE = "_headgate_probe"
_TRIES = 3


def probe(store: TableStore) -> None:
    """Make sure, once per store and process, that the store refuses to create a name twice.

    Some S3 look-alikes ignore the condition, and every commit there could silently replace another.
    Raises MergeFailed. Local disk needs no probe: linking a file is exclusive by POSIX.
    """
    if not isinstance(store, ObjectStore):
        return
    root = urllib.parse.urlsplit(store.uri)
    place = f"{root.scheme}://{root.netloc}"
    if place in _probed:
        return
    is_safe, is_ours = create_twice(store)
    if is_ours:
        with contextlib.suppress(TableUnreachable):  # who may not remove files merges all the same
            store.delete([PROBE])
    if not is_safe:
        raise MergeFailed(
            f"The store of {store.uri} overwrites files that must be created once (put-if-absent is ignored), "
            "so no commit there would be safe.",
            data={"table_uri": store.uri},
        )
    _probed.add(place)


def create_twice(store: TableStore) -> tuple[bool, bool]:
    """Whether the store refuses to create ``PROBE`` where it is, and whether we created it; it is there afterwards.

    It may be there from before, which is refused at once. Of many that probe at the same moment one creates it, and
    nobody else removes it: gone between two of our puts it would look overwritten. Whoever tries a connection removes
    it whosesoever it is, but not each time.
    """
    is_ours = False
    for _ in range(_TRIES):
        try:
            store.put_new(PROBE, b"1")
        except ObjectExists:
            return True, is_ours
        is_ours = True
    return False, is_ours


def escape_glob(path: str) -> str:
    """A path as DuckDB takes it literally: its readers expand `*`, `?` and `[` otherwise."""
    return _GLOB.sub(r"[\g<0>]", path)
