"""Unity Catalog: where a table lies that it names, and the keys that it gives for a while to the table's files.

The interface is that of Databricks and of the catalogue of the same name that everybody may run ("Get a table",
"Generate a temporary table credential": ``GET tables/{full_name}``, ``POST temporary-table-credentials`` below
``/api/2.1/unity-catalog``). Nothing that is raised or written has a secret.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlsplit

import requests

from datasets.asking import ServiceAnswer, ask
from datasets.endpoints import vouches_for_machines
from datasets.storage_kinds import AZURE, GCS, S3
from merging import ClusterFailed, TableUnreachable

#: How a name of a catalogue begins where an address is asked for: as delta-rs has it.
SCHEME: Final = "uc://"
LONGEST_NAME: Final = 3 * 255 + 2
_PART: Final = r"[^./\\`\s\x00-\x1f\x7f]{1,255}"
_NAME: Final = re.compile(rf"{_PART}\.{_PART}\.{_PART}")
_PATH: Final = "/api/2.1/unity-catalog"
#: What a catalogue tells of a table has its columns, too.
_LONGEST: Final = 16 << 20
#: How long before its end a key is not given out any more, at most half of its life: who begins with it ends with it.
_BEFORE_END: Final = 1_800.0
#: Where the key of a kind of store stands in an answer, and what the store is opened with.
_KEYS: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    S3.value: (
        "aws_temp_credentials",
        {
            "access_key_id": "aws_access_key_id",
            "secret_access_key": "aws_secret_access_key",
            "session_token": "aws_session_token",
        },
    ),
    AZURE.value: ("azure_user_delegation_sas", {"sas_token": "azure_storage_sas_key"}),
    GCS.value: ("gcp_oauth_token", {"oauth_token": "google_oauth_token"}),
}


class CatalogRefuses(Exception):
    """A catalogue does not tell or give what it was asked for; says why in a sentence. ``retriable``: it may later."""

    def __init__(self, sentence: str, *, retriable: bool) -> None:
        self.retriable = retriable
        super().__init__(sentence)


@dataclass(frozen=True)
class CatalogTable:
    """A table as its catalogue has it: name, id, and where it lies, as the catalogue spells that."""

    name: str
    table_id: str
    location: str


@dataclass(frozen=True)
class UnityCatalog:
    """A catalogue, at an endpoint such as ``https://dbc-0000.cloud.databricks.com``."""

    endpoint: str
    token_of: Callable[[], str] = field(repr=False)

    @property
    def host(self) -> str:
        """Which one it is, for people."""
        return urlsplit(self.endpoint).netloc

    def greet(self) -> None:
        """Nothing, where it answers whoever has this token. Raises CatalogRefuses."""
        answer = self._asked("GET", "catalogs?max_results=1")
        if answer.status != 200:
            raise self._refusal("tells no names", answer)

    def table(self, name: str) -> CatalogTable | None:
        """The Delta table of this name; None where there is none, or none that the token may see.

        Raises CatalogRefuses.
        """
        answer = self._asked("GET", f"tables/{quote(name, safe='.')}")
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self._refusal(f"does not tell where {name} lies", answer)
        number, location = answer.document.get("table_id"), answer.document.get("storage_location")
        is_delta = str(answer.document.get("data_source_format")).upper() == "DELTA"
        if not (is_delta and isinstance(number, str) and isinstance(location, str) and number and location):
            raise CatalogRefuses(
                f"In {self.host}, {name} is no Delta table with files of its own.", retriable=False
            )
        return CatalogTable(name, number, location)

    def key_of(self, table: CatalogTable, kind: str) -> tuple[Mapping[str, str], float]:
        """What the store of a kind is opened with to read and write the table, and how many seconds that holds.

        Nothing, for ever, for a folder of this server. Raises CatalogRefuses.
        """
        if kind not in _KEYS:
            return {}, float("inf")
        answer = self._asked(
            "POST",
            "temporary-table-credentials",
            json={"table_id": table.table_id, "operation": "READ_WRITE"},
        )
        if answer.status != 200:
            raise self._refusal(
                f"gives no key to write to {table.name}", answer,
                " It takes external access to data in the metastore, EXTERNAL USE SCHEMA on the schema, and SELECT and "
                "MODIFY on the table.",
            )  # fmt: skip
        member, names = _KEYS[kind]
        told: Any = answer.document.get(member)
        given = told if isinstance(told, dict) else {}
        key = {ours: given.get(theirs) for theirs, ours in names.items()}
        if not all(isinstance(one, str) and one for one in key.values()):
            raise CatalogRefuses(
                f"{self.host} gives a key for {table.name} that is none for its store ({member} is missing).",
                retriable=False,
            )
        if given.get("access_point"):
            raise CatalogRefuses(
                f"{self.host} gives a key for {table.name} to an access point of S3, which is not supported.",
                retriable=False,
            )
        ends = answer.document.get("expiration_time")
        lives = ends / 1000 - time.time() if isinstance(ends, (int, float)) else 0.0
        return {name: str(value) for name, value in key.items()}, max(lives, 0.0)

    def _asked(self, method: str, path: str, **asked: Any) -> ServiceAnswer:
        if vouches_for_machines(urlsplit(self.endpoint).hostname or ""):
            raise CatalogRefuses(
                f"{self.host} is not asked: it leads to where a cloud tells machines who they are.",
                retriable=False,
            )
        try:
            return ask(
                method,
                f"{self.endpoint.rstrip('/')}{_PATH}/{path}",
                headers={"Authorization": f"Bearer {token}"} if (token := self.token_of()) else {},
                most_bytes=_LONGEST,
                **asked,
            )
        except ClusterFailed as error:
            raise CatalogRefuses(error.message, retriable=error.retriable) from error
        except requests.RequestException as error:
            raise CatalogRefuses(f"{self.host} cannot be reached.", retriable=True) from error

    def _refusal(self, what: str, answer: ServiceAnswer, way_out: str = "") -> CatalogRefuses:
        said = f"{self.host} {what}: {answer.in_words('error_code')}.{way_out}"
        return CatalogRefuses(said, retriable=answer.may_pass)


def name_in_catalog(written: str) -> str:
    """The name that is meant where ``uc://catalog.schema.table`` is written for an address; empty for an address.

    Raises ValueError for one that is no such name.
    """
    text = written.strip()
    if not text.lower().startswith(SCHEME):
        return ""
    name = text[len(SCHEME) :].rstrip("/")
    if not _NAME.fullmatch(name):
        raise ValueError(f"Names of a catalogue are written {SCHEME}catalog.schema.table.")
    return name


def kept_key(
    catalog: UnityCatalog,
    name: str,
    kind: str,
    address: str,
    *,
    known_by: object,
    spelled: Callable[[str], str],
) -> Mapping[str, str]:
    """What the store of the table is opened with that the catalogue names so, which lies at the address.

    A key is kept in this process until half of its life is over, for what is ``known_by`` the same. ``spelled`` makes
    one address of how a catalogue spells it. Raises TableUnreachable where it gives none, or has the table elsewhere.
    """
    asked = (known_by, name, kind, address)
    with _lock:
        kept = _kept.get(asked)
        if kept is not None and time.monotonic() < kept[1]:
            return kept[0]
    began = time.monotonic()
    try:
        table = catalog.table(name)
        if table is None:
            raise CatalogRefuses(
                f"There is no table {name} in {catalog.host}, or none to be seen.", retriable=False
            )
        if spelled(table.location) != address:
            raise CatalogRefuses(
                f"In {catalog.host}, {name} lies at another place than it did when it was registered.",
                retriable=False,
            )
        key, lives = catalog.key_of(table, kind)
    except CatalogRefuses as error:
        raise TableUnreachable(address, str(error), retriable=error.retriable) from error
    with _lock:
        _kept[asked] = key, began + lives - min(_BEFORE_END, lives / 2)
    return key


_kept: dict[tuple[object, str, str, str], tuple[Mapping[str, str], float]] = {}
_lock = threading.Lock()
