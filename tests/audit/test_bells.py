"""A bell that nobody hears costs nobody who rings it their time, nor what they did."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from audit import bells
from config.celery import app as celery_app
from config.settings import base
from tests import services


@contextmanager
def gone() -> Iterator[str]:
    """A broker that is not there."""
    yield f"redis://127.0.0.1:{services.free_port()}/0"


@contextmanager
def mute() -> Iterator[str]:
    """A broker that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@contextmanager
def full() -> Iterator[str]:
    """A broker without memory for one more message."""
    with services.redis_server() as url:
        program = shutil.which("redis-cli") or shutil.which("valkey-cli")
        subprocess.run(
            [str(program), "-p", str(urlsplit(url).port), "config", "set", "maxmemory", "1"],
            check=True,
            capture_output=True,
        )
        yield url


#: Seconds that a bell may take: what it waits for an answer, and nothing beside.
WAITS = {"gone": 1, "mute": 7, "full": 1}
BROKERS = {
    "gone": gone,
    "mute": mute,
    "full": full,
}


@pytest.mark.services
@pytest.mark.parametrize("name", BROKERS)
def test_whoever_rings_where_no_bell_is_heard_goes_on_at_once(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(celery_app.conf, "broker_transport_options", base.CELERY_BROKER_TRANSPORT_OPTIONS)
    with BROKERS[name]() as url, services.using_broker(url):
        began = time.monotonic()
        bells.ring("changerequests.merge_next", 1)
        assert time.monotonic() - began < WAITS[name]
    assert "bell_not_heard" in caplog.text
