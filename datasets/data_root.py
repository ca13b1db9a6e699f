"""The data root: where everything lies that Headgate keeps beside the tables, on a disk or in an object store."""

from __future__ import annotations

import functools
from pathlib import Path

from django.conf import settings

import merging


def data_root() -> merging.Folders:
    """What is kept under ``DELTA_DATA_ROOT``, opened once in each process."""
    options = tuple(sorted(settings.DELTA_DATA_ROOT_OPTIONS.items()))
    cache, most = Path(settings.HEADGATE_CACHE), settings.HEADGATE_CACHE_BYTES
    return _opened(str(settings.DELTA_DATA_ROOT), options, cache, most)


@functools.lru_cache(maxsize=8)
def _opened(address: str, options: tuple[tuple[str, str], ...], cache: Path, most: int) -> merging.Folders:
    return merging.open_folders(address, dict(options), cache=cache, cache_bytes=most)


def local_data_root() -> Path | None:
    """The folder of a data root on a disk, without links; None where it is in an object store."""
    root = settings.DELTA_DATA_ROOT
    return None if "://" in str(root) else Path(root).resolve()


def parts_below_data_root(address: str) -> tuple[str, ...] | None:
    """The folders below the data root that a table's address (canonical, without links) leads through, none for the
    root itself; None for an address elsewhere.
    """
    root = local_data_root()
    if root is None:
        top = str(settings.DELTA_DATA_ROOT)
        parts = tuple(address.removeprefix(f"{top}/").split("/")) if address != top else ()
        inside = address == top or (address.startswith(f"{top}/") and not {"", ".", ".."} & set(parts))
        return parts if inside else None
    inside = "://" not in address and Path(address).is_relative_to(root)
    return Path(address).relative_to(root).parts if inside else None


def is_below_data_root(address: str) -> bool:
    """Whether a table's address (canonical, without links) lies below the data root."""
    return parts_below_data_root(address) is not None
