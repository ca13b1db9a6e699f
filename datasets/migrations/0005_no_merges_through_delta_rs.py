"""Datasets whose merges went through delta-rs: how they are written now is found out when the table is next looked at."""

from typing import Any

from django.db import migrations


def forget_delta_rs(apps: Any, schema_editor: Any) -> None:
    apps.get_model("datasets", "DatasetMeta").objects.filter(strategy="delta-rs").update(strategy="")


class Migration(migrations.Migration):
    dependencies = [("datasets", "0004_maintenance")]

    operations = [migrations.RunPython(forget_delta_rs, migrations.RunPython.noop)]
