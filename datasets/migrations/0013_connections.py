"""Connections, and one dataset for one table: what is there goes on as it was, opened as the process opens it."""

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


def mark_copies(apps, schema_editor):
    """Of datasets whose tables have one identity, all but the first are the copies that somebody made."""
    meta = apps.get_model("datasets", "DatasetMeta")
    known = set()
    for pk, table_id in meta.objects.order_by("pk").values_list("pk", "table_id").iterator():
        if table_id in known:
            meta.objects.filter(pk=pk).update(is_copy=True)
        known.add(table_id)


class Migration(migrations.Migration):
    dependencies = [("datasets", "0012_suite_trials")]

    operations = [
        migrations.CreateModel(
            name="Connection",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        max_length=64,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "^[a-z0-9][a-z0-9_-]*\\Z",
                                "Use small letters, digits, - and _, beginning with a letter or digit.",
                            )
                        ],
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("local", "Folder of this server"),
                            ("s3", "S3, or a store that speaks S3"),
                            ("gcs", "Google Cloud Storage"),
                            ("azure", "Azure Blob Storage or Data Lake"),
                        ],
                        max_length=8,
                    ),
                ),
                (
                    "root",
                    models.CharField(
                        help_text="Where it begins: its tables lie below. The longest root counts.",
                        max_length=1000,
                        unique=True,
                    ),
                ),
                (
                    "options",
                    models.JSONField(blank=True, default=dict, help_text="By name, none of them a secret."),
                ),
                (
                    "sealed",
                    models.JSONField(default=dict, editable=False, help_text="Secret options, encrypted."),
                ),
                (
                    "references",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text="Where secret options stand: env:NAME or file:/path, by name.",
                    ),
                ),
                ("version", models.PositiveIntegerField(default=1, editable=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={"ordering": ["name"]},
        ),
        migrations.CreateModel(
            name="ConnectionPrefix",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "path",
                    models.CharField(
                        blank=True, help_text="Below the root; empty for all of it.", max_length=1000
                    ),
                ),
                (
                    "connection",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="prefixes",
                        to="datasets.connection",
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="prefixes",
                        to="datasets.project",
                    ),
                ),
            ],
            options={
                "ordering": ["connection__name", "project__name", "path"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("connection", "project", "path"), name="prefix_once_per_project"
                    )
                ],
            },
        ),
        migrations.AddField(
            model_name="dataset",
            name="connection",
            field=models.ForeignKey(
                blank=True,
                help_text="How its store is opened; empty for local folders and for what the process has of itself.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="datasets",
                to="datasets.connection",
            ),
        ),
        migrations.AddField(
            model_name="datasetmeta",
            name="is_copy",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Whether an operator said that another dataset's table has the same identity: a copy of its "
                "folder.",
            ),
        ),
        migrations.RunPython(mark_copies, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name="datasetmeta",
            constraint=models.UniqueConstraint(
                condition=models.Q(("is_copy", False)), fields=("table_id",), name="one_dataset_per_table_id"
            ),
        ),
    ]
