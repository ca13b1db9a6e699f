"""Settings of the demo's processes: those of development, with passwords that take no time to look at."""

from config.settings.dev import *  # noqa: F403  (settings are layered so)

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
