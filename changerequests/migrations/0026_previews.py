"""A statement that is tried becomes content of any kind that is looked at; uploads learn how it was read."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import changerequests.states


def tell_statements(apps, schema_editor):
    """What there was before are statements."""
    apps.get_model("changerequests", "Preview").objects.update(kind="sql", asks_about_columns=False)


class Migration(migrations.Migration):
    dependencies = [
        ("changerequests", "0025_partial_acceptance"),
        ("datasets", "0011_remembered_answers"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RenameModel("Query", "Preview"),
        migrations.AlterModelOptions("preview", {"ordering": ["-pk"]}),
        migrations.RenameIndex("preview", new_name="preview_queue", old_name="query_queue"),
        migrations.RenameField("preview", "statement", "source"),
        migrations.AddField(
            model_name="preview",
            name="asks_about_columns",
            field=models.BooleanField(
                default=True,
                help_text="Whether columns that the table lacks are told, not added, until decided about.",
            ),
        ),
        migrations.AddField(
            model_name="preview",
            name="change_request",
            field=models.ForeignKey(
                blank=True,
                help_text="Whose content it is meant to become; empty for that of a new one.",
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="changerequests.changerequest",
            ),
        ),
        migrations.AddField(
            model_name="preview",
            name="column_actions",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text="What was decided about columns, by their names in the content: action, to, type.",
            ),
        ),
        migrations.AddField(
            model_name="preview",
            name="column_types",
            field=models.JSONField(blank=True, default=dict),
        ),
        migrations.AddField(
            model_name="preview",
            name="description",
            field=models.TextField(blank=True),
        ),
        migrations.AddField(
            model_name="preview",
            name="empty_cells",
            field=models.CharField(
                blank=True,
                choices=[("keep", "keep"), ("null", "null"), ("text", "text")],
                help_text="What an empty cell of a CSV file or a workbook means; empty: what null_token says.",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="preview",
            name="file_format",
            field=models.CharField(blank=True, help_text="Empty: by the file's name.", max_length=20),
        ),
        migrations.AddField(
            model_name="preview",
            name="file_name",
            field=models.CharField(blank=True, max_length=255),
        ),
        migrations.AddField(
            model_name="preview",
            name="kind",
            field=models.CharField(
                choices=[("file", "file"), ("rows", "rows"), ("sql", "sql"), ("table", "table")],
                default=changerequests.states.UploadKind["FILE"],
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="preview",
            name="null_token",
            field=models.TextField(blank=True),
        ),
        migrations.AddField(
            model_name="preview",
            name="pasted",
            field=models.TextField(
                blank=True,
                help_text="Rows that were typed into the page: shown again where they are refused, forgotten once staged.",
            ),
        ),
        migrations.AddField(
            model_name="preview",
            name="size_bytes",
            field=models.PositiveBigIntegerField(
                default=0, help_text="Of the file as it was received; 0 of what came without one."
            ),
        ),
        migrations.AddField(
            model_name="preview",
            name="title",
            field=models.CharField(blank=True, max_length=200),
        ),
        migrations.AddField(
            model_name="upload",
            name="column_actions",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text="What was decided about columns, by their names in the content: action, to, type.",
            ),
        ),
        migrations.AddField(
            model_name="upload",
            name="empty_cells",
            field=models.CharField(
                blank=True,
                choices=[("keep", "keep"), ("null", "null"), ("text", "text")],
                help_text="What an empty cell of a CSV file or a workbook means; empty: what null_token says.",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="upload",
            name="preview",
            field=models.ForeignKey(
                blank=True,
                help_text="Where it was looked at before.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="changerequests.preview",
            ),
        ),
        migrations.AlterField(
            model_name="preview",
            name="dataset",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="previews", to="datasets.dataset"
            ),
        ),
        migrations.AlterField(
            model_name="preview",
            name="source",
            field=models.TextField(
                blank=True, help_text="The SQL statement or the address of the table; else empty."
            ),
        ),
        migrations.AlterField(
            model_name="upload",
            name="size_bytes",
            field=models.PositiveBigIntegerField(
                default=0, help_text="Of the file as it was received; 0 of what came without one."
            ),
        ),
        migrations.AddIndex(
            model_name="preview",
            index=models.Index(fields=["asked_by"], name="previews_of_person"),
        ),
        migrations.RunPython(tell_statements, migrations.RunPython.noop),
    ]
