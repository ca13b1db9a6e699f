"""The OpenID Connect provider through which people sign in, as an operator sets it up: no models, no network."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

#: Groups of one person that are looked at; a claim with more is refused.
MOST_GROUPS: Final = 1000


class GroupsUnreadable(ValueError):
    """The claim of groups holds something else than names."""


@dataclass(frozen=True)
class SignInProvider:
    """One issuer, and what its claims mean here.

    ``groups`` maps values of the claim to names of groups; where it is empty each value is the name of its group.
    ``operators`` are values of the claim that make operators.
    """

    issuer: str
    client_id: str
    secret: str = field(repr=False)
    name: str
    scopes: tuple[str, ...]
    groups_claim: str
    groups: Mapping[str, str]
    operators: frozenset[str]
    makes_accounts: bool
    trusts_email: bool
    clock_skew_seconds: int
    token_days: int

    @classmethod
    def read(
        cls, *, issuer: str, client_id: str, groups: Collection[str], scopes: Collection[str], **given: Any
    ) -> SignInProvider:
        """From the settings. Raises ``ImproperlyConfigured``, which names the variable."""
        place = urlsplit(issuer)
        if place.scheme != "https" and not (place.scheme == "http" and _is_this_machine(place.hostname)):
            raise ImproperlyConfigured(
                "OIDC_ISSUER must be the https address of the provider, without /.well-known."
            )
        if not client_id:
            raise ImproperlyConfigured("OIDC_CLIENT_ID must name the client that the provider knows.")
        if "openid" not in scopes:
            raise ImproperlyConfigured("OIDC_SCOPES must hold openid.")
        if any("=" not in one for one in groups):
            raise ImproperlyConfigured("OIDC_GROUPS is a list of VALUE=GROUP, separated by commas.")
        pairs = (one.rsplit("=", 1) for one in groups)
        return cls(
            issuer=issuer.rstrip("/"),
            client_id=client_id,
            groups={value.strip(): name.strip() for value, name in pairs},
            scopes=tuple(scopes),
            operators=frozenset(given.pop("operators")),
            **given,
        )

    def groups_in(self, claims: Mapping[str, Any]) -> frozenset[str] | None:
        """The values of the claim of groups; None where the claims say nothing of groups.

        The claim's name may be a path with dots (``realm_access.roles``); a claim that is called so as a whole comes
        first. Raises ``GroupsUnreadable``.
        """
        found = _at(claims, self.groups_claim)
        if found is None:
            return None
        values = [found] if isinstance(found, str) else found
        if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
            raise GroupsUnreadable(f"The claim {self.groups_claim} is no list of names.")
        if len(values) > MOST_GROUPS:
            raise GroupsUnreadable(f"The claim {self.groups_claim} names more than {MOST_GROUPS} groups.")
        return frozenset(values)

    def group_names(self, values: Collection[str]) -> frozenset[str]:
        """The names of the groups that these values of the claim stand for."""
        if self.groups:
            return frozenset(self.groups[value] for value in values if value in self.groups)
        return frozenset(value for value in values if 0 < len(value) <= 150 and value.isprintable())


def the_provider() -> SignInProvider:
    """The provider of this installation. Raises ``LookupError`` where there is none: ask first."""
    provider: SignInProvider | None = settings.SIGN_IN_PROVIDER
    if provider is None:
        raise LookupError("No provider is set.")
    return provider


def _at(claims: Mapping[str, Any], path: str) -> Any:
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found


def _is_this_machine(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return False
