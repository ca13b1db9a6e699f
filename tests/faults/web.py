"""The web application of the fault suite: the real one, with named steps at which it obeys orders."""

from config.asgi import application
from tests.faults import steps

steps.install_in_web()

__all__ = ["application"]
