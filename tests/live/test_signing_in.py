"""FS7, FS8, FS11, FS12 against the server itself: lock-out, forged addresses, what is logged and what is stored."""

from pathlib import Path
from urllib.parse import urlencode

from changerequests.models import ChangeRequest
from tests.live.server import Answer, Connection

PAGE, API = "/sign-in/", "/api/v1/auth/token"
CSRF = "a" * 32


def try_once(server: str, at: str, forged: str) -> Answer:
    """One wrong password, from an address that the caller made up."""
    body = {"username": "nobody-live", "password": "guess"}
    if at == API:
        return Connection(server).send("POST", at, body, X_Forwarded_For=forged)
    form = urlencode({**body, "csrfmiddlewaretoken": CSRF}).encode()
    browser = Connection(server, cookies=f"csrftoken={CSRF}")
    kind = "application/x-www-form-urlencoded"
    return browser.call("POST", at, form, Content_Type=kind, X_Forwarded_For=forged)


def test_fs7_fs8_the_eighth_wrong_password_answers_429_whatever_address_is_forged(server: str) -> None:
    tried = [*([PAGE] * 4), *([API] * 4), PAGE]
    answers = [try_once(server, at, f"192.0.2.{number}") for number, at in enumerate(tried)]

    assert [answer.status for answer in answers] == [200] * 4 + [401] * 3 + [429, 429]
    assert answers[7].json()["code"] == "throttled"
    assert "Too many failed attempts" in answers[8].body.decode()
    for answer in answers[7:]:
        assert 800 < int(answer.headers["retry-after"]) <= 900


def test_fs11_fs12_the_server_logs_paths_alone_and_nothing_is_stored(
    server: str, client: Connection, draft: ChangeRequest, server_log: Path
) -> None:
    secret = "N987-live-secret"
    rows = f"/api/v1/datasets/{draft.dataset_id}/rows"
    answers = [
        client.call("GET", f"{rows}?filter=tailnum:=:{secret}", Referer=f"{server}/x/?key={secret}"),
        client.call("GET", f"{rows}/history?key=%7B%22tailnum%22:%22{secret}%22%7D"),
        client.call("GET", f"/nothing/?key={secret}"),
        Connection(server).call("GET", f"/datasets/?key={secret}"),
    ]

    assert [answer.status for answer in answers] == [200, 200, 404, 302]
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}
    written = server_log.read_text()
    assert f"GET {rows}" in written
    assert secret not in written
