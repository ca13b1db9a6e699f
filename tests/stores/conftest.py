"""Stores on this machine, each one server for all tests, and a proxy before one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.stores.proxy import Proxy, proxy_before
from tests.stores.servers import server


@pytest.fixture(scope="session")
def s3() -> dict[str, str]:
    """What opens tables on a server that speaks S3."""
    return dict(server("s3").options)


@pytest.fixture
def proxy(s3: Mapping[str, str]) -> Iterator[Proxy]:
    """A proxy before that server."""
    with proxy_before(int(s3["AWS_ENDPOINT_URL"].rpartition(":")[2])) as running:
        yield running
