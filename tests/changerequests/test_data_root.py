"""The data root in an object store: web and worker share the database and the store, and no folder."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as installation
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import Client, override_settings
from django.urls import reverse
from pytest_django import Settings

import merging
from audit.services import anchor_chains, verify
from changerequests.errors import ContentMissing
from changerequests.models import ChangeRequest, Revision
from changerequests.services import (
    conflicts,
    execution,
    plans,
    previews,
    proposals,
    rebasing,
    retention,
    reverts,
    reviews,
    runs,
    splitting,
    staging,
    storage,
    uploads,
)
from changerequests.services.blame import row_history
from changerequests.services.erasing import erase_person
from changerequests.services.restoring import after_restore
from changerequests.states import RunStatus, UploadStatus
from config.env import Environment, data_root, data_root_options
from datasets.data_root import data_root as opened_root
from datasets.models import Dataset
from datasets.roles import Role
from datasets.services.creation import NewTable, create_dataset
from tests import kept
from tests.factories import ChangeRequestFactory, DatasetFactory, ProjectFactory, UserFactory, person_with
from tests.merging.stores import s3_server

ROWS = b"tailnum,seats\nN1,149\nN2,182\nN3,55\n"


@pytest.fixture(scope="module")
def s3() -> Iterator[Mapping[str, str]]:
    with s3_server() as options:
        yield options


class Machines:
    """Two machines in one process: each with a cache of its own, in turn."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self.settings = folder, settings

    def on(self, name: str) -> None:
        self.settings.HEADGATE_CACHE = self.folder / name

    def staged_by_worker(self, upload_id: int) -> None:
        self.on("worker")
        staging.stage_upload(upload_id=upload_id, worker="worker")
        self.on("web")

    def merged_by_worker(self, dataset: Dataset) -> None:
        self.on("worker")
        while execution.merge_next(dataset_id=dataset.pk, worker="worker") is not None:
            pass
        self.on("web")


@pytest.fixture
def machines(
    s3: Mapping[str, str], tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Machines:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    settings.DELTA_DATA_ROOT = f"s3://tables/root-{uuid.uuid4().hex}"
    settings.DELTA_DATA_ROOT_OPTIONS = {"AWS_ALLOW_HTTP": "true"}
    made = Machines(tmp_path / "machines", settings)
    made.on("web")
    return made


def received(change_request: ChangeRequest, actor: User, folder: Path, content: bytes) -> int:
    path = folder / f"{uuid.uuid4().hex}.csv"
    path.write_bytes(content)
    upload = uploads.receive(
        change_request_id=change_request.pk, actor=actor, content=uploads.ReceivedFile(path, "rows.csv")
    )
    path.unlink()
    return upload.pk


@pytest.mark.django_db(transaction=True)
def test_the_whole_path_of_a_request_on_machines_that_share_no_folder(
    machines: Machines, tmp_path: Path, deaf_staging: None, deaf_worker: None, client: Client
) -> None:
    operator = UserFactory.create(is_superuser=True, is_staff=True)
    dataset = create_dataset(
        project=ProjectFactory.create(),
        slug="planes",
        name="planes",
        table=NewTable([merging.Column("tailnum", "string"), merging.Column("seats", "long")]),
        primary_keys=["tailnum"],
        actor=operator,
        required_approvals=0,
        staging_cleanup="archive",
    )
    assert dataset.table_uri == f"{installation.DELTA_DATA_ROOT}/tables/{dataset.project.slug}/planes"
    owner, author = (person_with(role, dataset) for role in (Role.OWNER, Role.CONTRIBUTOR))

    # Looked at, proposed as it was looked at, read by a worker elsewhere.
    path = tmp_path / "rows.csv"
    path.write_bytes(ROWS)
    preview = previews.look(dataset=dataset, actor=author, content=uploads.ReceivedFile(path, "rows.csv"))
    path.unlink()
    machines.on("worker")
    previews.look_at(preview_id=preview.pk, worker="worker")
    machines.on("web")
    preview.refresh_from_db()
    assert (preview.error_message, previews.found_by(preview)["rows_inserted"]) == ("", 3)
    upload = uploads.receive_draft(dataset=dataset, author=author, title="First", content=preview)
    machines.staged_by_worker(upload.pk)
    upload.refresh_from_db()
    assert (upload.status, upload.error_message) == (UploadStatus.STAGED, "")
    first = ChangeRequest.objects.get(uploads=upload)
    revision = first.revisions.get()
    assert revision.location.startswith(f"_staging/change_requests/{first.cr_id}/")
    assert len(plans.changes_page(change_request=first).items) == 3
    assert opened_root().folders(storage.UPLOADS) == []
    proposals.submit(change_request_id=first.pk, actor=author)
    reviews.review(change_request_id=first.pk, actor=owner, verdict="approve")
    run = runs.request_merge(change_request_id=first.pk, actor=owner)
    machines.merged_by_worker(dataset)
    run.refresh_from_db()
    assert (run.status, run.error_message) == (RunStatus.SUCCEEDED, "")
    first.refresh_from_db()
    assert len(plans.changes_page(change_request=first).items) == 3

    # Two requests for one cell: the later is in conflict, somebody chooses, a part is left out, then it merges.
    second, third = (
        ChangeRequest.objects.get(
            pk=proposals.create_change_request(dataset=dataset, author=author, title=title).pk
        )
        for title in ("Second", "Third")
    )
    machines.staged_by_worker(received(second, author, tmp_path, b"tailnum,seats\nN1,150\n"))
    machines.staged_by_worker(received(third, author, tmp_path, b"tailnum,seats\nN1,151\nN2,1\nN9,9\n"))
    for one in (second, third):
        proposals.submit(change_request_id=one.pk, actor=author)
    runs.request_merge(change_request_id=second.pk, actor=owner)
    machines.merged_by_worker(dataset)
    leaving = splitting.left_out(third, rows=[{"tailnum": "N2"}])
    parted = splitting.leave_out(change_request_id=third.pk, actor=owner, leaving=leaving, reason="Later.")
    assert [row.key for row in plans.changes_page(change_request=parted.follow_up).items] == [
        {"tailnum": "N2"}
    ]
    third.refresh_from_db()
    with plans.conflicts_of(third) as found:
        [conflict] = found.page(merging.ConflictFilter(), limit=10).items
    name = conflicts.keep_file(change_request_id=third.pk, actor=author, content=b"a file of choices")
    machines.on("worker")
    assert conflicts.kept_file(change_request_id=third.pk, actor=author, name=name) == b"a file of choices"
    machines.on("web")
    choice = conflicts.Choosing({"tailnum": "N1"}, "seats", "proposed", conflict.inputs_digest)
    assert conflicts.resolve(change_request_id=third.pk, actor=author, choices=[choice]) == 0
    machines.on("worker")
    rebased = rebasing.rebase(change_request_id=parted.follow_up.pk, actor=author)
    machines.on("web")
    assert len(plans.changes_page(change_request=rebased.change_request).items) == 1
    run = runs.request_merge(change_request_id=third.pk, actor=owner)
    machines.merged_by_worker(dataset)
    run.refresh_from_db()
    assert (run.status, run.error_message) == (RunStatus.SUCCEEDED, "")

    # The evidence is read where it was not written; a revert is made of it; the content was archived.
    third.refresh_from_db()
    client.force_login(owner)
    for file in ("merge_result.json", "images.parquet"):
        answer: Any = client.get(reverse("api:audit-file", args=[third.cr_id, file]))
        content = b"".join(answer.streaming_content)
        assert content == opened_root().read(f"audit/change_requests/{third.cr_id}/{file}")
    history = row_history(dataset=dataset, key={"tailnum": "N1"})
    assert [change.cr_id for change in history.changes] == [first.cr_id, second.cr_id, third.cr_id]
    machines.on("third")
    back = reverts.revert_merge(change_request_id=third.pk, actor=owner)
    machines.on("web")
    assert len(plans.changes_page(change_request=back).items) == 2
    keep = opened_root()
    assert keep.folders(storage.ARCHIVED) == sorted(one.cr_id for one in (first, second, third))
    assert keep.folders(f"audit/change_requests/{third.cr_id}") == []
    anchor_chains()
    assert list(verify()) == []
    dry = retention.apply_retention(actor=None, policy=retention.Policy(1, 1, 1, 1, 1, 1), dry_run=True)
    assert dry.removals == ()
    erased = erase_person(username=author.get_username(), reason="Asked for.")
    assert erased.files
    assert list(verify()) == []
    documents = [keep.read(one.path) for one in keep.walk("audit") if one.path.endswith(".json")]
    assert not any(author.get_username().encode() in document for document in documents)
    assert after_restore(dry_run=True).findings == ()
    kept_here = {path.name for path in (tmp_path / "machines").iterdir()}
    assert kept_here == {"web", "worker", "third"}


@pytest.mark.django_db(transaction=True)
def test_a_merge_that_one_machine_committed_is_recorded_by_another(
    machines: Machines, s3: Mapping[str, str], deaf_worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with override_settings(DELTA_DATA_ROOT=machines.folder / "tables"):
        dataset = DatasetFactory.create()
    owner = person_with(Role.OWNER, dataset)
    draft = ChangeRequestFactory.create(dataset=dataset, csv=None, status="draft")
    received(draft, draft.author, machines.folder.parent, b"tailnum,seats\nN1,7\n")
    proposals.submit(change_request_id=draft.pk, actor=draft.author)
    run = runs.request_merge(change_request_id=draft.pk, actor=owner)

    def die(*_: object, **__: object) -> None:
        raise SystemExit("killed between the commit and its record")

    with monkeypatch.context() as patch:
        patch.setattr(execution.running, "record_merge", die)
        machines.on("first")
        with pytest.raises(SystemExit):
            execution.merge_next(dataset_id=dataset.pk, worker="first")
    shutil.rmtree(machines.folder / "first")
    machines.on("second")
    execution.merge_next(dataset_id=dataset.pk, worker="second")
    run.refresh_from_db()
    assert (run.status, run.error_message) == (RunStatus.SUCCEEDED, "")
    draft.refresh_from_db()
    assert {"images.parquet", "diff.parquet", "summary.json"} <= set(
        (draft.merge_record or {})["audit_files"]
    )
    assert list(verify()) == []


@pytest.mark.django_db(transaction=True)
def test_a_data_root_is_moved_to_a_store_and_back_and_nothing_is_lost(
    s3: Mapping[str, str],
    tmp_path: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    worker_at_once: None,
) -> None:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    settings.HEADGATE_CACHE = tmp_path / "cache"
    merged, pending = ChangeRequestFactory.create(), ChangeRequestFactory.create()
    owner = person_with(Role.OWNER, merged.dataset)
    runs.request_merge(change_request_id=merged.pk, actor=owner)
    anchor_chains()
    before = {
        str(path.relative_to(kept.root())): path.read_bytes()
        for area in ("_staging", "audit")
        for path in (kept.root() / area).rglob("*")
        if path.is_file() and "conflicts" not in path.parts
    }
    place = f"s3://tables/moved-{uuid.uuid4().hex}"
    told = StringIO()
    call_command("move_data_root", to=place, to_options="AWS_ALLOW_HTTP=true", stdout=told)
    assert f"Set next: DELTA_DATA_ROOT={place}" in told.getvalue()
    assert f"The table at {merged.dataset.table_uri} stays" in told.getvalue()
    call_command("move_data_root", to=place, to_options="AWS_ALLOW_HTTP=true", stdout=told)
    assert "; 0 of them were copied now." in told.getvalue()
    old_root = settings.DELTA_DATA_ROOT
    settings.DELTA_DATA_ROOT, settings.DELTA_DATA_ROOT_OPTIONS = place, {"AWS_ALLOW_HTTP": "true"}
    shutil.rmtree(old_root / "_staging")
    shutil.rmtree(old_root / "audit")
    keep = opened_root()
    assert {
        one.path: keep.read(one.path) for area in ("_staging", "audit") for one in keep.walk(area)
    } == before
    merged.refresh_from_db()
    assert list(verify()) == []
    assert len(plans.changes_page(change_request=merged).items) == 2
    assert len(plans.changes_page(change_request=pending).items) == 2
    call_command("move_data_root", to=str(tmp_path / "back"), stdout=told)
    settings.DELTA_DATA_ROOT = tmp_path / "back"
    assert list(verify()) == []
    assert len(plans.changes_page(change_request=pending).items) == 2

    [damaged] = (tmp_path / "back" / "audit" / "anchors").iterdir()
    damaged.write_text("{}")
    settings.DELTA_DATA_ROOT = place
    complaints = StringIO()
    with pytest.raises(CommandError, match="nothing was switched"):
        call_command("move_data_root", to=str(tmp_path / "back"), stdout=told, stderr=complaints)
    assert f"{damaged} has other content" in complaints.getvalue()
    assert damaged.read_text() == "{}"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "location", ["/data/delta/{0}", "file:///mnt/old root/{0}", "/srv/_staging/of/{0}", "{0}"]
)
def test_locations_of_before_are_found_wherever_the_data_root_lies(
    pending: ChangeRequest, location: str
) -> None:
    revision = pending.revisions.get()
    Revision.objects.filter(pk=revision.pk).update(location=location.format(revision.location))
    pending.refresh_from_db()
    assert len(plans.changes_page(change_request=pending).items) == 2
    with plans.plan_of(pending) as plan:
        assert plan.rows_updated == 1
    revision.refresh_from_db()
    with override_settings(DELTA_DATA_ROOT=kept.root() / "elsewhere"), pytest.raises(ContentMissing):
        plans.changes_page(change_request=pending)
    shutil.move(kept.root() / "_staging", kept.root() / "elsewhere" / "_staging")
    with override_settings(DELTA_DATA_ROOT=kept.root() / "elsewhere"):
        assert len(plans.changes_page(change_request=pending).items) == 2


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ("s3:/bucket", "neither a folder nor an address"),
        ("s3:bucket/prefix", "neither a folder nor an address"),
        ("", "neither a folder nor an address"),
        ("https://bucket.example.org/prefix", "begins with https://"),
        ("S3://bucket/prefix", "begins with S3://"),
        ("s3://", "as plainly as"),
        ("s3://bucket/a/../b", "as plainly as"),
        ("s3://bucket//b", "as plainly as"),
        ("s3://bucket/b?region=x", "as plainly as"),
        ("s3://KEY:geheim@bucket/prefix", "holds a secret"),
    ],
)
def test_fo1_a_data_root_that_cannot_be_understood_is_refused_at_the_start(
    place: str, complaint: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=complaint) as refused:
        data_root(Environment(delta_data_root=place))
    assert "DELTA_DATA_ROOT" in str(refused.value)
    assert "geheim" not in str(refused.value)


def test_fo1_a_data_root_is_a_folder_or_a_place_in_a_store() -> None:
    read = [
        data_root(Environment(delta_data_root=place))
        for place in (
            "/data/delta",
            "file:///data/a%20b",
            "s3://bucket/prefix/",
            "abfs://files@account.dfs.core.windows.net/prefix",
        )
    ]
    assert read == [
        Path("/data/delta"),
        Path("/data/a b"),
        "s3://bucket/prefix",
        "abfss://files@account.dfs.core.windows.net/prefix",
    ]
    options = data_root_options(
        Environment(delta_data_root_options=["AWS_REGION=x", "AWS_ENDPOINT_URL=http://a=b"])
    )
    assert options == {"AWS_REGION": "x", "AWS_ENDPOINT_URL": "http://a=b"}
    for wrong in ("AWS_SECRET_ACCESS_KEY=geheim", "azure_storage_account_key=geheim", "AWS_REGION"):
        with pytest.raises(ImproperlyConfigured, match="DELTA_DATA_ROOT_OPTIONS") as refused:
            data_root_options(Environment(delta_data_root_options=[wrong]))
        assert "geheim" not in str(refused.value)


@pytest.mark.django_db
def test_fo7_readiness_is_that_of_this_machine_and_not_of_the_store(
    machines: Machines, client: Client, tmp_path: Path
) -> None:
    machines.settings.DELTA_DATA_ROOT = f"s3://no-such-bucket-{uuid.uuid4().hex}/root"
    assert client.get("/readyz").json()["storage"] == "ok"  # figures and alerts tell of a store that is away
    (tmp_path / "no-folder").touch()
    machines.settings.HEADGATE_CACHE = tmp_path / "no-folder"
    assert client.get("/readyz").json()["storage"] == "unavailable: FileExistsError"
