"""The one client of object stores: every request goes by here, bounded in time and in number, its failures named.

Reading and writing have a client each, for they wait differently: a store that answers no read within seconds is down,
while the answer to a large upload may take its time.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
import obstore.store
from obstore.exceptions import AlreadyExistsError, GenericError, NotFoundError, PreconditionError

from merging.store.observing import observed
from merging.store.unreachable import cannot_open, is_panic, naming_unreachable, not_reached

#: How many requests this process has under way at once, to all stores together.
AT_ONCE = 32
_PAGE = 1000
_BLOCK = 4 << 20
_BATCH = 1000
_PARTS_AT_ONCE = 4

#: A dead store is known for one within this and one more try: less than ten seconds.
_READING: Mapping[str, Any] = {"connect_timeout": "3s", "read_timeout": "4s", "timeout": "60s"}
_READING_AGAIN = timedelta(seconds=5)
_WRITING: Mapping[str, Any] = {"connect_timeout": "3s", "read_timeout": "30s", "timeout": "120s"}
_WRITING_AGAIN = timedelta(seconds=30)
_TRIES = 8
_BACKOFF = {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=1), "base": 2}

_CLIENT_OPTIONS = frozenset(
    {
        *("allow_http", "allow_invalid_certificates", "connect_timeout", "read_timeout", "timeout"),
        *("proxy_url", "user_agent"),
    }
)
# What delta-rs reads itself and no object store client knows.
_DELTA_RS_ONLY = frozenset(
    {
        *("aws_s3_allow_unsafe_rename", "allow_unsafe_rename"),
        *("aws_s3_locking_provider", "delta_dynamo_table_name"),
    }
)
#: The names of the id, the secret and the session token of a key of S3.
_KEY_OF_S3 = (
    ("aws_access_key_id", "access_key_id"),
    ("aws_secret_access_key", "secret_access_key"),
    ("aws_session_token", "aws_token", "session_token", "token"),
)
#: The option that holds a token of Google's (OAuth 2.0), which is good for a while.
_OAUTH_OF_GOOGLE = "google_oauth_token"
#: How stores say that a range begins behind the end.
_BEYOND = re.compile(r"status: 416|StartTooLarge|NoSuffix|Range Not Satisfiable", re.IGNORECASE)

_SALT = secrets.token_bytes(32)
_asking = threading.BoundedSemaphore(AT_ONCE)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object of a listing: its path relative to the table's root, size in bytes, age reference.

    ``e_tag`` tells its contents from others', where the store says so.
    """

    path: str
    size: int
    modified_ms: int
    e_tag: str | None = None


@dataclass(frozen=True, slots=True)
class ObjectEnd:
    """What one request told of an object: its size, what tells its contents from others', its last bytes."""

    size: int
    e_tag: str | None
    tail: bytes


class ObjectExists(Exception):
    """A put-if-absent found the name taken."""


class ObjectReplaced(OSError):
    """An object is no longer the one that was looked at before: somebody put another in its place."""


class RangeBeyondEnd(OSError):
    """A range begins behind the object's end."""


class ObjectClient:
    """The requests that the engine makes of one store; paths are relative to its root, ``uri`` names it in errors.

    Clients of one ``identity`` see the same objects with the same credentials: what one of them has seen may be told to
    another.

    Each raises TableUnreachable where the store gives no answer or refuses one, and FileNotFoundError where there is no
    such object.
    """

    def __init__(self, reads: Any, uri: str, writes: Any = None, identity: str | None = None) -> None:
        self.raw = reads
        self.uri = uri
        self.identity = identity or uuid.uuid4().hex
        self._writes = reads if writes is None else writes

    def get(self, path: str) -> bytes:
        """The whole object."""
        return self.get_dated(path)[0]

    def get_dated(self, path: str) -> tuple[bytes, int]:
        """The whole object, and when it was put (milliseconds since 1970)."""
        with self._request("get", path):
            result = obstore.get(self.raw, path)
            return bytes(result.bytes()), int(result.meta["last_modified"].timestamp() * 1000)

    def get_range(self, path: str, start: int, end: int, e_tag: str | None = None) -> bytes:
        """The bytes from ``start`` up to ``end``, fewer at the object's end.

        Raises RangeBeyondEnd, and ObjectReplaced where the object is another than ``e_tag`` says.
        """
        options: obstore.GetOptions = {"range": (start, end)}
        if e_tag:
            options["if_match"] = e_tag
        with self._request("get", path):
            return bytes(obstore.get(self.raw, path, options=options).bytes())

    def get_end(self, path: str, length: int, stated: int | None = None) -> ObjectEnd:
        """The object's size with its last bytes: ``length`` of them, or all.

        In one request where the store counts from the end or the object has the ``stated`` size, else in two or three.
        """
        length = max(length, 1)
        try:
            if not isinstance(
                self.raw, obstore.store.AzureStore
            ):  # Azure's blobs are counted from their beginning alone
                return self._end(path, {"suffix": length})
            if stated:
                found = self._end(path, (max(stated - length, 0), stated))
                if found.size == stated:
                    return found
        except RangeBeyondEnd:
            # The stated size is wrong, or there are no bytes, of which none is the last: stores say so in several ways.
            pass
        size, e_tag = self.head(path)
        start = max(size - length, 0)
        return ObjectEnd(size, e_tag, self.get_range(path, start, size, e_tag) if size else b"")

    def _end(self, path: str, asked: tuple[int, int] | obstore.SuffixRange) -> ObjectEnd:
        with self._request("get", path):
            try:
                result = obstore.get(self.raw, path, options={"range": asked})
            except GenericError as error:
                # Some stores give all of an object of no bytes where its last ones were asked for.
                if "non-partial response" in str(error):
                    raise RangeBeyondEnd(path) from error
                raise
            return ObjectEnd(result.meta["size"], result.meta["e_tag"], bytes(result.bytes()))

    def head(self, path: str) -> tuple[int, str | None]:
        """The object's size, and what tells its contents from others'."""
        with self._request("head", path):
            meta = obstore.head(self.raw, path)
            return meta["size"], meta["e_tag"]

    def list(self, prefix: str, offset: str | None = None) -> Iterator[StoredObject]:
        """The objects whose paths begin with the folder ``prefix``, those behind ``offset`` at least."""
        with naming_unreachable(self.uri):  # nothing is asked for yet
            pages = iter(obstore.list(self.raw, prefix or None, offset=offset, chunk_size=_PAGE))
        while True:
            with self._request("list", prefix):
                page = next(pages, None)
            if page is None:
                return
            for item in page:
                # Some stores do not know offsets.
                if offset is None or item["path"] > offset:
                    modified = int(item["last_modified"].timestamp() * 1000)
                    yield StoredObject(item["path"], item["size"], modified, item["e_tag"])

    def stream(self, path: str) -> Iterator[bytes]:
        """The object in blocks, for what is too large to be held."""
        with self._request("get", path):
            blocks = iter(obstore.get(self.raw, path).stream(min_chunk_size=_BLOCK))
        while True:
            with self._request("", path):
                block = next(blocks, None)
            if block is None:
                return
            yield bytes(block)

    def folders(self, prefix: str) -> Sequence[str]:
        """The folders right in the folder ``prefix``: what stands before the next slash in paths that begin with it."""
        with self._request("list", prefix):
            return [*obstore.list_with_delimiter(self.raw, prefix)["common_prefixes"]]

    def copy(self, path: str, to: str) -> None:
        """Copy an object within the store, over another too."""
        with self._request("copy", path):
            obstore.copy(self._writes, path, to)

    def create(self, path: str, data: bytes) -> None:
        """Put an object unless there is one: whole, at once, durable. Raises ObjectExists."""
        with self._request("put", path):
            try:
                obstore.put(self._writes, path, data, mode="create", use_multipart=False)
            except AlreadyExistsError as error:
                raise ObjectExists(path) from error

    def put(self, path: str, data: bytes | Path) -> None:
        """Put an object, or the content of a local file as one."""
        with self._request("put", path):
            obstore.put(self._writes, path, data, max_concurrency=_PARTS_AT_ONCE)

    def delete(self, paths: Sequence[str]) -> None:
        """Delete objects, many in one request where the store can; those that are gone already are no error."""
        for start in range(0, len(paths), _BATCH):
            batch = [*paths[start : start + _BATCH]]
            try:
                with self._request("delete", batch[0]):
                    obstore.delete(self.raw, batch)
            except FileNotFoundError:
                self._delete_each(batch)

    def _delete_each(self, paths: Sequence[str]) -> None:
        """For stores that stop a batch at the first object that is gone."""
        for path in paths:
            try:
                with self._request("delete", path):
                    obstore.delete(self.raw, path)
            except FileNotFoundError:
                continue

    @contextmanager
    def _request(self, operation: str, path: str) -> Iterator[None]:
        """The time of one request: within the number allowed at once, its failures named. Without an ``operation`` it
        goes on with the answer to the one before.
        """
        with _asking, observed(operation, self.uri), naming_unreachable(self.uri):
            try:
                yield
            except PreconditionError as error:
                raise ObjectReplaced(f"{path} was replaced while it was read") from error
            except (FileNotFoundError, NotFoundError) as error:
                raise not_reached(error, self.uri) or FileNotFoundError(path) from None
            except GenericError as error:
                if _BEYOND.search(str(error)):
                    raise RangeBeyondEnd(path) from error
                raise


def open_client(address: str, options: Mapping[str, str] | None = None) -> ObjectClient:
    """The client of the store at an address; ``options`` as delta-rs names them.

    Raises TableUnreachable where no client can be made of them.
    """
    try:
        reads, writes = (
            obstore.store.from_url(address, **_with_given_key(client_settings(options, limits, again)))
            for limits, again in ((_READING, _READING_AGAIN), (_WRITING, _WRITING_AGAIN))
        )
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        raise cannot_open(error, address) from None
    return ObjectClient(reads, address, writes, _identity(address, options))


def _with_given_key(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the key of S3, or the token of Google's, that was given as all there is of credentials.

    The client takes what a key of S3 lacks from the environment: the session token of the process would go along with a
    key that somebody else gave, to a store of theirs. Of tokens its options know nothing.
    """
    config = dict(settings.get("config", {}))
    key_id, secret, token = (
        next((config.pop(name) for name in names if name in config), None) for names in _KEY_OF_S3
    )
    credential = {"access_key_id": key_id, "secret_access_key": secret, "token": token, "expires_at": None}
    if key_id is None or secret is None:
        if _OAUTH_OF_GOOGLE not in config:
            return settings
        credential = {"token": config.pop(_OAUTH_OF_GOOGLE), "expires_at": None}
    return {**settings, "config": config, "credential_provider": lambda: credential}


def _identity(address: str, options: Mapping[str, str] | None) -> str:
    """What is the same for the same address and options alone; nobody can tell the options by it."""
    stated = json.dumps([address, sorted((options or {}).items())]).encode()
    return hashlib.blake2b(stated, key=_SALT, digest_size=16).hexdigest()


def client_settings(
    options: Mapping[str, str] | None, limits: Mapping[str, str], again: timedelta
) -> dict[str, Any]:
    """delta-rs' one bag of options, sorted into what obstore asks for: of the store, of HTTP, and how often it tries.

    ``limits`` and ``again`` hold where the options say nothing of them. Raises ValueError.
    """
    config: dict[str, str] = {}
    client: dict[str, Any] = {}
    retry: dict[str, Any] = {"max_retries": _TRIES, "retry_timeout": again, "backoff": _BACKOFF}
    for name, value in (options or {}).items():
        key = name.lower()
        plain = key.removeprefix("aws_").removeprefix("azure_").removeprefix("google_")
        if plain in _CLIENT_OPTIONS:
            client[plain] = value.lower() == "true" if value.lower() in ("true", "false") else value
        elif plain == "max_retries":
            retry["max_retries"] = int(value)
        elif plain == "retry_timeout":
            retry["retry_timeout"] = _duration(value)
        elif key not in _DELTA_RS_ONLY:
            config[key] = value
    # Who says how long a whole request may take says it of the waiting for its answer, too.
    waiting = {"read_timeout": client["timeout"]} if "timeout" in client else {}
    settings: dict[str, Any] = {"client_options": {**limits, **waiting, **client}, "retry_config": retry}
    if config:
        settings["config"] = config
    return settings


def _duration(text: str) -> timedelta:
    """A time span as delta-rs writes it, of one unit."""
    found = re.fullmatch(r"\s*(\d+)\s*(ms|s|m)(?:ec|in)?\s*", text)
    if found is None:
        raise ValueError(f'failed to parse "{text}" as Duration')
    return (
        int(found[1])
        * {"ms": timedelta(milliseconds=1), "s": timedelta(seconds=1), "m": timedelta(minutes=1)}[found[2]]
    )
