"""Which server, and as whom: what was given, the environment, or what `headgate login` kept."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from headgate.errors import NotHeadgate, NotSignedIn

#: Where tokens are looked for by address, unless ``HEADGATE_CONFIG`` names another file.
DEFAULT_FILE = Path("~/.config/headgate/tokens.json")
#: What stands in the file for a token that the system's keyring holds, and under what it holds it.
IN_KEYRING, KEYRING_SERVICE = "keyring:", "headgate"


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
        return {str(name): _token_in(name, token) for name, token in json.loads(text).items()}
    except (ValueError, AttributeError):
        raise NotSignedIn(
            f"{path} is not what `headgate login` writes; remove it and sign in again."
        ) from None


def _token_in(address: str, kept: object) -> str:
    """The token behind an entry of the file: the entry itself, or what the keyring holds; empty where it holds none."""
    if kept != IN_KEYRING:
        return str(kept)
    import keyring
    import keyring.errors

    try:
        return keyring.get_password(KEYRING_SERVICE, address) or ""
    except keyring.errors.KeyringError:
        return ""


def keep_token(address: str, token: str, *, in_keyring: bool = True) -> str:
    """Keep a token for later; gives where it is kept: the keyring where there is one, else a file of one's own (0600).

    The last one kept is the server that is meant where none is named.
    """
    entries = _entries()
    entries.pop(address, None)
    is_in_keyring = in_keyring and _put_in_keyring(address, token)
    _write({address: IN_KEYRING if is_in_keyring else token, **entries})
    return "the keyring" if is_in_keyring else str(file_of_tokens())


def forget_token(address: str) -> None:
    """Keep the token no longer."""
    entries = _entries()
    if entries.pop(address, None) == IN_KEYRING:
        import keyring
        import keyring.errors

        with contextlib.suppress(keyring.errors.KeyringError):
            keyring.delete_password(KEYRING_SERVICE, address)
    _write(entries)


def _put_in_keyring(address: str, token: str) -> bool:
    try:
        import keyring
        import keyring.errors
    except ImportError:
        return False
    try:
        keyring.set_password(KEYRING_SERVICE, address, token)
        return keyring.get_password(KEYRING_SERVICE, address) == token
    except (keyring.errors.KeyringError, RuntimeError):
        return False  # a machine without one, such as a server


def _entries() -> dict[str, str]:
    """The file as it stands. Raises as ``kept_tokens`` does."""
    kept_tokens()
    path = file_of_tokens()
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _write(entries: dict[str, str]) -> None:
    """Put the file in place whole, for its person alone from its first byte on."""
    path = file_of_tokens()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".tokens-", delete=False) as file:
        json.dump(entries, file, indent=2)  # temporary files are 0600
    os.replace(file.name, path)
