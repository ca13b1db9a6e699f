"""The fixed sample of the fault suite; ``make test-faults`` plays every step and hundreds of random ones."""

import subprocess
import sys

import pytest

from config.env import BASE_DIR

pytestmark = pytest.mark.services

#: Four scenarios and the start of an installation.
LONGEST_SECONDS = 300


@pytest.mark.sample(1)
@pytest.mark.parametrize("world", ["production", "embedded"])
def test_whatever_dies_each_request_is_merged_once_or_pending_with_a_reason(world: str) -> None:
    command = [sys.executable, "-m", "tests.faults", "--world", world, "--suite", "sample"]
    played = subprocess.run(
        command, cwd=BASE_DIR, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False
    )
    report = played.stdout + played.stderr
    assert played.returncode == 0, report
    summaries = [line for line in report.splitlines() if "runs held" in line]
    assert [line.split(" held")[0] for line in summaries] == [f"{world:10} 4 runs"]
    met = [line for line in report.splitlines() if "faults met" in line]
    assert [line for line in met if not _met_all(line)] == []


def _met_all(line: str) -> bool:
    counts = line.split("s, ")[1].split(" faults met")[0]
    met, wanted = counts.split(" of ")
    return met == wanted
