"""A WSGI application on this machine, for as long as a block lasts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from werkzeug.serving import make_server


@contextmanager
def served(application: Callable[..., Iterable[bytes]]) -> Iterator[str]:
    """The address at which it answers, each question in a thread of its own."""
    server = make_server("localhost", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="served")
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
