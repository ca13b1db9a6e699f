"""Stores that others serve, each started once for a process of tests and stopped at its end.

moto comes with the tests' environment; the others are installed by ``tests/install-stores``.
"""

from __future__ import annotations

import atexit
import base64
import email.utils
import functools
import hashlib
import hmac
import json
import os
import socket
import tempfile
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest

from demo.processes import ManagedProcess, wait_until
from tests.merging.stores import running_moto, started_python
from tests.services import free_port

#: Those that take a while to install and to ask: `make test-stores` has them.
STORES = tuple(pytest.param(one, marks=pytest.mark.stores) for one in ("versitygw", "azurite", "gcs"))
INSTALLED = Path(__file__).parents[2] / "var" / "stores"
_SECRET = "a-secret-of-tests"
#: Azure's keys are written in base64.
_AZURE_KEY = base64.b64encode(_SECRET.encode()).decode()


@dataclass(frozen=True)
class Server:
    """A store on a port of this machine: tables lie below ``address``, and ``options`` open them."""

    address: str
    port: int
    options: Mapping[str, str]

    def behind(self, port: int) -> dict[str, str]:
        """The options by way of a proxy that listens on a port."""
        return {
            name: value.replace(f"127.0.0.1:{self.port}", f"127.0.0.1:{port}")
            for name, value in self.options.items()
        }


@functools.cache
def server(kind: str) -> Server:
    """The store of a kind, which is started where it does not run yet."""
    return _KINDS[kind]()


def _moto() -> Server:
    options = running_moto()
    return Server("s3://tables", int(options["AWS_ENDPOINT_URL"].rpartition(":")[2]), options)


def _versitygw() -> Server:
    """Speaks S3, keeps objects as files and checks signatures."""
    folder, port = _folder("versitygw"), free_port()
    for name in ("data/tables", "sidecar"):
        (folder / name).mkdir(parents=True)
    command = [
        *(
            str(INSTALLED / "bin" / "versitygw"),
            "--port",
            f"127.0.0.1:{port}",
            "--region",
            "us-east-1",
            "--quiet",
        ),
        *("posix", "--sidecar", str(folder / "sidecar"), str(folder / "data")),
    ]
    _started("versitygw", command, folder, port, {"ROOT_ACCESS_KEY": "somebody", "ROOT_SECRET_KEY": _SECRET})
    options = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": _SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }
    return Server("s3://tables", port, options)


def _azurite() -> Server:
    """Speaks as Azure's blobs do, and checks signatures; behind a shim that lists from where one says."""
    folder, behind = _folder("azurite"), free_port()
    command = [
        *("node", str(INSTALLED / "azurite/node_modules/azurite/dist/src/blob/main.js"), "--silent"),
        *("--disableTelemetry", "--skipApiVersionCheck", "--inMemoryPersistence"),
        *("--blobHost", "127.0.0.1", "--blobPort", str(behind)),
    ]
    _started("azurite", command, folder, behind, {"AZURITE_ACCOUNTS": f"somebody:{_AZURE_KEY}"})
    _make_container(behind)
    port = started_python("tests.stores.shims", "azure", str(behind))
    options = {
        "AZURE_STORAGE_ACCOUNT_NAME": "somebody",
        "AZURE_STORAGE_ACCOUNT_KEY": _AZURE_KEY,
        "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/somebody",
        "AZURE_ALLOW_HTTP": "true",
    }
    return Server("az://tables", port, options)


def _make_container(port: int) -> None:
    """A container `tables`: a request signed as "Authorize with Shared Key" has it, for no client of ours makes any."""
    headers = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    named = "".join(f"{name}:{value}\n" for name, value in headers.items())
    signed = f"PUT{chr(10) * 12}{named}/somebody/somebody/tables\nrestype:container"
    signature = hmac.new(base64.b64decode(_AZURE_KEY), signed.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey somebody:{base64.b64encode(signature).decode()}"
    _answered(f"http://127.0.0.1:{port}/somebody/tables?restype=container", "PUT", headers)


def _gcs() -> Server:
    """fake-gcs-server behind a shim that lets it speak Google's XML interface; checks no signature."""
    folder, behind = _folder("gcs"), free_port()
    command = [
        *(str(INSTALLED / "bin" / "fake-gcs-server"), "-backend", "memory", "-scheme", "http"),
        *("-host", "127.0.0.1", "-port", str(behind), "-public-host", "127.0.0.1", "-log-level", "error"),
    ]
    _started("fake-gcs-server", command, folder, behind, {})
    _answered(
        f"http://127.0.0.1:{behind}/storage/v1/b?project=tests",
        "POST",
        {"Content-Type": "application/json"},
        b'{"name": "tables"}',
    )
    port = started_python("tests.stores.shims", "gcs", str(behind))
    key = {
        "gcs_base_url": f"http://127.0.0.1:{port}",
        "disable_oauth": True,
        **dict.fromkeys(("client_email", "private_key", "private_key_id"), ""),
    }
    return Server("gs://tables", port, {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(key), "ALLOW_HTTP": "true"})


_KINDS: Mapping[str, Callable[[], Server]] = MappingProxyType(
    {"s3": _moto, "versitygw": _versitygw, "azurite": _azurite, "gcs": _gcs}
)


def _folder(name: str) -> Path:
    kept = tempfile.TemporaryDirectory(prefix=f"headgate-{name}-", ignore_cleanup_errors=True)
    atexit.register(kept.cleanup)
    return Path(kept.name)


def _started(
    name: str, command: Sequence[str], folder: Path, port: int, variables: Mapping[str, str]
) -> None:
    process = ManagedProcess(
        name, command, environment={**os.environ, **variables}, folder=folder, log=folder / f"{name}.log"
    )
    atexit.register(process.stop, seconds=10)
    wait_until(process, lambda: _listens(port), seconds=30)


def _listens(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def _answered(url: str, method: str, headers: Mapping[str, str], body: bytes | None = None) -> None:
    request = urllib.request.Request(url, body, dict(headers), method=method)  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        assert answer.status in (200, 201)
