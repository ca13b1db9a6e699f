"""Questions that others ask of the trail."""

from collections.abc import Iterable

from audit.models import Event, EventQuerySet


def events_of(subject_type: str, subject_id: str) -> EventQuerySet:
    """The events of one thing, oldest first."""
    return Event.objects.filter(subject_type=subject_type, subject_id=subject_id).order_by("sequence")


def events_of_many(subject_type: str, subject_ids: Iterable[str], action: str) -> EventQuerySet:
    """The events of one kind on several things."""
    return Event.objects.filter(subject_type=subject_type, subject_id__in=list(subject_ids), action=action)


def events_called(action: str) -> EventQuerySet:
    """The events of one kind, oldest first in each chain."""
    return Event.objects.filter(action=action).order_by("stream", "sequence")


def events_naming_files() -> EventQuerySet:
    """The events that name audit files, with their folder and hashes."""
    return Event.objects.filter(data__has_key="audit_files").order_by("stream", "sequence")


def event_count() -> int:
    """How many events the trail holds."""
    return Event.objects.count()


def events_in(stream: str) -> EventQuerySet:
    """The events of one chain, oldest first."""
    return Event.objects.filter(stream=stream).order_by("sequence")
