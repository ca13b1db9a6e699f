"""Query sets that are asked again and again: to build one takes longer than to ask it."""

import functools
import threading
from collections.abc import Callable
from typing import TypeVar

from django.db.models import Model, QuerySet

Row = TypeVar("Row", bound=Model)


def built_once(build: Callable[[], QuerySet[Row]]) -> Callable[[], QuerySet[Row]]:
    """The query set that a function builds, built once in a thread; callers filter it further, which copies it.

    Threads do not share one: while a statement is compiled, its subqueries count the joins that they need.
    """
    kept = threading.local()

    @functools.wraps(build)
    def built() -> QuerySet[Row]:
        if not hasattr(kept, "queryset"):
            kept.queryset = build()
        found: QuerySet[Row] = kept.queryset
        return found

    return built
