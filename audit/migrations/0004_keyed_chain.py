"""Entries get a key, salts and digests of rows; heads get a seal.

SQLite makes a table anew to add such columns, and its triggers go with the old one: they are put back at the end.
"""

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from audit.triggers import CREATE_TRIGGERS, DROP_TRIGGERS


def create(_: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    for statement in CREATE_TRIGGERS.get(editor.connection.vendor, ()):
        editor.execute(statement, params=None)


def drop(_: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    for statement in DROP_TRIGGERS.get(editor.connection.vendor, ()):
        editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [
        ("audit", "0003_find_events_by_action"),
    ]

    operations = [
        migrations.RunPython(drop, create),
        migrations.AddField(
            model_name="chain",
            name="seal",
            field=models.CharField(
                blank=True,
                default="",
                help_text="The key's id and its signature of the head: a head that was set back has none.",
                max_length=100,
            ),
        ),
        migrations.AddField(
            model_name="event",
            name="key_id",
            field=models.CharField(
                blank=True,
                default="",
                help_text="The key of its hash; empty from before there was one.",
                max_length=20,
            ),
        ),
        migrations.AddField(
            model_name="event",
            name="redactions",
            field=models.JSONField(
                blank=True,
                help_text="Where its texts named somebody who was erased: what still proves the others.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="event",
            name="rows",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text="Digests of the database rows that were written with it, see audit.rows.",
            ),
        ),
        migrations.AddField(
            model_name="event",
            name="salt",
            field=models.CharField(
                blank=True,
                default="",
                help_text="Of the commitments that stand for its texts in the hash. Destroyed where somebody is erased.",
                max_length=32,
            ),
        ),
        migrations.RunPython(create, drop),
    ]
