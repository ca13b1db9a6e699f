"""How DuckDB reads an object store: a file system whose reads each name their range, on the table's own client.

DuckDB's httpfs extension cannot be downloaded everywhere, and would need the credentials a second time in
another form; this way there is one client and one set of options.

DuckDB asks for a range in two calls on one handle, `seek` and `read`, and several of its threads do so at once
(its readers are asynchronous, so with one thread too). A handle with a position therefore gives one thread the
bytes that another asked for, silently. The handles here keep a position for each thread of the operating system;
a pair of calls never changes threads. `threading.local` would not do: a thread that Python did not start loses
its local values whenever it lets go of the interpreter.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
from fsspec import AbstractFileSystem

from merging.errors import TableUnreachable
from merging.scratch import scratch_place
from merging.store.client import ObjectClient, ObjectEnd, ObjectReplaced

_TAIL = 64 * 1024
_KEPT_BYTES = 64 * 1024 * 1024
_RECENT_BYTES = 96 * 1024 * 1024
_LEAST_KEPT = 64 * 1024
#: Two files are rewritten at a time, and each result is about as large as what it is made of.
_ROOM_FOR_RESULTS = 4
#: Larger files are read from the store, even by whoever wrote them.
MOST_REMEMBERED = _RECENT_BYTES // 2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class KnownObjects:
    """Sizes and ends of objects by store and path, for the whole process: data files never change once written.

    The end of a Parquet file is its footer, which every scan asks for anew. What is remembered is bounded in
    bytes; a range of an object is only read while the object is still the remembered one.
    """

    def __init__(self, limit: int = _KEPT_BYTES) -> None:
        self._known: OrderedDict[tuple[str, str], ObjectEnd] = OrderedDict()
        self._lock = threading.Lock()
        self._limit = limit
        self._bytes = 0

    def get(self, place: tuple[str, str]) -> ObjectEnd | None:
        """What is remembered of the object, if anything."""
        with self._lock:
            found = self._known.get(place)
            if found is not None:
                self._known.move_to_end(place)
            return found

    def put(self, place: tuple[str, str], known: ObjectEnd) -> None:
        """Remember it, and forget what was not asked for the longest."""
        with self._lock:
            self._forget(place)
            self._known[place] = known
            self._bytes += len(known.tail)
            while self._bytes > self._limit and len(self._known) > 1:
                self._forget(next(iter(self._known)))

    def forget(self, place: tuple[str, str]) -> None:
        """Ask the store again next time."""
        with self._lock:
            self._forget(place)

    def _forget(self, place: tuple[str, str]) -> None:
        gone = self._known.pop(place, None)
        if gone is not None:
            self._bytes -= len(gone.tail)


_KNOWN = KnownObjects()


class RecentRanges:
    """Large ranges of data files that were read or written just now, for the whole process: rewriting a file reads it
    once to write it anew and once more to compare. Bounded in bytes, what was not asked for the longest goes first.
    """

    def __init__(self, limit: int = _RECENT_BYTES) -> None:
        self._kept: OrderedDict[tuple[str, str], list[tuple[int, bytes]]] = OrderedDict()
        self._lock = threading.Lock()
        self._limit = limit
        self._bytes = 0

    def get(self, place: tuple[str, str], start: int, end: int) -> bytes | None:
        """A range, where all of it is kept."""
        with self._lock:
            for begins, content in self._kept.get(place, ()):
                if begins <= start and end <= begins + len(content):
                    self._kept.move_to_end(place)
                    return content[start - begins : end - begins]
        return None

    def put(self, place: tuple[str, str], start: int, content: bytes) -> None:
        """Keep a range, where it is large and not too large."""
        if not _LEAST_KEPT <= len(content) <= self._limit // 2:
            return
        with self._lock:
            self._kept.setdefault(place, []).append((start, content))
            self._kept.move_to_end(place)
            self._bytes += len(content)
            while self._bytes > self._limit:
                self._forget(next(iter(self._kept)))

    def forget(self, place: tuple[str, str]) -> None:
        """Ask the store again next time."""
        with self._lock:
            self._forget(place)

    def _forget(self, place: tuple[str, str]) -> None:
        for _, content in self._kept.pop(place, ()):
            self._bytes -= len(content)


_RECENT = RecentRanges()


class RangesOnDisk:
    """What is read and written of a few objects while they are worked on, on this machine's disk.

    A large file is rewritten from one read of it: what was read is there still when the result is compared with it,
    and so is the result.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], list[tuple[int, int, Path]]] = {}
        self._blocks: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def keeping(self, places: Collection[tuple[str, str]]) -> Iterator[None]:
        """Keep all of these objects until the last block ends that names them."""
        with self._lock:
            self._blocks.update(places)
        try:
            yield
        finally:
            with self._lock:
                self._blocks.subtract(places)
                ended = [place for place in places if not self._blocks[place]]
                for place in ended:
                    del self._blocks[place]
            for place in ended:
                self.forget(place)

    def get(self, place: tuple[str, str], start: int, end: int) -> bytes | None:
        """A range, where all of it is kept."""
        with self._lock:
            within = [one for one in self._kept.get(place, ()) if one[0] <= start and end <= one[1]]
        if not within:
            return None
        begins, _, file = within[0]
        try:
            with file.open("rb") as content:
                content.seek(start - begins)
                found = content.read(end - start)
        except OSError:  # the block ended, or the object was replaced, just now; or the disk fails
            return None
        return found if len(found) == end - start else None

    def put(self, place: tuple[str, str], start: int, content: bytes, size: int) -> bool:
        """Keep a range of an object of this size, if it is worked on; whether it is.

        What is written in its place needs room first: where there is little, nothing is kept, and nobody is stopped."""
        if place not in self._blocks:
            return False
        with contextlib.suppress(OSError):
            file = scratch_place("range")
            if shutil.disk_usage(file.parent).free < len(content) + _ROOM_FOR_RESULTS * size:
                return True
            try:
                file.write_bytes(content)
            except OSError:
                file.unlink(missing_ok=True)
            else:
                self._add(place, start, len(content), file)
        return True

    def take(self, place: tuple[str, str], file: Path) -> None:
        """Keep a whole object that was written from this file, which it takes, if it is worked on."""
        if place in self._blocks:
            mine = scratch_place("range")
            file.rename(mine)
            self._add(place, 0, mine.stat().st_size, mine)

    def forget(self, place: tuple[str, str]) -> None:
        """Ask the store again next time."""
        with self._lock:
            gone = self._kept.pop(place, [])
        for _, _, file in gone:
            file.unlink(missing_ok=True)

    def _add(self, place: tuple[str, str], start: int, length: int, file: Path) -> None:
        with self._lock:
            if place in self._blocks:
                self._kept.setdefault(place, []).append((start, start + length, file))
                return
        file.unlink(missing_ok=True)  # the block ended while this was written


_ON_DISK = RangesOnDisk()


class RangedReader:
    """Ranged reads of one store's objects: every read names its range and gets exactly that or an error."""

    def __init__(self, client: ObjectClient, known: KnownObjects = _KNOWN) -> None:
        self._client = client
        self._identity = client.identity
        self._known = known

    def known(self, path: str, tail: int = _TAIL, stated: int | None = None) -> ObjectEnd:
        """The object's size and at least its last `tail` bytes (all of them where it has fewer), in one request at
        most where the size is as `stated`. Raises FileNotFoundError."""
        place = (self._identity, path)
        found = self._known.get(place)
        if found is not None and len(found.tail) >= min(tail, found.size):
            return found
        try:
            known = self._client.get_end(path, tail, stated)
        except FileNotFoundError:
            self._known.forget(place)
            raise
        if found is None or found.e_tag != known.e_tag:
            self._forget_ranges(place)  # nobody knows whether they are of this object
        self._known.put(place, known)
        return known

    def read(self, path: str, start: int, length: int) -> bytes:
        """The bytes from `start`, `length` of them or up to the object's end.

        Raises FileNotFoundError, and ObjectReplaced where it is another object than at the first look.
        """
        known = self.known(path)
        end = min(start + length, known.size)
        if start >= end:
            return b""
        begins = known.size - len(known.tail)
        if start >= begins:
            return known.tail[start - begins : end - begins]
        place = (self._identity, path)
        for ranges in (_RECENT, _ON_DISK):
            kept = ranges.get(place, start, end)
            if kept is not None:
                return kept
        try:
            content = self._client.get_range(path, start, end, known.e_tag)
        except (FileNotFoundError, ObjectReplaced):
            self.forget(path)
            raise
        if len(content) != end - start:
            raise OSError(f"{path}: the store gave {len(content)} bytes where {end - start} were asked for")
        if not _ON_DISK.put(place, start, content, known.size):
            _RECENT.put(place, start, content)
        return content

    def keeping(self, paths: Iterable[str]) -> AbstractContextManager[None]:
        """Until the block ends what is read or written of these objects is asked for once."""
        return _ON_DISK.keeping([(self._identity, path) for path in paths])

    def wrote(self, path: str, local: Path) -> None:
        """This process has just put a file there as a new object: it need not be asked for to be read again.

        Takes the file, where it keeps it."""
        place, size = (self._identity, path), local.stat().st_size
        with local.open("rb") as content:
            content.seek(max(0, size - _TAIL))
            self._known.put(place, ObjectEnd(size, None, content.read()))
        if size <= MOST_REMEMBERED:
            _RECENT.put(place, 0, local.read_bytes())
        else:
            _ON_DISK.take(place, local)

    def forget(self, path: str) -> None:
        """Ask the store again next time."""
        self._known.forget((self._identity, path))
        self._forget_ranges((self._identity, path))

    @staticmethod
    def _forget_ranges(place: tuple[str, str]) -> None:
        _RECENT.forget(place)
        _ON_DISK.forget(place)


class LocalReader:
    """The same of files of this machine, by their whole paths."""

    def known(self, path: str, tail: int = 0) -> ObjectEnd:
        """The file's size. Raises FileNotFoundError."""
        return ObjectEnd(os.stat(f"/{path}").st_size, None, b"")

    def read(self, path: str, start: int, length: int) -> bytes:
        """The bytes from `start`, `length` of them or up to the file's end. Raises FileNotFoundError."""
        descriptor = os.open(f"/{path}", os.O_RDONLY)
        try:
            return os.pread(descriptor, length, start)
        finally:
            os.close(descriptor)


@contextmanager
def _told_in_text() -> Iterator[None]:
    """DuckDB hands on nothing of an exception but its text: in it stands all that the error tells."""
    try:
        yield
    except TableUnreachable as error:
        raise OSError(error.as_text()) from None
    except OSError as error:
        # It cuts long texts: what led here is nothing for it.
        raise error.with_traceback(None) from None


class StoreFile:
    """An open object, as DuckDB's Python file systems want one. Its only state is where each thread stands."""

    def __init__(self, reader: RangedReader | LocalReader, path: str) -> None:
        self._reader = reader
        self._path = path
        self._positions: dict[int, int] = {}

    def seek(self, position: int) -> int:
        """Set where the calling thread reads next."""
        self._positions[threading.get_ident()] = position
        return position

    def tell(self) -> int:
        """Where the calling thread reads next."""
        return self._positions.get(threading.get_ident(), 0)

    def read(self, length: int) -> bytes:
        """The bytes from the calling thread's position; fewer only at the end of the object."""
        start = self.tell()
        with _told_in_text():
            content = self._reader.read(self._path, start, length)
        self.seek(start + len(content))
        return content

    def close(self) -> None:
        """Nothing is held open."""


def register(
    connection: duckdb.DuckDBPyConnection, reader: RangedReader | LocalReader, protocol: str
) -> None:
    """Let a connection read through a reader, under this protocol name; of what it needs of a row group as much at
    once as it can, for each time is a request.
    """
    if not connection.filesystem_is_registered(protocol):
        connection.register_filesystem(StoreFileSystem(reader, protocol))
        connection.execute("SET disable_parquet_prefetching = false")


class StoreFileSystem(AbstractFileSystem):
    """Read-only view of one table's store, under a protocol name that only this table uses."""

    cachable = False

    def __init__(self, reader: RangedReader | LocalReader, protocol: str) -> None:
        super().__init__()
        self.reader = reader
        self.protocol = protocol

    def _key(self, path: str) -> str:
        return path.removeprefix(f"{self.protocol}://").lstrip("/")

    def open(self, path: str, mode: str = "rb", **_: Any) -> StoreFile:
        """A reader of ranges; FileNotFoundError when there is no such object."""
        if mode != "rb":
            raise PermissionError(f"{path}: this file system only reads")
        key = self._key(path)
        with _told_in_text():
            self.reader.known(key)
        return StoreFile(self.reader, key)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Size and kind, as fsspec says it."""
        with _told_in_text():
            size = self.reader.known(self._key(path)).size
        return {"name": path, "size": size, "type": "file"}

    def modified(self, path: str) -> datetime:
        """One moment for all: what DuckDB caches of a file holds for as long as its connection, as the files do."""
        return _EPOCH

    def glob(self, path: str, **_: Any) -> list[str]:
        """The path itself: DuckDB is always given literal paths."""
        return [path]
