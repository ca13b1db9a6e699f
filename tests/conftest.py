"""What every test stands on: no network, a database in a file, tables in a folder of its own."""

import functools
import gc
import importlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
from django.contrib.auth.models import User
from django.db import connection
from django.db.backends.base.operations import BaseDatabaseOperations
from django.db.models import JSONField
from hypothesis import HealthCheck, settings
from pytest_django import Settings

from audit.triggers import CREATE_TRIGGERS, DROP_TRIGGERS
from changerequests import queue
from changerequests.models import ChangeRequest
from changerequests.services import execution, previews, staging
from datasets import endpoints
from datasets.models import Dataset
from datasets.roles import Role
from demo.processes import ManagedProcess
from merging.confinement import Bounds, run_confined
from merging.engines import choosing
from merging.staging import apart
from tests import options, services
from tests.asked_statements import asking_something_new, noted, notes_in
from tests.dealing import costly_tests, dealt
from tests.factories import ChangeRequestFactory, DatasetFactory, person_with
from tests.migrated import begin_migrated
from tests.network_guard import is_local, only_loopback
from tests.staging_once import CallerHere, crossed, staged_once

# Processes of pytest-xdist have a main module without a file, which PySpark's client (loaded by Great Expectations too)
# takes for a run of its own doctests, and ends the process.
if not hasattr(sys.modules["__main__"], "__file__"):
    sys.modules["__main__"].__file__ = os.devnull

# How long a machine takes over an example says nothing about what is tested, and fixtures may be shared by examples.
settings.register_profile("headgate", deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("headgate")

#: Folders of tests of the engine by itself.
WITHOUT_APPLICATION = ("merging", "benchmarks", "corpus", "faults", "fuzz", "stores")


@pytest.fixture(scope="module", autouse=True)
def _read_by_duckdb(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where there is no application, its database is not asked which engine reads a table: not by fixtures of modules
    either."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.relative_to(Path(__file__).parent).parts[0] in WITHOUT_APPLICATION:
            patch.setattr(choosing, "_chooses", lambda _: choosing.EngineChoice())
        yield


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the run's seed leaves out, and on PostgreSQL what asks it nothing new."""
    kept: list[pytest.Item] = items
    if options.SAMPLE_SEED is not None:
        kept = dealt(kept, options.SAMPLE_SEED, costly_tests())
    if options.STATEMENTS is not None and connection.vendor == "postgresql":
        kept = asking_something_new(kept, noted(options.STATEMENTS), options.SAMPLE_SEED or 0)
    if len(kept) < len(items):
        kept_ids = set(map(id, kept))
        config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept_ids])
        items[:] = kept


def pytest_collection_finish() -> None:
    """What is loaded by now stays until the end: the garbage collector need not look at it after every test."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """At the end all of it goes in order."""
    gc.unfreeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """Note what a test asks of SQLite, where the suite wants to know."""
    if options.STATEMENTS is None or connection.vendor != "sqlite":
        return (yield)
    with notes_in(options.STATEMENTS).of(item.nodeid):
        return (yield)


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    with only_loopback():
        yield


@pytest.fixture(autouse=True)
def _names_of_others_stand_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoints that tests name are looked up nowhere."""
    look_up = endpoints._addresses_of
    monkeypatch.setattr(endpoints, "_addresses_of", lambda name: look_up(name) if is_local(name) else [])


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """SQLite tests use a file, as the demo does: live servers and separate processes can open it too."""
    database = connection.settings_dict
    if database["ENGINE"] == "django.db.backends.sqlite3":
        file = tmp_path_factory.mktemp("database") / "test.sqlite3"
        begin_migrated(file)
        database.setdefault("TEST", {})["NAME"] = str(file)


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """Whether the database is there before its first use."""
    return options.MIGRATED is not None and connection.vendor == "sqlite"


@pytest.fixture(autouse=True, scope="session")
def _flush_reaches_the_trail() -> Iterator[None]:
    """Tests that commit are cleaned up by emptying every table, which the triggers of the audit trail refuse."""
    flush = BaseDatabaseOperations.execute_sql_flush

    def without_triggers(operations: Any, statements: list[str]) -> None:
        vendor = operations.connection.vendor
        flush(operations, [*DROP_TRIGGERS[vendor], *statements, *CREATE_TRIGGERS[vendor]])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseDatabaseOperations, "execute_sql_flush", without_triggers)
        yield


@pytest.fixture(autouse=True, scope="session")
def _objects_come_back_as_from_postgresql() -> Iterator[None]:
    """Members of a kept JSON object are in the order of ``jsonb``: by length, then bytes; on SQLite, too."""
    from_database = JSONField.from_db_value

    def reordered(field: Any, value: Any, *rest: Any) -> Any:
        return _as_jsonb(from_database(field, value, *rest))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONField, "from_db_value", reordered)
        yield


def _as_jsonb(value: Any) -> Any:
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: (len(name.encode()), name.encode()))
        return {name: _as_jsonb(value[name]) for name in names}
    if isinstance(value, list):
        return [_as_jsonb(inner) for inner in value]
    return value


@pytest.fixture(autouse=True, scope="session")
def _nothing_waits_for_the_disk() -> Iterator[None]:
    """No test cuts the power: what has been written is read by the next whether or not the disk has it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True)
def delta_data_root(tmp_path: Path, settings: Settings) -> Path:
    """Where this test's tables, staged content and audit files live."""
    root = tmp_path / "delta"
    settings.DELTA_DATA_ROOT = root
    return root


# --- A dataset and its people ---------------------------------------------------------------------------


@pytest.fixture
def dataset(db: None) -> Dataset:
    """A table of planes; Olivia owns it, Carl proposes to it, Vera reads it."""
    return DatasetFactory.create(slug="planes", name="planes")


@pytest.fixture
def owner(dataset: Dataset) -> User:
    return person_with(Role.OWNER, dataset, username="olivia", first_name="Olivia", last_name="Okafor")


@pytest.fixture
def author(dataset: Dataset) -> User:
    return person_with(Role.CONTRIBUTOR, dataset, username="carl", first_name="Carl", last_name="Castillo")


@pytest.fixture
def viewer(dataset: Dataset) -> User:
    return person_with(Role.VIEWER, dataset, username="vera")


@pytest.fixture
def pending(dataset: Dataset) -> ChangeRequest:
    """A request that is ready to be merged."""
    return ChangeRequestFactory.create(dataset=dataset)


# --- Staging without a separate worker and without a child ------------------------------------------------


def run_in_this_process(
    function: str,
    argument: Mapping[str, Any],
    bounds: Bounds,
    *,
    on_progress: Callable[[Mapping[str, Any]], None] | None = None,
    on_question: Callable[[Mapping[str, Any]], Any] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> Any:
    """What ``merging.confinement.run_confined`` does, without a child: only JSON comes in and goes out."""
    module, _, name = function.partition(":")
    call = getattr(importlib.import_module(module), name)
    if name == "stage_in_child":
        call = functools.partial(staged_once, call)
    folder, caller = tempfile.tempdir, CallerHere(on_question)
    try:
        return crossed(call(crossed(argument), caller))
    finally:
        tempfile.tempdir = folder
        if on_progress is not None:
            for progress in caller.told:
                on_progress(progress)


@pytest.fixture(autouse=True)
def staging_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads and previews are read in this process when the bell rings; tests with separate processes or
    ``deaf_staging`` read none here.
    """
    monkeypatch.setattr(apart, "run_confined", run_in_this_process)
    if not {"broker_url", "deaf_staging"} & set(request.fixturenames):
        monkeypatch.setattr(
            queue,
            "ring_for_upload_on_commit",
            lambda upload_id: staging.stage_upload(upload_id=upload_id, worker="at once"),
        )
        monkeypatch.setattr(
            queue,
            "ring_for_preview_on_commit",
            lambda preview_id: previews.look_at(preview_id=preview_id, worker="at once"),
        )


@pytest.fixture
def child_for_staging(staging_at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads are read in a child, as everywhere but in tests."""
    monkeypatch.setattr(apart, "run_confined", run_confined)


@pytest.fixture
def deaf_staging(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker hears of uploads and previews."""
    monkeypatch.setattr(queue, "ring_for_upload_on_commit", lambda upload_id: None)
    monkeypatch.setattr(queue, "ring_for_preview_on_commit", lambda preview_id: None)


# --- Merging without a separate worker ------------------------------------------------------------------


@pytest.fixture
def worker_at_once(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that hears every bell at once: the run has ended when the call that rang returns."""
    monkeypatch.setattr(
        queue, "ring", lambda dataset_id: execution.merge_next(dataset_id=dataset_id, worker="at once")
    )


@pytest.fixture
def deaf_worker(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker hears the bell."""
    monkeypatch.setattr(queue, "ring", lambda dataset_id: None)


# --- Separate processes and real services ----------------------------------------------------------------


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis server for this session; each test that uses it finds it empty (see ``broker_url``)."""
    with services.redis_server() as url:
        yield url


@pytest.fixture
def broker_url(redis_url: str) -> Iterator[str]:
    """The session's Redis as the broker, of this process too; emptied before and after the test."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        with services.using_broker(redis_url):
            yield redis_url
        client.flushall()


@pytest.fixture
def process_environment(transactional_db: None, broker_url: str, delta_data_root: Path) -> dict[str, str]:
    """The environment in which a separate process works on this test's database, broker and tables."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings.dev",
        "DATABASE_URL": connected_database_url(),
        "CELERY_BROKER_URL": broker_url,
        "DELTA_DATA_ROOT": str(delta_data_root),
        "LOG_FORMAT": "json",
        "PYTHONUNBUFFERED": "1",
        "C_FORCE_ROOT": "1",
    }


def connected_database_url() -> str:
    """The URL of the test database that this process is connected to."""
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{quote(str(database['NAME']))}"
    return f"postgresql://{database['USER']}@{database['HOST']}:{database['PORT']}/{database['NAME']}"


@pytest.fixture
def separate_worker(process_environment: dict[str, str], tmp_path: Path) -> Iterator[ManagedProcess]:
    """A Celery worker in a process of its own."""
    with services.worker_process(process_environment, tmp_path / "worker.log") as worker:
        yield worker


@pytest.fixture
def separate_web(process_environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The web process on its own, under uvicorn; the fixture is its address."""
    with services.web_process(process_environment, tmp_path / "web.log") as address:
        yield address
