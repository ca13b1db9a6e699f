"""What an operator may set is what docs/operations.md says, with the same defaults, and it is read in one place."""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

import merging
from config.engine import limit_web_process
from config.env import (
    BASE_DIR,
    INSECURE_AUDIT_KEY,
    INSECURE_SECRET_KEY,
    Environment,
    mail_settings,
    read_environment,
)
from merging.sql.session import Session, limits, set_limits

VARIABLE = re.compile(r"`([A-Z_]+)`")
OURS = ("config", "demo", "api", "web", "changerequests", "accounts", "datasets", "merging", "audit")
WAYS = ("environ", "environb", "getenv", "getenvb")
#: Each reads what is its own, and nothing else does.
READERS = {
    "config/env.py": "what an operator sets",
    "demo/environment.py": "what may be set for the demo",
    "merging/confinement/calling.py": "what stores ask of the machine, for the process that reads their tables",
    "tests/options.py": "what whoever runs the tests may set",
    "tests/faults/steps.py": "how a fault run tells its own processes where its orders are",
}


def documented() -> dict[str, str]:
    """Variable to default, as the table of docs/operations.md has them."""
    text = (BASE_DIR / "docs" / "operations.md").read_text()
    section = text.split("\n## Environment\n")[1].split("\n## ")[0]
    found: dict[str, str] = {}
    for line in section.splitlines():
        if VARIABLE.match(line.removeprefix("| ")):
            variables, default, _ = (cell.strip() for cell in line.strip("|").split(" | ", 2))
            [variable] = VARIABLE.findall(variables)
            found[variable] = default.strip("`")
    return found


def as_documented(default: Any) -> str:
    """A default as the page writes it: without the checkout's path, and a dash for none."""
    if isinstance(default, bool):
        return str(default).lower()
    text = ",".join(default) if isinstance(default, list) else str(default)
    text = text.replace(f"{BASE_DIR}/", "")
    return "–" if text in ("", INSECURE_SECRET_KEY, INSECURE_AUDIT_KEY) else text


def test_every_variable_is_documented_with_its_default_and_no_other_is() -> None:
    ours = {name.upper(): as_documented(value) for name, value in vars(Environment()).items()}
    assert documented() == {"DJANGO_SETTINGS_MODULE": "config.settings.dev", **ours}


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("ALLOWED_HOSTS", "a.example,b.example", ["a.example", "b.example"]),
        ("DELTA_DATA_ROOT", "s3://bucket/headgate", "s3://bucket/headgate"),
        ("HEADGATE_CACHE", "/srv/cache", Path("/srv/cache")),
        ("BEHIND_TLS_PROXY", "false", False),
        ("MERGE_WAIT_SECONDS", "5", 5),
        ("HEADGATE_ENGINE_MEMORY", "2GB", "2GB"),
    ],
)
def test_each_kind_of_value_is_read(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, value: Any
) -> None:
    for one in fields(Environment):
        monkeypatch.delenv(one.name.upper(), raising=False)
    assert read_environment() == Environment()

    monkeypatch.setenv(variable, text)

    assert read_environment() == Environment(**{variable.lower(): value})


def test_a_variable_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for one in fields(Environment):
        monkeypatch.delenv(one.name.upper(), raising=False)
    (tmp_path / "secret").write_text("a secret\n")
    (tmp_path / "seconds").write_text("7\n")
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("MERGE_WAIT_SECONDS_FILE", str(tmp_path / "seconds"))
    monkeypatch.setenv("AUDIT_KEYS_FILE", "a/file/of/its/own")
    read = Environment(secret_key="a secret", merge_wait_seconds=7, audit_keys_file="a/file/of/its/own")
    assert read_environment() == read

    monkeypatch.setenv("SECRET_KEY", "another")
    with pytest.raises(ImproperlyConfigured, match="SECRET_KEY and SECRET_KEY_FILE are both set"):
        read_environment()
    monkeypatch.delenv("SECRET_KEY")
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "gone"))
    with pytest.raises(ImproperlyConfigured, match="SECRET_KEY_FILE names a file that cannot be read"):
        read_environment()


def test_a_folder_for_mail_is_named_from_the_root_on() -> None:
    settings = mail_settings("filemail:///var/headgate/my%20mail")
    assert settings["EMAIL_BACKEND"] == "django.core.mail.backends.filebased.EmailBackend"
    assert settings["EMAIL_FILE_PATH"] == "/var/headgate/my mail"


def test_a_value_of_the_wrong_type_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERGE_WAIT_SECONDS", "soon")
    with pytest.raises(ImproperlyConfigured, match="MERGE_WAIT_SECONDS"):
        read_environment()


def test_the_engine_has_the_limits_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[merging.Limits] = []
    monkeypatch.setattr(merging, "set_limits", given.append)
    monkeypatch.setattr(merging, "set_engines", lambda _: None)  # of this process, which is no web
    apps.get_app_config("config").ready()
    limit_web_process()
    worker = merging.Limits(
        settings.ENGINE_MEMORY,
        settings.STAGING_MEMORY,
        settings.ENGINE_THREADS,
        settings.CHECK_MEMORY,
        settings.CHECK_SECONDS,
        **settings.CONTENT_LIMITS,
    )
    assert given == [worker, replace(worker, memory=settings.WEB_MEMORY)]
    assert merging.Limits() == merging.Limits("1GB", "450MB", 2, "2GB", 30), (
        "the page's defaults are the engine's own"
    )


def test_sessions_keep_to_the_limits_that_were_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("merging.sql.session._limits", limits())  # put back afterwards
    set_limits(merging.Limits(memory="300MiB", threads=1))
    opened = Session()
    try:
        said = "SELECT value FROM duckdb_settings() WHERE name = '{}'"
        assert opened.row(said.format("memory_limit")) == ("300.0 MiB",)
        assert opened.row(said.format("threads")) == ("1",)
    finally:
        opened.close()


def readings(source: str) -> Iterator[int]:
    """The lines that look into the process environment; handing all of it on to a process is none."""
    if not any(way in source for way in WAYS):
        return  # to parse all files takes ten seconds
    tree = ast.parse(source)
    handed_on = {
        id(value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for name, value in zip(node.keys, node.values, strict=True)
        if name is None
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            if any(one.name in WAYS for one in node.names):
                yield node.lineno
        elif isinstance(node, ast.Attribute):
            if node.attr in WAYS and id(node) not in handed_on:
                yield node.lineno
        elif isinstance(node, ast.Import) and any(one.name == "environ" for one in node.names):
            yield node.lineno


def test_nothing_else_reads_the_environment() -> None:
    found = {
        str(path.relative_to(BASE_DIR))
        for package in (*OURS, "tests")
        for path in (BASE_DIR / package).rglob("*.py")
        if any(readings(path.read_text()))
    }
    # Another settings module for processes of the test's own is written, not read.
    assert found - {"tests/faults/__main__.py"} == set(READERS)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("import os\nx = os.environ.get('A')", True),
        ("import os\nx = os.environ['A']", True),
        ("from os import environ", True),
        ("from os import getenv as get", True),
        ("import os\nx = os.getenv('A')", True),
        ("import environ", True),
        ("import os\nx = {**os.environ, 'A': '1'}", False),
    ],
)
def test_a_reading_is_found(line: str, found: bool) -> None:
    assert any(readings(line)) == found
