"""Sessions on a cluster by Spark Connect, and what is asked in them.

A session here, which is one piece of work, has one there. The client is pyspark's own (the extra `spark`), imported
when it is first needed, never before a process forks.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from merging.engines.spark_exchange import Typed
from merging.engines.spark_failures import AWAY, REFUSED, status
from merging.errors import ClusterFailed
from merging.sql.session import Session

LOOK_EVERY = 0.5  # seconds
_LEAVE_WITHIN = 5.0  # seconds
_TRIES = 4

#: How a session reads tables as the log and their files have them, whatever the cluster's own settings are, and takes
#: keys of any number. The sizes are set as plain numbers: servers of 4.1 answer with a unit otherwise, which the client
#: of 4.2 cannot read.
_SETTINGS = {
    # Numbers are those of the rows, not of what others wrote into the log about them.
    "spark.databricks.delta.optimizeMetadataQuery.enabled": "false",
    # A version whose files are there is read however old it is.
    "spark.databricks.delta.vacuum.enforceTimeTravelWithinDeletedFileRetentionDuration": "false",
    "spark.sql.files.ignoreCorruptFiles": "false",
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.caseSensitive": "false",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.parser.escapedStringLiterals": "false",
    "spark.sql.legacy.timeParserPolicy": "CORRECTED",
    "spark.sql.timestampType": "TIMESTAMP_LTZ",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.readSideCharPadding": "false",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.int96RebaseModeInRead": "CORRECTED",
    "spark.sql.session.localRelationCacheThreshold": str(1 << 20),
    "spark.sql.session.localRelationSizeLimit": str(3 << 30),
    "spark.sql.session.localRelationChunkSizeRows": "1000000",
    "spark.sql.session.localRelationChunkSizeBytes": str(16 << 20),
    "spark.sql.session.localRelationBatchOfChunksSizeBytes": str(64 << 20),
}


class KeptSessions:
    """The sessions on clusters of one piece of work, by the address with the token: each is opened when it is first
    needed, and once more where it was lost meanwhile.
    """

    def __init__(self) -> None:
        self._sessions: dict[str, Any] = {}
        self._same: set[tuple[Any, str, str]] = set()

    def opened(self, url: str) -> Any:
        """The session; for the thread of an operation."""
        session = self._sessions.get(url)
        if session is not None and not _is_there(session):
            self.drop(session)
            session = None
        if session is None:
            session = self._sessions[url] = _connected(url)
        return session

    def require_same(self, session: Any, host: str, uri: str, table_id: str) -> None:
        """Raise ClusterFailed where the cluster has another table at the address: nothing that it says were true."""
        asked = (session, uri, table_id)
        if asked in self._same:
            return
        quoted = uri.replace("`", "``")
        found = session.sql(f"DESCRIBE DETAIL delta.`{quoted}`").select("id").toArrow().to_pylist()
        if [one["id"] for one in found] != [table_id]:
            reason = f"It has another table at {uri} than Headgate: both must reach the same store."
            raise ClusterFailed(host, reason, retriable=False)
        self._same.add(asked)

    def drop(self, session: Any, working: threading.Thread | None = None) -> None:
        """End one on the cluster, with what a thread still does in it, in a few seconds at most: a cluster that is gone
        keeps nobody waiting.
        """
        self._sessions = {url: one for url, one in self._sessions.items() if one is not session}
        last = threading.Thread(target=_end, args=(session, working), name="leaving-spark", daemon=True)
        last.start()
        last.join(_LEAVE_WITHIN)

    def end(self) -> None:
        """End all of them."""
        for session in self._sessions.values():
            self.drop(session)


def _end(session: Any, working: threading.Thread | None) -> None:
    with contextlib.suppress(Exception):
        if working is not None and working.is_alive():
            session.interruptAll()
            working.join(_LEAVE_WITHIN)
        session.stop()


_kept: weakref.WeakKeyDictionary[Session, KeptSessions] = weakref.WeakKeyDictionary()


def kept_for(opened: Session) -> KeptSessions:
    """The sessions on clusters that end with a session here."""
    kept = _kept.get(opened)
    if kept is None:
        kept = _kept[opened] = KeptSessions()
        opened.ends.callback(kept.end)
    return kept


@dataclass(frozen=True)
class AskedTable:
    """Who is asked about which table: the cluster's ``host``, what gives its address with the token, where it has the
    table.
    """

    host: str
    url_of: Callable[[], str]
    uri: str
    table_id: str


class ClusterWork:
    """One question or piece of work for a cluster, in a thread of its own. ``answers`` gives tables, then None at the
    end or what ended it. What is left before its end takes its session with it.
    """

    def __init__(
        self, kept: KeptSessions, asked: AskedTable, work: Callable[[Any, Any], Iterator[pa.Table]]
    ) -> None:
        self.answers: queue.Queue[pa.Table | BaseException | None] = queue.Queue(4)
        self._kept = kept
        self._asked = asked
        self._task = work
        self._left = threading.Event()
        self._finished = False
        self._session: Any = None
        self._thread = threading.Thread(target=self._work, name="spark", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Ask for no more of it."""
        self._left.set()
        if self._session is not None and not self._finished:
            self._kept.drop(self._session, self._thread)

    def _work(self) -> None:
        try:
            for answer in self._answered():
                self._tell(answer)
            self._finished = True
            self._tell(None)
        except BaseException as error:  # noqa: BLE001 - whoever waits is told, whatever it was
            self._tell(error)

    def _tell(self, told: pa.Table | BaseException | None) -> None:
        while not self._left.is_set():
            with contextlib.suppress(queue.Full):
                self.answers.put(told, timeout=LOOK_EVERY)
                return

    def _answered(self) -> Iterator[pa.Table]:
        self._session = session = self._kept.opened(self._asked.url_of())
        if self._left.is_set():  # whoever left did so before there was a session to end
            self._kept.drop(session)
            return
        from pyspark.sql.connect import functions

        self._kept.require_same(session, self._asked.host, self._asked.uri, self._asked.table_id)
        yield from self._task(session, functions)


def typed() -> Typed:
    """What makes a type of Spark's of its JSON."""
    from pyspark.sql.types import StructType

    made: Typed = StructType.fromJson
    return made


def load_client() -> None:
    """Import what is used of the client. It takes a process whose main module has no file (`python -c`, a server of
    forks) for a run of its own tests, and ends it where Spark itself is not installed.
    """
    main = sys.modules["__main__"]
    nameless = not hasattr(main, "__file__")
    if nameless:
        main.__file__ = None
    try:
        with warnings.catch_warnings():
            # The client warns about every pandas from 3 on; nothing here goes through pandas.
            warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
            import pyspark.sql.connect.client.retries
            import pyspark.sql.connect.functions
            import pyspark.sql.connect.session  # noqa: F401  (loaded, for those who use it)
    finally:
        if nameless:
            del main.__file__


def _connected(url: str) -> Any:
    """A session of its own, with retries that end within seconds."""
    load_client()
    from pyspark.sql.connect import proto
    from pyspark.sql.connect.client.retries import DefaultPolicy
    from pyspark.sql.connect.session import SparkSession

    session = SparkSession.builder.remote(url).create()
    policy = DefaultPolicy(
        max_retries=_TRIES, initial_backoff=200, max_backoff=2_000, max_server_retry_delay=10_000
    )
    session.client.set_retry_policies([policy])
    asked = proto.ConfigRequest
    for name, value in _SETTINGS.items():
        # Not by `session.conf`: it would warn, each time, of those that Spark is to lose one day.
        setting = asked.Operation(set=asked.Set(pairs=[proto.KeyValue(key=name, value=value)]))
        try:
            session.client.config(setting)
        except Exception as error:
            if status(error) in (*AWAY, *REFUSED, "UNIMPLEMENTED") or "RETRIES_EXCEEDED" in str(error):
                raise
    return session


def _is_there(session: Any) -> bool:
    """Whether a session of before still answers."""
    from pyspark.sql.connect import proto

    asked = proto.ConfigRequest
    question = asked.Operation(get=asked.Get(keys=["spark.sql.session.timeZone"]))
    try:
        session.client.config(question)
    except Exception:  # noqa: BLE001 - whatever it is, another one is opened
        return False
    return True
