"""``dataset_meta``: right after every merge, and after what others did to the table."""

import shutil
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from django.db import transaction
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

import merging
from audit.selectors import events_of
from datasets import services
from datasets.errors import Forbidden, InvalidInput, RegistrationRejected, TableReplaced
from datasets.models import Dataset, DatasetMeta
from datasets.operators import make_operator
from datasets.roles import Role
from datasets.tasks import reconcile_all
from tests.factories import (
    PLANES,
    ChangeRequestFactory,
    DatasetFactory,
    ProjectFactory,
    UserFactory,
    fresh,
    merge,
    person_with,
    table_folder,
)

pytestmark = pytest.mark.django_db


def known(dataset: Dataset) -> tuple[int, int | None, str]:
    dataset.meta.refresh_from_db()
    return dataset.meta.delta_version, dataset.meta.row_count, dataset.meta.problem


def append(dataset: Dataset, *tailnums: str) -> None:
    """What a foreign job does."""
    rows = PLANES.slice(0, len(tailnums)).set_column(0, "tailnum", pa.array(list(tailnums)))
    write_deltalake(dataset.table_uri, rows, mode="append")


def test_registration_remembers_the_table(dataset: Dataset) -> None:
    info = merging.inspect_table(dataset.table_uri)

    assert known(dataset) == (0, 4, "")
    assert (dataset.meta.table_id, dataset.meta.size_bytes, dataset.meta.file_count) == (
        info.table_id,
        info.size_bytes,
        info.file_count,
    )
    assert [field["type"] for field in dataset.meta.schema_json["fields"]] == [
        "string",
        "long",
        "string",
        "long",
    ]
    event = events_of("dataset", str(dataset.pk)).get(action="dataset.registered")
    assert (event.data["delta_version"], event.data["row_count"]) == (0, 4)


def test_a_merge_moves_version_rows_and_schema(dataset: Dataset) -> None:
    change_request = ChangeRequestFactory.create(
        dataset=dataset, csv="_op,tailnum,engines\ndelete,N1,\ninsert,N8,2\ninsert,N9,4\n"
    )
    merge(change_request, person_with(Role.OWNER, dataset), dataset_name_typed=dataset.name)

    assert known(dataset) == (1, 5, "")
    assert dataset.meta.schema_json["fields"][-1]["name"] == "engines"
    assert DeltaTable(dataset.table_uri).version() == 1


def test_the_periodic_task_finds_what_others_wrote(dataset: Dataset) -> None:
    append(dataset, "N7")
    append(dataset, "N8", "N9")

    reconcile_all()

    assert known(dataset) == (2, 7, "")


def test_tables_that_did_not_move_cost_three_statements_together(
    dataset: Dataset, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    others = [DatasetFactory.create() for _ in range(3)]
    before = DatasetMeta.objects.get(dataset=others[0]).checked_at
    with django_assert_num_queries(3):
        assert services.reconcile_all() == 0
    assert all(meta.checked_at > before for meta in DatasetMeta.objects.all())

    append(dataset, "N7")
    with django_assert_num_queries(3 + 10):  # one moved: it is locked, written and told
        assert services.reconcile_all() == 1

    assert known(dataset) == (1, 5, "")
    assert events_of("dataset", str(dataset.pk)).filter(action="dataset.reconciled").count() == 1
    assert not events_of("dataset", str(others[0].pk)).filter(action="dataset.reconciled").exists()


def test_what_was_looked_at_before_a_merge_recorded_it_is_not_newer_than_that(
    dataset: Dataset,
) -> None:
    later = timezone.now() + timedelta(minutes=1)
    DatasetMeta.objects.update(checked_at=later)

    assert services.reconcile_all() == 0

    assert DatasetMeta.objects.get().checked_at == later


def test_the_periodic_task_tells_of_a_table_that_is_gone(dataset: Dataset) -> None:
    shutil.rmtree(dataset.table_uri)

    assert services.reconcile_all() == 1

    assert known(dataset)[:2] == (0, 4)
    assert "There is no Delta table" in known(dataset)[2]


def test_a_merge_after_a_foreign_write_is_made_on_the_new_version(dataset: Dataset) -> None:
    change_request = ChangeRequestFactory.create(dataset=dataset)
    append(dataset, "N7")

    run = merge(change_request, person_with(Role.OWNER, dataset))

    assert run.merged_version == 2
    assert known(dataset) == (2, 6, "")


def test_nothing_moved_is_no_event(dataset: Dataset) -> None:
    services.reconcile(dataset_id=dataset.pk)

    assert not events_of("dataset", str(dataset.pk)).filter(action="dataset.reconciled").exists()


def test_a_slower_reader_takes_nothing_back(dataset: Dataset) -> None:
    before = merging.inspect_table(dataset.table_uri)
    append(dataset, "N7")
    services.reconcile(dataset_id=dataset.pk)
    with transaction.atomic():
        services.remember_table(dataset, before)

    assert known(dataset) == (1, 5, "")


def test_a_table_that_was_put_back_from_a_backup_is_known_as_it_is(dataset: Dataset, tmp_path: Path) -> None:
    shutil.copytree(dataset.table_uri, tmp_path / "backup")
    append(dataset, "N7")
    append(dataset, "N8", "N9")
    services.reconcile_all()
    shutil.rmtree(dataset.table_uri)
    shutil.copytree(tmp_path / "backup", dataset.table_uri)
    assert services.reconcile_all() == 1

    assert known(dataset) == (0, 4, "")
    event = events_of("dataset", str(dataset.pk)).filter(action="dataset.reconciled").latest("pk")
    assert (event.data["before"]["delta_version"], event.data["after"]["delta_version"]) == (2, 0)
    assert services.reconcile_all() == 0


def test_a_table_that_is_gone_keeps_its_facts_and_gets_a_problem(dataset: Dataset) -> None:
    away = Path(dataset.table_uri).with_name("away")
    shutil.move(dataset.table_uri, away)

    services.reconcile(dataset_id=dataset.pk)

    version, rows, problem = known(dataset)
    assert (version, rows) == (0, 4)
    assert dataset.table_uri in problem
    shutil.move(away, dataset.table_uri)
    services.reconcile(dataset_id=dataset.pk)
    assert known(dataset) == (0, 4, "")


def test_a_table_that_was_made_anew_is_another_table(dataset: Dataset) -> None:
    shutil.rmtree(dataset.table_uri)
    merging.create_table(dataset.table_uri, PLANES)

    services.reconcile(dataset_id=dataset.pk)

    assert "dropped and made anew" in known(dataset)[2]
    with pytest.raises(TableReplaced):
        services.table_at(dataset=dataset)


# --- Registering --------------------------------------------------------------------------------------------


def test_one_table_is_one_dataset_however_it_is_spelt(dataset: Dataset) -> None:
    for spelling in (
        f"{dataset.table_uri}/",
        f"file://{dataset.table_uri}",
        f"{dataset.table_uri}/../planes",
    ):
        uri = (
            spelling
            if not spelling.endswith("planes")
            else f"{dataset.table_uri}/../{Path(dataset.table_uri).name}"
        )
        with pytest.raises(InvalidInput, match="is a dataset already"):
            services.register_dataset(
                project=dataset.project, slug="again", name="Again", table_uri=uri, primary_keys=["tailnum"]
            )
    assert Dataset.objects.count() == 1


def test_keys_that_do_not_hold_are_refused_with_counts_and_examples() -> None:
    table = table_folder("doubled")
    merging.create_table(str(table), pa.table({"n": ["a", "a", None], "x": [1, 2, 3]}))

    with pytest.raises(RegistrationRejected) as refused:
        services.register_dataset(
            project=ProjectFactory.create(), slug="d", name="D", table_uri=str(table), primary_keys=["n"]
        )

    assert (refused.value.data["null_rows"], refused.value.data["duplicate_keys"]) == (1, 1)
    assert Dataset.objects.count() == 0


def test_a_folder_that_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegistrationRejected):
        services.register_dataset(
            project=ProjectFactory.create(), slug="d", name="D", table_uri=str(tmp_path), primary_keys=["n"]
        )


@pytest.mark.parametrize("folder", ["_staging", "_archive", "audit"])
def test_headgates_own_folders_hold_no_datasets(folder: str, delta_data_root: Path) -> None:
    project = ProjectFactory.create()
    owner = person_with(Role.OWNER, project)

    with pytest.raises(Forbidden):
        services.register_dataset(
            project=project,
            slug="d",
            name="D",
            table_uri=str(delta_data_root / folder / "x"),
            primary_keys=["n"],
            actor=owner,
        )


def test_operators_make_projects_and_others_do_not() -> None:
    adam = UserFactory.create()
    make_operator(adam)

    assert services.create_project(slug="flights", name="Flights", actor=fresh(adam)).pk
    with pytest.raises(Forbidden):
        services.create_project(slug="other", name="Other", actor=UserFactory.create())
    with pytest.raises(InvalidInput):
        services.create_project(slug="flights", name="Again", actor=fresh(adam))


def test_registering_a_table_that_is_a_dataset_shows_nothing_of_it() -> None:
    secret = DatasetFactory.create(data=pa.table({"tailnum": ["N1", "N2"], "code": ["secret", "secret"]}))
    project = ProjectFactory.create()
    with pytest.raises(InvalidInput, match="is a dataset already") as refused:
        services.register_dataset(
            project=project,
            slug="mine",
            name="Mine",
            table_uri=secret.table_uri,
            primary_keys=["code"],
            actor=person_with(Role.OWNER, project),
        )
    assert "secret" not in f"{refused.value.message} {refused.value.data}"
