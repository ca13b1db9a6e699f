"""Tokens that were made before they had scopes stay what they were: they open all that their person may do."""

import hashlib
import uuid
from datetime import UTC, datetime

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def take_over(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """Copy the tokens of installations that have some, and let their old table go."""
    connection = editor.connection
    if "knox_authtoken" not in connection.introspection.table_names():
        return
    token = apps.get_model("accounts", "Token")
    passwords = dict(apps.get_model("auth", "User").objects.values_list("pk", "password"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT digest, token_key, user_id, created, expiry FROM knox_authtoken")
        for digest, token_key, user_id, created, expiry in cursor.fetchall():
            mark = hashlib.sha256(f"token:{passwords[user_id]}".encode()).hexdigest()
            made = token.objects.create(
                digest=digest,
                token_key=token_key,
                user_id=user_id,
                expiry=_aware(expiry),
                number=uuid.uuid4(),
                name="made before there were scopes",
                scopes=["read", "propose", "review", "merge", "admin"],
                password_mark=mark,
            )
            token.objects.filter(pk=made.pk).update(created=_aware(created))
        cursor.execute("DROP TABLE knox_authtoken")


def _aware(moment: object) -> object:
    """SQLite hands moments out as text or without a zone; they are UTC."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    if isinstance(moment, datetime) and moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    return moment


class Migration(migrations.Migration):
    # Before knox made its own table there is nothing to take over; and afterwards it has to go.
    dependencies = [("accounts", "0001_initial"), ("knox", "0009_extend_authtoken_field")]

    operations = [migrations.RunPython(take_over, migrations.RunPython.noop)]
