"""What years leave in the database of a large installation, written at once.

Rows are inserted in bulk, past the services: only so are half a million events there in a minute. The chains of the
audit trail are valid nevertheless (``manage.py verify_audit`` finds nothing), so are the tables that datasets name;
staged contents and audit files there are only of the requests that ``merge_two`` makes through the services.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import cycle, islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from django.conf import settings
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.db.models import Model
from django.utils import timezone
from guardian.models import GroupObjectPermission, UserObjectPermission

import merging
from audit import anchors
from audit.files import write_audit_files
from audit.models import Chain, Event
from audit.services import INSTALLATION_STREAM, dataset_stream, keyed_event, sealed_head
from changerequests.models import (
    ChangeRequest,
    Comment,
    ConflictResolution,
    MergeFigures,
    MergeRun,
    PlanCheck,
    Review,
    Revision,
    RunPhaseTime,
)
from changerequests.services import figures, runs
from changerequests.services.storage import audit_folder_name
from changerequests.states import RunPhase, RunStatus, Status
from datasets.models import Dataset, DatasetLease, DatasetMeta, Project
from datasets.roles import Role, permissions_of
from datasets.services.meta import facts_of
from tests import factories

TABLE_ROWS = 1_000
DATASETS_OF_A_PROJECT = 10
#: Of twenty requests, how many stand where.
STATUSES = [Status.MERGED] * 12 + [Status.CLOSED] * 4 + [Status.PENDING] * 3 + [Status.DRAFT]
#: What a request's events are called, again and again.
ACTIONS = (
    "change_request.created",
    "change_request.submitted",
    "review.commented",
    "comment.added",
    "thread.resolved",
    "merge.started",
)
LONG_EVENTS, LONG_COMMENTS = 500, 250
ANCHOR_FILES = 24

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True)
class Sizes:
    """How much of everything there is."""

    requests: int = 10_000
    people: int = 2_000
    events: int = 500_000
    datasets: int = 200


@dataclass
class Crowd:
    """What was made, as far as somebody asks for it by name."""

    owner: User
    operator: User
    busy: Dataset
    quiet: Dataset
    pending: ChangeRequest
    long: ChangeRequest


def fill(sizes: Sizes) -> Crowd:
    """Fill an empty database, and ``DELTA_DATA_ROOT`` with the tables of its datasets.

    One dataset is busy: half of all requests are for it, and everybody has a role on it.
    """
    now = timezone.now()
    people = _people(sizes.people)
    datasets = _datasets(sizes.datasets)
    _roles(people, datasets)
    requests = _requests(sizes.requests, datasets, people, now)
    _contents(requests, people, now)
    long = _conversations(requests, people, now)
    _events(sizes.events, datasets, requests, long, people, now)
    return Crowd(
        owner=User.objects.get(username="olivia"),
        operator=User.objects.get(username="root"),
        busy=Dataset.objects.select_related("project", "meta").get(pk=datasets[0].pk),
        quiet=Dataset.objects.select_related("project", "meta").get(pk=datasets[-1].pk),
        pending=next(one for one in requests if one.status == Status.PENDING and one != long),
        long=long,
    )


def merge_two(crowd: Crowd) -> None:
    """Merge two small requests into the busy table by the services.

    Three of its older merges then have the audit files of the one (it changes row 7), all others those of the other
    (row 8), as if each had merged that.
    """
    touched, other = (
        factories.ChangeRequestFactory.create(
            dataset=crowd.busy, author=crowd.owner, csv=f"id,value\n{key},1.5\n", title=f"Row {key}"
        )
        for key in (7, 8)
    )
    for change_request in (touched, other):
        factories.merge(change_request, crowd.owner)
    older = ChangeRequest.objects.filter(dataset=crowd.busy, status=Status.MERGED, pk__lt=touched.pk)
    for place, change_request in enumerate(older.order_by("pk")):
        source = touched if place < 3 else other
        folder = Path(settings.DELTA_DATA_ROOT) / "audit"
        there = folder / audit_folder_name(source)
        (folder / audit_folder_name(change_request)).symlink_to(there, target_is_directory=True)


def wait_beside(dataset: Dataset, author: User, number: int) -> None:
    """Requests of one row each that are pending, in none of the rows that ``queue_merges`` changes."""
    for step in range(number):
        factories.ChangeRequestFactory.create(
            dataset=dataset, author=author, csv=f"id,value\n{500 + step},2.5\n"
        )


def queue_merges(dataset: Dataset, author: User, number: int) -> None:
    """Merges of one row each that wait for a worker."""
    for step in range(number):
        made = factories.ChangeRequestFactory.create(
            dataset=dataset, author=author, csv=f"id,value\n{100 + step},{timezone.now().timestamp()}\n"
        )
        runs.request_merge(change_request_id=made.pk, actor=author)


def _insert(rows: Iterable[Row], model: type[Row]) -> list[Row]:
    found = list(rows)
    return list(model._default_manager.bulk_create(found, batch_size=5_000))


def _people(number: int) -> list[User]:
    User.objects.create_superuser("root", password=None)
    User.objects.create_user("olivia", first_name="Olivia", last_name="Owner")
    return _insert(
        (User(username=f"person-{n}", first_name=f"Given{n}", last_name=f"Family{n}") for n in range(number)),
        User,
    )


def _datasets(number: int) -> list[Dataset]:
    """Each with a table of its own, a copy of the first."""
    tables = Path(settings.DELTA_DATA_ROOT) / "tables"
    data = {"id": range(TABLE_ROWS), "value": [0.0] * TABLE_ROWS, "note": ["-"] * TABLE_ROWS}
    merging.create_table(str(tables / "0"), pa.table(data))
    for n in range(1, number):
        shutil.copytree(tables / "0", tables / str(n))
    projects = _insert(
        (
            Project(slug=f"project-{n}", name=f"Project {n}")
            for n in range(-(-number // DATASETS_OF_A_PROJECT))
        ),
        Project,
    )
    datasets = _insert(
        (
            Dataset(
                project=projects[n // DATASETS_OF_A_PROJECT],
                slug=f"table-{n}",
                name=f"Table {n}",
                table_uri=str((tables / str(n)).resolve()),
                primary_keys=["id"],
                required_approvals=0,
            )
            for n in range(number)
        ),
        Dataset,
    )
    facts = facts_of(merging.inspect_table(str(tables / "0")))
    _insert((DatasetLease(dataset=dataset) for dataset in datasets), DatasetLease)
    _insert(
        (DatasetMeta(dataset=dataset, is_copy=dataset != datasets[0], **facts) for dataset in datasets),
        DatasetMeta,
    )
    return datasets


def _roles(people: Sequence[User], datasets: Sequence[Dataset]) -> None:
    """Everybody has a role on the first dataset and, by two groups, on others; one person owns all projects."""
    known = {one.codename: one for one in Permission.objects.filter(content_type__app_label="datasets")}

    def given(role: Role, target: Dataset | Project) -> Iterator[dict[str, Any]]:
        for name in permissions_of(role, target):
            permission = known[name]
            yield {
                "permission": permission,
                "content_type_id": permission.content_type_id,
                "object_pk": str(target.pk),
            }

    owner = User.objects.get(username="olivia")
    of_people = [
        UserObjectPermission(user=owner, **one)
        for project in Project.objects.all()
        for one in given(Role.OWNER, project)
    ]
    for n, person in enumerate(people):
        role = Role.CONTRIBUTOR if n % 3 else Role.VIEWER
        of_people += [UserObjectPermission(user=person, **one) for one in given(role, datasets[0])]
    _insert(of_people, UserObjectPermission)
    groups = _insert((Group(name=f"Team {n}") for n in range(len(people) // 40 + 1)), Group)
    memberships = User.groups.through
    _insert(
        (
            memberships(user_id=person.pk, group_id=groups[(n + step) % len(groups)].pk)
            for n, person in enumerate(people)
            for step in range(min(2, len(groups)))
        ),
        memberships,
    )
    _insert(
        (
            GroupObjectPermission(group=group, **one)
            for n, group in enumerate(groups)
            for dataset in {datasets[(n * 4 + step) % len(datasets)] for step in range(8)}
            for one in given(Role.CONTRIBUTOR, dataset)
        ),
        GroupObjectPermission,
    )


def _requests(
    number: int, datasets: Sequence[Dataset], people: Sequence[User], now: datetime
) -> list[ChangeRequest]:
    versions: dict[int, int] = {}

    def request(n: int) -> ChangeRequest:
        dataset = datasets[0 if n % 2 == 0 else n % len(datasets)]
        made = ChangeRequest(
            dataset=dataset,
            title=f"Change {n}",
            description="What it is for.",
            author=people[n * 7 % len(people)],
            status=STATUSES[n // 2 % len(STATUSES)],
        )
        if made.status == Status.MERGED:
            versions[dataset.pk] = versions.get(dataset.pk, 0) + 1
            made.merged_version, made.merged_by = versions[dataset.pk], made.author
            made.merged_at = made.staging_removed_at = now - timedelta(minutes=number - n)
            made.merge_record = {}
        return made

    return _insert((request(n) for n in range(number)), ChangeRequest)


def _contents(requests: Sequence[ChangeRequest], people: Sequence[User], now: datetime) -> None:
    """A revision, a plan, two runs, reviews and choices of each request, as far as its status has them."""
    numbers = {"rows": 10, "rows_inserted": 2, "rows_updated": 7, "rows_deleted": 1, "noop_rows": 0}
    revisions = _insert(
        (
            Revision(
                change_request=one,
                number=1,
                location=f"gone/{one.pk}",
                digest=f"digest-{one.pk}",
                base_version=0,
                table_id="table",
                columns=["value"],
                created_by_id=one.author_id,
                **numbers,
            )
            for one in requests
        ),
        Revision,
    )
    submitted = [revision for revision in revisions if revision.change_request.status != Status.DRAFT]
    _insert(
        (
            PlanCheck(
                change_request=revision.change_request,
                revision=revision,
                resolutions_digest="",
                table_version=0,
                rows_added=2,
                rows_updated=7,
                rows_deleted=1,
                row_count_before=TABLE_ROWS,
                row_count_after=TABLE_ROWS + 1,
                cells_updated={"value": 7},
                checked_at=now,
            )
            for revision in submitted
        ),
        PlanCheck,
    )
    _insert(
        (
            Review(
                change_request=revision.change_request,
                revision=revision,
                reviewer=people[(revision.pk + step) % len(people)],
                verdict=(Review.Verdict.APPROVE, Review.Verdict.COMMENT)[step],
                revision_digest=revision.digest,
                resolutions_digest="",
            )
            for revision in submitted
            for step in range(2)
        ),
        Review,
    )
    _insert(
        (
            ConflictResolution(
                change_request=revision.change_request,
                key={"id": step},
                key_digest=f"{step:064}",
                column="value",
                choice=ConflictResolution.Choice.PROPOSED,
                inputs_digest="inputs",
                chosen_by_id=revision.created_by_id,
            )
            for revision in submitted
            if revision.change_request.status == Status.MERGED
            for step in range(2)
        ),
        ConflictResolution,
    )
    runs = _insert((_run(revision, step, now) for revision in submitted for step in range(2)), MergeRun)
    times = _insert(
        (
            RunPhaseTime(run=run, phase=phase, seconds=run.pk % 100 / 50)
            for run in runs
            if run.status == RunStatus.SUCCEEDED
            for phase in (RunPhase.CHECKING, RunPhase.WRITING, RunPhase.COMMITTING)
        ),
        RunPhaseTime,
    )
    totals = {run.dataset_id: MergeFigures(dataset_id=run.dataset_id) for run in runs}
    for run in runs:
        figures.add_run(totals[run.dataset_id], run.status, run.rows_affected, run.bytes_written)
    for time in times:
        figures.add_phase(totals[time.run.dataset_id], time.phase, time.seconds)
    _insert(totals.values(), MergeFigures)


def _run(revision: Revision, step: int, now: datetime) -> MergeRun:
    change_request = revision.change_request
    succeeded = step == 1 and change_request.status == Status.MERGED
    return MergeRun(
        change_request=change_request,
        dataset_id=change_request.dataset_id,
        revision=revision,
        revision_digest=revision.digest,
        resolutions_digest="",
        status=RunStatus.SUCCEEDED if succeeded else RunStatus.CONFLICTED,
        phase=RunPhase.DONE if succeeded else RunPhase.CHECKING,
        requested_by_id=change_request.author_id,
        started_at=now,
        finished_at=now,
        merged_version=change_request.merged_version if succeeded else None,
        rows_affected=10 if succeeded else 0,
        bytes_written=5_000 if succeeded else 0,
    )


def _conversations(requests: Sequence[ChangeRequest], people: Sequence[User], now: datetime) -> ChangeRequest:
    """Five comments on each request, and on one that is pending very many; returns that one."""
    long = next(one for one in requests if one.status == Status.PENDING)

    def comment(change_request: ChangeRequest, step: int, parent: Comment | None = None) -> Comment:
        author = people[(change_request.pk + step) % len(people)]
        settled = parent is None and step % 2 == 0
        return Comment(
            change_request=change_request,
            parent=parent,
            author=author,
            body=f"A remark of some length, as people write them when they look at rows ({step}).",
            resolved_by=author if settled else None,
            resolved_at=now if settled else None,
        )

    threads = _insert(
        (
            comment(one, step)
            for one in requests
            for step in range(LONG_COMMENTS // 5 * 3 if one is long else 3)
        ),
        Comment,
    )
    _insert(
        (
            comment(thread.change_request, step, thread)
            for step, thread in enumerate(threads)
            if step % 3 and not (thread.change_request is long and step % 9 == 1)
        ),
        Comment,
    )
    return long


def _events(
    number: int,
    datasets: Sequence[Dataset],
    requests: Sequence[ChangeRequest],
    long: ChangeRequest,
    people: Sequence[User],
    now: datetime,
) -> None:
    """Chains as ``audit.services.record`` writes them, with the anchors that were taken on the way."""
    comments: dict[int, list[int]] = {}
    for pk, request_id in Comment.objects.order_by("pk").values_list("pk", "change_request_id"):
        comments.setdefault(request_id, []).append(pk)
    each = max(1, (number - LONG_EVENTS) // len(requests))
    told: dict[int, list[tuple[str, str, dict[str, Any]]]] = {dataset.pk: [] for dataset in datasets}
    for one in requests:
        said = iter(comments.get(one.pk, ()))
        for action in islice(cycle(ACTIONS), LONG_EVENTS if one is long else each):
            data: dict[str, Any] = {"revision": 1, "body": "As agreed.", "run": 1}
            if action == "comment.added" or (one is long and action == "thread.resolved"):
                comment = next(said, None)
                action, data = ("comment.added", {"comment": comment}) if comment else ("merge.started", {})
            told[one.dataset_id].append((action, one.cr_id, data))
    left = number - sum(map(len, told.values()))
    heads: list[dict[str, anchors.ChainHead]] = [{} for _ in range(ANCHOR_FILES)]
    chains: list[Chain] = []
    for dataset_id, content in told.items():
        chain = Chain(stream=dataset_stream(dataset_id))
        chain = _insert_chain(chain, "change_request", content, people, now, heads)
        chains.append(chain)
    signed_in: list[tuple[str, str, dict[str, Any]]] = [
        ("account.changed", person.username, {}) for person in islice(cycle(people), max(1, left))
    ]
    chain = Chain(stream=INSTALLATION_STREAM)
    chains.append(_insert_chain(chain, "user", signed_in, people, now, heads))
    _insert(chains, Chain)
    for place, moved in enumerate(heads):
        made_at = now - timedelta(hours=ANCHOR_FILES - place)
        content_of_file = anchors.document(moved, made_at=made_at.isoformat())
        name = f"{made_at:%Y%m%dT%H%M%S.%fZ}.json"
        write_audit_files(anchors.ANCHORS_FOLDER, documents={name: content_of_file}, copies={})


def _insert_chain(
    chain: Chain,
    subject_type: str,
    told: Sequence[tuple[str, str, dict[str, Any]]],
    people: Sequence[User],
    now: datetime,
    heads: Sequence[dict[str, anchors.ChainHead]],
) -> Chain:
    events = []
    for place, (action, subject_id, data) in enumerate(told):
        content: dict[str, Any] = {
            "stream": chain.stream,
            "sequence": chain.last_sequence + 1,
            "occurred_at": now - timedelta(seconds=len(told) - place),
            "actor": people[place % len(people)].username,
            "action": action,
            "subject_type": subject_type,
            "subject_id": subject_id,
            "data": data,
            "request_id": "",
            "previous_hash": chain.last_hash,
            "rows": {},
        }
        event = keyed_event(**content)
        events.append(event)
        chain.last_sequence, chain.last_hash = event.sequence, event.hash
        if (place + 1) % max(1, len(told) // ANCHOR_FILES) == 0:
            anchor = min((place + 1) * ANCHOR_FILES // len(told), ANCHOR_FILES) - 1
            heads[anchor][chain.stream] = anchors.ChainHead(event.sequence, event.hash)
    chain.seal = sealed_head(chain.stream, chain.last_sequence, chain.last_hash)
    _insert(events, Event)
    return chain


def count_rows() -> None:
    """Let the database count what it holds for its plans, as it does by itself where it runs for long."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
