"""Development and the demo: SQLite, plain HTTP, readable logs."""

from config.settings.base import *

DEBUG = False
SECURE_SSL_REDIRECT = False
