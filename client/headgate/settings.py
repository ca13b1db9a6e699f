"""Which server, and as whom: what was given, the environment, or what `headgate login` kept."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from headgate.errors import NotHeadgate, NotSignedIn

#: Where tokens are looked for by address, unless ``HEADGATE_CONFIG`` names another file.
DEFAULT_FILE = Path("~/.config/headgate/tokens.json")


@dataclass(frozen=True)
class Settings:
    """The address of a server and the token for it."""

    address: str
    token: str

    def __repr__(self) -> str:
        return f"Settings({self.address!r}, token=…)"


def find_settings(address: str | None = None, token: str | None = None) -> Settings:
    """Address and token: as given, else ``HEADGATE_URL`` and ``HEADGATE_TOKEN``, else as kept by signing in.

    Raises ``NotSignedIn`` where there is no address or no token for it, ``NotHeadgate`` for an address that is none.
    """
    kept = kept_tokens()
    address = address or os.environ.get("HEADGATE_URL") or next(iter(kept), "")
    if not address:
        raise NotSignedIn("No server is named. Give its address, or set HEADGATE_URL.")
    address = canonical(address)
    token = token or os.environ.get("HEADGATE_TOKEN") or kept.get(address, "")
    if not token:
        raise NotSignedIn(f"There is no token for {address}.")
    return Settings(address, token)


def canonical(address: str) -> str:
    """A server's address in one form: with its scheme, without the API's path. Raises ``NotHeadgate``."""
    address = address.strip().rstrip("/").removesuffix("/api/v1")
    if not address.startswith(("http://", "https://")):
        raise NotHeadgate(f"{address!r} is no address of a server: it begins with https:// or http://.")
    return address


def file_of_tokens() -> Path:
    """The file in which tokens are kept, whether it exists or not."""
    return Path(os.environ.get("HEADGATE_CONFIG") or DEFAULT_FILE).expanduser()


def kept_tokens() -> dict[str, str]:
    """Token by address, the last signed in to first. Raises ``NotSignedIn`` for a file that others may read."""
    path = file_of_tokens()
    try:
        mode = path.stat().st_mode
        text = path.read_text()
    except OSError:
        return {}
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise NotSignedIn(f"{path} holds tokens and others may read it: chmod 600 {path}.")
    try:
        return {str(name): str(token) for name, token in json.loads(text).items()}
    except (ValueError, AttributeError):
        raise NotSignedIn(
            f"{path} is not what `headgate login` writes; remove it and sign in again."
        ) from None
