"""``manage.py backup`` and ``restore``: the drill, with everything lost but the tables, on both databases."""

import contextlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings

import merging
from changerequests.models import ChangeRequest
from changerequests.services import backups, runs
from changerequests.services.backups import BackupRefused, databases, files
from changerequests.states import RunStatus, Status
from datasets.models import Dataset
from datasets.roles import Role
from datasets.services import register_dataset
from tests.factories import (
    PLANES,
    ChangeRequestFactory,
    ProjectFactory,
    drain,
    merge,
    person_with,
    rows_of,
)
from tests.merging.stores import s3_server

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture
def lake(tmp_path: Path) -> Dataset:
    """A dataset whose table lies elsewhere than Headgate's own files."""
    uri = str(tmp_path / "lake" / "planes")
    merging.create_table(uri, PLANES)
    return register_dataset(
        project=ProjectFactory.create(),
        slug="planes",
        name="planes",
        table_uri=uri,
        primary_keys=["tailnum"],
        required_approvals=0,
    )


@contextlib.contextmanager
def elsewhere(tmp_path: Path, settings: Settings) -> Iterator[Path]:
    """An empty database and an empty data root in the settings' place; yields the root."""
    before, name = connection.settings_dict["NAME"], f"elsewhere_{uuid.uuid4().hex}"
    on_sqlite = connection.vendor == "sqlite"
    tmp_path.mkdir(exist_ok=True)
    if not on_sqlite:
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    connection.close()
    connection.settings_dict["NAME"] = str(tmp_path / "elsewhere.sqlite3") if on_sqlite else name
    root, settings.DELTA_DATA_ROOT = settings.DELTA_DATA_ROOT, tmp_path / "other-root"
    ContentType.objects.clear_cache()
    try:
        yield tmp_path / "other-root"
    finally:
        connection.close()
        connection.settings_dict["NAME"], settings.DELTA_DATA_ROOT = before, root
        ContentType.objects.clear_cache()
        if not on_sqlite:
            with connection.cursor() as cursor:
                cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def request(dataset: Dataset, author: User, key: str, seats: int) -> ChangeRequest:
    return ChangeRequestFactory.create(dataset=dataset, author=author, csv=f"tailnum,seats\n{key},{seats}\n")


def test_the_drill_with_everything_lost_but_the_tables(
    lake: Dataset, tmp_path: Path, settings: Settings
) -> None:
    owner = person_with(Role.OWNER, lake, username="olivia")
    before, after, waiting = (request(lake, owner, f"N{n}", 100 + n) for n in (1, 2, 3))
    merge(before, owner)
    out = StringIO()
    call_command("backup", str(tmp_path / "backup"), stdout=out)
    assert "Backed up into" in out.getvalue()
    run = merge(after, owner)
    lost = request(lake, owner, "N4", 104)
    rows = rows_of(lake)

    with elsewhere(tmp_path, settings):
        said = StringIO()
        call_command("restore", str(tmp_path / "backup"), stdout=said, stderr=said)
        assert f"done (adopted) {after.cr_id}" in said.getvalue()
        assert "The audit trail is whole" in said.getvalue()
        statuses = dict(ChangeRequest.objects.values_list("pk", "status"))
        assert statuses == {
            before.pk: Status.MERGED,
            after.pk: Status.MERGED,
            waiting.pk: Status.PENDING,
        }
        assert ChangeRequest.objects.get(pk=after.pk).merged_version == run.merged_version
        again = User.objects.get(username="olivia")
        for merged in (before, after):
            answered = runs.request_merge(change_request_id=merged.pk, actor=again)
            assert (answered.change_request_id, answered.status) == (merged.pk, RunStatus.SUCCEEDED)
        assert drain() == []
        assert rows_of(lake) == rows
        restored = ChangeRequest.objects.get(pk=waiting.pk)
        assert merge(restored, again).status == RunStatus.SUCCEEDED
        assert {row["tailnum"]: row["seats"] for row in rows_of(lake)} == {
            "N1": 101, "N2": 102, "N3": 103, "N4": 377,
        }  # fmt: skip
        call_command("verify_audit", stdout=said)
    assert not ChangeRequest.objects.filter(pk=lost.pk, status=Status.MERGED).exists()


#: What stands in the place of a manifest, and is none.
NO_MANIFESTS = [b"", b"[]", b"7", b"{}", b"\xff", b'{"format": 1, "key": 7, "signature": "x"}']
NO_MANIFESTS += [b"[" * 100_000, b'{"format": 1, "key": "first", "signature": "\\ud800"}', b'{"format": 1}']


@pytest.mark.parametrize("content", NO_MANIFESTS, ids=range(len(NO_MANIFESTS)))
def test_what_is_no_manifest_is_refused_in_words(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(CommandError, match="holds no whole backup"):
        call_command("restore", str(tmp_path))


@pytest.mark.parametrize(
    "damaged", ["manifest", "list", "no list", "dump", "file", "missing file", "key", "newer release"]
)
def test_a_backup_that_was_changed_is_refused_and_nothing_is_written(
    damaged: str, lake: Dataset, tmp_path: Path, settings: Settings
) -> None:
    owner = person_with(Role.OWNER, lake)
    merge(request(lake, owner, "N1", 101), owner)
    made = backups.make_backup(tmp_path / "backup")
    [audited] = (made.folder / "files").rglob("merge_result.json")
    match damaged:
        case "manifest":
            told = json.loads((made.folder / "manifest.json").read_text())
            (made.folder / "manifest.json").write_text(json.dumps({**told, "files": told["files"] + 1}))
        case "list":
            with (made.folder / "files.jsonl").open("a") as lines:
                lines.write("\n")
        case "no list":
            (made.folder / "files.jsonl").unlink()
        case "newer release":
            newer = {**made.manifest.migrations, "datasets": "9999_of_another_year"}
            replace(made.manifest, migrations=newer).write(made.folder)
        case "dump":
            with (made.folder / made.manifest.dump.path).open("ab") as dump:
                dump.write(b"x")
        case "file":
            audited.write_text("{}")
        case "missing file":
            audited.unlink()
        case "key":
            settings.AUDIT_KEYS = (("another", "x" * 40),)
    with elsewhere(tmp_path, settings) as root:
        with pytest.raises(BackupRefused):
            backups.put_back(made.folder)
        assert databases.is_empty()
        assert not root.exists()


def test_nothing_is_put_where_something_is(lake: Dataset, tmp_path: Path, settings: Settings) -> None:
    made = backups.make_backup(tmp_path / "backup", with_files=False)
    assert sorted(path.name for path in made.folder.iterdir()) == sorted(
        [made.manifest.dump.path, "manifest.json"]
    )
    with pytest.raises(CommandError, match="holds tables"):
        call_command("restore", str(made.folder), "--database-only")
    with pytest.raises(BackupRefused, match="is there already"):
        backups.make_backup(made.folder)
    with pytest.raises(BackupRefused, match="below DELTA_DATA_ROOT"):
        backups.make_backup(Path(settings.DELTA_DATA_ROOT) / "backup")
    with elsewhere(tmp_path, settings) as root:
        root.mkdir()
        (root / "something").touch()
        with pytest.raises(BackupRefused, match="the database alone"):
            backups.put_back(made.folder)
        backups.put_back(made.folder, with_files=False)
        assert Dataset.objects.get().slug == "planes"
    whole = backups.make_backup(tmp_path / "whole")
    with elsewhere(tmp_path / "more", settings) as root:
        root.mkdir(parents=True)
        (root / "something").touch()
        with pytest.raises(BackupRefused, match="is not empty"):
            backups.put_back(whole.folder)
        assert databases.is_empty()


def test_where_the_database_cannot_be_put_back_no_file_is_left(
    lake: Dataset, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = person_with(Role.OWNER, lake)
    request(lake, owner, "N1", 101)
    made = backups.make_backup(tmp_path / "backup")

    def fails(path: Path) -> None:
        raise BackupRefused(f"pg_restore failed: {path}")

    monkeypatch.setattr(databases, "load", fails)
    with elsewhere(tmp_path, settings) as root:
        with pytest.raises(BackupRefused, match="pg_restore failed"):
            backups.put_back(made.folder)
        assert list(root.iterdir()) == []


@pytest.mark.parametrize("ends", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_restore_that_ends_among_the_files_leaves_none_and_begins_anew(
    ends: BaseException, lake: Dataset, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = person_with(Role.OWNER, lake)
    request(lake, owner, "N1", 101)
    made = backups.make_backup(tmp_path / "backup")
    write, written = files._write, 0

    def ends_at_the_third(blocks: Iterator[bytes], target: Path) -> tuple[str, int]:
        nonlocal written
        written += 1
        if written == 3:
            raise ends
        return write(blocks, target)

    monkeypatch.setattr(files, "_write", ends_at_the_third)
    with elsewhere(tmp_path, settings) as root:
        with pytest.raises(KeyboardInterrupt if isinstance(ends, KeyboardInterrupt) else CommandError):
            call_command("restore", str(made.folder), stdout=StringIO())
        assert (written, list(root.iterdir()), databases.is_empty()) == (3, [], True)
        call_command("restore", str(made.folder), stdout=StringIO())
        assert Dataset.objects.get().slug == "planes"


def test_a_restore_takes_nothing_away_that_another_one_puts_there_at_the_same_moment(
    lake: Dataset, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    request(lake, person_with(Role.OWNER, lake), "N1", 101)
    made = backups.make_backup(tmp_path / "backup")
    copied = [one.path for one in made.manifest.copied(made.folder)]
    monkeypatch.setattr(files, "is_empty", lambda _: True)  # as both looked before either wrote
    with elsewhere(tmp_path, settings) as root:
        theirs = root / copied[-1]
        theirs.parent.mkdir(parents=True)
        theirs.write_bytes(b"theirs")
        with pytest.raises(CommandError, match=r"exists.*Nothing was put back"):
            call_command("restore", str(made.folder), stdout=StringIO())
        assert [path for path in root.rglob("*") if path.is_file()] == [theirs]
        assert theirs.read_bytes() == b"theirs"


def test_a_backup_that_finds_no_space_says_so(
    lake: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request(lake, person_with(Role.OWNER, lake), "N1", 101)

    def full(blocks: Iterator[bytes], target: Path) -> tuple[str, int]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_write", full)
    with pytest.raises(CommandError, match=r"No space left on device.*holds no whole backup"):
        call_command("backup", str(tmp_path / "backup"))
    with pytest.raises(CommandError, match="holds no whole backup"):
        call_command("restore", str(tmp_path / "backup"))


def test_tables_below_a_data_root_in_an_object_store_come_back_with_it(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the factory's uploads are paths
    root = f"s3://tables/{uuid.uuid4().hex}"
    with s3_server() as options:
        for name, value in options.items():
            monkeypatch.setenv(name, value)
        settings.DELTA_DATA_ROOT_OPTIONS = {"AWS_ALLOW_HTTP": "true"}
        settings.HEADGATE_CACHE, settings.DELTA_DATA_ROOT = tmp_path / "cache", root
        tables = [f"{root}/lake/planes", f"{root}/100%25 of Köln/planes"]
        found = []
        for number, uri in enumerate(tables):
            merging.create_table(uri, PLANES, storage_options=settings.DELTA_DATA_ROOT_OPTIONS)
            found.append(
                register_dataset(
                    project=ProjectFactory.create(),
                    slug=f"planes-{number}",
                    name=f"planes {number}",
                    table_uri=uri,
                    primary_keys=["tailnum"],
                    required_approvals=0,
                )
            )
        owner = person_with(Role.OWNER, found[0], username="olivia")
        merge(request(found[0], owner, "N1", 101), owner)
        waiting = request(found[0], owner, "N2", 102)
        rows = [rows_of(one) for one in found]
        made = backups.make_backup(tmp_path / "backup")
        with elsewhere(tmp_path, settings):
            settings.DELTA_DATA_ROOT, settings.HEADGATE_CACHE = root, tmp_path / "other-cache"
            with pytest.raises(BackupRefused, match="is not empty"):
                backups.put_back(made.folder)
            store = merging.open_folders("s3://tables", options, cache=tmp_path / "third", cache_bytes=1)
            assert store.remove(root.rpartition("/")[2])
            call_command("restore", str(made.folder), stdout=StringIO())
            restored = [*Dataset.objects.order_by("pk")]
            assert [rows_of(one) for one in restored] == rows
            again = ChangeRequest.objects.select_related("dataset").get(pk=waiting.pk)
            assert merge(again, User.objects.get(username="olivia")).status == RunStatus.SUCCEEDED


def test_what_is_kept_in_an_object_store_comes_back_in_another_place(
    lake: Dataset, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = person_with(Role.OWNER, lake, username="olivia")
    monkeypatch.chdir(tmp_path)  # the factory's uploads are paths
    with s3_server() as options:
        for name, value in options.items():
            monkeypatch.setenv(name, value)
        settings.DELTA_DATA_ROOT_OPTIONS = {"AWS_ALLOW_HTTP": "true"}
        settings.HEADGATE_CACHE = tmp_path / "cache"
        settings.DELTA_DATA_ROOT = "s3://tables/one"
        merged, waiting = request(lake, owner, "N1", 101), request(lake, owner, "N2", 102)
        merge(merged, owner)
        made = backups.make_backup(tmp_path / "backup")
        with elsewhere(tmp_path, settings):
            settings.DELTA_DATA_ROOT, settings.HEADGATE_CACHE = "s3://tables/two", tmp_path / "other-cache"
            call_command("restore", str(made.folder), stdout=StringIO())
            again = ChangeRequest.objects.select_related("dataset").get(pk=waiting.pk)
            assert merge(again, User.objects.get(username="olivia")).status == RunStatus.SUCCEEDED
            call_command("verify_audit", stdout=StringIO())
            with pytest.raises(BackupRefused, match="holds tables"):
                backups.put_back(made.folder)
        with elsewhere(tmp_path / "third", settings):
            settings.DELTA_DATA_ROOT = "s3://tables/two"
            with pytest.raises(BackupRefused, match="s3://tables/two is not empty"):
                backups.put_back(made.folder)
    assert {row["tailnum"]: row["seats"] for row in rows_of(lake)}["N2"] == 102
