"""FS11: row keys and filter values stand in no log line, whoever logs and however it comes to be there."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from django.contrib.auth.models import User
from django.db import IntegrityError, OperationalError
from django.test import Client
from kombu.exceptions import OperationalError as BrokerError
from pytest_django import Settings

from config.logs import describe, logging_settings
from datasets.errors import InvalidInput
from datasets.models import Dataset
from datasets.roles import Role
from tests.factories import DatasetFactory, person_with

SECRET = "N987-secret"


@pytest.fixture(params=["json", "console"])
def lines(request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """What the operator's handler writes, at the level that tells most."""
    settings: Any = logging_settings(log_format=request.param, log_level="DEBUG")
    formatter = settings["formatters"]["structured"]
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(formatter.pop("()")(**formatter))
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield written.getvalue
    root.removeHandler(handler)
    root.setLevel(before)


@pytest.fixture
def dataset(db: None) -> Dataset:
    made: Dataset = DatasetFactory.create(slug="planes")
    return made


@pytest.fixture
def browser(dataset: Dataset) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(person_with(Role.OWNER, dataset, username="olivia"))
    return client


@pytest.mark.parametrize(
    "address",
    [
        "/datasets/{slug}/planes/rows/history/?tailnum={secret}",
        "/datasets/{slug}/planes/?column=tailnum&value={secret}",
        "/api/v1/datasets/{pk}/rows?filter=tailnum:=:{secret}",
        "/api/v1/datasets/{pk}/rows?filter=seats:=:{secret}",
        "/api/v1/datasets/{pk}/rows?cursor={secret}",
        "/api/v1/datasets/{pk}/rows/history?key={{%22tailnum%22:%22{secret}%22}}",
        "/nothing/?key={secret}",
        "/api/v1/nothing?key={secret}",
    ],
)
def test_fs11_requests_are_logged_by_their_path(
    browser: Client, dataset: Dataset, lines: Callable[[], str], address: str
) -> None:
    asked = address.format(slug=dataset.project.slug, pk=dataset.pk, secret=SECRET)
    browser.get(asked, headers={"Referer": f"http://testserver/x/?key={SECRET}"})

    assert "request_started" in lines()
    assert asked.partition("?")[0] in lines()
    assert SECRET not in lines()


def test_fs11_forms_and_bodies_are_not_logged(
    browser: Client, dataset: Dataset, lines: Callable[[], str]
) -> None:
    strict = Client(enforce_csrf_checks=True)
    address = f"/datasets/{dataset.project.slug}/planes/look/"
    referer = {"Referer": f"http://elsewhere.example/x/?key={SECRET}"}
    browser.post(address, {"way": "paste", "title": SECRET, "pasted": f"tailnum,seats\n{SECRET},many\n"})
    assert strict.post(address, {"pasted": SECRET}, headers=referer, secure=True).status_code == 403

    assert "Referer checking failed" in lines()
    assert SECRET not in lines()


@pytest.mark.parametrize(
    "error",
    [
        ValueError(f"invalid literal for int(): {SECRET!r}"),
        KeyError(SECRET),
        IntegrityError(f"duplicate key\nDETAIL:  Key (tailnum)=({SECRET}) already exists."),
        OSError(f"Parquet: cannot convert {SECRET}"),
        FileNotFoundError(2, "No such file or directory", f"/tables/tailnum={SECRET}/part-0.parquet"),
        OperationalError(f"deadlock detected\nCONTEXT: {SECRET}"),
        InvalidInput(f"There is no row {SECRET}."),
        ExceptionGroup(SECRET, [ValueError(SECRET)]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_fs11_errors_tell_where_and_what_kind_and_quote_nothing(
    browser: Client, lines: Callable[[], str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        try:
            raise RuntimeError(SECRET)
        except RuntimeError as before:
            raise error from before

    monkeypatch.setattr("web.views.datasets.datasets_listed", fail)
    monkeypatch.setattr("api.views.catalogue.datasets_with_role", fail)
    browser.get("/datasets/")
    browser.get("/api/v1/datasets")
    ours = structlog.get_logger("headgate")
    ours.warning("told", error=error)
    logging.getLogger("celery.app.trace").error(
        "Task %(name)s raised unexpected: %(exc)s", {"name": "x", "exc": repr(error)}, exc_info=error
    )

    assert SECRET not in lines()
    assert type(error).__name__ in lines()
    if not isinstance(error, InvalidInput):
        assert "in fail" in lines()
        assert "RuntimeError" in lines()


def test_what_went_wrong_with_connections_and_files_is_told() -> None:
    assert (
        describe(OperationalError("connection refused"))
        == "django.db.utils.OperationalError: connection refused"
    )
    assert (
        describe(BrokerError("Error 111 connecting"))
        == "kombu.exceptions.OperationalError: Error 111 connecting"
    )
    assert (
        describe(OSError(28, "No space left on device", "/x"))
        == "OSError: [Errno 28] No space left on device"
    )
    assert describe(InvalidInput("x")) == "datasets.errors.InvalidInput (invalid)"
    assert describe(ValueError("x")) == "ValueError"


def test_fs11_what_other_loggers_say_of_addresses_is_cut(lines: Callable[[], str]) -> None:
    logging.getLogger("other.access").warning(
        '%s - "%s %s HTTP/%s" %d', "a:1", "GET", f"/x?key={SECRET}", "1.1", 200
    )
    logging.getLogger("other").info(f"fetched https://example.org/rows?filter=a:=:{SECRET} in 3 s")  # noqa: G004

    assert SECRET not in lines()
    assert "GET /x" in lines()
    assert "https://example.org/rows in 3 s" in lines()


def test_fs11_statements_and_servers_errors_go_through_the_same_formatter(settings: Settings) -> None:
    configured: Any = settings.LOGGING["loggers"]
    assert configured["django.db.backends"] == {"level": "WARNING"}, (
        "statements stand in DEBUG lines with their values"
    )
    assert configured["uvicorn"]["handlers"] == ["stderr"], "else uvicorn writes tracebacks by itself"
    assert configured["django"]["handlers"] == [], "else a mail to ADMINS quotes the request"


def test_a_line_of_json_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configured: Any = logging_settings(log_format="json", log_level="INFO")
    formatter = configured["formatters"]["structured"]
    made = formatter.pop("()")(**formatter)
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        record = logging.LogRecord(
            "x", logging.ERROR, "x.py", 1, "failed", (), (ValueError, error, error.__traceback__)
        )
    line = json.loads(made.format(record))
    assert (line["event"], line["level"]) == ("failed", "error")
    assert line["exception"].startswith("Traceback (most recent call last):\n  File ")
    assert line["exception"].endswith("\nValueError")


def test_people_are_named_by_number(browser: Client, lines: Callable[[], str]) -> None:
    browser.get("/datasets/")
    assert User.objects.get(username="olivia").pk
    assert "olivia" not in lines()
