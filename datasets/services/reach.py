"""Where tables may lie, how their stores are opened, and which may name files outside of their folder."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from django.conf import settings

import merging
from datasets.connecting import cluster_of, connection_at, options_by_catalog, options_of
from datasets.data_root import is_below_data_root
from datasets.models import Connection, Dataset


@dataclass(frozen=True)
class _Registering:
    by_operator: bool = False
    connection: Connection | None = None
    catalog_table: str = ""


_NOBODY = _Registering()
_now: ContextVar[_Registering] = ContextVar("registering", default=_NOBODY)


@contextmanager
def registering(
    *, by_operator: bool, connection: Connection | None = None, catalog_table: str = ""
) -> Iterator[None]:
    """While a table is looked at that is to become a dataset: an operator may take any; the connection opens it, with a
    key of its catalogue where the table was named as that has it.
    """
    before = _now.set(_Registering(by_operator, connection, catalog_table))
    try:
        yield
    finally:
        _now.reset(before)


def how_opened(table_uri: str) -> Mapping[str, str]:
    """The options that a table's store is opened with: those of its dataset's connection. The engine asks each time.

    A table that is no dataset is opened with the connection that it is being registered with; a clone that is named as
    content, below ``CLONE_PREFIXES``, with the one that leads to it; what lies below ``DELTA_DATA_ROOT``, as that is.
    None of these: as the process is set up, of which the client of stores hears all but ``AWS_ALLOW_HTTP``.
    """
    if is_below_data_root(table_uri):
        return dict(settings.DELTA_DATA_ROOT_OPTIONS)
    datasets = Dataset.objects.select_related("connection").filter(connection__isnull=False)
    dataset = datasets.filter(table_uri=table_uri).first()
    connection, name = (None, "") if dataset is None else (dataset.connection, dataset.catalog_table)
    if connection is None:
        used = _now.get()
        if used.connection is not None and merging.is_below(table_uri, used.connection.root):
            connection, name = used.connection, used.catalog_table
    if connection is None and any(merging.is_below(table_uri, one) for one in settings.CLONE_PREFIXES):
        is_dataset = Dataset.objects.filter(table_uri=table_uri).exists()
        connection = None if is_dataset else connection_at(table_uri)
    if connection is not None:
        return options_by_catalog(connection, name, table_uri) if name else options_of(connection)
    plain_http = settings.AWS_ALLOW_HTTP and table_uri.startswith("s3://")
    return {"AWS_ALLOW_HTTP": "true"} if plain_http else {}


def read_by(table_uri: str, *, most_seconds: float = math.inf) -> merging.EngineChoice:
    """Which engine reads a table: as its dataset says, by the cluster of its dataset's connection. The engine asks
    where there is something to read. A table that is being registered is read by whichever its size asks for.
    ``most_seconds`` bounds what one question to a cluster may take.
    """
    dataset = Dataset.objects.select_related("connection").filter(table_uri=table_uri).first()
    if dataset is None:
        used = _now.get().connection
        if used is None or not merging.is_below(table_uri, used.root):
            return merging.EngineChoice()
        return _choice("auto", cluster_of(used, most_seconds))
    connection = dataset.connection
    needed = connection is not None and dataset.engine != Dataset.Engine.DUCKDB
    cluster = cluster_of(connection, most_seconds) if connection is not None and needed else None
    return _choice(cast(merging.EngineSetting, dataset.engine), cluster)


def _choice(engine: merging.EngineSetting, cluster: merging.Cluster | None) -> merging.EngineChoice:
    return merging.EngineChoice(engine, cluster, settings.SPARK_ABOVE, settings.SPARK_CLASSIFIES_ABOVE)


def why_not(table_uri: str) -> str:
    """Why a table may not be opened where it lies, in a sentence; empty where it may. The engine asks each time.

    Below ``DELTA_DATA_ROOT`` and the places of ``TABLE_PLACES`` they may, and anywhere while that is empty. The folder
    of a dataset is where it was when it was registered: no link, neither it nor any above it.
    """
    address = table_uri.removeprefix("file://")
    if "://" in address:
        inside = not settings.TABLE_PLACES or is_below_data_root(address) or is_in_places(address)
        return "" if inside else _NOT_IN_PLACES
    written = Path(os.path.abspath(address))
    led_to = written.resolve()
    if led_to != written and Dataset.objects.filter(table_uri=str(written)).exists():
        return (
            "Its folder is reached by a link, which it was not when it was registered; put the table back, or "
            "register it where it is."
        )
    inside = is_below_data_root(str(led_to)) or is_in_places(str(led_to))
    return "" if inside or not settings.TABLE_PLACES else _NOT_IN_PLACES


_NOT_IN_PLACES = (
    "It lies outside of the places that this installation takes tables from (TABLE_PLACES); "
    "an operator can add its place."
)


def is_in_places(address: str) -> bool:
    """Whether an address lies in one of ``TABLE_PLACES``, however the two are spelled."""
    if "://" not in address:
        local = [Path(one).resolve() for one in settings.TABLE_PLACES if "://" not in one]
        return any(Path(address).is_relative_to(one) for one in local)
    plain = _plain(address)
    return any(merging.is_below(plain, _plain(one)) for one in settings.TABLE_PLACES if "://" in one)


def _plain(address: str) -> str:
    """The one spelling of an address; of what was kept from before and is none, as it is."""
    try:
        return merging.canonical_uri(address)
    except merging.StoreAddressRefused:
        return address


def may_leave(table_uri: str) -> bool:
    """Whether the table's log may name files outside of its folder. The engine asks where one does.

    Below ``DELTA_DATA_ROOT`` and the roots of connections, where owners register tables, a dataset may if an operator
    said so, and a table that is no dataset yet if an operator is registering it. Tables in other places are the
    operators' own.
    """
    address = table_uri if "://" in table_uri else str(Path(table_uri).resolve())
    facts = Dataset.objects.filter(table_uri=address).values_list("files_elsewhere", "connection")
    allowed, connection = facts.first() or (None, None)
    registering_with = _now.get()
    if connection is None and registering_with.connection is None and not is_below_data_root(address):
        return True
    return registering_with.by_operator if allowed is None else allowed
