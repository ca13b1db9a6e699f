from typing import Any

from django.conf import settings
from django.db import migrations, models


def take_over(apps: Any, schema_editor: Any) -> None:
    """Whoever has made tokens of service accounts so far stands in the trail, by the user name that they had."""
    accounts = {one.user.username: one for one in apps.get_model("accounts", "ServiceAccount").objects.all()}
    people = apps.get_model("auth", "User").objects
    made = apps.get_model("audit", "Event").objects.filter(action="token.made", data__has_key="of")
    for actor, data in made.order_by().values_list("actor", "data").distinct() if accounts else ():
        account, holder = accounts.get(data["of"]), people.filter(username=actor).first()
        if account is not None and holder is not None:
            account.key_holders.add(holder)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0006_service_accounts"),
        ("audit", "0006_outbox"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="serviceaccount",
            name="key_holders",
            field=models.ManyToManyField(
                blank=True, related_name="service_keys", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.RunPython(take_over, migrations.RunPython.noop),
    ]
