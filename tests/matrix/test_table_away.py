"""Every page and every reading operation while the store of the table does not answer: what the database knows is
shown, with what is the matter; only what needs the table says so in its place.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoDbBlocker, Settings
from rest_framework.test import APIClient

from accounts import sessions, tokens
from audit import bells
from changerequests import queue
from changerequests.facts import facts_of
from changerequests.models import ChangeRequest, MergeRun, PlanCheck
from changerequests.policies import merge_gates
from changerequests.services import plans
from datasets import outages
from datasets.models import Connection, Dataset, DatasetMeta, StorePlace
from tests.matrix import test_api_matrix as api
from tests.matrix import test_page_matrix as pages
from tests.matrix.world import World, as_it_stands, filled_in, make_world

BANNER = "The table of planes cannot be reached: noticed"
PARTIAL = "This needs the table, which cannot be reached now"
#: Pages of which nothing can be told without the table.
NEED_THE_TABLE = {
    *("dataset", "dataset_at_version", "edit_rows", "edit_row", "edits", "compare_versions"),
    *("conflicts", "moved"),
}
#: Operations that read it; they answer 503 with when to ask again.
READ_THE_TABLE = {
    *("rows", "compare", "edits"),
    *("conflicts", "moved"),
}


@dataclass
class Shared:
    """What the tests of this file look at in turn: the first makes the world, and each leaves it as it was."""

    root: Path
    world: World | None = None


@pytest.fixture(scope="module")
def shared(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shared]:
    with django_db_blocker.unblock(), transaction.atomic():
        yield Shared(tmp_path_factory.mktemp("away"))
        transaction.set_rollback(True)


@pytest.fixture
def world(
    shared: Shared, staging_at_once: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    settings.DELTA_DATA_ROOT = shared.root
    monkeypatch.setattr(bells, "ring", lambda *_: None)
    monkeypatch.setattr(sessions, "SEEN_EVERY", timedelta(days=1))
    monkeypatch.setattr(tokens, "LAST_USE_EVERY", timedelta(days=1))
    monkeypatch.setattr("changerequests.services.uploads.wait_for_upload", as_it_stands)
    monkeypatch.setattr("changerequests.services.runs.wait_for_run", api._at_once)
    if shared.world is None:
        shared.world = make_world()
        plans.check(change_request_id=number_of(shared.world, "conflicting"))
        plans.check(change_request_id=number_of(shared.world, "pending"))
        move_away(shared.world)
    with transaction.atomic():
        yield shared.world
        transaction.set_rollback(True)


def number_of(world: World, name: str) -> int:
    return int(world.names[name].removeprefix("CR-"))


def move_away(world: World) -> None:
    """From now on the table lies where nothing listens."""
    gone = Connection.objects.create(
        name="gone",
        kind="s3",
        root="s3://gone",
        options={
            "aws_endpoint_url": "http://127.0.0.1:1",
            "aws_region": "us-east-1",
            "aws_access_key_id": "one",
            "aws_secret_access_key": "two",
            "allow_http": "true",
            "max_retries": "0",
        },
    )
    Dataset.objects.filter(pk=world.names["dataset"]).update(table_uri="s3://gone/planes", connection=gone)


def page_of(world: World, client: Client, name: str) -> Any:
    query = {"key-tailnum": "N1"} if name in ("row_history", "edit_row") else {}
    return client.get(pages.address_of(world, name), query)


def test_every_page_opens_with_what_the_database_knows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        outages, "FIRST_PAUSE", outages.LONGEST_PAUSE
    )  # slow machines take longer than the first
    owner = pages.signed_in(world)["owner"]
    wrong = []
    for what, statuses in pages.rows().items():
        method, name = what.split()
        if method != "GET" or statuses[5] != 200:
            continue
        answer = page_of(world, owner, name)
        body = answer.getvalue().decode()
        if answer.status_code != 200 or (PARTIAL in body) != (name in NEED_THE_TABLE):
            wrong.append(f"{name}: {answer.status_code} {PARTIAL in body}")
        if name in NEED_THE_TABLE and BANNER not in body:
            wrong.append(f"{name}: does not say what is the matter")
    assert wrong == []
    assert StorePlace.objects.get().failures == 1, "one has asked for all"


def test_pages_say_which_table_since_when_why_and_what_happens(world: World) -> None:
    owner = pages.signed_in(world)["owner"]
    address = [world.names["project"], "planes"]
    owner.get(reverse("dataset", args=address))
    history = owner.get(reverse("dataset_history", args=address)).content.decode()
    assert BANNER in history
    assert "Its store cannot be connected to" in history
    assert "Headgate asks again by itself; merges and uploads wait until then and go on." in history
    merged = ChangeRequest.objects.get(pk=number_of(world, "merged"))
    assert f">v{merged.merged_version}</a>" in history
    assert merged.cr_id in history
    schema = owner.get(reverse("dataset_schema", args=address)).content.decode()
    assert "<code>tailnum</code>" in schema
    assert "As last known, at version 2." in schema
    conversation = owner.get(reverse("change_request", args=[world.names["pending"]])).content.decode()
    assert BANNER in conversation
    assert "Look here." in conversation
    conflicts = owner.get(reverse("conflicts", args=[world.names["conflicting"]])).content.decode()
    assert "1 conflict, 1 without a choice" in conflicts
    fragment = owner.get(reverse("moved", args=[world.names["pending"]]), HTTP_HX_REQUEST="true")
    assert (fragment.status_code, "cannot be told" in fragment.content.decode()) == (200, True)

    DatasetMeta.objects.update(unreachable_for_good=True)
    settings = owner.get(reverse("dataset_settings", args=address)).content.decode()
    assert "Somebody has to mend that" in settings


def test_reading_operations_tell_what_is_known_or_when_to_ask_again(world: World) -> None:
    wrong = []
    for operation in sorted(api.operations()):
        method, path = operation.split()
        if method != "GET":
            continue
        name = path.partition("}/")[2]
        expected = 503 if name in READ_THE_TABLE and not name.startswith("cell") else None
        answered = api.call(world, operation, "owner")
        as_ever = api.rows()[operation][0][5] if operation in api.rows() else answered
        if answered != (expected or as_ever):
            wrong.append(f"{operation}: {answered}")
    assert wrong == []

    caller = APIClient()
    caller.credentials(HTTP_AUTHORIZATION=f"Token {world.tokens['owner']}")
    rows = caller.get(f"/api/v1/datasets/{world.names['dataset']}/rows")
    assert (rows.status_code, rows["Retry-After"]) == (503, "30")
    assert (rows.json()["code"], rows.json()["dataset"]) == ("table_unreachable", "planes")
    history = caller.get(f"/api/v1/datasets/{world.names['dataset']}/history").json()
    assert history["is_complete"] is False
    assert [one["change_request"] for one in history["results"]][-1] == world.names["merged"]
    of_row = caller.get(
        f"/api/v1/datasets/{world.names['dataset']}/rows/history", {"key": '{"tailnum": "N1"}'}
    ).json()
    assert (of_row["is_complete"], of_row["current"], of_row["cells"]) == (False, None, {})
    assert len(of_row["changes"]) == 1
    schema = caller.get(f"/api/v1/datasets/{world.names['dataset']}/schema")
    assert schema.status_code == 200
    known = schema.json()
    assert (known["is_current"], known["version"], known["row_count"]) == (False, 2, 4)
    assert next((one["name"], one["type"]) for one in known["columns"]) == ("tailnum", "string")
    assert (known["features"], known["constraints"], known["properties"]) == (None, None, None)
    at = f"/api/v1/datasets/{world.names['dataset']}/schema"
    assert caller.get(at, {"version": 2}).json()["is_current"] is False
    assert caller.get(at, {"version": 1}).status_code == 503
    meta = caller.get(f"/api/v1/datasets/{world.names['dataset']}").json()["meta"]
    assert meta["unreachable_since"]
    assert meta["unreachable_reason"].startswith("Its store cannot be connected to")


def test_actions_that_need_the_table_are_refused_by_name_and_change_nothing(world: World) -> None:
    caller = APIClient()
    caller.credentials(HTTP_AUTHORIZATION=f"Token {world.tokens['owner']}")
    conflicting, pending = world.names["conflicting"], world.names["pending"]
    choice = filled_in(
        api.BODIES["POST /api/v1/change_requests/{cr_id}/conflicts"],
        world.names,
    )
    for address, body in (
        (f"change_requests/{conflicting}/conflicts", choice),
        (f"change_requests/{pending}/rebase", {}),
    ):
        answer = caller.post(f"/api/v1/{address}", body, format="json")
        assert (answer.status_code, answer["Retry-After"]) == (503, "30"), (address, answer.json())
        assert answer.json()["code"] == "table_unreachable"
    assert ChangeRequest.objects.get(pk=number_of(world, "pending")).revisions.count() == 1


def test_a_merge_that_was_checked_is_queued_and_one_that_was_not_is_refused(world: World) -> None:
    """A merge looks at the table itself: what was known when its store went away is enough to ask for it."""
    caller = APIClient()
    caller.credentials(HTTP_AUTHORIZATION=f"Token {world.tokens['owner']}")
    Dataset.objects.update(required_approvals=0)
    asked = f"/api/v1/change_requests/{world.names['pending']}/merge"
    number = number_of(world, "pending")
    known = PlanCheck.objects.get(pk=number)
    PlanCheck.objects.filter(pk=number).delete()
    unchecked = caller.post(asked, {}, format="json")
    assert (unchecked.status_code, unchecked["Retry-After"]) == (503, "30")
    assert unchecked.json()["code"] == "table_unreachable"
    assert "Its store cannot be connected to" in unchecked.json()["message"]
    assert not MergeRun.objects.filter(change_request=number).exists()
    assert PlanCheck.objects.get(pk=number).problem_code == "table_unreachable"

    PlanCheck.objects.filter(pk=number).delete()
    known.save()
    asked_for = caller.post(asked, {}, format="json")
    assert (asked_for.status_code, asked_for.json()["status"]) == (202, "queued")
    [standing] = PlanCheck.objects.filter(pk=number)
    assert standing.problem == "", "what is known stays"


def test_what_could_not_be_checked_is_checked_once_the_store_is_heard(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = number_of(world, "pending")
    PlanCheck.objects.filter(pk=number).delete()
    plans.check(change_request_id=number)
    change_request = ChangeRequest.objects.select_related("dataset__meta").get(pk=number)
    [blocker] = [one for one in merge_gates(facts_of(change_request)) if one.code == "table_unreachable"]
    assert blocker.kind == "wait"
    rung: list[int] = []
    monkeypatch.setattr(queue, "ask_for_check", rung.append)
    assert plans.check_what_was_out_of_reach() == 0
    outages.note_answer(change_request.dataset)
    assert plans.check_what_was_out_of_reach() == 1
    assert rung == [number]
