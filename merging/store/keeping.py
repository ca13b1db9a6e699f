"""Small files in the keeping of others: put once under a name, never replaced, read back to be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from merging.errors import MergeFailed, TableUnreachable
from merging.store.client import ObjectExists
from merging.store.stores import open_store

#: What is put into a bucket that locks its objects has a checksum, or S3 refuses it.
_OF_S3 = {"aws_checksum_algorithm": "sha256"}


def _options(place: str, options: Mapping[str, str] | None) -> Mapping[str, str] | None:
    return {**_OF_S3, **(options or {})} if place.startswith(("s3://", "s3a://")) else options


def keep_file(place: str, name: str, content: bytes, options: Mapping[str, str] | None = None) -> None:
    """Put a file into a folder or object store, unless it is there already; durable when this returns.

    Raises ``MergeFailed`` where the place cannot be written, or holds other content under the name.
    """
    try:
        store = open_store(place, _options(place, options))
        try:
            store.put_new(name, content)
        except ObjectExists:
            if store.read(name) != content:
                raise MergeFailed(
                    f"{place} holds other content as {name}, and what is kept there is never replaced."
                ) from None
    except (OSError, TableUnreachable) as error:
        raise MergeFailed(f"{place} could not be written: {error}") from error


def kept_files(place: str, options: Mapping[str, str] | None = None) -> Iterator[tuple[str, bytes]]:
    """Every file of a place with its content. Raises ``MergeFailed`` where it cannot be read."""
    try:
        store = open_store(place, options)
        for found in sorted(store.walk(), key=lambda one: one.path):
            yield found.path, store.read(found.path)
    except (OSError, TableUnreachable) as error:
        raise MergeFailed(f"{place} could not be read: {error}") from error
