"""What the engine may take in which process."""

from django.conf import settings

import merging


def engine_limits(memory: str) -> merging.Limits:
    """The limits of the settings, for a process whose sessions may hold so much."""
    return merging.Limits(
        memory,
        settings.STAGING_MEMORY,
        settings.ENGINE_THREADS,
        settings.CHECK_MEMORY,
        settings.CHECK_SECONDS,
        **settings.CONTENT_LIMITS,
    )


def limit_web_process() -> None:
    """In a process that answers requests, let sessions hold little before they spill to disk: several look at plans,
    changes and conflicts at once, and what is large is merged by workers. Nobody gives it values of pandas.
    """
    merging.leave_pandas_alone()
    merging.set_limits(engine_limits(settings.WEB_MEMORY))
