"""Web and worker as processes with folders of their own: what they share is the database, the broker and the store."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from pytest_django import Settings

import merging
from audit.services import verify
from datasets.data_root import data_root
from datasets.roles import Role
from datasets.services.creation import NewTable, create_dataset
from tests import services
from tests.api.clients import token_of
from tests.factories import ProjectFactory, UserFactory, person_with, rows_of
from tests.live.server import Answer, Connection
from tests.merging.stores import s3_server

pytestmark = pytest.mark.services

SEATS = b"tailnum,seats\nN1,1\nN2,2\n"


@pytest.fixture
def web(process_environment: dict[str, str], tmp_path: Path, settings: Settings) -> Iterator[str]:
    """A web process and a worker; this process sees the store as a third."""
    with s3_server() as options, pytest.MonkeyPatch.context() as patch:
        shared = {
            **process_environment,
            **options,
            "DELTA_DATA_ROOT": f"s3://tables/root-{uuid.uuid4().hex}",
            "DELTA_DATA_ROOT_OPTIONS": "AWS_ALLOW_HTTP=true",
        }
        own = {}
        for machine in ("web", "worker"):
            folder = tmp_path / machine
            (folder / "tmp").mkdir(parents=True)
            own[machine] = {
                **shared,
                "HEADGATE_CACHE": str(folder / "cache"),
                "TMPDIR": str(folder / "tmp"),
            }
        for name, value in options.items():
            patch.setenv(name, value)
        settings.DELTA_DATA_ROOT = shared["DELTA_DATA_ROOT"]
        settings.DELTA_DATA_ROOT_OPTIONS = {"AWS_ALLOW_HTTP": "true"}
        settings.HEADGATE_CACHE = tmp_path / "third"
        with (
            services.worker_process(own["worker"], tmp_path / "worker.log"),
            services.web_process(own["web"], tmp_path / "web.log") as address,
        ):
            yield address


def told(answer: Answer, status: int) -> Any:
    assert answer.status == status, answer.body
    return json.loads(answer.body)


def test_the_core_path_where_web_and_worker_share_no_folder(
    web: str, tmp_path: Path, settings: Settings
) -> None:
    dataset = create_dataset(
        project=ProjectFactory.create(),
        slug="planes",
        name="planes",
        table=NewTable([merging.Column("tailnum", "string"), merging.Column("seats", "long")]),
        primary_keys=["tailnum"],
        actor=UserFactory.create(is_superuser=True),
        required_approvals=0,
        staging_cleanup="archive",
    )
    owner = person_with(Role.OWNER, dataset)
    client = Connection(web, token=token_of(owner))
    place = f"/api/v1/datasets/{dataset.project.slug}/planes"
    ready = told(client.call("GET", "/readyz"), 200)
    assert ready["storage"] == "ok"

    def proposed(title: str, content: bytes) -> str:
        query = urlencode({"title": title, "submit": "true"})
        answer = client.call("POST", f"{place}/proposals?{query}", content, Content_Type="text/csv")
        return str(told(answer, 201)["change_request"]["cr_id"])

    def request(cr_id: str, action: str = "") -> str:
        return f"/api/v1/change_requests/{cr_id}{action}"

    def merged(cr_id: str) -> Any:
        return client.send("POST", request(cr_id, "/merge"), {}, Prefer="wait=30")

    first, second = proposed("Seats", SEATS), proposed("Others", b"tailnum,seats\nN1,3\n")
    assert len(told(client.call("GET", request(first, "/diff")), 200)["results"]) == 2
    assert told(client.send("POST", request(first, "/reviews"), {"verdict": "comment", "body": "Fine."}), 201)
    assert told(merged(first), 200)["status"] == "succeeded"
    page = told(client.call("GET", request(second, "/conflicts")), 200)
    [conflict] = page["results"]
    choice = {"key": conflict["key"], "column": "seats", "choice": "proposed"}
    choice["inputs_digest"] = conflict["inputs_digest"]
    told(client.send("POST", request(second, "/conflicts"), {"resolutions": [choice]}), 200)
    assert told(merged(second), 200)["status"] == "succeeded"
    for file in told(client.call("GET", request(second, "/audit")), 200):
        content = client.call("GET", request(second, f"/audit/{file['name']}"))
        assert (content.status, content.body) == (
            200,
            data_root().read(f"audit/change_requests/{second}/{file['name']}"),
        )
    back = told(client.send("POST", request(second, "/revert"), {}), 201)["cr_id"]
    assert len(told(client.call("GET", request(back, "/diff")), 200)["results"]) == 1
    assert [row["seats"] for row in rows_of(dataset)] == [3, 2]
    assert dataset.table_uri.startswith(f"{settings.DELTA_DATA_ROOT}/tables/")
    assert data_root().folders("_archive/change_requests") == sorted([first, second])
    assert list(verify()) == []
    assert {one.name for one in (tmp_path / "web").iterdir()} == {"cache", "tmp"}
