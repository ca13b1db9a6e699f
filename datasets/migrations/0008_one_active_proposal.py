"""After the statuses are there: PostgreSQL makes no index in a transaction that has changed the rows."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [
        ("datasets", "0007_durable_work"),
    ]

    operations = [
        migrations.AddConstraint(
            "suiteproposal",
            models.UniqueConstraint(
                fields=["dataset"],
                condition=Q(status__in=("queued", "running")),
                name="one_active_proposal_per_dataset",
            ),
        ),
    ]
