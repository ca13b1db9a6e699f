"""A server that speaks S3, in a process of its own: delta-rs holds Python's lock while it waits for its store."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any

from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer


def put_one_at_a_time() -> None:
    """moto looks whether an object is there and puts it in two steps: of several that may only create it, as commits
    may, more than one was told that it did.
    """
    put, turn = S3Response.put_object, threading.Lock()

    def put_object(self: S3Response) -> tuple[int, dict[str, Any], str | bytes]:
        with turn:
            return put(self)

    S3Response.put_object = put_object  # type: ignore[method-assign]


def main() -> None:
    """Serve on a free port, say which, and end with whoever started it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    put_one_at_a_time()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)  # noqa: T201 - the answer to whoever started it
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
