"""What dies where: the fixed scenarios and the random ones, made from a seed alone."""

from __future__ import annotations

import http.client
import json
import random
import time
from dataclasses import dataclass, field

from changerequests.models import MergeRun
from changerequests.services import runs
from changerequests.states import ACTIVE_RUN_STATUSES
from datasets.models import DatasetLease
from tests.api.clients import token_of
from tests.faults.checks import check, check_table
from tests.faults.orders import FULL, GO_ON, HOLD, KILL, KILL_PARENT, KILL_WORKER, PAUSE
from tests.faults.steps import STEPS, WEB_STEPS
from tests.faults.world import STRATEGIES, Proposal, Table, World

#: Done by the controller while a process is held at a step.
REDIS_CRASH = "redis-crash"
REDIS_LOSES_ALL = "redis-loses-all"
DATABASE_CRASH = "database-crash"
FOREIGN_ROW = "foreign-row"
FOREIGN_CONFLICT = "foreign-conflict"
CANCEL = "cancel"
ALL_WORKERS = "kill-all-workers"

#: Where a full disk is met: at the borders to the table's store, to the artefacts and to the audit files.
FULL_STEPS = (
    "syncing",
    "files-written",
    "artefacts-written",
    "putting",
    "audit-files",
    "audit-files-written",
)
#: Where nothing else can write because a transaction is open; a stopped process would hold its locks.
IN_TRANSACTION = ("claim-event", "merged-event")
#: Between the snapshot that the check looks at and the put.
BETWEEN_CHECK_AND_COMMIT = ("validating", "writing", "files-written", "committing", "before-put", "putting")
BEFORE_COMMITTING = ("claimed", "checking", "validating", "writing", "syncing", "files-written")
#: After these a request may be pending, with a reason.
EXCUSES = (FULL, CANCEL, FOREIGN_CONFLICT)


@dataclass(frozen=True)
class Fault:
    """What happens the ``nth`` time (from 0) that somebody reaches a step."""

    step: str
    what: str
    nth: int = 0

    def __str__(self) -> str:
        return f"{self.what}@{self.step}" + (f"#{self.nth}" if self.nth else "")


@dataclass(frozen=True)
class Scenario:
    """Requests on one table, and the faults that they meet."""

    faults: tuple[Fault, ...]
    strategy: str = "merge-on-read"
    requests: int = 2
    seed: int = 0

    def __str__(self) -> str:
        return f"{' '.join(map(str, self.faults))} ({self.strategy}, {self.requests} requests)"


@dataclass
class Outcome:
    """What became of a scenario."""

    seconds: float
    obeyed: list[str] = field(default_factory=list)


def random_scenario(seed: int, *, postgresql: bool) -> Scenario:
    """The scenario of a seed."""
    chance = random.Random(seed)  # noqa: S311  (to be repeated, no secret)
    faults: list[Fault] = []
    for _ in range(chance.choices((1, 2, 3), (5, 4, 2))[0]):
        what = chance.choice(
            [KILL] * 6
            + [KILL_PARENT, KILL_WORKER, ALL_WORKERS, FULL, CANCEL]
            + [FOREIGN_ROW] * 2
            + [FOREIGN_CONFLICT, REDIS_CRASH, REDIS_LOSES_ALL]
            # A process that sleeps inside a transaction holds the whole of SQLite: only where rows are locked.
            + ([DATABASE_CRASH, PAUSE, PAUSE] if postgresql else [])
        )
        steps: tuple[str, ...] = STEPS
        if what == FULL:
            steps = FULL_STEPS
        elif what in (FOREIGN_ROW, FOREIGN_CONFLICT):
            steps = BETWEEN_CHECK_AND_COMMIT
        elif what == CANCEL:
            steps = BEFORE_COMMITTING
        elif what == PAUSE:
            steps = tuple(step for step in STEPS if step not in IN_TRANSACTION)
        free = [step for step in steps if step not in {fault.step for fault in faults}]
        faults.append(Fault(chance.choice(free), what, chance.choice((0, 0, 1))))
    return Scenario(tuple(faults), chance.choice(list(STRATEGIES)), chance.choice((2, 2, 3)), seed)


def every_step() -> list[Scenario]:
    """The child killed at every named step."""
    return [
        Scenario((Fault(step, KILL),), strategy)
        for step, strategy in zip(STEPS, list(STRATEGIES) * len(STEPS), strict=False)
    ]


def special(*, postgresql: bool) -> list[Scenario]:
    """Every other kind of fault where it hurts most."""
    found = [
        Scenario((Fault("writing", KILL_PARENT),)),
        Scenario((Fault("after-put", KILL_WORKER),)),
        Scenario((Fault("before-put", ALL_WORKERS),)),
        Scenario((Fault("checking", REDIS_CRASH),)),
        Scenario((Fault("after-put", REDIS_LOSES_ALL),), requests=3),
        Scenario((Fault("syncing", FULL),)),
        Scenario((Fault("putting", FULL),)),
        Scenario((Fault("audit-files", FULL),)),
        Scenario((Fault("before-put", FOREIGN_ROW),)),
        Scenario((Fault("committing", FOREIGN_CONFLICT),)),
        *(Scenario((Fault(step, KILL),), requests=1) for step in WEB_STEPS),
        Scenario((Fault("writing", CANCEL),)),
        Scenario((Fault("after-put", KILL), Fault("audit-files-written", KILL), Fault("merged-event", KILL))),
    ]
    if postgresql:
        found += [
            Scenario((Fault(step, DATABASE_CRASH),))
            for step in ("claim-event", "writing", "after-put", "merged-event", "recorded")
        ]
        found += [Scenario((Fault(step, PAUSE),)) for step in ("claimed", "before-put", "audit-files")]
    return found


def sample(*, postgresql: bool) -> list[Scenario]:
    """The few that run with every ``make test``: half of them in each world."""
    if postgresql:
        return [
            Scenario((Fault("before-put", KILL_WORKER),), requests=1),
            Scenario((Fault("after-put", DATABASE_CRASH), Fault("merged-event", KILL)), "copy-on-write", 1),
            Scenario((Fault("after-put", REDIS_LOSES_ALL),)),
            Scenario((Fault("before-put", PAUSE),), requests=1),
        ]
    return [
        Scenario((Fault("writing", KILL), Fault("after-put", KILL)), requests=1),
        Scenario((Fault("committing", FOREIGN_CONFLICT), Fault("audit-files-written", KILL))),
        Scenario((Fault("checking", REDIS_LOSES_ALL),), "copy-on-write", 1),
        Scenario((Fault("putting", FULL),), requests=1),
    ]


def play(world: World, scenario: Scenario) -> Outcome:
    """Set the scene, let the faults happen, wait until every run has ended, and check what must be true."""
    started = time.monotonic()
    world.orders.clear()
    chance = random.Random(scenario.seed)  # noqa: S311  (to be repeated, no secret)
    table = world.table(scenario.strategy, scenario.requests, chance)
    for fault in scenario.faults:
        action = fault.what if fault.what in (KILL, KILL_PARENT, KILL_WORKER, FULL, PAUSE) else HOLD
        world.orders.give(fault.step, *[GO_ON] * fault.nth, action)
    by_step = {fault.step: fault for fault in scenario.faults}
    if any(fault.step in WEB_STEPS for fault in scenario.faults):
        _ask_through_web(world, table)
    else:
        world.ask_for_merges(table)
    watched = [proposal.run for proposal in table.proposals if proposal.run is not None]
    world.settle(watched, at=lambda step, pid: _act(world, table, by_step[step]))
    # The queue goes on: one more request merges with nothing in its way.
    obeyed = world.orders.obeyed()
    world.orders.clear()
    last = world.propose(table.dataset, updates={}, inserts={"LAST": 1}, deletes=set())
    table.proposals.append(last)
    last.run = runs.request_merge(change_request_id=last.change_request.pk, actor=world.owner)
    world.settle([last.run])
    last.run.refresh_from_db()
    check(last.run.status == "succeeded", "the next request is", last.run.status, last.run.error_message)
    excused = any(fault.what in EXCUSES for fault in scenario.faults)
    check_table(table, all_merged=not excused)
    return Outcome(time.monotonic() - started, obeyed)


def _ask_through_web(world: World, table: Table) -> None:
    """Ask for every merge over HTTP; where the web process dies, ask again with the same key once it is back."""
    token = token_of(world.owner)
    for proposal in table.proposals:
        answers = [_post_merge(world, proposal, token)]
        if answers == [None]:
            answers = [_post_merge(world, proposal, token) for _ in range(2)]
        asked = MergeRun.objects.filter(change_request=proposal.change_request)
        check(asked.count() == 1, "there are", asked.count(), "runs")
        proposal.run = asked.get()
        check(set(answers) == {proposal.run.pk}, "answered with the runs", answers, "of", proposal.run.pk)


def _post_merge(world: World, proposal: Proposal, token: str) -> int | None:
    """The run that the API answers with; None where it died before it answered."""
    with world.web() as (process, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        headers = {
            "Authorization": f"Token {token}",
            "Content-Type": "application/json",
            "Idempotency-Key": f"merge {proposal.change_request.cr_id}",
        }
        path = f"/api/v1/change_requests/{proposal.change_request.cr_id}/merge"
        try:
            connection.request("POST", path, body="{}", headers=headers)
            response = connection.getresponse()
            document = json.loads(response.read())
        except (OSError, http.client.HTTPException):
            check(process.wait(5) is not None, "the web process lives and does not answer")
            return None
        finally:
            connection.close()
        check(response.status in (200, 202), "the API answered", response.status, document)
        run: int = document["id"]
        return run


def _act(world: World, table: Table, fault: Fault) -> None:
    match fault.what:
        case "redis-crash":
            world.servers.broker.crash(lose_data=False)
        case "redis-loses-all":
            world.servers.broker.crash(lose_data=True)
        case "database-crash":
            world.restart_database()
        case "foreign-row":
            world.write_as_foreigner(table, f"F{len(table.foreign_rows)}", 7)
        case "foreign-conflict":
            _insert_what_is_proposed(world, table)
        case "cancel":
            _cancel_what_runs(world, table)
        case "kill-all-workers":
            for worker in world.workers:
                worker.kill()
        case "pause":
            _wait_for_takeover(table)


def _insert_what_is_proposed(world: World, table: Table) -> None:
    running = table.dataset.runs.get(status="running").change_request_id
    for proposal in table.proposals:
        key = next(iter(proposal.inserts))
        if proposal.change_request.pk == running and key not in table.foreign_rows:
            world.write_as_foreigner(table, key, -1)


def _cancel_what_runs(world: World, table: Table) -> None:
    for run in table.dataset.runs.filter(status="running"):
        runs.cancel_run(run_id=run.pk, actor=world.owner)


def _wait_for_takeover(table: Table) -> None:
    """Until another worker has the dataset's lease, or has ended what the paused one began."""
    fence = DatasetLease.objects.get(dataset=table.dataset).fence
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline:
        moved = DatasetLease.objects.get(dataset=table.dataset).fence != fence
        if (
            moved
            or not MergeRun.objects.filter(dataset=table.dataset, status__in=ACTIVE_RUN_STATUSES).exists()
        ):
            break
        time.sleep(0.05)
