"""What every piece of durable work is: a row that outlives its workers. ``datasets.work`` is what is done with it."""

from django.db import models


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

    class Meta:
        abstract = True

    @property
    def is_active(self) -> bool:
        """Whether it waits or is being done."""
        return self.status in self.ACTIVE
