"""The one place that reads the process environment, typed and with defaults."""

import importlib.util
import os
import re
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from accounts.provider import SignInProvider
from datasets.root_addresses import InvalidPlace, read_options, read_place
from merging import ContentLimits, EngineChoice, holds_secret

BASE_DIR = Path(__file__).resolve().parent.parent
#: Shipped for development only; production refuses to start with it.
INSECURE_SECRET_KEY = "insecure-development-key-never-for-production"  # noqa: S105  (refused by production)
#: The same for the key of the audit trail.
INSECURE_AUDIT_KEY = "development:insecure-audit-key-never-for-production"
#: What an id and a secret of the audit trail's keys look like.
AUDIT_KEY = re.compile(r"([a-z0-9][a-z0-9._-]{0,19}):(\S{32,})")


@dataclass(frozen=True)
class Environment:
    """What an operator sets from outside: each field is the variable of its name, in capitals, with its default.

    ``docs/operations.md`` says what each means; a test compares the two.
    """

    secret_key: str = INSECURE_SECRET_KEY
    secret_key_fallbacks: list[str] = field(default_factory=list)
    allowed_hosts: list[str] = field(default_factory=lambda: ["localhost", "127.0.0.1", "[::1]"])
    public_url: str = ""
    csrf_trusted_origins: list[str] = field(default_factory=list)
    encryption_keys: list[str] = field(default_factory=list)
    audit_keys: list[str] = field(default_factory=lambda: [INSECURE_AUDIT_KEY])
    audit_keys_file: str = ""
    audit_anchor_store: str = ""
    audit_anchor_store_options: list[str] = field(default_factory=list)
    audit_anchor_syslog: str = ""
    database_url: str = f"sqlite:///{BASE_DIR / 'var' / 'headgate.sqlite3'}"
    database_connections: int = 10
    celery_broker_url: str = "redis://127.0.0.1:6379/0"
    delta_data_root: str = "/data/delta"
    delta_data_root_options: list[str] = field(default_factory=list)
    headgate_cache: Path = Path("/var/cache/headgate")
    headgate_cache_bytes: int = 20 * 1024**3
    aws_allow_http: bool = False
    aws_endpoint_url: str = ""
    table_places: list[str] = field(default_factory=list)
    connection_secrets_folder: Path = Path("/run/secrets")
    clone_prefixes: list[str] = field(default_factory=list)
    metrics_token: str = ""
    metrics_networks: list[str] = field(default_factory=lambda: ["127.0.0.0/8", "::1"])
    otel_exporter_otlp_endpoint: str = ""
    otel_exporter_otlp_traces_endpoint: str = ""
    otel_sdk_disabled: bool = False
    log_format: str = "json"
    log_level: str = "INFO"
    email_url: str = ""
    default_from_email: str = "headgate@localhost"
    webhook_allowed_networks: list[str] = field(default_factory=list)
    digest_hour: int = 6
    notification_days: int = 90
    behind_tls_proxy: bool = True
    trusted_proxies: list[str] = field(default_factory=list)
    session_idle_minutes: int = 60
    session_hours: int = 12
    password_sign_in: bool = True
    oidc_issuer: str = ""
    oidc_client_id: str = ""
    oidc_client_secret: str = ""
    oidc_name: str = "single sign-on"
    oidc_scopes: list[str] = field(default_factory=lambda: ["openid", "profile", "email"])
    oidc_groups_claim: str = "groups"
    oidc_groups: list[str] = field(default_factory=list)
    oidc_operators: list[str] = field(default_factory=list)
    oidc_makes_accounts: bool = True
    oidc_trust_email: bool = False
    oidc_clock_skew_seconds: int = 60
    oidc_token_days: int = 30
    merge_wait_seconds: int = 60
    upload_limit_bytes: int = 5 * 1024**3
    upload_wait_seconds: int = 20
    downloads_at_once: int = 4
    download_stall_seconds: int = 60
    staging_seconds: int = 1800
    query_seconds: int = 120
    staging_process_memory: int = 3 * 1024**3
    headgate_engine_memory: str = "1GB"
    headgate_web_memory: str = "256MB"
    headgate_staging_memory: str = "450MB"
    headgate_engine_threads: int = 2
    headgate_check_memory: str = "2GB"
    headgate_check_seconds: int = 30
    headgate_spark_above_bytes: int = EngineChoice.spark_above
    headgate_spark_classifies_above_rows: int = EngineChoice.classifies_above
    headgate_spark_seconds: int = 1_800
    headgate_spark_web_seconds: int = 60
    headgate_limit_unpacked_bytes: int = ContentLimits.unpacked_bytes
    headgate_limit_unpacked_ratio: int = ContentLimits.unpacked_ratio
    headgate_limit_rows: int = ContentLimits.rows
    headgate_limit_line_bytes: int = ContentLimits.line_bytes
    headgate_limit_row_bytes: int = ContentLimits.row_bytes
    headgate_limit_cell_bytes: int = ContentLimits.cell_bytes
    headgate_limit_header_bytes: int = ContentLimits.header_bytes
    headgate_limit_columns: int = ContentLimits.columns
    headgate_limit_json_depth: int = ContentLimits.json_depth
    headgate_limit_type_depth: int = ContentLimits.type_depth
    headgate_limit_json_values: int = ContentLimits.json_values
    headgate_limit_number_digits: int = ContentLimits.number_digits
    headgate_limit_sheets: int = ContentLimits.sheets
    headgate_limit_archive_parts: int = ContentLimits.archive_parts
    headgate_limit_shared_texts: int = ContentLimits.shared_texts
    headgate_limit_shared_text_bytes: int = ContentLimits.shared_text_bytes
    headgate_limit_page_bytes: int = ContentLimits.page_bytes
    headgate_limit_open_page_bytes: int = ContentLimits.open_page_bytes


def read_environment() -> Environment:
    """Read the environment; a value of the wrong type raises ``ImproperlyConfigured`` naming the variable.

    Each variable may stand in a file that ``<VARIABLE>_FILE`` names instead, as orchestrators hand out secrets. Raises
    ``ImproperlyConfigured`` for such a file that cannot be read, and where both are set.
    """
    env = environ.Env()
    env.ENVIRON = {**os.environ, **_from_files()}
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
        if variable in env.ENVIRON:
            try:
                given[one.name] = readers[one.type](variable)
            except ValueError as error:
                raise ImproperlyConfigured(
                    f"{variable} is set to a value that cannot be read: {error}"
                ) from error
    return Environment(**given)


def _from_files() -> dict[str, str]:
    """The values of variables whose files are named, without the line end that editors leave."""
    variables = {one.name.upper() for one in fields(Environment)}
    found = {}
    for variable in variables:
        named = f"{variable}_FILE"
        if named not in os.environ or named in variables:  # AUDIT_KEYS_FILE has a format of its own
            continue
        if variable in os.environ:
            raise ImproperlyConfigured(f"{variable} and {named} are both set: set one of them.")
        try:
            found[variable] = Path(os.environ[named]).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise ImproperlyConfigured(f"{named} names a file that cannot be read: {error}") from error
    return found


def content_limits(environment: Environment) -> dict[str, int]:
    """What uploads may hold: the variables ``HEADGATE_LIMIT_…``, by the names of the engine's limits."""
    return {
        "unpacked_bytes": environment.headgate_limit_unpacked_bytes,
        "unpacked_ratio": environment.headgate_limit_unpacked_ratio,
        "rows": environment.headgate_limit_rows,
        "line_bytes": environment.headgate_limit_line_bytes,
        "row_bytes": environment.headgate_limit_row_bytes,
        "cell_bytes": environment.headgate_limit_cell_bytes,
        "header_bytes": environment.headgate_limit_header_bytes,
        "columns": environment.headgate_limit_columns,
        "json_depth": environment.headgate_limit_json_depth,
        "type_depth": environment.headgate_limit_type_depth,
        "json_values": environment.headgate_limit_json_values,
        "number_digits": environment.headgate_limit_number_digits,
        "sheets": environment.headgate_limit_sheets,
        "archive_parts": environment.headgate_limit_archive_parts,
        "shared_texts": environment.headgate_limit_shared_texts,
        "shared_text_bytes": environment.headgate_limit_shared_text_bytes,
        "page_bytes": environment.headgate_limit_page_bytes,
        "open_page_bytes": environment.headgate_limit_open_page_bytes,
    }


def audit_keys(given: Environment) -> tuple[tuple[str, str], ...]:
    """The ids and secrets of the audit trail's keys, the one that writes first; a file (one key a line) before the
    variable. Raises ``ImproperlyConfigured`` without ever telling a secret.
    """
    lines, source = given.audit_keys, "AUDIT_KEYS"
    if given.audit_keys_file:
        source = "AUDIT_KEYS_FILE"
        try:
            lines = Path(given.audit_keys_file).read_text(encoding="utf-8").split()
        except (OSError, ValueError) as error:
            raise ImproperlyConfigured(f"{source} names a file that cannot be read: {error}") from error
    found = [AUDIT_KEY.fullmatch(line) for line in lines]
    keys = tuple((one[1], one[2]) for one in found if one is not None)
    if not keys or len(keys) != len(found) or len(dict(keys)) != len(keys):
        raise ImproperlyConfigured(
            f"{source} must hold keys of the audit trail as ID:SECRET, the one that writes first: ids of small letters "
            "and digits, each once, secrets of at least 32 characters without spaces."
        )
    return keys


def table_places(given: Environment) -> list[str]:
    """Folders and addresses that tables may lie in. Raises ``ImproperlyConfigured`` for a relative folder, and for an
    address with a secret, which it does not repeat.
    """
    for place in (*given.table_places, *given.clone_prefixes):
        if holds_secret(place):
            raise ImproperlyConfigured(
                "TABLE_PLACES or CLONE_PREFIXES has an address with a secret in it: give secrets to connections."
            )
    for place in given.table_places:
        if "://" not in place and not Path(place).is_absolute():
            raise ImproperlyConfigured(
                f"TABLE_PLACES names {place!r}, which is neither an absolute folder nor an address."
            )
    return given.table_places


def data_root(given: Environment) -> Path | str:
    """Where everything lies that Headgate keeps: a folder, or an address in an object store. Raises
    ``ImproperlyConfigured`` for what is neither, and never tells a secret.
    """
    try:
        return read_place(given.delta_data_root)
    except InvalidPlace as error:
        raise ImproperlyConfigured(f"DELTA_DATA_ROOT cannot be used. {error}") from None


def data_root_options(given: Environment) -> dict[str, str]:
    """The options that the data root is opened with. Raises ``ImproperlyConfigured``, for secrets, too."""
    try:
        return read_options(given.delta_data_root_options)
    except InvalidPlace as error:
        raise ImproperlyConfigured(f"DELTA_DATA_ROOT_OPTIONS cannot be used. {error}") from None


def cache_bytes(given: Environment) -> int:
    """How many bytes copies may take of what lies in an object store. Raises ``ImproperlyConfigured``."""
    if given.headgate_cache_bytes < 0:
        raise ImproperlyConfigured("HEADGATE_CACHE_BYTES cannot be negative.")
    return given.headgate_cache_bytes


def connection_secrets() -> dict[str, str]:
    """What connections may refer to: every variable whose name begins with ``CONNECTION_``, by its name."""
    return {name: value for name, value in os.environ.items() if name.startswith("CONNECTION_")}


def encryption_keys(given: Environment) -> list[str]:
    """The secrets that what must be read again is encrypted with, the one that writes first. Raises
    ``ImproperlyConfigured`` without ever telling one.
    """
    if any(len(secret) < 32 for secret in given.encryption_keys):
        raise ImproperlyConfigured("Each of ENCRYPTION_KEYS must have at least 32 random characters.")
    return given.encryption_keys


def sign_in_provider(given: Environment) -> SignInProvider | None:
    """Where people sign in beside passwords; None without an issuer. Raises ``ImproperlyConfigured`` for what cannot
    work, and never tells the secret.
    """
    if not given.oidc_issuer:
        if not given.password_sign_in:
            raise ImproperlyConfigured(
                "PASSWORD_SIGN_IN is off and no OIDC_ISSUER is set: nobody could sign in."
            )
        return None
    if importlib.util.find_spec("allauth") is None:
        raise ImproperlyConfigured(
            "OIDC_ISSUER is set, but what signs people in through a provider is not installed: install the extra oidc."
        )
    return SignInProvider.read(
        issuer=given.oidc_issuer,
        client_id=given.oidc_client_id,
        secret=given.oidc_client_secret,
        name=given.oidc_name,
        scopes=given.oidc_scopes,
        groups_claim=given.oidc_groups_claim,
        groups=given.oidc_groups,
        operators=given.oidc_operators,
        makes_accounts=given.oidc_makes_accounts,
        trusts_email=given.oidc_trust_email,
        clock_skew_seconds=given.oidc_clock_skew_seconds,
        token_days=given.oidc_token_days,
    )


def metrics_networks(given: Environment) -> tuple[IPv4Network | IPv6Network, ...]:
    """Networks whose callers read figures. Raises ``ImproperlyConfigured``."""
    try:
        return tuple(ip_network(one.strip()) for one in given.metrics_networks if one.strip())
    except ValueError as error:
        raise ImproperlyConfigured(
            f"METRICS_NETWORKS names addresses and networks such as 10.0.0.0/8: {error}."
        ) from error


def metrics_token(given: Environment) -> str:
    """What whoever reads figures from elsewhere sends. Raises ``ImproperlyConfigured`` without ever telling it."""
    if given.metrics_token and len(given.metrics_token) < 32:
        raise ImproperlyConfigured("METRICS_TOKEN must have at least 32 random characters.")
    return given.metrics_token


def keeps_traces(given: Environment) -> bool:
    """Whether traces are sent anywhere: OpenTelemetry's own variables say where, and that they are not."""
    endpoint = given.otel_exporter_otlp_endpoint or given.otel_exporter_otlp_traces_endpoint
    return bool(endpoint) and not given.otel_sdk_disabled


def choose_settings() -> None:
    """Take the settings for development where ``DJANGO_SETTINGS_MODULE`` names none. For every entry point."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.dev")


def database_settings(url: str) -> dict[str, object]:
    """Django's ``DATABASES["default"]`` for a database URL.

    SQLite gets what concurrent web and worker processes need: write-ahead logging, immediate transactions
    (a deferred one that upgrades to a writer fails at once as "database is locked") and a long busy timeout.
    """
    settings: dict[str, Any] = dict(environ.Env.db_url_config(url))
    if settings["ENGINE"] == "django.db.backends.sqlite3":
        settings["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    else:
        # A machine that went without a word is noticed within half a minute; by default Linux takes hours.
        patience = {"connect_timeout": 5, "tcp_user_timeout": 30_000}
        alive = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
        settings["OPTIONS"] = {**patience, **alive, **settings.get("OPTIONS", {})}
        settings["CONN_MAX_AGE"] = 60
        settings["CONN_HEALTH_CHECKS"] = True
    return settings


def mail_settings(url: str) -> dict[str, object]:
    """Django's ``EMAIL_…`` settings for a mail URL; without one nothing is sent.

    A folder (``filemail:///var/mail``) is named from the root on, as in every other URL.
    """
    settings = dict(environ.Env.email_url_config(url or "dummymail://"))
    if url.startswith("filemail:///"):
        settings["EMAIL_FILE_PATH"] = f"/{settings['EMAIL_FILE_PATH']}"
    return settings
