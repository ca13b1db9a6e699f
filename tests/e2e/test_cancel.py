"""A merge that waits is left, found again, cancelled, and asked for once more. The worker is held meanwhile."""

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import expect

from tests.e2e.conftest import SignIn
from tests.e2e.test_beside import propose

PATIENT = 30_000


def descendants(pid: int) -> Iterator[int]:
    """The processes that come from one (``proc(5)``), by their numbers."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield int(child)
            yield from descendants(int(child))


def workers() -> list[int]:
    """The worker of the demo that this process runs, and what it started."""
    return [pid for pid in descendants(os.getpid()) if b"celery" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def writes(pids: list[int]) -> bool:
    """Whether one of them holds a lock to write as SQLite does (``proc_locks(5)``): stopped so, it would keep the
    database."""
    locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(
        {"POSIX", "WRITE"} <= {*lock} and not {str(pid) for pid in pids}.isdisjoint(lock) for lock in locks
    )


def stop(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


@contextmanager
def held(pids: list[int]) -> Iterator[None]:
    """Stop processes for a while, none of them in the middle of a transaction."""
    stop(pids)
    until = time.monotonic() + PATIENT / 1000
    while writes(pids):
        assert time.monotonic() < until, "they write without an end"
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        time.sleep(0.05)
        stop(pids)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_a_merge_that_waits_is_cancelled(sign_in: SignIn) -> None:
    carl, olivia = sign_in("carl"), sign_in("olivia")
    path = propose(carl, "Call an airport by whoever waits")
    olivia.go(path)
    olivia.page.get_by_role("button", name="Approve").click()
    olivia.page.get_by_text("Your review is in the timeline.").wait_for()
    carl.go(path)
    page = carl.page
    page.locator("#merge-box").get_by_role("link", name="Merge…").click()
    expect(page.get_by_role("dialog").get_by_role("button", name="Merge 1 row change")).to_be_enabled()
    stopped = workers()
    assert stopped
    with held(stopped):
        page.get_by_role("button", name="Merge 1 row change").click()
        expect(page.get_by_role("heading", name=re.compile("^Merging CR-"))).to_be_visible()
        expect(page.get_by_role("dialog")).to_contain_text(re.compile("queue", re.IGNORECASE))
        page.locator("#leave-run").click()  # leaving is safe
        expect(page.locator(".strip .chip")).to_contain_text(re.compile("Queued"))
        olivia.go(path)
        expect(olivia.page.locator(".strip .chip")).to_contain_text(re.compile("Queued"))

        page.locator("#merge-box").get_by_role("link", name="Watch the merge").click()
        page.get_by_role("button", name="Cancel the merge").click()
        expect(page.get_by_text(re.compile("was cancelled|Cancelled by")).first).to_be_visible()
    carl.go(path)
    expect(page.get_by_text("cancelled the merge; the table is as it was")).to_be_visible()
    page.locator("#merge-box").get_by_role("link", name="Merge…").click()
    page.get_by_role("button", name="Merge 1 row change").click()
    expect(page.get_by_role("dialog")).to_contain_text(re.compile(r"Merged as v\d+: 1 row"), timeout=PATIENT)
