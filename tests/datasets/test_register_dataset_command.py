"""``register_dataset`` on real tables: what it registers, and what it refuses with which words."""

import shutil
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from audit.models import Event
from datasets.models import Dataset, Project
from datasets.roles import Role, role_on

pytestmark = pytest.mark.django_db

PLANES = pa.table({"tailnum": ["N1", "N2", "N2"], "seat": [1, 1, 2], "engine": [None, "a", "b"]})


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "Planes"
    write_deltalake(str(path), PLANES)
    return path


def register(table: Path | str, *options: str) -> str:
    output = StringIO()
    call_command("register_dataset", str(table), "--project", "fleet", *options, stdout=output)
    return output.getvalue()


def refused(table: Path | str, *options: str) -> str:
    with pytest.raises(CommandError) as error:
        register(table, "--create-project", "Fleet", *options)
    assert not Dataset.objects.exists()
    assert not Project.objects.exists()
    assert not Event.objects.exists()
    return str(error.value)


def test_a_table_becomes_a_dataset_with_its_facts_and_an_owner(table: Path) -> None:
    olivia = User.objects.create_user("olivia")
    said = register(
        table,
        *("--create-project", "Fleet", "--key", "tailnum", "--key", "seat"),
        *("--owner", "olivia", "--delete-limit", "0.2", "--required-approvals", "2"),
    )
    dataset = Dataset.objects.get()
    assert said == (
        "Registered fleet/planes: version 0, 3 rows, key tailnum, seat, merges by copy-on-write.\n"
    )
    assert (dataset.project.name, dataset.slug, dataset.name) == ("Fleet", "planes", "planes")
    assert (dataset.primary_keys, dataset.delete_limit) == (["tailnum", "seat"], Decimal("0.2"))
    assert dataset.required_approvals == 2
    assert (dataset.meta.delta_version, dataset.meta.row_count) == (0, 3)
    assert role_on(olivia, dataset) is Role.OWNER


def test_keys_with_duplicates_or_nulls_are_refused_with_their_numbers(table: Path) -> None:
    assert "1 keys occur more than once" in refused(table, "--key", "tailnum")
    assert "1 rows have a NULL" in refused(table, "--key", "tailnum", "--key", "seat", "--key", "engine")


def test_a_key_column_that_is_not_there_is_named(table: Path) -> None:
    assert "wing" in refused(table, "--key", "wing")


def test_a_table_inside_of_another_dataset_s_folder_or_around_it_is_refused(table: Path) -> None:
    register(table, "--create-project", "Fleet", "--key", "tailnum", "--key", "seat")
    inner = table / "inner"
    shutil.copytree(table, inner)
    outer = table.parent
    shutil.copytree(table / "_delta_log", outer / "_delta_log")
    for nested, sentence in ((inner, "inside of another dataset"), (outer, "lies inside of this folder")):
        with pytest.raises(CommandError, match=sentence):
            register(nested, "--key", "tailnum", "--key", "seat")
    assert Dataset.objects.count() == 1
    beside = Path(f"{table}-2")
    shutil.copytree(table / "_delta_log", beside / "_delta_log")
    for file in table.glob("*.parquet"):
        shutil.copy(file, beside)
    with pytest.raises(CommandError, match="has the same identity"):
        register(beside, "--key", "tailnum", "--key", "seat")
    register(beside, "--is-copy", "--key", "tailnum", "--key", "seat")


def test_a_folder_that_is_no_delta_table_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    assert str(folder) in refused(folder, "--key", "tailnum")


def test_a_table_with_a_feature_that_cannot_be_written_is_refused_by_its_name(table: Path) -> None:
    log = table / "_delta_log" / "00000000000000000001.json"
    log.write_text(
        '{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":[],'
        '"writerFeatures":["icebergCompatV2","domainMetadata"]}}\n'
    )
    assert "icebergCompatV2" in refused(table, "--key", "tailnum", "--key", "seat")


def test_projects_and_owners_must_be_there(table: Path) -> None:
    with pytest.raises(CommandError, match="There is no project fleet"):
        register(table, "--key", "seat")
    assert "There is no user nobody" in refused(table, "--key", "seat", "--owner", "nobody")
    assert "share between 0 and 1" in refused(table, "--key", "seat", "--delete-limit", "much")


def test_a_table_is_registered_once(table: Path) -> None:
    register(table, "--create-project", "Fleet", "--key", "tailnum", "--key", "seat")
    with pytest.raises(CommandError, match="is a dataset already"):
        register(table, "--slug", "again", "--key", "tailnum", "--key", "seat")
    assert Dataset.objects.count() == 1
    assert DeltaTable(str(table)).version() == 0
