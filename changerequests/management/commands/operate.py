"""``manage.py operate``: queues, leases and stuck work, and the safe actions on them."""

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from changerequests.services import operations
from datasets.errors import DomainError


class Command(BaseCommand):
    help = (
        "Show what waits, runs and is stuck, with its reason (status), or act on it: ring a worker for a run (retry), "
        "cancel a run (cancel), take a lease from a holder that died (release). Every action is an audit event."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True)
        commands.add_parser("status", help="Queues, leases and stuck work.")
        for name, target in (("retry", "RUN"), ("cancel", "RUN"), ("release", "DATASET")):
            command = commands.add_parser(
                name, help=f"{name.capitalize()}, by the number of the {target.lower()}."
            )
            command.add_argument("number", type=int, metavar=target)
            command.add_argument("--as", required=True, dest="username", help="An operator's user name.")
            command.add_argument("--reason", required=True, help="Kept in the audit trail.")

    def handle(self, *_: Any, command: str, **options: Any) -> None:
        if command == "status":
            self._show()
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
                    run = operations.cancel(run_id=options["number"], **given)
                    self.stdout.write("Cancelled." if not run.is_active else "It stops before its commit.")
                case "release":
                    operations.release_lease(dataset_id=options["number"], **given)
                    self.stdout.write("The lease is free; a worker was rung.")
        except DomainError as error:
            raise CommandError(error.message) from error

    def _show(self) -> None:
        active = operations.queued_and_running()
        for run, position in active:
            self.stdout.write(
                f"run {run.pk} {run.change_request.cr_id} on {run.dataset} (dataset {run.dataset_id}): {run.status}, "
                f"{run.phase}, position {position}, by {run.requested_by}"
            )
        for lease in operations.held_leases():
            state = "alive" if lease.alive else "no sign of life"
            self.stdout.write(f"lease of dataset {lease.dataset_id} {lease.dataset}: {lease.holder}, {state}")
        stuck = operations.stuck_work()
        for one in stuck:
            named = f"run {one.run_id} {one.cr_id}" if one.run_id else one.cr_id
            number = one.dataset_id if one.action == "release" else one.run_id
            self.stdout.write(f"STUCK {named}: {one.reason} Safe: operate {one.action} {number}")
        self.stdout.write(f"{len(active)} active runs, {len(stuck)} stuck.")
