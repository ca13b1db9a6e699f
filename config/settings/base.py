"""Settings that every deployment shares. What differs is in ``dev``, ``test`` and ``production``."""

from celery.schedules import crontab
from csp.constants import NONE, SELF

from accounts.addresses import TrustedProxies
from config.env import (
    BASE_DIR,
    audit_keys,
    cache_bytes,
    connection_secrets,
    content_limits,
    data_root,
    data_root_options,
    database_settings,
    encryption_keys,
    keeps_traces,
    mail_settings,
    metrics_networks,
    metrics_token,
    read_environment,
    sign_in_provider,
    table_places,
)
from config.logs import logging_settings
from notifications.channels.reach import Reach

ENV = read_environment()

SECRET_KEY = ENV.secret_key
#: Keys that were in use before: what was signed with them holds on.
SECRET_KEY_FALLBACKS = ENV.secret_key_fallbacks
DEBUG = False
ALLOWED_HOSTS = ENV.allowed_hosts
#: Where people find Headgate, without a slash at its end: what messages that leave link to.
PUBLIC_URL = (ENV.public_url or f"http://{ALLOWED_HOSTS[0].removeprefix('.')}:8000").rstrip("/")
CSRF_TRUSTED_ORIGINS = ENV.csrf_trusted_origins

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "csp",
    "django_filters",
    "django_htmx",
    "django_structlog",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "guardian",
    "knox",
    "rest_framework",
    "audit",
    "datasets",
    "accounts",
    "changerequests",
    "notifications",
    "demo",
    "config",
]

MIDDLEWARE = [
    "config.watching.WatchMiddleware",
    "config.middleware.ProbeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.middleware.NoStoreMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "config.middleware.RequestLogMiddleware",
    "config.middleware.RequestIdHeaderMiddleware",
    "config.middleware.ProblemPageMiddleware",
    "config.middleware.StrangersFilesMiddleware",
    "config.middleware.RefusedBodyMiddleware",
    "config.middleware.SessionActivityMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
            "builtins": ["web.form_tags"],
            "libraries": {"headgate": "web.template_tags"},
        },
    }
]

DATABASES = {"default": database_settings(ENV.database_url)}
#: How many connections the requests of one web process share; ``config/asgi.py`` makes the pool.
DATABASE_CONNECTIONS = ENV.database_connections
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTHENTICATION_BACKENDS = [
    "accounts.backends.GuardedBackend",
    "guardian.backends.ObjectPermissionBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
ANONYMOUS_USER_NAME = None  # nobody sees anything without signing in
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"
#: Whose ``X-Forwarded-For`` is believed where attempts to sign in are counted by address.
TRUSTED_PROXIES = TrustedProxies.read(ENV.trusted_proxies)
SESSION_ENGINE = "accounts.sessions"
SESSION_COOKIE_AGE = ENV.session_hours * 3600
#: A session ends when its person did nothing for so long.
SESSION_IDLE_MINUTES = ENV.session_idle_minutes

#: What secrets that must be read again are encrypted with, the one that writes first; ``SECRET_KEY`` reads too.
ENCRYPTION_KEYS = encryption_keys(ENV)
#: Where webhooks go beside the internet.
WEBHOOK_REACH = Reach.read(ENV.webhook_allowed_networks)

#: Where people sign in beside passwords, or instead of them; None where no provider is set.
SIGN_IN_PROVIDER = sign_in_provider(ENV)
#: Whether passwords open anything.
PASSWORD_SIGN_IN = ENV.password_sign_in
if SIGN_IN_PROVIDER is not None:
    INSTALLED_APPS += [
        "allauth",
        "allauth.account",
        "allauth.socialaccount",
        "allauth.socialaccount.providers.openid_connect",
    ]
    MIDDLEWARE.append("allauth.account.middleware.AccountMiddleware")
    SOCIALACCOUNT_ADAPTER = "accounts.openid.Hooks"

#: Who reads figures and what is wrong with a part: whoever sends the token, or asks from one of the networks.
METRICS_TOKEN = metrics_token(ENV)
METRICS_NETWORKS = metrics_networks(ENV)
#: Whether traces are kept and sent; where to, OpenTelemetry's own variables say.
KEEPS_TRACES = keeps_traces(ENV)
#: How often each process writes down that it lives and what it counted; 0 for never.
PROCESS_REPORT_SECONDS = 10.0

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "object-src": [NONE],
    }
}
SESSION_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "config.middleware.csrf_failed"
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"

#: Where tables that Headgate makes, staged content and audit files live.
DELTA_DATA_ROOT = data_root(ENV)
DELTA_DATA_ROOT_OPTIONS = data_root_options(ENV)
#: Where copies lie of what is read from a data root in an object store, and how many bytes they may take.
HEADGATE_CACHE = ENV.headgate_cache
HEADGATE_CACHE_BYTES = cache_bytes(ENV)
#: Where else tables may lie; empty: wherever operators register them.
AWS_ALLOW_HTTP = ENV.aws_allow_http
#: Of the process' own store: a key that a connection gives is not sent there.
AWS_ENDPOINT_URL = ENV.aws_endpoint_url
TABLE_PLACES = table_places(ENV)
#: What connections may refer to: variables by their names, and files below a folder.
CONNECTION_SECRETS = connection_secrets()
CONNECTION_SECRETS_FOLDER = ENV.connection_secrets_folder
#: Whether an installation without tables offers sample tables: where the demo runs, never in production.
OFFERS_SAMPLE_DATA = False
#: Where clones may lie in object stores that people name as content.
CLONE_PREFIXES = ENV.clone_prefixes
#: Ids and secrets that the audit trail is written and verified with, the one that writes first.
AUDIT_KEYS = audit_keys(ENV)
#: Where else its anchors are told; empty for nowhere.
AUDIT_ANCHOR_STORE = ENV.audit_anchor_store
AUDIT_ANCHOR_STORE_OPTIONS = dict(one.split("=", 1) for one in ENV.audit_anchor_store_options)
AUDIT_ANCHOR_SYSLOG = ENV.audit_anchor_syslog
#: How long a synchronous merge call waits for the worker before it answers 202 with the run.
MERGE_WAIT_SECONDS = ENV.merge_wait_seconds
UPLOAD_LIMIT_BYTES = ENV.upload_limit_bytes
#: How long the API waits for an upload to be staged before it answers 202 with where to follow it.
UPLOAD_WAIT_SECONDS = ENV.upload_wait_seconds
#: How many files of rows one web process streams at once, and how long one waits for a caller who reads nothing.
DOWNLOADS_AT_ONCE = ENV.downloads_at_once
DOWNLOAD_STALL_SECONDS = ENV.download_stall_seconds
#: How large the body of a request may be; an operation that takes more names its setting in ``body_limit``.
BODY_LIMIT_BYTES = 1024**2
#: Long lists of choices and suites of expectations.
LONG_LIST_LIMIT_BYTES = 16 * 1024**2
#: Of a form, what is in fields and not in files.
DATA_UPLOAD_MAX_MEMORY_SIZE = LONG_LIST_LIMIT_BYTES
FILE_UPLOAD_HANDLERS = ["config.uploads.UploadOnDisk"]
#: What the process that reads one upload may take: limits of the operating system.
STAGING_PROCESS_MEMORY = ENV.staging_process_memory
STAGING_SECONDS = ENV.staging_seconds
QUERY_SECONDS = ENV.query_seconds

#: What the engine may take in each process; ``config/apps.py`` hands them in.
ENGINE_MEMORY = ENV.headgate_engine_memory
WEB_MEMORY = ENV.headgate_web_memory
STAGING_MEMORY = ENV.headgate_staging_memory
ENGINE_THREADS = ENV.headgate_engine_threads
CHECK_MEMORY = ENV.headgate_check_memory
CHECK_SECONDS = ENV.headgate_check_seconds
CONTENT_LIMITS = content_limits(ENV)
#: From how many bytes of data files on ``auto`` leaves a table to the cluster of its connection, from how many staged
#: rows on the cluster tells which of them changed, and how long one question to it may take: of workers, and of
#: somebody who waits for a page.
SPARK_ABOVE = ENV.headgate_spark_above_bytes
SPARK_CLASSIFIES_ABOVE = ENV.headgate_spark_classifies_above_rows
SPARK_SECONDS = ENV.headgate_spark_seconds
SPARK_WEB_SECONDS = ENV.headgate_spark_web_seconds

#: After how many days what is no longer needed goes; ``manage.py retention`` shows what that would be.
RETENTION_DAYS = {"archives": 365, "orphans": 2, "closed": 90, "superseded": 30, "runs": 180, "edits": 90}

# --- E-mail -----------------------------------------------------------------------------------------------
vars().update(mail_settings(ENV.email_url))
DEFAULT_FROM_EMAIL = ENV.default_from_email
#: Whether people are told by e-mail; without a mail server the inbox remains.
SENDS_MAIL = bool(ENV.email_url)
#: How long a mail server may take to answer.
EMAIL_TIMEOUT = 20
#: At which hour (UTC) those who want one mail a day get it.
DIGEST_HOUR = ENV.digest_hour
#: After how many days read or old news, and what is kept of deliveries, goes.
NOTIFICATION_DAYS = ENV.notification_days

# --- Celery: what bites and why is in docs/architecture.md ------------------------------------------------
CELERY_BROKER_URL = ENV.celery_broker_url
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_DEFAULT_QUEUE = "maintenance"
CELERY_TASK_ROUTES = {
    "changerequests.merge_next": {"queue": "merging"},
    "changerequests.stage_upload": {"queue": "staging"},
    "changerequests.look": {"queue": "staging"},
    "notifications.*": {"queue": "notifications"},
}
CELERY_TASK_TIME_LIMIT = 3600
CELERY_TASK_SOFT_TIME_LIMIT = 3540
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 3900,  # longer than the hard time limit: a task never outlives its message
    "unacked_restore_interval": 5,
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    # The sweep rings again: a request never waits for a dead broker. Kombu would try for 6 s to connect for a message;
    # workers connect again by ``broker_connection_max_retries``.
    "max_retries": 0,
}
CELERY_TASK_PUBLISH_RETRY = False
CELERY_BEAT_SCHEDULER = "config.alive:AliveScheduler"
CELERY_BEAT_SCHEDULE = {
    "sweep": {"task": "changerequests.sweep", "schedule": 10.0},
    "sweep-notifications": {"task": "notifications.sweep", "schedule": 10.0},
    "reconcile-datasets": {"task": "datasets.reconcile_all", "schedule": 300.0},
    "anchor-audit": {"task": "audit.anchor", "schedule": 3600.0},
    "deliver-anchors": {"task": "datasets.deliver_anchors", "schedule": 60.0},
    "maintenance": {"task": "changerequests.maintain_all", "schedule": 3600.0},
    "digests": {"task": "notifications.send_digests", "schedule": crontab(hour=str(DIGEST_HOUR), minute="0")},
    "forget-notifications": {"task": "notifications.forget_old", "schedule": crontab(hour="3", minute="47")},
    "measure": {"task": "changerequests.measure", "schedule": 3600.0},
    "retention": {"task": "changerequests.retention", "schedule": crontab(hour="3", minute="17")},
}
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 30.0
# A child warms the engine up before it reports for work. On a busy machine that takes longer than Celery's 4 s, and
# then each child would be killed for the next to begin again: no merge at all.
CELERY_WORKER_PROC_ALIVE_TIMEOUT = 60.0

#: How long a dataset's lease lives without a heartbeat: a worker that died is replaced after this.
LEASE_SECONDS = 30.0
#: How often its holder renews it.
HEARTBEAT_SECONDS = 5.0

# --- REST API ---------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["api.authentication.SignedInWithScope"],
    "DEFAULT_SCHEMA_CLASS": "api.schema.ProblemSchema",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["api.parsers.StrictJSONParser"],  # in a form, what is left out is False
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "config.problems.exception_handler",
    "DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.UserRateThrottle"],
    "DEFAULT_THROTTLE_RATES": {"user": "6000/hour"},
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Headgate",
    "DESCRIPTION": "Change requests for Delta Lake tables.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    # With every operation drawn at once the page takes half a minute on a busy machine.
    "SWAGGER_UI_SETTINGS": {
        "deepLinking": True,
        "docExpansion": "none",
        "persistAuthorization": False,
        "validatorUrl": None,
    },
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "OAS_VERSION": "3.1.1",
    "ENUM_NAME_OVERRIDES": {
        "ChangeRequestStatus": "api.schema.STATUSES",
        "MergeRunStatus": "api.schema.RUN_STATUSES",
        "MergeRunPhase": "api.schema.RUN_PHASES",
        "UploadState": "api.schema.UPLOAD_STATES",
        "UploadKind": "api.schema.UPLOAD_KINDS",
        "EmptyCells": "api.schema.EMPTY_CELLS",
        "Readiness": "api.schema.READINESS",
        "MemberKind": [("user", "user"), ("group", "group")],
        "MaintenanceJob": "datasets.models.MaintenanceRun.Job",
        "MaintenanceStatus": "datasets.models.MaintenanceRun.Status",
        "WebhookFormat": "api.serializers.webhooks.FORMATS",
        "WebhookStopped": "api.serializers.webhooks.STOPPED",
        "NotificationKind": "api.serializers.notifications.KINDS",
        "NotificationReason": "api.serializers.notifications.NOTIFICATION_REASONS",
        "NotificationWay": "api.serializers.notifications.WAYS",
        "DatasetEngine": "datasets.models.Dataset.Engine",
        "ReadingEngine": "api.serializers.shared.ENGINES",
        "EngineWork": "api.serializers.merges.ENGINE_WORK",
        "ConflictChoice": "changerequests.models.ConflictResolution.Choice",
        "BlockerKind": [("fix", "fix"), ("wait", "wait")],
        "NoText": "api.schema.NO_TEXT",
        "Role": "api.serializers.members.ROLES",
        "RoleOrNone": "api.serializers.members.ROLES_OR_NONE",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "api.schema.drop_column_bounds",
        "api.schema.say_any_value_once",
        "api.schema.add_problems",
        "api.headers.say_headers",
        "api.examples.add_examples",
    ],
}
REST_KNOX = {"AUTO_REFRESH": False, "AUTH_HEADER_PREFIX": "Token"}
KNOX_TOKEN_MODEL = "accounts.Token"  # noqa: S105  (the name of a model)


DJANGO_STRUCTLOG_CELERY_ENABLED = True
LOGGING = logging_settings(log_format=ENV.log_format, log_level=ENV.log_level)
