"""Which connection leads to an address, and how it is opened: for the engine, which asks each time."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping
from dataclasses import replace
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
    OF_CLUSTERS,
    S3,
    SPARK_ADDRESS,
    SPARK_OAUTH_CLIENT,
    SPARK_OAUTH_ENDPOINT,
    SPARK_OAUTH_SECRET,
    SPARK_TOKEN,
)

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
        raise merging.MergeFailed(
            f"The connection {connection.name} cannot be opened: {endpoint} leads to where a cloud tells machines who "
            "they are."
        )
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
    given = _said(connection, {one.name for one in OF_CLUSTERS})
    if vouches_for_machines(urlsplit(given[SPARK_ADDRESS.name]).hostname or ""):
        raise merging.MergeFailed(
            f"The cluster of the connection {connection.name} is not asked: its address leads to where a cloud tells "
            "machines who they are."
        )
    token = given.get(SPARK_TOKEN.name, "")
    cluster = merging.Cluster(given[SPARK_ADDRESS.name], token, min(settings.SPARK_SECONDS, most_seconds))
    if SPARK_OAUTH_ENDPOINT.name not in given:
        return cluster
    for option in (SPARK_OAUTH_CLIENT, SPARK_OAUTH_SECRET):
        if not given.get(option.name):
            raise merging.MergeFailed(
                f"The connection {connection.name} says where tokens for its cluster are given, and not for whom: "
                f"{option.name} is missing."
            )
    client = ClientCredentials(
        cluster.host,
        given[SPARK_OAUTH_ENDPOINT.name],
        given[SPARK_OAUTH_CLIENT.name],
        given[SPARK_OAUTH_SECRET.name],
    )
    return replace(cluster, token_of=client.token)


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
