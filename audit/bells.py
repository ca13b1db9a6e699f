"""The bells of background workers: a message names a task and a row, and says no more than "look".

What is to be done stands in the database, so a lost message costs time, never work: the sweep rings again.
"""

import structlog
from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

logger = structlog.get_logger(__name__)


def ring(task: str, *arguments: int) -> None:
    """Ask a worker for a task. A broker that is down is logged."""
    try:
        current_app.send_task(task, args=arguments)
    except (OperationalError, OSError) as error:
        logger.warning("bell_not_heard", task=task, arguments=arguments, error=error)


def ring_on_commit(task: str, *arguments: int) -> None:
    """Ring once the surrounding transaction is committed."""
    transaction.on_commit(lambda: ring(task, *arguments), robust=True)
