"""Tokens that a provider gives to this installation, as Databricks does: asked for when they are needed, and kept."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import pytest

import merging
from datasets import cluster_tokens
from datasets.connecting import cluster_of, options_of
from datasets.errors import InvalidInput
from datasets.models import Connection
from datasets.services import connections
from tests.served import served

ADDRESS = "sc://dbc-0000.cloud.example.com:443/;use_ssl=true;x-databricks-cluster-id=0000"
SECRET = "dose0123456789canary"


@dataclass
class Workspace:
    """A provider that answers as `/oidc/v1/token` of a workspace does, and what it was asked."""

    address: str = ""
    lives: float = 3_600
    status: str = "200 OK"
    answer: bytes | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode()
        who = base64.b64decode(environ["HTTP_AUTHORIZATION"].removeprefix("Basic ")).decode()
        self.asked.append({"path": environ["PATH_INFO"], "who": who, **parse_qs(body)})
        start_response(
            self.status, [("Content-Type", "application/json"), ("Location", f"{self.address}/elsewhere")]
        )
        if self.answer is not None:
            return [self.answer]
        given = {
            "access_token": f"token-{len(self.asked)}",
            "scope": "all-apis",
            "token_type": "Bearer",
            "expires_in": self.lives,
        }
        return [json.dumps(given).encode()]


@pytest.fixture
def workspace(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setattr(cluster_tokens, "_kept", {})
    made = Workspace()
    with served(made) as made.address:
        yield made


def client(workspace: Workspace) -> cluster_tokens.ClientCredentials:
    endpoint = f"{workspace.address}/oidc/v1/token"
    return cluster_tokens.ClientCredentials("dbc.example.com", endpoint, "principal", SECRET)


def lake(endpoint: str, **secrets: str) -> Connection:
    return connections.create_connection(
        actor=None,
        name="lake",
        root="s3://lake/tables",
        options={
            "allow_http": "true",
            "spark_connect_address": ADDRESS,
            "spark_oauth_endpoint": endpoint,
            "spark_oauth_client_id": "principal",
        },
        secrets=secrets,
    )


@pytest.mark.django_db
def test_the_cluster_is_asked_with_a_token_of_the_provider(workspace: Workspace) -> None:
    connection = lake(f"{workspace.address}/oidc/v1/token", spark_oauth_client_secret=SECRET)
    cluster = cluster_of(connection)
    assert cluster is not None
    assert workspace.asked == [], "a merge that needs no cluster needs no token"
    assert cluster.url == f"{ADDRESS};token=token-1"
    assert workspace.asked == [
        {
            "path": "/oidc/v1/token",
            "who": f"principal:{SECRET}",
            "grant_type": ["client_credentials"],
            "scope": ["all-apis"],
        }
    ]
    again = cluster_of(connection)
    assert again is not None
    assert again.url == cluster.url
    assert len(workspace.asked) == 1
    assert options_of(connection) == {"allow_http": "true"}  # the store knows nothing of it
    assert SECRET not in repr(Connection.objects.values()) + repr(cluster)


@pytest.mark.django_db
def test_without_its_secret_nothing_is_asked(workspace: Workspace) -> None:
    connection = lake(f"{workspace.address}/oidc/v1/token")
    with pytest.raises(merging.MergeFailed, match="spark_oauth_client_secret is missing"):
        cluster_of(connection)
    assert workspace.asked == []


@pytest.mark.django_db
def test_its_secret_is_never_sent_elsewhere(workspace: Workspace) -> None:
    connection = lake(f"{workspace.address}/oidc/v1/token", spark_oauth_client_secret=SECRET)
    options = {**connection.options, "spark_oauth_endpoint": "https://other.example.org/oidc/v1/token"}
    with pytest.raises(InvalidInput, match="Type the secrets again"):
        connections.change_connection(actor=None, name="lake", changes={"options": options})
    for endpoint, sentence in (
        ("https://169.254.169.254/token", "is where a cloud tells machines who they are"),
        ("sc://other.example.org", "is an address without user name and query"),
    ):
        with pytest.raises(InvalidInput) as refused:
            lake(endpoint, spark_oauth_client_secret=SECRET)
        assert sentence in refused.value.data["errors"]["options"][0]


def test_a_token_is_given_until_shortly_before_its_end(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000.0]
    monkeypatch.setattr("datasets.cluster_tokens.time.monotonic", lambda: now[0])
    asked = client(workspace)
    told = []
    for seconds in (0, 3_299, 1, 3_299):
        now[0] += seconds
        told.append(asked.token())
    assert told == ["token-1", "token-1", "token-2", "token-2"]
    workspace.lives = 60
    now[0] += 2
    assert asked.token() == "token-3"
    now[0] += 29
    assert asked.token() == "token-3"
    now[0] += 2
    assert asked.token() == "token-4"


@pytest.mark.parametrize(
    ("status", "answer", "sentence", "retriable"),
    [
        ("401 Unauthorized", b'{"error": "invalid_client"}', r"it answers 401 \(invalid_client\)", False),
        ("503 Down", b"<html>", "it answers 503", True),
        ("429 Slowly", b"{}", "it answers 429", True),
        ("302 Found", b"", "it answers 302", False),
        ("200 OK", b"[]", "what it answers is no token", False),
        ("200 OK", b'{"access_token": 5}', "what it answers is no token", False),
        ("200 OK", b"x" * 70_000, "it cannot be reached", True),
    ],
)
def test_what_is_no_token_is_said(
    workspace: Workspace, status: str, answer: bytes, sentence: str, retriable: bool
) -> None:
    workspace.status, workspace.answer = status, answer
    with pytest.raises(merging.ClusterFailed, match=sentence) as failed:
        client(workspace).token()
    assert failed.value.retriable is retriable
    assert SECRET not in str(failed.value) + repr(failed.value.data)
    assert len(workspace.asked) == 1, "nobody is followed elsewhere with a secret"


def test_a_provider_that_is_away_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_tokens, "_kept", {})
    with pytest.raises(merging.ClusterFailed, match="it cannot be reached") as failed:
        cluster_tokens.ClientCredentials("c", "http://localhost:9/oidc/v1/token", "principal", SECRET).token()
    assert failed.value.retriable
    cluster = merging.Cluster("sc://localhost:9", token_of=lambda: "given")
    assert cluster.url == "sc://localhost:9/;token=given"
