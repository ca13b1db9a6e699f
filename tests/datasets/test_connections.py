"""Connections: who makes and sees them, what they keep of secrets, which tables they open."""

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection as database
from pytest_django import Settings

import merging
from audit.models import Event
from datasets import endpoints, services
from datasets.connecting import canonical_table_uri, connection_at, options_of
from datasets.errors import ConnectionInUse, Forbidden, InvalidInput, NotFound, SettingsChanged
from datasets.models import Connection, Dataset
from datasets.roles import Role
from datasets.services import connections
from datasets.services.reach import how_opened, may_leave, registering
from merging.delta import options_of as engine_options
from tests.factories import PLANES, DatasetFactory, ProjectFactory, person_with
from tests.table_copies import create_as_copy

pytestmark = pytest.mark.django_db

#: How names are looked up, as tests else do not.
ADDRESSES_OF = endpoints._addresses_of
CANARY = "wJalrXUtnFEMI/canary+K7MDENG"
KEYS = {"aws_access_key_id": "AKIACANARY0001", "aws_secret_access_key": CANARY}


def make(
    operator: User | None, name: str = "lake", root: str = "s3://lake/tables", **more: Any
) -> Connection:
    return connections.create_connection(actor=operator, name=name, root=root, **more)


def errors_of(**given: Any) -> dict[str, list[str]]:
    with pytest.raises(InvalidInput) as refused:
        connections.create_connection(actor=None, **{"name": "lake", "root": "s3://lake", **given})
    assert not Connection.objects.exists()
    assert CANARY not in repr(refused.value.data) + refused.value.message
    found: dict[str, list[str]] = refused.value.data["errors"]
    return found


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"aws_region": "eu-central-1"}, "https://s3.eu-central-1.amazonaws.com"),
        ({}, "https://s3.us-east-1.amazonaws.com"),
        ({"aws_region": "cn-north-1"}, "https://s3.cn-north-1.amazonaws.com.cn"),
        (
            {"aws_region": "eu-central-1", "aws_virtual_hosted_style_request": "true"},
            "https://lake.s3.eu-central-1.amazonaws.com",
        ),
        ({"aws_endpoint_url": "https://store.example"}, "https://store.example"),
    ],
)
def test_fo2_a_key_for_aws_is_not_sent_to_the_store_of_the_process(
    options: dict[str, str], expected: str, operator: User, settings: Settings
) -> None:
    made = make(operator, options=options, secrets=KEYS)
    settings.AWS_ENDPOINT_URL = ""
    assert options_of(made) == {**options, **KEYS}
    settings.AWS_ENDPOINT_URL = "https://minio.example"
    opened = options_of(made)
    assert opened["aws_endpoint_url"] == expected
    assert opened.get("aws_region") == options.get(
        "aws_region", None if "aws_endpoint_url" in options else "us-east-1"
    )


def test_an_ambient_connection_is_opened_where_the_process_has_its_store(
    operator: User, settings: Settings
) -> None:
    settings.AWS_ENDPOINT_URL = "https://minio.example"
    assert options_of(make(operator, options={"aws_region": "a"})) == {"aws_region": "a"}


def test_fo2_secrets_go_in_and_only_the_engine_gets_them_out(operator: User) -> None:
    made = make(operator, options={"aws_region": "eu-central-1"}, secrets=KEYS)
    assert options_of(made) == {"aws_region": "eu-central-1", **KEYS}
    with database.cursor() as cursor:
        cursor.execute("SELECT * FROM datasets_connection")
        kept = repr(cursor.fetchall())
    told = json.dumps([one.data for one in Event.objects.all()])
    for text in (kept, told, repr(made), str(made)):
        assert CANARY not in text
        assert "AKIACANARY" not in text
    assert Event.objects.get(action="connection.created").data["secrets"] == sorted(KEYS)
    with registering(by_operator=True, connection=made):
        opened = how_opened("s3://lake/tables/x")
        assert opened["aws_secret_access_key"] == CANARY
        assert (
            repr(engine_options("s3://lake/tables/x"))
            == "HiddenOptions(aws_access_key_id, aws_region, aws_secret_access_key)"
        )


def test_what_does_not_fit_is_named_by_its_field(settings: Settings) -> None:
    assert "not taken" in errors_of(root=f"s3://AKIA:{CANARY}@lake")["root"][0]
    assert "account" in errors_of(root="az://container")["root"][0]
    assert "no option" in errors_of(options={"proxy_url": "http://x"})["options"][0]
    assert "is a secret" in errors_of(options={"aws_secret_access_key": CANARY})["options"][0]
    assert "without user name" in errors_of(options={"aws_endpoint_url": "https://u:pw@h"})["options"][0]
    assert "without TLS" in errors_of(options={"aws_endpoint_url": "http://127.0.0.1:9"})["options"][0]
    assert "no secret" in errors_of(secrets={"aws_region": CANARY})["secrets"][0]
    assert "CONNECTION_" in errors_of(references={"aws_secret_access_key": "env:SECRET_KEY"})["references"][0]
    for outside in (
        *("file:/etc/passwd", "file:/run/secrets/../../etc/passwd", "file:/run/secrets"),
        *("file:/run/secrets/secret_key", "file:/run/secrets/headgate/audit_keys", "file:/run/secrets/\0"),
        *(
            "file:/run/secrets/../connection",
            "file:/run/secrets-of-others/connection_a",
            "FILE:/run/secrets/connection",
        ),
    ):
        assert "CONNECTION_" in errors_of(references={"aws_secret_access_key": outside})["references"][0]
    for spelling in (
        *(
            "169.254.169.254",
            "169.254.169.254.",
            "2852039166",
            "0xA9FEA9FE",
            "0251.0376.0251.0376",
            "169.254.43518",
        ),
        *(
            "[::ffff:169.254.169.254]",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "METADATA.google.internal",
            "100.100.100.200",
        ),
    ):
        endpoint = {"aws_endpoint_url": f"http://{spelling}:80/latest", "allow_http": "true"}
        assert "who they are" in errors_of(options=endpoint)["options"][0], spelling
    assert "no option" in errors_of(root="/srv/tables", options={"aws_region": "x"})["options"][0]
    assert "needs no connection" in errors_of(root=str(settings.DELTA_DATA_ROOT))["root"][0]


def standing_for(monkeypatch: pytest.MonkeyPatch, addresses: dict[str, list[str]]) -> None:
    """Let names stand for addresses, for this process."""

    def look_up(host: str, *_: Any, **__: Any) -> list[Any]:
        if host not in addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 0)) for one in addresses[host]]

    monkeypatch.setattr(endpoints, "_addresses_of", ADDRESSES_OF)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(endpoints, "_known", {})


OF_MACHINES = (
    ["169.254.169.254"],
    ["10.0.0.7", "169.254.169.254"],
    ["fd00:ec2::254"],
    ["::ffff:a9fe:a9fe"],
)


def test_a_name_is_refused_where_its_address_is(operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, addresses in enumerate(OF_MACHINES):
        standing_for(monkeypatch, {f"store-{number}.example": addresses})
        given = {"aws_endpoint_url": f"http://Store-{number}.example.:80", "allow_http": "true"}
        refused = errors_of(options=given)
        assert "where a cloud tells machines who they are" in refused["options"][0], addresses
        key = json.dumps({"gcs_base_url": f"http://store-{number}.example", "disable_oauth": True})
        secret = {"google_service_account_key": key}
        refused = errors_of(root="gs://lake/tables", secrets=secret)
        assert "where a cloud tells machines who they are" in refused["secrets"][0], addresses
    standing_for(monkeypatch, {"store.example": ["10.0.0.7"]})
    for name in ("store", "nobody-knows"):
        endpoint = {"aws_endpoint_url": f"https://{name}.example"}
        make(operator, name=name, root=f"s3://{name}/x", options=endpoint)


def test_a_name_that_leads_elsewhere_later_opens_nothing(
    operator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    standing_for(monkeypatch, {"store.example": ["10.0.0.7"]})
    made = make(operator, options={"aws_endpoint_url": "https://store.example"}, secrets=KEYS)
    assert options_of(made)["aws_endpoint_url"] == "https://store.example"
    standing_for(monkeypatch, {"store.example": ["169.254.169.254"]})
    with pytest.raises(merging.MergeFailed) as refused:
        options_of(made)
    assert refused.value.message == (
        "The connection lake cannot be opened: aws_endpoint_url leads to where a cloud tells machines who they are."
    )


def test_a_name_that_nobody_tells_in_time_is_waited_for_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def never(*_: Any, **__: Any) -> list[Any]:
        answered.wait(10)
        return []

    monkeypatch.setattr(endpoints, "_addresses_of", ADDRESSES_OF)
    monkeypatch.setattr(endpoints, "_SECONDS", 0.1)
    monkeypatch.setattr(socket, "getaddrinfo", never)
    try:
        assert not endpoints.vouches_for_machines("silent.example")
    finally:
        answered.set()


def test_only_operators_make_change_and_remove_them(operator: User) -> None:
    project = ProjectFactory.create(slug="fleet")
    owner, viewer = person_with(Role.OWNER, project), person_with(Role.VIEWER, project)
    with pytest.raises(Forbidden):
        make(owner)
    make(operator, secrets=KEYS)
    for person, refusal in ((owner, NotFound), (viewer, NotFound)):
        assert list(connections.connections_seen_by(person)) == []
        with pytest.raises(refusal):
            connections.change_connection(actor=person, name="lake", changes={"options": {}})
    connections.allow_prefix(actor=operator, name="lake", project="fleet", path="fleet")
    [seen] = connections.connections_seen_by(owner)
    assert [one.address for one in seen.prefixes.all()] == ["s3://lake/tables/fleet"]
    assert list(connections.connections_seen_by(viewer)) == []
    for act in (
        lambda: connections.change_connection(actor=owner, name="lake", changes={"options": {}}),
        lambda: connections.remove_connection(actor=owner, name="lake"),
        lambda: connections.allow_prefix(actor=owner, name="lake", project="fleet"),
        lambda: connections.adopt_tables(actor=owner, name="lake"),
    ):
        with pytest.raises(Forbidden):
            act()
    assert Connection.objects.get().prefixes.count() == 1


def test_a_change_keeps_secrets_and_never_sends_them_elsewhere(operator: User) -> None:
    make(operator, secrets=KEYS, options={"aws_region": "a"})
    changed = connections.change_connection(
        actor=operator, name="lake", changes={"options": {"aws_region": "b"}}, edited=("1",)
    )
    assert options_of(changed) == {"aws_region": "b", **KEYS}
    elsewhere = {"options": {"aws_endpoint_url": "https://attacker.example"}}
    with pytest.raises(InvalidInput, match="Type the secrets again"):
        connections.change_connection(actor=operator, name="lake", changes=elsewhere)
    with pytest.raises(InvalidInput, match="Type the secrets again"):
        connections.change_connection(actor=operator, name="lake", changes={"root": "s3://another"})
    with pytest.raises(SettingsChanged):
        connections.change_connection(actor=operator, name="lake", changes={}, edited=("1",))
    connections.change_connection(actor=operator, name="lake", changes={**elsewhere, "secrets": KEYS})
    with pytest.raises(InvalidInput, match="stays with its kind"):
        connections.change_connection(
            actor=operator, name="lake", changes={"root": "gs://lake", "options": {}}
        )
    gone = connections.change_connection(
        actor=operator, name="lake", changes={"secrets": dict.fromkeys(KEYS), "options": {}}
    )
    assert (gone.sealed, options_of(gone)) == ({}, {})
    assert CANARY not in json.dumps([one.data for one in Event.objects.all()])


def test_a_name_that_somebody_took_meanwhile_is_told(operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    make(operator)
    look = connections.require_valid

    def took_it_since(connection: Connection) -> None:
        monkeypatch.setattr(connections, "require_valid", look)
        make(operator, name="sea", root="s3://sea")

    monkeypatch.setattr(connections, "require_valid", took_it_since)
    with pytest.raises(InvalidInput) as refused:
        connections.change_connection(actor=operator, name="lake", changes={"name": "sea"})
    assert list(refused.value.data["errors"]) == ["name"]
    assert Connection.objects.get(root="s3://lake/tables").name == "lake"


def test_secrets_stand_elsewhere_by_reference(operator: User, settings: Settings, tmp_path: Path) -> None:
    settings.CONNECTION_SECRETS = {"CONNECTION_KEY_ID": "AKIA1"}
    settings.CONNECTION_SECRETS_FOLDER = tmp_path
    references = {
        "aws_access_key_id": "env:CONNECTION_KEY_ID",
        "aws_secret_access_key": f"file:{tmp_path}/connection_key",
    }
    made = make(operator, references=references)
    with pytest.raises(merging.MergeError, match=r"the file .* cannot be read"):
        options_of(made)
    (tmp_path / "connection_key").write_text(f"{CANARY}\n")
    assert options_of(made) == {"aws_access_key_id": "AKIA1", "aws_secret_access_key": CANARY}
    (tmp_path / "secret_key").write_text("the installation's own")
    for elsewhere in ("/etc/hostname", "secret_key"):
        (tmp_path / "connection_key").unlink()
        (tmp_path / "connection_key").symlink_to(elsewhere)
        with pytest.raises(merging.MergeError, match="no file that connections may refer to"):
            options_of(made)
    settings.CONNECTION_SECRETS = {}
    with pytest.raises(merging.MergeError, match="CONNECTION_KEY_ID is not set"):
        options_of(made)


def test_a_new_key_seals_anew_and_a_lost_one_is_told(operator: User, settings: Settings) -> None:
    made = make(operator, secrets=KEYS)
    before, old = dict(made.sealed), settings.ENCRYPTION_KEYS
    settings.ENCRYPTION_KEYS = ["the new key, which is long enough, 1", *old]
    assert connections.reseal() == (1, [])
    made.refresh_from_db()
    assert made.sealed != before
    settings.SECRET_KEY, settings.ENCRYPTION_KEYS = "another", settings.ENCRYPTION_KEYS[:1]
    assert options_of(made) == KEYS
    settings.ENCRYPTION_KEYS = ["a key that is not the one of before"]
    assert connections.reseal() == (0, ["lake"])
    with pytest.raises(merging.MergeError, match="not among ENCRYPTION_KEYS"):
        options_of(made)


def test_the_longest_root_leads_to_an_address(operator: User) -> None:
    outer, inner = make(operator, "lake", "s3a://LAKE/"), make(operator, "finance", "s3://lake/finance/")
    assert connection_at("s3://lake/finance/x") == inner
    assert connection_at("s3://lake/finance2/x") == outer
    assert connection_at("s3://other/x") is None
    with pytest.raises(InvalidInput):
        make(operator, "again", "S3://lake//finance")
    azure = make(operator, "blobs", "wasbs://c@acc.blob.core.windows.net/t")
    assert azure.root == "abfss://c@acc.dfs.core.windows.net/t"
    assert canonical_table_uri("az://c/t/x") == "abfss://c@acc.dfs.core.windows.net/t/x"


def test_owners_register_below_the_prefixes_of_their_project_only(operator: User, tmp_path: Path) -> None:
    project, other = ProjectFactory.create(slug="fleet"), ProjectFactory.create(slug="other")
    owner = person_with(Role.OWNER, project)
    root = tmp_path / "volume"
    for place in ("fleet/planes", "other/planes"):
        create_as_copy(root / place, PLANES, {})
    made = make(operator, "volume", str(root))
    connections.allow_prefix(actor=operator, name="volume", project="other")
    connections.allow_prefix(actor=operator, name="volume", project="fleet", path="/fleet/")

    def register(place: str, actor: User = owner) -> Dataset:
        return services.register_dataset(
            project=project,
            slug=place.replace("/", "-"),
            name=place,
            table_uri=f"file://{root}/{place}/../planes/",
            primary_keys=["tailnum"],
            actor=actor,
        )

    with pytest.raises(Forbidden):
        register("other/planes")
    dataset = register("fleet/planes")
    assert (dataset.connection, dataset.table_uri) == (made, str(root / "fleet/planes"))
    assert not may_leave(dataset.table_uri)
    with registering(by_operator=False, connection=made):
        assert not may_leave(str(root / "fleet/next"))
    with pytest.raises(ConnectionInUse):
        connections.remove_connection(actor=operator, name="volume")
    with pytest.raises(InvalidInput, match="outside of that root"):
        connections.change_connection(actor=operator, name="volume", changes={"root": str(root / "other")})
    [prefix] = other.prefixes.all()
    connections.withdraw_prefix(actor=operator, name="volume", prefix_id=prefix.pk)
    assert other.prefixes.count() == 0


def test_what_changed_while_a_table_was_looked_at_is_looked_at_again(
    operator: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, root = ProjectFactory.create(slug="fleet"), tmp_path / "volume" / "tables"
    owner = person_with(Role.OWNER, project)
    create_as_copy(root / "planes", PLANES, {})
    make(operator, "volume", str(root))
    look = merging.inspect_table

    def register_while(happens: Callable[[], object]) -> None:
        def slow(*given: Any, **more: Any) -> Any:
            happens()
            return look(*given, **more)

        monkeypatch.setattr(merging, "inspect_table", slow)
        services.register_dataset(
            project=project,
            slug="planes",
            name="Planes",
            table_uri=str(root / "planes"),
            primary_keys=["tailnum"],
            actor=owner,
        )

    prefix = connections.allow_prefix(actor=operator, name="volume", project="fleet")
    with pytest.raises(Forbidden):
        register_while(
            lambda: connections.withdraw_prefix(actor=operator, name="volume", prefix_id=prefix.pk)
        )
    connections.allow_prefix(actor=operator, name="volume", project="fleet")

    def make_another() -> None:
        make(operator, "inner", str(root))
        connections.allow_prefix(actor=operator, name="inner", project="fleet")

    for happens in (
        lambda: connections.change_connection(
            actor=operator, name="volume", changes={"root": str(root.parent)}
        ),
        make_another,
        lambda: connections.remove_connection(actor=operator, name="inner"),
    ):
        with pytest.raises(InvalidInput, match="was changed while it was looked at"):
            register_while(happens)
    assert not Dataset.objects.exists()
    register_while(lambda: None)
    assert Dataset.objects.get().connection == Connection.objects.get(name="volume")


def test_tables_from_before_go_on_until_an_operator_gives_them_the_connection(operator: User) -> None:
    before = DatasetFactory.create()
    Dataset.objects.filter(pk=before.pk).update(table_uri="s3://lake/tables/x")
    make(operator, secrets=KEYS)
    assert how_opened("s3://lake/tables/x") == {}
    assert connections.adopt_tables(actor=operator, name="lake") == [before]
    assert how_opened("s3://lake/tables/x") == KEYS
    assert connections.adopt_tables(actor=operator, name="lake") == []


def test_fo5_one_table_is_one_dataset_whatever_its_address(operator: User) -> None:
    dataset = DatasetFactory.create()
    copy = Path(f"{dataset.table_uri}-copy")
    Path(dataset.table_uri).rename(copy)
    given: dict[str, Any] = {
        "project": dataset.project,
        "slug": "copy",
        "name": "Copy",
        "primary_keys": ["tailnum"],
    }
    with pytest.raises(InvalidInput, match="has the same identity"):
        services.register_dataset(table_uri=str(copy), actor=operator, **given)
    owner = person_with(Role.OWNER, dataset.project)
    with pytest.raises(Forbidden):
        services.register_dataset(table_uri=str(copy), actor=owner, is_copy=True, **given)
    assert services.register_dataset(table_uri=str(copy), actor=operator, is_copy=True, **given).meta.is_copy


def test_an_address_with_a_secret_from_before_is_told_of(operator: User) -> None:
    dataset = DatasetFactory.create(slug="planes")
    assert connections.addresses_with_secrets() == []
    Dataset.objects.filter(pk=dataset.pk).update(table_uri=f"s3://AKIA:{CANARY}@lake/x")
    assert connections.addresses_with_secrets() == [f"the dataset {dataset.project.slug}/planes"]
