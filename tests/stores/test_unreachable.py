"""A store that gives nothing is told by name, with the reason, soon, and without secrets (FO3)."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import obstore
import pyarrow as pa
import pytest

import merging
from merging import TableUnreachable, delta
from merging.delta.snapshot import snapshot_in
from merging.errors import without_secrets
from merging.sql.failures import engine_failure, naming_engine_failures, raise_unreachable
from merging.store import client
from merging.store.client import ObjectClient
from merging.store.stores import LocalStore, open_store
from tests.merging.stores import local_place, memory_place, put_table
from tests.stores.answering import answering

TABLE = "s3://bucket/tables/mine"
SECRETS = ("very-secret", "AKIA-of-somebody")


def xml(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>very-secret</Message></Error>".encode()


@pytest.mark.parametrize(
    ("status", "code", "retriable", "reason"),
    [
        (500, "InternalError", True, "Its store has a failure of its own (500 InternalError)."),
        (503, "SlowDown", True, "Its store asks to be asked more slowly (503 SlowDown)."),
        (429, "TooMany", True, "Its store asks to be asked more slowly (429 TooMany)."),
        (
            409,
            "OperationAborted",
            True,
            "at work on the same object at the same time (409 OperationAborted).",
        ),
        (403, "InvalidAccessKeyId", False, "Its store refuses access (403 InvalidAccessKeyId)"),
        (401, "Unauthorized", False, "Its store refuses access (401 Unauthorized)"),
        (404, "NoSuchBucket", False, "There is no such bucket or container in its store (NoSuchBucket)."),
        (400, "AuthorizationHeaderMalformed", False, "(400 AuthorizationHeaderMalformed): look at"),
        (301, "PermanentRedirect", False, "Its bucket is in another region than its options say."),
    ],
)
def test_fo3_what_a_store_answers_is_named_without_its_words(
    status: int, code: str, retriable: bool, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with answering(status, xml(code)) as told, pytest.raises(TableUnreachable) as caught:
        merging.inspect_table(TABLE, storage_options=told.options)
    assert (caught.value.retriable, caught.value.code) == (retriable, "table_unreachable")
    assert reason in caught.value.reason
    assert caught.value.data == {"table_uri": TABLE, "reason": caught.value.reason, "retriable": retriable}
    logging.getLogger("far").error("it failed", exc_info=caught.value)
    said = caplog.text + "".join(traceback.format_exception(caught.value))
    assert not [secret for secret in SECRETS if secret in said]


def test_fo3_nobody_listens() -> None:
    with answering() as told:
        options = told.options
    with pytest.raises(TableUnreachable, match="cannot be connected to") as caught:
        merging.inspect_table(TABLE, storage_options=options)
    assert caught.value.retriable


def test_fo3_a_store_that_never_answers_is_given_up_soon() -> None:
    with (
        answering(hangs=True) as told,
        pytest.raises(TableUnreachable, match="did not answer in time") as caught,
    ):
        merging.inspect_table(
            TABLE, storage_options={**told.options, "timeout": "500ms", "retry_timeout": "700ms"}
        )
    assert caught.value.retriable
    assert len(told.asked) == 2
    # What holds where nobody says otherwise: two attempts of a read, each as long as it may take.
    seconds = float(client._READING["read_timeout"].removesuffix("s"))
    assert client._READING_AGAIN.total_seconds() > seconds
    assert 2 * seconds + 1 < 10


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"nonsense": "very-secret"}, "Its store has no option nonsense."),
        ({"AWS_CONDITIONAL_PUT": "very-secret"}, "An option of its store is no S3PutConditional."),
        ({"timeout": "very-secret"}, "An option of its store is no Duration."),
        ({"retry_timeout": "very-secret"}, "An option of its store is no Duration."),
        ({"max_retries": "very-secret"}, "The options of its store do not fit"),
        ({"AWS_ALLOW_HTTP": "false"}, "one of http:// needs the option allow_http"),
        ({"AWS_ENDPOINT_URL": "very-secret no address"}, "cannot work with its options"),
        ({"AWS_SESSION_TOKEN": "very-secret\n"}, "cannot work with its options"),
    ],
)
def test_fo3_odd_options_and_panics_are_named(
    options: dict[str, str], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with answering(404) as told, pytest.raises(TableUnreachable) as caught:
        merging.inspect_table(TABLE, storage_options={**told.options, **options})
    assert reason in caught.value.reason
    assert not caught.value.retriable
    said = "".join(traceback.format_exception(caught.value)) + capfd.readouterr().err
    assert not [secret for secret in SECRETS if secret in said]


@pytest.mark.parametrize("address", ["hdfs://host/table", "s3://", "wasbs://c@a.blob.core.windows.net/t"])
def test_fo3_addresses_of_no_store_are_named(address: str) -> None:
    with pytest.raises(TableUnreachable, match="is of no kind that is known") as caught:
        open_store(address)
    assert not caught.value.retriable


def test_fo3_an_address_is_shown_without_what_may_be_secret() -> None:
    assert without_secrets("s3://KEY:SECRET@bucket/t?sig=SECRET#x") == "s3://bucket/t"
    assert without_secrets("abfss://container@account.dfs.core.windows.net/t") == (
        "abfss://container@account.dfs.core.windows.net/t"
    )
    assert without_secrets("/data/a?b#c") == "/data/a?b#c"


@pytest.mark.parametrize(
    ("given", "sent"), [({}, None), ({"AWS_SESSION_TOKEN": "given-with-it"}, "given-with-it")]
)
def test_fo2_a_key_that_was_given_goes_without_the_token_of_the_process(
    given: dict[str, str], sent: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-the-process")
    with answering(404) as told:
        with pytest.raises(FileNotFoundError):
            open_store("s3://bucket/table", {**told.options, **given}).read("part")
        assert told.headers.get("x-amz-security-token") == sent
        assert "Credential=AKIA-of-somebody/" in told.headers["authorization"]


def test_fo3_what_fails_while_duckdb_reads_keeps_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    place = memory_place()
    put_table(place, [pa.table({"id": range(50_000), "t": [os.urandom(8).hex() for _ in range(50_000)]})])
    snapshot = snapshot_in(place.store, place.uri)

    def fails(*_: Any, **__: Any) -> bytes:
        raise TableUnreachable(place.uri, 'It "fails";\nreally.', retriable=True)

    with duckdb.connect(":memory:") as connection:
        source = delta.scan_sql(connection, snapshot)
        monkeypatch.setattr(ObjectClient, "get_range", fails)
        with pytest.raises(TableUnreachable) as caught, naming_engine_failures("t"):
            connection.execute(source).fetchall()
        assert (caught.value.reason, caught.value.retriable) == ('It "fails";\nreally.', True)
        connection.execute("SET errors_as_json = true")
        with pytest.raises(duckdb.Error) as raw:
            connection.execute(source).fetchall()
    with pytest.raises(TableUnreachable):
        raise_unreachable(raw.value)


def test_fo3_only_this_process_can_tell_an_error_in_a_text() -> None:
    forged = TableUnreachable("t", "reason", retriable=True).as_text().replace("OutOfReach-", "OutOfReach-0")
    assert TableUnreachable.in_text(forged) is None
    assert not isinstance(engine_failure(duckdb.BinderException(forged)), TableUnreachable)


@pytest.mark.django_db  # which connection opens it is asked
def test_fo3_an_expectation_does_not_fail_because_the_store_does(monkeypatch: pytest.MonkeyPatch) -> None:
    place = memory_place()
    put_table(place, [pa.table({"id": range(50_000), "t": [os.urandom(8).hex() for _ in range(50_000)]})])

    def fails(*_: Any, **__: Any) -> bytes:
        raise TableUnreachable(place.uri, "It fails.", retriable=True)

    monkeypatch.setattr("merging.delta.snapshot.open_table", lambda *_: place.store)
    monkeypatch.setattr(ObjectClient, "get_range", fails)
    for kind, more in (
        ("expect_column_values_to_not_be_null", {}),
        ("expect_column_sum_to_be_between", {"min_value": 0}),
    ):
        column = "t" if not more else "id"
        suite = {"name": "s", "expectations": [{"type": kind, "kwargs": {"column": column, **more}}]}
        with pytest.raises(TableUnreachable):
            merging.check_table(place.uri, suite, ["id"])


@pytest.mark.parametrize(
    ("error", "retriable"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), False),
        (OSError(errno.EROFS, "Read-only file system"), False),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), False),
        (OSError(errno.ESTALE, "Stale file handle"), True),
        (OSError(errno.EIO, "Input/output error"), True),
        (TimeoutError(), True),
        (ConnectionResetError(), True),
    ],
)
def test_fo3_volumes_that_fail_are_named(
    error: OSError, retriable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = local_place(tmp_path)
    put_table(place, [pa.table({"id": [1]})])

    def fails(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(os, "scandir", fails)
    with pytest.raises(TableUnreachable) as caught:
        merging.inspect_table(place.uri)
    assert (caught.value.retriable, caught.value.table_uri) == (retriable, place.uri)


def test_every_request_of_the_client_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        """As pyo3 raises it."""

    def panics(*_: Any, **__: Any) -> Any:
        raise PanicException("very-secret")

    asked = ObjectClient(object(), TABLE)
    calls: dict[str, Callable[[], Any]] = {
        "get": lambda: asked.get("a"),
        "get_dated": lambda: asked.get_dated("a"),
        "get_range": lambda: asked.get_range("a", 0, 1),
        "get_end": lambda: asked.get_end("a", 1),
        "head": lambda: asked.head("a"),
        "list": lambda: list(asked.list("a")),
        "create": lambda: asked.create("a", b""),
        "put": lambda: asked.put("a", b""),
        "delete": lambda: asked.delete(["a"]),
        "stream": lambda: list(asked.stream("a")),
        "folders": lambda: list(asked.folders("a")),
        "copy": lambda: asked.copy("a", "b"),
    }
    public = {
        name for name, value in vars(ObjectClient).items() if callable(value) and not name.startswith("_")
    }
    assert public == calls.keys()
    for name in ("get", "get_range", "head", "list", "list_with_delimiter", "put", "delete", "copy"):
        monkeypatch.setattr(obstore, name, panics)
    for name, call in calls.items():
        with pytest.raises(TableUnreachable) as caught:
            call()
        assert "very-secret" not in "".join(traceback.format_exception(caught.value)), name


def test_every_method_of_a_local_store_is_named() -> None:
    ways = {"attach", "engine_path", "relative", "keeping"}  # these touch no file
    public = {
        name for name, value in vars(LocalStore).items() if callable(value) and not name.startswith("_")
    }
    assert {name for name in public - ways if not hasattr(getattr(LocalStore, name), "__wrapped__")} == set()


def test_a_fixed_number_of_requests_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    under_way, most = [], []

    def head(*_: Any, **__: Any) -> dict[str, Any]:
        under_way.append(1)
        most.append(len(under_way))
        time.sleep(0.002)
        under_way.pop()
        return {"size": 1, "e_tag": None}

    monkeypatch.setattr(client, "_asking", threading.BoundedSemaphore(3))
    monkeypatch.setattr(obstore, "head", head)
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda _: ObjectClient(object(), TABLE).head("a"), range(40)))
    assert found == [(1, None)] * 40
    assert max(most) == 3
