"""The test suite: fast password hashing, a broker inside the process, no rate limits."""

import tempfile
from pathlib import Path

from config.settings.base import *

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CELERY_BROKER_URL = "memory://"
CELERY_BROKER_TRANSPORT_OPTIONS = {}
REST_FRAMEWORK = {**REST_FRAMEWORK, "DEFAULT_THROTTLE_CLASSES": []}
#: Every test gets a folder of its own under this one.
DELTA_DATA_ROOT = Path(tempfile.gettempdir()) / "headgate-tests"
HEADGATE_CACHE = Path(tempfile.gettempdir()) / "headgate-tests-cache"
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
#: Every browser of a test is an application of its own: static files are looked for when they are asked for.
WHITENOISE_AUTOREFRESH = True
#: Tests report their process themselves, where they ask for what it counted.
PROCESS_REPORT_SECONDS = 0.0
