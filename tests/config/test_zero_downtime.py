"""An upgrade that nobody notices: what this release does to the database leaves the previous release able to work.

``previous_release.json`` names the release that may be running while this one is migrated: its commit, and the newest
migration of each app that it has. Whoever makes a release writes it anew. The release's code is taken out of the
history, which a shallow clone fetches for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.db import models
from django.db.migrations import Migration, operations
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState

from config.env import BASE_DIR
from tests.conftest import connected_database_url

PREVIOUS: dict[str, Any] = json.loads((BASE_DIR / "tests" / "config" / "previous_release.json").read_text())
#: Migrations of this release that need everything stopped, with what operators read in docs/operations.md.
NEED_A_STOP: dict[tuple[str, str], str] = {}


def new_migrations() -> list[Migration]:
    """What this release adds to the previous one's migrations, in the order in which it is applied."""
    loader = MigrationLoader(None)
    graph = loader.graph
    before = {node for leaf in PREVIOUS["leaves"].items() for node in graph.forwards_plan(leaf)}
    plan = [node for leaf in sorted(PREVIOUS["leaves"]) for node in _plan(loader, leaf)]
    return [
        loader.get_migration(*node)
        for node in dict.fromkeys(plan)
        if node not in before and node[0] in PREVIOUS["leaves"]
    ]


def _plan(loader: MigrationLoader, app: str) -> list[tuple[str, str]]:
    [leaf] = loader.graph.leaf_nodes(app)
    return loader.graph.forwards_plan(leaf)


def breaking(migration: Migration, state: ProjectState) -> Iterator[str]:
    """What a migration takes away from code that does not know of it, told in words. Moves ``state`` on."""
    for operation in _of_database(migration.operations):
        place = f"{migration.app_label}.{migration.name}: {operation.describe()}"
        match operation:
            case operations.DeleteModel() | operations.RenameModel() | operations.AlterModelTable():
                yield f"{place}: the running release still asks for the table"
            case operations.RemoveField() | operations.RenameField():
                yield f"{place}: the running release still asks for the column"
            case operations.AddField(field=field) if _must_be_told(field):
                yield f"{place}: the running release inserts rows without it (give it null or db_default)"
            case operations.AlterField(field=field, model_name_lower=name):
                known = state.models[migration.app_label, name].fields[operation.name]
                yield from (f"{place}: {reason}" for reason in _narrower(known, field))
        operation.state_forwards(migration.app_label, state)


def _of_database(found: Any) -> Iterator[Any]:
    for operation in found:
        if isinstance(operation, operations.SeparateDatabaseAndState):
            yield from _of_database(operation.database_operations)
        else:
            yield operation


def _must_be_told(field: models.Field[Any, Any]) -> bool:
    return not (field.null or field.many_to_many or field.db_default is not models.NOT_PROVIDED)


def _narrower(known: models.Field[Any, Any], field: models.Field[Any, Any]) -> Iterator[str]:
    if known.null and not field.null:
        yield "the running release writes NULL"
    if known.get_internal_type() != field.get_internal_type():
        yield "the running release writes another type"
    if known.max_length and field.max_length and field.max_length < known.max_length:
        yield "the running release writes longer texts"
    if field.unique and not known.unique:
        yield "the running release writes the same value twice"


def made_up(app: str, operation: Any) -> Migration:
    """A migration that does this one thing."""
    kind = type("Migration", (Migration,), {"operations": [operation]})
    made: Migration = kind("9999_made_up", app)
    return made


def test_no_migration_takes_anything_from_the_running_release() -> None:
    """A column goes in two releases: the first does not ask for it any more, the next removes it."""
    loader = MigrationLoader(None)
    before = list(PREVIOUS["leaves"].items())
    state = loader.project_state(before)
    found = {
        (migration.app_label, migration.name): reasons
        for migration in new_migrations()
        if (reasons := list(breaking(migration, state)))
    }
    assert {place: reasons for place, reasons in found.items() if place not in NEED_A_STOP} == {}
    assert set(NEED_A_STOP) <= {(one.app_label, one.name) for one in new_migrations()}
    page = (BASE_DIR / "docs" / "operations.md").read_text()
    assert [name for _, name in NEED_A_STOP if f"`{name}`" not in page] == []


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (operations.RemoveField("dataset", "name"), "asks for the column"),
        (operations.RenameField("dataset", "name", "title"), "asks for the column"),
        (operations.DeleteModel("MergeFigures"), "asks for the table"),
        (operations.RenameModel("MergeFigures", "Figures"), "asks for the table"),
        (operations.AddField("dataset", "more", models.TextField(default="")), "inserts rows without it"),
        (operations.AlterField("mergerun", "merged_version", models.PositiveBigIntegerField()), "writes NULL"),
        (operations.AlterField("dataset", "name", models.CharField(max_length=5)), "longer texts"),
        (operations.AlterField("dataset", "name", models.IntegerField()), "another type"),
        (operations.AlterField("dataset", "name", models.CharField(max_length=200, unique=True)), "same value twice"),
    ],
)  # fmt: skip
def test_what_breaks_the_running_release_is_found(operation: Any, reason: str) -> None:
    state = MigrationLoader(None).project_state()
    named = getattr(
        operation, "model_name", getattr(operation, "old_name", getattr(operation, "name", ""))
    ).lower()
    [app] = [app for app in PREVIOUS["leaves"] if (app, named) in state.models]
    [told] = breaking(made_up(app, operations.SeparateDatabaseAndState([operation])), state)
    assert reason in told


@pytest.mark.parametrize(
    "operation",
    [
        operations.AddField("dataset", "more", models.TextField(null=True)),
        operations.AddField("dataset", "more", models.TextField(default="", db_default="")),
        operations.AlterField("dataset", "name", models.CharField(max_length=5000)),
    ],
)
def test_what_does_not_break_it_is_let_through(operation: Any) -> None:
    state = MigrationLoader(None).project_state()
    assert list(breaking(made_up("datasets", operation), state)) == []


@pytest.mark.services
def test_the_previous_release_works_on_the_schema_of_this_one(transactional_db: None, tmp_path: Path) -> None:
    previous = tmp_path / "previous"
    take_out(PREVIOUS["commit"], previous)
    walk = (BASE_DIR / "tests" / "config" / "walk_of_a_release.py").read_text()
    environment = {
        **os.environ,
        "DATABASE_URL": connected_database_url(),
        "DJANGO_SETTINGS_MODULE": "config.settings.test",
        "PYTHONPATH": str(previous),
    }
    done = subprocess.run(
        [sys.executable, "-c", walk],
        cwd=previous,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen == {
        "statuses": ["merged", "pending"],
        "rows": 5,
        "answers": dict.fromkeys(seen["answers"], 200),
        "code": str(previous),
    }


def take_out(commit: str, folder: Path) -> None:
    """The files of a commit in a folder of their own. Fails where the clone has no history."""
    if (BASE_DIR / ".git" / "shallow").exists():
        subprocess.run(["git", "fetch", "--quiet", "--unshallow"], cwd=BASE_DIR, check=False)
    packed = subprocess.run(["git", "archive", commit], cwd=BASE_DIR, capture_output=True, check=False)
    assert packed.returncode == 0, (
        f"The previous release ({commit}) is not in this clone: it is shallow, or no clone. The test runs that "
        f"release's code: git fetch --unshallow (or fetch-depth: 0 of a checkout). {packed.stderr.decode()}"
    )
    with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
