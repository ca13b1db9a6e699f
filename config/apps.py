"""What is done once in every process, web or worker, when Django starts."""

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import register

import merging
from config.checks import mail_is_on
from config.engine import engine_limits


class CompositionConfig(AppConfig):
    name = "config"

    def ready(self) -> None:
        """Hand the engine its limits and what tables may do: it reads neither settings nor database."""
        from datasets.services.reach import may_leave, why_not

        register(mail_is_on, deploy=True)
        merging.set_reach(may_leave, why_not)
        merging.set_limits(engine_limits(settings.ENGINE_MEMORY))
