"""Rows as files: which format a caller wants, and the answer that streams them.

A download has a thread of its own from its first byte to its last, and no connection to the database meanwhile. It ends
with its caller: when they leave, and when they read nothing for ``DOWNLOAD_STALL_SECONDS``. The audit trail is a
download, too.
"""

import itertools
import re
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any

from django.conf import settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework.request import Request

from audit.streaming import PIECE, StreamedAnswer, StreamedLines
from datasets.errors import DomainError, InvalidInput
from datasets.rows import FileFormat, RowStream, encoded

JSON = "application/json"
MEDIA_TYPES = {
    FileFormat.CSV: "text/csv",
    FileFormat.PARQUET: "application/vnd.apache.parquet",
    FileFormat.ARROW: "application/vnd.apache.arrow.stream",
    FileFormat.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_BY_MEDIA_TYPE = {media_type: file_format for file_format, media_type in MEDIA_TYPES.items()}
FORMAT = OpenApiParameter(
    "format",
    str,
    enum=["json", *FileFormat],
    description="Pages in JSON, or all rows as a file in one stream; goes before `Accept`.",
)
#: What pages have and files have not.
_OF_PAGES = ("cursor", "limit")
_UNFIT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


class TooManyDownloads(DomainError):
    """This web process streams as many files as it may."""

    code = "too_many_downloads"


def pages_or_files(page: Any, description: str) -> dict[Any, Any]:
    """For the document: the answers of an operation that gives pages in JSON, and files."""
    files: dict[Any, Any] = {
        (200, media_type): OpenApiResponse(OpenApiTypes.BINARY, description=description)
        for media_type in MEDIA_TYPES.values()
    }
    return {(200, JSON): page, **files}


def format_of(request: Request) -> FileFormat | None:
    """The format of a file that the caller wants, by ``format`` or ``Accept``; None for pages in JSON.

    Raises ``InvalidInput`` where a file is asked for by the page.
    """
    named = request.query_params.get("format")
    if named is not None:
        wanted = None if named == "json" else FileFormat(named)
    else:
        preferred = request._request.get_preferred_type([JSON, *_BY_MEDIA_TYPE])
        wanted = _BY_MEDIA_TYPE.get(preferred or JSON)
    if wanted is not None:
        paged = [name for name in _OF_PAGES if name in request.query_params]
        if paged:
            sentence = "A file has all rows: it is of pages in JSON."
            raise InvalidInput(sentence, errors={name: [sentence] for name in paged})
    return wanted


class _Places:
    """How many downloads are under way in this process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._taken = 0

    def take(self) -> None:
        with self._lock:
            if self._taken >= settings.DOWNLOADS_AT_ONCE:
                raise TooManyDownloads(
                    "This server streams as many files as it may. Try again in a moment.", retry_after=5
                )
            self._taken += 1

    def give_back(self) -> None:
        with self._lock:
            self._taken -= 1


_PLACES = _Places()


class DownloadPlace:
    """One of the places for downloads; given back when it is left, or forgotten."""

    def __init__(self) -> None:
        _PLACES.take()
        self.leave = weakref.finalize(self, _PLACES.give_back)


@contextmanager
def place_for_download() -> Iterator[DownloadPlace]:
    """A place, taken before rows are opened, and left where they cannot be. Raises ``TooManyDownloads``."""
    place = DownloadPlace()
    try:
        yield place
    except BaseException:
        place.leave()
        raise


class Download(StreamedAnswer):
    """The answer that streams rows as a file, and ends them with itself."""

    def __init__(
        self,
        request: Request,
        stream: RowStream,
        file_format: FileFormat,
        name: str,
        place: DownloadPlace,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._rows = stream
        self._place = place
        file_name = f"{_UNFIT_IN_NAMES.sub('-', name)}.{file_format}"
        super().__init__(
            () if request.method == "HEAD" else self._begun(file_format),
            content_type=MEDIA_TYPES[file_format],
            headers={"Content-Disposition": f'attachment; filename="{file_name}"', **(headers or {})},
        )
        if stream.version is not None:
            self["Headgate-Version"] = str(stream.version)

    def _begun(self, file_format: FileFormat) -> Iterator[bytes]:
        """A workbook is written whole before its first byte goes out, so that what it cannot hold is an answer."""
        pieces = self._pieces(file_format)
        return itertools.chain([next(pieces)], pieces) if file_format is FileFormat.XLSX else pieces

    def _pieces(self, file_format: FileFormat) -> Iterator[bytes]:
        try:
            for written in encoded(self._rows.schema, self._rows.batches, file_format):
                for start in range(0, len(written), PIECE):
                    yield written[start : start + PIECE]
        finally:
            self.end()

    def stop(self) -> None:
        self._rows.stop()

    def end(self) -> None:
        self._rows.close()
        self._place.leave()


class TrailDownload(StreamedLines):
    """The answer that streams entries of the audit trail as JSON lines."""

    def __init__(self, lines: Iterator[str], place: DownloadPlace) -> None:
        self._place = place
        super().__init__(lines)

    def end(self) -> None:
        self._place.leave()
