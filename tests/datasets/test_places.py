"""Looking for tables before they are datasets: who sees which folders, and what of a table is told."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from datasets import services
from datasets.errors import Forbidden, InvalidInput, RegistrationRejected
from datasets.models import Dataset, Project
from datasets.roles import Role, role_on
from datasets.services.places import FoundKind
from tests.factories import PLANES, ProjectFactory, UserFactory, fresh, give_role, person_with
from tests.table_copies import create_as_copy

pytestmark = pytest.mark.django_db


@pytest.fixture
def root(delta_data_root: Path) -> Path:
    """The data folder, with a table, a folder of tables, and places that are nobody's business."""
    create_as_copy(delta_data_root / "planes", PLANES, {})
    for name in ("sales/north", "_staging/x", "_archive", "audit", ".hidden"):
        (delta_data_root / name).mkdir(parents=True)
    (delta_data_root / "link").symlink_to("/etc")
    return delta_data_root.resolve()


@pytest.fixture
def registrar(db: None) -> User:
    """Somebody who owns a project, and is no operator."""
    return person_with(Role.OWNER, ProjectFactory.create(), username="rosa")


def names(folder: services.Folder) -> dict[str, FoundKind]:
    return {one.name: one.kind for one in folder.places}


def test_folders_and_tables_are_told_and_headgates_own_are_not(root: Path, registrar: User) -> None:
    assert [one.address for one in services.roots(registrar)] == [str(root)]
    folder = services.look_into(registrar, str(root))
    assert names(folder) == {"planes": FoundKind.TABLE, "sales": FoundKind.FOLDER}
    assert folder.above is None
    inner = services.look_into(registrar, str(root / "sales"))
    assert (names(inner), inner.above) == ({"north": FoundKind.FOLDER}, str(root))


def test_operators_look_into_the_places_of_tables_too(
    root: Path, operator: User, registrar: User, settings: Settings, tmp_path: Path
) -> None:
    other = tmp_path / "lake"
    (other / "bronze").mkdir(parents=True)
    settings.TABLE_PLACES = [str(other), "s3://lake"]
    assert [one.address for one in services.roots(operator)] == [str(root), str(other)]
    assert names(services.look_into(operator, str(other))) == {"bronze": FoundKind.FOLDER}
    with pytest.raises(InvalidInput, match="Folders are shown below"):
        services.look_into(registrar, str(other))


@pytest.mark.parametrize(
    "place",
    [
        "/etc",
        "{root}/..",
        "{root}/sales/../../x",
        "{root}/link",
        "{root}/_staging",
        "{root}/audit",
        "s3://lake",
        "{root}/\x00",
        "sales",
    ],
)
def test_no_other_folder_is_looked_into(root: Path, registrar: User, place: str) -> None:
    with pytest.raises(InvalidInput):
        services.look_into(registrar, place.format(root=root))


def test_nobody_else_looks(root: Path) -> None:
    vera = person_with(Role.VIEWER, ProjectFactory.create(), username="vera")
    for look in (lambda: services.roots(vera), lambda: services.look_into(vera, str(root))):
        with pytest.raises(Forbidden, match="Only owners of a project and operators add tables"):
            look()


def test_the_dataset_of_others_is_not_there(
    root: Path, dataset: Dataset, registrar: User, owner: User, operator: User
) -> None:
    table = Path(dataset.table_uri)
    assert table.is_relative_to(root)
    above = str(table.parent)
    assert table.name not in names(services.look_into(registrar, above))
    with pytest.raises(InvalidInput, match="There is no folder"):
        services.look_into(registrar, str(table))
    assert names(services.look_into(operator, above))[table.name] is FoundKind.DATASET
    give_role(registrar, dataset, Role.VIEWER)
    seeing = fresh(registrar)
    assert names(services.look_into(seeing, above))[table.name] is FoundKind.DATASET
    with pytest.raises(InvalidInput, match="which is a dataset already"):
        services.look_into(seeing, str(table))


def test_a_key_is_tried_before_anything_is_written(root: Path, registrar: User) -> None:
    table = str(root / "planes")
    assert services.look_at_table(table_uri=table, actor=registrar).key is None
    good = services.look_at_table(table_uri=f"{table}/", actor=registrar, primary_keys=["tailnum"])
    assert (good.address, good.key and good.key.ok) == (table, True)
    bad = services.look_at_table(table_uri=table, actor=registrar, primary_keys=["manufacturer"])
    assert bad.key is not None
    assert (bad.key.ok, bad.key.null_rows, bad.key.duplicate_keys) == (False, 1, 0)
    with pytest.raises(RegistrationRejected) as refused:
        services.look_at_table(table_uri=table, actor=registrar, primary_keys=["nothing"])
    assert list(refused.value.by_field) == ["primary_keys"]
    with pytest.raises(RegistrationRejected) as refused:
        services.look_at_table(table_uri=str(root / "sales"), actor=registrar)
    assert list(refused.value.by_field) == ["table_uri"]
    assert not Dataset.objects.exists()


def test_a_project_is_made_with_its_first_table_or_not_at_all(root: Path, operator: User) -> None:
    carl = UserFactory.create(username="carl")
    wanted: dict[str, Any] = {
        "slug": "planes",
        "name": "Planes",
        "actor": operator,
        "roles": {operator: Role.OWNER, carl: Role.CONTRIBUTOR},
    }
    project = services.NewProject(slug="fleet", name="Fleet")
    for uri, keys in ((root / "sales", ["tailnum"]), (root / "planes", ["manufacturer"])):
        with pytest.raises(RegistrationRejected):
            services.register_dataset(project=project, table_uri=str(uri), primary_keys=keys, **wanted)
    assert not Project.objects.exists()
    made = services.register_dataset(
        project=project, table_uri=str(root / "planes"), primary_keys=["tailnum"], **wanted
    )
    assert (made.project.slug, role_on(fresh(operator), made.project), role_on(carl, made.project)) == (
        "fleet",
        Role.OWNER,
        Role.CONTRIBUTOR,
    )
    create_as_copy(root / "more", PLANES, {})
    with pytest.raises(InvalidInput) as taken:  # the project is there by now
        services.register_dataset(
            project=project, table_uri=str(root / "more"), primary_keys=["tailnum"], **wanted
        )
    assert list(taken.value.by_field) == ["project"]


def test_owners_make_no_projects_with_tables(root: Path, registrar: User) -> None:
    with pytest.raises(Forbidden, match="Only operators make projects"):
        services.register_dataset(
            project=services.NewProject(slug="fleet", name="Fleet"),
            slug="planes",
            name="Planes",
            table_uri=str(root / "planes"),
            primary_keys=["tailnum"],
            actor=registrar,
        )
    assert not Dataset.objects.exists()
