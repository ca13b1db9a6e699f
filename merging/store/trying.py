"""Whether a store does what tables need of it: tried within seconds, told step by step; and what folders lie in it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from merging.errors import MergeError, TableUnreachable
from merging.store.client import ObjectExists, open_client
from merging.store.stores import LOG_FOLDER, PROBE, LocalStore, TableStore, create_twice, open_store

#: One more try a request, each of them short: who tries a store waits for the answer.
_HURRY = {"max_retries": "1", "retry_timeout": "3s", "timeout": "4s", "connect_timeout": "3s"}
_LOOKED_INTO_AT_ONCE = 8


class StoreNeed(StrEnum):
    """What is tried of a store, in this order."""

    LIST = "list"
    WRITE = "write"
    READ = "read"
    ONCE = "once"
    DELETE = "delete"


@dataclass(frozen=True)
class Tried:
    """What became of it: ``works`` is None where it was not tried. ``reason`` is a sentence, without secrets."""

    attempt: StoreNeed
    works: bool | None
    reason: str = ""


@dataclass(frozen=True)
class FoundFolder:
    """A folder of a store, and whether it is a Delta table."""

    name: str
    is_table: bool


def try_place(
    address: str, options: Mapping[str, str] | None = None, *, seconds: float = 10
) -> tuple[Tried, ...]:
    """Try what tables need of the store at an address, one file of one byte being put there and removed.

    Answers within ``seconds``: what had not been answered by then is told as that.
    """
    found: list[Tried] = []
    over = threading.Event()

    def work() -> None:
        for one in _tried(address, options):
            found.append(one)
            if over.is_set():
                return

    worker = threading.Thread(target=work, daemon=True, name="headgate-trying-a-store")
    worker.start()
    worker.join(seconds)
    over.set()
    told = tuple(found[: len(StoreNeed)])
    if worker.is_alive() and len(told) < len(StoreNeed):
        late = [*StoreNeed][len(told)]
        told = (*told, Tried(late, False, f"Its store did not answer within {seconds:g} seconds."))
    return (*told, *(Tried(one, None) for one in [*StoreNeed][len(told) :]))


def _tried(address: str, options: Mapping[str, str] | None) -> Iterator[Tried]:
    try:
        store = open_store(address, options if "://" not in address else {**_HURRY, **(options or {})})
    except MergeError as error:
        yield Tried(StoreNeed.LIST, False, _reason(error))
        return
    steps: dict[StoreNeed, Callable[[TableStore], str | None]] = {
        StoreNeed.LIST: _list,
        StoreNeed.WRITE: _write,
        StoreNeed.READ: _read,
        StoreNeed.ONCE: _once,
        StoreNeed.DELETE: _delete,
    }
    refused: set[StoreNeed] = set()
    for attempt, step in steps.items():
        if attempt is StoreNeed.ONCE and StoreNeed.WRITE in refused:
            yield Tried(attempt, None)
            continue
        try:
            reason = step(store)
        except (MergeError, OSError) as error:
            yield Tried(attempt, False, _reason(error))
            if not isinstance(error, TableUnreachable) or error.retriable:
                return
            refused.add(attempt)
        else:
            yield Tried(attempt, None if reason is None else not reason, reason or "")


def _reason(error: Exception) -> str:
    if isinstance(error, TableUnreachable):
        return error.reason
    if isinstance(error, MergeError):
        return error.message
    return f"{error.strerror or 'It cannot be used'}." if isinstance(error, OSError) else ""


def _list(store: TableStore) -> str:
    if isinstance(store, LocalStore):
        os.scandir(store.uri).close()
        return ""
    next(store.walk(), None)
    return ""


def _write(store: TableStore) -> str:
    try:
        store.put_new(PROBE, b"1")
    except ObjectExists:  # of an earlier trial, where nothing may be removed
        return ""
    return ""


def _read(store: TableStore) -> str | None:
    """None where there is nothing to be read: a store that takes no file of ours may have others."""
    try:
        content = store.read_range(PROBE, 0, 1)
    except FileNotFoundError:
        other = next((one for one in store.walk() if one.size), None)
        if other is None:
            return None
        return (
            ""
            if len(store.read_range(other.path, 0, 1)) == 1
            else "It answers with fewer bytes than there are."
        )
    return "" if content == b"1" else "It answers with other bytes than were put there."


def _once(store: TableStore) -> str:
    refuses, _ = create_twice(store)
    return "" if refuses else "It overwrites a file that is there, where it was asked to refuse."


def _delete(store: TableStore) -> str:
    store.delete([PROBE])
    return ""


def list_folders(
    address: str, options: Mapping[str, str] | None = None, *, most: int
) -> tuple[FoundFolder, ...]:
    """The folders right below an address of an object store, by name, as many as ``most``; which of them are tables.

    Those whose names begin with a dot or underscore are left out. Raises TableUnreachable.
    """
    client = open_client(address, {**_HURRY, **(options or {})})
    names = sorted(one.strip("/") for one in client.folders("") if not one.startswith((".", "_")))[:most]

    def is_table(name: str) -> bool:
        return bool([*islice(client.list(f"{name}/{LOG_FOLDER}"), 1)])

    with ThreadPoolExecutor(_LOOKED_INTO_AT_ONCE) as pool:
        return tuple(map(FoundFolder, names, pool.map(is_table, names)))
