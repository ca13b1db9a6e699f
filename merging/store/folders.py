"""Files and whole folders that an application keeps, by names under one root: on local disk or in an object store.

What is kept never changes once it is there (``put`` is for the few files that do), so a copy of it is as good as it is.
On local disk nothing is copied: a folder is published by renaming it, and read where it lies. In an object store its
files are put first and ``_kept.json`` last, with the size and SHA-256 of each: without that there is no folder. Whoever
reads it gets a local copy that all processes of a machine share, checked by those hashes; copies go again, the least
used first.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from merging.errors import MergeFailed, StagedCorrupt
from merging.store.client import ObjectClient, ObjectExists, RangeBeyondEnd, StoredObject
from merging.store.publishing import file_facts, flush_folder, write_json
from merging.store.space import naming_full_disks
from merging.store.stores import LocalStore, ObjectStore, open_store

#: What stands for a whole folder in an object store: it is put last, and removed first.
KEPT = "_kept.json"
_BLOCK = 4 << 20
#: Larger files are put in parts.
_LARGE = 256 << 20
#: A copy that somebody asked for so lately may still be read: the longest task takes an hour.
_SECONDS_IN_USE = 2 * 3600
#: A copy that nobody asked for since, and what an ended process left half made, goes.
_SECONDS_KEPT = 24 * 3600
#: How often a process looks whether the copies have become too many.
_SECONDS_BETWEEN_LOOKS = 30
_HIDDEN = "."


@dataclass(frozen=True)
class Contents:
    """What lies in a folder and below it: bytes, and when the last of it was written (seconds since 1970)."""

    size: int
    newest: float


class Folders(Protocol):
    """What is done with kept files and folders; names are relative to the root, with slashes.

    Every method raises ``MergeFailed`` for a name that is none, and ``TableUnreachable`` where an object store gives no
    answer or refuses one.
    """

    address: str
    is_local: bool

    def address_of(self, name: str) -> str:
        """Where something lies, for people: a path or an address."""

    def put_new(self, folder: str, files: Mapping[str, bytes | Path]) -> set[str]:
        """Put files (or copies of some) into a folder, each at once and unless its name is taken; which names were.
        All are durable when it returns.
        """

    def put(self, name: str, content: bytes) -> None:
        """Put a file durably and at once, in the place of another too."""

    def read(self, name: str) -> bytes:
        """The whole file; FileNotFoundError."""

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``, fewer at the end; FileNotFoundError."""

    def sha256(self, name: str) -> str:
        """The hex SHA-256 of a file as it lies there; FileNotFoundError."""

    def files(self, folder: str) -> list[StoredObject]:
        """The files right in a folder, sorted; none where there is no such folder."""

    def folders(self, folder: str) -> list[str]:
        """The names of the folders right in a folder, sorted."""

    def walk(self, folder: str) -> Iterator[StoredObject]:
        """Every file in a folder and below it, in no order."""

    def contents(self, folder: str) -> Contents | None:
        """What lies in a folder; None where there is no such folder."""

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; one that is gone already is no error."""

    def workplace(self, name: str) -> Path:
        """A local path for a folder (with its parents) in which something can be made that is published later."""

    def name_of(self, path: str | Path) -> str:
        """The name of what lies at a local path that ``folder`` or ``workplace`` gave."""

    def publish(self, made: str | Path, name: str) -> Path:
        """Let a folder that was made in a workplace be the folder ``name``, whole or not at all; where it lies for
        reading. What was published under the name before is replaced.
        """

    def put_folder(self, name: str, files: Mapping[str, Path]) -> None:
        """Make a folder of copies of files; on one disk they are links. FileNotFoundError where a file is gone."""

    def copy_folder(self, name: str, to: str) -> None:
        """Make a folder of the files that are right in another. FileNotFoundError where that is gone."""

    def folder(self, name: str) -> Path:
        """A local path to read a whole folder from, where it is there: nothing lies at it otherwise.

        Raises StagedCorrupt where what an object store holds is not what was put.
        """

    def checked(self, name: str, digests: Mapping[str, str]) -> Path:
        """The same of single files that were put with ``put_new``, by their SHA-256; those that are gone are not in it.

        On local disk nothing is checked: whoever reads them does. Raises StagedCorrupt.
        """

    def move(self, name: str, to: str) -> None:
        """Give everything in a folder another name. Safe to call again; nothing happens where it is gone."""

    def remove(self, name: str) -> bool:
        """Remove a folder with all in it; whether there was one."""


def checked_name(name: str) -> str:
    """The name, if it stays under the root. Raises MergeFailed."""
    parts = PurePosixPath(name).parts
    if (
        not parts
        or name.startswith("/")
        or "\x00" in name
        or "\\" in name
        or {"..", "."} & set(name.split("/"))
    ):
        raise MergeFailed(f"{name!r} is no name of something that is kept.")
    return "/".join(parts)


class LocalFolders:
    """Kept on a disk of this machine, or one that several machines share."""

    is_local = True

    def __init__(self, root: Path) -> None:
        self.root = root
        self.address = str(root)
        self._store = LocalStore(root)

    def _path(self, name: str) -> Path:
        return self.root / checked_name(name)

    def address_of(self, name: str) -> str:
        """The path."""
        return str(self._path(name))

    def put_new(self, folder: str, files: Mapping[str, bytes | Path]) -> set[str]:
        """A link fails where the name is taken, and shows the whole file at once."""
        taken = set()
        for name, content in files.items():
            target = self._path(f"{folder}/{name}")
            with self._written(target, content) as partial:
                try:
                    os.link(partial, target)
                except FileExistsError:
                    taken.add(name)
        flush_folder(self._path(folder))
        return taken

    def put(self, name: str, content: bytes) -> None:
        """Renamed over what is there."""
        target = self._path(name)
        with self._written(target, content) as partial:
            os.replace(partial, target)
        flush_folder(target.parent)

    @contextmanager
    def _written(self, target: Path, content: bytes | Path) -> Iterator[Path]:
        # A name of its own: what a killed writer left may be a second name of the published file, and the worker that
        # lost its lease may still be writing.
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
        try:
            with partial.open("xb") as out:
                if isinstance(content, Path):
                    with content.open("rb") as source:
                        shutil.copyfileobj(source, out, _BLOCK)
                else:
                    out.write(content)
                out.flush()
                os.fsync(out.fileno())
            yield partial
        finally:
            partial.unlink(missing_ok=True)

    def read(self, name: str) -> bytes:
        """The whole file."""
        return self._path(name).read_bytes()

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """A part of it."""
        return self._store.read_range(checked_name(name), offset, length)

    def sha256(self, name: str) -> str:
        """Read in blocks."""
        return str(file_facts(self._path(name))["sha256"])

    def files(self, folder: str) -> list[StoredObject]:
        """But for hidden ones: those are being written."""
        found = self._store.list(checked_name(folder))
        return [one for one in found if not _is_hidden(one.path)]

    def folders(self, folder: str) -> list[str]:
        """But for hidden ones: those are being made."""
        path = self._path(folder)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(path) as entries:
            return sorted(one.name for one in entries if one.is_dir() and not _is_hidden(one.name))
        return []

    def walk(self, folder: str) -> Iterator[StoredObject]:
        """With what is being made."""
        name = checked_name(folder)
        for one in LocalStore(self.root / name).walk():
            yield StoredObject(f"{name}/{one.path}", one.size, one.modified_ms)

    def contents(self, folder: str) -> Contents | None:
        """Folders without a file count, too: something is being made in them."""
        path = self._path(folder)
        if not path.is_dir():
            return None
        size, newest = 0, 0.0
        for found, _, names in os.walk(path):
            for one in (found, *(os.path.join(found, name) for name in names)):
                # A merge may end, and take its files with it, meanwhile.
                with contextlib.suppress(FileNotFoundError):
                    facts = os.stat(one)
                    newest = max(newest, facts.st_mtime)
                    size += facts.st_size if one != found else 0
        return Contents(size, newest)

    def delete(self, names: Iterable[str]) -> None:
        """One after the other."""
        self._store.delete(checked_name(name) for name in names)

    def workplace(self, name: str) -> Path:
        """Where it will lie: on the same disk."""
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def name_of(self, path: str | Path) -> str:
        """What follows the root."""
        return _below(self.root, path)

    def publish(self, made: str | Path, name: str) -> Path:
        """A rename, and nothing where it lies there already."""
        target = self._path(name)
        if Path(made) != target:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(made, target)
        return target

    def put_folder(self, name: str, files: Mapping[str, Path]) -> None:
        """Of links, or of copies from another disk."""
        target = self._path(name)
        target.mkdir(parents=True)
        for file, source in files.items():
            try:
                os.link(source, target / file)
            except FileNotFoundError:
                raise
            except OSError:  # another disk, or one without links
                shutil.copyfile(source, target / file)

    def copy_folder(self, name: str, to: str) -> None:
        """Of links to them."""
        self.put_folder(to, {path.name: path for path in self._path(name).iterdir() if path.is_file()})

    def folder(self, name: str) -> Path:
        """Where it lies."""
        return self._path(name)

    def checked(self, name: str, digests: Mapping[str, str]) -> Path:
        """Where they lie."""
        return self._path(name)

    def move(self, name: str, to: str) -> None:
        """A rename; what a call that was cut short has moved already stays there."""
        source, target = self._path(name), self._path(to)
        if not source.is_dir():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(source, target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            for child in list(source.iterdir()):
                if not (target / child.name).exists():
                    os.rename(child, target / child.name)
            shutil.rmtree(source)

    def remove(self, name: str) -> bool:
        """With all that is in it, but for what comes in meanwhile."""
        try:
            shutil.rmtree(self._path(name))
        except FileNotFoundError:
            return False
        return True


class DistantFolders:
    """Kept in an object store, with copies of what is read in a local folder that is bounded in bytes."""

    is_local = False

    def __init__(self, client: ObjectClient, cache: Path, cache_bytes: int) -> None:
        self._client = client
        self.address = client.uri
        place = cache / hashlib.sha256(client.uri.encode()).hexdigest()[:16]
        _make_private(place)
        self._copies, self._work, self._locks = place / "kept", place / "work", place / "locks"
        self._bytes = cache_bytes
        self._looked_at = 0.0

    def address_of(self, name: str) -> str:
        """The address."""
        return f"{self.address.rstrip('/')}/{checked_name(name)}"

    def put_new(self, folder: str, files: Mapping[str, bytes | Path]) -> set[str]:
        """Conditional puts. A large file goes in parts, for which no store has a condition: it is looked for first."""
        return {
            name
            for name, content in files.items()
            if not self._put_new(checked_name(f"{folder}/{name}"), content)
        }

    def _put_new(self, name: str, content: bytes | Path) -> bool:
        if isinstance(content, Path) and content.stat().st_size > _LARGE:
            with contextlib.suppress(FileNotFoundError):
                self._client.head(name)
                return False
            self._client.put(name, content)
            return True
        try:
            self._client.create(name, content.read_bytes() if isinstance(content, Path) else content)
        except ObjectExists:
            return False
        return True

    def put(self, name: str, content: bytes) -> None:
        """A put."""
        self._client.put(checked_name(name), content)

    def read(self, name: str) -> bytes:
        """The whole object."""
        return self._client.get(checked_name(name))

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """A part of it."""
        try:
            return self._client.get_range(checked_name(name), offset, offset + length)
        except RangeBeyondEnd:
            return b""

    def sha256(self, name: str) -> str:
        """Streamed."""
        digest = hashlib.sha256()
        for block in self._client.stream(checked_name(name)):
            digest.update(block)
        return digest.hexdigest()

    def files(self, folder: str) -> list[StoredObject]:
        """Without what stands for whole folders."""
        prefix = f"{checked_name(folder)}/"
        found = [one for one in self.walk(folder) if "/" not in one.path.removeprefix(prefix)]
        return sorted((one for one in found if not _is_hidden(one.path)), key=lambda one: one.path)

    def folders(self, folder: str) -> list[str]:
        """What follows the name and a slash, up to the next."""
        prefix = f"{checked_name(folder)}/"
        found = (one.removeprefix(prefix).strip("/") for one in self._client.folders(prefix))
        return sorted(one for one in found if not _is_hidden(one))

    def walk(self, folder: str) -> Iterator[StoredObject]:
        """Without what stands for whole folders."""
        return (one for one in self._objects(folder) if not one.path.endswith(f"/{KEPT}"))

    def _objects(self, folder: str) -> Iterator[StoredObject]:
        return self._client.list(checked_name(folder))

    def contents(self, folder: str) -> Contents | None:
        """Of all objects under the name."""
        found = [(one.size, one.modified_ms / 1000) for one in self._objects(folder)]
        return Contents(sum(size for size, _ in found), max(at for _, at in found)) if found else None

    def delete(self, names: Iterable[str]) -> None:
        """Many in one request, as far as the store can."""
        self._client.delete([checked_name(name) for name in names])

    # --- whole folders --------------------------------------------------------------------------------------------

    def workplace(self, name: str) -> Path:
        """Apart from the copies."""
        path = self._work / checked_name(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def name_of(self, path: str | Path) -> str:
        """What follows the workplace or the place of the copies."""
        root = self._copies if Path(path).is_relative_to(self._copies) else self._work
        return _below(root, path)

    def publish(self, made: str | Path, name: str) -> Path:
        """The files first, what stands for the folder last; what was made becomes the copy of this machine."""
        made, name = Path(made), checked_name(name)
        files = {str(path.relative_to(made)): path for path in sorted(made.rglob("*")) if path.is_file()}
        files.pop(KEPT, None)
        facts = self._put_files(name, files)
        write_json(made / KEPT, facts)
        target = self._copies / name
        with self._locked(name):
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(made, target)
        self._make_room()
        return target

    def put_folder(self, name: str, files: Mapping[str, Path]) -> None:
        """As ``publish``, and no copy stays here."""
        self._put_files(checked_name(name), files)
        self._make_room()

    def copy_folder(self, name: str, to: str) -> None:
        """Copied in the store."""
        name, to = checked_name(name), checked_name(to)
        told = self.read(f"{name}/{KEPT}")
        for file in self._told(name, told):
            self._client.copy(f"{name}/{file}", f"{to}/{file}")
        self._client.put(f"{to}/{KEPT}", told)

    def _put_files(self, name: str, files: Mapping[str, Path]) -> dict[str, Any]:
        known = {file: file_facts(path) for file, path in files.items()}
        facts: dict[str, Any] = {"format": 1, "files": known}
        self._client.delete([f"{name}/{KEPT}"])
        for file, path in files.items():
            self._client.put(f"{name}/{file}", path)
        self._client.put(f"{name}/{KEPT}", json.dumps(facts).encode())
        return facts

    def folder(self, name: str) -> Path:
        """The copy of this machine, fetched where it has none."""
        name = checked_name(name)
        copy = self._copies / name
        if self._is_there(copy, None):
            return copy
        try:
            told = self.read(f"{name}/{KEPT}")
        except FileNotFoundError:
            return copy
        return self._fetched(name, self._told(name, told))

    def _told(self, name: str, content: bytes) -> dict[str, dict[str, Any]]:
        """The files of a folder, by what stands for it. Raises StagedCorrupt where that is something else."""
        try:
            files = json.loads(content)["files"]
            return {checked_name(file): {"sha256": str(facts["sha256"])} for file, facts in files.items()}
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, MergeFailed):
            raise StagedCorrupt(f"{self.address_of(name)}/{KEPT} is not what was put there.") from None

    def checked(self, name: str, digests: Mapping[str, str]) -> Path:
        """The copy of this machine, fetched where it has none of these very files."""
        name = checked_name(name)
        wanted = {file: {"sha256": digest} for file, digest in digests.items()}
        copy = self._copies / name
        return copy if self._is_there(copy, wanted) else self._fetched(name, wanted)

    def _is_there(self, copy: Path, wanted: Mapping[str, Mapping[str, Any]] | None) -> bool:
        """Whether the copy is there, with every file of it: whoever clears folders of temporary files, and a machine
        that lost its power, leave some, or parts of them.
        """
        try:
            files = json.loads((copy / KEPT).read_text(encoding="utf-8"))["files"]
            if any((copy / file).stat().st_size != facts["size"] for file, facts in files.items()):
                return False
            if wanted is not None and not _are_in(wanted, files):
                return False
            os.utime(copy / KEPT)  # what is used stays
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return False
        return True

    def _fetched(self, name: str, files: Mapping[str, Mapping[str, Any]]) -> Path:
        copy = self._copies / name
        self._make_room()
        with naming_full_disks("keep a copy of what is read", str(self._copies)), self._locked(name):
            if self._is_there(copy, files):
                return copy  # another process fetched it meanwhile
            made = copy.with_name(f".{uuid.uuid4().hex}")
            try:
                made.mkdir(parents=True)
                there = {
                    file: {**facts, "size": (made / file).stat().st_size}
                    for file, facts in files.items()
                    if self._fetch(name, file, facts, made)
                }
                write_json(made / KEPT, {"format": 1, "files": there})
                shutil.rmtree(copy, ignore_errors=True)
                os.rename(made, copy)
            finally:
                shutil.rmtree(made, ignore_errors=True)
        return copy

    def _fetch(self, name: str, file: str, facts: Mapping[str, Any], made: Path) -> bool:
        target, digest = made / checked_name(file), hashlib.sha256()
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with target.open("xb") as out:
                for block in self._client.stream(f"{name}/{file}"):
                    digest.update(block)
                    out.write(block)
        except FileNotFoundError:
            target.unlink()
            return False
        if digest.hexdigest() != facts["sha256"]:
            raise StagedCorrupt(f"{self.address_of(name)}/{file} is not what was put there.")
        return True

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """One process of this machine at a time."""
        self._locks.mkdir(parents=True, exist_ok=True)
        lock = self._locks / hashlib.sha256(name.encode()).hexdigest()[:16]
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def move(self, name: str, to: str) -> None:
        """Copied in the store, and removed once all is there: what stands for a folder last, and first."""
        name, to = checked_name(name), checked_name(to)
        found = sorted((one.path for one in self._objects(name)), key=lambda path: path.endswith(f"/{KEPT}"))
        for path in found:
            self._client.copy(path, f"{to}{path.removeprefix(name)}")
        self.remove(name)

    def remove(self, name: str) -> bool:
        """What stands for folders first."""
        name = checked_name(name)
        found = [one.path for one in self._objects(name)]
        self.delete(path for path in found if path.endswith(f"/{KEPT}"))
        self.delete(path for path in found if not path.endswith(f"/{KEPT}"))
        for place in (self._copies, self._work):
            shutil.rmtree(place / name, ignore_errors=True)
        return bool(found)

    # --- copies ---------------------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        """Remove copies until they are within their bound: the least used first, none that may be in use."""
        now = time.time()
        if now - self._looked_at < _SECONDS_BETWEEN_LOOKS:
            return
        self._looked_at = now
        self._remove_leftovers(now)
        copies = sorted(self._found_copies())
        size = sum(copy.size for copy in copies)
        for copy in copies:
            unused = now - copy.used
            if unused > _SECONDS_KEPT or (size > self._bytes and unused > _SECONDS_IN_USE):
                shutil.rmtree(copy.path, ignore_errors=True)
                size -= copy.size

    def _found_copies(self) -> Iterator[_Copy]:
        for marker in self._copies.rglob(KEPT):
            with contextlib.suppress(FileNotFoundError):
                size = sum(path.stat().st_size for path in marker.parent.rglob("*"))
                yield _Copy(marker.stat().st_mtime, size, marker.parent)

    def _remove_leftovers(self, now: float) -> None:
        """What was being made, or fetched, when its process was ended."""
        hidden = [path for path in self._copies.rglob(f"{_HIDDEN}*") if path.is_dir()]
        made = [path.parent for path in self._work.rglob("*") if path.is_file()]
        for path in {*hidden, *made}:
            with contextlib.suppress(FileNotFoundError):
                if now - path.stat().st_mtime > _SECONDS_KEPT:
                    shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True, order=True)
class _Copy:
    used: float
    size: int
    path: Path


def _are_in(wanted: Mapping[str, Mapping[str, Any]], there: Mapping[str, Mapping[str, Any]]) -> bool:
    return all(file in there and there[file]["sha256"] == facts["sha256"] for file, facts in wanted.items())


def _make_private(folder: Path) -> None:
    """A folder that nobody but this user reads: it holds rows of tables."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.geteuid():
        raise MergeFailed(f"The folder {folder} belongs to somebody else. Name another as cache.")


def _is_hidden(path: str) -> bool:
    return path.rpartition("/")[2].startswith(_HIDDEN)


def _below(root: Path, path: str | Path) -> str:
    try:
        return checked_name(Path(path).relative_to(root).as_posix())
    except ValueError as error:
        raise MergeFailed(f"{path} does not lie below {root}.") from error


def open_folders(
    address: str, options: Mapping[str, str] | None = None, *, cache: Path, cache_bytes: int
) -> Folders:
    """What is kept at an address (a path, ``file://``, ``s3://``, ``gs://``, ``az://`` …), with ``options`` as delta-rs
    names them; copies of what is read from an object store go into ``cache``.

    Raises TableUnreachable where the address or the options cannot be understood.
    """
    store = open_store(address, options)
    if isinstance(store, ObjectStore):
        return DistantFolders(store.client, cache, cache_bytes)
    return LocalFolders(Path(store.uri))
