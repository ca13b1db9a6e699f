"""How a place for the data root is written, in the environment and for commands; a pure module that settings import."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import merging

#: How addresses may begin that are no folders.
SCHEMES: Final = ("s3", "gs", "az", "abfs", "abfss")
_SECRETS: Final = re.compile(
    r"secret|token|password|account_key|access_key(?!_id)|sas|credential", re.IGNORECASE
)


class InvalidPlace(ValueError):
    """A text is no place for a data root; says why without telling a secret."""


def read_place(text: str) -> Path | str:
    """A folder, or the address of a place in an object store without a slash at its end. Raises ``InvalidPlace``."""
    place = text.strip()
    scheme, is_address, rest = place.partition("://")
    if scheme == "file" and is_address:
        place, is_address = unquote(rest), ""
    if not is_address:
        if not place or re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", place):
            raise InvalidPlace(f"{place!r} is neither a folder nor an address such as s3://bucket/prefix.")
        return Path(place)
    if scheme not in SCHEMES:
        known = ", ".join(f"{one}://" for one in SCHEMES)
        raise InvalidPlace(
            f"It begins with {scheme}://. It must be a folder, or an address that begins with one of {known}."
        )
    try:
        parsed = urlsplit(place)
    except ValueError:
        raise InvalidPlace("It is no address.") from None
    if parsed.password is not None or (parsed.username is not None and scheme not in ("abfs", "abfss")):
        raise InvalidPlace(
            "It holds a secret, and addresses are shown and logged: give credentials by the environment of the "
            "processes (AWS_ACCESS_KEY_ID and so on), or by the role of the machine."
        )
    parts = parsed.path.split("/")[1:]
    is_plain = parsed.hostname and not parsed.query and not parsed.fragment and "%" not in place
    if not is_plain or {".", ".."} & set(parts) or "" in parts[:-1]:
        raise InvalidPlace(
            f"It must name a place as plainly as {scheme}://bucket/prefix: without parameters, empty parts and dots."
        )
    try:
        return merging.canonical_uri(place)  # as tables below it are spelled
    except merging.StoreAddressRefused as error:
        raise InvalidPlace(str(error)) from None


def read_options(pairs: Iterable[str]) -> dict[str, str]:
    """What a place is opened with, of ``NAME=VALUE``. Raises ``InvalidPlace``, for secrets, too."""
    options = {}
    for one in pairs:
        name, is_pair, value = one.partition("=")
        if not name or not is_pair:
            raise InvalidPlace("Options are written as NAME=VALUE,NAME=VALUE.")
        if _SECRETS.search(name):
            raise InvalidPlace(
                f"The options name {name}. Give secrets by the environment of the processes instead: options are shown "
                "where settings are."
            )
        options[name] = value
    return options
