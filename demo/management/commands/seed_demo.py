"""``manage.py seed_demo``: the people, tables and change requests of the demo, made through the services."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

import merging
from audit.selectors import events_of
from audit.services import INSTALLATION_STREAM, record
from changerequests.models import ChangeRequest
from changerequests.services import execution, expectations, plans, proposals, reviews, runs, staging
from changerequests.states import RunStatus, Status
from datasets.models import Dataset, Project
from datasets.operators import make_operator
from datasets.roles import Role, set_role
from datasets.services import create_project, register_dataset
from demo import flights
from demo.requests import DEMO_REQUESTS, DemoRequest
from demo.suites import demo_suites
from demo.users import DEMO_PASSWORD, DEMO_USERS

PROJECT_SLUG = "new-york-2013"
SEEDED = "demo.seeded"


@dataclass(frozen=True)
class DemoDataset:
    """How one of the tables is registered."""

    source: flights.PublishedTable
    description: str
    settings: dict[str, Any]


DEMO_DATASETS = (
    DemoDataset(
        flights.FLIGHTS,
        "Every flight that left JFK, LaGuardia or Newark in 2013. Times are local clock times such as 517 for 5:17; "
        "time_hour is the scheduled hour of departure in UTC.",
        {"delete_limit": Decimal("0.01")},
    ),
    DemoDataset(
        flights.PLANES,
        "The aircraft registry's entries for the planes that flew.",
        {"delete_limit": Decimal("0.05")},
    ),
    DemoDataset(
        flights.AIRPORTS,
        "Names and places of airports, by the FAA's code.",
        {"delete_limit": Decimal("0.02"), "staging_cleanup": Dataset.StagingCleanup.ARCHIVE},
    ),
    DemoDataset(
        flights.WEATHER,
        "Hourly weather at the three airports.",
        {"delete_limit": Decimal("0.01"), "conflict_policy": Dataset.ConflictPolicy.ROW},
    ),
)


class Command(BaseCommand):
    """Repeatable: what is there already is left alone, so a run that was cut short is taken up where it ended."""

    help = "Make the users, datasets, expectations and change requests of the demo. Not for production."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--people-only",
            action="store_true",
            help="Make the people alone: an installation without tables.",
        )

    def handle(self, *_: Any, people_only: bool = False, **__: Any) -> None:
        if getattr(settings, "SETTINGS_MODULE", "") == "config.settings.production":
            raise CommandError(
                "The demo's accounts have a password that everybody knows; production never gets them."
            )
        if events_of("installation", "demo").filter(action=SEEDED).exists():
            self.stdout.write("The demo data is there already.")
            return
        people = self._people()
        if people_only:
            self.stdout.write(f"{len(people)} users, no dataset.")
            return
        tables = {source.name: flights.load(source) for source in flights.SOURCES}
        datasets = self._datasets(tables, people)
        for name, suite in demo_suites(tables).items():
            self._expect(datasets[name], suite, people["olivia"])
        with duckdb.connect(":memory:") as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for name, table in tables.items():
                connection.register(name, table)
            proposed = [
                (demo, self._proposed(demo, datasets[demo.dataset], people, connection))
                for demo in DEMO_REQUESTS
            ]
        for demo, change_request in proposed:
            self._discuss(demo, change_request, people)
        for demo, change_request in proposed:
            self._decide(demo, change_request, people)
        for change_request in ChangeRequest.objects.filter(status__in=[Status.DRAFT, Status.PENDING]):
            plans.check(change_request_id=change_request.pk)
        with transaction.atomic():
            record(stream=INSTALLATION_STREAM, action=SEEDED, subject_type="installation", subject_id="demo")
        self.stdout.write(f"{len(people)} users, {len(datasets)} datasets, {len(proposed)} change requests.")

    def _people(self) -> dict[str, User]:
        people = {}
        for demo in DEMO_USERS:
            user, created = User.objects.get_or_create(
                username=demo.username,
                defaults={
                    "first_name": demo.first_name,
                    "last_name": demo.last_name,
                    "email": f"{demo.username}@headgate.example",
                },
            )
            if created:
                user.set_password(DEMO_PASSWORD)
                user.save(update_fields=["password"])
            if demo.operator and not user.is_staff:
                make_operator(user)
            people[demo.username] = user
        return people

    def _datasets(self, tables: dict[str, pa.Table], people: dict[str, User]) -> dict[str, Dataset]:
        project = Project.objects.filter(slug=PROJECT_SLUG).first()
        if project is None:
            with transaction.atomic():
                project = create_project(
                    slug=PROJECT_SLUG,
                    name="New York flights 2013",
                    description="Flights from New York, with the planes, airports and weather that explain them.",
                )
                for demo in DEMO_USERS:
                    set_role(member=people[demo.username], target=project, role=Role(demo.role), actor=None)
        return {
            demo.source.name: self._dataset(demo, project, tables[demo.source.name]) for demo in DEMO_DATASETS
        }

    def _dataset(self, demo: DemoDataset, project: Project, table: pa.Table) -> Dataset:
        name = demo.source.name
        dataset = Dataset.objects.filter(project=project, slug=name).first()
        if dataset is not None:
            return dataset
        folder = Path(settings.DELTA_DATA_ROOT) / "tables" / name
        try:
            merging.inspect_table(str(folder))
        except merging.TableNotFound:
            merging.create_table(str(folder), table, name=name)
        return register_dataset(
            project=project,
            slug=name,
            name=name,
            table_uri=str(folder),
            primary_keys=demo.source.primary_keys,
            description=demo.description,
            **demo.settings,
        )

    def _expect(self, dataset: Dataset, suite: dict[str, Any], owner: User) -> None:
        if not dataset.suite_number:
            expectations.save_suite(
                dataset_id=dataset.pk,
                actor=owner,
                document=suite,
                edited_number=0,
                note="What must be true of every flight, plane, airport and hour.",
            )
            dataset.refresh_from_db()

    def _proposed(
        self, demo: DemoRequest, dataset: Dataset, people: dict[str, User], data: duckdb.DuckDBPyConnection
    ) -> ChangeRequest:
        author = people[demo.author]
        change_request = ChangeRequest.objects.filter(dataset=dataset, title=demo.title).first()
        if change_request is None:
            change_request = proposals.create_change_request(
                dataset=dataset, author=author, title=demo.title, description=demo.description
            )
        if not change_request.revisions.exists():
            with merging.scratch_folder("demo") as folder:
                path = folder / demo.file_name
                write_rows(data.sql(demo.rows).to_arrow_table(), path)
                staging.stage_at_once(
                    change_request_id=change_request.pk, actor=author, path=path, file_name=demo.file_name
                )
        if demo.submitted and change_request.status == Status.DRAFT:
            proposals.submit(change_request_id=change_request.pk, actor=author)
        return change_request

    def _discuss(self, demo: DemoRequest, change_request: ChangeRequest, people: dict[str, User]) -> None:
        pk = change_request.pk
        if not change_request.comments.exists():
            for remark in demo.remarks:
                comment = reviews.comment(
                    change_request_id=pk,
                    actor=people[remark.author],
                    body=remark.body,
                    row_key=remark.row_key,
                    column=remark.column,
                )
                for author, body in remark.answers:
                    reviews.comment(
                        change_request_id=pk, actor=people[author], body=body, parent_id=comment.pk
                    )
        if not change_request.reviews.exists():
            for given in demo.verdicts:
                reviews.review(
                    change_request_id=pk,
                    actor=people[given.reviewer],
                    verdict=given.verdict,
                    body=given.body,
                )

    def _decide(self, demo: DemoRequest, change_request: ChangeRequest, people: dict[str, User]) -> None:
        change_request.refresh_from_db()
        if change_request.status != Status.PENDING:
            return
        if demo.rejected_by:
            proposals.close(
                change_request_id=change_request.pk,
                actor=people[demo.rejected_by],
                reason=demo.rejected_because,
            )
        if demo.merged_by:
            run = runs.request_merge(change_request_id=change_request.pk, actor=people[demo.merged_by])
            execution.merge_next(dataset_id=change_request.dataset_id, worker="seed_demo")
            run = runs.wait_for_run(run.pk, 60)  # a worker that heard the bell may have been faster
            if run.status != RunStatus.SUCCEEDED:
                raise CommandError(
                    f"{change_request.cr_id} was not merged: {run.error_message or run.status}"
                )


def write_rows(rows: pa.Table, path: Path) -> None:
    """Write rows as CSV or Parquet, by the name of the file."""
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(rows, path)
    else:
        pyarrow.parquet.write_table(rows, path)
