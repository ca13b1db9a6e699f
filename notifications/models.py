"""What the database holds of news on its way to people and programs."""

from django.conf import settings
from django.contrib.auth.models import User
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.utils import timezone

from changerequests.models import ChangeRequest
from datasets.durable_work import DurableWork
from datasets.models import Dataset, Project
from notifications.formats import Format
from notifications.kinds import Kind, Reason, Way


def _choices(values: type[Kind] | type[Reason] | type[Way]) -> list[tuple[str, str]]:
    return [(one.value, one.value.replace("_", " ")) for one in values]


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


class Webhook(models.Model):
    """An address of a program, or of a channel of people, that is told what happens in a dataset or a whole project.

    Its address and its secrets are kept encrypted (``datasets.encryption``): both open something elsewhere.
    """

    class Stopped(models.TextChoices):
        """Why nothing is sent."""

        NOT = "", "it is told what happens"
        BY_OWNER = "by_owner", "an owner switched it off"
        FAILING = "failing", "it failed for days"
        GONE = "gone", "it answered that it is gone for good"

    project = models.ForeignKey(
        Project, null=True, blank=True, on_delete=models.CASCADE, related_name="webhooks"
    )
    dataset = models.ForeignKey(
        Dataset, null=True, blank=True, on_delete=models.CASCADE, related_name="webhooks"
    )
    name = models.CharField(max_length=100)
    format = models.CharField(max_length=10, choices=Format.choices, default=Format.JSON)
    url = models.TextField(help_text="Encrypted.")
    host = models.CharField(max_length=300, help_text="Scheme and host of the address, for people.")
    actions = models.JSONField(
        default=list,
        blank=True,
        help_text="What it is told: actions, or groups such as `merge.*`; none for all.",
    )
    secret = models.TextField(help_text="Encrypted.")
    former_secret = models.TextField(blank=True, default="", help_text="Encrypted; signs too, until it ends.")
    former_secret_ends_at = models.DateTimeField(null=True, blank=True)
    stopped = models.CharField(max_length=10, choices=Stopped.choices, blank=True, default=Stopped.NOT)
    failing_since = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    version = models.PositiveIntegerField(default=1)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(project__isnull=True) ^ Q(dataset__isnull=True), name="webhook_of_one_place"
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def place(self) -> Project | Dataset:
        """What it is told of."""
        place = self.dataset or self.project
        if place is None:
            raise TypeError(f"Webhook {self.pk} has no place.")
        return place

    @property
    def receiver(self) -> str:
        """What its deliveries call it."""
        return f"webhook:{self.pk}"

    @property
    def trial_receiver(self) -> str:
        """The same for trials, which wait for nothing that waits."""
        return f"{self.receiver}:trial"


class Notification(models.Model):
    """One piece of news in somebody's inbox: one for each event and person, for the strongest reason."""

    event = models.ForeignKey("audit.Event", on_delete=models.PROTECT, db_constraint=False, related_name="+")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=20, choices=_choices(Kind))
    reason = models.CharField(max_length=20, choices=_choices(Reason))
    headline = models.CharField(max_length=600, help_text="What happened, in one line.")
    change_request = models.ForeignKey(
        ChangeRequest, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    dataset = models.ForeignKey(Dataset, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    read_at = models.DateTimeField(null=True, blank=True)
    for_digest = models.BooleanField(
        default=False, help_text="Whether it waits to be told in the person's next daily mail."
    )

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["event", "person"], name="one_notification_per_event_and_person")
        ]
        indexes = [
            models.Index(fields=["person", "-id"], name="inbox"),
            models.Index(fields=["person"], condition=Q(read_at__isnull=True), name="unread"),
            models.Index(fields=["person", "id"], condition=Q(for_digest=True), name="for_digest"),
            models.Index(fields=["created_at"], name="old_notifications"),
        ]

    def __str__(self) -> str:
        return f"notification {self.pk}"


class NotificationSetting(models.Model):
    """How somebody wants to be told of one kind of news, where that is not the default."""

    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=20, choices=_choices(Kind))
    way = models.CharField(max_length=10, choices=_choices(Way))

    class Meta:
        constraints = [models.UniqueConstraint(fields=["person", "kind"], name="one_way_per_kind")]

    def __str__(self) -> str:
        return f"{self.person_id}: {self.kind} by {self.way}"


class Subscription(models.Model):
    """What somebody wants to hear of one request, or of all requests to a dataset; a request's own goes before."""

    class Level(models.TextChoices):
        WATCH = "watch", "everything"
        PARTICIPATING = "participating", "what I take part in"
        MUTE = "mute", "only what I am asked"

    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    change_request = models.ForeignKey(
        ChangeRequest, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    dataset = models.ForeignKey(Dataset, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    level = models.CharField(max_length=15, choices=Level.choices)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(change_request__isnull=True) ^ Q(dataset__isnull=True),
                name="subscription_to_one_thing",
            ),
            models.UniqueConstraint(fields=["person", "change_request"], name="one_subscription_per_request"),
            models.UniqueConstraint(fields=["person", "dataset"], name="one_subscription_per_dataset"),
        ]

    def __str__(self) -> str:
        return f"{self.person_id}: {self.level}"
