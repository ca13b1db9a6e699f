"""Programs of the demo's people, which prepare what the browser tests look at."""

import base64
import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from demo.users import DEMO_PASSWORD


class Caller:
    """A program of one of the demo's people."""

    def __init__(self, address: str, user_name: str) -> None:
        self.address = address
        basic = base64.b64encode(f"{user_name}:{DEMO_PASSWORD}".encode()).decode()
        self.headers = {"Authorization": f"Basic {basic}"}
        self.headers = {"Authorization": f"Token {self.post('auth/token')['token']}"}

    def post(self, path: str, **body: Any) -> Any:
        """Send JSON and wait for what comes of it."""
        return self.send("POST", path, body)

    def send(self, method: str, path: str, body: dict[str, Any], prefer: str = "wait=60") -> Any:
        """Call an operation; what it answers, and an error where it refuses."""
        headers = {**self.headers, "Content-Type": "application/json", "Prefer": prefer}
        asked = Request(  # noqa: S310  (loopback)
            f"{self.address}/api/v1/{path}", json.dumps(body).encode(), headers, method=method
        )
        with urlopen(asked) as answer:  # noqa: S310
            return json.load(answer)

    def merge(self, dataset: str, rows: list[dict[str, Any]]) -> None:
        """Let the table have these rows."""
        made = self.post(f"datasets/{dataset}/proposals", title="Others were faster", rows=rows, submit=True)
        cr_id = made["change_request"]["cr_id"]
        self.post(f"change_requests/{cr_id}/merge", force_merge=True, reason="Before anybody looks")


def connection_to_nothing(address: str) -> None:
    """A connection ``looked-at`` with secrets, which a project may use, and at whose end nobody listens."""
    adam = Caller(address, "adam")
    try:
        adam.post(
            "connections", name="looked-at", root="s3://looked-at/tables",
            options={"aws_endpoint_url": "http://127.0.0.1:9", "aws_region": "us-east-1", "allow_http": "true"},
            secrets={"aws_access_key_id": "key", "aws_secret_access_key": "secret"},
        )  # fmt: skip
    except HTTPError as error:
        if error.code != 422:  # it is there from another test
            raise
    adam.send("POST", "connections/looked-at/prefixes", {"project": "new-york-2013", "path": "flights"})
