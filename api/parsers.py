"""How bodies are read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.utils.datastructures import MultiValueDict
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import BaseParser, FileUploadParser, JSONParser
from rest_framework.request import Request

from datasets.errors import BodyTooLarge, InvalidInput
from datasets.rows import FileFormat, parse_json

#: The media types of content that comes as a body of its own, and the formats that they name; the last names none.
CONTENT_TYPES: Final[Mapping[str, str]] = {
    "text/csv": "csv",
    "application/vnd.apache.parquet": "parquet",
    "application/vnd.apache.arrow.stream": "arrow",
    "application/vnd.apache.arrow.file": "arrow",
    "application/x-ndjson": "jsonl",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/octet-stream": "",
}
#: How gzip begins (RFC 1952, 2.3.1).
_GZIP = b"\x1f\x8b"


class StrictJSONParser(JSONParser):
    """JSON in UTF-8 whose values the database can hold; else ``InvalidInput``."""

    carries_cells = False

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        try:
            text = stream.read().decode()
        except UnicodeDecodeError as error:
            raise InvalidInput("The body is no UTF-8.") from error
        return parse_json(text, "", cells=self.carries_cells)


class CellJSONParser(StrictJSONParser):
    """The same for bodies that carry cells, which may hold U+0000."""

    carries_cells = True


class LongListJSONParser(CellJSONParser):
    """The same where the address takes larger bodies, but of other kinds: JSON is held in memory whole."""

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        request: Request = (parser_context or {})["request"]
        _refuse_encoded(request)
        limit = settings.LONG_LIST_LIMIT_BYTES
        if int(request.META.get("CONTENT_LENGTH") or 0) > limit:
            raise BodyTooLarge(
                f"A body of JSON may have {limit:,} bytes here. Send more rows as a file: JSON lines, CSV, Parquet or "
                "Arrow, as the body itself or in a form."
            )
        return super().parse(stream, media_type, parser_context)


class ContentParser(FileUploadParser):
    """Content as a body of its own: streamed into a file beside those that wait, whatever its size. As it is, too,
    where gzip has packed it: whoever reads it unpacks it within its limits.
    """

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        if content_type_of(media_type) not in CONTENT_TYPES:
            raise UnsupportedMediaType(str(media_type))
        request: Request = (parser_context or {})["request"]
        packed = _encoding_of(request) == "gzip"
        if not packed:
            _refuse_encoded(request)
        found = super().parse(stream, media_type, parser_context)
        file = found.files["file"]
        request._request._files = MultiValueDict({"file": [file]})  # type: ignore[attr-defined]  # it closes them at its end
        head = file.read(len(_GZIP))
        file.seek(0)
        if packed and head != _GZIP:
            sentence = "The body is not packed by gzip, as Content-Encoding says."
            raise InvalidInput(sentence, errors={"Content-Encoding": [sentence]})
        return found

    def get_filename(self, *_: Any) -> str:
        """Bodies have no name; a parameter may say one."""
        return "content"


def content_type_of(media_type: str | None) -> str:
    """A media type without its parameters."""
    return (media_type or "").partition(";")[0].strip().lower()


def _encoding_of(request: Request) -> str:
    return request.headers.get("Content-Encoding", "identity").strip().lower()


def _refuse_encoded(request: Request) -> None:
    if _encoding_of(request) != "identity":
        raise UnsupportedMediaType(
            request.content_type, "Only content that is a body of its own may be encoded, and only with gzip."
        )


class CSVParser(BaseParser):
    """A file as it came, for whoever has it read apart."""

    media_type = "text/csv"
    file_format = FileFormat.CSV

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        return ChoicesFile(self.file_format, stream.read())


class ParquetParser(CSVParser):
    """The same in Parquet."""

    media_type = "application/vnd.apache.parquet"
    file_format = FileFormat.PARQUET


@dataclass(frozen=True)
class ChoicesFile:
    """A small file in a body; nobody has looked into it."""

    file_format: FileFormat
    content: bytes
