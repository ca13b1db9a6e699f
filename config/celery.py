"""The Celery application.

Tasks are doorbells: they carry primary keys, claim a durable row and call a service. The settings are
Django's own, prefixed with ``CELERY_``.
"""

import structlog
from celery import Celery
from celery.signals import setup_logging, worker_init, worker_process_init
from django_structlog.celery.steps import DjangoStructLogInitStep

import merging
from config.alive import AliveWorker
from config.env import choose_settings

choose_settings()

app = Celery("headgate")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.steps["worker"].add(DjangoStructLogInitStep)
app.steps["worker"].add(AliveWorker)
app.autodiscover_tasks()


@setup_logging.connect
def use_the_projects_logging(**_: object) -> None:
    """Keep Celery from replacing the logging that Django's settings configured."""


@worker_init.connect
def say_how_confined(**_: object) -> None:
    """What of the nets under confined processes this machine does not have is known before it is needed."""
    logger = structlog.get_logger(__name__)
    has = merging.has_syscall_filter()
    (logger.info if has else logger.warning)("confinement", syscall_filter="on" if has else "absent")


@worker_process_init.connect
def warm_the_engine_up(**_: object) -> None:
    """After the fork, before the first task: the first merge of a child must not be its slowest."""
    merging.warm_up()
