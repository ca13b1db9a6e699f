"""Settings of the fault suite's processes: those of development, with a sweep that looks often."""

from config.settings.dev import *  # noqa: F403  (settings are layered so)

SECRET_KEY = "fault-suite-only"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CELERY_BEAT_SCHEDULE = {"sweep": {"task": "changerequests.sweep", "schedule": 0.5}}
#: How long a worker that is told to quit waits for its merge before it drops it.
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 1.0
#: Leases that end soon, so that the suite sees many recoveries in little time.
LEASE_SECONDS = 1.2
HEARTBEAT_SECONDS = 0.3
