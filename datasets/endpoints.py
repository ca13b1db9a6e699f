"""Endpoints of stores: never a service that tells a cloud's machines who they are, whatever it is called.

Such a service gives credentials to whoever asks from here. A name is judged by what it stands for, when it is written
down and again whenever something is opened with it: whoever owns the name may point it elsewhere meanwhile.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address

_NAMES: Final = frozenset(
    {"metadata.google.internal", "metadata", "instance-data", "instance-data.ec2.internal"}
)
#: Beside the link-local ones: of AWS by IPv6, of Azure, of Alibaba, of Oracle.
_ADDRESSES: Final = frozenset(
    map(ip_address, ("fd00:ec2::254", "168.63.129.16", "100.100.100.200", "192.0.0.192"))
)
#: How long a name is looked up, and how long what was found holds for this process.
_SECONDS, _KNOWN_FOR = 3.0, 30.0
#: Where a key of Google's says itself where it is used, which clients of stores believe.
_WITHIN_KEYS: Final = ("gcs_base_url",)
_known: dict[str, tuple[float, bool]] = {}


def vouches_for_machines(host: str) -> bool:
    """Whether a host is such a service, in any spelling that a resolver takes for an address (RFC 3986, section 7.4),
    or is a name of one now. A name that stands for nothing, or that nobody tells within seconds, leads nowhere.
    """
    name = host.rstrip(".").partition("%")[0].lower()
    try:
        return _is_of_machines(ip_address(name))
    except ValueError:
        pass
    try:
        return _is_of_machines(IPv4Address(socket.inet_aton(name)))
    except (OSError, ValueError):
        return name in _NAMES or _stands_for_one(name)


def endpoint_that_vouches(given: Mapping[str, str]) -> str:
    """The name of an option, or of a secret, whose endpoint is such a service; empty where none is."""
    found = (name for name, address in _endpoints(given) if vouches_for_machines(_host_of(address)))
    return next(found, "")


def _endpoints(given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in given.items():
        if "endpoint" in name:
            yield name, value
        elif value.lstrip().startswith("{"):
            yield from ((name, address) for address in _within_key(value))


def _within_key(text: str) -> list[str]:
    try:
        key = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return [str(key[name]) for name in _WITHIN_KEYS if name in key]


def _host_of(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _is_of_machines(address: Address) -> bool:
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return address.is_link_local or address in _ADDRESSES


def _stands_for_one(name: str) -> bool:
    looked_up, is_one = _known.get(name, (0.0, False))
    now = time.monotonic()
    if not looked_up or now - looked_up > _KNOWN_FOR:
        is_one = any(map(_is_of_machines, _addresses_of(name)))
        _known[name] = now, is_one
    return is_one


def _addresses_of(name: str) -> list[Address]:
    """What a name stands for. The operating system's look-up cannot be ended: it is waited for in a thread."""
    found: Future[list[str]] = Future()

    def look_up() -> None:
        try:
            found.set_result(
                [str(one[4][0]) for one in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
            )
        except (OSError, UnicodeError):
            found.set_result([])

    threading.Thread(target=look_up, name="look-up", daemon=True).start()
    try:
        return [ip_address(one.partition("%")[0]) for one in found.result(_SECONDS)]
    except TimeoutError:
        return []
