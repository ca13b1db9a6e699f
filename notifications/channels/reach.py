"""Where webhooks may go: addresses on the internet, and networks that the operator names.

Owners of datasets choose addresses, so a receiver may be anything that this machine can reach and they cannot: its own
services, the neighbours of its network, the metadata service of a cloud. What counts is the address that is connected
to, never the name: it is resolved once, each of its addresses is judged, and the connection goes to one of those.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LONGEST_URL: Final = 2000
#: Ports of receivers on the internet: an HTTP request must not be what some other service reads.
PORTS: Final = frozenset({443, 8443})
#: Addresses of a cloud's own machinery that Python's registry may take for the internet's.
_MACHINERY: Final = (
    ipaddress.ip_network("168.63.129.16/32"),  # Azure's WireServer
    ipaddress.ip_network("192.0.0.0/24"),  # IETF protocol assignments; Oracle's metadata service
)
#: IPv6 networks whose addresses stand for IPv4 addresses, which their last 32 bits are.
_EMBEDDING: Final = (
    ipaddress.ip_network("::/96"),  # IPv4-compatible: RFC 4291, 2.5.5.1
    ipaddress.ip_network("::ffff:0:0/96"),  # IPv4-mapped: RFC 4291, 2.5.5.2
    ipaddress.ip_network("::ffff:0:0:0/96"),  # IPv4-translated: RFC 2765, 2.1
    ipaddress.ip_network("64:ff9b::/96"),  # NAT64: RFC 6052, 2.1
)
_NAT64_LOCAL: Final = ipaddress.ip_network(
    "64:ff9b:1::/48"
)  # RFC 8215: where it ends only its operator knows
_6TO4: Final = ipaddress.ip_network("2002::/16")
_TEREDO: Final = ipaddress.ip_network("2001::/32")


class AddressRefused(Exception):
    """An address that webhooks do not go to; the message says why, and what is possible."""


@dataclass(frozen=True)
class Target:
    """An address of a webhook, taken apart once: nothing reads it again, and perhaps otherwise."""

    scheme: str
    host: str
    port: int
    #: Path and query, as they are sent.
    resource: str

    @property
    def is_encrypted(self) -> bool:
        """Whether it is spoken to over TLS."""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """What the header ``Host`` says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _USUAL_PORTS[self.scheme] else f"{host}:{self.port}"


_USUAL_PORTS: Final = {"https": 443, "http": 80}


def target_of(url: str) -> Target:
    """The target of a webhook's address. Raises ``AddressRefused`` for what is none, or could be read in two ways."""
    if len(url) > LONGEST_URL:
        raise AddressRefused(f"The address is longer than {LONGEST_URL} characters.")
    if any(not "!" <= character <= "~" or character in '\\"<>^`{|}' for character in url):
        raise AddressRefused(
            "Write blanks and letters beyond ASCII percent-encoded, and host names in punycode."
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressRefused("The address cannot be read.") from error
    if parts.scheme not in _USUAL_PORTS or not parts.hostname:
        raise AddressRefused("Write the whole address, for example https://hooks.example.org/headgate.")
    if "@" in parts.netloc:
        raise AddressRefused(
            "Leave user and password out of the address: requests are signed, and whoever sees it would see them."
        )
    if parts.fragment or url.endswith("#"):
        raise AddressRefused("Leave out what stands behind the #: it is never sent.")
    if port == 0:
        raise AddressRefused("There is no port 0.")
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, parts.hostname, port or _USUAL_PORTS[parts.scheme], resource)


@dataclass(frozen=True)
class Reach:
    """Which networks an operator opened to webhooks, beside the internet."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def read(cls, entries: Sequence[str]) -> Reach:
        """From the setting: addresses and networks. Raises ``ImproperlyConfigured``."""
        try:
            return cls(tuple(ipaddress.ip_network(entry.strip()) for entry in entries if entry.strip()))
        except ValueError as error:
            raise ImproperlyConfigured(
                f"WEBHOOK_ALLOWED_NETWORKS holds addresses and networks such as 10.20.0.0/16: {error}."
            ) from error

    def require(self, target: Target, address: Address) -> None:
        """Raises ``AddressRefused`` for an address where the target must not be sent to.

        In networks of the operator every port is open and TLS is the receiver's choice; on the internet what tells of
        people's work goes encrypted or not at all.
        """
        every = list(_meanings(address))
        if all(any(_is_in(one, network) for network in self.networks) for one in every):
            return
        if any(not _is_on_the_internet(one) for one in every):
            raise AddressRefused(
                f"{target.host} is {address}, which is not on the internet. An operator can open its network to "
                f"webhooks (WEBHOOK_ALLOWED_NETWORKS)."
            )
        if not target.is_encrypted:
            raise AddressRefused("Receivers on the internet are spoken to over https only.")
        if target.port not in PORTS:
            ports = ", ".join(str(port) for port in sorted(PORTS))
            raise AddressRefused(
                f"Port {target.port} is none of a web server on the internet: possible are {ports}."
            )

    def addresses_of(self, target: Target) -> list[Address]:
        """The addresses of the target, each of them judged; whoever connects takes one of them.

        Raises ``AddressRefused``, and ``OSError`` where the name has no address now.
        """
        found = socket.getaddrinfo(
            target.host, target.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
        # A zone (fe80::1%eth0) is of this machine: what is left of the address is refused where it needs one.
        texts = dict.fromkeys(str(place[0]).partition("%")[0] for *_, place in found)
        addresses = [ipaddress.ip_address(text) for text in texts]
        if not addresses:
            raise OSError(f"{target.host} has no address")
        for address in addresses:
            self.require(target, address)
        return addresses


def reach() -> Reach:
    """What this installation lets webhooks reach."""
    configured: Reach = settings.WEBHOOK_REACH
    return configured


def require_possible(url: str) -> None:
    """Refuse, without asking for any name, an address that can never be sent to. Raises ``AddressRefused``.

    What a name leads to is judged each time that something is sent.
    """
    target = target_of(url)
    if target.host == "localhost" or target.host.endswith(".localhost"):
        reach().require(target, ipaddress.ip_address("127.0.0.1"))
        return
    try:
        literal = ipaddress.ip_address(target.host.partition("%")[0])
    except ValueError:
        return
    reach().require(target, literal)


def _meanings(address: Address) -> Iterator[Address]:
    """The address, and the IPv4 addresses that it may stand for on some network."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    if address in _EMBEDDING[1]:
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)  # the operating system connects to that one
        return
    yield address
    if any(address in network for network in _EMBEDDING) and int(address) > 1:
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _6TO4:
        yield ipaddress.IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
    if address in _TEREDO:
        yield ipaddress.IPv4Address(int(address) >> 64 & 0xFFFFFFFF)
        yield ipaddress.IPv4Address(~int(address) & 0xFFFFFFFF)


def _is_in(address: Address, network: Network) -> bool:
    return address.version == network.version and address in network


def _is_on_the_internet(address: Address) -> bool:
    if any(_is_in(address, network) for network in (*_MACHINERY, _NAT64_LOCAL)):
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address in _EMBEDDING[3]:
            return True  # as its IPv4 address is, which is judged beside it
        if address not in ipaddress.ip_network("2000::/3"):
            return False  # the only ones that are given out: RFC 4291, 2.4, and IANA's registry
    return address.is_global and not address.is_multicast and not address.is_reserved
