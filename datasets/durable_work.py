"""What every piece of durable work is: a row that outlives its workers. ``datasets.work`` is what is done with it."""

from typing import Any

from django.db import models

from datasets.tracing import LONGEST_TRACEPARENT, traceparent


class WorkStatus(models.TextChoices):
    """How far a piece of work is. Kinds of work that end in more ways say so on their own field."""

    QUEUED = "queued", "queued"
    RUNNING = "running", "running"
    SUCCEEDED = "succeeded", "succeeded"
    FAILED = "failed", "failed"


class DurableWork(models.Model):
    """Work for a background worker: the row is the truth, the message that rings for it only a doorbell.

    Who does it holds ``fence``: it moves on with every worker that takes the work up, so that one that comes back from
    the dead is told apart and writes nothing.
    """

    Status = WorkStatus
    ACTIVE = (WorkStatus.QUEUED, WorkStatus.RUNNING)

    status = models.CharField(max_length=10, choices=WorkStatus.choices, default=WorkStatus.QUEUED)
    worker = models.CharField(max_length=200, blank=True)
    attempt_id = models.CharField(max_length=64, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    fence = models.PositiveBigIntegerField(default=0)
    queued_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    error_code = models.CharField(max_length=40, blank=True)
    error_message = models.TextField(blank=True)
    traceparent = models.CharField(
        max_length=LONGEST_TRACEPARENT,
        blank=True,
        default=traceparent,
        db_default="",
        editable=False,
        help_text="The trace in which it was asked for; empty where none was kept.",
    )

    class Meta:
        abstract = True

    @property
    def is_active(self) -> bool:
        """Whether it waits or is being done."""
        return self.status in self.ACTIVE


class TableWork(DurableWork):
    """Durable work on a table, whose store may not answer: it then waits, longer each time, and is given up in the end.

    Such a wait is no attempt that was cut short; the work goes back to the queue before anything was committed.
    """

    #: Whose table it is: every kind has a foreign key of this name.
    dataset: Any
    not_before = models.DateTimeField(
        null=True, blank=True, help_text="It is not taken up before, for the store did not answer."
    )
    waits = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="How often it was put off because the store did not answer."
    )

    class Meta:
        abstract = True

    @property
    def waits_for_store(self) -> bool:
        """Whether it is put off because the store of the table did not answer; what that said is its error."""
        return self.status == WorkStatus.QUEUED and self.not_before is not None
