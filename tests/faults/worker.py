"""The Celery application of the fault suite: the real one, with named steps at which it obeys orders."""

import django

from config.celery import app

django.setup()  # the steps name parts of installed applications

from tests.faults import steps  # noqa: E402  (only after the applications are loaded)

steps.install()

__all__ = ["app"]
