"""``manage.py operate``: queues, leases and stuck work, the safe actions on them, and looking after tables."""

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

import merging
from changerequests.services import maintenance, operations
from datasets.errors import DomainError
from datasets.models import Dataset, MaintenanceRun


def _add_actor(command: ArgumentParser) -> None:
    command.add_argument("--as", required=True, dest="username", help="An operator's user name.")
    command.add_argument("--reason", required=True, help="Kept in the audit trail.")


def _dataset(number: int) -> Dataset:
    dataset = Dataset.objects.select_related("project", "meta").filter(pk=number).first()
    if dataset is None:
        raise CommandError(f"There is no dataset {number}.")
    return dataset


class Command(BaseCommand):
    help = (
        "Show what waits, runs and is stuck, with its reason (status), or act on it: ring a worker for a run (retry), "
        "cancel a run (cancel), take a lease from a holder that died (release), let merges go on after you looked "
        "at a table that is not what a commit planned (acknowledge), show how worn a table is and what looking after "
        "it would do (survey), have it looked after (maintain). Every action is an audit event."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True)
        commands.add_parser("status", help="Queues, leases and stuck work.")
        targets = {"retry": "RUN", "cancel": "RUN", "release": "DATASET", "acknowledge": "DATASET"}
        for name, target in targets.items():
            command = commands.add_parser(
                name, help=f"{name.capitalize()}, by the number of the {target.lower()}."
            )
            command.add_argument("number", type=int, metavar=target)
            _add_actor(command)
        survey = commands.add_parser("survey", help="A dry run of looking after a dataset's table.")
        survey.add_argument("number", type=int, metavar="DATASET")
        maintain = commands.add_parser("maintain", help="Have a dataset's table looked after by a worker.")
        maintain.add_argument("number", type=int, metavar="DATASET")
        maintain.add_argument("jobs", nargs="+", choices=MaintenanceRun.Job.values, metavar="JOB")
        _add_actor(maintain)

    def handle(self, *_: Any, command: str, **options: Any) -> None:
        if command == "status":
            self._show()
            return
        if command == "survey":
            self._survey(options["number"])
            return
        actor = User.objects.filter(username=options["username"]).first()
        if actor is None:
            raise CommandError(f"There is no user {options['username']}.")
        given: dict[str, Any] = {"actor": actor, "reason": options["reason"]}
        try:
            match command:
                case "retry":
                    operations.retry(run_id=options["number"], **given)
                    self.stdout.write("A worker was rung.")
                case "cancel":
                    cancelled = operations.cancel(run_id=options["number"], **given)
                    self.stdout.write(
                        "Cancelled." if not cancelled.is_active else "It stops before its commit."
                    )
                case "maintain":
                    run = maintenance.request_maintenance(
                        dataset_id=_dataset(options["number"]).pk, jobs=options["jobs"], **given
                    )
                    self.stdout.write(f"Maintenance {run.pk} waits for a worker.")
                case "release":
                    operations.release_lease(dataset_id=options["number"], **given)
                    self.stdout.write("The lease is free; a worker was rung.")
                case "acknowledge":
                    operations.acknowledge(dataset_id=options["number"], **given)
                    self.stdout.write("Merges into the dataset go on; a worker was rung.")
        except DomainError as error:
            raise CommandError(error.message) from error

    def _survey(self, number: int) -> None:
        try:
            found = maintenance.survey(_dataset(number))
        except merging.MergeError as error:
            raise CommandError(error.message) from error
        condition = found.condition
        self.stdout.write(
            f"version {condition.version}: {condition.files} files, {condition.small_files} small, {condition.vectors} "
            f"deletion vectors hiding {condition.dead_rows} rows"
        )
        if condition.misspelt_files:
            self.stdout.write(
                f"VACUUM of Spark would delete {condition.misspelt_files} files that the table needs: compact it before"
            )
        if condition.obstacles:
            self.stdout.write(f"cannot be compacted here: it uses {', '.join(condition.obstacles)}")
        for name, files in (("vacuum", found.unneeded), ("orphans", found.orphaned)):
            self.stdout.write(f"{name} would remove {len(files.paths)} files, {files.size_bytes:,} bytes")
        self.stdout.write(f"due by the settings: {', '.join(found.due) or 'nothing'}")

    def _show(self) -> None:
        active = operations.queued_and_running()
        for run, position in active:
            self.stdout.write(
                f"run {run.pk} {run.change_request.cr_id} on {run.dataset} (dataset {run.dataset_id}): {run.status}, "
                f"{run.phase}, position {position}, by {run.requested_by}"
            )
        for lease in operations.held_leases():
            state = "alive" if lease.alive else "no sign of life"
            self.stdout.write(
                f"lease of dataset {lease.dataset_id} {lease.dataset}: {lease.holder} for {lease.kind}, {state}"
            )
        stuck = operations.stuck_work()
        for one in stuck:
            named = (
                f"run {one.run_id} {one.cr_id}" if one.run_id else one.cr_id or f"dataset {one.dataset_id}"
            )
            self.stdout.write(f"STUCK {named}: {one.reason} Safe: operate {one.action} {one.number}")
        self.stdout.write(f"{len(active)} active runs, {len(stuck)} stuck.")
