"""Who calls: the address that counts for limits, and which proxies may say it.

``X-Forwarded-For`` is anybody's text. It is read from its end, one hop for each proxy that the operator trusts: the
first address that no trusted proxy has is the caller's.
"""

import ipaddress
from dataclasses import dataclass

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: What a connection is called that has no address: a proxy on a unix socket.
UNIX = "unix"
#: Where a server says that it took the address from a header itself (uvicorn does so for loopback by default), the
#: connection came from here.
_TAKEN_FROM_A_HEADER = "127.0.0.1"


@dataclass(frozen=True)
class TrustedProxies:
    """How many hops are proxies whoever they are, or which networks (and unix sockets) they are in."""

    hops: int = 0
    networks: tuple[Network, ...] = ()
    unix_sockets: bool = False

    @classmethod
    def read(cls, entries: list[str]) -> "TrustedProxies":
        """From the setting: one number, or networks and ``unix``. Raises ``ImproperlyConfigured``."""
        entries = [entry.strip() for entry in entries if entry.strip()]
        if len(entries) == 1 and entries[0].isdecimal():
            return cls(hops=int(entries[0]))
        try:
            networks = tuple(ipaddress.ip_network(entry) for entry in entries if entry != UNIX)
        except ValueError as error:
            raise ImproperlyConfigured(
                f"TRUSTED_PROXIES is a number of proxies, or addresses and networks such as 10.0.0.0/8: {error}."
            ) from error
        return cls(networks=networks, unix_sockets=UNIX in entries)

    def trust(self, caller: str, hop: int) -> bool:
        """Whether whoever connects as the ``hop``-th from here may say who connected to them."""
        if hop < self.hops:
            return True
        address = _address(caller)
        if address is None:
            return self.unix_sockets and caller == UNIX
        return any(address in network for network in self.networks)


def address_of(request: HttpRequest) -> str:
    """The caller's address, or ``unix``; what a header says counts only as far as trusted proxies say it."""
    proxies: TrustedProxies = settings.TRUSTED_PROXIES
    caller = peer_of(request)
    said = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")]
    hop = 0
    while said and proxies.trust(caller, hop):
        before = _address(said.pop())
        if before is None:
            break
        caller, hop = str(before), hop + 1
    return caller


def network_of(address: str) -> str:
    """What limits count as one caller: an IPv4 address, or the /64 that one household or machine has in IPv6."""
    found = _address(address)
    if found is None or found.version == 4:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False))


def peer_of(request: HttpRequest) -> str:
    """Who connected, a proxy or the caller itself: an address, or ``unix``."""
    caller = request.META.get("REMOTE_ADDR", "")
    if caller and str(request.META.get("REMOTE_PORT", "")) == "0":
        caller = _TAKEN_FROM_A_HEADER
    address = _address(caller)
    return UNIX if address is None else str(address)


def _address(text: str) -> Address | None:
    """An address as a proxy writes it, with a port or in brackets too; None for anything else."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
