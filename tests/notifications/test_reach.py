"""Which addresses webhooks go to: the internet's, over TLS, and what the operator names; whatever a name hides."""

import ipaddress

import pytest
from django.core.exceptions import ImproperlyConfigured

from notifications.channels.reach import AddressRefused, Reach, require_possible, target_of

INTERNET = target_of("https://hooks.example.org/x")
#: What is no receiver's, by what it is.
REFUSED = [
    "0.0.0.0",  # noqa: S104  (refused)
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.8.8.8",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.9.9",
    "192.0.0.192",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "fe80::1",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "2001:db8::1",
    "100::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2001:0:a00:1::f5ff:fffe",
    "2001:0:53aa:64c:0:0:80ff:fffe",
    "5f00::1",
    "4000::1",
]
PUBLIC = [
    "8.8.8.8",
    "93.184.215.14",
    "172.32.0.1",
    "192.169.0.1",
    "100.128.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2606:4700:4700::1111",
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", REFUSED)
def test_what_is_not_on_the_internet_is_refused(address: str) -> None:
    with pytest.raises(AddressRefused, match=r"not on the internet.*WEBHOOK_ALLOWED_NETWORKS"):
        Reach().require(INTERNET, ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_the_internet_is_spoken_to_over_tls_at_the_ports_of_the_web(address: str) -> None:
    found = ipaddress.ip_address(address)
    Reach().require(INTERNET, found)
    Reach().require(target_of("https://hooks.example.org:8443/"), found)
    for url, sentence in (
        ("http://hooks.example.org/", "over https only"),
        ("https://hooks.example.org:25/", "Port 25"),
        ("https://hooks.example.org:6379/", "possible are 443, 8443"),
    ):
        with pytest.raises(AddressRefused, match=sentence):
            Reach().require(target_of(url), found)


def test_networks_of_the_operator_are_open_at_every_port_and_without_tls() -> None:
    opened = Reach.read(["10.20.0.0/16", " fd00:1::/32", "169.254.169.254"])
    plain = target_of("http://hooks.internal:9000/")
    for address in ("10.20.3.4", "fd00:1::5", "::ffff:10.20.0.1", "169.254.169.254"):
        opened.require(plain, ipaddress.ip_address(address))
    for address in ("10.21.0.1", "64:ff9b::a14:1", "fd00:2::1", "127.0.0.1"):
        with pytest.raises(AddressRefused):
            opened.require(plain, ipaddress.ip_address(address))


def test_a_network_that_is_none_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"WEBHOOK_ALLOWED_NETWORKS .*10\.0\.0\.1/8"):
        Reach.read(["10.0.0.1/8"])


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("ftp://hooks.example.org/", "whole address"),
        ("hooks.example.org", "whole address"),
        ("https:///path", "whole address"),
        ("", "whole address"),
        ("https://user:secret@hooks.example.org/", "user and password"),
        ("https://hooks.example.org@127.0.0.1/", "user and password"),
        ("https://@127.0.0.1/", "user and password"),
        ("https://hooks.example.org/#secret", "behind the #"),
        ("https://hooks.example.org/#", "behind the #"),
        ("https://hooks.example.org:0/", "port 0"),
        ("https://hooks.example.org:99999/", "cannot be read"),
        ("https://hooks.example.org:x/", "cannot be read"),
        ("https://[::1/", "cannot be read"),
        ("https://hooks.example.org\\@127.0.0.1/", "percent-encoded"),
        ("https://hooks.example.org/\r\nHost: x", "percent-encoded"),
        ("https://hooks.example.org/ b", "percent-encoded"),
        ("https://bücher.example/", "punycode"),
        ("https://hooks.example.org/" + "x" * 2000, "longer than"),
    ],
)
def test_an_address_that_could_be_read_in_two_ways_is_refused(url: str, sentence: str) -> None:
    with pytest.raises(AddressRefused, match=sentence):
        target_of(url)


def test_a_target_is_what_the_address_says() -> None:
    found = target_of("HTTPS://Hooks.Example.ORG:443/a/b?c=d%20e")
    assert (found.scheme, found.host, found.port, found.resource) == (
        *("https", "hooks.example.org", 443),
        "/a/b?c=d%20e",
    )
    assert found.authority == "hooks.example.org"
    assert target_of("http://[::1]:81?x").authority == "[::1]:81"
    assert target_of("http://[::1]:81?x").resource == "/?x"


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1/", "https://[::1]/", "https://localhost/", "https://a.localhost/", "http://8.8.8.8/"],
)
def test_an_address_that_can_never_be_sent_to_is_refused_before_any_name_is_looked_up(url: str) -> None:
    with pytest.raises(AddressRefused):
        require_possible(url)
    require_possible("https://no-such-name.example/")
