"""What stands before Azurite and fake-gcs-server, so that they answer as Azure and Google do: ``KIND PORT``.

A process of its own: ``python -m tests.stores.shims gcs 4443`` says where it listens and ends with whoever started it.
Both servers list from the beginning whatever they are told: what stands before the name that was asked for is left out.
fake-gcs-server takes uploads by Google's JSON interface alone, while every client of ours speaks the XML one: PUT
becomes such an upload, a copy a rewrite; parts of an upload are kept here until it is complete.
"""

from __future__ import annotations

import http.client
import http.server
import json
import re
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import unescape

_CONDITION = "x-goog-if-generation-match"
_NO_BUCKET = b"<Error><Code>NoSuchBucket</Code></Error>"
_behind = threading.local()
_parts: dict[str, dict[int, bytes]] = {}
_Answer = tuple[int, Mapping[str, str], bytes]


def _ask(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> _Answer:
    """What the server behind answers; on one connection for each of this process' threads."""
    if not hasattr(_behind, "connection"):
        _behind.connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[2]))
    _behind.connection.request(method, path, body, {**headers, "content-length": str(len(body))})
    answer = _behind.connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def _azure(method: str, path: str, headers: Mapping[str, str], body: bytes) -> _Answer:
    status, told, content = _ask(method, path, headers, body)
    start = parse_qs(urlsplit(path).query).get("startFrom")
    return status, told, _listed(content, "Blob", "Name", lambda name: name >= start[0]) if start else content


def _google(method: str, path: str, headers: Mapping[str, str], body: bytes) -> _Answer:
    if method in ("PUT", "POST"):
        status, told, content = _put(path, headers, body)
        return (404, told, _NO_BUCKET) if status == 404 else (status, told, content)
    status, told, content = _ask(method, path, headers, body)
    # A bucket that is not there it lists with a failure of its own, and is silent about where an object is asked for.
    if (
        status in (404, 500)
        and _ask("GET", f"/storage/v1/b/{path.split('/')[1].partition('?')[0]}", {})[0] == 404
    ):
        return 404, {}, _NO_BUCKET
    if told.get("content-range", "").endswith("/0"):  # it takes a range of nothing for one that there is
        return 416, {}, b"<Error><Code>InvalidRange</Code></Error>"
    start = parse_qs(urlsplit(path).query).get("start-after")
    return (
        status,
        told,
        _listed(content, "Contents", "Key", lambda name: name > start[0]) if start else content,
    )


def _listed(content: bytes, item: str, name: str, wanted: Callable[[str], bool]) -> bytes:
    """A listing without the items that are not wanted."""

    def kept(found: re.Match[str]) -> str:
        return found[0] if wanted(unescape(found[1])) else ""

    return re.sub(
        f"<{item}>.*?<{name}>(.*?)</{name}>.*?</{item}>", kept, content.decode(), flags=re.DOTALL
    ).encode()


def _put(path: str, headers: Mapping[str, str], body: bytes) -> _Answer:
    parted = urlsplit(path)
    asked = parse_qs(parted.query, keep_blank_values=True)
    bucket, _, name = unquote(parted.path).lstrip("/").partition("/")
    condition = headers.get(_CONDITION)
    if "uploads" in asked:
        identity = uuid.uuid4().hex
        _parts[identity] = {}
        answer = (
            f"<InitiateMultipartUploadResult><UploadId>{identity}</UploadId></InitiateMultipartUploadResult>"
        )
        return 200, {}, answer.encode()
    if "partNumber" in asked:
        _parts[asked["uploadId"][0]][int(asked["partNumber"][0])] = body
        return 200, {"etag": f'"{asked["partNumber"][0]}"'}, b""
    if "uploadId" in asked:
        kept = _parts.pop(asked["uploadId"][0])
        whole = b"".join(kept[one] for one in sorted(kept))
        return _upload(bucket, name, whole, condition, "CompleteMultipartUploadResult")
    if "x-goog-copy-source" in headers:
        other, _, source = unquote(headers["x-goog-copy-source"]).lstrip("/").partition("/")
        way = (
            f"/storage/v1/b/{other}/o/{quote(source, safe='')}/rewriteTo/b/{bucket}/o/{quote(name, safe='')}"
        )
        return _answered(_ask("POST", way, {}), "CopyObjectResult")
    return _upload(bucket, name, body, condition, "PutObjectResult")


def _upload(bucket: str, name: str, body: bytes, condition: str | None, answer: str) -> _Answer:
    only = "" if condition is None else f"&ifGenerationMatch={condition}"
    place = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(name, safe='')}{only}"
    return _answered(_ask("POST", place, {"content-type": "application/octet-stream"}, body), answer)


def _answered(asked: _Answer, answer: str) -> _Answer:
    """What the XML interface answers for a new object."""
    status, headers, body = asked
    if status != 200:
        return status, headers, body
    told = json.loads(body).get("resource") or json.loads(body)
    identity = {"etag": told["etag"], "x-goog-generation": str(told["generation"])}
    return 200, identity, f"<{answer}><ETag>{told['etag']}</ETag></{answer}>".encode()


class _Shim(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        """Any request."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        status, told, content = _KINDS[sys.argv[1]](self.command, self.path, headers, body)
        kept: dict[str, Any] = {
            name: value
            for name, value in told.items()
            if name
            not in ("content-length", "transfer-encoding", "connection", "keep-alive", "date", "server")
        }
        kept["content-length"] = told.get("content-length", 0) if self.command == "HEAD" else len(content)
        self.send_response(status)
        for name, value in kept.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


_KINDS: Mapping[str, Callable[[str, str, Mapping[str, str], bytes], _Answer]] = {
    "azure": _azure,
    "gcs": _google,
}


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Clients that break off are what is tested."""


def main() -> None:
    """Serve on a free port and say which."""
    server = _Server(("127.0.0.1", 0), _Shim)
    print(server.server_port, flush=True)  # noqa: T201 - the answer to whoever started it
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
