"""The digest of a request's choices is kept with the request, instead of being made from all of them at every look."""

import hashlib
import json
from typing import Any

from django.conf import settings
from django.db import migrations, models
from django.db.models import Q


def digest_what_stands(apps: Any, schema_editor: Any) -> None:
    alias = schema_editor.connection.alias
    requests = apps.get_model("changerequests", "ChangeRequest").objects.using(alias)
    chosen = (
        apps.get_model("changerequests", "ConflictResolution").objects.using(alias).filter(is_current=True)
    )
    for pk in chosen.order_by().values_list("change_request", flat=True).distinct():
        facts = ("key_digest", "column", "choice", "value", "inputs_digest")
        content = sorted(list(one) for one in chosen.filter(change_request=pk).values_list(*facts))
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        requests.filter(pk=pk).update(resolutions_digest=digest)


class Migration(migrations.Migration):
    dependencies = [
        ("changerequests", "0007_identities"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="changerequest",
            name="resolutions_digest",
            field=models.CharField(
                blank=True,
                default="",
                editable=False,
                help_text="SHA-256 over the choices that stand; empty where there are none. Approvals, checks and runs "
                "are bound to it. Written whenever choices are.",
                max_length=64,
            ),
            preserve_default=False,
        ),
        migrations.AddIndex(
            model_name="conflictresolution",
            index=models.Index(
                condition=Q(is_current=True),
                fields=["change_request", "chosen_by"],
                name="who_chose_what_stands",
            ),
        ),
        migrations.RunPython(digest_what_stands, migrations.RunPython.noop, elidable=True),
    ]
