"""What the engine may take in which process."""

from functools import partial

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
    changes and conflicts at once, and what is large is merged by workers. A cluster is waited for as long as somebody
    waits for an answer. Nobody gives it values of pandas.
    """
    from datasets.services.reach import read_by  # Django is set up by now

    merging.leave_pandas_alone()
    merging.set_engines(partial(read_by, most_seconds=settings.SPARK_WEB_SECONDS))
    merging.set_limits(engine_limits(settings.WEB_MEMORY))
