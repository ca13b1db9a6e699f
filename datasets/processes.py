"""The processes of an installation: which are alive, and what they have counted, in rows that any of them can read.

Each process writes a row of its own every few seconds, from a thread of its own; nobody else writes it, so that none
waits for another. What ended processes counted is added up in one row, so that no counter falls with the process that
counted, or with the machine that it ran on.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import tempfile
import threading
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.utils import timezone

from audit.row_locks import locked
from datasets.counting import Counts, tally, together
from datasets.data_root import local_data_root
from datasets.models import Measurement, ServerProcess

logger = structlog.get_logger(__name__)

Kind = ServerProcess.Kind

#: A process that wrote nothing for so long is not alive.
LIFETIME = timedelta(seconds=60)
#: After so long its counts are added to those of ended ones, and its row goes.
FORGOTTEN_AFTER = timedelta(hours=1)
#: A report takes milliseconds; one that waits for SQLite's lock ends within its ``timeout`` (config/env.py).
LONGEST_REPORT_SECONDS = 30


class ProcessReporter:
    """Writes the row of this process: what it is, that it lives, what it counted and how much disk is free."""

    def __init__(self, kind: Kind, queues: Sequence[str] = ()) -> None:
        self.kind, self.queues = kind, sorted(queues)
        self.name = f"{socket.gethostname()[:100]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.started_at = timezone.now()
        self._kept: Counts = {}  # what the row has
        self._has_row = False

    def report(self) -> None:
        """Write how it stands now. A row that was taken for a dead process's is begun anew, without what was kept."""
        counts = tally.taken()
        told = {"seen_at": timezone.now(), "counts": counts, "free_bytes": free_bytes()}
        if self._has_row and not ServerProcess.objects.filter(name=self.name).update(**told):
            tally.forget(self._kept)
            told["counts"] = counts = together(counts, self._kept, sign=-1)
            self._has_row = False
        if not self._has_row:
            ServerProcess.objects.create(
                name=self.name,
                kind=self.kind,
                host=socket.gethostname()[:255],
                queues=self.queues,
                started_at=self.started_at,
                **told,
            )
            self._has_row = True
        self._kept = counts

    def report_on(self, stop: threading.Event) -> None:
        """Report until ``stop`` is set, and a last time then. A database that does not answer is asked again."""
        while True:
            ended = stop.wait(settings.PROCESS_REPORT_SECONDS)
            with _running.reporting:
                try:
                    self.report()
                except (DatabaseError, InterfaceError) as error:
                    logger.warning("process_not_reported", error=error)
                finally:
                    self.close_connection()
            if ended:
                return

    def close_connection(self) -> None:
        """Between two reports the reporter's thread holds no connection of the database."""
        connection.close()


class _RunningReporter:
    """The reporter of this process, once it reports.

    No process is forked while it holds a connection. A worker forks another child whenever one has died, and a child
    that inherits a connection to SQLite takes its parent's locks on the file for its own: others then remove the
    write-ahead log under it, and what it writes is lost or breaks the database (https://sqlite.org/howtocorrupt.html,
    "Carrying an open database connection across a fork").
    """

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """A process that was forked has none of its parent's threads."""
        self.lock, self.reporting = threading.Lock(), threading.RLock()
        self.stop: threading.Event | None = None
        self.thread: threading.Thread | None = None
        self._forking = threading.local()

    def wait_until_between(self) -> None:
        """Until it holds no connection, and keep it from one. A database that hangs for longer is none of SQLite."""
        self._forking.holds = self.reporting.acquire(timeout=LONGEST_REPORT_SECONDS)

    def go_on(self) -> None:
        """It may report again."""
        if self._forking.holds:
            self.reporting.release()


_running = _RunningReporter()
os.register_at_fork(
    before=_running.wait_until_between, after_in_parent=_running.go_on, after_in_child=_running.begin_anew
)


def report_from_now_on(kind: Kind, queues: Sequence[str] = ()) -> None:
    """Let this process report itself every ``PROCESS_REPORT_SECONDS``; not where that is 0. Safe to call again."""
    with _running.lock:
        if _running.thread is not None or not settings.PROCESS_REPORT_SECONDS:
            return
        _running.stop = threading.Event()
        _running.thread = threading.Thread(
            target=ProcessReporter(kind, queues).report_on,
            args=(_running.stop,),
            name="reporter",
            daemon=True,
        )
        _running.thread.start()
        atexit.register(report_for_the_last_time)


def report_for_the_last_time() -> None:
    """Write down what was counted since the last report, as a process does that ends. Waits two seconds at most."""
    with _running.lock:
        if _running.stop is not None and _running.thread is not None:
            _running.stop.set()
            _running.thread.join(timeout=2)


def is_alive(process: ServerProcess, now: datetime) -> bool:
    """Whether it gave a sign of life in time."""
    return process.seen_at > now - LIFETIME


def all_processes() -> list[ServerProcess]:
    """Every row: of those that live, of those that ended of late, and the one of all before."""
    return list(ServerProcess.objects.all())


def add_up_ended() -> int:
    """Add the counts of processes that ended long ago to the row of all of them; returns how many there were."""
    with transaction.atomic():
        total, _ = locked(ServerProcess.objects.all()).get_or_create(
            name="ended",
            defaults={"kind": Kind.ENDED, "started_at": timezone.now(), "seen_at": timezone.now()},
        )
        gone = list(
            locked(
                ServerProcess.objects.exclude(pk=total.pk).filter(
                    seen_at__lte=timezone.now() - FORGOTTEN_AFTER
                )
            )
        )
        for one in gone:
            total.counts = together(total.counts, one.counts)
        if gone:
            total.seen_at = timezone.now()
            total.save(update_fields=["counts", "seen_at"])
            ServerProcess.objects.filter(pk__in=[one.pk for one in gone]).delete()
    return len(gone)


def free_bytes() -> dict[str, int]:
    """How much is free on the disks of this machine that work is done on: of the data root, where that is a folder
    here, of copies of what a store keeps, and of temporary files.
    """
    places = {"temporary": Path(tempfile.gettempdir()), "cache": Path(settings.HEADGATE_CACHE)}
    root = local_data_root()
    if root is not None:
        places["data_root"] = root
    found = {}
    for name, folder in places.items():
        try:
            found[name] = shutil.disk_usage(folder).free
        except OSError:  # it is not made yet, or not mounted: readiness says so
            continue
    return found


def measured(name: Measurement.Name, value: float) -> None:
    """Remember a figure that was just taken."""
    Measurement.objects.update_or_create(name=name, defaults={"value": value})


def note_sweep() -> None:
    """Remember that the queues were swept: the schedule, the broker and a worker did that together."""
    measured(Measurement.Name.SWEPT_AT, timezone.now().timestamp())
