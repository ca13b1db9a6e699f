"""One installation under test: its servers, two workers, and the requests that are merged while things die."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import deltalake
import pyarrow as pa
from django.contrib.auth.models import User
from django.db import connection, transaction

import merging
from changerequests.models import ChangeRequest, MergeRun
from changerequests.services import proposals, runs, staging
from changerequests.states import ACTIVE_RUN_STATUSES
from config.env import BASE_DIR
from datasets.models import Dataset, Project
from datasets.roles import Role, set_role
from datasets.services import create_project, register_dataset
from demo.processes import ManagedProcess, wait_until, web_command, worker_command
from tests import services
from tests.faults.orders import Orders
from tests.faults.servers import Servers

#: How long a run of the suite may take to settle before it counts as hung.
SETTLED_WITHIN_SECONDS = 60.0

Row = dict[str, Any]
Rows = dict[str, Row]


@dataclass
class Proposal:
    """One request of a scenario: what it does to which rows, and the durable rows behind it."""

    change_request: ChangeRequest
    updates: dict[str, int]
    inserts: dict[str, int]
    deletes: set[str]
    run: MergeRun | None = None


@dataclass
class Table:
    """A dataset made for one scenario, with what its rows must be."""

    dataset: Dataset
    rows: Rows
    proposals: list[Proposal] = field(default_factory=list)
    foreign_rows: Rows = field(default_factory=dict)


STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "merge-on-read": {"deletion_vectors": True},
    "copy-on-write": {"deletion_vectors": False},
}
ROWS = 30


class World:
    """A running installation. ``close`` stops its workers; the servers belong to ``servers``."""

    def __init__(self, of: Servers, *, workers: int = 2) -> None:
        self.servers = of
        self.orders = Orders(of.folder / "orders")
        self.owner = User.objects.create_user("olivia")
        self.author = User.objects.create_user("carl")
        self.project = create_project(slug="faults", name="Faults")
        for member, role in ((self.owner, Role.OWNER), (self.author, Role.CONTRIBUTOR)):
            set_role(member=member, target=self.project, role=role, actor=None)
        self.workers: list[ManagedProcess] = []
        self._made = 0
        self._logs = 0
        try:
            self.workers = [self._start_worker(number) for number in range(workers)]
            for worker in self.workers:
                self._wait_for_worker(worker)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for step, _ in self.orders.waiting():
            self.orders.resume(step)
        for worker in self.workers:
            worker.kill()

    # --- processes --------------------------------------------------------------------------------------

    def _start_worker(self, number: int) -> ManagedProcess:
        self._logs += 1
        command = [
            "tests.faults.worker" if part == "config" else part
            for part in worker_command(concurrency=1, beat=True)
        ]
        return ManagedProcess(
            f"worker {number}",
            [*command, "--hostname", f"worker{number}@faults"],
            environment=self.servers.environment(),
            folder=BASE_DIR,
            log=self.servers.folder / f"worker-{number}-{self._logs}.log",
        )

    def _wait_for_worker(self, worker: ManagedProcess) -> None:
        log = worker.log
        assert log is not None
        wait_until(worker, lambda: " ready." in log.read_text(errors="replace"), seconds=60)

    def kill_worker(self, number: int = 0) -> None:
        """Kill a worker with its children; it is started again when somebody looks after the world."""
        self.workers[number].kill()

    def look_after(self) -> None:
        """Start dead workers again, as a service manager would."""
        for number, worker in enumerate(self.workers):
            if worker.exit_code is not None:
                worker.kill()  # what is left of its group
                self.workers[number] = self._start_worker(number)

    @contextlib.contextmanager
    def web(self) -> Iterator[tuple[ManagedProcess, int]]:
        """A web process with its port on the loopback address."""
        port = services.free_port()
        self._logs += 1
        command = [
            "tests.faults.web:application" if part == "config.asgi:application" else part
            for part in web_command(port=port)
        ]
        process = ManagedProcess(
            "web",
            command,
            environment=self.servers.environment(),
            folder=BASE_DIR,
            log=self.servers.folder / f"web-{self._logs}.log",
        )
        try:
            wait_until(process, lambda: services.answers_livez(port), seconds=60)
            yield process, port
        finally:
            process.kill()

    def restart_database(self) -> None:
        """Crash PostgreSQL and bring it back."""
        if self.servers.database is None:
            raise ValueError("SQLite has no server that could die.")
        connection.close()
        self.servers.database.crash()

    # --- content ----------------------------------------------------------------------------------------

    def table(self, strategy: str, requests: int, chance: random.Random) -> Table:
        """A dataset with ``requests`` pending requests that touch different rows."""
        self._made += 1
        name = f"t{self._made}"
        uri = self.servers.folder / "delta" / "tables" / name
        rows: Rows = {f"N{i:02}": {"seats": i, "maker": f"maker {i}"} for i in range(ROWS)}
        merging.create_table(str(uri), as_table(rows), **STRATEGIES[strategy])
        project = Project.objects.get(pk=self.project.pk)
        dataset = register_dataset(
            project=project,
            slug=name,
            name=name,
            table_uri=str(uri),
            primary_keys=["tailnum"],
            required_approvals=0,
            delete_limit=1,
        )
        table = Table(dataset, rows)
        free = chance.sample(sorted(rows), len(rows))
        for number in range(requests):
            updated = [free.pop() for _ in range(chance.randint(1, 3))]
            table.proposals.append(
                self.propose(
                    dataset,
                    updates={key: chance.randrange(1000, 9000) for key in updated},
                    inserts={f"X{number}": chance.randrange(1000)},
                    deletes={free.pop()} if chance.random() < 0.7 else set(),
                )
            )
        return table

    def propose(
        self,
        dataset: Dataset,
        *,
        updates: dict[str, int],
        inserts: dict[str, int],
        deletes: set[str],
    ) -> Proposal:
        """A pending request."""
        change_request = proposals.create_change_request(
            dataset=dataset, author=self.author, title="Seats by hand"
        )
        path = self.servers.folder / "upload.csv"
        lines = ["tailnum,seats,_op"]
        lines += [f"{key},{seats},upsert" for key, seats in (updates | inserts).items()]
        lines += [f"{key},NULL,delete" for key in sorted(deletes)]
        path.write_text("\n".join(lines) + "\n")
        staging.stage_at_once(
            change_request_id=change_request.pk, actor=self.author, path=path, null_token="NULL"
        )
        proposals.submit(change_request_id=change_request.pk, actor=self.author)
        return Proposal(change_request, updates, inserts, deletes)

    def ask_for_merges(self, table: Table) -> None:
        """Queue every request of the table, all at once.

        One after the other, the first one's worker could be held in a transaction on SQLite, and the second never be
        asked for: nobody acts on what is held before all are.
        """
        with transaction.atomic():
            for proposal in table.proposals:
                proposal.run = runs.request_merge(
                    change_request_id=proposal.change_request.pk, actor=self.owner
                )

    def write_as_foreigner(self, table: Table, key: str, seats: int) -> None:
        """Append a row with delta-rs, as somebody else's job would."""
        row: Rows = {key: {"seats": seats, "maker": "somebody else"}}
        deltalake.write_deltalake(table.dataset.table_uri, as_table(row), mode="append")
        table.foreign_rows |= row

    # --- waiting ----------------------------------------------------------------------------------------

    def settle(
        self,
        watched: Sequence[MergeRun],
        *,
        at: Callable[[str, int], None] | None = None,
        seconds: float = SETTLED_WITHIN_SECONDS,
    ) -> None:
        """Wait until the runs have ended; ``at`` is called for every process that waits at a step."""
        deadline = time.monotonic() + seconds
        wanted = [run.pk for run in watched]
        while True:
            for step, pid in self.orders.waiting():
                if at is not None:
                    at(step, pid)
                self.orders.resume(step)
            self.look_after()
            active = MergeRun.objects.filter(pk__in=wanted, status__in=ACTIVE_RUN_STATUSES)
            left = [(run.pk, run.status, run.phase, run.attempts) for run in active]
            if not left:
                return
            if time.monotonic() > deadline:
                raise Unsettled(f"Not settled after {seconds:.0f} s: {left}. Logs in {self.servers.folder}.")
            time.sleep(0.05)


class Unsettled(Exception):
    """Runs did not end in the time given."""


def as_table(rows: Rows) -> pa.Table:
    """Rows in the schema of the suite's tables."""
    return pa.table(
        {
            "tailnum": pa.array(list(rows), pa.string()),
            "seats": pa.array([row["seats"] for row in rows.values()], pa.int64()),
            "maker": pa.array([row["maker"] for row in rows.values()], pa.string()),
        }
    )
