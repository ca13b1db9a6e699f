from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("changerequests", "0021_suggestions_taken"),
    ]

    operations = [
        migrations.AddField(
            model_name="revision",
            name="checks_cut_short",
            field=models.PositiveSmallIntegerField(
                default=0, help_text="Checks of it that were begun since the last one that came to its end."
            ),
        ),
    ]
