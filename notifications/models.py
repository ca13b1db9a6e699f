"""What the database holds of news on its way to people and programs."""

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.utils import timezone

from datasets.durable_work import DurableWork


class Delivery(DurableWork):
    """One message for one receiver, sent by a worker: in order for each receiver, at least once, given up after days.

    ``receiver`` is the name of a channel and what that channel calls the receiver, for example ``mail:12``. Deliveries
    of one receiver are sent in the order of their primary keys, and only once the one before it was sent or given up.
    """

    receiver = models.CharField(max_length=100)
    event = models.ForeignKey(
        "audit.Event",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        db_constraint=False,  # nothing stands on the rows of the trail
        related_name="+",
        help_text="What it tells of; empty where it is no single event.",
    )
    repeats = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="repeated_by",
        help_text="The delivery that somebody asked to be sent again.",
    )
    payload = models.JSONField(
        default=dict,
        blank=True,
        encoder=DjangoJSONEncoder,
        help_text="What its channel needs to send it; never values of rows.",
    )
    next_attempt_at = models.DateTimeField(default=timezone.now)
    response = models.JSONField(
        default=dict,
        blank=True,
        encoder=DjangoJSONEncoder,
        help_text="What the receiver answered last.",
    )

    class Meta:
        ordering = ["-pk"]
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(
                fields=["receiver", "event"],
                condition=Q(event__isnull=False, repeats__isnull=True),
                name="one_delivery_per_event",
            )
        ]
        indexes = [
            # What every sweep asks for: those that wait among all there ever were.
            models.Index(
                fields=["receiver", "id"],
                condition=Q(status__in=DurableWork.ACTIVE),
                name="delivery_queue",
            ),
            models.Index(fields=["receiver", "-id"], name="deliveries_of_receiver"),
            models.Index(fields=["finished_at"], name="deliveries_that_ended"),
        ]

    def __str__(self) -> str:
        return f"delivery {self.pk} to {self.receiver}"

    @property
    def channel(self) -> str:
        """The name of the channel that sends it."""
        return self.receiver.partition(":")[0]

    @property
    def address(self) -> str:
        """What the channel calls the receiver."""
        return self.receiver.partition(":")[2]
