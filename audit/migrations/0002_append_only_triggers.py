"""The database itself refuses to change the trail. See ``audit.triggers`` for what each trigger does."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from audit.triggers import CREATE_TRIGGERS, DROP_TRIGGERS


def create(_: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    for statement in CREATE_TRIGGERS.get(editor.connection.vendor, ()):
        editor.execute(statement, params=None)


def drop(_: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    for statement in DROP_TRIGGERS.get(editor.connection.vendor, ()):
        editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [migrations.RunPython(create, drop)]
