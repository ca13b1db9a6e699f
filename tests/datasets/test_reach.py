"""Tables whose logs name files of other tables: no dataset of owners, and none that becomes so later is read."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from django.test import Client
from pytest_django import Settings

import merging
from audit.selectors import events_of
from audit.services import verify
from changerequests.errors import UploadEnded
from changerequests.models import ChangeRequest
from changerequests.services import plans
from datasets import services
from datasets.errors import Forbidden, RegistrationRejected
from datasets.models import Dataset
from datasets.operators import make_operator
from datasets.roles import Role
from datasets.services.reach import how_opened, why_not
from tests import kept
from tests.factories import (
    ChangeRequestFactory,
    DatasetFactory,
    ProjectFactory,
    UserFactory,
    fresh,
    person_with,
    stage_csv,
    table_folder,
)

pytestmark = pytest.mark.django_db

SECRET = pa.table({"tailnum": ["N1", "N2"], "code": ["secret", "secret"]})


@pytest.fixture
def secret() -> Dataset:
    return DatasetFactory.create(data=SECRET, primary_keys=["tailnum"])


def log_of(table: str | Path, version: int = 0) -> Path:
    return Path(table, "_delta_log", f"{version:020d}.json")


def actions_of(table: str | Path) -> list[dict[str, dict[str, str]]]:
    return [json.loads(line) for line in log_of(table).read_text().splitlines()]


def climb_out(table: str, secret: Dataset) -> str:
    """What somebody does who can write the log of one table; returns the path that is named."""
    [add] = [one["add"] for one in actions_of(secret.table_uri) if "add" in one]
    named = {**add, "path": f"file://{secret.table_uri}/{add['path']}"}
    log_of(table, 1).write_text(json.dumps({"add": named}) + "\n")
    return named["path"]


def shallow_clone(secret: Dataset) -> tuple[str, str]:
    clone = table_folder("clone")
    merging.create_table(str(clone), SECRET)
    for one in clone.glob("*.parquet"):
        one.unlink()
    actions = [one for one in actions_of(clone) if "add" not in one]
    log_of(clone).write_text("".join(json.dumps(one) + "\n" for one in actions))
    return str(clone), climb_out(str(clone), secret)


def test_fs6_an_owner_registers_no_table_that_names_files_of_others(secret: Dataset) -> None:
    clone, path = shallow_clone(secret)
    project = ProjectFactory.create()

    with pytest.raises(RegistrationRejected) as refused:
        services.register_dataset(
            project=project,
            slug="mine",
            name="Mine",
            table_uri=clone,
            primary_keys=["code"],
            actor=person_with(Role.OWNER, project),
        )

    assert "names files outside of the table's folder" in refused.value.message
    assert "shallow clones" in refused.value.message
    assert refused.value.data["paths"] == [path]
    assert "secret" not in str(refused.value.data).replace(secret.slug, "").replace(secret.table_uri, "")
    assert list(Dataset.objects.all()) == [secret]


def test_fs6_an_operator_registers_a_shallow_clone_and_the_record_says_so(secret: Dataset) -> None:
    clone, path = shallow_clone(secret)
    operator = UserFactory.create()
    make_operator(operator)

    dataset = services.register_dataset(
        project=ProjectFactory.create(),
        slug="clone",
        name="Clone",
        table_uri=clone,
        primary_keys=["tailnum"],
        actor=fresh(operator),
    )

    assert dataset.files_elsewhere
    event = events_of("dataset", str(dataset.pk)).get(action="dataset.registered")
    assert event.data["files_elsewhere"] == 1
    assert "lie outside of its folder" in event.data["warnings"][0]
    assert merging.inspect_table(clone).files_elsewhere == (path,)
    assert services.reconcile(dataset_id=dataset.pk).problem == ""


def test_fs6_a_dataset_whose_log_climbs_out_later_is_not_read(secret: Dataset) -> None:
    dataset = DatasetFactory.create(data=SECRET, primary_keys=["tailnum"])
    change_request = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,code\nN1,new\n")
    assert not dataset.files_elsewhere
    path = climb_out(dataset.table_uri, secret)

    for opening in (
        lambda: merging.preview(dataset.table_uri, primary_keys=("tailnum",)),
        lambda: merging.inspect_table(dataset.table_uri),
    ):
        with pytest.raises(merging.FilesElsewhere) as refused:
            opening()
        assert refused.value.paths == (path,)
    with pytest.raises(UploadEnded, match="names files outside of the table's folder"):
        stage_csv(change_request, "tailnum,code\nN2,new\n")
    numbers = plans.check(change_request_id=change_request.pk)
    assert numbers is not None
    assert numbers.problem_code == "files_elsewhere"
    assert path in services.reconcile(dataset_id=dataset.pk).problem


def test_a_table_elsewhere_that_is_no_clone_and_becomes_one_has_a_problem(
    secret: Dataset, tmp_path: Path
) -> None:
    """Operators alone register tables in other places; what such a table may do is still what they said."""
    merging.create_table(str(tmp_path / "elsewhere"), SECRET)
    dataset = services.register_dataset(
        project=ProjectFactory.create(),
        slug="elsewhere",
        name="Elsewhere",
        table_uri=str(tmp_path / "elsewhere"),
        primary_keys=["tailnum"],
    )
    path = climb_out(dataset.table_uri, secret)

    assert path in services.reconcile(dataset_id=dataset.pk).problem


def test_fs6_operators_alone_let_a_registered_table_leave_its_folder() -> None:
    dataset = DatasetFactory.create()
    owner = person_with(Role.OWNER, dataset)
    with pytest.raises(Forbidden):
        services.allow_files_elsewhere(dataset_id=dataset.pk, actor=owner, allowed=True)
    dataset.refresh_from_db()
    assert not dataset.files_elsewhere
    operator = UserFactory.create(username="adam")
    make_operator(operator)
    client = Client()
    client.force_login(operator)
    for action, allowed in (("allow_files_elsewhere", True), ("refuse_files_elsewhere", False)):
        client.post(
            "/admin/datasets/dataset/", {"action": action, "_selected_action": [dataset.pk]}, follow=True
        )
        dataset.refresh_from_db()
        assert dataset.files_elsewhere is allowed
    told = [event.action for event in events_of("dataset", str(dataset.pk)) if event.actor == "adam"]
    assert [one for one in told if one.startswith("operator.")] == [
        "operator.files_elsewhere_allowed",
        "operator.files_elsewhere_refused",
    ]
    assert list(verify()) == []


# --- Where the table itself lies ---------------------------------------------------------------------------------


def refused_everywhere(dataset: Dataset, change_request: ChangeRequest, reason: str) -> None:
    """Every way into a table is refused with the reason."""
    table, keys = dataset.table_uri, ("tailnum",)
    revision = change_request.revisions.get()
    request = merging.MergeRequest(
        table, change_request.cr_id, keys, merging.open_staged(str(kept.content_folder(revision)))
    )
    for opening in (
        lambda: merging.inspect_table(table),
        lambda: merging.preview(table, primary_keys=keys),
        lambda: merging.check_keys(table, keys),
        lambda: merging.history(table),
        lambda: merging.logged_merges(table, "installation"),
        lambda: merging.plan(request),
        lambda: merging.merge(request),
        lambda: merging.stage(table, SECRET, keys),
    ):
        with pytest.raises(merging.TableElsewhere, match=reason):
            opening()
    with pytest.raises(UploadEnded, match=reason):
        stage_csv(change_request, "tailnum,code\nN2,new\n")
    numbers = plans.check(change_request_id=change_request.pk)
    assert numbers is not None
    assert (numbers.problem_code, reason in numbers.problem) == ("table_elsewhere", True)
    assert reason in services.reconcile(dataset_id=dataset.pk).problem


def test_a_dataset_whose_folder_became_a_link_is_not_read(secret: Dataset) -> None:
    dataset = DatasetFactory.create(data=SECRET, primary_keys=["tailnum"])
    change_request = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,code\nN1,new\n")
    before = sorted(path.name for path in Path(secret.table_uri).rglob("*"))
    folder = Path(dataset.table_uri)
    folder.rename(folder.with_name(f"{folder.name}-away"))
    folder.symlink_to(secret.table_uri)

    refused_everywhere(dataset, change_request, "reached by a link")
    assert sorted(path.name for path in Path(secret.table_uri).rglob("*")) == before

    folder.unlink()
    folder.with_name(f"{folder.name}-away").rename(folder)
    assert services.reconcile(dataset_id=dataset.pk).problem == ""


def test_a_dataset_outside_of_the_places_of_tables_is_not_read(tmp_path: Path, settings: Settings) -> None:
    table = str(tmp_path / "elsewhere" / "planes")
    merging.create_table(table, SECRET)
    settings.TABLE_PLACES = [str(tmp_path / "elsewhere")]
    dataset = services.register_dataset(
        project=ProjectFactory.create(), slug="p", name="p", table_uri=table, primary_keys=["tailnum"]
    )
    change_request = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,code\nN1,new\n")

    settings.TABLE_PLACES = [str(tmp_path / "else"), "s3://lake/gold"]

    refused_everywhere(dataset, change_request, "outside of the places")
    with pytest.raises(RegistrationRejected, match="outside of the places"):
        services.register_dataset(
            project=ProjectFactory.create(),
            slug="p",
            name="p",
            table_uri=f"{table}-2",
            primary_keys=["tailnum"],
        )
    for address in ("s3://lake/gold", "s3://lake/gold/planes"):
        assert why_not(address) == ""
    for address in ("s3://lake/golden", "s3://lake/gold/../silver", "gs://lake/gold"):
        assert "outside of the places" in why_not(address)


def test_a_store_without_certificates_is_reached_where_the_environment_says_so(settings: Settings) -> None:
    assert how_opened("s3://bucket/table") == {}
    settings.AWS_ALLOW_HTTP = True
    assert how_opened("s3://bucket/table") == {"AWS_ALLOW_HTTP": "true"}
    assert how_opened("gs://bucket/table") == {}
