"""Addresses in object stores: one spelling for each place, none with a secret in it."""

from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merging import StoreAddressRefused, canonical_uri, holds_secret, is_uri, local_path, without_secret

AZURE = "abfss://c@acc.dfs.core.windows.net/x"
SAME = [
    (
        "s3://lake/x/y",
        ["S3://lake/x/y/", "s3a://LAKE/x//y", "s3n://lake/x/./y", "s3://lake/x/z/../y", "s3://lake/%78/y"],
    ),
    ("s3://lake/x/y", ["https://lake.s3.eu-west-1.amazonaws.com/x/y", "https://s3.amazonaws.com/lake/x/y"]),
    ("gs://lake/x", ["gcs://lake/x", "GS://lake/x/", "https://storage.googleapis.com/lake/x"]),
    (AZURE, ["wasbs://c@acc.blob.core.windows.net/x", "abfs://C@ACC.dfs.core.windows.net/x/"]),
    (AZURE, ["https://acc.blob.core.windows.net/c/x", "https://acc.dfs.core.windows.net/c/x"]),
    ("az://c/x", ["azure://c/x", "adl://c/x", "abfss://c/x"]),
    ("s3://lake/50%25 off", ["s3://lake/50%25%20off"]),
    ("s3://lake/day=2026-01-01", ["s3a://lake/day=2026-01-01", "s3://lake/day%3D2026-01-01"]),
    ("s3://lake", ["s3://lake/", "s3a://lake//"]),
]
CANARY = "wJalrXUtnFEMI-canary"
HOLDING = [
    f"s3://AKIA:{CANARY}@lake/x",
    f"s3a://{CANARY}@lake/x",
    f"s3a://AKIA:{CANARY}/with/slashes@lake/x",
    f"abfss://c:{CANARY}@acc.dfs.core.windows.net/x",
    f"https://user:{CANARY}@acc.blob.core.windows.net/c/x",
    f"https://acc.blob.core.windows.net/c/x?sv=2024&sig={CANARY}",
    f"az://c/x?sig={CANARY}",
    f"s3://lake/x?X-Amz-Signature={CANARY}",
    f"s3://lake/x#token={CANARY}",
    f"s3://lake/AccountKey={CANARY}",
    f"s3://lake/x%3Fsig={CANARY}",
]


@pytest.mark.parametrize(("canonical", "spellings"), SAME)
def test_one_place_has_one_spelling(canonical: str, spellings: list[str]) -> None:
    assert {canonical_uri(one) for one in [canonical, *spellings]} == {canonical}


def test_an_azure_address_takes_the_account_that_is_meant() -> None:
    assert canonical_uri("az://c/x", "ACC") == AZURE
    assert canonical_uri(AZURE, "another") == AZURE


@pytest.mark.parametrize("address", HOLDING)
def test_fo2_an_address_with_a_secret_is_refused_and_never_repeated(address: str) -> None:
    assert holds_secret(address)
    assert CANARY not in holds_secret(address)
    with pytest.raises(StoreAddressRefused, match="secret in it is not taken") as refused:
        canonical_uri(address)
    assert CANARY not in str(refused.value)
    assert CANARY not in without_secret(address)


@pytest.mark.parametrize(
    "address",
    [
        *("s3://", "s3:///x", "hdfs://name/x", "https://example.org/x", "s3://lake/..", "s3://lake/%2e%2e/x"),
        *("s3://lake/x?y", "s3://lake/x#y", "s3://lake/%ff", "s3://lake/a%00b", "s3://la ke/x", "s3:/lake/x"),
        *("abfss://acc.dfs.core.windows.net/x", "wasbs://c@/x", "s3://lake/\udcff", "s3://la\udcffke/x"),
    ],
)
def test_what_names_no_place_is_refused(address: str) -> None:
    assert holds_secret(address) == ""
    with pytest.raises(StoreAddressRefused):
        canonical_uri(address)


@pytest.mark.parametrize("written", ["", " ", "a\0b", "/srv/\udcff", "file:///srv/\ud800"])
def test_what_is_no_folder_is_refused(written: str) -> None:
    with pytest.raises(StoreAddressRefused, match="This is no folder"):
        local_path(written)


SEGMENTS = st.lists(
    st.text(
        st.characters(exclude_characters="/", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8
    ).filter(lambda one: one not in (".", "..")),
    max_size=4,
)


@given(
    SEGMENTS, st.sampled_from(["s3", "s3a", "S3", "gs", "gcs"]), st.sampled_from(["/", "//", "/./", "/q/../"])
)
def test_any_spelling_of_any_name_ends_in_one(segments: list[str], scheme: str, between: str) -> None:
    escaped = [quote(one, safe="") for one in segments]
    written = f"{scheme}://Lake/" + between.join(escaped)
    if holds_secret(written):
        return
    plain = canonical_uri(f"{scheme}://lake/" + "/".join(escaped))
    assert canonical_uri(written) == plain
    assert canonical_uri(plain) == plain
    assert [unquote(one) for one in urlsplit(plain).path.split("/")[1:]] == segments


@given(st.text(max_size=60))
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    for address in (text, f"s3://{text}", f"abfss://{text}"):
        without_secret(address)
        try:
            again = canonical_uri(address)
        except StoreAddressRefused:
            continue
        assert canonical_uri(again) == again


def test_folders_of_this_machine_are_told_from_stores() -> None:
    assert [is_uri(one) for one in ("/x", "file:///x", "FILE:///x", "s3://x")] == [False, False, False, True]
    assert {
        local_path(one) for one in ("/srv//x/", "file:///srv/x", "file:/srv/x", "file://localhost/srv/y/../x")
    } == {"/srv/x"}
    assert local_path("file:///srv/a%20b") == "/srv/a b"
    with pytest.raises(StoreAddressRefused):
        local_path("/srv/\0x")
