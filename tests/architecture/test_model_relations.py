"""Foreign keys go down the layers, as imports do: a lower app never points at a higher one."""

from collections.abc import Iterable

from django.apps import apps
from django.db import models
from django.test.utils import isolate_apps

#: Apps that are not named are other people's (users, permissions, sessions) and lie below all of ours.
LAYERS = {"audit": 1, "merging": 1, "datasets": 2, "accounts": 3, "changerequests": 3, "notifications": 4}


def relations_that_point_upward(candidates: Iterable[type[models.Model]]) -> list[str]:
    """Every relation whose target is in a higher app, or in another app of the same layer."""
    found = []
    for model in candidates:
        own = LAYERS.get(model._meta.app_label, 0)
        for field in model._meta.get_fields():
            if field.auto_created or not field.is_relation or field.related_model is None:
                continue
            target = field.related_model._meta.app_label
            layer = LAYERS.get(target, 0)
            if layer > own or (0 < layer == own and target != model._meta.app_label):
                found.append(f"{model._meta.label}.{field.name} -> {field.related_model._meta.label}")
    return found


def test_no_foreign_key_points_upward() -> None:
    ours = [model for model in apps.get_models() if model._meta.app_label in LAYERS]
    assert ours, "the project has models"
    assert relations_that_point_upward(apps.get_models(include_auto_created=True)) == []


@isolate_apps("datasets", "changerequests", "audit")
def test_a_foreign_key_that_points_upward_is_found() -> None:
    class Higher(models.Model):
        class Meta:
            app_label = "changerequests"

        def __str__(self) -> str:
            return "higher"

    class Lower(models.Model):
        higher = models.ForeignKey(Higher, on_delete=models.CASCADE)

        class Meta:
            app_label = "datasets"

        def __str__(self) -> str:
            return "lower"

    assert relations_that_point_upward([Higher, Lower]) == ["datasets.Lower.higher -> changerequests.Higher"]
