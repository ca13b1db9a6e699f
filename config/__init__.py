"""The composition root: settings, urls, the Celery app and the mapping of errors to HTTP."""

from config.celery import app as celery_app

__all__ = ["celery_app"]
