"""Reading rows: streamed into a file, whole or again from the beginning."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pyarrow as pa

from headgate.asynchronous.transport import AsyncTransport
from headgate.content.sources import temporary_file
from headgate.downloads import Download
from headgate.errors import ConnectionFailed, NotHeadgate
from headgate.protocol import Call

#: What is asked for: an Arrow stream, or a problem.
ARROW_STREAM = "application/vnd.apache.arrow.stream"
ACCEPTED = f"{ARROW_STREAM}, application/problem+json"


async def download(transport: AsyncTransport, call: Call, description: str) -> Download:
    """The rows that an operation streams as Arrow. Raises ``ConnectionFailed`` where the stream ends before its end."""
    path, bar, done = temporary_file(".arrow"), transport.progress(), 0

    def received(size: int) -> None:
        nonlocal done
        done += size
        bar.update(done, None, description)

    try:
        headers = await transport.download(
            replace(call, headers={"Accept": ACCEPTED}), path, received=received
        )
        if not headers.get("content-type", "").startswith(ARROW_STREAM):
            raise NotHeadgate("The server does not stream rows as Arrow: it is older than this client.")
        version = headers.get("headgate-version")
        return Download(path, int(version) if version else None)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, pa.ArrowInvalid):
            raise ConnectionFailed(f"What came is no Arrow stream: {error}.") from error
        raise
    finally:
        bar.close()


async def digest_of(transport: AsyncTransport, call: Call) -> str:
    """The SHA-256 of a file of the server, which is not kept."""
    path = temporary_file(".audit")
    try:
        await transport.download(replace(call, headers={"Accept": "*/*"}), path, received=lambda size: None)
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
        return digest.hexdigest()
    finally:
        path.unlink(missing_ok=True)
