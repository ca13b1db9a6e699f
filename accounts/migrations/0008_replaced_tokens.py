import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0007_key_holders"),
    ]

    operations = [
        migrations.AddField(
            model_name="token",
            name="replaces",
            field=models.OneToOneField(
                blank=True,
                help_text="The token in whose place it was made; each has one in its place at most.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="replaced_by",
                to=settings.KNOX_TOKEN_MODEL,
            ),
        ),
    ]
