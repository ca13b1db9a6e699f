"""The one place that reads the process environment, typed and with defaults."""

from dataclasses import dataclass
from pathlib import Path

import environ

BASE_DIR = Path(__file__).resolve().parent.parent
#: Shipped for development only; production refuses to start with it.
INSECURE_SECRET_KEY = "insecure-development-key-never-for-production"  # noqa: S105  (refused by production)


@dataclass(frozen=True)
class Environment:
    """What an operator sets from outside. ``docs/operations.md`` lists every variable."""

    secret_key: str
    allowed_hosts: list[str]
    csrf_trusted_origins: list[str]
    database_url: str
    celery_broker_url: str
    delta_data_root: Path
    log_format: str
    log_level: str
    email_url: str
    default_from_email: str
    behind_tls_proxy: bool
    merge_wait_seconds: int
    upload_limit_bytes: int


def read_environment() -> Environment:
    """Read the environment; a value of the wrong type raises ``ImproperlyConfigured`` naming the variable."""
    env = environ.Env()
    return Environment(
        secret_key=env.str("SECRET_KEY", default=INSECURE_SECRET_KEY),
        allowed_hosts=env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"]),
        csrf_trusted_origins=env.list("CSRF_TRUSTED_ORIGINS", default=[]),
        database_url=env.str("DATABASE_URL", default=f"sqlite:///{BASE_DIR / 'var' / 'headgate.sqlite3'}"),
        celery_broker_url=env.str("CELERY_BROKER_URL", default="redis://127.0.0.1:6379/0"),
        delta_data_root=Path(env.str("DELTA_DATA_ROOT", default="/data/delta")),
        log_format=env.str("LOG_FORMAT", default="json"),
        log_level=env.str("LOG_LEVEL", default="INFO"),
        email_url=env.str("EMAIL_URL", default="consolemail://"),
        default_from_email=env.str("DEFAULT_FROM_EMAIL", default="headgate@localhost"),
        behind_tls_proxy=env.bool("BEHIND_TLS_PROXY", default=True),
        merge_wait_seconds=env.int("MERGE_WAIT_SECONDS", default=60),
        upload_limit_bytes=env.int("UPLOAD_LIMIT_BYTES", default=5 * 1024**3),
    )


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
