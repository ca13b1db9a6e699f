"""One server that speaks S3 for all tests of stores, and tables on it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from demo.processes import ManagedProcess, wait_until
from tests.merging.stores import s3_server
from tests.services import free_port, private_folder
from tests.stores.proxy import Proxy, proxy_before

VERSITYGW = Path(__file__).parents[2] / "var" / "stores" / "bin" / "versitygw"


@pytest.fixture(scope="session")
def s3() -> Iterator[dict[str, str]]:
    with s3_server() as options:
        yield dict(options)


@pytest.fixture(scope="session")
def versitygw() -> Iterator[dict[str, str]]:
    """A server that speaks S3, keeps objects as files and checks signatures (tests/install-stores)."""
    with private_folder("versitygw") as folder:
        port = free_port()
        for name in ("data/tables", "sidecar"):
            (folder / name).mkdir(parents=True)
        process = ManagedProcess(
            "versitygw",
            [
                *(str(VERSITYGW), "--port", f"127.0.0.1:{port}", "--region", "us-east-1", "--quiet"),
                *("posix", "--sidecar", str(folder / "sidecar"), str(folder / "data")),
            ],
            environment={**os.environ, "ROOT_ACCESS_KEY": "somebody", "ROOT_SECRET_KEY": "a-secret-of-tests"},
            folder=folder,
            log=folder / "versitygw.log",
        )
        try:
            wait_until(process, lambda: _listens(port), seconds=30)
            yield {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                "AWS_ACCESS_KEY_ID": "somebody",
                "AWS_SECRET_ACCESS_KEY": "a-secret-of-tests",
                "AWS_REGION": "us-east-1",
                "AWS_ALLOW_HTTP": "true",
            }
        finally:
            process.stop(seconds=10)


def _listens(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def proxy(s3: Mapping[str, str]) -> Iterator[Proxy]:
    """A proxy before the server."""
    with proxy_before(int(s3["AWS_ENDPOINT_URL"].rpartition(":")[2])) as running:
        yield running
