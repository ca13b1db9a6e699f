"""What ``manage.py check`` says of an installation."""

from io import StringIO

import pytest
from django.core.management import call_command

from datasets.models import Dataset

pytestmark = pytest.mark.django_db


def said_of(**asked: list[str]) -> str:
    out = StringIO()
    call_command("check", stdout=out, stderr=out, **asked)
    return out.getvalue()


def test_an_address_with_a_secret_from_before_is_named_without_it(dataset: Dataset) -> None:
    assert "W001" not in said_of(databases=["default"])
    Dataset.objects.filter(pk=dataset.pk).update(table_uri="s3://KEY:canary@bucket/table")
    said = said_of(databases=["default"])
    assert "headgate.W001" in said
    assert str(dataset.slug) in said
    assert "canary" not in said


def test_a_check_that_asks_no_database_asks_none(django_assert_num_queries: object) -> None:
    with django_assert_num_queries(0):  # type: ignore[operator]
        said_of()
