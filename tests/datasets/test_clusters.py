"""Spark clusters of connections: kept as the rest of a connection is, and asked as the dataset says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

import merging
from audit.models import Event
from config.engine import limit_web_process
from datasets.connecting import cluster_of, options_of
from datasets.errors import InvalidInput
from datasets.models import Connection, Dataset
from datasets.operators import make_operator
from datasets.roles import Role
from datasets.services import change_settings, connections
from datasets.services.reach import how_opened, read_by, registering
from tests.factories import DatasetFactory, UserFactory, fresh, person_with

pytestmark = pytest.mark.django_db

ADDRESS = "sc://spark.example.org:443/;use_ssl=true"
CANARY = "dapi0123456789canary"


@pytest.fixture
def lake(db: None) -> Connection:
    return connections.create_connection(
        actor=None,
        name="lake",
        root="s3://lake/tables",
        options={"aws_region": "eu-central-1", "spark_connect_address": ADDRESS},
        secrets={"spark_connect_token": CANARY},
    )


def dataset_of(connection: Connection | None) -> Dataset:
    """A dataset whose table is said to lie in the lake."""
    dataset = DatasetFactory.create()
    Dataset.objects.filter(pk=dataset.pk).update(connection=connection, table_uri="s3://lake/tables/flights")
    dataset.refresh_from_db()
    return dataset


def test_its_token_goes_in_and_to_the_cluster_only(lake: Connection, settings: Settings) -> None:
    settings.SPARK_SECONDS = 60
    assert cluster_of(lake) == merging.Cluster(ADDRESS, CANARY, 60)
    assert options_of(lake) == {"aws_region": "eu-central-1"}  # the store knows nothing of it
    dataset_of(lake)
    assert how_opened("s3://lake/tables/flights") == {"aws_region": "eu-central-1"}
    assert CANARY not in repr(Connection.objects.values())
    assert CANARY not in repr(Event.objects.values_list("data"))


def test_a_web_process_waits_for_a_cluster_as_long_as_somebody_waits_for_a_page(
    lake: Connection, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SPARK_SECONDS, settings.SPARK_WEB_SECONDS = 1_800, 45
    chosen: list[Callable[[str], merging.EngineChoice]] = []
    monkeypatch.setattr(merging, "set_engines", chosen.append)
    monkeypatch.setattr(merging, "set_limits", lambda _: None)
    limit_web_process()
    dataset_of(lake)
    asked = [by("s3://lake/tables/flights").cluster for by in (read_by, *chosen)]
    assert [isinstance(one, merging.Cluster) and one.seconds for one in asked] == [1_800, 45]


def test_a_connection_without_a_cluster_has_none(lake: Connection) -> None:
    connections.change_connection(
        actor=None, name="lake", changes={"options": {}, "secrets": {"spark_connect_token": None}}
    )
    assert cluster_of(Connection.objects.get()) is None


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("https://spark.example.org", "The address of a cluster is written sc://host:port, or "),
        (f"sc://spark.example.org/;token={CANARY}", "The token of a cluster is a secret"),
        ("sc://169.254.169.254", "A Spark cluster is not where a cloud tells machines who they are."),
    ],
)
def test_what_is_no_cluster_is_refused(address: str, sentence: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        connections.create_connection(
            actor=None, name="lake", root="s3://lake", options={"spark_connect_address": address}
        )
    [found] = refused.value.data["errors"]["options"]
    assert found.startswith(sentence)
    assert not Connection.objects.exists()


def test_its_token_is_never_sent_elsewhere(lake: Connection) -> None:
    with pytest.raises(InvalidInput, match="Type the secrets again"):
        connections.change_connection(
            actor=None, name="lake", changes={"options": {"spark_connect_address": "sc://other.example.org"}}
        )
    assert Connection.objects.get().options == lake.options


def test_a_name_that_leads_to_machines_later_is_not_asked(
    lake: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.connecting.vouches_for_machines", lambda host: host == "spark.example.org")
    with pytest.raises(merging.MergeFailed, match="is not asked"):
        cluster_of(lake)


def test_the_dataset_says_what_reads_it(lake: Connection, settings: Settings) -> None:
    settings.SPARK_ABOVE = 5
    dataset = dataset_of(lake)
    cluster = cluster_of(lake)
    chosen = {}
    for engine in Dataset.Engine:
        Dataset.objects.update(engine=engine)
        chosen[engine.value] = read_by(dataset.table_uri)
    assert chosen == {
        "auto": merging.EngineChoice("auto", cluster, 5),
        "duckdb": merging.EngineChoice("duckdb", None, 5),
        "spark": merging.EngineChoice("spark", cluster, 5),
    }
    Dataset.objects.update(connection=None)
    assert read_by(dataset.table_uri) == merging.EngineChoice("spark", None, 5)
    assert read_by("s3://lake/tables/none") == merging.EngineChoice()
    with registering(by_operator=True, connection=lake):
        assert read_by("s3://lake/tables/none") == merging.EngineChoice("auto", cluster, 5)
        assert read_by("s3://other/tables/none") == merging.EngineChoice()


def test_owners_choose_it(lake: Connection) -> None:
    dataset = dataset_of(None)
    owner: User = person_with(Role.OWNER, dataset)
    changed = change_settings(dataset_id=dataset.pk, actor=owner, changes={"engine": "spark"})
    assert changed.engine == "spark"
    event = Event.objects.get(action="dataset.settings_changed")
    assert event.data == {"engine": {"before": "auto", "after": "spark"}}
    with pytest.raises(InvalidInput):
        change_settings(dataset_id=dataset.pk, actor=owner, changes={"engine": "polars"})


def test_operators_see_that_there_is_a_token_and_not_what_it_is(lake: Connection) -> None:
    operator = UserFactory.create(username="adam")
    make_operator(operator)
    seen = connections.connection_seen(actor=fresh(operator), name="lake")
    assert sorted(seen.sealed) == ["spark_connect_token"]
    assert CANARY not in repr(seen.sealed)
