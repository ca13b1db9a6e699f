"""Identities: what the transaction markers in the tables' logs name a request.

Requests that are there already keep the name that their markers may hold, their public id; from then on there is one
rule, "the marker names the identity". Merges that are under way did not note the version that they put, so that any
version may be theirs until the log is asked.
"""

from typing import Any

from django.db import migrations, models
from django.db.models import CharField, Q, Value
from django.db.models.functions import Cast, Concat

import changerequests.models

#: Above every version: the next look at the log settles it.
ANY_VERSION = 2**63 - 1


def name_as_the_markers_do(apps: Any, schema_editor: Any) -> None:
    requests = apps.get_model("changerequests", "ChangeRequest").objects.using(schema_editor.connection.alias)
    requests.update(identity=Concat(Value("CR-"), Cast("pk", CharField())))
    requests.filter(status="merging").update(unsettled_version=ANY_VERSION)
    if schema_editor.connection.vendor == "postgresql":
        # It alters no table in whose rows foreign keys wait to be looked at.
        schema_editor.execute("SET CONSTRAINTS ALL IMMEDIATE")


class Migration(migrations.Migration):
    dependencies = [("changerequests", "0006_what_an_upload_brings")]

    operations = [
        migrations.AddField(
            model_name="changerequest",
            name="identity",
            field=models.CharField(
                default="",
                editable=False,
                help_text="What its transaction marker in the table's log names it. Random; of requests from before "
                "there were identities, the public id that their markers hold.",
                max_length=40,
            ),
        ),
        migrations.AddField(
            model_name="changerequest",
            name="unsettled_version",
            field=models.PositiveBigIntegerField(
                blank=True,
                editable=False,
                help_text="The highest table version that a merge began to commit and that may land yet. Set before "
                "the commit, cleared once the log shows what became of it; until then nothing of the request may "
                "change.",
                null=True,
            ),
        ),
        migrations.RunPython(name_as_the_markers_do, migrations.RunPython.noop),
        migrations.AlterField(
            model_name="changerequest",
            name="identity",
            field=models.CharField(
                default=changerequests.models.new_identity,
                editable=False,
                help_text="What its transaction marker in the table's log names it. Random; of requests from before "
                "there were identities, the public id that their markers hold.",
                max_length=40,
                unique=True,
            ),
        ),
        migrations.AddConstraint(
            model_name="changerequest",
            constraint=models.CheckConstraint(
                condition=Q(
                    ("unsettled_version__isnull", True),
                    ("status__in", ["pending", "merging"]),
                    _connector="OR",
                ),
                name="nothing_unsettled_is_edited_or_closed",
            ),
        ),
    ]
