"""What ``manage.py check`` says of an installation."""

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from pytest_django import Settings

from config.checks import data_root_can_be_used
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


def test_a_data_root_is_tried_and_what_is_missing_is_said(settings: Settings, tmp_path: Path) -> None:
    settings.DELTA_DATA_ROOT = tmp_path
    assert data_root_can_be_used() == []
    assert [*tmp_path.iterdir()] == [], "nothing is left behind"

    settings.DELTA_DATA_ROOT = tmp_path / "new"
    [told] = data_root_can_be_used()
    assert (told.id, told.msg) == (
        "headgate.I002",
        f"There is no folder {tmp_path}/new yet: the first process makes it, where it may.",
    )


def test_a_data_root_whose_store_does_not_answer_is_an_error_without_its_secrets(settings: Settings) -> None:
    settings.DELTA_DATA_ROOT = "s3://lake/headgate"
    settings.DELTA_DATA_ROOT_OPTIONS = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "canary",
        "AWS_ALLOW_HTTP": "true",
    }
    [told] = data_root_can_be_used()
    assert told.id == "headgate.E001"
    assert told.msg.startswith(
        "DELTA_DATA_ROOT (s3://lake/headgate) cannot be used. List what is there: Its store cannot be connected to"
    )
    assert "canary" not in f"{told.msg} {told.hint}"
