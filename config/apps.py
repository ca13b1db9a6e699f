"""What is done once in every process, web or worker, when Django starts."""

from django.apps import AppConfig
from django.conf import settings

import merging


class CompositionConfig(AppConfig):
    name = "config"

    def ready(self) -> None:
        """Hand the engine its limits and what tables may do: it reads neither settings nor database."""
        from datasets.services.reach import may_leave, why_not

        merging.set_reach(may_leave, why_not)
        merging.set_limits(
            merging.Limits(
                settings.ENGINE_MEMORY,
                settings.STAGING_MEMORY,
                settings.ENGINE_THREADS,
                settings.CHECK_MEMORY,
                settings.CHECK_SECONDS,
                **settings.CONTENT_LIMITS,
            )
        )
