"""What a commit left of a table that was not planned, until an operator has looked."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("datasets", "0005_no_merges_through_delta_rs"),
    ]

    operations = [
        migrations.AddField(
            model_name="datasetmeta",
            name="difference",
            field=models.TextField(
                blank=True,
                help_text="How the table is other than a commit of ours planned it; nothing is merged until an "
                "operator has looked. Empty where every commit is as planned.",
            ),
        ),
    ]
