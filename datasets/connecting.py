"""Which connection leads to an address, and how it is opened: for the engine, which asks each time."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from django.conf import settings
from django.db.models.functions import Length

import merging
from datasets.cluster_tokens import ClientCredentials
from datasets.data_root import is_below_data_root
from datasets.encryption import SecretUnreadable, decrypted
from datasets.endpoints import endpoint_that_vouches, vouches_for_machines
from datasets.errors import InvalidInput
from datasets.models import Connection, ConnectionPrefix, Project
from datasets.storage_kinds import (
    AZURE,
    KINDS,
    OF_WORKSPACES,
    S3,
    SPARK_ADDRESS,
    SPARK_OAUTH_CLIENT,
    SPARK_OAUTH_ENDPOINT,
    SPARK_OAUTH_SECRET,
    SPARK_TOKEN,
    UNITY_CATALOG,
)
from datasets.unity_catalog import CatalogRefuses, UnityCatalog, kept_key, name_in_catalog

#: How the names begin of the variables that connections may refer to.
VARIABLES = "CONNECTION_"
#: The same of files, or of a folder that they lie in.
_FILES = "connection"


def canonical_table_uri(table_uri: str) -> str:
    """One spelling for one table: local paths absolute and without links, others as ``merging.canonical_uri`` has them.

    Raises ``InvalidInput`` for an address that holds a secret, or that is none.
    """
    try:
        if not merging.is_uri(table_uri):
            return merging.local_path(table_uri)
        address = merging.canonical_uri(table_uri)
        if address.startswith("az://"):
            address = merging.canonical_uri(table_uri, _account_of(address))
    except merging.StoreAddressRefused as error:
        raise InvalidInput(str(error), errors={"table_uri": [str(error)]}) from None
    return address


@dataclass(frozen=True)
class WrittenPlace:
    """Where a table lies: its one address, and the name that a catalogue has for it where it was named so."""

    address: str
    catalog_table: str = ""


def place_written(written: str, asked: Iterable[Connection]) -> WrittenPlace:
    """The table that somebody means: by its address, or as ``uc://catalog.schema.table`` by a name that the catalogue
    of one of the connections knows.

    Raises ``InvalidInput`` for what is neither, and for names that none of them tells of.
    """
    try:
        name = name_in_catalog(written)
        if not name:
            return WrittenPlace(canonical_table_uri(written))
        return _place_in_catalog(name, [one for one in asked if UNITY_CATALOG.name in one.options])
    except (ValueError, CatalogRefuses, merging.MergeError) as error:
        raise InvalidInput(str(error), errors={"table_uri": [str(error)]}) from None


def _place_in_catalog(name: str, asked: Sequence[Connection]) -> WrittenPlace:
    if not asked:
        raise CatalogRefuses(
            f"No connection that you may use has a catalogue, so nobody knows where {name} lies: an operator says "
            f"{UNITY_CATALOG.name} in one.",
            retriable=False,
        )
    refused: list[str] = []
    for connection in asked:
        try:
            catalog = catalog_of(connection)
            table = catalog and catalog.table(name)
        except (CatalogRefuses, merging.MergeError) as error:
            refused.append(str(error))
            continue
        address = _spelled(table.location) if table else ""
        if table and connection_at(address) == connection:
            return WrittenPlace(address, name)
        if table:
            refused.append(f"{name} lies outside of the root of the connection {connection.name}.")
    hosts = ", ".join(sorted({urlsplit(one.options[UNITY_CATALOG.name]).netloc for one in asked}))
    nowhere = f"There is no table {name} in {hosts}, or none to be seen with the token of its connection."
    raise CatalogRefuses(" ".join(refused) or nowhere, retriable=False)


def _spelled(location: str) -> str:
    """The one address of how a catalogue spells where a table lies; empty where nothing can lie there."""
    try:
        return canonical_table_uri(location)
    except InvalidInput:
        return ""


def shown_address(written: str) -> str:
    """An address as it may be shown again to whoever wrote it: without a secret."""
    return merging.without_secret(written)


def _account_of(address: str) -> str:
    """The storage account that an Azure address without one means: that of the one connection to its container."""
    container = address.removeprefix("az://").partition("/")[0]
    roots = Connection.objects.filter(kind=AZURE.value, root__startswith=f"abfss://{container}@")
    accounts = {root.partition("@")[2].partition(".")[0] for root in roots.values_list("root", flat=True)}
    if len(accounts) > 1:
        raise merging.StoreAddressRefused(
            f"Several storage accounts have a container {container} here: write "
            f"abfss://{container}@account.dfs.core.windows.net/path."
        )
    return accounts.pop() if accounts else ""


def places_above(address: str) -> list[str]:
    """The addresses of all folders that a table lies in."""
    scheme, _, path = address.rpartition("://")
    return [f"{scheme}://{one}" if scheme else str(one) for one in PurePosixPath(path).parents]


def connection_at(address: str) -> Connection | None:
    """The connection that leads to a canonical address: the one with the longest root."""
    found = Connection.objects.filter(root__in=[address, *places_above(address)])
    return found.order_by(Length("root").desc()).first()


def allowed_prefix(address: str, projects: list[Project]) -> ConnectionPrefix | None:
    """What lets the owners of one of the projects make a table at the address a dataset; None where nothing does."""
    connection = connection_at(address)
    if connection is None:
        return None
    prefixes = ConnectionPrefix.objects.select_related("connection", "project")
    found = prefixes.filter(connection=connection, project__in=projects)
    return next((one for one in found if merging.is_below(address, one.address)), None)


def options_of(connection: Connection) -> Mapping[str, str]:
    """Everything that the connection's store is opened with, its secrets among it.

    Raises ``merging.MergeFailed`` where a secret is not to be had; no message has any of it.
    """
    given = _said(connection, {one.name for one in KINDS[connection.kind].of_store})
    if endpoint := endpoint_that_vouches(given):
        raise _vouches(connection, endpoint)
    has_key = "aws_access_key_id" in given and "aws_endpoint_url" not in given
    if connection.kind == S3.value and has_key and settings.AWS_ENDPOINT_URL:
        given |= _of_amazon(connection.root, given)
    return given


def opened_as(connection: Connection) -> str:
    """What is another one once the connection's tables are opened otherwise: its version, and a digest of the files
    that it refers to. (Variables last as long as the process.) For memory alone: it is made of secrets.
    """
    said = []
    for name, reference in sorted(connection.references.items()):
        if not reference.startswith("env:"):
            try:
                said.append((name, _referred(connection, name, reference)))
            except merging.MergeFailed as error:
                said.append((name, error.message))
    return f"{connection.version} {hashlib.sha256(repr(said).encode()).hexdigest()}"


def cluster_of(connection: Connection, most_seconds: float = math.inf) -> merging.Cluster | None:
    """The cluster that reads the connection's tables, with its token; None where it has none. A question to it takes
    ``SPARK_SECONDS`` at most, or fewer. Raises as ``options_of`` does.
    """
    if SPARK_ADDRESS.name not in connection.options:
        return None
    given = _said(connection, {one.name for one in OF_WORKSPACES})
    if vouches_for_machines(urlsplit(given[SPARK_ADDRESS.name]).hostname or ""):
        raise merging.MergeFailed(
            f"The cluster of the connection {connection.name} is not asked: its address leads to where a cloud tells "
            "machines who they are."
        )
    seconds = min(settings.SPARK_SECONDS, most_seconds)
    cluster = merging.Cluster(given[SPARK_ADDRESS.name], given.get(SPARK_TOKEN.name, ""), seconds)
    client = _client_of(connection, given, cluster.host)
    return cluster if client is None else replace(cluster, token_of=client.token)


def catalog_of(connection: Connection) -> UnityCatalog | None:
    """The catalogue that names the connection's tables; None where it has none. Raises as ``options_of`` does."""
    if UNITY_CATALOG.name not in connection.options:
        return None
    given = _said(connection, {one.name for one in OF_WORKSPACES})
    endpoint = given[UNITY_CATALOG.name]
    client = _client_of(connection, given, urlsplit(endpoint).netloc)
    token = given.get(SPARK_TOKEN.name, "")
    return UnityCatalog(endpoint, (lambda: token) if client is None else client.token)


def options_by_catalog(connection: Connection, name: str, address: str) -> Mapping[str, str]:
    """What the store of a table is opened with that the connection's catalogue names so: what the connection says that
    is no secret, and the key that the catalogue gives for a while. None of the connection's own keys goes along.

    Raises ``merging.TableUnreachable`` where the catalogue gives none or has the table elsewhere, and as ``options_of``
    does.
    """
    catalog = catalog_of(connection)
    if catalog is None:
        reason = (
            f"The connection {connection.name} has no {UNITY_CATALOG.name} any more, and it is {name} there."
        )
        raise merging.TableUnreachable(address, reason, retriable=False)
    plain = _said(connection, {one.name for one in KINDS[connection.kind].of_store if not one.is_secret})
    if endpoint := endpoint_that_vouches(plain):
        raise _vouches(connection, endpoint)
    known_by = (connection.pk, opened_as(connection))
    key = kept_key(catalog, name, connection.kind, address, known_by=known_by, spelled=_spelled)
    is_amazon = connection.kind == S3.value and "aws_endpoint_url" not in plain and settings.AWS_ENDPOINT_URL
    return {**plain, **key, **(_of_amazon(connection.root, plain) if is_amazon else {})}


def _vouches(connection: Connection, endpoint: str) -> merging.MergeError:
    return merging.MergeFailed(
        f"The connection {connection.name} cannot be opened: {endpoint} leads to where a cloud tells machines who they "
        "are."
    )


def _client_of(connection: Connection, given: Mapping[str, str], host: str) -> ClientCredentials | None:
    """Who asks for tokens of the host, where they are given for a while."""
    if SPARK_OAUTH_ENDPOINT.name not in given:
        return None
    for option in (SPARK_OAUTH_CLIENT, SPARK_OAUTH_SECRET):
        if not given.get(option.name):
            raise merging.MergeFailed(
                f"The connection {connection.name} says where tokens are given, and not for whom: "
                f"{option.name} is missing."
            )
    return ClientCredentials(
        host,
        given[SPARK_OAUTH_ENDPOINT.name],
        given[SPARK_OAUTH_CLIENT.name],
        given[SPARK_OAUTH_SECRET.name],
    )


def _said(connection: Connection, names: Collection[str]) -> dict[str, str]:
    """What the connection says of these options, the secret ones too."""
    given = {name: value for name, value in connection.options.items() if name in names}
    for name, token in connection.sealed.items():
        if name in names:
            try:
                given[name] = decrypted(token)
            except SecretUnreadable:
                raise _missing(
                    connection, name, "it was encrypted with a key that is not among ENCRYPTION_KEYS any more"
                ) from None
    for name, reference in connection.references.items():
        if name in names:
            given[name] = _referred(connection, name, reference)
    return given


def _of_amazon(root: str, given: Mapping[str, str]) -> Mapping[str, str]:
    """Where a key belongs that comes without an endpoint: to AWS, and not to the store of the process' environment.

    Written as clients of S3 have it where nobody says an endpoint.
    """
    region = given.get("aws_region", "us-east-1")
    host = f"s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"
    if given.get("aws_virtual_hosted_style_request") == "true":
        host = f"{root.removeprefix('s3://').partition('/')[0]}.{host}"
    return {"aws_region": region, "aws_endpoint_url": f"https://{host}"}


def options_at(address: str) -> Mapping[str, str]:
    """What an address is opened with that is no dataset's: as its connection or the data root says, else nothing.

    Raises as ``options_of`` does.
    """
    if is_below_data_root(address):
        return dict(settings.DELTA_DATA_ROOT_OPTIONS)
    connection = connection_at(address)
    return {} if connection is None else options_of(connection)


def _referred(connection: Connection, name: str, reference: str) -> str:
    kind, _, place = reference.partition(":")
    if kind == "env":
        value = settings.CONNECTION_SECRETS.get(place, "")
        if not value:
            raise _missing(connection, name, f"the variable {place} is not set in this process")
        return str(value)
    path = Path(place).resolve()
    if not is_for_connections(path, Path(settings.CONNECTION_SECRETS_FOLDER).resolve()):
        raise _missing(connection, name, f"{place} leads to no file that connections may refer to")
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise _missing(connection, name, f"the file {place} cannot be read: {reason}") from None


def is_for_connections(path: Path, folder: Path) -> bool:
    """Whether a file lies below the folder and is called as one for connections is.

    The installation's own keys may lie beside it. Whoever made a connection of one of them would have it sent to a
    store of their own.
    """
    if not path.is_relative_to(folder):
        return False
    return any(part.lower().startswith(_FILES) for part in path.relative_to(folder).parts)


def _missing(connection: Connection, name: str, reason: str) -> merging.MergeError:
    option = KINDS[connection.kind].option(name)
    label = option.label if option else name
    return merging.MergeFailed(
        f"The connection {connection.name} cannot be opened: {label} is missing, {reason}."
    )
