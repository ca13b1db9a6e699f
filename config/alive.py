"""Files that say that a worker or the schedule goes on, for orchestrators that ask: ``deploy/`` has the questions.

A process that hangs runs on, and nobody can ask it anything: so its own loop touches a file, whose age tells. To ask
Celery instead (``inspect ping``) starts a Python of two seconds of CPU each time, and needs the broker.
"""

import tempfile
from pathlib import Path
from typing import Any

from celery.beat import Scheduler
from celery.bootsteps import StartStopStep

#: How often a worker touches its file; the schedule does with each look, of which the sweep asks for one in 10 s.
SECONDS = 10.0
WORKER_FILE, SCHEDULE_FILE = "headgate-worker-alive", "headgate-schedule-alive"


class AliveWorker(StartStopStep):
    """Touches the file from the loop that takes messages, hands them to children and hears of their ends."""

    requires = ("celery.worker.components:Timer",)

    def start(self, parent: Any) -> None:
        """Once at the start, then again and again."""
        _touch(WORKER_FILE)
        parent.timer.call_repeatedly(SECONDS, _touch, (WORKER_FILE,), priority=10)


class AliveScheduler(Scheduler):
    """Celery's scheduler, which keeps its table in memory, and touches the file with each look at it."""

    def tick(self, *arguments: Any, **named: Any) -> float:
        """See what is due; returns after how many seconds to look again."""
        _touch(SCHEDULE_FILE)
        return float(super().tick(*arguments, **named))


def _touch(name: str) -> None:
    (Path(tempfile.gettempdir()) / name).touch()
