"""Who reads what an installation says of itself: its figures, and what is wrong with its parts."""

import ipaddress
import secrets

from django.conf import settings
from django.http import HttpRequest

from accounts.addresses import address_of, peer_of

#: What proxies add to a request that they pass on.
_PASSED_ON = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_FORWARDED_HOST", "HTTP_X_REAL_IP")


def may_watch(request: HttpRequest) -> bool:
    """Whether the caller sent ``METRICS_TOKEN``, or asks from one of ``METRICS_NETWORKS``."""
    return _sent_token(request) or _is_near(request)


def _sent_token(request: HttpRequest) -> bool:
    scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
    expected = settings.METRICS_TOKEN.encode()
    return bool(expected) and scheme.lower() == "bearer" and secrets.compare_digest(sent.encode(), expected)


def _is_near(request: HttpRequest) -> bool:
    """A proxy that nobody trusts is near itself, and those whom it lets through may be anywhere."""
    passed_on = any(request.META.get(name) for name in _PASSED_ON)
    if passed_on and not settings.TRUSTED_PROXIES.trust(peer_of(request), 0):
        return False
    try:
        address = ipaddress.ip_address(address_of(request))
    except ValueError:  # a socket of this machine: a proxy, for all that is known
        return False
    return any(address in network for network in settings.METRICS_NETWORKS)
