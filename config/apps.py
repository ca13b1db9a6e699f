"""What is done once in every process, web or worker, when Django starts."""

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import Tags, register

import merging
from config.checks import data_root_can_be_used, mail_is_on, no_address_holds_a_secret
from config.engine import engine_limits
from config.telemetry import keep_traces


class CompositionConfig(AppConfig):
    name = "config"

    def ready(self) -> None:
        """Hand the engine its limits and what tables may do: it reads neither settings nor database."""
        from config.watching import count_store_request  # and that hears what tasks and workers do
        from datasets.services.reach import how_opened, may_leave, read_by, why_not

        keep_traces()
        register(mail_is_on, deploy=True)
        register(data_root_can_be_used, deploy=True)
        register(no_address_holds_a_secret, Tags.database)
        merging.set_reach(may_leave, why_not, how_opened)
        merging.set_engines(read_by)
        merging.on_store_request(count_store_request)
        merging.set_limits(engine_limits(settings.ENGINE_MEMORY))
