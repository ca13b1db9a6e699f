"""Things that tests need, made through the same services that people use, on real Delta tables.

Tables, staged content and audit files lie under ``settings.DELTA_DATA_ROOT``, which is a folder of the test's own.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import factory
import pyarrow as pa
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.db.models import Model

import merging
from changerequests.models import ChangeRequest, MergeRun, Review
from changerequests.services import execution, plans, proposals, reviews, runs, staging
from changerequests.services import expectations as expectations_of_requests
from changerequests.states import ACTIVE_RUN_STATUSES, Status
from datasets.models import Dataset, Project, SuiteVersion
from datasets.roles import Role, set_role
from datasets.services import register_dataset
from tests.table_copies import create_as_copy

#: The rows of ``DatasetFactory``'s table unless a test gives others.
PLANES = pa.table(
    {
        "tailnum": pa.array(["N1", "N2", "N3", "N4"]),
        "year": pa.array([1999, 2004, None, 2011], pa.int64()),
        "manufacturer": pa.array(["BOEING", "AIRBUS", "EMBRAER", None]),
        "seats": pa.array([149, 182, 55, 377], pa.int64()),
    }
)

#: What ``ChangeRequestFactory`` proposes unless a test gives something else: one cell updated, one row inserted.
ONE_UPDATE_ONE_INSERT = "tailnum,year,manufacturer,seats\nN3,2002,EMBRAER,55\nN5,2013,AIRBUS,200\n"


Made = TypeVar("Made", bound=Model)


class ModelFactory(factory.django.DjangoModelFactory[Made]):
    """A factory whose call gives a model instance, and is known to by the type checker."""

    if TYPE_CHECKING:

        def __new__(cls, *arguments: Any, **fields: Any) -> Made: ...  # type: ignore[misc]  # its metaclass does so


class UserFactory(ModelFactory[User]):
    """A person without any role; the password is ``password``."""

    class Meta:
        model = User

    username = factory.Sequence(lambda number: f"person-{number}")
    email = factory.LazyAttribute(lambda user: f"{user.username}@example.org")

    @classmethod
    def _create(cls, model_class: type[User], *_: Any, **fields: Any) -> User:
        return model_class.objects.create_user(**{"password": "password", **fields})


class GroupFactory(ModelFactory[Group]):
    """A group without members and without any role."""

    class Meta:
        model = Group

    name = factory.Sequence(lambda number: f"group-{number}")


class ProjectFactory(ModelFactory[Project]):
    """A project that nobody has a role on."""

    class Meta:
        model = Project

    slug = factory.Sequence(lambda number: f"project-{number}")
    name = factory.LazyAttribute(lambda project: project.slug.capitalize())


class DatasetFactory(ModelFactory[Dataset]):
    """A registered dataset on a table made for it; ``data`` are the table's rows (pyarrow), ``PLANES`` by default.

    Takes every setting of a dataset, and ``table_options`` for ``merging.create_table``.
    """

    class Meta:
        model = Dataset

    project = factory.SubFactory(ProjectFactory)
    slug = factory.Sequence(lambda number: f"planes-{number}")
    name = factory.LazyAttribute(lambda dataset: dataset.slug)
    primary_keys = ("tailnum",)
    required_approvals = 0
    data = PLANES
    table_options: dict[str, Any] = {}

    @classmethod
    def _create(cls, model_class: type[Dataset], *_: Any, **fields: Any) -> Dataset:
        data, options = fields.pop("data"), fields.pop("table_options")
        table_uri = table_folder(f"{fields['project'].slug}-{fields['slug']}")
        create_as_copy(table_uri, data, options)
        return register_dataset(table_uri=str(table_uri), **fields)


class ChangeRequestFactory(ModelFactory[ChangeRequest]):
    """A change request with really staged content.

    ``csv`` is the uploaded text (None: nothing is uploaded), ``status`` draft or pending. An author without the right
    to propose becomes a contributor. Pending requests are checked against the table, as the worker would do.
    """

    class Meta:
        model = ChangeRequest

    dataset = factory.SubFactory(DatasetFactory)
    author = factory.SubFactory(UserFactory)
    title = factory.Sequence(lambda number: f"Change {number}")
    csv: str | None = ONE_UPDATE_ONE_INSERT
    status = Status.PENDING

    @classmethod
    def _create(cls, model_class: type[ChangeRequest], *_: Any, **fields: Any) -> ChangeRequest:
        csv, status = fields.pop("csv"), fields.pop("status")
        if status not in (Status.DRAFT, Status.PENDING):
            raise ValueError(
                "Requests are made as draft or pending; merge or close them through the services."
            )
        dataset, author = fields["dataset"], fields["author"]
        if not author.has_perm("datasets.contribute_dataset", dataset):
            give_role(author, dataset, Role.CONTRIBUTOR)
        author = fields["author"] = fresh(author)
        change_request = proposals.create_change_request(**fields)
        if csv is not None:
            stage_csv(change_request, csv, actor=author)
        if status == Status.PENDING:
            proposals.submit(change_request_id=change_request.pk, actor=author)
            plans.check(change_request_id=change_request.pk)
        return model_class.objects.select_related("dataset__project", "dataset__meta").get(
            pk=change_request.pk
        )


def table_folder(name: str) -> Path:
    """Where a table of this name lives."""
    return Path(settings.DELTA_DATA_ROOT) / "tables" / name


def stage_csv(change_request: ChangeRequest, csv: str, *, actor: User | None = None) -> None:
    """Upload CSV text as the request's content; ``NULL`` stands for NULL."""
    path = Path(settings.DELTA_DATA_ROOT) / "uploads" / f"{change_request.cr_id}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(csv)
    staging.stage_at_once(
        change_request_id=change_request.pk,
        actor=actor or change_request.author,
        path=path,
        file_name=path.name,
        null_token="NULL",
    )


def fresh(user: User) -> User:
    """The same person without cached permissions."""
    return User.objects.get(pk=user.pk)


def give_role(member: User | Group, target: Dataset | Project, role: Role | None) -> None:
    """Give a role as the system does."""
    set_role(member=member, target=target, role=role, actor=None)


def person_with(role: Role | None, target: Dataset | Project, **fields: Any) -> User:
    """A new person with a role on a dataset or project."""
    user = UserFactory.create(**fields)
    if role is not None:
        give_role(user, target, role)
    return fresh(user)


def approve(change_request: ChangeRequest, reviewer: User) -> Review:
    """An approval of what the request holds now."""
    return reviews.review(change_request_id=change_request.pk, actor=reviewer, verdict=Review.Verdict.APPROVE)


def expect_of(dataset: Dataset, *expectations: dict[str, Any]) -> SuiteVersion:
    """Make these the dataset's expectations, saved by an owner."""
    dataset.refresh_from_db()
    owner = User.objects.filter(username=f"owner-of-{dataset.pk}").first() or person_with(
        Role.OWNER, dataset, username=f"owner-of-{dataset.pk}"
    )
    version = expectations_of_requests.save_suite(
        dataset_id=dataset.pk,
        actor=owner,
        document={"name": dataset.slug, "expectations": list(expectations)},
        edited_number=dataset.suite_number,
    )
    dataset.refresh_from_db()
    return version


def expectation(kind: str, severity: str = "critical", **kwargs: Any) -> dict[str, Any]:
    """One expectation in JSON; ``kind`` without its ``expect_``."""
    return {"type": f"expect_{kind}", "severity": severity, "kwargs": kwargs}


def drain(worker: str = "test") -> list[MergeRun]:
    """Work on every waiting or interrupted run as a worker would, until nothing is left; returns the runs in order."""
    worked: list[MergeRun] = []
    while True:
        waiting = MergeRun.objects.filter(status__in=ACTIVE_RUN_STATUSES)
        done = [
            run
            for dataset_id in sorted(set(waiting.values_list("dataset_id", flat=True)))
            if (run := execution.merge_next(dataset_id=dataset_id, worker=worker)) is not None
        ]
        worked += done
        if not done:
            return worked


def merge(change_request: ChangeRequest, actor: User, **options: Any) -> MergeRun:
    """Ask for a merge and work until the queue is empty; the run as it ended."""
    run = runs.request_merge(change_request_id=change_request.pk, actor=actor, **options)
    drain()
    run.refresh_from_db()
    return run


def rows_of(dataset: Dataset, version: int | None = None) -> list[dict[str, Any]]:
    """Every row of the dataset's table, in key order."""
    page = merging.preview(
        dataset.table_uri, version=version, primary_keys=tuple(dataset.primary_keys), limit=1000
    )
    return [dict(row) for row in page.rows]
