"""What Spark's executors did, from the event log of an application: CPU, bytes read and bytes written by tasks."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Work:
    """Seconds of CPU, and bytes."""

    cpu: float = 0.0
    read: int = 0
    written: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.cpu + other.cpu, self.read + other.read, self.written + other.written)

    def __sub__(self, other: Work) -> Work:
        return Work(self.cpu - other.cpu, self.read - other.read, self.written - other.written)


def of_this_process() -> Work:
    """What this process did since it began. Its bytes are those of all its reads and writes, sockets' too."""
    said = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return Work(time.process_time(), int(said["rchar"]), int(said["wchar"]))


class EventLog:
    """The log of the one application that writes into a folder, read on from where it was read last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._place = 0

    @property
    def settings(self) -> Mapping[str, str]:
        """What the application is told."""
        return {
            "spark.eventLog.enabled": "true",
            "spark.eventLog.dir": f"file://{self._folder}",
            "spark.eventLog.rolling.enabled": "false",
            "spark.eventLog.compress": "false",
        }

    def more(self) -> Work:
        """The tasks that ended since the last time; events come a moment after what they tell of."""
        time.sleep(1.5)
        found = Work()
        with next(self._folder.iterdir()).open("rb") as file:
            file.seek(self._place)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._place += len(line)
                if b'"SparkListenerTaskEnd"' in line:
                    found += _of_task(json.loads(line).get("Task Metrics") or {})
        return found


def _of_task(metrics: Mapping[str, object]) -> Work:
    def number(group: str, name: str) -> int:
        inside = metrics.get(group)
        return int(inside.get(name, 0)) if isinstance(inside, dict) else 0

    cpu = metrics.get("Executor CPU Time", 0)
    seconds = cpu / 1e9 if isinstance(cpu, int) else 0.0
    return Work(seconds, number("Input Metrics", "Bytes Read"), number("Output Metrics", "Bytes Written"))
