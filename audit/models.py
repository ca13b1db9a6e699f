"""Events and the chains that order them.

An event names people and things by value (user name, ``CR-128``), never by foreign key: it must stay true
when a user is renamed or a dataset is removed, and nothing below may point at what is above. In its hash a name is a
salted commitment (see ``audit.chain``), so that a person can be erased without breaking a chain.
"""

from typing import Any, NoReturn

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from audit.errors import EventsAreAppendOnly


class Chain(models.Model):
    """The head of one chain of events; its row lock puts appends in order.

    One chain per dataset (``dataset:7``) and one for the rest (``installation``), so that merges of different
    datasets never wait for each other.
    """

    stream = models.CharField(max_length=100, primary_key=True)
    last_sequence = models.PositiveBigIntegerField(default=0)
    last_hash = models.CharField(max_length=64, default="")
    seal = models.CharField(
        max_length=100,
        default="",
        blank=True,
        help_text="The key's id and its signature of the head: a head that was set back has none.",
    )

    def __str__(self) -> str:
        return f"{self.stream} at {self.last_sequence}"


class EventQuerySet(models.QuerySet["Event"]):
    def update(self, **_: Any) -> NoReturn:
        raise EventsAreAppendOnly("Audit events are never changed.")

    def delete(self) -> NoReturn:
        raise EventsAreAppendOnly("Audit events are never deleted.")

    def bulk_update(self, *_: Any, **__: Any) -> NoReturn:
        raise EventsAreAppendOnly("Audit events are never changed.")


class Event(models.Model):
    """One entry of the trail: who did what to which thing, when, and with which facts."""

    stream = models.CharField(max_length=100)
    sequence = models.PositiveBigIntegerField()
    occurred_at = models.DateTimeField()
    actor = models.CharField(max_length=150, blank=True, help_text="User name; empty for the system itself.")
    action = models.CharField(max_length=80)
    subject_type = models.CharField(max_length=40)
    subject_id = models.CharField(max_length=100)
    data = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    request_id = models.CharField(max_length=64, blank=True)
    previous_hash = models.CharField(max_length=64, blank=True)
    hash = models.CharField(max_length=64)
    key_id = models.CharField(
        max_length=20,
        blank=True,
        default="",
        help_text="The key of its hash; empty from before there was one.",
    )
    salt = models.CharField(
        max_length=32,
        blank=True,
        default="",
        help_text="Of the commitments that stand for its texts in the hash. Destroyed where somebody is erased.",
    )
    rows = models.JSONField(
        default=dict,
        blank=True,
        help_text="Digests of the database rows that were written with it, see audit.rows.",
    )
    redactions = models.JSONField(
        null=True,
        blank=True,
        help_text="Where its texts named somebody who was erased: what still proves the others.",
    )

    objects = EventQuerySet.as_manager()

    class Meta:
        ordering = ["stream", "sequence"]
        constraints = [
            models.UniqueConstraint(fields=["stream", "sequence"], name="audit_event_order"),
            models.UniqueConstraint(fields=["stream", "previous_hash"], name="audit_event_no_fork"),
        ]
        indexes = [
            models.Index(fields=["subject_type", "subject_id", "sequence"], name="audit_event_subject"),
            models.Index(fields=["occurred_at"], name="audit_event_time"),
            models.Index(fields=["action"], name="audit_event_action"),
        ]

    def __str__(self) -> str:
        return f"{self.stream}/{self.sequence} {self.action} {self.subject_id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise EventsAreAppendOnly("Audit events are never changed.")
        super().save(*args, **kwargs)

    def delete(self, *_: Any, **__: Any) -> NoReturn:
        raise EventsAreAppendOnly("Audit events are never deleted.")

    @property
    def told_as(self) -> str:
        """The name under which receivers hear of it: given once, while a restored database gives numbers again."""
        return str(self.hash[:32])


class OutboxEntry(models.Model):
    """Whether people and programs were told of an event: one entry for each, written with it.

    No part of the trail: it says what became of the news, is changed, and goes after a while.
    """

    #: Not constrained: whoever tampers with the trail is found by the trail, and nothing else stands on its rows.
    event = models.OneToOneField(
        Event, on_delete=models.PROTECT, primary_key=True, related_name="outbox_entry", db_constraint=False
    )
    dispatched_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(
        default=0, help_text="How often it could not be dispatched; see audit.outbox."
    )
    error = models.TextField(blank=True, default="")

    class Meta:
        verbose_name_plural = "outbox entries"
        indexes = [
            # What every sweep asks for: a handful among all there ever were.
            models.Index(
                fields=["event"], condition=models.Q(dispatched_at__isnull=True), name="outbox_waiting"
            ),
            models.Index(fields=["dispatched_at"], name="outbox_dispatched"),
        ]

    def __str__(self) -> str:
        return f"outbox entry of event {self.event_id}"


class AnchorTarget(models.Model):
    """A place elsewhere that is told the anchors: how far it was told, and since when that fails."""

    name = models.CharField(max_length=1000, primary_key=True)
    delivered = models.CharField(
        max_length=100, blank=True, default="", help_text="The name of the newest anchor that it was told."
    )
    delivered_at = models.DateTimeField(null=True, blank=True)
    failing_since = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True, default="")

    def __str__(self) -> str:
        return self.name
