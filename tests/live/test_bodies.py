"""Bodies as real clients send them: in chunks without a length, too large, with too many parts."""

import json
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.core.signing import TimestampSigner

from accounts.guard import BROWSER_COOKIE
from changerequests.models import ChangeRequest
from config.bodies import with_lengths
from datasets.models import Dataset
from tests.kept import incoming_folder, names_in
from tests.live.server import Connection, form_with
from web.typed import TYPED_BY, mark_of

CSV = b"tailnum,seats\nN1,7\n"


def address(change_request: ChangeRequest, rest: str = "") -> str:
    return f"/api/v1/change_requests/{change_request.cr_id}{rest}"


def test_fh1_a_chunked_reason_is_kept(client: Connection, draft: ChangeRequest) -> None:
    answer = client.send("POST", address(draft, "/close"), {"reason": "No more."}, chunked=True)
    assert (answer.status, answer.json()["close_reason"]) == (200, "No more.")


def test_fh1_a_chunked_patch_changes(client: Connection, dataset: Dataset) -> None:
    answer = client.send(
        "PATCH", f"/api/v1/datasets/{dataset.pk}", {"description": "In chunks"}, chunked=True
    )
    assert (answer.status, answer.json()["description"]) == (200, "In chunks")


def test_fh1_a_chunked_guard_guards(client: Connection, draft: ChangeRequest) -> None:
    answer = client.send("POST", address(draft, "/merge"), {"no_such_guard": 1}, chunked=True)
    assert (answer.status, answer.errors) == (422, {"no_such_guard": "There is no such member."})


def test_fh1_a_chunked_upload_arrives(client: Connection, draft: ChangeRequest) -> None:
    body, kind = form_with("planes.csv", CSV)
    answer = client.call("POST", address(draft, "/upload"), body, chunked=True, Content_Type=kind)
    assert answer.status == 201, answer.body
    assert answer.json()["rows"] == 1


def test_fh1_an_empty_chunked_body_is_none(client: Connection, draft: ChangeRequest) -> None:
    answer = client.call("POST", address(draft, "/close"), b"", chunked=True, Content_Type="application/json")
    assert answer.status == 200


def test_fh1_a_delete_with_a_body_is_read_to_its_end(client: Connection) -> None:
    answer = client.send("DELETE", "/api/v1/projects", {"a": 1}, chunked=True)
    assert (answer.status, answer.code) == (405, "method_not_allowed")


@pytest.mark.parametrize("size", [3_000_000])
def test_fh3_json_above_two_megabytes(client: Connection, draft: ChangeRequest, size: int) -> None:
    body = json.dumps({"resolutions": [], "x": "x" * size}).encode()
    answer = client.call("POST", address(draft, "/conflicts"), body, Content_Type="application/json")
    assert (answer.status, answer.errors) == (422, {"x": "There is no such member."})


def test_fh3_many_fields(client: Connection, draft: ChangeRequest) -> None:
    body, kind = form_with("planes.csv", CSV, **{f"f{number}": "" for number in range(2000)})
    answer = client.call("POST", address(draft, "/upload"), body, Content_Type=kind)
    assert (answer.status, answer.code) == (413, "too_large"), answer.body


def test_fs12_too_much_is_refused_before_it_is_sent(client: Connection, draft: ChangeRequest) -> None:
    answer = client.declare("POST", address(draft, "/comments"), 10**12, Content_Type="application/json")
    assert (answer.status, answer.code) == (413, "too_large")


def test_fs12_alive_whatever_the_host(client: Connection) -> None:
    answer = client.call("GET", "/livez", Host="10.1.2.3:8000")
    assert (answer.status, answer.body) == (200, b"ok\n")


@pytest.mark.parametrize(
    ("path", "kind"), [("/comments", "application/json"), ("/conflicts", "application/json")]
)
def test_fs12_a_chunked_body_ends_where_the_limit_does(
    client: Connection, draft: ChangeRequest, path: str, kind: str
) -> None:
    sent = 0

    def without_end() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(400):
            sent += 100_000
            yield b" " * 100_000

    answer = client.call("POST", address(draft, path), without_end(), chunked=True, Content_Type=kind)
    assert (answer.status, answer.code) == (413, "too_large")
    assert answer.headers["x-request-id"] == answer.json()["request_id"] != ""


def test_fs12_nobody_known_sends_no_file(server: str, client: Connection, draft: ChangeRequest) -> None:
    upload = address(draft, "/upload")
    assert Connection(server).declare("POST", upload, 10**8).status == 413
    assert Connection(server, token="f" * 64).declare("POST", upload, 10**8).status == 413
    body, kind = form_with("planes.csv", CSV + b"\n" * 2_000_000)
    assert Connection(server).call("POST", upload, body, chunked=True, Content_Type=kind).status == 413
    assert client.call("POST", upload, body, chunked=True, Content_Type=kind).status == 201


def test_fs12_a_form_of_a_page_comes_back_whole_from_browsers_that_are_known(
    server: str, draft: ChangeRequest, owner: User
) -> None:
    words, page = "w" * 3_000_000, f"/change-requests/{draft.cr_id}/comments/"
    fields = {"body": words, TYPED_BY: mark_of(owner.pk), "csrfmiddlewaretoken": "a" * 32}
    body, kind = form_with("planes.csv", CSV, **fields)
    known = f"csrftoken={'a' * 32}; {BROWSER_COOKIE}={TimestampSigner(salt='accounts.browser').sign('one')}"

    ended = Connection(server, cookies=known).call("POST", page, body, Content_Type=kind)
    assert (ended.status, ended.headers["content-type"]) == (413, "text/html; charset=utf-8")
    assert words in ended.body.decode()
    assert Connection(server, cookies=f"csrftoken={'a' * 32}").declare("POST", page, len(body)).status == 413
    forged = known.replace("one:", "two:")
    assert Connection(server, cookies=forged).declare("POST", page, len(body)).status == 413

    # Where files may be sent, the words beside them come back, and of the file its name alone.
    body, kind = form_with(
        "planes.csv", CSV + b"\n" * 20_000_000, **{**fields, "body": "", "title": "A title"}
    )
    new = f"/datasets/{draft.dataset.project.slug}/{draft.dataset.slug}/look/"
    ended = Connection(server, cookies=known).call("POST", new, body, Content_Type=kind)
    assert (ended.status, "A title" in ended.body.decode()) == (401, True)
    assert names_in(incoming_folder()) == []


def test_fs12_a_page_says_it_as_a_page(client: Connection) -> None:
    answer = client.declare("POST", "/sign-in/", 10**9, Content_Type="application/x-www-form-urlencoded")
    assert answer.status == 413
    assert answer.headers["content-type"].startswith("text/html")
    assert "The body is larger than" in answer.body.decode()
    body = "&".join(f"f{number}=" for number in range(2000)).encode()
    browser = Connection(client.address, cookies=f"csrftoken={'a' * 32}")
    many = browser.call("POST", "/sign-in/", body, Content_Type="application/x-www-form-urlencoded")
    assert (many.status, "too many fields" in many.body.decode()) == (413, True)


def test_fh1_wsgi_says_that_it_needs_a_length() -> None:
    begun: list[str] = []
    with_lengths(lambda *_: [])({"HTTP_TRANSFER_ENCODING": "chunked"}, lambda status, _: begun.append(status))
    assert begun == ["411 Length Required"]
