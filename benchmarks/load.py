"""Fifty people at work: ``python -m benchmarks.load``.

An installation by the files of ``deploy/`` (two web processes, a worker for each queue, the schedule, PostgreSQL,
Redis, nginx or Caddy with TLS before it), filled by ``benchmarks.crowd_data``. For three minutes each person keeps a
page open that hears news, reads pages, and now and then proposes rows and merges them. Printed are, for each page and
call, how often, the median, the 95th percentile and the longest; then how many connections PostgreSQL held.

Bars: no answer is an error, no page's 95th percentile is above 0.5 s, PostgreSQL refuses nobody. With smaller sizes:
``--seconds 20 --requests 400 --people 100 --events 2000 --datasets 10``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from benchmarks import report
from tests.deploy.installation import HOST, Installation, caddy, installation, nginx
from tests.deploy.weights import can_weigh

BUDGET_SECONDS = 0.5
#: How calls are told from pages: whoever calls waits for a worker.
CALL = "(a call that waits)"
ANSWER_SECONDS = 90
#: Of a hundred things that somebody does, how many are which.
PROPOSING, MERGING = 6, 6


@dataclass
class Figures:
    """What was asked, how long it took, and what went wrong."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    connections: list[int] = field(default_factory=list)

    def note(self, name: str, seconds: float) -> None:
        self.seconds.setdefault(name, []).append(seconds)


@dataclass
class Person:
    """One of the people: a browser and a program that work with one dataset of theirs."""

    known: dict[str, Any]
    crowd: dict[str, Any]
    figures: Figures
    browser: httpx.AsyncClient
    think: float
    chance: random.Random
    proposed: list[str] = field(default_factory=list)
    round: int = 0

    async def work(self, until: float) -> None:
        """Do one thing after the other, with a while between them, until the time is over."""
        news = asyncio.create_task(self._hear_news())
        await asyncio.sleep(self.chance.uniform(0, self.think))
        while time.monotonic() < until:
            drawn = self.chance.randrange(100)
            if drawn < PROPOSING:
                await self._propose()
            elif drawn < PROPOSING + MERGING and self.proposed:
                await self._merge()
            else:
                await self._read()
            await asyncio.sleep(self.chance.uniform(self.think / 2, self.think * 3 / 2))
        news.cancel()

    async def _read(self) -> None:
        own, busy = f"/datasets/{self.known['dataset']}/", f"/datasets/{self.crowd['busy']}/"
        request = f"/change-requests/{self.chance.choice(self.crowd['pending'])}/"
        pages = {
            "home": "/",
            "datasets": "/datasets/",
            "rows of a dataset": own,
            "a dataset's history": f"{own}history/",
            "requests of a dataset": f"{busy}change-requests/",
            "merged requests of a dataset": f"{busy}change-requests/?status=merged",
            "a request": request,
            "a merged request": f"/change-requests/{self.chance.choice(self.crowd['merged'])}/",
            "changes of a merged request": f"/change-requests/{self.chance.choice(self.crowd['merged'])}/changes/",
            "a long conversation": f"/change-requests/{self.crowd['long']}/",
            "inbox": "/inbox/",
            "API: requests": "/api/v1/change_requests",
            "API: rows": f"/api/v1/datasets/{self.known['dataset']}/rows",
        }
        name = self.chance.choice(list(pages))
        await self._ask(name, "GET", pages[name])

    async def _propose(self) -> None:
        self.round += 1
        # Rows that no other proposal of theirs has, for a while.
        first = self.known["first_row"] + 10 * self.round
        lines = [f"{(first + step) % 1000},{self.round}.{step}" for step in range(10)]
        answer = await self._ask(
            f"propose 10 rows {CALL}",
            "POST",
            f"/api/v1/datasets/{self.known['dataset']}/proposals?title=Round+{self.round}&submit=true",
            content="\n".join(["id,value", *lines]) + "\n",
            headers={"Content-Type": "text/csv", "Prefer": "wait=60"},
        )
        if answer is not None and answer.status_code == 201:
            self.proposed.append(answer.json()["change_request"]["cr_id"])

    async def _merge(self) -> None:
        cr_id = self.proposed.pop(0)
        answer = await self._ask(
            f"merge them {CALL}",
            "POST",
            f"/api/v1/change_requests/{cr_id}/merge",
            json={},
            headers={"Prefer": "wait=60"},
        )
        if answer is not None and answer.json().get("status") != "succeeded":
            self.figures.errors.append(f"{cr_id} was not merged: {answer.text[:300]}")

    async def _ask(self, name: str, method: str, address: str, **more: Any) -> httpx.Response | None:
        headers = {**more.pop("headers", {})}
        if address.startswith("/api/"):
            headers["Authorization"] = f"Token {self.known['token']}"
        else:
            headers["Cookie"] = f"sessionid={self.known['session']}"
        began = time.monotonic()
        try:
            answer = await self.browser.request(method, address, headers=headers, **more)
        except httpx.HTTPError as error:
            self.figures.errors.append(f"{name}: {type(error).__name__} {error}")
            return None
        self.figures.note(name, time.monotonic() - began)
        if answer.status_code not in (200, 201):
            self.figures.errors.append(
                f"{name}: {method} {address} was answered {answer.status_code}: {answer.text[:300]}"
            )
            return None
        return answer

    async def _hear_news(self) -> None:
        """The stream that an open page follows, for as long as the person is there."""
        headers = {"Cookie": f"sessionid={self.known['session']}", "Accept": "text/event-stream"}
        try:
            async with self.browser.stream("GET", "/news/", headers=headers, timeout=None) as stream:
                if stream.status_code != 200:
                    self.figures.errors.append(f"news: answered {stream.status_code}")
                    return
                async for _ in stream.aiter_lines():
                    pass
            self.figures.errors.append("news: the stream ended")
        except httpx.HTTPError as error:
            self.figures.errors.append(f"news: {type(error).__name__} {error}")


async def crowd_at_work(
    site: str, certificate: Path, crowd: dict[str, Any], seconds: float, think: float
) -> Figures:
    """Let everybody work for so long."""
    figures = Figures()
    context = ssl.create_default_context(cafile=certificate)
    until = time.monotonic() + seconds

    async def one(number: int, known: dict[str, Any]) -> None:
        async with httpx.AsyncClient(
            base_url=site, verify=context, timeout=ANSWER_SECONDS, trust_env=False
        ) as browser:
            chance = random.Random(number)  # noqa: S311  (no secret)
            await Person(known, crowd, figures, browser, think, chance).work(until)

    people: list[Coroutine[Any, Any, None]] = [
        one(number, known) for number, known in enumerate(crowd["people"])
    ]
    await asyncio.gather(*people)
    return figures


async def with_watch(work: Coroutine[Any, Any, Figures], database: str) -> Figures:
    """Count PostgreSQL's connections beside the work."""
    counted: list[int] = []

    async def count() -> None:
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            while True:
                cursor = await connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = 'headgate' AND pid <> pg_backend_pid()"
                )
                [[number]] = await cursor.fetchall()
                counted.append(number)
                await asyncio.sleep(0.5)

    counting = asyncio.create_task(count())
    figures = await work
    counting.cancel()
    figures.connections = counted
    return figures


def tell(figures: Figures) -> None:
    """Print everything, with the bars."""
    rows = []
    for name, seconds in sorted(figures.seconds.items()):
        ordered = sorted(seconds)
        points = (ordered[len(ordered) // 2], percentile_of(ordered), ordered[-1])
        rows.append([name, f"{len(ordered):,}", *(f"{point:.3f} s" for point in points)])
    report.table(["", "times", "median", "95 %", "longest"], rows)
    pages = {name: percentile_of(sorted(told)) for name, told in figures.seconds.items() if CALL not in name}
    slowest = max(pages, key=lambda name: pages[name])
    report.figure(f"95 % of the slowest page ({slowest})", pages[slowest], "s", most=BUDGET_SECONDS)
    report.figure("errors", len(figures.errors), most=0)
    report.figure("connections to PostgreSQL", max(figures.connections))
    for error in figures.errors[:20]:
        print(f"  {error}")


def tell_sizes(made: Installation) -> None:
    """Print what the database and the audit files take, for who plans their disks."""
    with psycopg.connect(made.database_url) as database:
        [[events, of_events, whole, requests]] = database.execute(
            "SELECT (SELECT count(*) FROM audit_event), pg_total_relation_size('audit_event'),"
            " pg_database_size('headgate'), (SELECT count(*) FROM changerequests_changerequest)"
        ).fetchall()
    report.figure("disk of one entry of the trail, with its indexes", of_events / events / 1000, "kB")
    report.figure("disk of all else, for each request", (whole - of_events) / requests / 1000, "kB")
    folders = (made.folder / "data" / "audit" / "change_requests").iterdir()
    merged = [sum(file.stat().st_size for file in one.iterdir()) for one in folders if not one.is_symlink()]
    report.figure("audit files of a small merge", sum(merged) / len(merged) / 1000, "kB")


def percentile_of(ordered: list[float]) -> float:
    """The 95th percentile of what is in order."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--active", type=int, default=50, help="people who work")
    parser.add_argument(
        "--think", type=float, default=5, help="seconds between two things that one does, about"
    )
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--people", type=int, default=2_000)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--datasets", type=int, default=200)
    parser.add_argument("--proxy", choices=["nginx", "caddy"], default="nginx")
    options = parser.parse_args()
    proxy: Callable[[Installation], Any] = nginx if options.proxy == "nginx" else caddy
    with tempfile.TemporaryDirectory(prefix="headgate-load-") as name, ExitStack() as stack:
        folder = Path(name)
        sizes = {key: getattr(options, key) for key in ("requests", "people", "events", "datasets", "active")}
        prepare = ["benchmarks.load_fill", str(folder / "crowd.json"), json.dumps(sizes)]
        began = time.monotonic()
        made = stack.enter_context(
            installation(
                folder,
                children={"merging": 2, "staging": 2, "notifications": 2},
                prepare=prepare,
                weights=True,
            )
        )
        print(f"{sizes}: filled and started in {time.monotonic() - began:.0f} s\n", flush=True)
        if not can_weigh():
            print("Workers have no CPUWeight= here: this machine lets us make no control groups.\n")
        port = stack.enter_context(proxy(made))
        crowd = json.loads((folder / "crowd.json").read_text())
        work = crowd_at_work(
            f"https://{HOST}:{port}",
            folder / options.proxy / "headgate.crt",
            crowd,
            options.seconds,
            options.think,
        )
        tell(asyncio.run(with_watch(work, made.database_url)))
        tell_sizes(made)
    return report.exit_code()


if __name__ == "__main__":
    sys.exit(main())
