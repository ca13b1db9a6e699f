"""A connection to Azure as operators make one, its key sealed: tried in words, and the way to tables of its own."""

from __future__ import annotations

import base64
import uuid

import pytest
from django.contrib.auth.models import User

import merging
from datasets.operators import make_operator
from datasets.roles import Role
from datasets.services import connections, create_dataset
from datasets.services.creation import NewColumn, NewTable
from tests.factories import ProjectFactory, UserFactory, fresh, person_with
from tests.stores.servers import server

pytestmark = [pytest.mark.django_db, pytest.mark.stores]


@pytest.fixture
def operator(db: None) -> User:
    adam = UserFactory.create(username="adam")
    make_operator(adam)
    return fresh(adam)


def test_a_connection_to_azure_is_tried_and_leads_to_tables(operator: User) -> None:
    options = {name.lower(): value for name, value in server("azurite").options.items()}
    key = options.pop("azure_storage_account_key")
    root = f"abfss://tables@somebody.dfs.core.windows.net/{uuid.uuid4().hex}"
    options["allow_http"] = options.pop("azure_allow_http")
    wrong = {"azure_storage_account_key": base64.b64encode(b"another").decode()}
    made = connections.create_connection(
        actor=operator, name="lake", root=root, options=options, secrets=wrong
    )
    trial = connections.try_connection(actor=operator, name="lake")
    assert [one.works for one in trial.steps] == [False, False, False, None, False]
    assert "refuses access (403" in trial.steps[0].said
    assert trial.steps[3].said.endswith(": not tried.")

    connections.change_connection(
        actor=operator, name="lake", changes={"secrets": {"azure_storage_account_key": key}}
    )
    trial = connections.try_connection(actor=operator, name="lake")
    assert [one.works for one in trial.steps] == [True] * 5

    project = ProjectFactory.create(slug="fleet")
    connections.allow_prefix(actor=operator, name="lake", project="fleet", path="gold")
    owner = person_with(Role.OWNER, project)
    dataset = create_dataset(
        project=project,
        slug="planes",
        name="Planes",
        table=NewTable([NewColumn("id", "long", False, "")]),
        primary_keys=["id"],
        actor=owner,
        table_uri=f"{root}/gold/planes",
    )
    assert (dataset.connection, dataset.meta.row_count) == (made, 0)
    assert merging.inspect_table(dataset.table_uri).version == 0
