"""The one place that reads the process environment, typed and with defaults."""

import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
#: Shipped for development only; production refuses to start with it.
INSECURE_SECRET_KEY = "insecure-development-key-never-for-production"  # noqa: S105  (refused by production)


@dataclass(frozen=True)
class Environment:
    """What an operator sets from outside: each field is the variable of its name, in capitals, with its default.

    ``docs/operations.md`` says what each means; a test compares the two.
    """

    secret_key: str = INSECURE_SECRET_KEY
    allowed_hosts: list[str] = field(default_factory=lambda: ["localhost", "127.0.0.1", "[::1]"])
    csrf_trusted_origins: list[str] = field(default_factory=list)
    database_url: str = f"sqlite:///{BASE_DIR / 'var' / 'headgate.sqlite3'}"
    celery_broker_url: str = "redis://127.0.0.1:6379/0"
    delta_data_root: Path = Path("/data/delta")
    log_format: str = "json"
    log_level: str = "INFO"
    email_url: str = "consolemail://"
    default_from_email: str = "headgate@localhost"
    behind_tls_proxy: bool = True
    trusted_proxies: list[str] = field(default_factory=list)
    session_idle_minutes: int = 60
    session_hours: int = 12
    merge_wait_seconds: int = 60
    upload_limit_bytes: int = 5 * 1024**3
    headgate_engine_memory: str = "1GB"
    headgate_staging_memory: str = "450MB"
    headgate_engine_threads: int = 2


def read_environment() -> Environment:
    """Read the environment; a value of the wrong type raises ``ImproperlyConfigured`` naming the variable."""
    env = environ.Env()
    readers: dict[Any, Any] = {
        str: env.str,
        int: env.int,
        bool: env.bool,
        list[str]: env.list,
        Path: lambda variable: Path(env.str(variable)),
    }
    given = {}
    for one in fields(Environment):
        variable = one.name.upper()
        if variable in os.environ:
            try:
                given[one.name] = readers[one.type](variable)
            except ValueError as error:
                raise ImproperlyConfigured(
                    f"{variable} is set to a value that cannot be read: {error}"
                ) from error
    return Environment(**given)


def choose_settings() -> None:
    """Take the settings for development where ``DJANGO_SETTINGS_MODULE`` names none. For every entry point."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.dev")


def database_settings(url: str) -> dict[str, object]:
    """Django's ``DATABASES["default"]`` for a database URL.

    SQLite gets what concurrent web and worker processes need: write-ahead logging, immediate transactions
    (a deferred one that upgrades to a writer fails at once as "database is locked") and a long busy timeout.
    """
    settings: dict[str, object] = dict(environ.Env.db_url_config(url))
    if settings["ENGINE"] == "django.db.backends.sqlite3":
        settings["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    else:
        settings["CONN_MAX_AGE"] = 60
        settings["CONN_HEALTH_CHECKS"] = True
    return settings


def mail_settings(url: str) -> dict[str, object]:
    """Django's ``EMAIL_…`` settings for a mail URL."""
    return dict(environ.Env.email_url_config(url))
