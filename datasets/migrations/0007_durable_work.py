"""Maintenance runs and proposals of suites share the columns of all durable work; merge runs have them already."""

from typing import Any

from django.db import migrations, models

STATUSES = [
    ("queued", "queued"),
    ("running", "running"),
    ("succeeded", "succeeded"),
    ("failed", "failed"),
]


def say_how_proposals_ended(apps: Any, schema_editor: Any) -> None:
    """What had ended before there was a status."""
    ended = apps.get_model("datasets", "SuiteProposal").objects.filter(finished_at__isnull=False)
    ended.filter(error_message="").update(status="succeeded")
    ended.exclude(error_message="").update(status="failed", error_code="proposal_failed")


class Migration(migrations.Migration):
    dependencies = [
        ("datasets", "0006_differing_commits"),
    ]

    operations = [
        migrations.AddField("maintenancerun", "attempts", models.PositiveIntegerField(default=0)),
        migrations.AddField("maintenancerun", "heartbeat_at", models.DateTimeField(blank=True, null=True)),
        migrations.AlterField(
            "maintenancerun",
            "status",
            models.CharField(choices=STATUSES, default="queued", max_length=10),
        ),
        migrations.RenameField("suiteproposal", "asked_at", "queued_at"),
        migrations.RenameField("suiteproposal", "problem", "error_message"),
        migrations.AlterField("suiteproposal", "error_message", models.TextField(blank=True)),
        migrations.AlterField("suiteproposal", "finished_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField("suiteproposal", "attempt_id", models.CharField(blank=True, max_length=64)),
        migrations.AddField("suiteproposal", "attempts", models.PositiveIntegerField(default=0)),
        migrations.AddField("suiteproposal", "error_code", models.CharField(blank=True, max_length=40)),
        migrations.AddField("suiteproposal", "fence", models.PositiveBigIntegerField(default=0)),
        migrations.AddField("suiteproposal", "heartbeat_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField("suiteproposal", "started_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField(
            "suiteproposal",
            "status",
            models.CharField(choices=STATUSES, default="queued", max_length=10),
        ),
        migrations.AddField("suiteproposal", "worker", models.CharField(blank=True, max_length=200)),
        migrations.RunPython(say_how_proposals_ended, migrations.RunPython.noop),
    ]
