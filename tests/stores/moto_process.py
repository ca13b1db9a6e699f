"""A server that speaks S3, in a process of its own: delta-rs holds Python's lock while it waits for its store."""

from __future__ import annotations

import logging
import sys

from moto.server import ThreadedMotoServer


def main() -> None:
    """Serve on a free port, say which, and end with whoever started it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)  # noqa: T201 - the answer to whoever started it
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
