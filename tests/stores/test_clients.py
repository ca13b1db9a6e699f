"""The client on every store that others serve: what tables need of it, and what is said where that is missing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Callable, Mapping
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from merging.errors import TableUnreachable
from merging.store.client import ObjectExists, ObjectReplaced, RangeBeyondEnd, StoredObject, open_client
from merging.store.stores import PROBE, ObjectStore, open_store
from merging.store.trying import FoundFolder, StoreNeed, list_folders, try_place
from tests.served import served
from tests.stores.proxy import proxy_before
from tests.stores.servers import STORES, Server, server

ALL_WORKS = dict.fromkeys(StoreNeed, True)
WRONG = {
    "s3": {"AWS_SECRET_ACCESS_KEY": "another"},
    "az": {"AZURE_STORAGE_ACCOUNT_KEY": base64.b64encode(b"another").decode()},
}


KINDS = (pytest.param("s3"), *STORES)


def without(*kinds: str) -> list[object]:
    """The stores but these."""
    return [one for one in KINDS if one.values[0] not in kinds]


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest) -> Server:
    found: Server = server(request.param)
    return found


def opened(store: Server, options: Mapping[str, str] | None = None) -> ObjectStore:
    made = open_store(f"{store.address}/{uuid.uuid4().hex}", options or store.options)
    assert isinstance(made, ObjectStore)
    return made


def paths(store: ObjectStore, folder: str = "") -> list[str]:
    return sorted(one.path for one in store.client.list(folder))


def test_what_tables_need_works_and_nothing_stays(store: Server) -> None:
    place = f"{store.address}/{uuid.uuid4().hex}"
    tried = try_place(place, store.options)
    assert {one.attempt: one.works for one in tried} == ALL_WORKS
    assert [*open_store(place, store.options).walk()] == []


def service_account() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return json.dumps(
        {"client_email": "a@b", "private_key": pem, "private_key_id": "1", "type": "service_account"}
    )


def test_a_token_of_google_s_is_all_that_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue gives such tokens; fake-gcs-server looks at none, so that what is sent is looked at here."""
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", service_account())  # of the process
    sent = []

    def answering(environ: Mapping[str, str], start_response: Callable[..., object]) -> list[bytes]:
        sent.append(environ.get("HTTP_AUTHORIZATION"))
        headers = [("Content-Length", "7"), ("Last-Modified", "Sat, 28 Nov 2026 03:00:00 GMT"), ("ETag", "x")]
        start_response("200 OK", headers)
        return [b"content"]

    with served(answering) as address:
        options = {"google_oauth_token": "ya29.canary", "google_base_url": address, "allow_http": "true"}
        assert open_client("gs://tables/t", options).get("file") == b"content"
    assert sent == ["Bearer ya29.canary"]


def test_objects_are_put_once_read_by_ranges_and_removed(store: Server) -> None:
    made = opened(store)
    made.put_new("a b/%41+ü.bin", b"0123456789")
    with pytest.raises(ObjectExists):
        made.put_new("a b/%41+ü.bin", b"other")
    client = made.client
    assert client.get("a b/%41+ü.bin") == b"0123456789"
    assert client.get_range("a b/%41+ü.bin", 2, 5) == b"234"
    assert client.get_range("a b/%41+ü.bin", 8, 50) == b"89"
    with pytest.raises(RangeBeyondEnd):
        client.get_range("a b/%41+ü.bin", 10, 12)
    assert client.head("a b/%41+ü.bin")[0] == 10
    for stated in (None, 10, 7, 12, 1_000):
        end = client.get_end("a b/%41+ü.bin", 4, stated)
        assert (end.size, end.tail) == (10, b"6789")
    assert client.get_end("a b/%41+ü.bin", 50).tail == b"0123456789"
    client.copy("a b/%41+ü.bin", "copy")
    client.put("empty", b"")
    assert [client.get_end("empty", 5, stated).tail for stated in (None, 0, 3)] == [b""] * 3
    assert paths(made) == ["a b/%41+ü.bin", "copy", "empty"]
    made.delete(["copy", "gone", "a b/%41+ü.bin", "empty"])
    assert paths(made) == []
    for look in (
        client.get,
        client.head,
        lambda path: client.get_range(path, 0, 1),
        lambda path: client.get_end(path, 1),
    ):
        with pytest.raises(FileNotFoundError):
            look("copy")


def test_large_objects_go_in_parts(store: Server) -> None:
    made = opened(store)
    content = bytes(range(256)) * 50_000  # more than one part takes
    made.write("large", content)
    assert hashlib.sha256(made.read("large")).digest() == hashlib.sha256(content).digest()
    assert made.read_tail("large", 3) == (len(content), content[-3:])
    assert b"".join(made.client.stream("large")) == content


def test_more_objects_than_a_page_has_are_listed_from_where_one_says(store: Server) -> None:
    made = opened(store)
    names = [f"{number:04}" for number in range(1_020)]
    for name in names:
        made.client.create(f"log/{name}", b"")
    assert [one.path for one in made.list("log")] == [f"log/{name}" for name in names]
    assert [one.path for one in made.list("log", start_after="1000")] == [
        f"log/{name}" for name in names[1_001:]
    ]
    made.delete([*(f"log/{name}" for name in names), "log/gone"])
    assert paths(made) == []


@pytest.mark.parametrize("store", without("gcs"), indirect=True)  # fake-gcs-server does not look at If-Match
def test_an_object_that_was_replaced_is_noticed(store: Server) -> None:
    client = opened(store).client
    client.put("a", b"one")
    known = client.get_end("a", 1)
    client.put("a", b"two")
    with pytest.raises(ObjectReplaced):
        client.get_range("a", 0, 1, known.e_tag)


def test_the_end_of_an_object_whose_size_is_stated_takes_one_request(store: Server) -> None:
    with proxy_before(store.port) as proxy:
        made = opened(store, store.behind(proxy.port))
        made.write("a", b"0123456789")
        with proxy.counting() as asked:
            assert made.read_tail("a", 4, 10) == (10, b"6789")
        assert len(asked) == 1


def test_folders_right_below_an_address_are_told_and_which_are_tables(store: Server) -> None:
    made = opened(store)
    for path in ("planes/_delta_log/0.json", "files/a.parquet", ".hidden/a", "_staged/a"):
        made.write(path, b"{}")
    assert list_folders(made.uri, store.options, most=10) == (
        FoundFolder("files", False),
        FoundFolder("planes", True),
    )


def test_a_bucket_that_is_not_there_is_told(store: Server) -> None:
    scheme = store.address.partition(":")[0]
    tried = try_place(f"{scheme}://nothing-here/tables", store.options)
    assert not [one for one in tried if one.works]
    for one in tried:
        if one.attempt is not StoreNeed.ONCE:
            assert (one.works, "There is no such bucket or container" in one.reason) == (False, True)


@pytest.mark.parametrize("store", without("s3", "gcs"), indirect=True)  # these two check no signature
def test_a_wrong_secret_is_told(store: Server) -> None:
    wrong = WRONG[store.address.partition(":")[0]]
    tried = try_place(f"{store.address}/x", {**store.options, **wrong})
    assert [one.works for one in tried if one.attempt is not StoreNeed.ONCE] == [False] * 4
    assert "Its store refuses access (403 " in tried[0].reason
    with pytest.raises(TableUnreachable, match="refuses access") as caught:
        opened(store, {**store.options, **wrong}).read("a")
    assert not caught.value.retriable


def shared_access(store: Server, permissions: str) -> dict[str, str]:
    """Options with a signature for the container that permits so much ("Create a service SAS")."""
    account, key = (store.options[f"AZURE_STORAGE_ACCOUNT_{name}"] for name in ("NAME", "KEY"))
    said = {"sp": permissions, "se": "2100-01-01T00:00:00Z", "sv": "2021-08-06", "sr": "c"}
    place = f"/blob/{account}/tables"
    text = [said["sp"], "", said["se"], place, "", "", "", said["sv"], said["sr"], *[""] * 7]
    signature = hmac.new(base64.b64decode(key), "\n".join(text).encode(), hashlib.sha256).digest()
    sealed = urlencode({**said, "sig": base64.b64encode(signature).decode()})
    others = {name: value for name, value in store.options.items() if name != "AZURE_STORAGE_ACCOUNT_KEY"}
    return {**others, "AZURE_STORAGE_SAS_KEY": sealed}


@pytest.mark.stores
@pytest.mark.parametrize(
    ("permissions", "works"),
    [
        ("rcwdl", {}),
        ("rcwl", {StoreNeed.DELETE: False}),
        ("rl", {StoreNeed.WRITE: False, StoreNeed.ONCE: None, StoreNeed.DELETE: False}),
        ("rcwd", {StoreNeed.LIST: False}),
        ("cwdl", {StoreNeed.READ: False}),
    ],
)
def test_what_a_shared_access_signature_does_not_permit_is_told(
    permissions: str, works: dict[StoreNeed, bool | None]
) -> None:
    store = server("azurite")
    place = f"{store.address}/{uuid.uuid4().hex}"
    open_store(place, store.options).write("there", b"1")
    tried = try_place(place, shared_access(store, permissions))
    assert {one.attempt: one.works for one in tried} == {**ALL_WORKS, **works}
    for one in tried:
        assert ("refuses access (403" in one.reason) == (one.works is False)
    left = [PROBE] if permissions == "rcwl" else []
    assert sorted(item.path for item in open_store(place, store.options).walk()) == sorted([*left, "there"])


def test_listed_objects_have_sizes_and_ages(store: Server) -> None:
    made = opened(store)
    made.write("a", b"12345")
    [found] = made.walk()
    assert isinstance(found, StoredObject)
    assert (found.path, found.size, found.modified_ms > 1_500_000_000_000) == ("a", 5, True)
