"""Lists count the open threads of the requests on a page, not of all."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("changerequests", "0009_keys_of_merges")]

    operations = [
        migrations.AddIndex(
            model_name="comment",
            index=models.Index(
                condition=models.Q(("parent__isnull", True), ("resolved_at__isnull", True)),
                fields=["change_request", "parent"],
                name="open_threads",
            ),
        ),
    ]
