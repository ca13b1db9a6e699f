"""Measure which tests take long, and write ``costly.txt``: ``python -m tests.costly`` (half an hour).

Of those a run of ``make test`` takes a tenth. Left out are the tests of which each run takes all: who may do what,
what the contracts say, and that the documents are those of the code.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from config.env import BASE_DIR
from tests.asked_statements import Note, noted
from tests.dealing import COSTLY_FILE

#: CPU seconds from which a test is costly, on the average over its inputs.
SECONDS = 0.1
ALWAYS = ("tests/matrix/", "tests/architecture/", "tests/config/", "tests/demo/")
#: What runs in processes of its own has no notes of its time: measured by ``pytest --durations``.
BY_THE_CLOCK = ("tests/e2e/", "tests/changerequests/test_separate_worker.py", "tests/faults/")


def costly(notes: Mapping[str, Note]) -> list[str]:
    """The test functions that take long, by file and name."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for name, note in notes.items():
        seconds[name.partition("[")[0]].append(note.seconds)
    return sorted(
        name
        for name, several in seconds.items()
        if sum(several) / len(several) >= SECONDS and not name.startswith(ALWAYS)
    )


def written(names: Iterable[str]) -> str:
    """The file: what was measured, and what it names of separate processes."""
    kept = {name for name in COSTLY_FILE.read_text(encoding="utf-8").split() if name.startswith(BY_THE_CLOCK)}
    return "".join(f"{name}\n" for name in sorted({*names, *kept}))


def main() -> int:
    """Run everything that runs within one process, and write the file."""
    with tempfile.TemporaryDirectory(prefix="headgate-statements-") as folder:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-n", "2", "--dist", "worksteal"),
                *("-m", "not e2e and not services and not spark and not corpus and not recipes"),
            ],
            cwd=BASE_DIR,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings.test", "STATEMENTS": folder},
            check=False,
        )
        COSTLY_FILE.write_text(written(costly(noted(Path(folder)))), encoding="utf-8")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
