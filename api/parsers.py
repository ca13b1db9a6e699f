"""How bodies are read."""

from collections.abc import Mapping
from typing import Any

from rest_framework.parsers import JSONParser

from datasets.errors import InvalidInput
from datasets.rows import parse_json


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
