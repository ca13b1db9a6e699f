"""Addresses in object stores: one spelling for each place, whatever people call it, and none that holds a secret.

The schemes are those of the Hadoop connectors, delta-rs and the object_store crate; what they mean is in
``object_store::parse``, which decodes %-escapes and knows no empty segments.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, unquote

_SCHEMES = {
    **dict.fromkeys(("s3", "s3a", "s3n"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gs"),
    **dict.fromkeys(("az", "azure", "adl", "abfs", "abfss", "wasb", "wasbs"), "az"),
}
_HTTPS = ("http", "https")
_URI = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<more>.*)", re.DOTALL
)
_BUCKET = re.compile(r"[a-z0-9$](?:[a-z0-9._-]*[a-z0-9])?")
#: Hosts of Azure's storage: of blobs and of file systems, which are two doors to one place.
_AZURE_HOST = re.compile(r"(?P<account>[a-z0-9-]+)\.(?:blob|dfs)\.(?P<cloud>[a-z0-9.-]+)")
_AZURE = "core.windows.net"
_S3_HOST = re.compile(r"(?:(?P<bucket>.+)\.)?s3(?:[.-](?:dualstack\.)?[a-z0-9-]+)?\.amazonaws\.com(?:\.cn)?")
_GCS_HOST = re.compile(r"(?:(?P<bucket>.+)\.)?storage\.googleapis\.com")
#: What stands in links and connection strings that open something by themselves.
_OPENS = re.compile(
    r"[?&;#](?:sig|x-amz-signature|x-amz-credential|x-amz-security-token|x-goog-signature|awsaccesskeyid|signature"
    r"|accountkey|sharedaccesssignature|sharedaccesskey|(?:aws_)?secret_?access_?key|(?:aws_)?access_?key(?:_?id)?"
    r"|(?:aws_)?session_?token|password|token|sas)=",
    re.IGNORECASE,
)
#: Names of folders that are no names of folders.
_KEYS = re.compile(
    r"(?:account_?key|shared_?access_?(?:key|signature)|(?:aws_?)?secret_?access_?key)=", re.IGNORECASE
)
#: What an address cannot hold as it is, for it would be read as something else.
_ESCAPED = re.compile(r"[%?#\\\x00-\x1f\x7f]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class StoreAddressRefused(ValueError):
    """An address that cannot be taken; the message says why and what to do, and never repeats a secret."""


def holds_secret(address: str) -> str:
    """Why an address opens something by itself, in a sentence that does not repeat it; empty where it does not."""
    found = _URI.match(address.strip())
    if found is None:
        return _A_KEY if _holds_key(address) else ""
    user, at, _ = found["authority"].rpartition("@")
    takes_container = _SCHEMES.get(found["scheme"].lower()) == "az"
    if at and (":" in user or not takes_container):
        return _A_PASSWORD
    if (
        not at and ":" in found["authority"] and "@" in found["path"] + found["more"]
    ):  # a password with a slash
        return _A_PASSWORD
    if _OPENS.search(found["more"]):
        return "It has a signature or key behind the ? (as a shared access signature has)."
    return _A_KEY if _holds_key(found["path"]) else ""


_A_KEY = "It has a key in it."
_A_PASSWORD = "It has a user name or password in front of the @."  # noqa: S105  (a sentence)


def _holds_key(path: str) -> bool:
    plain = unquote(path)
    return _OPENS.search(plain) is not None or _KEYS.search(plain) is not None


def without_secret(address: str) -> str:
    """An address as it may be shown: without user name and password, without keys and whatever stands behind ``?``."""
    reason = holds_secret(address)
    if not reason:
        return address
    found = _URI.match(address.strip())
    if found is None:
        return "•••"
    if reason == _A_PASSWORD and "@" not in found["authority"]:
        return f"{found['scheme']}://•••"
    user, _, host = found["authority"].rpartition("@")
    container = (
        f"{user}@" if user and ":" not in user and _SCHEMES.get(found["scheme"].lower()) == "az" else ""
    )
    path = "" if _holds_key(found["path"]) else found["path"]
    return f"{found['scheme']}://{container}{host}{path}"


def is_uri(address: str) -> bool:
    """Whether an address names a place by a scheme, and not a folder of this machine."""
    return "://" in address and not address.strip().lower().startswith("file:")


def local_path(written: str) -> str:
    """One spelling for a folder of this machine: absolute and without links. Raises ``StoreAddressRefused``.

    Of ``file:`` URIs too (RFC 8089), whose %-escapes are decoded.
    """
    path = written.strip()
    if path[:5].lower() == "file:":
        path = unquote("/" + path[5:].removeprefix("//localhost/").lstrip("/"))
    if "\0" in path or not path or not _is_text(path):
        raise StoreAddressRefused("This is no folder: write its path, such as /data/delta/customers.")
    return str(Path(path).resolve())


def canonical_uri(written: str, account: str = "") -> str:
    """One spelling for a place in an object store: ``s3://bucket/path``, ``gs://bucket/path`` or
    ``abfss://container@account.dfs.core.windows.net/path``; ``az://container/path`` where nobody says the account.

    ``account`` is that of an Azure address that names none. Raises ``StoreAddressRefused`` for what holds a secret,
    names no store, or climbs out of it.
    """
    text = written.strip()
    reason = holds_secret(text)
    if reason:
        raise StoreAddressRefused(
            f"An address with a secret in it is not taken. {reason} Give the secret to a connection, and the address "
            "without it."
        )
    found = _URI.fullmatch(text)
    if found is None:
        raise StoreAddressRefused("This is no address: write it as s3://bucket/path.")
    if found["more"]:
        raise StoreAddressRefused(
            "An address ends before ? and #. Where they belong to a name, write %3F and %23."
        )
    scheme, authority = found["scheme"].lower(), unquote(found["authority"]).lower()
    path = _plain(found["path"])
    if scheme in _HTTPS:
        scheme, authority, path = _from_https(authority, path)
    kind = _SCHEMES.get(scheme)
    if kind is None:
        raise StoreAddressRefused(
            f"Nothing is opened at {scheme}:// here. Possible are s3://, gs://, abfss:// and folders of the server."
        )
    root = _azure_root(authority, account.lower()) if kind == "az" else f"{kind}://{_bucket(authority)}"
    plain = "/".join([root, *(_ESCAPED.sub(_escape, one) for one in path)])
    kept = plain.rstrip()
    return kept + quote(plain[len(kept) :])  # spaces at the end, which nobody sees


def _plain(path: str) -> list[str]:
    """The segments of a path, decoded once: none empty, ``.`` or ``..``."""
    try:
        decoded = unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise StoreAddressRefused("The %-escapes of the address are no UTF-8.") from None
    segments: list[str] = []
    for one in decoded.split("/"):
        if one == "..":
            if not segments:
                raise StoreAddressRefused("The address climbs out of its bucket (..).")
            segments.pop()
        elif one not in ("", "."):
            segments.append(one)
    if any(_CONTROL.search(one) or not _is_text(one) for one in segments):
        raise StoreAddressRefused("The address has characters in it that cannot be seen.")
    return segments


def _is_text(written: str) -> bool:
    """Whether it is Unicode as files, databases and JSON keep it: no byte that a command line could not read."""
    try:
        written.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escape(found: re.Match[str]) -> str:
    return f"%{ord(found[0]):02X}"


def _bucket(name: str) -> str:
    if not _BUCKET.fullmatch(name):
        raise StoreAddressRefused("The address names no bucket or container: write it as s3://bucket/path.")
    return name


def _from_https(host: str, path: list[str]) -> tuple[str, str, list[str]]:
    """What an address of a store's web door means, with the scheme that tables have."""
    if (azure := _AZURE_HOST.fullmatch(host)) is not None and path:
        return "az", f"{path[0].lower()}@{azure[0]}", path[1:]
    for scheme, pattern in (("s3", _S3_HOST), ("gs", _GCS_HOST)):
        if (door := pattern.fullmatch(host)) is not None:
            if door["bucket"]:
                return scheme, door["bucket"], path
            if path:
                return scheme, path[0].lower(), path[1:]
    raise StoreAddressRefused(
        "Tables are not opened by https:// here: write s3://bucket/path, gs://bucket/path or "
        "abfss://container@account.dfs.core.windows.net/path, and give the endpoint to a connection."
    )


def _azure_root(authority: str, account: str) -> str:
    container, at, host = authority.rpartition("@")
    if not at:
        door = _AZURE_HOST.fullmatch(host)
        if door is not None:
            raise StoreAddressRefused(
                "The address names no container: write abfss://container@account.dfs.core.windows.net/path."
            )
        container = host
        if not account:
            return f"az://{_bucket(container)}"
        host = f"{account}.dfs.{_AZURE}"
    found = _AZURE_HOST.fullmatch(host)
    if found is None:
        raise StoreAddressRefused(
            "The address names no storage account: write abfss://container@account.dfs.core.windows.net/path."
        )
    return f"abfss://{_bucket(container)}@{found['account']}.dfs.{found['cloud']}"


def is_below(address: str, place: str) -> bool:
    """Whether a canonical address is at or below a canonical place."""
    root = place.rstrip("/")
    return address == root or address.startswith(f"{root}/")
