"""Development and the demo: SQLite, plain HTTP, readable logs."""

from config.settings.base import *

OFFERS_SAMPLE_DATA = True
